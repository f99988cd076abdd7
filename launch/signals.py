"""Signals that ask a command to stop: it ends where it stands, gives back what it holds, and says that it may go on."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

STOPPED = 75
"""Exit code after SIGTERM, SIGHUP or SIGQUIT: `EX_TEMPFAIL` of sysexits.h, for which schedulers start a job again."""

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Stopped(BaseException):
    """A signal asked the command to stop: raised where it stands, so that leases and a local cluster are given back."""


@contextlib.contextmanager
def stopping_at_signals() -> Iterator[None]:
    """Within, the signals raise Stopped. Those that are ignored, as SIGHUP is under nohup, stay ignored."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: Any) -> None:
    # Once is enough: what is being given back must not be interrupted by the second signal of an impatient scheduler.
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(signal.Signals(number).name)
