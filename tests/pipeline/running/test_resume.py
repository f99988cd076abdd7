"""Kill it anywhere, run it again: committed tasks are not redone, the result is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.running.engine import work_folder
from gristmill.pipeline.work_folder import RUN_FILES
from tests.pipeline.toy_runs import GRAPH, plan_of, run, shards, write_corpus

ROOT = Path(__file__).parents[3]


def killed(tmp_path: Path, point: str, number: int) -> int:
    config = tmp_path / "config.yaml"
    config.write_text(GRAPH.format(root=tmp_path))
    command = [
        sys.executable,
        "-m",
        "tests.pipeline.running.killed_run",
        str(config),
        str(tmp_path / "killed"),
        point,
        str(number),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, str]]:
    """What a run gives that is not killed. File names and rows do not depend on the folder."""
    folder = tmp_path_factory.mktemp("untouched")
    write_corpus(folder / "in")
    run(GRAPH.format(root=folder))
    return shards(folder / "out/corpus"), shards(folder / "out/long")


@pytest.mark.parametrize(
    ("point", "number"),
    [("told", 2), ("told", 7), ("told", 11), ("replace", 1), ("replace", 9), ("fsync", 12), ("link", 5), ("link", 8)],
)
def test_a_killed_run_goes_on_where_it_was(
    tmp_path: Path, untouched: tuple[dict[str, str], dict[str, str]], point: str, number: int
) -> None:
    write_corpus(tmp_path / "in")
    assert killed(tmp_path, point, number) == -signal.SIGKILL
    assert not (tmp_path / "killed/corpus/manifest.json").exists()
    result = run(GRAPH.format(root=tmp_path), output=str(tmp_path / "killed"))
    assert (shards(tmp_path / "killed/corpus"), shards(tmp_path / "killed/long")) == untouched
    if point == "told":
        assert result.reused_tasks >= 1
    assert not Path(work_folder(result.plan.config)).exists()
    partial = [p for p in (tmp_path / "killed").rglob("*") if p.name.startswith(".")]
    assert partial == []


def test_committed_tasks_are_not_run_again(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=4)
    calls = tmp_path / "calls"
    text = GRAPH.format(root=tmp_path).replace("mark: true}", f"mark: true, count_calls_in: '{calls}'}}")
    stopped_after = 3

    class Stop(Exception):
        pass

    def stop(progress: object) -> None:
        if getattr(progress, "tasks_done", 0) == stopped_after:
            raise Stop

    with pytest.raises(Stop):
        run(text, listener=stop)
    assert len(calls.read_text().splitlines()) == stopped_after
    result = run(text)
    assert result.reused_tasks == stopped_after
    assert len(calls.read_text().splitlines()) == 4


def test_a_changed_input_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=2)
    text = GRAPH.format(root=tmp_path)

    class Stop(Exception):
        pass

    def stop(progress: object) -> None:
        if getattr(progress, "tasks_done", 0) == 2:
            raise Stop

    with pytest.raises(Stop):
        run(text, listener=stop)
    path = tmp_path / "in/part-000.parquet"
    os.utime(path, ns=(1, 1))
    assert run(text).reused_tasks == 1


def test_rehash_reads_every_slice_again(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=2)
    text = GRAPH.format(root=tmp_path)

    class Stop(Exception):
        pass

    def stop(progress: object) -> None:
        if getattr(progress, "tasks_done", 0) == 2:
            raise Stop

    with pytest.raises(Stop):
        run(text, listener=stop)
    assert run(text, rehash=True).reused_tasks == 0


def test_a_settled_answer_is_taken_again_by_its_bytes_and_not_by_its_size(
    tmp_path: Path, untouched: tuple[dict[str, str], dict[str, str]]
) -> None:
    write_corpus(tmp_path / "in")
    text = GRAPH.format(root=tmp_path)
    work = Path(work_folder(plan_of(text).config)) / RUN_FILES

    class Stop(Exception):
        pass

    def stop(progress: object) -> None:
        if getattr(progress, "stage", "") == "publishing":
            raise Stop

    with pytest.raises(Stop):
        run(text, listener=stop)
    answers = sorted((work / "exchange").rglob("task-*.arrow")) + sorted((work / "settled").rglob("broadcast.arrow"))
    assert len(answers) > 3
    for path in answers:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    for path in (work / "commits").rglob("pass-[12]-*.json"):
        path.unlink()
    run(text)
    assert (shards(tmp_path / "out/corpus"), shards(tmp_path / "out/long")) == untouched


def test_a_settled_answer_that_changes_while_the_run_is_on_stops_it(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    text = GRAPH.format(root=tmp_path)
    work = Path(work_folder(plan_of(text).config)) / RUN_FILES

    def change(progress: object) -> None:
        if getattr(progress, "stage", "") == "pass 2 of 3":
            for path in (work / "exchange/same").rglob("task-*.arrow"):
                path.write_bytes(path.read_bytes()[:-1] + b"\0")

    with pytest.raises(ConservationError, match="is not what was settled"):
        run(text, listener=change)


def test_a_lease_of_a_dead_driver_is_taken_over(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    assert killed(tmp_path, "told", 3) == -signal.SIGKILL
    text = GRAPH.format(root=tmp_path)
    work = Path(work_folder(plan_of(text, output=str(tmp_path / "killed")).config))
    assert list(work.glob(".gristmill-lease.json*")) and list(
        (tmp_path / "killed/corpus").glob(".gristmill-lease.json*")
    )
    run(text, output=str(tmp_path / "killed"))
    assert not work.exists()
