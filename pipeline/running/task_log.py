"""What a task has to say beside its record: warnings, and the error that ended it, as JSON lines in the work folder.

A task that has nothing to say leaves nothing: begin, end and host of the others stand in their records. Nothing in a run
reads these files, so a failure to write one stops nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import secrets
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

from gristmill.pipeline.errors import GristmillError, StorageError
from gristmill.pipeline.storage import join, names_in, put
from gristmill.pipeline.work_folder import task_name

LOGS = "logs"
"""The folder, beside the run's other files in its work folder; one file per attempt at a task."""

MOST_FILES = 50
"""Files that one process writes: of a warning that every task has, these are enough."""

MOST_LINES = 100
"""Warnings that are kept of one task."""

MOST_CHARACTERS = 2000
"""Of one warning; of a traceback ten times as many, from its end."""

PUT_SECONDS = 5.0

_written = 0


@contextlib.contextmanager
def task_log(work: str, task: int, pass_index: int, path: str) -> Iterator[None]:
    """Keeps what is warned of in this thread's work, and the error that ends it, which goes on its way.

    Args:
        work: the folder of the run's files; task, pass_index: what is done; path: of its slice.
    """
    begin = time.time()
    said: list[dict[str, Any]] = []

    def note(kind: str, text: str) -> None:
        if len(said) < MOST_LINES:
            said.append({"event": "warning", "kind": kind, "text": text[:MOST_CHARACTERS]})

    with _warnings_told(note):
        try:
            yield
        except Exception as error:
            lines = traceback.format_exception(error)
            told: dict[str, Any] = {
                "event": "error",
                "kind": type(error).__name__,
                "text": str(error)[:MOST_CHARACTERS],
            }
            if not isinstance(error, GristmillError):  # else the message says it all
                told["traceback"] = "".join(lines)[-10 * MOST_CHARACTERS :]
            said.append(told)
            raise
        finally:
            if said:
                first = {
                    "event": "begin", "time": begin, "host": socket.gethostname(), "process": os.getpid(), "task": task,
                    "pass": pass_index + 1, "slice": path,
                }  # fmt: skip
                kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                # Resident bytes of the process so far, its highest; macOS counts bytes.
                peak = kilobytes if sys.platform == "darwin" else kilobytes << 10
                last = {"event": "end", "seconds": time.time() - begin, "peak_memory_bytes": peak}
                _write(work, f"{task_name(task)}-pass-{pass_index}", [first, *said, last])


def log_names(folder: str) -> list[str]:
    """Names of the logs in the folder of a run's files, sorted."""
    try:
        return [name for name in names_in(join(folder, LOGS)) if name.endswith(".jsonl")]
    except StorageError:
        return []


def _write(work: str, name: str, lines: list[dict[str, Any]]) -> None:
    global _written
    if _written >= MOST_FILES:
        return
    _written += 1
    location = join(work, LOGS, f"{name}-{secrets.token_hex(4)}.jsonl")
    # What is only looked at must not end what it is about.
    with contextlib.suppress(OSError, StorageError):
        put(location, "".join(json.dumps(line) + "\n" for line in lines).encode(), seconds=PUT_SECONDS)


@contextlib.contextmanager
def _warnings_told(note: Any) -> Iterator[None]:
    """Within, warnings of Python and of loggers are told to `note(kind, text)` as well."""
    shown = warnings.showwarning

    def show(message: Any, category: Any, filename: Any, lineno: Any, file: Any = None, line: Any = None) -> None:
        note(category.__name__, f"{filename}:{lineno}: {message}")
        shown(message, category, filename, lineno, file, line)

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note(record.levelname, f"{record.name}: {record.getMessage()}")

    handler = Handler(logging.WARNING)
    warnings.showwarning = show
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        warnings.showwarning = shown
