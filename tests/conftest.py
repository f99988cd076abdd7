"""What every test shares: Hypothesis profiles, and an environment without the machine's own settings."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

# Kernels compile on their first call, which takes seconds: a deadline per example would measure Numba.
settings.register_profile("default", deadline=None, max_examples=50)
# The same examples on every run, so that a red run can be repeated; `long` searches further and at random.
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True)
settings.register_profile("long", parent=settings.get_profile("default"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))

# A shell that puts the tests into the background has them ignore these, and so would every run that a test starts.
for _number in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def isolated_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset what would change a run's result or its printing from outside."""
    for name in ("RAY_ADDRESS", "GRISTMILL_DATA", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audits read in this process: for outputs that no reader dies of, since starting two readers takes two seconds."""
    from tests.pipeline.audit.tampering import SameProcess

    monkeypatch.setattr("gristmill.pipeline.audit.run.ReaderProcess", SameProcess)
