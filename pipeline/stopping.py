"""A request to stop, and the time that tasks under way get to commit what they did before it is obeyed."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass

GRACE_SECONDS = 20
"""Default of the time that tasks under way get; schedulers send SIGKILL 30 s after SIGTERM, unless they are told otherwise."""

MOST_GRACE_SECONDS = 86_400
"""No scheduler waits longer than a day."""


class Stopped(BaseException):
    """A signal asked the command to stop: raised where it stands, so that leases and a local cluster are given back."""


@dataclass
class _State:
    grace: float = GRACE_SECONDS
    depth: int = 0
    requested: str | None = None


_STATE = _State()


def set_grace(seconds: float) -> None:
    """Sets the time that tasks under way get; 0 stops at once, as when somebody else may take the work folder."""
    _STATE.grace = seconds


def request_stop(name: str) -> None:
    """What a signal's handler calls. Raises Stopped, unless tasks are under way and this is the first request: they then get
    the time of grace, after which Stopped is raised in the main thread."""
    if not _STATE.depth or _STATE.requested is not None or _STATE.grace <= 0:
        raise Stopped(_STATE.requested or name)
    _STATE.requested = name
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGALRM, _grace_is_over)
        signal.setitimer(signal.ITIMER_REAL, _STATE.grace)


def _grace_is_over(number: int, frame: object) -> None:
    raise Stopped(_STATE.requested)


def stop_requested() -> bool:
    """Whether no further task shall begin."""
    return _STATE.requested is not None


@contextlib.contextmanager
def tasks_under_way() -> Iterator[None]:
    """Around the running of tasks: within, a request to stop waits for those that have begun, on exit it is obeyed."""
    _STATE.depth += 1
    try:
        yield
    finally:
        _STATE.depth -= 1
    obey()


def obey() -> None:
    """Raises Stopped if a stop was requested."""
    if _STATE.requested is not None:
        raise Stopped(_STATE.requested)


@contextlib.contextmanager
def fresh() -> Iterator[None]:
    """Around a command: no request of an earlier one is left, and no timer after it."""
    _STATE.requested, _STATE.depth, _STATE.grace = None, 0, GRACE_SECONDS
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _STATE.requested, _STATE.depth = None, 0
