"""A program for tests: extracts pages in small batches and kills itself, as `kill -9` would, before the n-th is parsed.

    python -m tests.stages.extraction.killed_extraction CONFIG PARSED N

PARSED: a file to which each batch adds a line, the pages that were parsed. N = 0 runs to the end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gristmill.pipeline.parser_process import ParserProcess
from gristmill.pipeline.slices import checkpoints, routing
from tests.pipeline.toy_runs import run


def main(config: str, parsed: str, number: str) -> None:
    real, calls = ParserProcess.parse, 0

    def parse(self: ParserProcess, pages: Sequence[Any], seconds: float) -> Any:
        nonlocal calls
        calls += 1
        if calls == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        found = real(self, pages, seconds)
        with Path(parsed).open("a") as stream:
            stream.write(f"{len(pages)}\n")
        return found

    ParserProcess.parse = parse  # type: ignore[method-assign]
    routing.BATCH_BYTES = 4000
    checkpoints.SHARE = 1e9
    run(Path(config).read_text())


if __name__ == "__main__":
    main(*sys.argv[1:])
