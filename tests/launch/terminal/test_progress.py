"""Progress: rates, time left and keep rates from what the engine tells; lines for a log, a display for a terminal."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from gristmill.launch.terminal.progress import Clock, LiveProgress, NoProgress, PlainProgress, progress_display
from gristmill.pipeline.provenance.accounts import Accounts, NodeAccount, Tally


class Hands:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def told(done: int, *, index: int = 0, stage: str = "pass 1 of 2", reused: int = 0) -> Any:
    """A progress after `done` of 10 tasks of 100 documents and 1 MB each."""
    accounts = Accounts()
    accounts.nodes["crawl"] = NodeAccount(entered=Tally(done * 100), kept=Tally(done * 100))
    accounts.nodes["quality"] = NodeAccount(entered=Tally(done * 100), kept=Tally(done * 80))
    plan = SimpleNamespace(slices=[None] * 10, passes=[None, None], graph=SimpleNamespace(sources={"crawl": None}))
    return SimpleNamespace(
        plan=plan, pass_index=index, stage=stage, tasks_done=done, documents=done * 100, text_bytes=done * 10**6,
        accounts=accounts, reused=reused,
    )  # fmt: skip


def test_speed_and_time_left_follow_from_the_tasks_done() -> None:
    hands = Hands()
    clock = Clock(hands)
    assert clock.snapshot(told(0)).bytes_per_second is None
    hands.time += 4
    shown = clock.snapshot(told(2))
    assert shown.bytes_per_second == 500_000
    # 2 s a task, 8 tasks left of this pass and 10 of the next
    assert shown.left == 36
    assert shown.figures() == "200 documents, 500.0 kB/s, about 36 s left"


def test_each_pass_is_measured_on_its_own() -> None:
    hands = Hands()
    clock = Clock(hands)
    clock.snapshot(told(0))
    hands.time += 100
    clock.snapshot(told(10))
    clock.snapshot(told(0, index=1, stage="pass 2 of 2"))
    hands.time += 1
    shown = clock.snapshot(told(5, index=1, stage="pass 2 of 2"))
    assert shown.bytes_per_second == 5_000_000
    assert shown.left == 1


def test_tasks_of_an_earlier_attempt_count_as_done_but_not_as_fast() -> None:
    hands = Hands()
    clock = Clock(hands)
    clock.snapshot(told(0))
    for number in range(1, 7):
        clock.snapshot(told(number, reused=number))
    hands.time += 3
    shown = clock.snapshot(told(7, reused=6))
    assert shown.done == 7
    assert shown.bytes_per_second == 1_000_000 / 3
    assert shown.left == 3 * (3 + 10)


def test_keep_rates_are_of_stages_and_not_of_sources() -> None:
    assert Clock().snapshot(told(3)).keeps() == "quality 80.0 %"


def test_a_log_gets_few_lines() -> None:
    stream, hands = io.StringIO(), Hands()
    progress = PlainProgress(Console(file=stream, width=40), Clock(hands))
    for done in range(11):
        progress(told(done))
        hands.time += 1
    progress(told(10, stage="settling minhash"))
    lines = stream.getvalue().splitlines()
    assert lines == [
        "pass 1 of 2",
        "pass 1 of 2: 10 of 10 tasks, 1,000 documents, 1.0 MB/s, about 10 s left; kept: quality 80.0 %",
        "settling minhash",
    ]


def test_a_slow_log_says_that_the_run_is_alive() -> None:
    stream, hands = io.StringIO(), Hands()
    progress = PlainProgress(Console(file=stream, width=40), Clock(hands))
    for done in range(4):
        progress(told(done))
        hands.time += 20
    assert len(stream.getvalue().splitlines()) == 4


def test_a_terminal_gets_a_display_with_step_bar_figures_and_keep_rates() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system=None)
    hands = Hands()
    progress = progress_display(console)
    assert isinstance(progress, LiveProgress)
    progress.clock = Clock(hands)
    progress(told(0))
    hands.time += 4
    progress(told(2))
    console.print(progress._render())
    shown = stream.getvalue()
    assert "pass 1 of 2" in shown
    assert "2/10 tasks, 4.0 s" in shown
    assert "200 documents, 500.0 kB/s, about 36 s left" in shown
    assert "kept: quality 80.0 %" in shown


def test_a_hint_explains_a_slow_start_until_the_first_task_ends() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system=None)
    progress = LiveProgress(console, Clock(Hands()))
    progress.hint("kernels are compiled")
    progress(told(0))
    console.print(progress._render())
    assert "kernels are compiled" in stream.getvalue()
    stream.truncate(0)
    progress(told(1))
    console.print(progress._render())
    assert "kernels are compiled" not in stream.getvalue()


def test_the_display_suits_the_console() -> None:
    assert isinstance(progress_display(Console(file=io.StringIO())), PlainProgress)
    assert isinstance(progress_display(Console(file=io.StringIO(), force_terminal=True), quiet=True), NoProgress)
