"""Signals that ask a command to stop: tasks under way end, what is held is given back, and it says that it may go on."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from gristmill.pipeline.stopping import Stopped, fresh, request_stop

STOPPED = 75
"""Exit code after SIGTERM, SIGHUP or SIGQUIT: `EX_TEMPFAIL` of sysexits.h, for which schedulers start a job again."""

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextlib.contextmanager
def stopping_at_signals() -> Iterator[None]:
    """Within, the signals raise Stopped, at once or after the time that tasks get (`pipeline.stopping`). Those that are
    ignored, as SIGHUP is under nohup, stay ignored."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        with fresh():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def signals_of_libraries() -> Iterator[None]:
    """Within, a signal is raised as such also where it came while a library's compiled code ran: that may end as Python's
    SystemError, "returned a result with an exception set"."""
    try:
        yield
    except SystemError as error:
        if isinstance(error.__cause__, (Stopped, KeyboardInterrupt)):
            raise error.__cause__ from error
        raise


def _stop(number: int, frame: Any) -> None:
    try:
        request_stop(signal.Signals(number).name)
    except Stopped:
        # Once is enough: what is being given back must not be interrupted by the next signal of an impatient scheduler.
        for other in (*_SIGNALS, signal.SIGALRM):
            signal.signal(other, signal.SIG_IGN)
        raise
