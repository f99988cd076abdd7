"""`intrinsic` with the types that a kernel sees: Numba's own keep the typing context among a caller's arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, cast

from numba import extending

Arguments = ParamSpec("Arguments")


def intrinsic(define: Callable[Concatenate[Any, Arguments], object]) -> Callable[Arguments, Any]:
    """`numba.extending.intrinsic`: `define(typingctx, *types)` returns a signature and a code generator.

    The result can be called in kernels alone, with values of those types.
    """
    return cast(Callable[Arguments, Any], extending.intrinsic(define))
