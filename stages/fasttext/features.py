"""From text to fastText's hidden vector: tokens, character n-grams, word n-grams, and the mean of their rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from gristmill.stages.fasttext.model_file import LABEL_PREFIX
from gristmill.stages.fasttext.tables import FNV_BASIS, Tables, hash_step
from gristmill.stages.kernels.bits import ones
from gristmill.stages.kernels.row_sums import add_rows
from gristmill.stages.kernels.scalars import Bool, Int

WORD_NGRAM_FACTOR = np.uint64(116049371)
END_OF_LINE = np.frombuffer(b"</s>", np.int8)
END_HASH = np.uint32(3617362777)
"""FNV-1a of `</s>`."""
PREFIX = np.frombuffer(LABEL_PREFIX.encode(), np.int8)
TOKEN_OPEN, TOKEN_CLOSE = np.int8(ord("<")), np.int8(ord(">"))
MAX_KNOWN = 1 << 16
"""Tokens whose rows are remembered within a batch; when the memory is full it is emptied."""
MAX_KNOWN_TOKEN = 64
"""Longer tokens, in bytes, are not remembered."""
BATCHED_ROWS = 4096
"""Rows are collected before they are added, so that the additions of many tokens are one loop."""


class Work(NamedTuple):
    """Working memory of a batch. No result depends on it.

    Fields: `seen` and `tokens`, a hash table of tokens seen: a slot of `seen` holds hash and number of a token (0: empty),
    and a token's record in `tokens` is its place in `known`, its length in bytes, the number of its rows, and two bits,
    whether it is text and whether it ends the line. In `known` are its bytes, padded to whole words, and its rows.
    Record 0 holds how much of `tokens` and `known` is used. `line`: hashes of the line's tokens, for word n-grams.
    `hashes`: of a token's n-grams. `scratch`: a wrapped token. `found`: rows to add.
    """

    seen: np.ndarray
    tokens: np.ndarray
    known: np.ndarray
    line: np.ndarray
    hashes: np.ndarray
    scratch: np.ndarray
    found: np.ndarray


@njit(cache=True, nogil=True, inline="always")
def _is_space(byte: np.int8) -> Bool:
    return byte == 32 or (9 <= byte <= 13) or byte == 0


@njit(cache=True, nogil=True, inline="always")
def _equal(data: np.ndarray, start: Int, end: Int, other: np.ndarray, other_start: Int, other_end: Int) -> bool:
    if end - start != other_end - other_start:
        return False
    for at in range(end - start):
        if data[start + at] != other[other_start + at]:
            return False
    return True


@njit(cache=True, nogil=True, inline="always")
def _find(
    slots: np.ndarray,
    entry_hashes: np.ndarray,
    entry_starts: np.ndarray,
    entry_bytes: np.ndarray,
    data: np.ndarray,
    start: Int,
    end: Int,
    hashed: np.uint32,
) -> np.int64:
    """Index of a token among the dictionary's entries (words, then labels), or -1."""
    mask = slots.size - 1
    at = np.int64(hashed) & mask
    while True:
        entry = np.int64(slots[at])
        if entry < 0:
            return np.int64(-1)
        if entry_hashes[entry] == hashed and _equal(
            data, start, end, entry_bytes, entry_starts[entry], entry_starts[entry + 1]
        ):
            return entry
        at = (at + 1) & mask


@njit(cache=True, nogil=True, inline="always")
def _is_label(entry: Int, n_words: Int, data: np.ndarray, start: Int, end: Int) -> Bool:
    """Whether a token is a label, known or unknown: labels are no text."""
    return entry >= n_words or (
        entry < 0 and end - start >= PREFIX.size and _equal(data, start, start + PREFIX.size, PREFIX, 0, PREFIX.size)
    )


@njit(cache=True, nogil=True, inline="always")
def _remainder(value: np.uint64, divisor: np.uint64, magic: np.uint64) -> np.uint64:
    """value % divisor for values and divisors below 2^32, all uint64, with magic = ceil(2^64 / divisor).

    Lemire, Kaser and Kurz, *Faster remainder by direct computation* (2019): a division costs more than all else here.
    """
    low = np.uint64(magic * value)
    high = (low >> np.uint64(32)) * divisor
    return (high + (((low & np.uint64(0xFFFFFFFF)) * divisor) >> np.uint64(32))) >> np.uint64(32)


