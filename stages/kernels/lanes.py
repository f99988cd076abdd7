"""Sums of matrix rows as vector instructions.

LLVM unrolls a short inner loop over a row before it could make vectors of it, and then adds number by number, seven
times slower. Here the additions are written as vectors of LANES float32; every target splits them as it must. The order
of additions is that of the plain loop: one row after the other, each column by itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
"""Rows must be padded to a multiple of this many columns."""


@intrinsic  # type: ignore[misc]
def _add_block(typing_context: Any, rows: Any, width: Any, block: Any, found: Any, count: Any, total: Any) -> Any:
    """total[block:block + LANES] += rows[found[i] * width + block:][:LANES] for each i < count, in order."""
    signature = types.void(rows, types.int64, types.int64, found, types.int64, total)
    vector = ir.VectorType(ir.FloatType(), LANES)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, width_, block_, _, count_, _ = arguments

        def pointer(index: int) -> Any:
            return context.make_array(signature.args[index])(context, builder, arguments[index]).data

        def lanes_at(base: Any, offset: Any) -> Any:
            return builder.bitcast(builder.gep(base, [offset]), vector.as_pointer())

        matrix, indices = pointer(0), pointer(3)
        target = lanes_at(pointer(5), block_)
        # A stack slot of its own, not the target: it cannot alias the matrix, so it becomes a register.
        running = cgutils.alloca_once(builder, vector)
        builder.store(builder.load(target, align=4), running)
        with cgutils.for_range(builder, count_) as loop:
            row = builder.sext(builder.load(builder.gep(indices, [loop.index])), ir.IntType(64))
            source = lanes_at(matrix, builder.add(builder.mul(row, width_), block_))
            builder.store(builder.fadd(builder.load(running), builder.load(source, align=4)), running)
        builder.store(builder.load(running), target, align=4)
        return context.get_dummy_value()

    return signature, generate


@njit(cache=True, nogil=True)
def add_rows(rows, width, found, count, total):
    """Adds rows to `total`, one after the other.

    Args:
        rows: float32, contiguous, flat: row r is rows[r * width:(r + 1) * width].
        width: columns, a multiple of LANES.
        found: int32 row numbers, contiguous; the first `count` are used. They are not checked.
        total: float32 of shape (width,), contiguous, changed in place.
    """
    for block in range(0, width, LANES):
        _add_block(rows, width, block, found, np.int64(count), total)
