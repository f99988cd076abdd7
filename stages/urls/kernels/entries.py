"""Sets of short byte strings, as lists of 10^7 lines need them: the entries' bytes one after another, and slots of
positions into them. Reading a file's lines into a set, and looking a string up."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from gristmill.stages.kernels.hashing64 import PADDING, hash_bytes
from gristmill.stages.kernels.pointers import pointer
from gristmill.stages.kernels.scalars import Int

NEWLINE = 10
"""Ends every entry in a set's bytes; no entry has one inside."""
_HASH = np.uint8(35)

OK, BAD_BYTE, TOO_SHORT, TOO_LONG = 0, 1, 2, 3
"""What `add_lines` may find wrong with a line: a byte that no entry of the kind has; too little left of it; more than
MAX_LINE bytes."""
MAX_LINE = 1 << 16
"""Bytes of the longest line: a longer one is no entry, and what has it is hardly a list."""


def letter_or_digit() -> np.ndarray:
    """uint8[256]: ASCII letters (as lower case) and digits as they are, 0 for every other byte."""
    table = np.zeros(256, np.uint8)
    for code in b"abcdefghijklmnopqrstuvwxyz0123456789":
        table[code] = code
    for code in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        table[code] = code + 32
    return table


@njit(nogil=True)
def _first_slot(text: Any, start: Int, end: Int, count: np.uint64) -> np.uint64:
    return ((hash_bytes(text, start, end, 0) >> np.uint64(32)) * count) >> np.uint64(32)


@njit(nogil=True)
def _next_slot(slot: np.uint64, count: np.uint64) -> np.uint64:
    slot += np.uint64(1)
    return np.uint64(0) if slot == count else slot


@njit(nogil=True)
def find(data: Any, slots: Any, count: np.uint64, text: Any, start: Int, end: Int) -> Int:
    """The position in `data` of the entry text[start:end], or −1.

    `data`, `slots` and `text` are pointers to uint8, uint32 and uint8; `count` is the number of slots; PADDING bytes behind
    `end` must be readable.
    """
    slot = _first_slot(text, start, end, count)
    length = end - start
    while slots[slot]:
        begin = np.int64(slots[slot]) - 1
        i = np.int64(0)
        # The newline that ends the entry ends the comparison too: the text may have one inside.
        while i < length and data[begin + i] == text[start + i] and data[begin + i] != NEWLINE:
            i += 1
        if i == length and data[begin + i] == NEWLINE:
            return begin
        slot = _next_slot(slot, count)
    return np.int64(-1)


@njit(cache=True, nogil=True)
def add_lines(
    lines: np.ndarray,
    allowed: np.ndarray,
    word: np.ndarray,
    is_words: bool,
    lower: bool,
    least: int,
    data: np.ndarray,
    used: int,
    slots: np.ndarray,
) -> tuple[int, int, int, int, int]:
    """Adds the lines of a part of a file to a set.

    Args:
        lines: uint8, whole lines, the last one with its newline. Lines that are blank or start with `#` are no entries;
            white space at either end is none of an entry.
        allowed: bool[256]: bytes that an entry may have. word: see `letter_or_digit`.
        is_words: an entry is what is left of a line without anything but ASCII letters and digits, in lower case.
        lower: ASCII letters become lower case. least: bytes of the shortest entry.
        data, used: uint8, the set's bytes and how many there are; data has room for these lines and PADDING more.
        slots: uint32, more than there are entries (see `slots_for`); 0 marks an empty one, else position + 1.

    Returns:
        (bytes used, entries added, what is wrong, number of the line from 0, offset of the byte); the last two where
        something is wrong (BAD_BYTE, TOO_SHORT, TOO_LONG), which ends the work.
    """
    count = np.uint64(len(slots))
    slot_at, data_at = pointer(slots), pointer(data)
    added, number, at, size = 0, 0, 0, len(lines)
    while at < size:
        end = at
        while lines[end] != NEWLINE:
            end += 1
        begin, stop = at, end
        comment = lines[at] == _HASH
        at = end + 1
        while begin < stop and (lines[begin] == 32 or (lines[begin] >= 9 and lines[begin] <= 13)):
            begin += 1
        while stop > begin and (lines[stop - 1] == 32 or (lines[stop - 1] >= 9 and lines[stop - 1] <= 13)):
            stop -= 1
        if begin == stop or comment:
            number += 1
            continue
        if stop - begin > MAX_LINE:
            return used, added, TOO_LONG, number, begin
        length = 0
        for i in range(begin, stop):
            byte = lines[i]
            if not allowed[byte]:
                return used, added, BAD_BYTE, number, i
            if is_words:
                byte = word[byte]
                if byte == 0:
                    continue
            elif lower and byte >= 65 and byte <= 90:
                byte += np.uint8(32)
            data[used + length] = byte
            length += 1
        if length < least:
            return used, added, TOO_SHORT, number, begin
        data[used + length] = NEWLINE
        if find(data_at, slot_at, count, data_at, used, used + length) < 0:
            slot = _first_slot(data_at, used, used + length, count)
            while slots[slot]:
                slot = _next_slot(slot, count)
            slots[slot] = np.uint32(used + 1)
            used += length + 1
            added += 1
        number += 1
    return used, added, OK, 0, 0


def room_for(size: int) -> int:
    """Bytes to set aside for entries of `size` bytes in all."""
    return size + PADDING + 8


def slots_for(entries: int) -> int:
    """Slots of a set with at most so many entries: a quarter stays empty, so that few are tried."""
    return entries + entries // 3 + 8
