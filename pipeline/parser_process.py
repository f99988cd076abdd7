"""A persistent process that parses foreign bytes: pages go in by pipe, answers come out, and a page that kills it hurts only
itself.

The process is started by exec, imports the parser alone, ends with its parent, is killed when a page takes too long, may map so
much memory and no more, and is replaced when it has grown. Several pages are on their way at a time, so that it never waits.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.key_variable import environment_without_key
from gristmill.pipeline.parser_child import ANSWER, LAST, NO_MEMORY, PAGE, PARSED, RAISED, READY

START_SECONDS = 120.0
"""Time that a process may take to import its parsers."""
RETRY = 10
"""How much more time a page gets that is tried once more, alone in a new process."""
ON_THE_WAY = 1 << 20
"""Bytes of pages that are sent ahead of the answers."""
_KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(64 << 20), "MALLOC_MMAP_THRESHOLD_": str(32 << 20)}
"""For glibc: what one page's tree took is left for the next, instead of being given back and zeroed anew each time."""
_CHILD = str(Path(__file__).with_name("parser_child.py"))
_shared: dict[tuple[int, str], ParserProcess] = {}

Page = tuple[bytes, "bytes | memoryview"]
"""A note about a page, and its body."""


class ParserUnusable(GristmillError):
    """The parsers cannot be loaded in a process of their own."""


@dataclass(frozen=True)
class Failed:
    """A page without an answer.

    Attributes:
        kind: `error` (the parser raised it: so it will again), `timeout` or `crash` (also for want of memory), both also
            when it was tried alone.
        detail: the error, the signal or the seconds.
    """

    kind: Literal["error", "timeout", "crash"]
    detail: str


@dataclass
class _Traffic:
    """Bytes and pages between the two processes in one go."""

    pages: deque[Page]
    sent: deque[int] = field(default_factory=deque)
    outgoing: deque[memoryview] = field(default_factory=deque)
    incoming: bytearray = field(default_factory=bytearray)
    answers: list[bytes | Failed] = field(default_factory=list)

    def fill(self) -> None:
        """Puts pages on their way, at least one and no more than ON_THE_WAY bytes ahead."""
        while self.pages and (not self.sent or sum(self.sent) + len(self.pages[0][1]) <= ON_THE_WAY):
            note, body = self.pages.popleft()
            self.sent.append(len(body))
            self.outgoing += [memoryview(PAGE.pack(len(note), len(body)) + note), memoryview(body)]


