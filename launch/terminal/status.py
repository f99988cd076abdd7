"""A run's status for a person: one line, or a screen with a bar, figures, documents by node, what is slow or failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gristmill.launch.terminal.numbers import count, duration, excerpt, plain, share, size

if TYPE_CHECKING:
    from gristmill.pipeline.running.status import NodeStatus, RunStatus

MOST_NODES = 14
"""Nodes that a screen has rows for; the last ones, where work goes on, are shown."""

MOST_CELLS = 160
"""Of an error or a path in a list."""


def figures(status: RunStatus) -> str:
    """`1,234 documents, 5.6 MB/s, about 12 s left`."""
    parts = []
    if status.step.startswith("pass"):
        parts.append(f"{count(status.documents)} documents")
        if status.bytes_per_second is not None:
            parts.append(f"{size(status.bytes_per_second)}/s")
    elif status.step_done:
        parts.append(f"{count(status.step_done)} tasks")
    if status.left is not None and status.left >= 0.5:
        parts.append(f"about {duration(status.left)} left")
    return ", ".join(parts)


def keeps(status: RunStatus) -> str:
    """`language 93.1 %, quality 71.0 %`."""
    return ", ".join(f"{plain(node.name)} {share(node.emitted, node.entered)}" for node in status.nodes)


def troubles(status: RunStatus) -> list[str]:
    """Slow and failed tasks, a line each; the last line says of how many."""
    lines = [
        f"slow: {excerpt(task.path or 'a task of an exchange', MOST_CELLS)}, {duration(task.seconds or 0.0)}"
        for task in status.slowest[:3]
    ]
    if status.slow > len(lines):
        lines.append(f"slow: {count(status.slow)} tasks in all, of {count(status.under_way)} under way")
    failed = [
        f"failed: {excerpt(task.path, MOST_CELLS)}: {excerpt(task.error or '', MOST_CELLS)}"
        for task in status.failures[-3:]
    ]
    if status.failed > len(failed):
        failed.append(f"failed: {count(status.failed)} tasks in all")
    return lines + failed


def status_line(status: RunStatus) -> str:
    """One line of a log."""
    in_pass = status.step.startswith("pass")
    if in_pass and not status.done and status.elapsed < 5:
        return status.step
    parts = [f"{count(status.done)} of {count(status.tasks)} tasks"] if in_pass else []
    if told := figures(status):
        parts.append(told)
    line = f"{status.step}: {', '.join(parts)}" if parts else status.step
    if in_pass and status.nodes:
        line += f"; kept: {keeps(status)}"
    return "; ".join([line, *troubles(status)])


def screen(status: RunStatus, done: float | None = None) -> list[Any]:
    """A run as rich renderables.

    Args:
        done: share of the whole run for the bar, from 0 to 1; None for no bar.
    """
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 1, 0, 0), expand=True)
    head.add_column(no_wrap=True)
    head.add_column(ratio=1)
    head.add_column(no_wrap=True, justify="right")
    tasks = f"{count(status.done)}/{count(status.tasks)} tasks, " if status.step.startswith("pass") else ""
    bar = ProgressBar(total=1.0, completed=done) if done is not None else ""
    head.add_row(Text(plain(status.step), style="bold"), bar, Text(f"{tasks}{duration(status.elapsed)}"))
    lines: list[Any] = [head]
    if told := figures(status):
        lines.append(Text(f"  {told}", no_wrap=True, overflow="ellipsis"))
    if status.nodes:
        lines.append(_nodes(status.nodes))
    lines += [Text(f"  {line}", style="yellow", no_wrap=True, overflow="ellipsis") for line in troubles(status)]
    return lines


def _nodes(nodes: list[NodeStatus]) -> Any:
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=40)
    for _ in range(3):
        table.add_column(no_wrap=True, justify="right")
    table.add_row("  stage", "documents", "kept", "", style="dim")
    hidden = max(0, len(nodes) - MOST_NODES)
    if hidden:
        table.add_row(f"  … {hidden} more", "", "", "", style="dim")
    for node in nodes[hidden:]:
        aside = f"{count(node.quarantined)} quarantined" if node.quarantined else ""
        table.add_row(f"  {plain(node.name)}", count(node.entered), share(node.emitted, node.entered), aside)
    return table