@njit(cache=True, nogil=True, inline="always")
def _is_kept(bucket: np.uint64, kept_bits: np.ndarray) -> np.int64:
    return np.int64((kept_bits[bucket >> np.uint64(6)] >> (bucket & np.uint64(63))) & np.uint64(1))


@njit(cache=True, nogil=True, inline="always")
def _kept_row(bucket: np.uint64, n_words: Int, kept_bits: np.ndarray, kept_before: np.ndarray) -> np.int32:
    below = kept_bits[bucket >> np.uint64(6)] & ((np.uint64(1) << (bucket & np.uint64(63))) - np.uint64(1))
    return np.int32(n_words + np.int64(kept_before[bucket >> np.uint64(6)]) + ones(below))


@njit(cache=True, nogil=True, inline="always")
def _append_rows(
    hashes: np.ndarray,
    n_hashes: Int,
    divisor: np.uint64,
    magic: np.uint64,
    n_words: Int,
    is_pruned: bool,
    kept_bits: np.ndarray,
    kept_before: np.ndarray,
    found: np.ndarray,
    n_found: Int,
) -> Int:
    """Appends the rows of n-grams, given their hashes, to `found`, which has room for all; returns its new length."""
    if not is_pruned:
        for i in range(n_hashes):
            found[n_found + i] = np.int32(n_words + np.int64(_remainder(np.uint64(hashes[i]), divisor, magic)))
        return n_found + n_hashes
    before = n_found
    for i in range(n_hashes):
        bucket = _remainder(np.uint64(hashes[i]), divisor, magic)
        # Without a branch, which half of all n-grams would mispredict: what is not kept is overwritten.
        found[n_found] = np.int32(bucket)
        n_found += _is_kept(bucket, kept_bits)
    for i in range(before, n_found):
        found[i] = _kept_row(np.uint64(found[i]), n_words, kept_bits, kept_before)
    return n_found


@njit(cache=True, nogil=True)
def _add_decoded(
    codes: np.ndarray,
    centroids: np.ndarray,
    norms: np.ndarray,
    part: Int,
    last_part: Int,
    found: np.ndarray,
    n_found: Int,
    hidden: np.ndarray,
) -> None:
    parts = codes.shape[1]
    for i in range(n_found):
        row = np.int64(found[i])
        norm = norms[row] if norms.size else np.float32(1.0)
        for q in range(parts):
            size = last_part if q == parts - 1 else part
            start = q * 256 * part + np.int64(codes[row, q]) * size
            for j in range(size):
                hidden[q * part + j] += np.float32(norm * centroids[start + j])


@njit(cache=True, nogil=True, inline="always")
def _wrap(data: np.ndarray, start: Int, end: Int, scratch: np.ndarray) -> tuple[Int, Bool]:
    """Copies `<token>` and a closing zero into scratch, which has room. Returns (the wrapped length, whether all is
    ASCII)."""
    length = end - start
    scratch[0] = TOKEN_OPEN
    seen = np.int8(0)
    for at in range(length):
        byte = data[start + at]
        seen |= byte
        scratch[at + 1] = byte
    scratch[length + 1] = TOKEN_CLOSE
    scratch[length + 2] = np.int8(0)
    return length + 2, seen >= 0


@njit(cache=True, nogil=True, inline="always")
def _hash_ngrams(
    wrapped: np.ndarray, first: Int, last: Int, length: Int, is_ascii: Bool, minn: Int, maxn: Int, hashes: np.ndarray
) -> Int:
    """Hashes, in order, of a wrapped token's character n-grams that begin in [first, last); returns how many.

    `wrapped` has one more byte, zero, after `length`; `hashes` has room for (last - first) * maxn + 1.
    """
    n_hashes: Int = 0
    if is_ascii:
        for start in range(first, last):
            value = FNV_BASIS
            for at in range(start, min(start + maxn, length)):
                value = hash_step(value, wrapped[at])
                n = at - start + 1
                hashes[n_hashes] = value
                n_hashes += np.int64(n >= minn and not (n == 1 and (start == 0 or at + 1 == length)))
        return n_hashes
    for start in range(first, last):
        if wrapped[start] < -64:  # A continuation byte, 0x80 to 0xBF, as int8.
            continue
        value = FNV_BASIS
        at = start
        for n in range(1, maxn + 1):
            if at >= length:
                break
            value = hash_step(value, wrapped[at])
            at += 1
            while wrapped[at] < -64:
                value = hash_step(value, wrapped[at])
                at += 1
            hashes[n_hashes] = value
            n_hashes += np.int64(n >= minn and not (n == 1 and (start == 0 or at == length)))
    return n_hashes


