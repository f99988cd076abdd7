"""The command line in a process that may die: command lines come in as lines of JSON, what became of them goes out so."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys


def main() -> None:
    """Serves until the input ends."""
    from gristmill.launch.cli import run_command

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_command(json.loads(line))
        answers.write(json.dumps([code, out.getvalue(), err.getvalue()]) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
