"""Progress: a screen for a terminal, lines for a log, JSON lines for programs; all show the same status."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import replace
from typing import Any

from rich.console import Console

from gristmill.launch.terminal.progress import Display, JsonProgress, LiveProgress, PlainProgress, progress_display
from gristmill.pipeline.running.status import NodeStatus, RunStatus, TaskStatus


class Hands:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def told(done: int, **other: Any) -> RunStatus:
    """A status after `done` of 10 tasks of 100 documents."""
    status = RunStatus(
        name="web", run="0" * 64, state="running", number=1, every=2.0, host="here", process=7, started=1.7e9, workers=2,
        step="pass 1 of 2", pass_=1, passes=2, tasks=10, done=done, reused=0, step_done=done, under_way=2,
        documents=done * 100, text_bytes=done * 10**6, bytes_per_second=500_000.0 if done else None, elapsed=4.0 + done,
        left=36.0 if done else None,
        nodes=[NodeStatus(name="quality", entered=done * 100, emitted=done * 80, dropped=done * 20, quarantined=0)]
        if done else [],
        slow=0, slowest=[], failed=0, failures=[], error=None, outputs={"corpus": "out/corpus"},
    )  # fmt: skip
    return replace(status, **other)


class Run:
    """A run whose status the test sets."""

    def __init__(self) -> None:
        self.status = told(0)

    def __call__(self) -> RunStatus:
        return self.status


def shown(display: LiveProgress) -> str:
    stream = display.console.file
    assert isinstance(stream, io.StringIO)
    stream.truncate(0)
    stream.seek(0)
    display.console.print(display._render())
    return stream.getvalue()


def live(hands: Hands, width: int = 80) -> LiveProgress:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    return LiveProgress(console, hands)


def test_a_log_gets_few_lines() -> None:
    stream, hands, run = io.StringIO(), Hands(), Run()
    progress = PlainProgress(Console(file=stream, width=40), hands)
    progress.read = run
    for done in range(11):
        run.status = told(done)
        progress.look()
        hands.time += 0.9
    run.status = told(10, step="settling minhash", step_done=12)
    progress.look()
    assert stream.getvalue().splitlines() == [
        "pass 1 of 2",
        "pass 1 of 2: 10 of 10 tasks, 1,000 documents, 500.0 kB/s, about 36 s left; kept: quality 80.0 %",
        "settling minhash: 12 tasks, about 36 s left",
    ]


def test_a_log_gets_a_line_every_ten_seconds_whatever_the_tasks_do() -> None:
    stream, hands, run = io.StringIO(), Hands(), Run()
    progress = PlainProgress(Console(file=stream, width=40), hands)
    progress.read = run
    run.status = told(3)
    for _ in range(60):
        progress.look()
        hands.time += 1
    assert len(stream.getvalue().splitlines()) == 6


def test_a_log_gets_a_line_every_ten_seconds_before_the_run_too() -> None:
    stream, hands = io.StringIO(), Hands()
    progress = PlainProgress(Console(file=stream, width=40), hands)
    progress.look()
    progress.note("reading web.yaml")
    for _ in range(30):
        progress.look()
        hands.time += 1
    progress.note("web: 3 slices")
    assert stream.getvalue().splitlines() == [
        "reading web.yaml", "reading web.yaml … 10 s", "reading web.yaml … 20 s", "web: 3 slices",
    ]  # fmt: skip


def test_a_log_looks_by_itself_while_a_task_takes_long() -> None:
    stream, run = io.StringIO(), Run()
    with PlainProgress(Console(file=stream, width=40), seconds=0.02) as progress:
        progress.follow(run)
        for _ in range(500):
            if len(stream.getvalue().splitlines()) >= 3:
                break
            threading.Event().wait(0.01)
    assert len(stream.getvalue().splitlines()) >= 3


def test_a_terminal_gets_a_screen_with_step_bar_figures_and_documents_by_node() -> None:
    run, display = Run(), live(Hands())
    display.read = run
    run.status = told(2)
    text = shown(display)
    assert "pass 1 of 2" in text
    assert "2/10 tasks, 6.0 s" in text
    assert "200 documents, 500.0 kB/s, about 36 s left" in text
    assert [line.split() for line in text.splitlines() if "quality" in line] == [["quality", "200", "80.0", "%"]]


def test_the_screen_fits_however_many_stages_there_are() -> None:
    run, display = Run(), live(Hands(), width=60)
    display.read = run
    nodes = [NodeStatus(name=f"node-{n:03d}" * 9, entered=9, emitted=8, dropped=0, quarantined=1) for n in range(100)]
    slow = [TaskStatus(path=f"s3://bucket/{'very/' * 40}{n}.parquet", seconds=100.0) for n in range(8)]
    run.status = told(2, nodes=nodes, slow=800, slowest=slow, under_way=900)
    lines = shown(display).splitlines()
    assert len(lines) <= 24
    assert all(len(line) <= 60 for line in lines)
    assert any("… 86 more" in line for line in lines)
    assert any("slow: 800 tasks in all, of 900 under way" in line for line in lines)


def test_failed_tasks_are_named_with_the_error() -> None:
    run = Run()
    run.status = told(2, failed=2, failures=[TaskStatus(path="a.parquet", error="the disk\x1b[31m is\nfull")])
    stream = io.StringIO()
    progress = PlainProgress(Console(file=stream, width=40), Hands())
    progress.read = run
    progress.look()
    assert "failed: a.parquet: the disk [31m is full; failed: 2 tasks in all" in stream.getvalue()


def test_the_bar_never_goes_back() -> None:
    run, display = Run(), live(Hands())
    display.read = run
    shares = []
    for elapsed, left in [(10, 90), (20, 80), (30, 170), (40, 60)]:
        run.status = told(2, elapsed=float(elapsed), left=float(left))
        shares.append(display._share(run.status))
    assert shares == [0.1, 0.2, 0.2, 0.4]


def test_a_hint_explains_a_slow_start_until_the_first_task_ends() -> None:
    run, display = Run(), live(Hands())
    display.hint("kernels are compiled")
    display.note("reading web.yaml")
    assert "reading web.yaml" in shown(display)
    assert "kernels are compiled" in shown(display)
    display.read = run
    assert "kernels are compiled" in shown(display)
    run.status = told(1)
    assert "kernels are compiled" not in shown(display)


def test_json_lines_hold_the_whole_status() -> None:
    stream, hands, run = io.StringIO(), Hands(), Run()
    progress = JsonProgress(stream, now=hands)
    progress.read = run
    for done in (0, 1, 10):
        run.status = told(done)
        progress.look()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["done"] for line in lines] == [0, 10]
    assert lines[1]["nodes"] == [{"name": "quality", "entered": 1000, "emitted": 800, "dropped": 200, "quarantined": 0}]
    assert (lines[1]["pass"], lines[1]["left"], lines[1]["bytes_per_second"]) == (1, 36.0, 500_000.0)


def test_json_lines_may_stand_beside_what_a_person_sees() -> None:
    stream, log, run = io.StringIO(), io.StringIO(), Run()
    beside = PlainProgress(Console(file=log, width=40), Hands())
    run.status = told(3)
    with JsonProgress(stream, beside) as progress:
        progress.note("starting")
        progress.follow(run)
        progress(None)  # type: ignore[arg-type]
    assert len(stream.getvalue().splitlines()) == 1
    assert log.getvalue().splitlines()[0] == "starting"
    assert len(log.getvalue().splitlines()) == 2


def test_the_display_suits_the_console() -> None:
    assert isinstance(progress_display(Console(file=io.StringIO())), PlainProgress)
    assert isinstance(progress_display(Console(file=io.StringIO(), force_terminal=True)), LiveProgress)
    assert type(progress_display(Console(file=io.StringIO(), force_terminal=True), quiet=True)) is Display
