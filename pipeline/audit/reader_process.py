"""A process of its own for reading Parquet, since a reader may abort on a corrupt file and must not take the audit along.

Requests and answers are lines of JSON over pipes: nothing that a file holds is ever unpickled.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gristmill
from gristmill.pipeline.errors import GristmillError

_ROOT = str(Path(gristmill.__file__).parents[1])
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from gristmill.pipeline.audit.reader_requests import serve; serve()"
)
SECONDS = 120.0
"""Time that a request may take in any case; requests about large files get more (see `ReaderProcess.call`)."""
BYTES_PER_SECOND = 2_000_000
"""The slowest reading that is waited for."""


class ReaderCrashed(GristmillError):
    """The reading process ended in the middle of a request: killed by a signal, or too slow."""


class ReaderProcess:
    """A reading process, started when it is first asked and again after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""

    def __enter__(self) -> ReaderProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def call(self, function: str, argument: Any, size: int = 0) -> Any:
        """Runs a function there.

        Args:
            function: one of `reader_requests.FUNCTIONS`.
            argument: any JSON value.
            size: bytes that it will read, for the time limit.

        Raises ReaderCrashed when the process does not survive it, and RuntimeError for a defect in the function.
        """
        process = self._started()
        request = json.dumps([function, argument]).encode() + b"\n"
        try:
            if process.stdin is None:
                raise BrokenPipeError
            process.stdin.write(request)
            process.stdin.flush()
            answer = self._line(process, SECONDS + size / BYTES_PER_SECOND)
        except (BrokenPipeError, EOFError) as error:
            raise ReaderCrashed(f"the reader ended with {self._end()}") from error
        except TimeoutError as error:
            self._stop()
            raise ReaderCrashed(f"the reader was stopped after {SECONDS + size / BYTES_PER_SECOND:.0f} s") from error
        value = json.loads(answer)
        if "defect" in value:
            raise RuntimeError(f"the reader has a defect: {value['defect']}")
        return value["answer"]

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            # One core: the audit runs beside other work, and Arrow's threads are where corrupt pages abort a process.
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, _ROOT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            self._pending = b""
        return self._process

    def _line(self, process: subprocess.Popen[bytes], seconds: float) -> bytes:
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
        return f"exit code {code}"

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
