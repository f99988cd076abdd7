"""64-bit mixing for the hashing kernels, and machine instructions that Numba has no name for."""

from __future__ import annotations

import sys

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.errors import TypingError
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

GOLDEN = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio, odd: the increment of SplitMix64."""
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)


@njit(cache=True, nogil=True)
def mix64(x: int) -> int:
    """A bijection of uint64 in which every input bit flips every output bit with probability close to one half.

    SplitMix64's finaliser: Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, with
    the constants of Stafford's variant 13.
    """
    x = (x ^ (x >> np.uint64(30))) * _M1
    x = (x ^ (x >> np.uint64(27))) * _M2
    return x ^ (x >> np.uint64(31))


def splitmix64(state: int, count: int) -> list[int]:
    """The first `count` outputs, each below 2^64, of the SplitMix64 generator started at `state`."""
    mask = (1 << 64) - 1
    found = []
    for _ in range(count):
        state = (state + GOLDEN) & mask
        x = ((state ^ (state >> 30)) * int(_M1)) & mask
        x = ((x ^ (x >> 27)) * int(_M2)) & mask
        found.append(x ^ (x >> 31))
    return found


@intrinsic
def load8(typingctx, data, i):  # type: ignore[no-untyped-def]
    """uint64 of the bytes data[i:i+8], the first in the lowest bits, on any machine.

    For kernels: `data` is a C-contiguous uint8 array, and i + 8 must not exceed its size.
    """
    if not (isinstance(data, types.Array) and data.dtype == types.uint8 and data.layout == "C"):
        raise TypingError(f"load8: data must be a C-contiguous array of uint8, found {data}")
    if not isinstance(i, types.Integer):
        raise TypingError(f"load8: i must be an integer, found {i}")

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = make_array(signature.args[0])(context, builder, arguments[0])
        word = ir.IntType(64)
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), word.as_pointer())
        value = builder.load(address, align=1, typ=word)
        return builder.bswap(value) if sys.byteorder == "big" else value

    return types.uint64(data, types.int64), codegen


@intrinsic
def trailing_zeros(typingctx, x):  # type: ignore[no-untyped-def]
    """int64: the number of zero bits below the lowest one bit of a uint64; 64 for 0. For kernels."""
    if x != types.uint64:
        raise TypingError(f"trailing_zeros: x must be a uint64, found {x}")

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), codegen


@intrinsic
def ones(typingctx, x):  # type: ignore[no-untyped-def]
    """int64: the number of one bits of a uint64. For kernels."""
    if x != types.uint64:
        raise TypingError(f"ones: x must be a uint64, found {x}")

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), codegen
