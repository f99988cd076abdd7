"""Clean outputs for the attacks on them, and the alarm that ends what hangs."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.pipeline.audit.conftest import copied, in_process, other_run, output, two_outputs, wide_run

__all__ = ["copied", "in_process", "other_run", "output", "two_outputs", "wide_run"]

SECONDS = 30
"""No command hangs longer, whatever it is given."""


@pytest.fixture
def alarm() -> Iterator[None]:
    def over(*_: object) -> None:
        raise TimeoutError(f"still busy after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
