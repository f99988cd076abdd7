"""`gristmill status` of a folder: how far a run is, how it ended, and whether its driver is alive."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gristmill.pipeline.provenance.values import to_json
from gristmill.pipeline.running.status import NodeStatus, RunStatus, TaskStatus
from tests.launch.running import Command

ON = RunStatus(
    name="web", run="0" * 64, state="running", number=4, every=0.2, host="node-7", process=71, started=1.7e9, workers=8,
    step="pass 2 of 3", pass_=2, passes=3, tasks=60000, done=1200, reused=500, step_done=1200, under_way=9,
    documents=123_456, text_bytes=10**9, bytes_per_second=12.5e6, elapsed=75.0, left=7200.0,
    nodes=[NodeStatus(name="quality", entered=1000, emitted=800, dropped=199, quarantined=1)],
    slow=1, slowest=[TaskStatus(path="a.parquet", seconds=190.0)], failed=1,
    failures=[TaskStatus(path="b.parquet", error="the disk is full")], error=None, outputs={"corpus": "out/corpus"},
)  # fmt: skip


def written(folder: Path, status: RunStatus) -> str:
    (folder / "status.json").write_text(json.dumps(to_json(status)))
    return str(folder)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[None]:
    """Something that writes the next status every now and then, as a living driver does."""
    stop = threading.Event()

    def write() -> None:
        number = ON.number
        while not stop.wait(0.1):
            number += 1
            partial = tmp_path / "partial"
            partial.mkdir(exist_ok=True)
            written(partial, replace(ON, number=number, done=1200 + number))
            (partial / "status.json").replace(tmp_path / "status.json")

    thread = threading.Thread(target=write)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_a_run_that_is_on_is_shown_with_counts_time_left_and_troubles(
    tmp_path: Path, driver: None, gristmill: Command
) -> None:
    ran = gristmill("status", written(tmp_path, ON))
    assert ran.code == 0, ran.err
    lines = [line.strip() for line in ran.out.splitlines()]
    assert lines[0] == "web: on, for 1 min 15 s"
    assert lines[1] == "host node-7, process 71, 8 at the same time; started 2023-11-14 22:13:20 UTC by its clock"
    assert lines[2].startswith("pass 2 of 3, 1,20") and lines[2].endswith(
        " of 60,000 tasks, 123,456 documents, 12.5 MB/s, about 2 h 00 min left"
    )
    assert "slow: a.parquet, 3 min 10 s" in lines
    assert "failed: b.parquet: the disk is full" in lines
    assert any(line.split() == ["quality", "1,000", "80.0", "%", "199", "1"] for line in lines)
    assert lines[-1] == "corpus: out/corpus"


def test_a_driver_that_says_nothing_more_is_told_from_one_that_lives(tmp_path: Path, gristmill: Command) -> None:
    begin = time.monotonic()
    ran = gristmill("status", written(tmp_path, ON))
    assert time.monotonic() - begin < 10
    assert ran.code == 75
    assert "no sign of its driver" in ran.out
    assert "the same command goes on from there" in ran.out


def test_programs_get_the_whole_status(tmp_path: Path, driver: None, gristmill: Command) -> None:
    ran = gristmill("status", written(tmp_path, ON), "--json")
    assert ran.code == 0
    found = json.loads(ran.out)
    assert found["alive"] is True and found["number"] > ON.number
    assert found["nodes"] == [{"name": "quality", "entered": 1000, "emitted": 800, "dropped": 199, "quarantined": 1}]


@pytest.mark.parametrize(
    ("state", "error", "code", "says"),
    [
        ("stopped", "stopped by SIGTERM", 75, "stopped after 1 min 15 s; the same command goes on"),
        ("failed", "out/web: the disk\x1b[2J is full", 1, "failed after 1 min 15 s"),
        ("done", None, 0, "done in 1 min 15 s"),
    ],
)
def test_how_a_run_ended_is_said_at_once(
    tmp_path: Path, gristmill: Command, state: str, error: str | None, code: int, says: str
) -> None:
    status = replace(ON, state=state, error=error, every=60.0)  # type: ignore[arg-type]
    begin = time.monotonic()
    ran = gristmill("status", written(tmp_path, status))
    assert time.monotonic() - begin < 10
    assert ran.code == code
    assert says in ran.out
    assert "\x1b" not in ran.out
    if error is not None:
        assert error.replace("\x1b", " ") in ran.out


def test_a_folder_without_a_run_is_refused_and_says_where_to_look(tmp_path: Path, gristmill: Command) -> None:
    ran = gristmill("status", str(tmp_path))
    assert ran.code == 2
    assert "OUTPUT.work" in ran.error
    assert "there is no run" in ran.error


def test_a_finished_run_is_shown_from_its_output(tmp_path: Path, gristmill: Command) -> None:
    corpus = tmp_path / "docs.jsonl"
    corpus.write_text("".join(json.dumps({"id": str(n), "text": "word " * n}) + "\n" for n in range(1, 40)))
    config = tmp_path / "c.yaml"
    config.write_text(
        f'name: tiny\nseed: 1\nsources: {{s: {{format: jsonl, paths: ["{corpus}"]}}}}\nstages: {{}}\n'
        f'outputs: {{corpus: {{from: s, path: "{tmp_path}/out"}}}}\n'
    )
    lines = tmp_path / "progress.jsonl"
    ran = gristmill("run", str(config), "--executor", "inline", "--progress", "json", "--progress-file", str(lines))
    assert ran.code == 0, ran.err
    told = [json.loads(line) for line in lines.read_text().splitlines()]
    assert told and told[-1]["name"] == "tiny"
    assert [line["step"] for line in told if line["step"].startswith("pass")]
    assert [json.loads(line)["step"] for line in ran.err.splitlines()] == [line["step"] for line in told]
    ran = gristmill("status", str(tmp_path / "out"))
    assert ran.code == 0
    assert ran.out.splitlines()[0].startswith("tiny: done; 39 documents")


def test_a_progress_file_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, gristmill: Command) -> None:
    ran = gristmill("run", "quickstart", "--output", str(tmp_path / "out"), "--progress-file", str(tmp_path / "no/x"))
    assert ran.code == 2
    assert ran.error.startswith(f"error: --progress-file {tmp_path}/no/x: cannot be written")
    assert not (tmp_path / "out").exists()


def test_logs_of_tasks_are_named(tmp_path: Path, gristmill: Command) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/task-00001-pass-0-0a1b2c3d.jsonl").write_text("{}\n")
    ran = gristmill("status", written(tmp_path, replace(ON, state="failed", error="the disk is full")))
    assert ran.out.splitlines()[-1] == f"1 task logs with warnings or errors in {tmp_path}/logs"
