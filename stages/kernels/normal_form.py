"""Unicode's normal form NFC for kernels: which texts are not surely in it, and bringing them to it.

The quick check is that of Unicode Standard Annex 15: a text is in NFC when no character is excluded from it or may join
what precedes it, and marks stand in canonical order. Most texts pass. In the others, everything but the stretches between
two characters that begin anew (*starters* that join nothing before them) is copied; those are decomposed, ordered and
composed again. Tables are of the version of Unicode that `stages.kernels.unicode` pins.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from gristmill.stages.kernels import unicode
from gristmill.stages.kernels.bits import ones
from gristmill.stages.kernels.pointers import load8_at, pointer, store8_at
from gristmill.stages.kernels.scalars import Int
from gristmill.stages.kernels.unicode import REPLACEMENT, decode, decode_at

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
_PARTS = 5
"""Numbers in a row of the decompositions."""
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


class _Pointers(NamedTuple):
    """Forms with a pointer in the place of each array, for inner functions (see `stages.kernels.pointers`), and how many
    rows `decomposed` and `pairs` have."""

    properties: Any
    decomposed: Any
    n_decomposed: Int
    pairs: Any
    n_pairs: Int
    joined: Any


@njit(nogil=True)
def _row_of(code: Int, t: _Pointers) -> Int:
    """Which row of the decompositions a code point has, −1 for none."""
    low, high = np.int64(0), np.int64(t.n_decomposed)
    while low < high:
        middle = (low + high) >> 1
        if t.decomposed[middle * _PARTS] < code:
            low = middle + 1
        else:
            high = middle
    return low if low < t.n_decomposed and t.decomposed[low * _PARTS] == code else -1


@njit(nogil=True)
def _join(first: Int, second: Int, t: _Pointers) -> Int:
    """What two code points become when they stand together, −1 for two."""
    if _L_FIRST <= first < _L_FIRST + _L_COUNT and _V_FIRST <= second < _V_FIRST + _V_COUNT:
        return _S_FIRST + ((first - _L_FIRST) * _V_COUNT + second - _V_FIRST) * _T_COUNT
    if _S_FIRST <= first < _S_FIRST + _S_COUNT and _T_BEFORE < second < _T_BEFORE + _T_COUNT:
        return first + second - _T_BEFORE if (first - _S_FIRST) % _T_COUNT == 0 else -1
    wanted = np.uint64(first) << np.uint64(32) | np.uint64(second)
    low, high = np.int64(0), np.int64(t.n_pairs)
    while low < high:
        middle = (low + high) >> 1
        if t.pairs[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return np.int64(t.joined[low]) if low < t.n_pairs and t.pairs[low] == wanted else -1


@njit(nogil=True)
def _order(codes: Any, first: Int, last: Int, properties: Any) -> None:
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
    copy = np.empty(last - first, np.uint32)
    for i in range(first, last):
        places[np.int64(properties[codes[i]] & np.uint16(CLASS)) + 1] += 1
        copy[i - first] = codes[i]
    for class_number in range(1, CLASS + 2):
        places[class_number] += places[class_number - 1]
    for code in copy:
        class_of_code = np.int64(properties[code] & np.uint16(CLASS))
        codes[first + places[class_of_code]] = code
        places[class_of_code] += 1


@njit(nogil=True)
def _compose(codes: Any, count: Int, t: _Pointers) -> Int:
    """Orders and composes decomposed code points in place; returns how many are left."""
    properties = t.properties
    first: Int = 0
    for i in range(count + 1):
        if i == count or properties[codes[i]] & np.uint16(CLASS) == 0:
            if i - first > 1:
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
            whole = _join(np.int64(codes[starter]), code, t)
            if whole >= 0:
                codes[starter] = np.uint32(whole)
                continue
        if class_ == 0:
            starter = kept
        last = class_
        codes[kept] = np.uint32(code)
        kept += 1
    return kept


@njit(nogil=True)
def _encode(code: Int, out: Any, at: Int) -> Int:
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


@njit(nogil=True)
def _copy(bytes_: Any, first: Int, last: Int, out: Any, to: Int) -> Int:
    """Copies bytes_[first:last] to out[to:]; returns the place after them."""
    while first + 8 <= last:
        store8_at(out, to, load8_at(bytes_, first))
        first += 8
        to += 8
    while first < last:
        out[to] = bytes_[first]
        first += 1
        to += 1
    return to


@njit(nogil=True)
def _normalise_from(
    bytes_: Any, at: Int, end: Int, t: _Pointers, codes: Any, room: Int, out: Any, to: Int
) -> tuple[Int, Int]:
    """Brings bytes_[at:end] to NFC at out[to:]; returns the places behind what it has read and written. It stops before `end`
    where `codes` has not enough room for what stands between two characters that begin anew."""
    properties = t.properties
    copied, begin = at, at  # What is not copied yet; where the last character that begins anew stands.
    last = np.uint16(0)
    while at < end:
        if at + 8 <= end:
            high = load8_at(bytes_, at) & HIGH_BITS
            length = first_bytes(np.uint64(0), high)[1] if high else np.int64(8)
            if length:
                at += length
                begin = at - 1
                last = np.uint16(0)
            if not high:
                continue
        code, following = decode_at(bytes_, at, end)
        property_ = properties[code]
        class_ = property_ & np.uint16(CLASS)
        if property_ & np.uint16(CHANGES) == 0 and (class_ == 0 or class_ >= last):
            if class_ == 0:
                begin = at
            last = class_
            at = following
            if code == REPLACEMENT:  # Joins nothing, and may stand for a byte that is to stay.
                begin = at
            continue
        # From the last beginning to before the next one.
        to = _copy(bytes_, copied, begin, out, to)
        copied = at = begin
        count = np.int64(0)
        while at < end:
            code, following = decode_at(bytes_, at, end)
            property_ = properties[code]
            if at > begin and property_ & np.uint16(CLASS | CHANGES) == 0:
                break
            if count + _PARTS - 1 > room:
                return begin, to
            row = _row_of(code, t) if code >= t.decomposed[0] else -1
            if row < 0:
                codes[count] = np.uint32(code)
                count += 1
            for part in range(1, _PARTS if row >= 0 else 1):
                if t.decomposed[row * _PARTS + part]:
                    codes[count] = t.decomposed[row * _PARTS + part]
                    count += 1
            at = following
        for place in range(_compose(codes, count, t)):
            to = _encode(np.int64(codes[place]), out, to)
        copied = begin = at
        last = np.uint16(0)
    return end, _copy(bytes_, copied, end, out, to)


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
    codes = np.empty(256, np.uint32)
    to = np.int64(0)
    out_offsets[0] = 0
    p = _Pointers(
        pointer(t.properties),
        pointer(t.decomposed),
        len(t.decomposed),
        pointer(t.pairs),
        len(t.pairs),
        pointer(t.joined),
    )
    for i in range(rows.size):
        at, end = np.int64(offsets[rows[i]]), np.int64(offsets[rows[i] + 1])
        while at < end:
            read, written = _normalise_from(pointer(data), at, end, p, pointer(codes), codes.size, pointer(out), to)
            at, to = np.int64(read), np.int64(written)
            if at < end:
                codes = np.empty(2 * codes.size, np.uint32)
        out_offsets[i + 1] = to
