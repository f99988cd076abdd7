"""A process that has loaded what reading processes need and has read nothing: they are forked from it in milliseconds, and
what a file does to one of them, no other has seen.

Only where forking is sound: on Linux, from a process without other threads. Elsewhere each reader loads for itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from gristmill.pipeline.key_variable import KEY_VARIABLE
from gristmill.pipeline.reader_process import ENVIRONMENT, answer_requests, loaded, start_python

_MAY_FORK = sys.platform == "linux"
"""Whether a process that has loaded libraries may be forked: those of macOS need not survive it."""
_MESSAGE = 1 << 8
"""Bytes that a message between a template and its owner has at most."""

_made_here: dict[tuple[int, str], ReaderTemplate] = {}


class _Child(Protocol):
    def wait(self) -> object: ...


class ForkedReader:
    """A reading process that a template has forked: what a ReaderProcess uses of subprocess.Popen."""

    def __init__(self, end: Callable[[float], int | None], stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.stdin: IO[bytes] | None = stdin
        self.stdout: IO[bytes] | None = stdout
        self.returncode: int | None = None
        self._end: Callable[[float], int | None] | None = end

    def kill(self) -> None:
        """Ends it at once."""
        self.wait(0.0)

    def wait(self, timeout: float | None = None) -> int | None:
        """Its exit code, None where nobody knows it. It is killed if it has not ended by itself in `timeout` seconds."""
        end, self._end = self._end, None
        if end is not None:
            self.returncode = end(timeout or 0.0)
        return self.returncode


class ReaderTemplate:
    """The template of readers that answer with a module's functions. It is started when the first of them is, and again
    should it have ended.

    Args:
        functions: the module, as ReaderProcess takes it.
        start: starts it, given the module and the file number of its end of a socket; by default in a new Python.
    """

    def __init__(self, functions: str, start: Callable[[str, int], _Child] | None = None) -> None:
        self.functions = functions
        self._start = _in_a_new_python if start is None else start
        self._child: _Child | None = None
        self._control: socket.socket | None = None
        self._forked = 0
        self._lock = threading.Lock()

    def __enter__(self) -> ReaderTemplate:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def fork(self) -> ForkedReader:
        """One more reader, which answers as soon as the template has loaded. Raises OSError when none can be started."""
        theirs_in, mine_out = os.pipe()
        mine_in, theirs_out = os.pipe()
        stdin, stdout = os.fdopen(mine_out, "wb"), os.fdopen(mine_in, "rb")
        try:
            with self._lock:
                number = self._forked = self._forked + 1
                try:
                    self._ask_fork(number, [theirs_in, theirs_out])
                except OSError:  # it has ended since: once more, with another
                    self._stop()
                    self._ask_fork(number, [theirs_in, theirs_out])
        except OSError:
            stdin.close()
            stdout.close()
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        return ForkedReader(lambda seconds: self._end(number, seconds), stdin, stdout)

    def close(self) -> None:
        """Ends it, and the readers that still run."""
        with self._lock:
            self._stop()

    def begin(self) -> None:
        """Starts it now."""
        with self._lock:
            self._begun()

    def _begun(self) -> socket.socket:
        if self._control is None:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._child = self._start(self.functions, theirs.fileno())
        return self._control

    def _ask_fork(self, number: int, files: list[int]) -> None:
        socket.send_fds(self._begun(), [json.dumps(["fork", number]).encode()], files)

    def _end(self, number: int, seconds: float) -> int | None:
        with (
            self._lock,
            contextlib.suppress(OSError, ValueError),
        ):  # a template that has ended has taken its readers along
            if self._control is not None:
                self._control.sendall(json.dumps(["end", number, seconds]).encode())
                code: int | None = json.loads(self._control.recv(_MESSAGE))
                return code
        return None

    def _stop(self) -> None:
        control, self._control = self._control, None
        child, self._child = self._child, None
        if control is not None:
            control.close()
        if child is not None:
            child.wait()


class _Here:
    """A child that this process has forked."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def wait(self) -> None:
        os.waitpid(self._pid, 0)


def template_for(functions: str, several: bool) -> ReaderTemplate | None:
    """The template of a module's readers that was made of this process, or else, for several readers, a new one; None where
    each is better started by itself. Who gets one closes it."""
    made = _made_here.pop((os.getpid(), functions), None)
    return ReaderTemplate(functions) if made is None and several and _MAY_FORK else made


def fork_template(functions: str) -> None:
    """Makes the template of a module's readers from this process, which loads what they need, once for all: for the beginning
    of a command that needs most of it too, before anything foreign is read. `template_for` gives it out.

    Nothing where forking is not sound: where there is another thread, or a signing key that readers could then see.
    """
    if not _MAY_FORK or KEY_VARIABLE in os.environ or not _no_other_threads():
        return
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    loaded(functions)
    for name, value in before.items():
        os.environ.pop(name)
        os.environ.update({} if value is None else {name: value})
    if not _no_other_threads():
        return
    template = _made_here[os.getpid(), functions] = ReaderTemplate(functions, _in_a_fork)
    template.begin()


def _no_other_threads() -> bool:
    """Whether this process has no threads but its own and that of Arrow's jemalloc, which knows how to be forked."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return len(names) - names.count("jemalloc_bg_thd") == 1


def _in_a_new_python(functions: str, control: int) -> subprocess.Popen[bytes]:
    code = "from gristmill.pipeline.reader_template import serve; serve(sys.argv[2], int(sys.argv[3]))"
    return start_python(
        code, functions, str(control), pass_fds=[control], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def _in_a_fork(functions: str, control: int) -> _Here:
    pid = os.fork()
    if pid == 0:
        try:
            serve(functions, control)
        finally:
            os._exit(1)
    return _Here(pid)


def serve(functions: str, control: int) -> None:
    """What runs in a template: forks readers until its owner closes the socket or ends."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    kept = os.dup2(control, 3) if control != 3 else control
    os.closerange(4, 1 << 16)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loaded(functions)
    readers: dict[int, int] = {}
    with socket.socket(fileno=kept) as owner:
        while True:
            message, files, _, _ = socket.recv_fds(owner, _MESSAGE, 2)
            if not message:
                break
            request, number, *rest = json.loads(message)
            if request == "end":
                owner.sendall(json.dumps(_ended(readers.pop(number, 0), *rest)).encode())
                continue
            template = os.getpid()
            with contextlib.suppress(OSError):  # without a process the owner finds its pipes closed
                readers[number] = os.fork()
            if readers.get(number) == 0:
                _answer(functions, files, template)
            for file in files:
                os.close(file)
    for pid in readers.values():
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def _answer(functions: str, files: list[int], template: int) -> None:
    """What runs in a reader; it does not return."""
    code = 1
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.closerange(3, 1 << 16)
        answer_requests(functions, template)
        code = 0
    finally:
        os._exit(code)


def _ended(pid: int, seconds: float) -> int | None:
    """The exit code of a child, which is killed when it has not ended in time; None for no child."""
    if not pid:
        return None
    end = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            os.kill(pid, signal.SIGKILL)
            end = float("inf")
        time.sleep(0.001)
