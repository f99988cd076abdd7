"""Lines and paragraphs of texts: where they lie, and texts without some of them.

A line ends at `\\n` or at the end of the text; it is blank when all its bytes are at most 0x20. The passages of a text are
its lines that are not blank, or its paragraphs: runs of such lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

NEWLINE = 0x0A
BLANK = 0x20


@njit(cache=True, nogil=True)
def _line(data: Any, i: Any, end: Any) -> Any:
    """(end of the line that begins at i, whether it is blank)."""
    blank = True
    while i < end and data[i] != NEWLINE:
        if data[i] > BLANK:
            blank = False
        i += 1
    return i, blank


@njit(cache=True, nogil=True)
def passages(
    data: np.ndarray,
    offsets: np.ndarray,
    paragraphs: bool,
    least: int,
    rows: np.ndarray,
    numbers: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
) -> int:
    """Find the passages with at least `least` characters in the texts data[offsets[d]:offsets[d + 1]].

    Args:
        data, offsets: Arrow buffers of a large_string column: uint8, and int64 of shape (documents + 1,).
        paragraphs: paragraphs instead of lines.
        least: code points of a passage, its line ends counted, that it must have to be reported; all are numbered.
        rows, numbers: out: int32, the text of a passage, and which of the text's passages it is, from 0.
        starts, ends: out: int64, the bytes of a passage, without the line end behind it.

    The outputs have places for one passage for every `\\n` and every text. Returns how many were written.
    """
    found = 0
    for d in range(offsets.shape[0] - 1):
        i, stop = offsets[d], offsets[d + 1]
        number = 0
        open_at = np.int64(-1)
        close_at = np.int64(-1)
        while i <= stop:
            end, blank = _line(data, i, stop)
            if not blank:
                if open_at < 0:
                    open_at = i
                close_at = end
            last = end >= stop
            if open_at >= 0 and (blank or last or not paragraphs):
                characters = 0
                for k in range(open_at, close_at):
                    characters += (data[k] & 0xC0) != 0x80
                if characters >= least:
                    rows[found], numbers[found] = d, number
                    starts[found], ends[found] = open_at, close_at
                    found += 1
                number += 1
                open_at = np.int64(-1)
            if last:
                break
            i = end + 1
    return found


@njit(cache=True, nogil=True)
def without_passages(
    data: np.ndarray,
    offsets: np.ndarray,
    paragraphs: bool,
    removed: np.ndarray,
    removed_offsets: np.ndarray,
    out: np.ndarray,
    out_offsets: np.ndarray,
    first: np.ndarray,
) -> int:
    """Write each text without some of its passages.

    The lines that are left are joined by `\\n`. The blank lines after a removed paragraph go with it, and a new text has no
    blank lines at its start and its end.

    Args:
        data, offsets, paragraphs: see `passages`.
        removed, removed_offsets: int32 and int64: text d loses its passages removed[removed_offsets[d]:…[d + 1]], which
            ascend.
        out: uint8, as many bytes as the texts have.
        out_offsets: int64 of shape (documents + 1,), out.
        first: int64 of shape (documents,), out: the byte at which a text's first removed passage began.

    Returns the first text that has no such passage, or -1.
    """
    o = np.int64(0)
    out_offsets[0] = 0
    for d in range(offsets.shape[0] - 1):
        begin, stop = offsets[d], offsets[d + 1]
        i, start = begin, o
        next_removed, last_removed = removed_offsets[d], removed_offsets[d + 1]
        number = np.int64(-1)
        inside = False
        dropping = False
        first[d] = -1
        kept = o
        while i <= stop:
            end, blank = _line(data, i, stop)
            if blank:
                inside = False
                keep = not (paragraphs and dropping)
            else:
                if not (paragraphs and inside):
                    number += 1
                    dropping = next_removed < last_removed and removed[next_removed] == number
                    if dropping:
                        next_removed += 1
                        if first[d] < 0:
                            first[d] = i - begin
                inside = True
                keep = not dropping
            if keep and not (blank and o == start):
                if o > start:
                    out[o] = NEWLINE
                    o += 1
                for k in range(i, end):
                    out[o] = data[k]
                    o += 1
                if not blank:
                    kept = o
            if end >= stop:
                break
            i = end + 1
        if next_removed != last_removed:
            return d
        o = kept
        out_offsets[d + 1] = o
    return -1
