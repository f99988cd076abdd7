"""What the audit's readers answer with where some of the files kill whoever reads them."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

from gristmill.pipeline.audit import row_requests

DEADLY = "GRISTMILL_TEST_DEADLY"
"""Environment variable: the role of the files that do so, with all of task 1."""


def _check_task(argument: Mapping[str, Any]) -> dict[str, Any]:
    if argument["task"] == 1 and DEADLY in os.environ:
        os.kill(os.getpid(), signal.SIGSEGV)
    return dict(row_requests.FUNCTIONS["check_task"](argument))


def _check_sidecar(argument: Mapping[str, Any]) -> dict[str, Any]:
    if argument["entry"]["role"] == os.environ.get(DEADLY):
        os.abort()
    return dict(row_requests.FUNCTIONS["check_sidecar"](argument))


FUNCTIONS = {**row_requests.FUNCTIONS, "check_task": _check_task, "check_sidecar": _check_sidecar}
