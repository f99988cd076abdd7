"""`gristmill status` of a folder: what a run's driver last said, and whether it still says something."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from gristmill.launch.terminal.console import columns, out, say, say_json
from gristmill.launch.terminal.numbers import count, duration, plain, share, size
from gristmill.launch.terminal.status import figures, troubles

if TYPE_CHECKING:
    from gristmill.pipeline.running.status import RunStatus

WAITS = 3.0
"""Times the interval at which a driver writes its status that the reader waits for the next one."""


def show_status(location: str, as_json: bool = False, wait: bool = True) -> int:
    """Prints the status of the run of a work folder, or of an output. Returns 0: the run is on, or done; 75: it stopped
    and goes on with the same command; 1: it failed.

    Args:
        location: a work folder, or an output.
        wait: look twice at a run that says that it is on, to see whether its driver is alive.

    Raises ConfigError where there is no run.
    """
    from gristmill.pipeline.errors import ConfigError
    from gristmill.pipeline.provenance.values import to_json
    from gristmill.pipeline.running.status import read_status, run_files
    from gristmill.pipeline.running.task_log import LOGS, log_names

    status = read_status(location)
    if status is None:
        raise ConfigError(
            f"{location}: there is no run, finished or not. Give the work folder of a run (`work:` in its config; by default "
            "the folder OUTPUT.work beside its first output), or a finished output."
        )
    alive: bool | None = None
    if not status.over and wait:
        status, alive = still_says(location, status)
    if as_json:
        say_json({**to_json(status), "alive": alive})
    else:
        print_status(status, alive)
        folder = run_files(location)
        logs = log_names(folder) if folder is not None else []
        if logs:
            say(f"{count(len(logs))} task logs with warnings or errors in {plain(f'{folder}/{LOGS}')}")
    if status.state == "failed":
        return 1
    return 75 if status.state == "stopped" or alive is False else 0


def still_says(location: str, status: RunStatus) -> tuple[RunStatus, bool]:
    """The next status of a run, and whether there was one within WAITS times the interval."""
    from gristmill.pipeline.running.status import read_status

    until = time.monotonic() + WAITS * max(0.5, min(status.every, 60.0))
    while time.monotonic() < until:
        time.sleep(0.25)
        found = read_status(location)
        if found is None:  # a finished run takes its work folder with it
            return replace(status, state="done"), True
        if found.over or (found.number, found.process, found.started) != (
            status.number,
            status.process,
            status.started,
        ):
            return found, True
    return status, False


def print_status(status: RunStatus, alive: bool | None = None) -> None:
    """A status for a person. `alive`: whether the driver was seen to write; None where nobody looked."""
    name = plain(status.name)
    if status.state == "done" and not status.workers:
        text = f"{count(status.documents)} documents, {size(status.text_bytes)} of text"
        say(f"{name}: done; {text}, {count(status.tasks)} slices")
    else:
        say(f"{name}: {_state(status, alive)}")
        where = f"host {plain(status.host)}, process {status.process}, {count(status.workers)} at the same time"
        say(f"  {where}; started {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(status.started))} by its clock")
        if not status.over or status.step != "publishing":
            tasks = f", {count(status.done)} of {count(status.tasks)} tasks" if status.step.startswith("pass") else ""
            told = figures(status)
            say(f"  {plain(status.step)}{tasks}{', ' + told if told else ''}")
        if status.reused:
            say(f"  {count(status.reused)} tasks were there from an earlier attempt")
    for line in troubles(status):
        say(f"  {line}")
    if status.error:
        say(f"  {plain(status.error[:4000])}")
    if status.nodes:
        say()
        table = columns(
            ("stage", "left"), ("documents", "right"), ("kept", "right"), ("dropped", "right"), ("quarantined", "right")
        )
        for node in status.nodes:
            table.add_row(
                plain(node.name),
                count(node.entered),
                share(node.emitted, node.entered),
                count(node.dropped),
                count(node.quarantined),
            )
        out().print(table)
    say()
    for output, path in status.outputs.items():
        say(f"{plain(output)}: {plain(path)}")


def _state(status: RunStatus, alive: bool | None) -> str:
    elapsed = duration(status.elapsed)
    if status.state == "running":
        if alive is False:
            return (
                f"no sign of its driver for {duration(WAITS * status.every)}; its last words came {elapsed} after its start. "
                "If its process is gone, the same command goes on from there"
            )
        return f"on, for {elapsed}"
    if status.state == "done":
        return f"done in {elapsed}"
    if status.state == "stopped":
        return f"stopped after {elapsed}; the same command goes on from there"
    return f"failed after {elapsed}; committed tasks are kept, and the same command goes on from there"
