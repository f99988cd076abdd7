"""Other programs, such as sbatch and kubectl, run without a shell: their output, or an error that says what they said."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from gristmill.launch.clusters.states import printable
from gristmill.pipeline.errors import ConfigError, GristmillError

_SECONDS = 120.0
_MOST_CHARACTERS = 600


def output_of(command: Sequence[str], needed_for: str, given: str | None = None) -> str:
    """What a program prints.

    Args:
        command: the program and its arguments.
        needed_for: what a user loses where the program is missing, such as `--on slurm`.
        given: its standard input.

    Raises ConfigError where there is no such program, GristmillError where it fails.
    """
    try:
        done = subprocess.run(
            list(command), input=given, stdin=subprocess.DEVNULL if given is None else None, capture_output=True,
            text=True, errors="replace", timeout=_SECONDS, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise ConfigError(
            f"{needed_for}: there is no program `{command[0]}` here. Run this where it is installed, and on PATH."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise GristmillError(f"{needed_for}: `{command[0]}` did not answer within {_SECONDS:.0f} s.") from error
    if done.returncode != 0:
        says = " ".join(printable(done.stderr or done.stdout).split())[:_MOST_CHARACTERS]
        raise GristmillError(
            f"{needed_for}: `{command[0]}` failed with exit code {done.returncode}: {says or 'no words'}"
        )
    return done.stdout
