"""Tasks of a pass that failed wherever they were tried: counted, listed in the work folder, told when the pass has ended."""

from __future__ import annotations

import json

from gristmill.pipeline.errors import GristmillError, InputSetAside, StorageError, StorageSetAside
from gristmill.pipeline.executor import SetAside
from gristmill.pipeline.storage import join, put

FEWEST = 10
SHARE = 0.001
"""A pass goes on while at most FEWEST of its tasks, or this share of them, are set aside: more have a common cause."""

_TOLD = 3
"""Tasks that a message names."""
_REASON = 600
"""Characters of a reason in a message."""


class TasksSetAside:
    """The tasks of one pass that were set aside.

    Args:
        folder: the run's work folder, for the list of them.
        name: the pass, for messages.
        tasks: of the whole pass.
    """

    def __init__(self, folder: str, name: str, tasks: int) -> None:
        self.folder, self.name, self.tasks = folder, name, tasks
        self.most = max(FEWEST, int(SHARE * tasks))
        self.found: list[tuple[int, SetAside]] = []

    def add(self, task: int, one: SetAside) -> None:
        """Raises as `check` does when there are too many to go on."""
        self.found.append((task, one))
        if len(self.found) > self.most:
            raise self._error("That is too many to go on: the rest of the pass was not tried")

    def check(self) -> None:
        """After the pass: raises InputSetAside or StorageSetAside unless there are none."""
        if self.found:
            others = len(self.found) < self.tasks
            raise self._error("The other tasks are committed" if others else "No task is committed")

    def _error(self, rest: str) -> GristmillError:
        self.found.sort(key=lambda item: item[0])
        place = join(self.folder, "set-aside.jsonl")
        lines = [
            json.dumps(
                {"task": task, "file": one.subject, "reason": one.reason, "input_is_cause": one.input_is_cause},
                ensure_ascii=False,
            )
            for task, one in self.found
        ]
        try:
            put(place, ("\n".join(lines) + "\n").encode())
            where = f"All of them are in {place}."
        except StorageError as error:  # the very storage that failed the tasks
            where = f"The list of them could not be written ({error})."
        # What must be mended first comes first: a store may be back by itself.
        by_cause = sorted(self.found, key=lambda item: not item[1].input_is_cause)
        told = [
            one.reason if one.subject in one.reason else f"{one.subject}: {one.reason}" for _, one in by_cause[:_TOLD]
        ]
        more = f"\n  and {len(self.found) - _TOLD} more" if len(self.found) > _TOLD else ""
        message = (
            f"{self.name}: {len(self.found)} of {self.tasks} task{'s' if self.tasks != 1 else ''} set aside. {rest}; nothing "
            "was settled or published without them.\n  "
            + "\n  ".join(text[:_REASON] for text in told)
            + f"{more}\n{where} Mend what is wrong with the input or the storage; the same command tries "
            "just these."
        )
        kind = InputSetAside if any(one.input_is_cause for _, one in self.found) else StorageSetAside
        return kind(message)
