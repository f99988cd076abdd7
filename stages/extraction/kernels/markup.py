"""Elements and depth of HTML, counted from its bytes before anything parses it: a bound on what a parser may have to do.

One pass per page over `<name`, `</name`, comments, scripts and styles. It is no parser: the depth is that of elements whose
end tag may not be left out, and a `>` within an attribute ends a tag.
"""

from __future__ import annotations

import numpy as np
from numba import njit


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


@njit(cache=True, nogil=True)
def count_markup(
    data: np.ndarray, offsets: np.ndarray, flat: np.ndarray, elements: np.ndarray, depths: np.ndarray
) -> None:
    """Counts start tags and the greatest depth of each page.

    Args:
        data: uint8, the pages' bytes in any encoding that extends ASCII; NUL bytes are passed over, so that UTF-16 counts too.
        offsets: int64, shape (pages + 1,): page r is data[offsets[r]:offsets[r + 1]].
        flat: FLAT.
        elements, depths: int64, one per page, written.
    """
    for page in range(len(offsets) - 1):
        i, stop = offsets[page], offsets[page + 1]
        count = depth = deepest = 0
        skipped = np.uint64(0)
        while i < stop:
            if data[i] != 60:  # <
                i += 1
                continue
            i = _next(data, i + 1, stop)
            if i >= stop:
                break
            closing = data[i] == 47  # /
            if closing:
                i = _next(data, i + 1, stop)
            elif data[i] == 33:  # !
                i = _after_comment(data, _next(data, i + 1, stop), stop)
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
            if closing:
                if counts and depth > 0:
                    depth -= 1
                continue
            count += 1
            last = np.uint8(0)
            while i < stop and data[i] != 62:  # >
                if data[i] != 0:
                    last = data[i]
                i += 1
            if counts and last != 47:
                depth += 1
                deepest = max(deepest, depth)
                if length <= 6 and (name == SCRIPT or name == STYLE):
                    skipped = name
        elements[page], depths[page] = count, deepest


@njit(cache=True, nogil=True, inline="always")
def _next(data: np.ndarray, i: int, stop: int) -> int:
    """The first byte from i on that is not NUL."""
    while i < stop and data[i] == 0:
        i += 1
    return i


@njit(cache=True, nogil=True)
def _after_comment(data: np.ndarray, i: int, stop: int) -> int:
    """Behind the comment whose `--` begins at i, the page's end where it has none; i where none begins there."""
    second = _next(data, i + 1, stop)
    if second >= stop or data[i] != 45 or data[second] != 45:
        return i
    dashes, i = 0, second + 1
    while i < stop:
        if data[i] == 62 and dashes >= 2:
            return i + 1
        if data[i] != 0:
            dashes = dashes + 1 if data[i] == 45 else 0
        i += 1
    return stop


@njit(cache=True, nogil=True)
def _among(names: np.ndarray, name: np.uint64) -> bool:
    place = np.searchsorted(names, name)
    return bool(place < len(names) and names[place] == name)
