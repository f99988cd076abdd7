"""Sums of matrix rows as vector instructions.

LLVM unrolls a short inner loop over a row before it could make vectors of it, and then adds number by number, seven
times slower; a longer one it guards by checks of overlap that cost as much. Here the additions are written as vectors of
LANES numbers, with running sums in registers; every target splits them as it must. The order of additions is that of
the plain loop: one row after the other, each column by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils

from gristmill.stages.kernels.intrinsics import intrinsic
from gristmill.stages.kernels.scalars import Int

LANES = 16
"""Rows must be padded to a multiple of this many columns."""
TILE = 64
"""Rows that are added block by block before the next ones: they stay in the first-level cache meanwhile."""


def _adder(blocks: int, source: ir.Type, target: ir.Type) -> Callable[..., Any]:
    """An intrinsic total[block + i] += Σ rows[found[n] * width + block + i] for n in [first, last), in order, and
    i < blocks * LANES. Integers are widened with their sign."""

    @intrinsic
    def add(
        typing_context: Any, rows: Any, width: Any, block: Any, found: Any, first: Any, last: Any, total: Any
    ) -> Any:
        signature = types.void(rows, types.int64, types.int64, found, types.int64, types.int64, total)
        source_vector, target_vector = ir.VectorType(source, LANES), ir.VectorType(target, LANES)
        floating = isinstance(target, ir.FloatType)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _, width_, block_, _, first_, last_, _ = arguments

            def pointer(index: int) -> Any:
                return context.make_array(signature.args[index])(context, builder, arguments[index]).data

            def lanes_at(base: Any, offset: Any, part: int, vector: Any) -> Any:
                place = builder.add(offset, ir.Constant(ir.IntType(64), part * LANES))
                return builder.bitcast(builder.gep(base, [place]), vector.as_pointer())

            matrix, indices, totals = pointer(0), pointer(3), pointer(6)
            # Stack slots, not the target: they cannot alias the matrix, so they become registers.
            running = [cgutils.alloca_once(builder, target_vector) for _ in range(blocks)]
            for part in range(blocks):
                builder.store(builder.load(lanes_at(totals, block_, part, target_vector), align=4), running[part])
            with cgutils.for_range_slice(builder, first_, last_, ir.Constant(ir.IntType(64), 1)) as (index, _):
                row = builder.sext(builder.load(builder.gep(indices, [index])), ir.IntType(64))
                offset = builder.add(builder.mul(row, width_), block_)
                for part in range(blocks):
                    value = builder.load(lanes_at(matrix, offset, part, source_vector), align=2)
                    if source != target:
                        value = builder.sext(value, target_vector)
                    summed = builder.load(running[part])
                    summed = builder.fadd(summed, value) if floating else builder.add(summed, value)
                    builder.store(summed, running[part])
            for part in range(blocks):
                builder.store(builder.load(running[part]), lanes_at(totals, block_, part, target_vector), align=4)
            return context.get_dummy_value()

        return signature, generate

    return add


_add_float32 = _adder(1, ir.FloatType(), ir.FloatType())
_add_int16 = _adder(1, ir.IntType(16), ir.IntType(32))
_add_int16_wide = _adder(4, ir.IntType(16), ir.IntType(32))


@njit(cache=True, nogil=True)
def add_rows(rows: np.ndarray, width: Int, found: np.ndarray, count: Int, total: np.ndarray) -> None:
    """Adds rows to `total`, one after the other.

    Args:
        rows: float32, contiguous, flat: row r is rows[r * width:(r + 1) * width].
        width: columns, a multiple of LANES.
        found: int32 row numbers, contiguous; the first `count` are used. They are not checked.
        total: float32 of shape (width,), contiguous, changed in place.
    """
    for block in range(0, width, LANES):
        _add_float32(rows, width, block, found, 0, np.int64(count), total)


@njit(cache=True, nogil=True)
def add_int16_rows(rows: np.ndarray, width: Int, found: np.ndarray, first: Int, last: Int, total: np.ndarray) -> None:
    """Adds rows of int16 to int32 sums; sums of up to 65,536 rows cannot overflow.

    Args:
        rows: int16, contiguous, flat: row r is rows[r * width:(r + 1) * width].
        width: columns, a multiple of LANES.
        found: int32 row numbers, contiguous; those from `first` to before `last` are used. They are not checked.
        total: int32 of shape (width,), contiguous, changed in place.
    """
    for tile in range(first, last, TILE):
        end = min(tile + TILE, last)
        block = np.int64(0)
        while block + 4 * LANES <= width:
            _add_int16_wide(rows, width, block, found, tile, end, total)
            block += 4 * LANES
        while block < width:
            _add_int16(rows, width, block, found, tile, end, total)
            block += LANES
