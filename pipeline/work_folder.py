"""The work folder: the paths of what lies between passes. Shared storage, cleaned on success.

A run's files lie in one folder within it, RUN_FILES, and that is all that is ever removed: whatever else a folder holds
that was given as `work:` stays.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from dataclasses import dataclass

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.lease import is_claim
from gristmill.pipeline.storage import is_remote, join, local, names_in, put, read_small, reason, remove

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
    """Locations of one run's files in its work folder: a path or a URL of a bucket.

    Attributes:
        place: the work folder.
    """

    place: str

    @property
    def root(self) -> str:
        """The folder RUN_FILES in the work folder."""
        return self.at()

    def at(self, *parts: str) -> str:
        """Where a file of the run lies, given its path in RUN_FILES."""
        return join(self.place, RUN_FILES, *parts)

    def holds(self, path: str) -> bool:
        """Whether a path from a record leads to a file inside the folder, whatever it says and whatever links there are."""
        if is_remote(self.place):
            return path == posixpath.normpath(path) and not path.startswith(("/", ".."))
        real = os.path.realpath(local(self.root))
        return os.path.realpath(os.path.join(real, path)).startswith(real + os.sep)

    @property
    def kept(self) -> str:
        """What stages keep for the run's other tasks and for the next attempt (see `StageContext.work`)."""
        return self.at("kept")

    def make(self) -> None:
        """Makes the folder unless it is there. Raises StorageError when that cannot be, or when a link stands for it."""
        if is_remote(self.place):
            return  # there are no folders in a bucket
        root = local(self.root)
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.root}: the work folder cannot be made: {reason(error)}") from error
        if root.is_symlink():
            raise StorageError(f"{self.root}: this is a link, and what it leads to would be removed. Remove the link.")

    def mark_done_with(self, key: str) -> None:
        """Says that the folder may go as soon as the outputs of a run exist."""
        put(join(self.place, DONE_WITH), key.encode())

    def is_left_behind(self, key: str) -> bool:
        """Whether a finished run was stopped while it removed the folder."""
        names = names_in(self.place)
        if DONE_WITH in names and read_small(join(self.place, DONE_WITH), 1 << 10) == key.encode():
            return True
        there = names or (not is_remote(self.place) and local(self.place).is_dir())
        return bool(there) and all(is_claim(name) or DONE_WITH in name for name in names)

    def remove(self) -> None:
        """Removes what runs have written; the mark goes last."""
        remove(self.root)
        for name in names_in(self.place):
            if name.lstrip(".").startswith(DONE_WITH.lstrip(".")):  # what a killed process left of it, too
                remove(join(self.place, name))

    def remove_place(self) -> None:
        """Removes the work folder itself, unless somebody has put something else there."""
        if not is_remote(self.place):
            with contextlib.suppress(OSError):
                local(self.place).rmdir()
