"""A process of its own for reading foreign files, since a library may abort on a corrupt one and must not take along the
driver or the audit.

Requests and answers are lines of JSON over pipes: nothing that a file holds is ever unpickled. The process is started by
exec, or forked from one that was and has read nothing (see `reader_template`); it ends with its parent, writes no core file
and is held to an address space.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import threading
import time
import traceback
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Protocol

import gristmill
from gristmill.pipeline import errors
from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.key_variable import environment_without_key

_ROOT = str(Path(gristmill.__file__).parents[1])
_SERVE = "from gristmill.pipeline.reader_process import answer_requests; answer_requests(sys.argv[2])"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYDANTIC_DISABLE_PLUGINS": "__all__", "MIMALLOC_PURGE_DELAY": "-1"}
"""Environment of a reading process. One core: it runs beside other work, and Arrow's threads are where corrupt pages abort a
process. Pydantic would look through all installed packages for plugins of its own, while the answer is waited for. Arrow's
memory stays with the process: of the next file it would have to be taken again, a page at a time."""
SECONDS = 120.0
"""Time for a request, and again for each file that it says it begins; requests about large files get more (see
`ReaderProcess.call`)."""
BYTES_PER_SECOND = 2_000_000
"""The slowest reading that is waited for."""
MOST_SECONDS = 20 * 86_400.0
"""Time for any request: waiting is counted in 2^31 milliseconds, and a manifest may claim 2^62 bytes."""
ADDRESS_SPACE = 64 << 30
"""Bytes that a reading process may map; what it really uses is bounded by the slices. A file that asks for more than any
machine has ends in an error, not in a swap storm."""
_AUDIT = "gristmill.pipeline.audit.reader_requests"

_expendable = False
_answers: Any = None
_shared: dict[tuple[int, str], ReaderProcess] = {}


def set_expendable() -> None:
    """Says that this process may die of a file: it is a reading process, or a worker that its executor runs again."""
    global _expendable
    _expendable = True


def is_expendable() -> bool:
    """Whether this process may read foreign files itself."""
    return _expendable


def reading(location: str) -> None:
    """Called before a foreign file is opened: should it be the last thing that a reading process does, the parent knows
    which file that was."""
    if _answers is not None:
        _answers.write(json.dumps({"at": location}).encode() + b"\n")
        _answers.flush()


class ReaderCrashed(GristmillError):
    """The reading process ended in the middle of a request: killed by a signal, or too slow.

    Attributes:
        at: the file that it said it was reading, or None.
    """

    def __init__(self, message: str, at: str | None = None) -> None:
        super().__init__(message)
        self.at = at


class _Process(Protocol):
    """What is used of subprocess.Popen."""

    stdin: IO[bytes] | None
    stdout: IO[bytes] | None

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> int | None: ...


class _Template(Protocol):
    def fork(self) -> _Process: ...


class ReaderProcess:
    """A reading process, started when it is first asked and again after it died.

    Args:
        functions: a module whose FUNCTIONS, by name, it answers requests with; its BEGIN, if it has one, is called first.

    Attributes:
        template: what it is forked from, of the same functions (see `reader_template`); None for a process from nothing.
    """

    template: _Template | None = None

    def __init__(self, functions: str = _AUDIT) -> None:
        self._functions = functions
        self._process: _Process | None = None
        self._environment: dict[str, str] | None = None
        self._pending = b""

    def __enter__(self) -> ReaderProcess:
        return self

    def start(self) -> None:
        """Starts the process before it is asked, so that it loads what it needs while this one does something else."""
        self._started()

    def __exit__(self, *exception: object) -> None:
        self.end()

    def end(self) -> None:
        """Ends the process at once: it leaves nothing behind, and a Python that ends in order takes a tenth of a second."""
        if self._process is not None:
            self._process.kill()
        self._stop()

    def call(self, function: str, argument: Any, size: int = 0) -> Any:
        """Runs a function there.

        Args:
            function: one of the module's FUNCTIONS.
            argument: any JSON value.
            size: bytes that it will read, for the time limit.

        Raises what the function raises for a user (GristmillError), ReaderCrashed when the process does not survive it,
        and RuntimeError for a defect in the function.
        """
        process = self._started()
        environment, self._environment = self._environment, None
        request = json.dumps([function, argument, os.getcwd(), sys.path, environment]).encode() + b"\n"
        limit = min(SECONDS + size / BYTES_PER_SECOND, MOST_SECONDS)
        at: str | None = None
        try:
            if process.stdin is None:
                raise BrokenPipeError
            process.stdin.write(request)
            process.stdin.flush()
            while "at" in (value := json.loads(self._line(process, limit))):
                at = value["at"]
        except (BrokenPipeError, EOFError) as error:
            raise ReaderCrashed(f"the reader ended with {self._end()}", at) from error
        except TimeoutError as error:
            self._stop()
            raise ReaderCrashed(f"the reader was stopped after {limit:.0f} s", at) from error
        if "error" in value:
            raise getattr(errors, value["error"][0])(value["error"][1])
        if "defect" in value:
            raise RuntimeError(f"the reader has a defect: {value['defect']}")
        return value["answer"]

    def _started(self) -> _Process:
        if self._process is None:
            self._pending = b""
            if self.template is None:
                self._process = start_python(_SERVE, self._functions, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            else:
                self._process, self._environment = self.template.fork(), _environment()
        return self._process

    def _line(self, process: _Process, seconds: float) -> bytes:
        if process.stdout is None:
            raise EOFError
        end = time.monotonic() + seconds
        parts = [self._pending]
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in parts[-1]:
                left = end - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise TimeoutError
                chunk = os.read(process.stdout.fileno(), 1 << 20)
                if not chunk:
                    raise EOFError
                parts.append(chunk)
        line, _, self._pending = b"".join(parts).partition(b"\n")
        return line

    def _end(self) -> str:
        code = self._stop()
        if code is not None and code < 0:
            return f"signal {-code} ({signal.Signals(-code).name})"
        return "an exit code that nobody knows" if code is None else f"exit code {code}"

    def _stop(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        # What was not yet sent is of no use to a dead process.
        with contextlib.suppress(BrokenPipeError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
        code = process.wait()
        if process.stdout is not None:
            process.stdout.close()
        return code


def shared_reader(functions: str) -> ReaderProcess:
    """This process's reader for a module's functions: kept, since starting one takes as long as reading many footers."""
    key = (os.getpid(), functions)
    if key not in _shared:
        _shared[key] = ReaderProcess(functions)
        atexit.register(_shared[key].end)
    return _shared[key]


def start_python(code: str, *arguments: str, **how: Any) -> subprocess.Popen[bytes]:
    """Starts a new Python that finds our packages and yours, without the signing key.

    Args:
        code: what it runs, with `sys` imported; `sys.argv[2:]` are the arguments.
        how: as subprocess.Popen takes it.
    """
    paths = "\n".join([_ROOT, *filter(None, sys.path)])
    start = f"import sys; sys.path[:0] = sys.argv[1].split(chr(10)); {code}"
    command = [sys.executable, "-P", "-c", start, paths, *arguments]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, env=_environment(), **how)


def _environment() -> dict[str, str]:
    return {**environment_without_key(), **ENVIRONMENT}


@cache
def loaded(functions: str) -> ModuleType:
    """A module of functions, begun. What it loads is taken for garbage neither now nor when the process ends, which would
    take a third of the time."""
    gc.disable()
    module = importlib.import_module(functions)
    if hasattr(module, "BEGIN"):
        module.BEGIN()
    gc.freeze()
    gc.enable()
    return module


def answer_requests(functions: str, parent: int | None = None) -> None:
    """What runs in the process: answers requests until the input ends. It ends with its parent."""
    global _answers
    set_expendable()
    # Whatever else prints must not get between the answers.
    _answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to act on; this process ends with it
    threading.Thread(target=_end_with, args=(parent or os.getppid(),), daemon=True).start()
    known = loaded(functions).FUNCTIONS
    for line in open(0, "rb", closefd=False):
        name, argument, folder, path, environment = json.loads(line)
        try:
            if environment is not None:
                os.environ.clear()
                os.environ.update(environment)
            os.chdir(folder)
            sys.path[:] = [*dict.fromkeys([_ROOT, *(entry for entry in path if entry)])]
            value = {"answer": known[name](argument)}
        except GristmillError as error:
            kind = next(kind.__name__ for kind in type(error).__mro__ if hasattr(errors, kind.__name__))
            value = {"error": [kind, str(error)]}
        except Exception:
            # Not the file's fault: reading errors are answers, so this is a defect of ours and is raised in the parent.
            value = {"defect": traceback.format_exc()}
        _answers.write(json.dumps(value).encode() + b"\n")
        _answers.flush()


def _end_with(parent: int) -> None:
    """Ends this process when its parent is gone, even in the middle of a request."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
