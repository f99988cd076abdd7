"""Who may write a folder: one driver at a time, on every kind of storage that replaces a file only if it is unchanged.

The lease is one record, `.gristmill-lease.json`, which is only ever replaced on the condition that it is as it was read. Its
holder renews it so; a renewal that fails means that somebody else took it. Nothing is locked or compared with a clock of
somebody else: a holder is gone when it said so, when its process ended on this machine, or when its record stays the same for
LEASE_SECONDS of the taker's own clock. Of all who then try to replace it one succeeds.
"""

from __future__ import annotations

import _thread
import json
import os
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.stopping import set_grace
from gristmill.pipeline.storage import delete_if, join, names_in, read_with_etag, remove, replace_if

LEASE_SECONDS = 60.0
"""A holder whose lease stays the same for so long is gone."""

BEAT_SECONDS = LEASE_SECONDS / 6
"""Time between two renewals."""

STOP_SECONDS = LEASE_SECONDS * 2 / 3
"""A holder that could not renew its lease for so long stops, well before another may take the folder."""

NAME = ".gristmill-lease.json"
_LEASE = re.compile(r"\.gristmill-lease\.json(?:\.[0-9]{12})?\Z")
_LEFT = re.compile(
    r"\.gristmill-probe-[0-9a-f]{32}(?:\.[0-9]{12})?\Z|"
    r"\.\.gristmill-(?:lease\.json|probe-[0-9a-f]{32})\.[0-9]{12}\.[0-9a-f]{16}\Z"
)
"""What is left by a process that was killed while it wrote a lease, or while it probed the storage."""
_TOKEN = re.compile(r"[0-9a-f]{32}\Z")
_TAKEN = "another run took it while this one stood still"
MOST_BYTES = 1 << 16
"""Bytes of a lease, at most."""
_MOST_BEFORE = 64
"""Holders that are gone, as a lease names them."""


def is_claim(name: str) -> bool:
    """Whether a file of that name, directly in a folder, belongs to the lease on the folder, or to a probe of its storage."""
    return bool(_LEASE.match(name) or _LEFT.match(name))


