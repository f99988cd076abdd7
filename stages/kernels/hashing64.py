"""A 64-bit hash of a run of bytes, for tables inside kernels; it is never stored and never leaves a process.

Equal bytes have equal hashes; different ones collide with a probability of about 2^-64 each, which the tables take for
equality. The kernels that use it work on one document at a time, so nothing is gained by searching for collisions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from gristmill.stages.kernels.pointers import load8_at
from gristmill.stages.kernels.scalars import Int

PADDING = 16
"""Bytes that must be readable behind the last byte that is hashed."""

_STEP = np.uint64(0x9E3779B97F4A7C15)
_LENGTH = np.uint64(0xC2B2AE3D27D4EB4F)
_LAST = np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)
ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(nogil=True)
def absorb(state: np.uint64, word: np.uint64) -> np.uint64:
    """The state after eight more bytes, given as uint64."""
    state = (state ^ word) * _STEP
    return state ^ (state >> _SHIFT)


@njit(nogil=True)
def finish(state: np.uint64, length: Int | np.uint64) -> np.uint64:
    """The hash for a state that has taken in `length` bytes, never 0, so that 0 can mark an empty slot."""
    state = (state ^ (np.uint64(length) * _LENGTH)) * _LAST
    state = (state ^ (state >> _SHIFT)) * _STEP
    state ^= state >> _SHIFT
    return state if state != np.uint64(0) else np.uint64(1)


@njit(nogil=True)
def hash_bytes(data: Any, start: Int, end: Int, seed: Int | np.uint64) -> np.uint64:
    """The hash of data[start:end], for a pointer to uint8 with PADDING readable bytes behind `end`, and a seed."""
    state = np.uint64(seed)
    i = start
    while i + 8 <= end:
        state = absorb(state, load8_at(data, i))
        i += 8
    if i < end:
        state = absorb(state, load8_at(data, i) & (ALL_BITS >> np.uint64(8 * (8 - (end - i)))))
    return finish(state, end - start)


@njit(nogil=True)
def hash_word(data: Any, start: Int, end: Int) -> np.uint64:
    """A hash of data[start:end], another than `hash_bytes`: up to 16 bytes it takes the same steps for every length, which a
    processor that guesses branches takes faster; PADDING bytes behind `end` must be readable."""
    length = end - start
    if length > 16:
        return hash_bytes(data, start, end, _LENGTH)
    missing = np.uint64(8 * max(8 - length, 0))
    first = (load8_at(data, start) << missing) >> missing
    missing = np.uint64(8 * min(16 - length, 7))
    second = (load8_at(data, start + 8) << missing) >> missing
    return finish(absorb(absorb(np.uint64(0), first), second if length > 8 else np.uint64(0)), length)
