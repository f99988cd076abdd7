"""Unicode's normal form NFC for kernels: which texts are not surely in it, and bringing them to it.

The quick check is that of Unicode Standard Annex 15: a text is in NFC when no character is excluded from it or may join
what precedes it, and marks stand in canonical order. Most texts pass. In the others, everything but the stretches between
two characters that begin anew (*starters* that join nothing before them) is copied; those are decomposed, ordered and
composed again. Tables are of the version of Unicode that `stages.kernels.unicode` pins.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit

from gristmill.stages.kernels import unicode
from gristmill.stages.kernels.bits import ones
from gristmill.stages.kernels.pointers import load8_at, pointer
from gristmill.stages.kernels.scalars import Bool, Int
from gristmill.stages.kernels.unicode import REPLACEMENT, decode

CLASS = 0xFF
"""The bits of a character's properties that hold its combining class."""
CHANGES, UPPER, LOWER = 1 << 8, 1 << 9, 1 << 10
"""Further bits: NFC may change it (NFC_Quick_Check is No or Maybe); upper case; lower or title case."""

NORMAL, COMPOSABLE, CAPITALS = 0, 1, 2
"""What `check` finds: surely in NFC; perhaps not; wholly in capitals, as far as it has letters with case."""

MAX_GROWTH = 3
"""Bytes of a text in NFC, by its bytes at most: U+1D160 becomes three characters of its own length."""

_L_FIRST, _V_FIRST, _T_BEFORE, _S_FIRST = 0x1100, 0x1161, 0x11A7, 0xAC00
_L_COUNT, _V_COUNT, _T_COUNT, _S_COUNT = 19, 21, 28, 11172
"""Hangul syllables by arithmetic: The Unicode Standard, section 3.12."""
_SHORT_RUN = 24
"""Marks after one another that are put in order by insertion; more are counted by class."""

HIGH_BITS = np.uint64(0x8080808080808080)
LOWER_CASE = np.uint64(0x2020202020202020)
"""What makes eight capital letters small; no other ASCII byte becomes a letter by it."""
_ONES = np.uint64(0x0101010101010101)
_FROM_LOWER, _PAST_LOWER = np.uint64(0x80 - ord("a")) * _ONES, np.uint64(0x7F - ord("z")) * _ONES
_FROM_UPPER, _PAST_UPPER = np.uint64(0x80 - ord("A")) * _ONES, np.uint64(0x7F - ord("Z")) * _ONES


class Forms(NamedTuple):
    """Fields: `properties` (uint16 by code point): combining class and bits. `decomposed` (uint32[n, 5]) as
    `unicode.decompositions` has it. `pairs` (uint64, sorted) and `joined` (uint32): first << 32 | second of what NFC joins,
    and what it becomes."""

    properties: np.ndarray
    decomposed: np.ndarray
    pairs: np.ndarray
    joined: np.ndarray


@cache
def forms() -> Forms:
    """The tables, read once per process."""
    decomposed, compositions = unicode.decompositions(), unicode.compositions()
    properties = unicode.combining_class().astype(np.uint16)
    case = unicode.case()
    properties[case == 1] |= UPPER
    properties[case == 2] |= LOWER
    excluded = np.setdiff1d(decomposed[:, 0], compositions[:, 2])
    properties[excluded] |= CHANGES
    properties[compositions[:, 1]] |= CHANGES
    properties[_V_FIRST : _V_FIRST + _V_COUNT] |= CHANGES
    properties[_T_BEFORE + 1 : _T_BEFORE + _T_COUNT] |= CHANGES
    pairs = compositions[:, 0].astype(np.uint64) << np.uint64(32) | compositions[:, 1].astype(np.uint64)
    found = Forms(properties, decomposed, pairs, np.ascontiguousarray(compositions[:, 2]))
    for table in found:
        table.setflags(write=False)
    return found


@njit(cache=True, nogil=True, inline="always")
def first_bytes(word: np.uint64, high: np.uint64) -> tuple[np.uint64, np.int64]:
    """(the ASCII bytes of a word before its first other byte, the rest 0; how many they are), given the word's high bits,
    not all 0."""
    below = (high & (~high + np.uint64(1))) - np.uint64(1)
    return word & (below >> np.uint64(7)), ones(below) >> 3