class Lease:
    """Holds a folder: from entry to exit nobody else does.

    Args:
        folder: what is held; a path or a URL.
        what: what it is to a person, such as "this work folder".
        says: what the lease tells besides who holds it: strings.
        waiting: is told, once, that a holder on another machine may be gone and is watched.

    Attributes:
        superseded: what the leases said of holders that are gone, until `forget`. Written by whoever made them.

    On entry raises StorageError when another driver holds the folder; on exit, when this one could not renew its lease.
    """

    def __init__(
        self,
        folder: str,
        what: str,
        says: Mapping[str, str] | None = None,
        waiting: Callable[[str], None] | None = None,
    ) -> None:
        self.folder, self.what, self.says = folder, what, dict(says or {})
        self.waiting = waiting
        self.token = secrets.token_hex(16)
        self.superseded: list[Mapping[str, Any]] = []
        self.lost: str | None = None
        self._location = join(folder, NAME)
        self._etag: str | None = None
        self._beats = 0
        self._done = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Lease:
        self._take()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self.lost is not None:
            raise StorageError(self.lost) from error
        if self._done and self._etag is not None:
            for name in names_in(self.folder):
                if _LEFT.match(name):
                    remove(join(self.folder, name))
            delete_if(self._location, self._etag)
        else:
            self._renew(released=True)

    def done(self) -> None:
        """The folder is as it shall be: on exit the lease goes, instead of being given back."""
        self._done = True

    def forget(self) -> None:
        """What holders that are gone have left is cleared: the lease names them no more."""
        self.superseded = []
        self.check()

    def check(self) -> None:
        """Raises StorageError when the folder is no longer this driver's."""
        if self.lost is None and not self._renew():
            self.lost = self._loss(_TAKEN)
        if self.lost is not None:
            raise StorageError(self.lost)

    # Taking

    def _take(self) -> None:
        watched: tuple[str | None, str] | None = None
        since = 0.0
        while True:
            there = read_with_etag(self._location)
            before: list[Mapping[str, Any]] = []
            if there is not None:
                says, seen = _parsed(there[0]), (_token(_parsed(there[0])), there[1])
                gone = says.get("released") is True or _ended_here(says)
                if not gone and _alive_here(says):
                    raise self._held(says)
                if not gone:
                    if watched is None or watched[0] != seen[0]:
                        if self.waiting is not None:
                            self.waiting(
                                f"{self.folder}: watching for {LEASE_SECONDS:.0f} s whether {_who(says)} is gone"
                            )
                        watched, since = seen, time.monotonic()
                    elif watched != seen:
                        raise self._held(says)
                    if time.monotonic() - since < LEASE_SECONDS:
                        time.sleep(min(1.0, LEASE_SECONDS / 20))
                        continue
                known = says.get("before")
                before = [one for one in known if isinstance(one, dict)] if isinstance(known, list) else []
                before.append({name: value for name, value in says.items() if isinstance(value, str)})
            self.superseded = before[-_MOST_BEFORE:]
            self._etag = replace_if(self._location, self._body(False), there[1] if there is not None else None)
            if self._etag is not None:
                return
            # Somebody else was first, or is taking it: look again.

    def _body(self, released: bool) -> bytes:
        self._beats += 1
        said = {**self.says, "token": self.token, **_here(), "beat": self._beats, "released": released}
        return json.dumps({**said, "before": self.superseded}, sort_keys=True).encode()

    def _held(self, says: Mapping[str, Any]) -> StorageError:
        return StorageError(
            f"{self.folder}: another run holds {self.what} ({_who(says)}). Wait for it, stop it, or give this run other "
            "outputs (--output) or `work:`."
        )

    # Holding

    def _renew(self, released: bool = False) -> bool:
        """Replaces the lease by a newer one of its own; False when it is no longer this driver's."""
        with self._lock:
            for _ in range(3):
                etag = replace_if(self._location, self._body(released), self._etag, seconds=BEAT_SECONDS)
                if etag is not None:
                    self._etag = etag
                    return True
                # A store may refuse one of two writes at the same time, though neither won; what stands there decides.
                there = read_with_etag(self._location)
                if there is None or _parsed(there[0]).get("token") != self.token:
                    return False
                self._etag = there[1]
            return False

    def _keep(self) -> None:
        renewed = time.monotonic()
        while not self._stop.wait(BEAT_SECONDS):
            try:
                if not self._renew():
                    self._lose(_TAKEN)
                    return
                renewed = time.monotonic()
            except Exception as error:  # whatever it is, it must not end the renewals unnoticed
                if time.monotonic() - renewed > STOP_SECONDS:
                    self._lose(f"it could not be renewed for {time.monotonic() - renewed:.0f} s ({error})")
                    return

    def _lose(self, why: str) -> None:
        self.lost = self._loss(why)
        # The run is in the middle of something: stop it as a signal would, without delay, and say why on exit.
        set_grace(0)
        number = signal.SIGTERM if callable(signal.getsignal(signal.SIGTERM)) else signal.SIGINT
        _thread.interrupt_main(number)

    def _loss(self, why: str) -> str:
        return (
            f"{self.folder}: the lease on {self.what} was lost: {why}. Run the command again: committed tasks are kept."
        )


def _parsed(data: bytes | None) -> dict[str, Any]:
    """A lease's content; nothing for what is no JSON map, as after a power cut."""
    try:
        value = json.loads(data or b"null")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _token(says: Mapping[str, Any]) -> str | None:
    token = says.get("token")
    return token if isinstance(token, str) and _TOKEN.match(token) else None


def _who(says: Mapping[str, Any]) -> str:
    host, pid, work = (str(says.get(name, "unknown"))[:200] for name in ("host", "pid", "work"))
    return f"host {host}, process {pid}" + (f", work folder {work}" if "work" in says else "")


def _here() -> dict[str, Any]:
    """This process among all others: machine as it is since it was started, process namespace, number, start."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "machine": _machine(), "started": _started(os.getpid())}


def _machine() -> str | None:
    """Names this boot of this machine and the process namespace; None where that cannot be known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """When a process of this machine began, in its kernel's ticks; None when there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]


def _same_machine(says: Mapping[str, Any]) -> bool:
    machine = _machine()
    return machine is not None and says.get("machine") == machine and isinstance(says.get("pid"), int)


def _alive_here(says: Mapping[str, Any]) -> bool:
    return _same_machine(says) and says.get("started") is not None and _started(says["pid"]) == says["started"]


def _ended_here(says: Mapping[str, Any]) -> bool:
    return _same_machine(says) and says.get("started") is not None and _started(says["pid"]) != says["started"]
