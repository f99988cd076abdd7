"""Numba without SciPy until a kernel needs it.

When Numba compiles its first kernel, or loads it from the cache, its module `numba.np.arraymath` imports `scipy.linalg`, a
quarter of a second, only to know whether it is there. A kernel with linear algebra imports it again when it is compiled or run.
So that one question is answered by looking for SciPy's folder. A Numba that asks in another way is left alone.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

_ASKS, _ASKED, _QUESTION = "numba.np.arraymath", "numba.np.linalg", "ensure_blas"


def put_off_scipy() -> None:
    """Answers Numba's question in this process, if it has not been asked yet."""
    if _ASKS not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the module that asks, once."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _ASKS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """A module's own loader, with the answer while it runs."""

    def __init__(self, own: importlib.abc.Loader) -> None:
        self._own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self._own
        asked = importlib.import_module(_ASKED)
        question = getattr(asked, _QUESTION, None)
        if question is None:
            self._own.exec_module(module)
            return
        setattr(asked, _QUESTION, _is_there)
        try:
            self._own.exec_module(module)
        finally:
            setattr(asked, _QUESTION, question)
        if getattr(module, _QUESTION, None) is _is_there:
            setattr(module, _QUESTION, question)


def _is_there() -> None:
    """As `numba.np.linalg.ensure_blas`, which raises ImportError where there is no SciPy, without importing it."""
    if importlib.util.find_spec("scipy") is None:
        raise ImportError("there is no SciPy")
