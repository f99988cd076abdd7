"""What runs in a parser process (see pipeline.parser_process): it loads one module of parsers and answers with what they find.

Run as a script by its path, so that it imports the parser and nothing of Gristmill. The module has `make(settings)`, which
gives the function `parse(note, body) -> bytes`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

PAGE = struct.Struct("<II")
"""What stands before a page: bytes of its note, bytes of its body."""
ANSWER = struct.Struct("<BI")
"""What stands before an answer: its kind, and its bytes."""
PARSED, RAISED, NO_MEMORY, READY, UNUSABLE = range(5)
"""Kinds of answers: of a page, that the parser raised an error (its text), that it ran out of memory; at the start, that
pages may come, or that the parsers cannot be loaded (why)."""
LAST = 0x80
"""Added to the kind of the last answer of a process that ends since it has grown."""
_PR_SET_PDEATHSIG = 1


def main(start: dict[str, Any]) -> None:
    """Answers pages until the input ends, or this process has grown above `resident` bytes."""
    _end_with(start["parent"])
    # Whatever else prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (start["address_space"], start["address_space"]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to act on; this process ends with it
    sys.path += [entry for entry in start["path"] if entry not in sys.path]
    try:
        parse = _loaded(start["file"]).make(start["settings"])
    except Exception:
        _answer(answers, UNUSABLE, traceback.format_exc().encode())
        return
    _answer(answers, READY, b"")
    _serve(0, answers, parse, start["resident"])


def _serve(pages: int, answers: BinaryIO, parse: Callable[[bytes, bytes], bytes], resident: int) -> None:
    statm = os.open("/proc/self/statm", os.O_RDONLY) if os.path.exists("/proc/self/statm") else None
    while len(head := _read(pages, PAGE.size)) == PAGE.size:
        note, body = (_read(pages, size) for size in PAGE.unpack(head))
        try:
            kind, found = PARSED, parse(note, body)
        except MemoryError:
            kind, found = NO_MEMORY, b""
        except Exception as error:
            # Of a library that chokes on a page: its author's affair. The parent sets the page aside and says so.
            kind, found = RAISED, f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:1000]
        last = LAST if kind == NO_MEMORY or _resident_bytes(statm) > resident else 0
        _answer(answers, kind | last, found)
        if last:
            return


def _read(pages: int, size: int) -> bytes:
    """So many bytes of a pipe, fewer at its end: past Python's buffers, since most pages are there to be read at once."""
    data = os.read(pages, size) if size else b""
    if len(data) == size:
        return data
    parts, left = [data], size - len(data)
    while left and (data := os.read(pages, min(left, 1 << 20))):
        parts.append(data)
        left -= len(data)
    return b"".join(parts)


def _answer(answers: BinaryIO, kind: int, found: bytes) -> None:
    answers.write(ANSWER.pack(kind, len(found)) + found)
    answers.flush()


def _loaded(file: str) -> Any:
    spec = importlib.util.spec_from_file_location("parsers", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _end_with(parent: int) -> None:
    """Has the kernel end this process with its parent, where it can; everywhere the end of its input ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _resident_bytes(statm: int | None) -> int:
    """Resident memory, from /proc/self/statm where that is open; elsewhere the highest so far."""
    if statm is not None:
        return int(os.pread(statm, 200, 0).split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
