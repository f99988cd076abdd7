"""What the audit's readers answer with where some of the files kill whoever reads them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

from gristmill.pipeline.audit import row_requests

DEADLY = "GRISTMILL_TEST_DEADLY"
"""Environment variable: the role of the files that do so, with all of task 1."""


def _of_task(function: str) -> Callable[[Mapping[str, Any]], Any]:
    def answer(argument: Mapping[str, Any]) -> Any:
        if argument["task"] == 1 and DEADLY in os.environ:
            os.kill(os.getpid(), signal.SIGSEGV)
        return row_requests.FUNCTIONS[function](argument)

    return answer


def _check_sidecar(argument: Mapping[str, Any]) -> dict[str, Any]:
    if argument["entry"]["role"] == os.environ.get(DEADLY):
        os.abort()
    return dict(row_requests.FUNCTIONS["check_sidecar"](argument))


FUNCTIONS = {
    **row_requests.FUNCTIONS,
    "scan_shards": _of_task("scan_shards"),
    "check_task": _of_task("check_task"),
    "check_sidecar": _check_sidecar,
}
