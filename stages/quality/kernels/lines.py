"""Line and paragraph counts of a document: duplicates, bullets, ellipses, sentence ends, short lines.

Four ways of cutting a text into lines stand side by side here, because the rules that they serve were written that way
(datatrove's Gopher and FineWeb filters): between runs of newlines, between newlines, at every line boundary of
`str.splitlines`, and paragraphs between runs of two newlines or more. `stages.quality.kernels.counts` says which count
goes by which.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gristmill.stages.kernels.hashing64 import absorb, finish
from gristmill.stages.kernels.pointers import load8_at, pointer
from gristmill.stages.kernels.unicode import decode_at
from gristmill.stages.quality.kernels.counts import INDEX
from gristmill.stages.quality.tokenizer import flags as flag

_BULLET_LINES = INDEX["bullet_lines"]
_CONTENT_LINES = INDEX["content_lines"]
_DUPLICATE_LINE_CHARS = INDEX["duplicate_line_chars"]
_DUPLICATE_PARAGRAPHS = INDEX["duplicate_paragraphs"]
_DUPLICATE_PARAGRAPH_CHARS = INDEX["duplicate_paragraph_chars"]
_DUPLICATE_RUNS = INDEX["duplicate_runs"]
_DUPLICATE_RUN_CHARS = INDEX["duplicate_run_chars"]
_ELLIPSIS_LINES = INDEX["ellipsis_lines"]
_LINES = INDEX["lines"]
_NEWLINES = INDEX["newlines"]
_PARAGRAPHS = INDEX["paragraphs"]
_RUNS = INDEX["runs"]
_SHORT_LINES = INDEX["short_lines"]
_TERMINAL_LINES = INDEX["terminal_lines"]

_ONES = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_NEWLINE_WORD = np.uint64(0x0A0A0A0A0A0A0A0A)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_LF = 0x0A


@njit(nogil=True)
def _newline_bits(word):  # type: ignore[no-untyped-def]
    """Nonzero if one of the eight bytes is a newline."""
    x = word ^ _NEWLINE_WORD
    return (x - _ONES) & ~x & _HIGH


@njit(nogil=True)
def _continuations(word):  # type: ignore[no-untyped-def]
    """How many of the eight bytes continue a UTF-8 sequence (10xxxxxx)."""
    return np.int64((((word & ~(word << np.uint64(1)) & _HIGH) >> np.uint64(7)) * _ONES) >> np.uint64(56))


@njit(nogil=True)
def _load(data, i, end, limit):  # type: ignore[no-untyped-def]
    """The bytes data[i:end], fewer than eight, with zeros behind; reads nothing at or past `limit`."""
    if i + 8 <= limit:
        return load8_at(data, i) & (_ALL >> np.uint64(8 * (8 - (end - i))))
    word = np.uint64(0)
    for k in range(end - i):
        word |= np.uint64(data[i + k]) << np.uint64(8 * k)
    return word


@njit(nogil=True)
def _find_newline(data, i, end):  # type: ignore[no-untyped-def]
    while i + 8 <= end and _newline_bits(load8_at(data, i)) == np.uint64(0):
        i += 8
    while i < end and data[i] != _LF:
        i += 1
    return i


@njit(nogil=True)
def _digest(data, start, end, limit):  # type: ignore[no-untyped-def]
    """(hash, code points) of data[start:end]."""
    state = np.uint64(0)
    i = start
    skipped = np.int64(0)
    while i + 8 <= end:
        word = load8_at(data, i)
        state = absorb(state, word)
        skipped += _continuations(word)
        i += 8
    if i < end:
        word = _load(data, i, end, limit)
        state = absorb(state, word)
        skipped += _continuations(word)
    return finish(state, end - start), end - start - skipped


@njit(nogil=True)
def _content_start(data, start, end, flags):  # type: ignore[no-untyped-def]
    """Where the first character stands that is no white space; `end` if none is."""
    i = start
    while i < end:
        code, following = decode_at(data, i, end)
        if not flags[code] & flag.SPACE:
            return i
        i = following
    return end


@njit(nogil=True)
def _previous(data, start, i):  # type: ignore[no-untyped-def]
    """Where the character begins that ends at i > start."""
    j = i - 1
    while j > start and i - j < 4 and (data[j] & 0xC0) == 0x80:
        j -= 1
    return j


@njit(nogil=True)
def _last_code(data, start, end):  # type: ignore[no-untyped-def]
    """The last code point of data[start:end], which is not empty."""
    code, following = decode_at(data, _previous(data, start, end), end)
    return code


@njit(nogil=True)
def _content_end(data, start, end, flags):  # type: ignore[no-untyped-def]
    """Behind the last character that is no white space; `start` if none is."""
    i = end
    while i > start:
        j = _previous(data, start, i)
        code, following = decode_at(data, j, i)
        if not flags[code] & flag.SPACE:
            return i
        i = j
    return start


@njit(nogil=True)
def _begins_with_bullet(data, i, end):  # type: ignore[no-untyped-def]
    if i >= end:
        return False
    return data[i] == 0x2D or (i + 2 < end and data[i] == 0xE2 and data[i + 1] == 0x80 and data[i + 2] == 0xA2)


@njit(nogil=True)
def _ends_with_ellipsis(data, start, end):  # type: ignore[no-untyped-def]
    if end - start < 3:
        return False
    last = data[end - 1]
    if last == 0x2E:
        return data[end - 2] == 0x2E and data[end - 3] == 0x2E
    return last == 0xA6 and data[end - 2] == 0x80 and data[end - 3] == 0xE2


@njit(nogil=True)
def count_newlines(data, start, end):  # type: ignore[no-untyped-def]
    """Newlines in data[start:end]."""
    count = np.int64(0)
    for i in range(start, end):
        count += np.int64(data[i] == _LF)
    return count


@njit(nogil=True)
def _seen(keys, mask, key):  # type: ignore[no-untyped-def]
    """Whether a key is in the table; it is afterwards."""
    slot = np.int64(key) & mask
    while keys[slot] != np.uint64(0):
        if keys[slot] == key:
            return True
        slot = (slot + 1) & mask
    keys[slot] = key
    return False


@njit(nogil=True)
def _widened(keys, slots):  # type: ignore[no-untyped-def]
    """A table with twice the slots that holds the same keys, and perhaps room behind them."""
    wider = np.zeros(2 * slots, np.uint64)
    table = pointer(wider)
    for k in range(slots):
        if keys[k] != np.uint64(0):
            _seen(table, 2 * slots - 1, keys[k])
    # Named once more, so that it is not released while its pointer is in use.
    return wider[: 2 * slots]


@njit(nogil=True)
def split_at_every_boundary(data, start, end, flags, row):  # type: ignore[no-untyped-def]
    """lines, bullet_lines and ellipsis_lines of a text with other line boundaries than newlines."""
    lines = np.int64(0)
    bullets = np.int64(0)
    ellipses = np.int64(0)
    begin = start
    i = start
    while i < end:
        code, following = decode_at(data, i, end)
        boundary = 0x0A <= code <= 0x0D or 0x1C <= code <= 0x1E or code == 0x85 or 0x2028 <= code <= 0x2029
        if boundary or following >= end:
            stop = i if boundary else end
            lines += 1
            bullets += np.int64(_begins_with_bullet(data, _content_start(data, begin, stop, flags), stop))
            ellipses += np.int64(_ends_with_ellipsis(data, begin, _content_end(data, begin, stop, flags)))
            if code == 0x0D and following < end and data[following] == _LF:
                following += 1
            begin = following
        i = following
    row[_LINES] = lines
    row[_BULLET_LINES] = bullets
    row[_ELLIPSIS_LINES] = ellipses


@njit(nogil=True)
def count_lines(  # type: ignore[no-untyped-def]
    data, start, end, limit, flags, newlines, short_line_length, run_table, paragraph_table, row
):
    """Fill in all line and paragraph counts of the text data[start:end], taking newlines for the only boundaries.

    Returns the two tables, which may have grown.

    Args:
        data: pointer to uint8, readable up to `limit`.
        flags: pointer to the flags of all code points.
        newlines: newlines in the text.
        run_table, paragraph_table: uint64 arrays for keys of what was seen; their lengths are powers of two.
        row: pointer to the document's counts (int64), zero before.
    """
    # No more slots than the text needs are cleared and used, however large the tables have grown.
    slots = np.int64(64)
    while slots < 2 * (newlines + 1) and slots < len(run_table):
        slots *= 2
    paragraph_slots = min(slots, np.int64(len(paragraph_table)))
    run_table[:slots] = 0
    paragraph_table[:paragraph_slots] = 0
    used = np.int64(0)
    paragraphs_used = np.int64(0)
    first = _content_start(data, start, end, flags)
    last = _content_end(data, first, end, flags)
    paragraph = np.uint64(0)
    paragraph_lines = np.int64(0)
    paragraph_chars = np.int64(0)
    a = start
    while a <= end:
        b = _find_newline(data, a, end)
        key = np.uint64(0)
        chars = np.int64(0)
        if b > a:
            key, chars = _digest(data, a, b, limit)
            if 2 * used >= slots:
                run_table = _widened(run_table, slots)
                slots *= 2
            known = _seen(pointer(run_table), slots - 1, key)
            used += np.int64(not known)
            row[_RUNS] += 1
            if known:
                row[_DUPLICATE_RUNS] += 1
                row[_DUPLICATE_RUN_CHARS] += chars
            content = _content_start(data, a, b, flags)
            if content < b:
                row[_CONTENT_LINES] += 1
                if flags[_last_code(data, a, b)] & flag.TERMINAL:
                    row[_TERMINAL_LINES] += 1
                if chars <= short_line_length:
                    row[_SHORT_LINES] += 1
                if known:
                    row[_DUPLICATE_LINE_CHARS] += chars
                row[_BULLET_LINES] += np.int64(_begins_with_bullet(data, content, b))
                row[_ELLIPSIS_LINES] += np.int64(_ends_with_ellipsis(data, a, _content_end(data, a, b, flags)))
        elif a == start or b == end:
            # Cutting at runs of newlines leaves an empty piece before a first and behind a last run.
            row[_RUNS] += 1
            if row[_RUNS] > 1 and a != start and data[start] == _LF:
                row[_DUPLICATE_RUNS] += 1
        if first < last and b >= first and a <= last:
            if b > a:
                if a < first or b > last:
                    key, chars = _digest(data, max(a, first), min(b, last), limit)
                paragraph = absorb(paragraph, key)
                paragraph_chars += chars + np.int64(paragraph_lines > 0)
                paragraph_lines += 1
            if (b == a or b >= last) and paragraph_lines:
                row[_PARAGRAPHS] += 1
                if 2 * paragraphs_used >= paragraph_slots:
                    paragraph_table = _widened(paragraph_table, paragraph_slots)
                    paragraph_slots *= 2
                paragraphs_used += 1
                if _seen(pointer(paragraph_table), paragraph_slots - 1, finish(paragraph, paragraph_lines)):
                    row[_DUPLICATE_PARAGRAPHS] += 1
                    row[_DUPLICATE_PARAGRAPH_CHARS] += paragraph_chars
                paragraph = np.uint64(0)
                paragraph_lines = np.int64(0)
                paragraph_chars = np.int64(0)
        a = b + 1
    if row[_PARAGRAPHS] == 0:
        row[_PARAGRAPHS] = 1
    row[_NEWLINES] = newlines
    row[_LINES] = newlines + np.int64(end > start and data[end - 1] != _LF)
    return run_table, paragraph_table