@njit(cache=True, nogil=True)
def _add_found(t: Tables, found: np.ndarray, n_found: Int, hidden: np.ndarray) -> None:
    """Adds the rows in `found` to the hidden vector, one after the other."""
    if t.codes.shape[0] == 0:
        add_rows(t.rows, t.width, found, n_found, hidden)
    else:
        _add_decoded(t.codes, t.centroids, t.norms, t.part, t.last_part, found, n_found, hidden)


@njit(cache=True, nogil=True)
def _add_long_token(
    t: Tables, data: np.ndarray, start: Int, end: Int, entry: Int, work: Work, hidden: np.ndarray
) -> Int:
    """Adds the rows of a token that is not a label to the hidden vector, a part at a time, so that memory stays
    bounded; returns how many there were."""
    hashes, found = work.hashes, work.found
    n_rows = np.int64(0)
    if entry >= 0:
        found[0] = np.int32(entry)
        _add_found(t, found, 1, hidden)
        n_rows += 1
    if t.maxn > 0:
        scratch = np.empty(end - start + 3, np.int8)
        length, is_ascii = _wrap(data, start, end, scratch)
        step = BATCHED_ROWS // t.maxn
        for first in range(0, length, step):
            last = min(first + step, length)
            n_hashes = _hash_ngrams(scratch, first, last, length, is_ascii, t.minn, t.maxn, hashes)
            n_found = _append_rows(
                hashes, n_hashes, t.bucket, t.magic, t.n_words, t.is_pruned, t.kept_bits, t.kept_before, found, 0
            )
            _add_found(t, found, n_found, hidden)
            n_rows += n_found
    return n_rows