@njit(cache=True, nogil=True, inline="always")
def lower_letters(word: np.uint64) -> np.uint64:
    """The high bit of each of eight ASCII bytes that is a letter from a to z."""
    return ((word + _FROM_LOWER) & ~(word + _PAST_LOWER)) & HIGH_BITS


@njit(cache=True, nogil=True, inline="always")
def _upper_letters(word: np.uint64) -> np.uint64:
    return ((word + _FROM_UPPER) & ~(word + _PAST_UPPER)) & HIGH_BITS


@njit(cache=True, nogil=True)
def check(data: np.ndarray, offsets: np.ndarray, properties: np.ndarray, found: np.ndarray) -> None:
    """NORMAL, COMPOSABLE or CAPITALS into `found` (uint8) for each of the texts in `data` (uint8) at `offsets` (int64).
    Bytes that are no UTF-8 count as characters without case that nothing changes."""
    for row in range(offsets.size - 1):
        bytes_ = pointer(data)
        at, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        lower = upper = np.uint64(0)
        seen = last = np.uint16(0)
        disordered = False
        while at < end:
            if at + 8 <= end:
                word = load8_at(bytes_, at)
                high = word & HIGH_BITS
                if high:
                    word, length = first_bytes(word, high)
                else:
                    length = np.int64(8)
                lower |= lower_letters(word)
                upper |= _upper_letters(word)
                if length:
                    last = np.uint16(0)
                    at += length
                if not high:
                    continue
            code, at = decode(data, at, end)
            property_ = properties[code]
            class_ = property_ & np.uint16(CLASS)
            seen |= property_
            disordered |= class_ != 0 and class_ < last
            last = class_
        has_lower = lower != 0 or seen & np.uint16(LOWER) != 0
        has_upper = upper != 0 or seen & np.uint16(UPPER) != 0
        if has_upper and not has_lower:
            found[row] = CAPITALS
        else:
            found[row] = COMPOSABLE if disordered or seen & np.uint16(CHANGES) != 0 else NORMAL


@njit(cache=True, nogil=True)
def _row_of(code: Int, decomposed: np.ndarray) -> Int:
    """Which row of the decompositions a code point has, −1 for none."""
    low, high = 0, decomposed.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if decomposed[middle, 0] < code:
            low = middle + 1
        else:
            high = middle
    return low if low < decomposed.shape[0] and decomposed[low, 0] == code else -1


