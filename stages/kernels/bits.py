"""Machine instructions on bits that Numba has no name for, for kernels of several stages."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core.errors import TypingError

from gristmill.stages.kernels.intrinsics import intrinsic


@intrinsic
def ones(typingctx: Any, x: Any) -> Any:
    """int64: the number of one bits of a uint64. For kernels."""
    if x != types.uint64:
        raise TypingError(f"ones: x must be a uint64, found {x}")

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), codegen
