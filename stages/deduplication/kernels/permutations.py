"""MinHash lanes: the least of a family of hash functions over shingles, many lanes at a time in vector registers.

Lane j hashes a shingle hash h by v_j = h + a_j·x modulo 2^64, where x is a second hash that follows from h (see
`second_hash`). Over random pairs (h, x) this family is pairwise independent (Carter & Wegman, "Universal classes of
hash functions", 1979), so the minima of two lanes are independent and an estimate of Jaccard similarity from L lanes has
the binomial's variance. The tests check what the formula does not promise: bands of 8 lanes and tiny sets.

The multipliers are sums, a_j = blocks[j div WIDTH] + within[j mod WIDTH], so a shingle costs one product for each block
and one for each place in a block; what remains for each of its lanes is an addition and a minimum.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils

from gristmill.stages.deduplication.kernels.hash_bits import splitmix64
from gristmill.stages.kernels.intrinsics import intrinsic
from gristmill.stages.kernels.pointers import pointer
from gristmill.stages.kernels.scalars import Int

WIDTH = 16
"""Lanes of a block."""
TURN = 8
"""Shingles that go through a block at a time: minima are loaded and stored once for all of them."""
SECOND = 0xC2B2AE3D27D4EB4F
"""Odd multiplier of `second_hash`."""

_SECOND = np.uint64(SECOND)
_HALF = np.uint64(32)
_SIGN = np.uint64(0x8000000000000000)
_LARGEST = np.int64(0x7FFFFFFFFFFFFFFF)


class Multipliers(NamedTuple):
    """Multipliers of the lanes: `blocks` and `within`, uint64 of shapes (⌈lanes / WIDTH⌉,) and (WIDTH,)."""

    blocks: np.ndarray
    within: np.ndarray


def lane_multipliers(lanes: int, seed: int) -> Multipliers:
    """Multipliers of so many lanes, from SplitMix64 started at `seed`."""
    values = np.array(splitmix64(seed, WIDTH + -(-lanes // WIDTH)), np.uint64)
    return Multipliers(values[WIDTH:], values[:WIDTH])


@njit(cache=True, nogil=True)
def second_hash(h: np.uint64) -> np.uint64:
    """x of a shingle hash h, both uint64."""
    m = h * _SECOND
    return m ^ (m >> _HALF)


@njit(cache=True, nogil=True)
def no_minima(lows: np.ndarray) -> None:
    """Set int64 minima, of shape (blocks · WIDTH,), to those of no shingles."""
    for j in range(lows.shape[0]):
        lows[j] = _LARGEST


@njit(cache=True, nogil=True)
def lower_minima(
    shingles: np.ndarray, count: Int, seconds: np.ndarray, blocks: np.ndarray, within: np.ndarray, lows: np.ndarray
) -> None:
    """Lower each lane's minimum by the first `count` shingle hashes.

    Args:
        shingles: uint64; overwritten. Its size must be at least `count` rounded up to a multiple of TURN.
        seconds: uint64 of the same size, for work.
        blocks, within: see `lane_multipliers`.
        lows: int64, minima as v - 2^63: signed minima are what all vector units have, and 2^63 more in h is 2^63 more in
            every v.
    """
    if count == 0:
        return
    for s in range(count):
        seconds[s] = second_hash(shingles[s])
        shingles[s] ^= _SIGN
    padded = (count + TURN - 1) // TURN * TURN
    for s in range(count, padded):
        # Once more the last one, which changes no minimum.
        seconds[s] = seconds[count - 1]
        shingles[s] = shingles[count - 1]
    for s in range(0, padded, TURN):
        _lower_turn(
            pointer(shingles), pointer(seconds), s, pointer(blocks), blocks.shape[0], pointer(within), pointer(lows)
        )


@intrinsic
def _lower_turn(
    typingctx: Any, shingles: Any, seconds: Any, start: Any, blocks: Any, count: Any, within: Any, lows: Any
) -> Any:
    """Lower all lanes by TURN shingles from `start` on. Written as vectors, since LLVM, given the loops, would check
    before each block whether the arrays overlap, which takes longer than the block."""
    signature = types.void(shingles, seconds, start, blocks, count, within, lows)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        h, x, first, block, blocks_, place, low = arguments
        word, lanes = ir.IntType(64), ir.VectorType(ir.IntType(64), WIDTH)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
        undefined = ir.Constant(lanes, ir.Undefined)

        def each(value: Any) -> Any:
            one = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(one, undefined, zeros)

        def least(a: Any, b: Any) -> Any:
            return builder.select(builder.icmp_signed("<", a, b), a, b)

        def at(base: Any, turn: Any) -> Any:
            index = builder.add(first, ir.Constant(word, turn))
            return builder.load(builder.gep(base, [index]), typ=word)

        multiplier = builder.load(builder.bitcast(place, lanes.as_pointer()), align=8, typ=lanes)
        hashes = [at(h, turn) for turn in range(TURN)]
        others = [at(x, turn) for turn in range(TURN)]
        products = [builder.mul(multiplier, each(other)) for other in others]
        with cgutils.for_range(builder, blocks_) as loop:
            a = builder.load(builder.gep(block, [loop.index]), typ=word)
            offset = builder.mul(loop.index, ir.Constant(word, WIDTH))
            address = builder.bitcast(builder.gep(low, [offset]), lanes.as_pointer())
            found = builder.load(address, align=8, typ=lanes)
            for turn in range(TURN):
                base = builder.add(hashes[turn], builder.mul(a, others[turn]))
                found = least(found, builder.add(each(base), products[turn]))
            builder.store(found, address, align=8)
        return context.get_dummy_value()

    return signature, codegen


@njit(cache=True, nogil=True)
def minimum(lows: np.ndarray, lane: Int) -> np.uint64:
    """The least v of a lane as uint64; all ones when there was no shingle."""
    return np.uint64(lows[lane]) ^ _SIGN
