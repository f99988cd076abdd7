"""Elements and depth of HTML, counted from its bytes before anything parses it: a bound on what a parser may have to do.
On the way it notes where tables, code and formulas lie.

One pass per page over `<name`, `</name`, comments, scripts and styles. It is no parser: the depth is that of elements whose
end tag may not be left out, and a `>` within an attribute ends a tag.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types


def _code(name: str) -> int:
    """A name of up to eight letters as a number, the first letter in the highest bits that are used."""
    code = 0
    for letter in name.encode():
        code = code << 8 | letter
    return code


FLAT = np.array(
    sorted(
        _code(name)
        for name in (
            # Void elements, and elements that the next one or the parent's end closes.
            "area base br col embed hr img input link meta param source track wbr html head body p li dt dd tr td th option "
            "optgroup thead tbody tfoot colgroup caption rt rp"
        ).split()
    ),
    np.uint64,
)
"""Names of elements that do not count for the depth."""
SCRIPT, STYLE = np.uint64(_code("script")), np.uint64(_code("style"))
TR, TABLE, PRE, MATH = (np.uint64(_code(name)) for name in ("tr", "table", "pre", "math"))
VISIBLE = np.array(
    [byte < 0x80 and not chr(byte).isspace() and byte != 124 or byte >= 0xC0 for byte in range(256)], np.uint8
)
"""By byte of UTF-8, whether a character begins there that is neither ASCII's white space nor a bar."""
_memchr: Any = types.ExternalFunction("memchr", types.intp(types.intp, types.int32, types.uintp))
"""The C library's search for a byte, several times as fast as a compiled loop over bytes."""


@njit(cache=True, nogil=True)
def count_markup(
    data: np.ndarray,
    offsets: np.ndarray,
    flat: np.ndarray,
    elements: np.ndarray,
    depths: np.ndarray,
    blocks: np.ndarray,
) -> None:
    """Counts start tags and the greatest depth of each page, and finds its blocks.

    Args:
        data: uint8, the pages' bytes in any encoding that extends ASCII; NUL bytes are passed over, so that UTF-16 counts too.
        offsets: int64, shape (pages + 1,): page r is data[offsets[r]:offsets[r + 1]].
        flat: FLAT.
        elements, depths: int64, one per page, written.
        blocks: int64, shape (pages, 2), zeros; written: from the first to behind the last tag of `table`, `tr`, `pre` and
            `math`, counted from the page's first byte.
    """
    start = data.ctypes.data
    for page in range(len(offsets) - 1):
        i, stop = offsets[page], offsets[page + 1]
        count = depth = deepest = 0
        skipped = np.uint64(0)
        while i < stop:
            i = at = _find(start, i, stop, 60)  # <
            if i < stop:
                i = _next(data, i + 1, stop)
            if i >= stop:
                break
            closing = data[i] == 47  # /
            if closing:
                i = _next(data, i + 1, stop)
            elif data[i] == 33:  # !
                i = _after_comment(data, start, _next(data, i + 1, stop), stop)
                continue
            name, length = np.uint64(0), 0
            while i < stop and (97 <= data[i] | 32 <= 122 or (length > 0 and 48 <= data[i] <= 57)):
                letter = data[i] | 32 if data[i] > 57 else data[i]
                name = (name << np.uint64(8)) | np.uint64(letter)
                length += 1
                i = _next(data, i + 1, stop)
            if length == 0 or (skipped != np.uint64(0) and not (closing and name == skipped)):
                continue
            skipped = np.uint64(0)
            counts = length > 8 or not _among(flat, name)
            block = length <= 5 and (name == TR or name == PRE or name == TABLE or name == MATH)
            if block and blocks[page, 1] == 0:
                blocks[page, 0] = at - offsets[page]
            if closing:
                if counts and depth > 0:
                    depth -= 1
                if block:
                    blocks[page, 1] = min(_find(start, i, stop, 62) + 1, stop) - offsets[page]
                continue
            count += 1
            behind_name = i
            i = _find(start, i, stop, 62)  # >
            if block:
                blocks[page, 1] = min(i + 1, stop) - offsets[page]
            last = i - 1
            while last >= behind_name and data[last] == 0:
                last -= 1
            if counts and (last < behind_name or data[last] != 47):
                depth += 1
                deepest = max(deepest, depth)
                if length <= 6 and (name == SCRIPT or name == STYLE):
                    skipped = name
        elements[page], depths[page] = count, deepest


@njit(cache=True, nogil=True)
def count_visible(data: np.ndarray, offsets: np.ndarray, visible: np.ndarray, counts: np.ndarray) -> None:
    """Counts the characters of each text, without white space (as `str.isspace` has it) and the bars that rows of tables get.

    Args:
        data: uint8, UTF-8.
        offsets: int64, shape (texts + 1,).
        visible: VISIBLE.
        counts: int64, one per text, written.
    """
    for row in range(len(offsets) - 1):
        count, stop = 0, offsets[row + 1]
        for i in range(offsets[row], stop):
            byte = data[i]
            count += visible[byte]
            if (byte == 0xC2 or 0xE1 <= byte <= 0xE3) and i + 1 < stop:
                after = data[i + 1]
                last = data[i + 2] if i + 2 < stop else 0
                if byte == 0xC2:
                    count -= after == 0x85 or after == 0xA0
                elif byte == 0xE1:  # U+1680
                    count -= after == 0x9A and last == 0x80
                elif byte == 0xE3:  # U+3000
                    count -= after == 0x80 and last == 0x80
                elif after == 0x80:  # U+2000 to U+200A, U+2028, U+2029, U+202F
                    count -= last <= 0x8A or last == 0xA8 or last == 0xA9 or last == 0xAF
                else:  # U+205F
                    count -= after == 0x81 and last == 0x9F
        counts[row] = count


@njit(cache=True, nogil=True, inline="always")
def _next(data: np.ndarray, i: int, stop: int) -> int:
    """The first byte from i on that is not NUL."""
    while i < stop and data[i] == 0:
        i += 1
    return i


@njit(cache=True, nogil=True, inline="always")
def _find(start: int, i: int, stop: int, byte: int) -> int:
    """The first place from i on with a byte, `stop` where there is none. `start` is the address of place 0."""
    if i >= stop:
        return stop
    found = _memchr(start + i, np.int32(byte), np.uint64(stop - i))
    return stop if found == 0 else found - start


@njit(cache=True, nogil=True)
def _after_comment(data: np.ndarray, start: int, i: int, stop: int) -> int:
    """Behind the comment whose `--` begins at i, the page's end where it has none; i where none begins there."""
    second = _next(data, i + 1, stop)
    if second >= stop or data[i] != 45 or data[second] != 45:
        return i
    begin = i = second + 1
    while i < stop:
        i = _find(start, i, stop, 62)
        dashes, before = 0, i - 1
        while dashes < 2 and before >= begin and (data[before] == 45 or data[before] == 0):
            dashes += data[before] == 45
            before -= 1
        if dashes == 2:
            return min(i + 1, stop)
        i += 1
    return stop


@njit(cache=True, nogil=True)
def _among(names: np.ndarray, name: np.uint64) -> bool:
    place = np.searchsorted(names, name)
    return bool(place < len(names) and names[place] == name)
