"""Who may write a folder: one driver at a time, on every kind of storage that can create a file only if there is none.

A claim is a file `.gristmill-claim-N.json`, created once and never changed; the one with the highest N holds the folder. Its
holder renews a file of its own, `.gristmill-beat-TOKEN.json`. Whoever finds a holder gone creates claim N + 1: of all who
try, one succeeds. Nothing is replaced, locked or compared with a clock of somebody else: a holder is gone when it said so,
when its process ended on this machine, or when its beat stays the same for LEASE_SECONDS of the taker's own clock.
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
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.stopping import set_grace
from gristmill.pipeline.storage import join, names_in, put, put_if_absent, read_small, remove

LEASE_SECONDS = 60.0
"""A holder whose beat stays the same for so long is gone."""

BEAT_SECONDS = LEASE_SECONDS / 6
"""Time between two beats."""

STOP_SECONDS = LEASE_SECONDS * 2 / 3
"""A holder that could not renew its beat for so long stops, well before another may take the folder."""

_CLAIM = re.compile(r"\.gristmill-claim-([0-9]{6})\.json\Z")
_BEAT = re.compile(r"\.gristmill-beat-[0-9a-f]{32}\.json\Z")
_PARTIAL = re.compile(r"\.\.gristmill-(?:claim-[0-9]{6}|beat-[0-9a-f]{32})\.json\.[0-9a-f]{16}\Z")
"""What is left of a claim or a beat by a process that was killed while it wrote it."""

_TOKEN = re.compile(r"[0-9a-f]{32}\Z")
MOST_BYTES = 1 << 14
"""Bytes of a claim or a beat."""


def is_claim(name: str) -> bool:
    """Whether a file of that name, directly in a folder, belongs to the claims on the folder."""
    return bool(_CLAIM.match(name) or _BEAT.match(name) or _PARTIAL.match(name))


@dataclass(frozen=True)
class Claim:
    """A claim as it stands on storage. Everything in `says` was written by whoever made it."""

    epoch: int
    says: Mapping[str, Any]

    @property
    def token(self) -> str | None:
        token = self.says.get("token")
        return token if isinstance(token, str) and _TOKEN.match(token) else None


class Lease:
    """Holds a folder: from entry to exit nobody else does.

    Args:
        folder: what is held; a path or a URL.
        what: what it is to a person, such as "this work folder".
        says: what the claim tells besides who holds it: strings.
        waiting: is told, once, that a holder on another machine may be gone and is watched.

    Attributes:
        superseded: the claims that were there before, of holders that are gone. They stay until `forget`.

    On entry raises StorageError when another driver holds the folder; on exit, when this one could not renew its beat.
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
        self.superseded: list[Claim] = []
        self.lost: str | None = None
        self._epoch = 0
        self._beats = 0
        self._done = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Lease:
        self._take()
        self._beat(released=False)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self.lost is not None:
            raise StorageError(self.lost) from error
        if not self._holds():
            return
        if self._done:
            self.forget()
            remove(join(self.folder, _beat_name(self.token)))
            remove(join(self.folder, _claim_name(self._epoch)))
        else:
            self._beat(released=True)

    def done(self) -> None:
        """The folder is as it shall be: on exit the claim goes, instead of being given back."""
        self._done = True

    def forget(self) -> None:
        """Removes the claims that this one took the place of, and what is left of others."""
        for name in names_in(self.folder):
            claim = _CLAIM.match(name)
            if (claim and int(claim[1]) < self._epoch) or (not claim and is_claim(name) and self.token not in name):
                remove(join(self.folder, name))
        self.superseded = []

    def check(self) -> None:
        """Raises StorageError when the folder is no longer this driver's."""
        if self.lost is None and not self._holds():
            self.lost = self._loss("another run took it while this one stood still")
        if self.lost is not None:
            raise StorageError(self.lost)

    # Taking

    def _take(self) -> None:
        watched: tuple[int, bytes | None] | None = None
        since = 0.0
        while True:
            claims = self._claims()
            if claims:
                newest = claims[-1]
                beat = self._beat_of(newest)
                gone = _released(beat) or _ended_here(newest.says)
                if not gone and _alive_here(newest.says):
                    raise self._held(newest)
                if not gone:
                    seen = newest.epoch, beat
                    if watched is None or watched[0] != seen[0]:
                        if self.waiting is not None:
                            self.waiting(
                                f"{self.folder}: watching for {LEASE_SECONDS:.0f} s whether {_who(newest)} is gone"
                            )
                        watched, since = seen, time.monotonic()
                    elif watched != seen:
                        raise self._held(newest)
                    if time.monotonic() - since < LEASE_SECONDS:
                        time.sleep(min(1.0, LEASE_SECONDS / 20))
                        continue
            epoch = claims[-1].epoch + 1 if claims else 1
            if epoch > 999_999:
                raise StorageError(f"{self.folder}: it was claimed a million times. Choose another folder.")
            body = {**self.says, "token": self.token, **_here()}
            if put_if_absent(join(self.folder, _claim_name(epoch)), json.dumps(body, sort_keys=True).encode()):
                self._epoch = epoch
                if self._holds():
                    self.superseded = claims
                    return
                # Whoever came first was done, and others came after, between looking and creating.
                remove(join(self.folder, _claim_name(epoch)))

    def _claims(self) -> list[Claim]:
        found = []
        for name in names_in(self.folder):
            matched = _CLAIM.match(name)
            if matched:
                found.append(Claim(int(matched[1]), _parsed(read_small(join(self.folder, name), MOST_BYTES))))
        return sorted(found, key=lambda claim: claim.epoch)

    def _beat_of(self, claim: Claim) -> bytes | None:
        return None if claim.token is None else read_small(join(self.folder, _beat_name(claim.token)), MOST_BYTES)

    def _held(self, claim: Claim) -> StorageError:
        return StorageError(
            f"{self.folder}: another run holds {self.what} ({_who(claim)}). Wait for it, stop it, or give this run other "
            "outputs (--output) or `work:`."
        )

    # Holding

    def _holds(self) -> bool:
        epochs = [int(matched[1]) for matched in map(_CLAIM.match, names_in(self.folder)) if matched]
        if not epochs or max(epochs) != self._epoch:
            return False
        says = _parsed(read_small(join(self.folder, _claim_name(self._epoch)), MOST_BYTES))
        return says.get("token") == self.token

    def _beat(self, released: bool) -> None:
        self._beats += 1
        body = json.dumps({"beat": self._beats, "released": released}).encode()
        put(join(self.folder, _beat_name(self.token)), body, seconds=BEAT_SECONDS)

    def _keep(self) -> None:
        renewed = time.monotonic()
        while not self._stop.wait(BEAT_SECONDS):
            try:
                self._beat(released=False)
                if not self._holds():
                    self._lose("another run took it while this one stood still")
                    return
                renewed = time.monotonic()
            except Exception as error:  # whatever it is, it must not end the beat unnoticed
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
            f"{self.folder}: the claim on {self.what} was lost: {why}. Run the command again: committed tasks are kept."
        )


def _claim_name(epoch: int) -> str:
    return f".gristmill-claim-{epoch:06d}.json"


def _beat_name(token: str) -> str:
    return f".gristmill-beat-{token}.json"


def _parsed(data: bytes | None) -> dict[str, Any]:
    """A claim's or beat's content; nothing for what is no JSON map, as after a power cut."""
    try:
        value = json.loads(data or b"null")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _released(beat: bytes | None) -> bool:
    return _parsed(beat).get("released") is True


def _who(claim: Claim) -> str:
    host, pid, work = (str(claim.says.get(name, "unknown"))[:200] for name in ("host", "pid", "work"))
    return f"host {host}, process {pid}" + (f", work folder {work}" if "work" in claim.says else "")


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