class ParserProcess:
    """A parser process, started when it is first asked and again when it has ended.

    Args:
        file: a module whose `make(settings)` gives `parse(note, body) -> bytes`; it imports nothing of Gristmill.
        settings: any JSON value.
        address_space: bytes that it may map.
        resident: bytes of resident memory above which it is replaced.
    """

    def __init__(
        self, file: str, settings: Mapping[str, Any], *, address_space: int = 4 << 30, resident: int = 600 << 20
    ) -> None:
        self._start = {
            "file": file,
            "settings": settings,
            "address_space": address_space,
            "resident": resident,
            "path": [entry for entry in sys.path if entry],
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ParserProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The process's number, or None when there is none."""
        return None if self._process is None else self._process.pid

    def parse(self, pages: Sequence[Page], seconds: float) -> list[bytes | Failed]:
        """What the parser gives of each page. A page that takes longer than `seconds`, or ends the process, is tried once
        more, alone and with RETRY times the time; the others are none the worse.

        Raises ParserUnusable when the parsers cannot be loaded.
        """
        answers: list[bytes | Failed] = []
        while len(answers) < len(pages):
            found, failure = self._go(pages[len(answers) :], seconds)
            answers += found
            if failure is not None:
                self.stop()
                again, failure = self._go(pages[len(answers) : len(answers) + 1], RETRY * seconds)
                if failure is not None:
                    self.stop()
                answers.append(again[0] if failure is None else failure)
        return answers

    def _go(self, pages: Sequence[Page], seconds: float) -> tuple[list[bytes | Failed], Failed | None]:
        """Answers for the first of some pages: for all, or up to the last that a process answered which had grown, or up
        to one that failed."""
        process = self._started()
        if process.stdin is None or process.stdout is None:
            raise ParserUnusable("the parser process has no pipes")
        traffic = _Traffic(deque(pages))
        into, out = process.stdin.fileno(), process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            end, waits_to_write = time.monotonic() + seconds, False
            while len(traffic.answers) < len(pages):
                traffic.fill()
                with contextlib.suppress(BrokenPipeError):  # the end of its output says so too
                    _write(into, traffic.outgoing)
                if traffic.outgoing and not waits_to_write:
                    selector.register(into, selectors.EVENT_WRITE)
                elif not traffic.outgoing and waits_to_write:
                    selector.unregister(into)
                waits_to_write = bool(traffic.outgoing)
                left = end - time.monotonic()
                ready = {key.fd for key, _ in selector.select(left)} if left > 0 else set()
                if out in ready:
                    chunk = os.read(out, 1 << 16)
                    if not chunk:
                        return traffic.answers, Failed("crash", self._how_it_ended())
                    traffic.incoming += chunk
                    before = len(traffic.answers)
                    kind = _take_answers(traffic)
                    if kind is not None and kind & LAST:
                        self.stop()
                        short = kind & ~LAST == NO_MEMORY
                        return traffic.answers, Failed("crash", "it ran out of memory") if short else None
                    if len(traffic.answers) > before:
                        end = time.monotonic() + seconds
                elif time.monotonic() >= end:
                    return traffic.answers, Failed("timeout", f"{seconds:g} s")
        return traffic.answers, None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            environment = {**_KEEP_MEMORY, **environment_without_key(), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
            self._process = process = subprocess.Popen(
                [sys.executable, "-P", _CHILD, json.dumps({**self._start, "parent": os.getpid()})],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            if process.stdin is None or process.stdout is None:
                raise ParserUnusable("the parser process has no pipes")
            kind, text = self._greeting(process.stdout.fileno())
            if kind != READY:
                self.stop()
                raise ParserUnusable(f"{self._start['file']}: the parser cannot be loaded: {text}")
            os.set_blocking(process.stdin.fileno(), False)
            if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux: 64 KiB at first, so that a page takes several turns of both
                with contextlib.suppress(OSError):  # more than this user may have: slower, and that is all
                    fcntl.fcntl(process.stdin.fileno(), fcntl.F_SETPIPE_SZ, ON_THE_WAY)
        return self._process

    def _greeting(self, out: int) -> tuple[int | None, str]:
        data, end = bytearray(), time.monotonic() + START_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            while True:
                if len(data) >= ANSWER.size:
                    kind, size = ANSWER.unpack_from(data)
                    if len(data) >= ANSWER.size + size:
                        return kind, bytes(data[ANSWER.size :]).decode("utf-8", "replace")
                left = end - time.monotonic()
                if left <= 0 or not selector.select(left):
                    return None, f"it took more than {START_SECONDS:g} s"
                chunk = os.read(out, 1 << 16)
                if not chunk:
                    return None, f"it ended with {self._how_it_ended()}"
                data += chunk

    def _how_it_ended(self) -> str:
        code = self.stop(kill=False)
        if code is not None and code < 0:
            return f"signal {-code} ({signal.Signals(-code).name})"
        return f"exit code {code}"

    def stop(self, kill: bool = True) -> int | None:
        """Ends the process; returns its exit code, None when there is none. Without `kill` it is given a moment to end."""
        process, self._process = self._process, None
        if process is None:
            return None
        if not kill:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2)
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return process.wait()


def _write(into: int, outgoing: deque[memoryview]) -> None:
    with contextlib.suppress(BlockingIOError):
        while outgoing:
            sent = os.write(into, outgoing[0][: 1 << 20])
            rest = outgoing.popleft()[sent:]
            if rest:
                outgoing.appendleft(rest)


def _take_answers(traffic: _Traffic) -> int | None:
    """Moves whole answers out of the bytes that came; the kind of the last of them, if it says more than that."""
    kind: int | None = None
    while len(traffic.incoming) >= ANSWER.size:
        kind, size = _head(traffic.incoming)
        if len(traffic.incoming) < ANSWER.size + size:
            return None
        found = bytes(traffic.incoming[ANSWER.size : ANSWER.size + size])
        del traffic.incoming[: ANSWER.size + size]
        if kind & ~LAST == NO_MEMORY:
            return kind
        traffic.sent.popleft()
        traffic.answers.append(found if kind & ~LAST == PARSED else _raised(kind, found))
        if kind & LAST:
            return kind
    return None


def _head(data: bytearray) -> tuple[int, int]:
    """The kind of an answer and its bytes."""
    kind, size = ANSWER.unpack_from(data)
    return int(kind), int(size)


def _raised(kind: int, found: bytes) -> Failed:
    if kind & ~LAST != RAISED:
        raise ParserUnusable(f"the parser process gave an answer of the unknown kind {kind}")
    return Failed("error", found.decode("utf-8", "replace"))


def shared_parser(file: str, settings: Mapping[str, Any], **limits: int) -> ParserProcess:
    """This process's parser for a module and its settings: kept, since importing a parser takes as long as many pages."""
    key = (os.getpid(), json.dumps([file, settings, limits], sort_keys=True))
    if key not in _shared:
        _shared[key] = ParserProcess(file, settings, **limits)
        atexit.register(_shared[key].stop)
    return _shared[key]
