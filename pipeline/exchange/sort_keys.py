"""Sort order of a table in memory: columns packed into order-preserving bit strings, then radix and merge sort.

The order is total over content: rows that agree on the sort columns are ordered by their other columns, so that only
rows equal in everything are interchangeable, and the order in which rows arrive never shows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import one_chunk
from gristmill.pipeline.exchange.hash_kernels import hash_column, spans

_DIGIT_BITS = 10
_DIGITS = 1 << _DIGIT_BITS
"""Values of a radix digit. More make fewer passes but scatter to more places than a first-level TLB and cache hold."""
_FIRST_SHIFT = 24
"""Bits of the first word left to comparisons: the 40 above it tell apart nearly all of a usual partition's rows."""
_MERGE_LIMIT = 16384
"""Longest run of equal leading bits that is merge-sorted; longer ones are radix-sorted over all their bits."""


@numba.njit(cache=True, nogil=True)
def _append_bits(words: np.ndarray, position: int, values: np.ndarray, bits: int) -> None:
    """Write the low `bits` of each value at bit `position` of each row of `words`, most significant bit first."""
    word = position >> 6
    room = 64 - (position & 63)
    if bits <= room:
        shift = np.uint64(room - bits)
        for row in range(len(values)):
            words[row, word] |= values[row] << shift
    else:
        right = np.uint64(bits - room)
        left = np.uint64(64 - (bits - room))
        for row in range(len(values)):
            words[row, word] |= values[row] >> right
            words[row, word + 1] |= values[row] << left


@numba.njit(cache=True, nogil=True)
def _radix_pass(keys: np.ndarray, order: np.ndarray, keys2: np.ndarray, order2: np.ndarray, shift: int) -> bool:
    """One stable counting pass over one digit at `shift`. False, and nothing moved, when all rows share them."""
    counts = np.zeros(_DIGITS + 1, np.int64)
    by = np.uint64(shift)
    mask = np.uint64(_DIGITS - 1)
    rows = len(keys)
    for row in range(rows):
        counts[np.int64((keys[row] >> by) & mask) + 1] += 1
    if rows == 0 or counts[np.int64((keys[0] >> by) & mask) + 1] == rows:
        return False
    for digit in range(_DIGITS):
        counts[digit + 1] += counts[digit]
    for row in range(rows):
        own = np.int64((keys[row] >> by) & mask)
        to = counts[own]
        counts[own] = to + 1
        keys2[to] = keys[row]
        order2[to] = order[row]
    return True


@numba.njit(cache=True, nogil=True)
def _less(words: np.ndarray, a: np.uint32, b: np.uint32) -> bool:
    for word in range(words.shape[1]):
        if words[a, word] != words[b, word]:
            return bool(words[a, word] < words[b, word])
    return False


@numba.njit(cache=True, nogil=True)
def _same(words: np.ndarray, a: np.uint32, b: np.uint32) -> bool:
    for word in range(words.shape[1]):
        if words[a, word] != words[b, word]:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _merge_sort(words: np.ndarray, order: np.ndarray, start: int, stop: int, spare: np.ndarray) -> None:
    """Stable sort of order[start:stop] by whole rows of `words`: insertion sort of runs of 16, then merges."""
    for low in range(start, stop, 16):
        high = min(low + 16, stop)
        for at in range(low + 1, high):
            row = order[at]
            to = at
            while to > low and _less(words, row, order[to - 1]):
                order[to] = order[to - 1]
                to -= 1
            order[to] = row
    width = 16
    while width < stop - start:
        for low in range(start, stop, 2 * width):
            middle = min(low + width, stop)
            high = min(low + 2 * width, stop)
            if middle >= high or not _less(words, order[middle], order[middle - 1]):
                continue
            for at in range(low, middle):
                spare[at - low] = order[at]
            left = 0
            size = middle - low
            right = middle
            to = low
            while left < size:
                if right < high and _less(words, order[right], spare[left]):
                    order[to] = order[right]
                    right += 1
                else:
                    order[to] = spare[left]
                    left += 1
                to += 1
        width *= 2


@numba.njit(cache=True, nogil=True)
def _radix_sort_range(
    words: np.ndarray, start: int, stop: int, word: int, lowest: int, state: tuple[np.ndarray, ...]
) -> None:
    """Stable radix sort of order[start:stop] by the bits of one word from `lowest` upwards."""
    keys, order, keys2, order2 = state
    for at in range(start, stop):
        keys[at] = words[order[at], word]
    flipped = False
    for shift in range(lowest, 64, _DIGIT_BITS):
        if flipped:
            moved = _radix_pass(keys2[start:stop], order2[start:stop], keys[start:stop], order[start:stop], shift)
        else:
            moved = _radix_pass(keys[start:stop], order[start:stop], keys2[start:stop], order2[start:stop], shift)
        if moved:
            flipped = not flipped
    if flipped:
        order[start:stop] = order2[start:stop]
        keys[start:stop] = keys2[start:stop]


