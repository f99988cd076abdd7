"""The work folder: lease, claims and the paths of what lies between passes. Shared storage, cleaned on success."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.storage import create_once, reason, remove

LEASE_SECONDS = 60.0
"""A lease whose heartbeat is older than this is taken over."""

CLAIMS = "outputs.txt"
"""A work folder's list of the outputs that its runs write."""

DONE_WITH = "done-with.txt"
"""Names the run whose outputs, once they exist, leave the folder without use: a removal that was interrupted goes on."""

LEASE = "lease.json"
"""A work folder's lease; with CLAIMS, the files by which a work folder is recognised."""


def task_name(task: int) -> str:
    """`task-00012`."""
    return f"task-{task:05d}"


@dataclass(frozen=True)
class WorkFolder:
    """Paths of one run's work folder."""

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
        """Makes the folder unless it is there. Raises StorageError when that cannot be."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.root}: the work folder cannot be made: {reason(error)}") from error

    def mark_done_with(self, key: str) -> None:
        """Says that the folder may go as soon as the outputs of a run exist."""
        (self.root / DONE_WITH).write_text(key)

    def is_left_behind(self, key: str) -> bool:
        """Whether a finished run was stopped while it removed the folder."""
        if not self.root.is_dir():
            return False
        mark = self.root / DONE_WITH
        if mark.is_file():
            return mark.read_text() == key
        return {path.name for path in self.root.iterdir()} <= {LEASE}

    def remove(self) -> None:
        """Removes the folder; the mark and the lease go last."""
        if self.root.is_dir():
            for path in sorted(self.root.iterdir()):
                if path.name not in (DONE_WITH, LEASE):
                    remove(str(path))
        remove(str(self.root))


class Lease:
    """One driver at a time: a file with a heartbeat, taken over when its holder is gone.

    Raises StorageError on entry when another driver holds the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LEASE
        self.token = f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Lease:
        body = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": self.token}).encode()
        for _ in range(3):
            if create_once(self.path, body):
                self._thread.start()
                return self
            holder = self._holder()
            if holder is None:
                continue
            if not self._is_gone(holder):
                raise StorageError(
                    f"{self.path.parent}: another run holds this work folder (host {holder.get('host')}, process "
                    f"{holder.get('pid')}). Wait for it, stop it, or give this run other outputs (--output) or `work:`."
                )
            # Renaming is atomic: of several drivers that see a dead lease only one can take it away.
            taken = self.path.with_name(f"lease-{self.token.rpartition(':')[2]}.old")
            try:
                os.rename(self.path, taken)
            except FileNotFoundError:
                continue
            taken.unlink(missing_ok=True)
        raise StorageError(f"{self.path}: the lease could not be taken; other drivers are racing for it. Try again.")

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        holder = self._holder()
        if holder is not None and holder.get("token") == self.token:
            self.path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raises StorageError when somebody else has taken the folder since."""
        holder = self._holder()
        if holder is None or holder.get("token") != self.token:
            raise StorageError(
                f"{self.path.parent}: the lease was lost (this driver was stalled for over {LEASE_SECONDS:.0f} s). "
                "Run the command again: committed tasks are kept."
            )

    def _holder(self) -> dict[str, Any] | None:
        try:
            return dict(json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return None

    def _is_gone(self, holder: Mapping[str, Any]) -> bool:
        if holder.get("host") == socket.gethostname() and not _alive(int(holder["pid"])):
            return True
        try:
            return time.time() - self.path.stat().st_mtime > LEASE_SECONDS
        except FileNotFoundError:
            return False

    def _beat(self) -> None:
        while not self._stop.wait(LEASE_SECONDS / 6):
            try:
                os.utime(self.path)
            except FileNotFoundError:
                return


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
