"""Progress of a run on stderr: a live display on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gristmill.launch.terminal.numbers import count, duration, share, size

if TYPE_CHECKING:
    from rich.console import Console

    from gristmill.pipeline.running.engine import Progress

PLAIN_SECONDS = 15.0
"""A log gets a line at most this often within one pass, besides the first and the last."""


@dataclass(frozen=True)
class Snapshot:
    """What is shown of a run.

    Attributes:
        step: what the run does: a pass, a node being settled, publishing.
        done, total: tasks of this pass.
        documents, text_bytes: read in this pass so far, without what interrupted attempts had done.
        bytes_per_second: of this pass; None before the first task ends.
        keep: (node, kept, entered) of the nodes decided so far.
        left: seconds to the end of the run, or None while it is not known.
    """

    step: str
    done: int
    total: int
    documents: int
    text_bytes: int
    bytes_per_second: float | None
    keep: tuple[tuple[str, int, int], ...]
    left: float | None

    def figures(self) -> str:
        """`1,234 documents, 5.6 MB/s, 12 s left`."""
        parts = [f"{count(self.documents)} documents"]
        if self.bytes_per_second is not None:
            parts.append(f"{size(self.bytes_per_second)}/s")
        if self.left is not None and self.left >= 0.5:
            parts.append(f"about {duration(self.left)} left")
        return ", ".join(parts)

    def keeps(self) -> str:
        """`language 93.1 %, quality 71.0 %`."""
        return ", ".join(f"{node} {share(kept, entered)}" for node, kept, entered in self.keep)


class Clock:
    """Turns the engine's reports into snapshots: rates from the tasks of this attempt, time left from their pace."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self.begin = now()
        self._pass = -1
        self._pass_begin = self.begin
        self._reused_before = 0
        self._base: tuple[int, int, int] = (0, 0, 0)

    def snapshot(self, progress: Progress) -> Snapshot:
        """The state of a run. Tasks that an interrupted attempt had committed count as done, not as fast."""
        now = self.now()
        if progress.pass_index != self._pass:
            self._pass, self._pass_begin, self._base = progress.pass_index, now, (0, 0, 0)
            self._reused_before = progress.reused
        if progress.reused > self._reused_before:
            # The engine goes through finished tasks first; what they add is no measure of speed.
            self._reused_before = progress.reused
            self._base = (progress.tasks_done, progress.documents, progress.text_bytes)
            self._pass_begin = now
        total, passes = len(progress.plan.slices), len(progress.plan.passes)
        tasks, fresh = progress.tasks_done - self._base[0], progress.text_bytes - self._base[2]
        spent = now - self._pass_begin
        speed = fresh / spent if tasks and spent > 0 else None
        left = None
        if tasks and spent > 0 and progress.stage.startswith("pass"):
            pace = spent / tasks
            left = pace * (total - progress.tasks_done + total * (passes - 1 - progress.pass_index))
        keep = tuple(
            (name, account.kept.rows, account.entered.rows)
            for name, account in progress.accounts.nodes.items()
            if account.entered.rows and name not in progress.plan.graph.sources
        )
        return Snapshot(
            progress.stage, progress.tasks_done, total, progress.documents, progress.text_bytes, speed, keep, left
        )


class PlainProgress:
    """Progress as lines of a log. A context manager, called with each Progress."""

    def __init__(self, console: Console, clock: Clock | None = None) -> None:
        self.console, self.clock = console, clock or Clock()
        self._step = ""
        self._said = 0.0

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def note(self, line: str) -> None:
        """A line of its own."""
        self.console.print(line, soft_wrap=True)

    def hint(self, line: str) -> None:
        """Why the first task may take long."""
        self.note(line)

    def __call__(self, progress: Progress) -> None:
        now = self.clock.now()
        shown = self.clock.snapshot(progress)
        ended = shown.done == shown.total and shown.step.startswith("pass")
        if shown.step == self._step and not ended and now - self._said < PLAIN_SECONDS:
            return
        self._step, self._said = shown.step, now
        if not shown.step.startswith("pass") or (not shown.done and shown.total):
            self.note(shown.step)
            return
        keeps = f"; kept: {shown.keeps()}" if shown.keep else ""
        self.note(f"{shown.step}: {shown.done} of {shown.total} tasks, {shown.figures()}{keeps}")


class LiveProgress:
    """Progress as a display that is redrawn: a bar over all passes, figures, keep rates by node."""

    def __init__(self, console: Console, clock: Clock | None = None) -> None:
        from rich.live import Live

        self.console, self.clock = console, clock or Clock()
        self._note = ""
        self._hint = ""
        self._shown: Snapshot | None = None
        self._passes = 1
        self._pass = 0
        self._live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._render)

    def __enter__(self) -> LiveProgress:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def note(self, line: str) -> None:
        """What goes on before the first task."""
        self._note = line

    def hint(self, line: str) -> None:
        """Why the first task may take long; shown until it ends."""
        self._hint = line

    def __call__(self, progress: Progress) -> None:
        self._passes, self._pass = len(progress.plan.passes), progress.pass_index
        self._shown = self.clock.snapshot(progress)

    def _render(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        shown = self._shown
        elapsed = duration(self.clock.now() - self.clock.begin)
        if shown is None:
            return Text(f"{self._note or 'starting'} … {elapsed}", style="dim", no_wrap=True, overflow="ellipsis")
        done, total = shown.done + self._pass * shown.total, shown.total * self._passes
        bar = Table.grid(padding=(0, 1, 0, 0), expand=True)
        bar.add_column(no_wrap=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True, justify="right")
        bar.add_row(
            Text(shown.step, style="bold"),
            ProgressBar(total=max(1, total), completed=done),
            Text(f"{shown.done}/{shown.total} tasks, {elapsed}"),
        )
        lines: list[Any] = [bar, Text("  " + shown.figures(), no_wrap=True, overflow="ellipsis")]
        if self._hint and not done:
            lines[1:] = [Text("  " + self._hint, style="dim", no_wrap=True, overflow="ellipsis")]
        if shown.keep:
            lines.append(Text("  kept: " + shown.keeps(), style="dim"))
        return Group(*lines)


class NoProgress:
    """Says nothing (`--quiet`)."""

    def __enter__(self) -> NoProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def note(self, line: str) -> None:
        """Nothing."""

    def hint(self, line: str) -> None:
        """Nothing."""

    def __call__(self, progress: Progress) -> None:
        return None


def progress_display(console: Console, *, quiet: bool = False) -> PlainProgress | LiveProgress | NoProgress:
    """The display that suits a console."""
    if quiet:
        return NoProgress()
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)
