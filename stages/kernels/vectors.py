"""Thirty-two bytes at a time, for kernels: which of them are ASCII letters, and a copy of all.

Written as vectors of LLVM, which become the vector instructions of whatever processor compiles the kernel.
"""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError

from gristmill.stages.kernels.intrinsics import intrinsic

WIDTH = 32
"""Bytes that each function here reads, and `copy_32` writes: they must all be there."""

_BYTES = ir.VectorType(ir.IntType(8), WIDTH)


def _address(builder: Any, data: Any, i: Any) -> Any:
    return builder.bitcast(builder.gep(data, [i]), _BYTES.as_pointer())


def _all(byte: int) -> Any:
    return ir.Constant(_BYTES, [byte] * WIDTH)


def _refuse_others(name: str, *pointers: Any) -> None:
    if any(data != types.CPointer(types.uint8) for data in pointers):
        raise TypingError(f"{name}: expected pointers to uint8, found {pointers}")


@intrinsic
def letters_ahead(typingctx: Any, data: Any, i: Any) -> Any:
    """int64: how many bytes from data[i] on are ASCII letters, at most WIDTH. `data` points to uint8."""
    _refuse_others("letters_ahead", data)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loaded = builder.load(_address(builder, *arguments), align=1, typ=_BYTES)
        # A letter in lower case, less "a", is below 26; every other byte is not.
        others = builder.icmp_unsigned(">=", builder.sub(builder.or_(loaded, _all(0x20)), _all(0x61)), _all(26))
        bits = builder.bitcast(others, ir.IntType(WIDTH))
        if sys.byteorder == "big":
            bits = builder.bitreverse(bits)
        beyond = ir.Constant(ir.IntType(64), 1 << WIDTH)
        wide = builder.or_(builder.zext(bits, ir.IntType(64)), beyond)
        return builder.cttz(wide, ir.Constant(ir.IntType(1), 1))

    return types.int64(data, types.int64), codegen


@intrinsic
def copy_32(typingctx: Any, target: Any, at: Any, source: Any, i: Any) -> Any:
    """Copy the WIDTH bytes at source[i] to target[at]; the two must not overlap. Both point to uint8."""
    _refuse_others("copy_32", target, source)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, at_value, of, i_value = arguments
        loaded = builder.load(_address(builder, of, i_value), align=1, typ=_BYTES)
        builder.store(loaded, _address(builder, to, at_value), align=1)
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64), codegen
