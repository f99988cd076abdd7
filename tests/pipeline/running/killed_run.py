"""A program for tests: runs a config and kills itself, as `kill -9` would, at the n-th call of one function.

    python -m tests.pipeline.killed_run CONFIG OUTPUT POINT N

POINT: `told` (a task was committed), `replace` (before a rename), `fsync` (before a flush to disk), `link` (before a
record appears), `write` (before bytes of a file are written).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gristmill.pipeline import lease
from gristmill.pipeline.storage import streams
from tests.pipeline.toy_runs import run


def deadly(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    """The function, which kills this process when it is called for the `at`-th time; not counting leases, which are renewed
    by the clock."""
    calls = 0

    def called(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += not any(lease.NAME in str(arg) for arg in args)
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)

    return called


def main(config: str, output: str, point: str, number: str) -> None:
    at = int(number)
    listener = None
    if point == "told":
        listener = deadly(lambda progress: None, at)
    elif point == "write":
        streams.Tee.write = deadly(streams.Tee.write, at)  # type: ignore[method-assign]
    else:
        setattr(os, point, deadly(getattr(os, point), at))
    run(Path(config).read_text(), output=output, listener=listener)


if __name__ == "__main__":
    main(*sys.argv[1:])
