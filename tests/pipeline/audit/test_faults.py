"""Whatever interrupts a run, what is published is whole, and the same command ends with a clean output."""

from __future__ import annotations

import errno
import multiprocessing
import re
import shutil
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from gristmill.pipeline.audit.explain import explain
from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import GristmillError, StorageError, StorageSetAside
from gristmill.pipeline.provenance.statement import read_manifest
from gristmill.pipeline.provenance.task_record import TaskRecord
from gristmill.pipeline.running import task as tasks
from gristmill.pipeline.storage import write_checked
from gristmill.pipeline.work_folder import WorkFolder
from tests.pipeline.audit.faults import FULL, count_touches, failing_at, killed_at, racing, run
from tests.pipeline.toy_runs import rows_of, shards, write_corpus

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["tests.pipeline.audit.faults", "gristmill.pipeline.running.task", "gristmill.pipeline.exchange.file_exchange"]
)
OUTPUTS = ("low", "high")
TOLD = {
    FULL: "no space left on the device. Free some, or point `work:` and the outputs elsewhere, and run again",
    errno.EIO: "Input/output error. The disk or its connection fails: check it, or point `work:` and the outputs elsewhere",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], dict[str, Any]]:
    """A run that nothing interrupts: its folder, its touches of storage, and the digests of its files."""
    root = tmp_path_factory.mktemp("whole")
    write_corpus(root / "in", files=2, rows=12)
    touches = count_touches(root)
    return root, touches, {name: shards(root / "out" / name) for name in OUTPUTS}


def assert_whole_or_absent(root: Path) -> None:
    """An output that says it is one is one."""
    for name in OUTPUTS:
        folder = root / "out" / name
        if (folder / "manifest.json").exists():
            assert audit_output(str(folder), full=True).exit_code == 0


def assert_recovers(root: Path, expected: dict[str, Any]) -> None:
    run(root)
    assert {name: shards(root / "out" / name) for name in OUTPUTS} == expected
    for name in OUTPUTS:
        result = audit_output(str(root / "out" / name), full=True)
        assert result.exit_code == 0, result.problems
    assert not (root / "work").exists()


def kill_and_recover(tmp_path: Path, whole: tuple[Path, list[str], dict[str, Any]], number: int) -> None:
    shutil.copytree(whole[0] / "in", tmp_path / "in")
    process = SERVER.Process(target=killed_at, args=(str(tmp_path), number))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, f"touch {number} of {len(whole[1])}"
    assert_whole_or_absent(tmp_path)
    assert_recovers(tmp_path, whole[2])


def test_a_run_touches_storage_in_all_the_ways_that_are_interrupted(
    whole: tuple[Path, list[str], dict[str, Any]],
) -> None:
    assert set(whole[1]) >= {"fsync", "replace", "link", "write"} and len(whole[1]) > 60