@njit(cache=True, nogil=True)
def _join(first: Int, second: Int, pairs: np.ndarray, joined: np.ndarray) -> Int:
    """What two code points become when they stand together, −1 for two."""
    if _L_FIRST <= first < _L_FIRST + _L_COUNT and _V_FIRST <= second < _V_FIRST + _V_COUNT:
        return _S_FIRST + ((first - _L_FIRST) * _V_COUNT + second - _V_FIRST) * _T_COUNT
    if _S_FIRST <= first < _S_FIRST + _S_COUNT and _T_BEFORE < second < _T_BEFORE + _T_COUNT:
        return first + second - _T_BEFORE if (first - _S_FIRST) % _T_COUNT == 0 else -1
    wanted = np.uint64(first) << np.uint64(32) | np.uint64(second)
    low, high = 0, pairs.size
    while low < high:
        middle = (low + high) >> 1
        if pairs[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return np.int64(joined[low]) if low < pairs.size and pairs[low] == wanted else -1


@njit(cache=True, nogil=True)
def _order(codes: np.ndarray, first: Int, last: Int, properties: np.ndarray) -> None:
    """Puts marks in the order of their classes, those of one class as they stand."""
    if last - first <= _SHORT_RUN:
        for i in range(first + 1, last):
            code = codes[i]
            class_ = properties[code] & np.uint16(CLASS)
            at = i
            while at > first and properties[codes[at - 1]] & np.uint16(CLASS) > class_:
                codes[at] = codes[at - 1]
                at -= 1
            codes[at] = code
        return
    places = np.zeros(CLASS + 2, np.int64)
    for i in range(first, last):
        places[np.int64(properties[codes[i]] & np.uint16(CLASS)) + 1] += 1
    for class_number in range(1, CLASS + 2):
        places[class_number] += places[class_number - 1]
    copy = codes[first:last].copy()
    for code in copy:
        class_of_code = np.int64(properties[code] & np.uint16(CLASS))
        codes[first + places[class_of_code]] = code
        places[class_of_code] += 1


@njit(cache=True, nogil=True)
def _compose(codes: np.ndarray, count: Int, t: Forms) -> Int:
    """Orders and composes decomposed code points in place; returns how many are left."""
    properties = t.properties
    first: Int = 0
    for i in range(count + 1):
        if i == count or properties[codes[i]] & np.uint16(CLASS) == 0:
            _order(codes, first, i, properties)
            first = i + 1
    kept: Int = 0
    starter: Int = -1
    last = np.uint16(0)
    for i in range(count):
        code = np.int64(codes[i])
        class_ = properties[code] & np.uint16(CLASS)
        # Blocked is what follows a mark of its own class or a higher one, or another starter.
        if starter >= 0 and (kept == starter + 1 or last < class_):
            whole = _join(np.int64(codes[starter]), code, t.pairs, t.joined)
            if whole >= 0:
                codes[starter] = np.uint32(whole)
                continue
        if class_ == 0:
            starter = kept
        last = class_
        codes[kept] = np.uint32(code)
        kept += 1
    return kept


@njit(cache=True, nogil=True)
def _encode(code: Int, out: np.ndarray, at: Int) -> Int:
    """Writes a code point as UTF-8; returns the place after it."""
    if code < 0x80:
        out[at] = np.uint8(code)
        return at + 1
    length = 2 if code < 0x800 else 3 if code < 0x10000 else 4
    for i in range(length - 1, 0, -1):
        out[at + i] = np.uint8(0x80 | (code & 0x3F))
        code >>= 6
    out[at] = np.uint8((0xF00 >> length) & 0xFF | code)
    return at + length


@njit(cache=True, nogil=True)
def _begins(property_: np.uint16) -> Bool:
    return bool(property_ & np.uint16(CLASS | CHANGES) == 0)


@njit(cache=True, nogil=True)
def normalise(
    data: np.ndarray, offsets: np.ndarray, rows: np.ndarray, t: Forms, out: np.ndarray, out_offsets: np.ndarray
) -> None:
    """The texts `rows` (int64) in NFC, one after the other.

    Args:
        data, offsets: texts (uint8, int64[documents + 1]). Bytes that are no UTF-8 are copied as they are.
        t: see `forms`.
        out: uint8 with room for MAX_GROWTH bytes for each of these texts' bytes; out_offsets: int64[rows + 1], written.
    """
    properties = t.properties
    codes = np.empty(256, np.uint32)
    to = np.int64(0)
    out_offsets[0] = 0
    for i in range(rows.size):
        at, end = np.int64(offsets[rows[i]]), np.int64(offsets[rows[i] + 1])
        begin, written = at, to  # Where the last character that begins anew stands, here and there.
        last = np.uint16(0)
        while at < end:
            if at + 8 <= end and load8_at(pointer(data), at) & HIGH_BITS == 0:
                for place in range(8):
                    out[to + place] = data[at + place]
                at += 8
                to += 8
                begin, written = at - 1, to - 1
                last = np.uint16(0)
                continue
            byte = data[at]
            if byte < 128:
                begin, written = at, to
                out[to] = byte
                last = np.uint16(0)
                at += 1
                to += 1
                continue
            code, following = decode(data, at, end)
            property_ = properties[code]
            class_ = property_ & np.uint16(CLASS)
            if property_ & np.uint16(CHANGES) == 0 and (class_ == 0 or class_ >= last):
                if class_ == 0:
                    begin, written = at, to
                last = class_
                for place in range(at, following):
                    out[to] = data[place]
                    to += 1
                at = following
                if code == REPLACEMENT:  # Joins nothing, and may stand for a byte that is to stay.
                    begin, written = at, to
                continue
            # From the last beginning to before the next one.
            at, to = begin, written
            count = np.int64(0)
            while at < end:
                code, following = decode(data, at, end)
                if at > begin and _begins(properties[code]):
                    break
                if count + 4 > codes.size:
                    larger = np.empty(2 * codes.size, np.uint32)
                    larger[:count] = codes[:count]
                    codes = larger
                row = _row_of(code, t.decomposed)
                if row < 0:
                    codes[count] = np.uint32(code)
                    count += 1
                for part in range(1, 5 if row >= 0 else 1):
                    if t.decomposed[row, part]:
                        codes[count] = t.decomposed[row, part]
                        count += 1
                at = following
            for place in range(_compose(codes, count, t)):
                to = np.int64(_encode(np.int64(codes[place]), out, to))
            begin, written = at, to
            last = np.uint16(0)
        out_offsets[i + 1] = to
