"""What can be said of a submitted run, wherever it is: one state for all kinds of clusters."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from gristmill.launch.clusters.runs import RunRecord

RUN_KEY = "gristmill_run"
"""Key of a job's metadata that holds the run's name."""


class State(StrEnum):
    """States of a run."""

    waiting = "waiting"
    running = "running"
    done = "done"
    stopped = "stopped"
    failed = "failed"
    unknown = "unknown"

    @property
    def is_end(self) -> bool:
        """Whether nothing more will come of it by itself."""
        return self in (State.done, State.stopped, State.failed)


@dataclass(frozen=True)
class RunStatus:
    """What a cluster says about a run.

    Attributes:
        detail: the cluster's own words, such as why it waits.
        exit_code: of `gristmill run`, where it has ended and the cluster knows.
    """

    record: RunRecord
    state: State
    detail: str = ""
    exit_code: int | None = None

    @property
    def meaning(self) -> str:
        """The state and what it means for the user, in a line."""
        words = {
            2: "the config or the arguments are wrong",
            3: "the data stopped the run",
            75: "stopped; submit it again, and it goes on from there",
        }
        code = f"exit code {self.exit_code}" if self.exit_code else ""
        parts = [code, words.get(self.exit_code or 0, ""), self.detail]
        rest = "; ".join(part for part in parts if part)
        return f"{self.state}: {rest}" if rest else str(self.state)


def ended(exit_code: int) -> State:
    """The state after `gristmill run` ended with that code."""
    return State.done if exit_code == 0 else State.stopped if exit_code in (75, 130) else State.failed


Write = Callable[[str], None]
"""Takes a piece of a log as it comes."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """A log's text without what a terminal would obey: texts in it come from the web."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