@njit(cache=True, nogil=True)
def embed(t: Tables, data: np.ndarray, start: Int, end: Int, hidden: np.ndarray, work: Work) -> tuple[Int, Work]:
    """The mean of a document's rows into `hidden`; returns (how many there were, the working memory)."""
    # Arrays as locals, helpers inlined: to read a field of a tuple or to hand an array to a function counts a
    # reference, atomically, and once per token that costs more than the token.
    slots, entry_hashes, entry_starts, entry_bytes = t.slots, t.entry_hashes, t.entry_starts, t.entry_bytes
    n_words, minn, maxn, word_ngrams = t.n_words, t.minn, t.maxn, t.word_ngrams
    divisor, magic = t.bucket, t.magic
    is_pruned, kept_bits, kept_before = t.is_pruned, t.kept_bits, t.kept_before
    seen, tokens, known, line = work.seen, work.tokens, work.known, work.line
    hashes, scratch, found = work.hashes, work.scratch, work.found
    known_bytes = known.view(np.int8)
    mask = seen.size - 1
    hidden[:] = np.float32(0.0)
    n_rows: Int = 0
    n_found: Int = 0
    n_line = 0
    at = start
    open_line = True
    while open_line:
        while at < end and _is_space(data[at]):
            at += 1
        first = at
        hashed = FNV_BASIS
        while at < end and not _is_space(data[at]):
            hashed = hash_step(hashed, data[at])
            at += 1
        length = at - first
        if n_found > BATCHED_ROWS or (length > MAX_KNOWN_TOKEN and n_found):
            _add_found(t, found, n_found, hidden)
            n_rows += n_found
            n_found = 0
        if length == 0:
            entry = _find(slots, entry_hashes, entry_starts, entry_bytes, END_OF_LINE, 0, END_OF_LINE.size, END_HASH)
            if entry >= 0:
                found[n_found] = np.int32(entry)
                n_found += 1
            hashed = END_HASH
            is_text = True
            open_line = False
        elif length > MAX_KNOWN_TOKEN:
            entry = _find(slots, entry_hashes, entry_starts, entry_bytes, data, first, at, hashed)
            is_text = not _is_label(entry, n_words, data, first, at)
            if is_text:
                n_rows += _add_long_token(t, data, first, at, entry, work, hidden)
        else:
            # Text repeats its words: the rows of tokens seen before are copied, not looked up one by one.
            slot = np.int64(hashed) & mask
            token = np.int64(0)
            while seen[slot] != np.uint64(0):
                if seen[slot] >> np.uint64(32) == np.uint64(hashed):
                    token = np.int64(seen[slot] & np.uint64(0xFFFFFFFF))
                    other = np.int64(tokens[token, 0]) * 4
                    if _equal(data, first, at, known_bytes, other, other + np.int64(tokens[token, 1])):
                        break
                    token = np.int64(0)
                slot = (slot + 1) & mask
            if token:
                place = np.int64(tokens[token, 0]) + ((length + 3) >> 2)
                for i in range(place, place + np.int64(tokens[token, 2])):
                    found[n_found] = known[i]
                    n_found += 1
                is_text = tokens[token, 3] & 1 != 0
                open_line = tokens[token, 3] & 2 == 0
            else:
                before = n_found
                entry = _find(slots, entry_hashes, entry_starts, entry_bytes, data, first, at, hashed)
                is_text = not _is_label(entry, n_words, data, first, at)
                open_line = not _equal(data, first, at, END_OF_LINE, 0, END_OF_LINE.size)
                if is_text and entry >= 0:
                    found[n_found] = np.int32(entry)
                    n_found += 1
                if is_text and open_line and maxn > 0:
                    wrapped, is_ascii = _wrap(data, first, at, scratch)
                    n_hashes = _hash_ngrams(scratch, 0, wrapped, wrapped, is_ascii, minn, maxn, hashes)
                    n_found = _append_rows(
                        hashes, n_hashes, divisor, magic, n_words, is_pruned, kept_bits, kept_before, found, n_found
                    )
                count = n_found - before
                size = ((length + 3) >> 2) + count
                if tokens[0, 0] + 1 == tokens.shape[0] or tokens[0, 1] + size > known.size:
                    seen[:] = np.uint64(0)
                    tokens[0, 0], tokens[0, 1] = np.int32(0), np.int32(0)
                    slot = np.int64(hashed) & mask
                token = np.int64(tokens[0, 0]) + 1
                place = np.int64(tokens[0, 1])
                for i in range(length):
                    known_bytes[4 * place + i] = data[first + i]
                for i in range(count):
                    known[place + size - count + i] = found[before + i]
                tokens[token, 0], tokens[token, 1] = np.int32(place), np.int32(length)
                tokens[token, 2] = np.int32(count)
                tokens[token, 3] = np.int32(1 if is_text else 0) | np.int32(0 if open_line else 2)
                tokens[0, 0], tokens[0, 1] = np.int32(token), np.int32(place + size)
                seen[slot] = (np.uint64(hashed) << np.uint64(32)) | np.uint64(token)
        if is_text and word_ngrams > 1:
            if n_line == line.size:
                larger = np.empty(2 * line.size, np.int32)
                larger[:n_line] = line
                line = larger
            line[n_line] = np.int32(hashed)
            n_line += 1
    for i in range(n_line):
        # Token hashes are int32 in the library, so they enter the 64-bit hash with their sign.
        value = np.uint64(np.int64(line[i]))
        for j in range(i + 1, min(i + word_ngrams, n_line)):
            value = np.uint64(value * WORD_NGRAM_FACTOR + np.uint64(np.int64(line[j])))
            bucket = np.uint64(value % divisor)
            if is_pruned and _is_kept(bucket, kept_bits) == 0:
                continue
            if n_found == found.size:
                _add_found(t, found, n_found, hidden)
                n_rows += n_found
                n_found = 0
            if is_pruned:
                found[n_found] = _kept_row(bucket, n_words, kept_bits, kept_before)
            else:
                found[n_found] = np.int32(n_words + np.int64(bucket))
            n_found += 1
    _add_found(t, found, n_found, hidden)
    n_rows += n_found
    if n_rows:
        factor = np.float32(1.0 / n_rows)
        for i in range(hidden.size):
            hidden[i] *= factor
    return n_rows, Work(seen, tokens, known, line, hashes, scratch, found)


@njit(cache=True, nogil=True)
def working_memory(n_bytes: Int, maxn: Int) -> Work:
    """Working memory for a batch of `n_bytes` of text."""
    size = 1 << 10
    while size < MAX_KNOWN and size * 8 < n_bytes:
        size *= 2
    longest = (MAX_KNOWN_TOKEN + 2) * max(maxn, 1) + 1
    return Work(
        np.zeros(2 * size, np.uint64),
        np.zeros((size, 4), np.int32),
        np.empty(max(size * 12, longest + MAX_KNOWN_TOKEN), np.int32),
        np.empty(256, np.int32),
        np.empty(BATCHED_ROWS + longest, np.uint32),
        np.empty(MAX_KNOWN_TOKEN + 3, np.int8),
        np.empty(BATCHED_ROWS + longest, np.int32),
    )
