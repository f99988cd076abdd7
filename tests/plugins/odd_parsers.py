"""Parsers for tests: what a page says is what becomes of the process that parses it."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

KEPT: list[bytes] = []


def make(settings: Mapping[str, Any]) -> Callable[[bytes, bytes], bytes]:
    if settings.get("unusable"):
        raise ImportError("no such library")
    answer = as_extracted if "extractors" in settings else as_it_is

    def parse(note: bytes, body: bytes) -> bytes:
        if "extractors" in settings:
            note = note.partition(b"\n")[2]  # what is before it says where blocks lie
        return answer(said(note, body))

    return parse


def as_it_is(found: bytes) -> bytes:
    return found


def as_extracted(found: bytes) -> bytes:
    kinds = [0] * 7
    return json.dumps({"charset": "utf-8", "extractor": "odd", "kinds": kinds}).encode() + b"\n" + found


def said(note: bytes, body: bytes) -> bytes:
    command, _, rest = body.partition(b" ")
    if command == b"kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if command == b"segfault":
        ctypes.string_at(0)
    if command == b"leave":
        os._exit(3)
    if command == b"hang":
        time.sleep(3600)
    if command == b"sleep":
        time.sleep(float(rest))
    if command == b"raise":
        raise ValueError(rest.decode())
    if command == b"eat":
        return str(len(bytearray(int(rest)))).encode()
    if command == b"grow":
        KEPT.append(os.urandom(int(rest)))
    if command == b"once":  # the first process to see it dies of it
        try:
            Path(rest.decode()).touch(exist_ok=False)
        except FileExistsError:
            return b"survived"
        os.kill(os.getpid(), signal.SIGKILL)
    if command == b"pid":
        return str(os.getpid()).encode()
    if command == b"modules":
        print("printed in between")
        return " ".join(sorted(sys.modules)).encode()
    return note + body