@pytest.mark.parametrize("part", range(8))
def test_sigkill_before_a_touch_of_storage(
    tmp_path: Path, whole: tuple[Path, list[str], dict[str, Any]], in_process: None, part: int
) -> None:
    # From the beginning to the last renames, which publish the manifests.
    last = len(whole[1]) - 2
    kill_and_recover(tmp_path, whole, last - part * 3 if part < 4 else (part - 3) * last // 5)


@pytest.mark.long
def test_sigkill_before_every_touch_of_storage(
    tmp_path: Path, whole: tuple[Path, list[str], dict[str, Any]], in_process: None
) -> None:
    for number in range(len(whole[1])):
        root = tmp_path / str(number)
        root.mkdir()
        kill_and_recover(root, whole, number)
        shutil.rmtree(root)


@pytest.mark.parametrize(("code", "first"), [(FULL, 0), (errno.EIO, 5)])
def test_a_disk_that_is_full_or_broken(
    tmp_path: Path, whole: tuple[Path, list[str], dict[str, Any]], in_process: None, code: int, first: int
) -> None:
    total, stopped_in = len(whole[1]), set()
    for number in range(first, total - 2, total // 6):
        root = tmp_path / str(number)
        shutil.copytree(whole[0] / "in", root / "in")
        with failing_at(number, code), pytest.raises(StorageError, match=TOLD[code]) as stopped:
            run(root)
        told = str(stopped.value)
        # A task's write sets that task aside, and the rest of its pass is committed; the driver's own write stops the run.
        aside = isinstance(stopped.value, StorageSetAside)
        assert told.startswith("pass ") if aside else told.startswith((str(root / "work"), str(root / "out"))), told
        assert re.search(rf"{re.escape(str(root))}/(work|out)/\S+ cannot be (written|moved there): ", told), told
        assert stopped.value.exit_code == (75 if aside else 1)
        stopped_in.add(aside)
        assert_whole_or_absent(root)
        partial = [path.name for path in (root / "out").rglob(".*") if not re.match(r"\.gristmill-[^/]*$", path.name)]
        assert partial == [], f"touch {number}: {whole[1][number]}"
        assert_recovers(root, whole[2])
    assert stopped_in == {True, False}, "both tasks and the driver met the fault"


def test_two_drivers_that_start_at_the_same_moment(
    tmp_path: Path, whole: tuple[Path, list[str], dict[str, Any]], in_process: None
) -> None:
    shutil.copytree(whole[0] / "in", tmp_path / "in")
    start = time.time() + 1.0
    drivers = [SERVER.Process(target=racing, args=(str(tmp_path), start)) for _ in range(3)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join(60)
    codes = sorted(driver.exitcode for driver in drivers if driver.exitcode is not None)
    assert codes[0] == 0 and set(codes) <= {0, 7} and len(codes) == 3
    assert_whole_or_absent(tmp_path)
    assert {name: shards(tmp_path / "out" / name) for name in OUTPUTS} == whole[2]


def test_a_task_that_dies_between_upload_and_commit_is_done_again(
    tmp_path: Path,
    whole: tuple[Path, list[str], dict[str, Any]],
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(whole[0] / "in", tmp_path / "in")
    real = tasks.commit
    seen = []

    def commit(work: WorkFolder, record: TaskRecord, data: bytes) -> bool:
        seen.append(record.task)
        if len(seen) == 4:
            raise StorageError("the worker went away")
        return real(work, record, data)

    monkeypatch.setattr(tasks, "commit", commit)
    with pytest.raises(StorageError, match="went away"):
        run(tmp_path)
    assert list((tmp_path / "out").rglob("*.parquet")), "the files of the last pass were written already"
    assert_recovers(tmp_path, whole[2])


@pytest.fixture
def remote() -> Iterator[str]:
    place = f"memory://audit-{uuid.uuid4().hex}"
    yield place
    system, path = fsspec.core.url_to_fs(place)
    if system.exists(path):
        system.rm(path, recursive=True)


def test_a_remote_output_is_the_same_and_can_be_audited_and_explained(
    tmp_path: Path, whole: tuple[Path, list[str], dict[str, Any]], in_process: None, remote: str
) -> None:
    shutil.copytree(whole[0] / "in", tmp_path / "in")
    run(tmp_path, remote)
    result = audit_output(f"{remote}/low", full=True)
    assert result.exit_code == 0, result.problems
    local, there = (read_manifest(place) for place in (str(whole[0] / "out/low"), f"{remote}/low"))
    assert local is not None and there is not None and local.data == there.data
    kept = rows_of(whole[0] / "out/low")[0]
    assert explain(f"{remote}/low", kept["id"]).documents[0].doc_key == kept["doc_key"].hex()
    with fsspec.open(f"{remote}/low/data/stray.parquet", "wb") as stream:
        stream.write(b"x")
    assert audit_output(f"{remote}/low").failed == {"stray"}


def test_an_exception_inside_a_remote_write_leaves_no_object(remote: str) -> None:
    def write(stream: Any) -> None:
        stream.write(b"half of it")
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError):
        write_checked(f"{remote}/part.parquet", write)
    system, path = fsspec.core.url_to_fs(remote)
    assert not system.exists(f"{path}/part.parquet")


def test_a_remote_write_that_fails_stops_the_run_and_leaves_no_manifest(
    tmp_path: Path,
    whole: tuple[Path, list[str], dict[str, Any]],
    in_process: None,
    remote: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(whole[0] / "in", tmp_path / "in")
    system, path = fsspec.core.url_to_fs(remote)
    real = type(system).put_file
    uploads = []

    def put_file(self: Any, source: str, target: str, *args: Any, **options: Any) -> Any:
        uploads.append(target)
        if len(uploads) == 3:
            raise PermissionError(errno.EACCES, "Access denied")
        return real(self, source, target, *args, **options)

    monkeypatch.setattr(type(system), "put_file", put_file)
    with pytest.raises(GristmillError, match="Access denied"):
        run(tmp_path, remote)
    assert not system.exists(f"{path}/low/manifest.json")
    run(tmp_path, remote)
    assert audit_output(f"{remote}/low", full=True).exit_code == 0
