"""The status file: what it says while a run is on and how it ended, who can read it, and that a run never needs it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gristmill.pipeline.errors import ConfigError, GristmillError, StorageError
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.running import status as status_module
from gristmill.pipeline.running.engine import Engine
from gristmill.pipeline.running.status import MOST_BYTES, RunStatus, read_status
from tests.pipeline.toy_runs import GRAPH, plan_of, run, shards, write_corpus

WORK = "out/corpus.work"


def until(there: Callable[[], Any]) -> Any:
    """What a function gives as soon as it gives something; it is asked for at most 10 s."""
    for _ in range(1000):
        if found := there():
            return found
        threading.Event().wait(0.01)
    raise AssertionError("nothing within 10 s")


def stopped_at(tmp_path: Path, step: str, with_: BaseException, keep: list[RunStatus] | None = None) -> None:
    """Runs the toys until a step, and ends them there."""

    def stop(progress: Any) -> None:
        if progress.stage == step and progress.tasks_done:
            if keep is not None:
                keep.append(
                    until(lambda: (found := read_status(str(tmp_path / WORK))) and found.step == step and found)
                )
            raise with_

    with pytest.raises(type(with_)):
        run(GRAPH.format(root=tmp_path), listener=stop)


def test_a_run_that_is_on_says_how_far_it_is(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    seen: list[RunStatus] = []
    stopped_at(tmp_path, "settling same", KeyboardInterrupt(), seen)
    found = seen[0]
    assert found.state == "running" and not found.over
    assert (found.name, found.pass_, found.passes, found.tasks, found.done) == ("toys", 1, 3, 3, 3)
    assert [node.name for node in found.nodes] == ["length"]
    node = found.nodes[0]
    assert node.entered == node.emitted + node.dropped + node.quarantined > 0
    assert found.outputs == {"corpus": f"{tmp_path}/out/corpus", "long": f"{tmp_path}/out/long"}
    assert found.number >= 1 and found.every > 0


def test_a_run_that_was_stopped_says_so_and_goes_on(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    stopped_at(tmp_path, "settling same", KeyboardInterrupt())
    found = read_status(str(tmp_path / WORK))
    assert found is not None
    assert (found.state, found.error) == ("stopped", "stopped by KeyboardInterrupt")
    assert run(GRAPH.format(root=tmp_path)).reused_tasks == 3


def test_a_run_that_failed_says_why(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    stopped_at(tmp_path, "settling same", GristmillError("there is no water in the river"))
    found = read_status(str(tmp_path / WORK))
    assert found is not None
    assert (found.state, found.error) == ("failed", "there is no water in the river")


def test_the_status_is_found_by_work_folder_by_its_inside_and_by_the_output_beside_it(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    stopped_at(tmp_path, "settling same", KeyboardInterrupt())
    found = [read_status(str(tmp_path / place)) for place in (WORK, f"{WORK}/gristmill-run", "out/corpus", f"{WORK}/")]
    assert found[0] is not None and all(status == found[0] for status in found)
    assert read_status(str(tmp_path / "in")) is None
    assert read_status(str(tmp_path / "nowhere")) is None


def test_a_finished_output_is_done_with_its_counts(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    result = run(GRAPH.format(root=tmp_path))
    found = read_status(str(tmp_path / "out/corpus"))
    assert found is not None
    assert (found.state, found.documents, found.tasks) == ("done", 120, 3)
    counted = {node.name: node.entered for node in found.nodes}
    assert counted == {name: account.entered.rows for name, account in result.accounts.nodes.items() if name != "s"}


def test_a_kept_work_folder_says_that_its_run_is_done(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    run(GRAPH.format(root=tmp_path), keep_work=True)
    found = read_status(str(tmp_path / WORK))
    assert found is not None
    assert (found.state, found.step, found.error) == ("done", "publishing", None)


def test_a_status_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "in")
    tries: list[str] = []

    def fail(location: str, data: bytes, seconds: float = 0.0) -> None:
        tries.append(location)
        raise StorageError("no room")

    monkeypatch.setattr(status_module, "put", fail)
    engine = Engine(plan_of(GRAPH.format(root=tmp_path)), InlineExecutor())
    assert engine.run().manifests
    assert tries and engine.status is not None and engine.status.problem == "no room"


def test_outputs_are_the_same_with_and_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("with", "without"):
        write_corpus(tmp_path / name / "in")
        if name == "without":
            monkeypatch.setattr(status_module, "put", lambda *_, **__: None)
        run(GRAPH.format(root=tmp_path / name))
    assert shards(tmp_path / "with/out/corpus") == shards(tmp_path / "without/out/corpus")


def test_a_link_in_the_place_of_the_work_folder_is_not_written_through(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / WORK).mkdir(parents=True)
    (tmp_path / WORK / "gristmill-run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="link"):
        run(GRAPH.format(root=tmp_path))
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"\xff", b"null", b"9" * 5000, b"[" * 100_000, b'{"format": 2}', b'{"state": "running"}'],
)
def test_what_is_no_status_is_refused_by_name(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "status.json").write_bytes(body)
    with pytest.raises(StorageError, match=r"status\.json: this is no status"):
        read_status(str(tmp_path))


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    stopped_at(tmp_path, "settling same", KeyboardInterrupt())
    path = tmp_path / WORK / "gristmill-run/status.json"
    sound = json.loads(path.read_text())
    for key, value in [("started", 1e300), ("elapsed", -1), ("left", float("nan")), ("done", 1.5), ("done", -1)]:
        path.write_text(json.dumps({**sound, key: value}))
        with pytest.raises(StorageError, match=key):
            read_status(str(tmp_path / WORK))


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "status.json").open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)
    with pytest.raises(StorageError, match="at most"):
        read_status(str(tmp_path))


def test_a_run_that_is_refused_at_its_outputs_leaves_no_status_of_another_kind(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    (tmp_path / "out/corpus").mkdir(parents=True)
    (tmp_path / "out/corpus/mine.txt").write_text("mine")
    with pytest.raises(ConfigError):
        run(GRAPH.format(root=tmp_path))
    assert not (tmp_path / WORK).exists() or read_status(str(tmp_path / WORK)) is None
