"""Functions by reference: how folds and combines travel to workers as `module:qualname`, never as pickled code."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from inspect import ismodule
from typing import Any

from gristmill.pipeline.errors import ContractError


def reference(function: Callable[..., Any]) -> str:
    """The name under which a worker finds `function`.

    Raises ContractError for lambdas, closures, bound methods and whatever else cannot be found under its name.
    """
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if module is None or name is None or "<" in name or _is_bound(function):
        raise ContractError(
            f"{function!r} cannot travel to workers: expected a function defined at the top level of a module, found "
            f"a {type(function).__name__} named {name!r}. Move it to module level and pass what it needs as params."
        )
    if module == "__main__":
        raise ContractError(
            f"function `{name}` is defined in the script that runs, where workers cannot import it. Move it to a "
            "module."
        )
    found = f"{module}:{name}"
    if resolve(found) is not function:
        raise ContractError(
            f"`{found}` names another object than the function given, so workers would run something else. Give the "
            "function the name under which its module holds it."
        )
    return found


def _is_bound(function: Callable[..., Any]) -> bool:
    """Whether it is the method of an object. Functions that are written in C have their module there."""
    return hasattr(function, "__self__") and not ismodule(function.__self__)


def resolve(name: str) -> Callable[..., Any]:
    """The function that `reference` named. Raises ContractError when this process cannot find it."""
    module, _, qualname = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ContractError(
            f"worker cannot find function `{name}`: {error}. The package that defines it must be installed on every "
            "worker in the same version."
        ) from error
    if not callable(found):
        raise ContractError(f"`{name}` is a {type(found).__name__}, expected a function")
    return found  # type: ignore[no-any-return]