@numba.njit(cache=True, nogil=True)
def argsort_words(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stable order (uint32) that sorts the rows of `words` (uint64, shape (rows, n)) lexicographically, and for each
    place in it whether the row equals the next one (bool)."""
    rows = words.shape[0]
    order = np.arange(rows).astype(np.uint32)
    tied = np.zeros(rows, np.bool_)
    spare = np.empty(min(_MERGE_LIMIT, rows), np.uint32)
    if rows <= 64:
        _merge_sort(words, order, 0, rows, spare)
        _mark_ties(words, order, 0, rows, tied)
        return order, tied
    state = (np.empty(rows, np.uint64), order, np.empty(rows, np.uint64), np.empty(rows, np.uint32))
    keys = state[0]
    _radix_sort_range(words, 0, rows, 0, _FIRST_SHIFT, state)
    by = np.uint64(_FIRST_SHIFT)
    start = 0
    while start < rows:
        stop = start + 1
        while stop < rows and keys[stop] >> by == keys[start] >> by:
            stop += 1
        if stop - start > 1:
            if stop - start > _MERGE_LIMIT:
                for word in range(words.shape[1] - 1, -1, -1):
                    _radix_sort_range(words, start, stop, word, 0, state)
            else:
                _merge_sort(words, order, start, stop, spare)
            _mark_ties(words, order, start, stop, tied)
        start = stop
    return order, tied


@numba.njit(cache=True, nogil=True)
def _mark_ties(words: np.ndarray, order: np.ndarray, start: int, stop: int, tied: np.ndarray) -> None:
    for at in range(start, stop - 1):
        tied[at] = _same(words, order[at], order[at + 1])


def _ordered_values(array: pa.Array) -> list[tuple[np.ndarray, int]]:
    """Order-preserving unsigned integers of a column, most significant first, each with its number of bits."""
    kind = array.type
    if pa.types.is_boolean(kind):
        return [(array.to_numpy(zero_copy_only=False).astype(np.uint64), 1)]
    if pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        if pa.types.is_temporal(kind):
            array = array.view(pa.int32() if kind.bit_width == 32 else pa.int64())
            kind = array.type
        values = array.to_numpy(zero_copy_only=False)
        if pa.types.is_signed_integer(kind):
            values = values.astype(np.int64).view(np.uint64) ^ np.uint64(1 << 63)
        else:
            values = values.astype(np.uint64)
        lowest = values.min()
        return [(values - lowest, int(values.max() - lowest).bit_length())]
    if pa.types.is_fixed_size_binary(kind):
        return _fixed_binary_values(array)
    if _is_variable(kind):
        encoded = array.dictionary_encode()
        ranks = pc.rank(encoded.dictionary, tiebreaker="dense").to_numpy(zero_copy_only=False)
        ranks = ranks.astype(np.uint64)
        values = (
            ranks[encoded.indices.to_numpy(zero_copy_only=False)] if len(ranks) else np.zeros(len(array), np.uint64)
        )
        return [(values, len(ranks).bit_length())]
    return [(hash_column(array), 64)]


def _fixed_binary_values(array: pa.Array) -> list[tuple[np.ndarray, int]]:
    width = array.type.byte_width
    data, offsets = spans(array)
    if width % 8 == 0:
        words = data[offsets[0] : offsets[-1]].view(">u8").astype(np.uint64).reshape(len(array), width // 8)
        return [(words[:, index], 64) for index in range(width // 8)]
    raw = data[offsets[0] : offsets[-1]].reshape(len(array), width)
    found = []
    for first in range(0, width, 8):
        part = raw[:, first : first + 8]
        size = part.shape[1]
        if size == 8:
            values = np.ascontiguousarray(part).view(">u8").reshape(-1).astype(np.uint64)
        else:
            values = np.zeros(len(array), np.uint64)
            for byte in range(size):
                values = (values << np.uint64(8)) | part[:, byte].astype(np.uint64)
        found.append((values, 8 * size))
    return found


def _is_variable(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def sort_words(columns: Sequence[pa.Array]) -> np.ndarray:
    """The columns as one bit string per row, in uint64 words of shape (rows, n), whose order is that of the rows.

    Nulls come first. Words of different tables are not comparable: integers are counted from their minimum and strings
    replaced by their rank. Columns of other types than booleans, integers, times and (fixed-size) binary or strings are
    ordered by hash, which is good for breaking ties only.
    """
    rows = len(columns[0]) if columns else 0
    fields: list[tuple[np.ndarray, int]] = []
    if rows:
        for column in columns:
            if column.null_count:
                valid = column.is_valid().to_numpy(zero_copy_only=False).astype(np.uint64)
                fields.append((valid, 1))
                if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
                    column = column.fill_null(column.type.to_pandas_dtype()(0))
                elif pa.types.is_temporal(column.type):
                    column = column.view(pa.int32() if column.type.bit_width == 32 else pa.int64()).fill_null(0)
                elif _is_variable(column.type):
                    column = column.fill_null(pa.scalar(b"", pa.binary()).cast(column.type))
                elif pa.types.is_fixed_size_binary(column.type):
                    column = column.fill_null(pa.scalar(bytes(column.type.byte_width), column.type))
            fields.extend(_ordered_values(column))
    total = sum(bits for _, bits in fields)
    words = np.zeros((rows, max(1, (total + 63) // 64)), np.uint64)
    position = 0
    for values, bits in fields:
        if bits:
            _append_bits(words, position, values, bits)
            position += bits
    return words


def sort_order(table: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """Order (uint32) that sorts the rows by `columns`, and rows that agree on them by their other columns.

    The table must have fewer than 2^32 rows.
    """
    if table.num_rows >= 1 << 32:
        raise ValueError(f"a table of {table.num_rows} rows cannot be sorted at once: at most 2^32 − 1")
    words = sort_words([one_chunk(table.column(name)) for name in columns])
    order, tied = argsort_words(words)
    rest = [name for name in table.schema.names if name not in columns]
    del words
    if rest and tied.any():
        # A run of ties is the places marked and the one after them; its number is the count of runs begun before it.
        after = np.concatenate([[False], tied[:-1]])
        places = np.flatnonzero(tied | after)
        run = np.cumsum((tied & ~after)[places])
        rows = order[places]
        taken = pa.array(rows)
        others = [one_chunk(table.column(name).take(taken)) for name in rest]
        # The run's number comes first, so every row stays within its run.
        refined, _ = argsort_words(sort_words([pa.array(run), *others]))
        order[places] = rows[refined]
    return order
