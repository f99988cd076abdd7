"""How these tests run the command line: one call in this process, with what it printed and its exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PLUGINS = str(Path(__file__).parents[1] / "plugins")
if PLUGINS not in sys.path:
    sys.path.append(PLUGINS)


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The first line of stderr that is an error."""
        return next((line for line in self.err.splitlines() if line.startswith("error: ")), "")


Command = Callable[..., Ran]
