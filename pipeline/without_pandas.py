"""PyArrow without pandas: where it is installed, PyArrow imports it when it makes its first array, a third of a second."""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

import pyarrow as pa

PANDAS = "pandas"


class _NotThere(importlib.abc.MetaPathFinder):
    """Has one module look as if it were not installed."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == PANDAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def without_pandas() -> None:
    """Has PyArrow ask for pandas now and find none, for as long as this process lasts: for processes that run no code but
    Gristmill's own, which does not use it. Nothing where pandas is loaded; other code may import it all the same."""
    if PANDAS in sys.modules:
        return
    finder = _NotThere()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([None])
    finally:
        sys.meta_path.remove(finder)
