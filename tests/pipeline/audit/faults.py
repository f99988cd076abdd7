"""Runs that something goes wrong with: killed, refused by the disk, or racing. Module-level, so that a fork server finds it."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gristmill.pipeline.storage.streams as streams
from gristmill.pipeline.errors import GristmillError
from tests.pipeline.audit.conftest import run as run_config

SMALL = """
name: small
sources: {{s: {{format: parquet, paths: ["{root}/in/*.parquet"]}}}}
stages:
  same: {{}}
  split: {{at: 8}}
  double: {{from: split.low}}
work: "{work}"
outputs:
  low: {{path: "{out}/low", from: double}}
  high: {{path: "{out}/high", from: split.high}}
"""
"""Two passes, a settled answer, two outputs: few files, but every kind of them."""

POINTS = ("fsync", "replace", "link", "write")
"""What touches storage: the calls of os, and the first two writes into each file that is being published."""


def run(root: Path, out: str | None = None) -> None:
    run_config(SMALL.format(root=root, work=root / "work", out=root / "out" if out is None else out))


@contextmanager
def counting(act: Callable[[int, str], None]) -> Iterator[None]:
    """Calls `act(number, what)` before each touch of storage, numbered from 0."""
    number = 0
    real: dict[str, Any] = {name: getattr(os, name) for name in POINTS if name != "write"}
    real_write = streams.Tee.write

    def touched(what: str) -> None:
        nonlocal number
        number += 1
        act(number - 1, what)

    def wrapped(name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            touched(name)
            return real[name](*args, **options)

        return call

    def write(self: Any, data: Any) -> int:
        self.writes = getattr(self, "writes", 0) + 1
        if self.writes <= 2:
            touched("write")
        return real_write(self, data)

    for name in real:
        setattr(os, name, wrapped(name))
    streams.Tee.write = write  # type: ignore[method-assign]
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(os, name, function)
        streams.Tee.write = real_write  # type: ignore[method-assign]


def count_touches(root: Path) -> list[str]:
    """What a run does to storage, in order."""
    done: list[str] = []
    with counting(lambda number, what: done.append(what)):
        run(root)
    return done


def killed_at(root: str, number: int) -> None:
    """Runs, and kills its own process as a power cut would, before the numbered touch of storage."""

    def act(at: int, what: str) -> None:
        if at == number:
            os.kill(os.getpid(), signal.SIGKILL)

    with counting(act):
        run(Path(root))


@contextmanager
def failing_at(number: int, code: int) -> Iterator[None]:
    """The numbered touch of storage fails, and every later write too, as on a full disk."""

    def act(at: int, what: str) -> None:
        if at == number or (at > number and what == "write"):
            raise OSError(code, os.strerror(code))

    with counting(act):
        yield


def racing(root: str, start: float) -> None:
    """One of several drivers that start at the same moment. Exit code 0 when it finished, 7 when it was refused."""
    import time

    time.sleep(max(0.0, start - time.time()))
    try:
        run(Path(root))
    except GristmillError as error:
        print(error, file=sys.stderr)
        sys.exit(7)


FULL = errno.ENOSPC
