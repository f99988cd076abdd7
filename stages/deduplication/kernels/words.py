"""Hashes of the words, or of the characters, of normalised text (see `stages.deduplication.kernels.normalise`).

The hash of a word is over its bytes in groups of eight, the last one padded with zeros, which no word holds: see
`extend` and `finish`. A character is hashed like a word of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from gristmill.stages.deduplication.kernels.hash_bits import boundary_bits, trailing_zeros
from gristmill.stages.deduplication.kernels.normalise import EDGE, SPACE
from gristmill.stages.kernels.pointers import load8_at, pointer
from gristmill.stages.kernels.scalars import Int

START = 0x243F6A8885A308D3
"""Hash of the empty word. This and the odd multipliers are fractional digits of pi."""
EXTEND = 0x13198A2E03707345
FINISH = 0xA4093822299F31D1
PADDING = 64
"""Bytes that must be readable behind the normalised text."""

_START = np.uint64(START)
_EXTEND = np.uint64(EXTEND)
_FINISH = np.uint64(FINISH)
_FULL = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(cache=True, nogil=True)
def extend(h: np.uint64, group: np.uint64) -> np.uint64:
    """The hash of a word after eight more bytes: a bijection of `h` for any group."""
    m = (h ^ group) * _EXTEND
    return m ^ (m >> np.uint64(32))


@njit(cache=True, nogil=True)
def finish(h: np.uint64) -> np.uint64:
    """The hash of a whole word."""
    m = h * _FINISH
    return m ^ (m >> np.uint64(29))


@njit(cache=True, nogil=True)
def low_bytes(group: np.uint64, n: Int) -> np.uint64:
    """The lowest n bytes of a group, the others 0; none for n <= 0, all for n >= 8."""
    kept = min(max(n, 0), 8)
    # Two shifts, since one by 64 is undefined.
    return group & ~((_FULL << np.uint64(4 * kept)) << np.uint64(4 * kept))


@njit(cache=True, nogil=True)
def hash_words(normal: np.ndarray, stop: Int, last: bool, state: np.ndarray, words: np.ndarray) -> tuple[Int, Int]:
    """Hash the words of normal[:stop] into `words`.

    Args:
        normal: uint8, normalised text; PADDING bytes behind `stop` are readable.
        last: whether the text ends at `stop`. Otherwise its last word may go on, and is left unless it begins at 0: then
            as many groups of it as there are pass into `state`, so that a word of any length has an end.
        state: uint64[2], zeros at the start of a text: whether a word goes on at normal[0], and its hash so far.
        words: uint64, at least (stop + 3) // 2 places.

    Returns (bytes done with, number of words), both int64. The caller gives the rest again, followed by more text.
    """
    text = pointer(normal)
    count = 0
    start = np.int64(0)
    for base in range(0, stop, 64):
        bits = boundary_bits(text, base)
        if base + 64 > stop:
            bits &= (np.uint64(1) << np.uint64(stop - base)) - np.uint64(1)
        while bits:
            edge = base + trailing_zeros(bits)
            bits &= bits - np.uint64(1)
            n = edge - start
            if 0 < n <= 16 and state[0] == np.uint64(0):
                h1 = extend(_START, low_bytes(load8_at(text, start), n))
                h2 = extend(h1, low_bytes(load8_at(text, start + 8), n - 8))
                words[count] = finish(h2 if n > 8 else h1)
                count += 1
            elif n > 0 or state[0] != np.uint64(0):
                words[count] = _long_word(text, start, n, state)
                count += 1
            start = edge + 1
    n = stop - start
    if last:
        if n > 0 or state[0] != np.uint64(0):
            words[count] = _long_word(text, start, n, state)
            count += 1
        return stop, count
    if start == 0 and n > 0:
        h = state[1] if state[0] != np.uint64(0) else _START
        for k in range(0, n & ~7, 8):
            h = extend(h, load8_at(text, k))
        state[0], state[1] = np.uint64(1), h
        start = n & ~7
    return start, count


@njit(cache=True, nogil=True)
def _long_word(text: Any, start: Int, n: Int, state: np.ndarray) -> np.uint64:
    """The hash of a word whose last n bytes, or all of them, begin at `start`; ends what `state` holds."""
    h = state[1] if state[0] != np.uint64(0) else _START
    state[0] = np.uint64(0)
    for k in range(0, n & ~7, 8):
        h = extend(h, load8_at(text, start + k))
    if n & 7:
        h = extend(h, low_bytes(load8_at(text, start + (n & ~7)), n & 7))
    return finish(h)


@njit(cache=True, nogil=True)
def hash_characters(normal: np.ndarray, stop: Int, state: np.ndarray, characters: np.ndarray) -> Int:
    """Hash the characters of normal[:stop] into `characters`. Returns their number.

    Several spaces in a row are one; spaces at the start and at the end of the text are none, so a space is hashed
    together with the character after it.

    Args:
        normal: uint8, normalised text; eight bytes behind `stop` are readable.
        state: uint64[2], zeros at the start of a text: whether there was a character, and whether a space is due.
        characters: uint64, at least `stop` + 1 places.
    """
    text = pointer(normal)
    count = 0
    i = np.int64(0)
    while i < stop:
        byte = np.int64(text[i])
        if byte == EDGE:
            i += 1
            continue
        if byte == SPACE:
            state[1] = state[0]
            i += 1
            continue
        if state[1] != np.uint64(0):
            characters[count] = finish(extend(_START, np.uint64(SPACE)))
            count += 1
            state[1] = np.uint64(0)
        size = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
        characters[count] = finish(extend(_START, low_bytes(load8_at(text, i), size)))
        count += 1
        state[0] = np.uint64(1)
        i += size
    return count
