"""Whole runs with inputs, work folder and output in buckets: equal bytes, whatever fails, and whoever is killed."""

from __future__ import annotations

import io
import json
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gristmill.pipeline import storage
from gristmill.pipeline.work_folder import RUN_FILES
from tests.cluster.runs import config, contents, finished, gristmill, write_web
from tests.cluster.s3_server import Faults, S3Server

pytestmark = pytest.mark.cluster
INLINE = ("--executor", "inline")


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The output of the same run on a file system."""
    folder = tmp_path_factory.mktemp("reference")
    write_web(f"{folder}/in")
    finished(config(f"{folder}/in", f"{folder}/out", f"{folder}/work"), folder, *INLINE)
    assert sorted(path.name for path in folder.iterdir()) == ["in", "out", "run.yaml"]
    return contents(f"{folder}/out")


@pytest.fixture
def text(s3_bucket: str) -> str:
    """The run, all of it in one bucket."""
    write_web(f"{s3_bucket}/in")
    return config(f"{s3_bucket}/in", f"{s3_bucket}/out", f"{s3_bucket}/work")


@pytest.mark.parametrize("executor", [INLINE, ("--executor", "ray", "--workers", "2")], ids=["inline", "ray"])
def test_a_run_in_a_bucket_has_the_bytes_of_one_on_a_file_system(
    s3_bucket: str, text: str, tmp_path: Path, reference: dict[str, str], executor: tuple[str, ...]
) -> None:
    finished(text, tmp_path, *executor)
    assert contents(f"{s3_bucket}/out") == reference
    assert storage.names_in(s3_bucket) == ["in", "out"], "the work folder is gone"
    assert not [name for name in storage.names_in(f"{s3_bucket}/out") if name.startswith(".")]


def test_a_revocation_list_reaches_workers_through_the_work_folder(s3_bucket: str, text: str, tmp_path: Path) -> None:
    ids = [
        f"{row}\n"
        for row in pq.read_table(io.BytesIO(storage.read_small(f"{s3_bucket}/in/part-0.parquet", 1 << 30)))[
            "id"
        ].to_pylist()
    ]
    (tmp_path / "private").mkdir()
    (tmp_path / "private/list.txt").write_text("".join(ids[::3]))
    revoked = f'revoked: {{path: "{tmp_path}/private/list.txt", kind: id}}\n'
    write_web(f"{tmp_path}/in")
    finished(config(f"{tmp_path}/in", f"{tmp_path}/out", f"{tmp_path}/work") + revoked, tmp_path, *INLINE)
    finished(text + revoked, tmp_path, "--executor", "ray", "--workers", "2")
    assert contents(f"{s3_bucket}/out") == contents(f"{tmp_path}/out")
    manifest = json.loads(storage.read_small(f"{s3_bucket}/out/manifest.json", 1 << 24) or b"")
    assert manifest["predicate"]["accounts"]["nodes"]["web"]["rules"]["revoked"]["first"][0] == len(ids[::3])


def test_an_output_in_a_bucket_needs_no_work_folder_named(
    s3_bucket: str, text: str, tmp_path: Path, reference: dict[str, str]
) -> None:
    finished(text.replace(f'work: "{s3_bucket}/work"\n', ""), tmp_path, *INLINE)
    assert contents(f"{s3_bucket}/out") == reference
    assert storage.names_in(s3_bucket) == ["in", "out"]


def test_what_fails_for_a_while_changes_no_byte(
    s3_server: S3Server, s3_bucket: str, text: str, tmp_path: Path, reference: dict[str, str]
) -> None:
    s3_server.break_by(Faults(busy=0.03, broken=0.03, cut=0.03, lost=0.03, lost_conditional=0.2, seed=7))
    finished(text, tmp_path, *INLINE)
    assert all(s3_server.hurt[what] > 2 for what in ("busy", "broken", "cut", "lost")), s3_server.hurt
    s3_server.reset()
    assert contents(f"{s3_bucket}/out") == reference
    assert storage.names_in(s3_bucket) == ["in", "out"]


def wait_for(what: str, seconds: float = 120) -> None:
    """Until something lies below a location."""
    end = time.monotonic() + seconds
    while not storage.exists(what):
        assert time.monotonic() < end, f"{what} did not appear"
        time.sleep(0.05)


@pytest.mark.parametrize("where", ["commits", "settled", "shuffled"])
def test_a_driver_that_is_killed_goes_on_where_it_was(
    s3_server: S3Server, s3_bucket: str, text: str, tmp_path: Path, reference: dict[str, str], where: str
) -> None:
    s3_server.break_by(Faults(slow=1.0, slow_seconds=0.05))
    process = gristmill(text, tmp_path, *INLINE)
    wait_for(storage.join(s3_bucket, "work", RUN_FILES, where))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert storage.read_small(f"{s3_bucket}/out/manifest.json", 1 << 20) is None
    s3_server.reset()
    finished(text, tmp_path, *INLINE)
    assert contents(f"{s3_bucket}/out") == reference
    assert storage.names_in(s3_bucket) == ["in", "out"]


def test_of_two_drivers_on_one_output_one_goes_on_and_the_other_says_who_holds_it(
    s3_server: S3Server, s3_bucket: str, text: str, tmp_path: Path, reference: dict[str, str]
) -> None:
    s3_server.break_by(Faults(slow=1.0, slow_seconds=0.1))
    first = gristmill(text, tmp_path, *INLINE)
    wait_for(f"{s3_bucket}/out/.gristmill-lease.json")
    (tmp_path / "second").mkdir()
    second = gristmill(text.replace("/work", "/other-work"), tmp_path / "second", *INLINE)
    told, _ = second.communicate(timeout=120)
    assert second.returncode == 1 and "Traceback" not in told
    assert f"another run holds the output `corpus` (host {told.partition('(host ')[2].partition(',')[0]}" in told
    assert f"process {first.pid}, work folder {s3_bucket}/work)" in told
    s3_server.reset()
    first.communicate(timeout=300)
    assert first.returncode == 0
    assert contents(f"{s3_bucket}/out") == reference


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        (Faults(conditions="ignored"), "does not keep the conditions of writes"),
        (Faults(conditions="refused"), "If-None-Match"),
        (Faults(denied=frozenset({"PUT"})), "access is refused: set AWS_ACCESS_KEY_ID"),
    ],
    ids=["ignored", "refused", "denied"],
)
def test_a_bucket_in_which_no_run_can_be_is_refused_before_any_work(
    s3_server: S3Server, s3_bucket: str, text: str, tmp_path: Path, faults: Faults, told: str
) -> None:
    s3_server.break_by(faults)
    process = gristmill(text, tmp_path, *INLINE)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and told in said and "Traceback" not in said, said
    s3_server.reset()
    assert not storage.exists(storage.join(s3_bucket, "work", RUN_FILES))


@pytest.mark.parametrize(
    ("region", "bucket", "told"),
    [
        ("eu-west-1", None, "set AWS_REGION to the bucket's region"),
        (None, "s3://not-there-at-all", "create the bucket"),
    ],
    ids=["region", "bucket"],
)
def test_an_input_that_cannot_be_reached_is_told_with_what_to_do(
    s3_server: S3Server, s3_bucket: str, text: str, tmp_path: Path, region: str | None, bucket: str | None, told: str
) -> None:
    s3_server.break_by(Faults(region=region))
    process = gristmill(text.replace(s3_bucket, bucket or s3_bucket), tmp_path, *INLINE)
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0 and told in " ".join(said.split()) and "Traceback" not in said, said


def test_no_secret_is_in_anything_that_is_kept(s3_bucket: str, text: str, tmp_path: Path) -> None:
    said = finished(text, tmp_path, *INLINE, "--keep-work")
    kept = [storage.read_small(f"{s3_bucket}/{path}", 1 << 30) or b"" for path in storage.list_files(s3_bucket)]
    assert json.loads(storage.read_small(f"{s3_bucket}/out/manifest.json", 1 << 24) or b"{}")
    assert all(b"test-secret-key" not in data and b"test-key-id" not in data for data in [said.encode(), *kept])
