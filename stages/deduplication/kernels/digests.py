"""128-bit digests of passages of text, in one of three normal forms: what exact deduplication takes for equal.

    WORDS    the words of `stages.deduplication.kernels.normalise` with one space between them: lower case, no accents, no
             punctuation, a run of digits as one `0`. What is equal so has equal MinHash signatures.
    SPACES   runs of white space (as `str.isspace` has it) as one space, none at the ends; nothing else is changed
    BYTES    the passage as it is

The bytes of the form go, in groups of eight with the last one padded by zeros, through two chains of 64 bits with
different constants; the length is mixed in at the end. Digests are stable from run to run and machine to machine. They are
no cryptographic hash: two passages of n meet by chance with probability n²/2^129 (10^-18 for 10^10), and whoever builds
two passages on purpose so that they meet can remove only his own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from gristmill.stages.deduplication.kernels.hash_bits import mix64
from gristmill.stages.deduplication.kernels.normalise import MARGIN, SPACE, NormalForms, normalise
from gristmill.stages.kernels import unicode as ucd
from gristmill.stages.kernels.pointers import load8_at, pointer
from gristmill.stages.kernels.scalars import Int
from gristmill.stages.kernels.unicode import decode

WORDS, SPACES, BYTES = range(3)
CHUNK = 4096
"""Bytes of normalised text made at a time."""

_A, _B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_C, _D = np.uint64(0xD6E8FEB86659FD93), np.uint64(0xBE5466CF34E90C6D)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(cache=True, nogil=True)
def _absorb(text: Any, at: Int, stop: Int, high: np.uint64, low: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Both chains after the groups of eight bytes of text[at:stop]; a last one of fewer is padded."""
    while at + 8 <= stop:
        group = load8_at(text, at)
        high = (high ^ group) * _A
        high ^= high >> np.uint64(32)
        low = (low + group) * _B
        low ^= low >> np.uint64(29)
        at += 8
    if at < stop:
        group = load8_at(text, at) & (_ALL >> np.uint64(8 * (8 - (stop - at))))
        high = (high ^ group) * _A
        high ^= high >> np.uint64(32)
        low = (low + group) * _B
        low ^= low >> np.uint64(29)
    return high, low


@njit(cache=True, nogil=True)
def _single_spaces(text: Any, start: Int, stop: Int, after: bool) -> tuple[Int, bool]:
    """Make every run of bytes up to SPACE in text[start:stop] one space, in place; `after`: whether one stands before it.
    Returns (end of what is left, whether it ends in a space)."""
    o = start
    for k in range(start, stop):
        byte = text[k]
        separator = byte <= SPACE
        text[o] = np.uint8(SPACE) if separator else byte
        o += 0 if separator and after else 1
        after = separator
    return o, after


@njit(cache=True, nogil=True)
def _spaced(data: np.ndarray, i: Int, end: Int, classes: np.ndarray, text: Any, o: Int, room: Int) -> tuple[Int, Int]:
    """Copy data[i:end] to text[o:], with SPACE for white space and 0x80 to 0xFF as they are, until `room` is reached.
    ASCII controls are moved above 0x20, to bytes that no UTF-8 holds. Returns (where to go on, end of the copy)."""
    while i < end and o < room:
        byte = data[i]
        if byte < 0x80:
            if classes[byte] == ucd.SPACE:
                byte = np.uint8(SPACE)
            elif byte <= SPACE:
                text[o] = np.uint8(0xFF)
                o += 1
                byte = np.uint8(byte + 0x40)
            text[o] = byte
            o += 1
            i += 1
        else:
            code, after = decode(data, i, end)
            if classes[code] == ucd.SPACE:
                text[o] = np.uint8(SPACE)
                o += 1
            else:
                for k in range(i, after):
                    text[o] = data[k]
                    o += 1
            i = after
    return i, o


@njit(cache=True, nogil=True)
def passage_digests(
    data: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    form: int,
    seeds: np.ndarray,
    forms: NormalForms,
    classes: np.ndarray,
    out: np.ndarray,
    lengths: np.ndarray,
) -> None:
    """Digests of the passages data[starts[p]:ends[p]].

    Args:
        data: uint8, text that need not be UTF-8.
        starts, ends: int64 of shape (passages,).
        form: WORDS, SPACES or BYTES.
        seeds: uint64 of shape (passages,): passages with different seeds are different.
        classes: uint8, `unicode.char_class()`.
        out: uint64 of shape (passages, 2).
        lengths: int64 of shape (passages,): bytes of the normal form; 0 where there is nothing to compare.
    """
    made = np.empty(CHUNK + 2 * MARGIN, np.uint8)
    padded = np.empty(16, np.uint8)
    for p in range(starts.shape[0]):
        i, end = starts[p], ends[p]
        high, low = seeds[p] * _C, ~seeds[p] * _D
        length = np.int64(0)
        if form == BYTES:
            length = end - i
            whole = i + (length & ~7)
            high, low = _absorb(pointer(data), i, whole, high, low)
            # The last group is read from a copy: nothing says that bytes behind the text may be read.
            for k in range(length & 7):
                padded[k] = data[whole + k]
            high, low = _absorb(pointer(padded), np.int64(0), length & 7, high, low)
        else:
            text = pointer(made)
            held: Int = np.int64(0)
            digits = False
            after = True
            while i < end:
                if form == WORDS:
                    i, stop, digits = normalise(data, i, end, forms, made, held, digits)
                else:
                    i, stop = _spaced(data, i, end, classes, text, held, CHUNK)
                stop, after = _single_spaces(text, held, stop, after)
                # At least the last byte is held back, since a space at the end is none.
                done = max(stop - 1, 0) & ~7
                high, low = _absorb(text, np.int64(0), done, high, low)
                length += done
                held = stop - done
                for k in range(held):
                    made[k] = made[done + k]
            if held > 0 and made[held - 1] == SPACE:
                held -= 1
            high, low = _absorb(text, np.int64(0), held, high, low)
            length += held
        lengths[p] = length
        high = mix64(high ^ (np.uint64(length) * _C))
        out[p, 0] = high
        out[p, 1] = mix64(low + high * _D + np.uint64(length))


@njit(cache=True, nogil=True)
def join_digests(digests: np.ndarray, more: np.ndarray) -> None:
    """Replace digests (uint64 of shape (rows, 2)) by those of the pairs of both, whose order matters."""
    for row in range(digests.shape[0]):
        high = mix64(digests[row, 0] * _A ^ more[row, 0])
        digests[row, 1] = mix64((digests[row, 1] + more[row, 1]) * _B ^ high)
        digests[row, 0] = high
