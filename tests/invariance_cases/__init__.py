"""Cases on which every registered stage must be partition-invariant (see gristmill.pipeline.testing).

A stage's cases lie in `NAME.py`, NAME being its entry point; that file holds `CASES`, a list of InvarianceCase.
"""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

from gristmill.pipeline.testing import InvarianceCase

ROOT = Path(__file__).parents[2]


def registered_stages() -> dict[str, str]:
    """Entry points of the group `gristmill.stages`: name → module:class."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(project["project"]["entry-points"]["gristmill.stages"])


def cases_of(name: str) -> list[InvarianceCase]:
    """The cases of a registered stage; an empty list when its file is missing."""
    try:
        module = importlib.import_module(f"tests.invariance_cases.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"tests.invariance_cases.{name}":
            raise
        return []
    return list(module.CASES)
