"""The work folder: the paths of what lies between passes. Shared storage, cleaned on success.

A run's files lie in one folder within it, RUN_FILES, and that is all that is ever removed: whatever else a folder holds
that was given as `work:` stays.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.lease import is_claim
from gristmill.pipeline.storage import names_in, put, read_small, reason, remove

RUN_FILES = "gristmill-run"
"""The one folder in a work folder that holds a run's files."""

DONE_WITH = ".gristmill-done-with"
"""In a work folder: names the run whose outputs, once they exist, leave it without use. A removal that was interrupted
goes on by it."""


def task_name(task: int) -> str:
    """`task-00012`."""
    return f"task-{task:05d}"


@dataclass(frozen=True)
class WorkFolder:
    """Paths of one run's files in its work folder.

    Attributes:
        root: the folder RUN_FILES in the work folder.
    """

    root: Path

    def holds(self, path: str) -> bool:
        """Whether a path from a record leads to a file inside the folder, whatever it says and whatever links there are."""
        real = os.path.realpath(self.root)
        return os.path.realpath(os.path.join(real, path)).startswith(real + os.sep)

    @property
    def kept(self) -> Path:
        """What stages keep for the run's other tasks and for the next attempt (see `StageContext.work`)."""
        return self.root / "kept"

    def make(self) -> None:
        """Makes the folder unless it is there. Raises StorageError when that cannot be, or when a link stands for it."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.root}: the work folder cannot be made: {reason(error)}") from error
        if self.root.is_symlink():
            raise StorageError(f"{self.root}: this is a link, and what it leads to would be removed. Remove the link.")

    def mark_done_with(self, key: str) -> None:
        """Says that the folder may go as soon as the outputs of a run exist."""
        put(str(self.root.parent / DONE_WITH), key.encode())

    def is_left_behind(self, key: str) -> bool:
        """Whether a finished run was stopped while it removed the folder."""
        if not self.root.parent.is_dir():
            return False
        if read_small(str(self.root.parent / DONE_WITH), 1 << 10) == key.encode():
            return True
        return all(is_claim(name) or DONE_WITH in name for name in names_in(str(self.root.parent)))

    def remove(self) -> None:
        """Removes what runs have written; the mark goes last."""
        remove(str(self.root))
        for name in names_in(str(self.root.parent)):
            if name.lstrip(".").startswith(DONE_WITH.lstrip(".")):  # what a killed process left of it, too
                remove(str(self.root.parent / name))

    def remove_place(self) -> None:
        """Removes the work folder itself, unless somebody has put something else there."""
        with contextlib.suppress(OSError):
            self.root.parent.rmdir()
