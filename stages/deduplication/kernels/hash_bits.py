"""64-bit mixing for the hashing kernels, and machine instructions that Numba has no name for."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.errors import TypingError

from gristmill.stages.kernels.intrinsics import intrinsic

GOLDEN = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio, odd: the increment of SplitMix64."""
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)


@njit(cache=True, nogil=True)
def mix64(x: np.uint64) -> np.uint64:
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
def boundary_bits(typingctx: Any, data: Any, i: Any) -> Any:
    """uint64: bit k is set where the byte at data + i + k is at most 0x20. `data` points to uint8; 64 bytes are read."""
    if data != types.CPointer(types.uint8):
        raise TypingError(f"boundary_bits: expected a pointer to uint8, found {data}")

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = builder.icmp_unsigned("<=", _block(builder, arguments[0], arguments[1]), _each(0x20))
        return _first_lowest(builder, builder.bitcast(found, ir.IntType(64)))

    return types.uint64(data, types.int64), codegen


@intrinsic
def plain_bits(typingctx: Any, source: Any, i: Any) -> Any:
    """uint64: bit k is set where the byte at source + i + k is an ASCII letter or white space. 64 bytes are read."""
    if source != types.CPointer(types.uint8):
        raise TypingError(f"plain_bits: expected a pointer to uint8, found {source}")

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        raw = _block(builder, arguments[0], arguments[1])
        lower = builder.or_(raw, _each(0x20))
        letter = builder.icmp_unsigned("<", builder.sub(lower, _each(ord("a"))), _each(26))
        plain = builder.or_(letter, _white_space(builder, raw))
        return _first_lowest(builder, builder.bitcast(plain, ir.IntType(64)))

    return types.uint64(source, types.int64), codegen


@intrinsic
def copy_plain(typingctx: Any, source: Any, i: Any, target: Any, o: Any) -> Any:
    """Write the 64 bytes from source + i on to target + o: ASCII letters in lower case, white space as 0x20, anything
    else spoilt. Both point to uint8."""
    if not source == target == types.CPointer(types.uint8):
        raise TypingError(f"copy_plain: expected pointers to uint8, found {source} and {target}")

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        raw = _block(builder, arguments[0], arguments[1])
        made = builder.select(_white_space(builder, raw), _each(0x20), builder.or_(raw, _each(0x20)))
        address = builder.bitcast(builder.gep(arguments[2], [arguments[3]]), _BLOCK.as_pointer())
        builder.store(made, address, align=1)
        return context.get_dummy_value()

    return types.void(source, types.int64, target, types.int64), codegen


_BLOCK = ir.VectorType(ir.IntType(8), 64)


def _each(value: int) -> ir.Constant:
    return ir.Constant(_BLOCK, [value] * 64)


def _block(builder: Any, base: Any, index: Any) -> Any:
    address = builder.bitcast(builder.gep(base, [index]), _BLOCK.as_pointer())
    return builder.load(address, align=1, typ=_BLOCK)


def _white_space(builder: Any, raw: Any) -> Any:
    """White space of ASCII as `str.isspace` has it: 9 to 13 and 28 to 32."""
    low = builder.icmp_unsigned("<", builder.sub(raw, _each(9)), _each(5))
    high = builder.icmp_unsigned("<", builder.sub(raw, _each(28)), _each(5))
    return builder.or_(low, high)


def _first_lowest(builder: Any, bits: Any) -> Any:
    """Vector elements lie in memory order, so on big-endian machines the first one is the highest bit."""
    return builder.bitreverse(bits) if sys.byteorder == "big" else bits


@intrinsic
def trailing_zeros(typingctx: Any, x: Any) -> Any:
    """int64: the number of zero bits below the lowest one bit of a uint64; 64 for 0. For kernels."""
    if x != types.uint64:
        raise TypingError(f"trailing_zeros: x must be a uint64, found {x}")

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), codegen
