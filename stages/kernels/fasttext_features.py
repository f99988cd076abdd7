"""From text to fastText's hidden vector: tokens, character n-grams, word n-grams, and the mean of their rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from stages.kernels.fasttext_tables import FNV_BASIS, hash_step
from stages.kernels.lanes import add_rows
from stages.models.fasttext_format import LABEL_PREFIX

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

    Fields: `slots` and `tokens`, a hash table of tokens seen: a slot holds hash and number of a token (0: empty), and a
    token's record is its place in `known`, its length in bytes, the number of its rows, and two bits, whether it is
    text and whether it ends the line. In `known` are its bytes, padded to whole words, and its rows. Record 0 holds how
    much of `tokens` and `known` is used. `hashes`: of the line's tokens, for word n-grams. `scratch`: a wrapped token.
    `found`: rows to add.
    """

    slots: np.ndarray
    tokens: np.ndarray
    known: np.ndarray
    hashes: np.ndarray
    scratch: np.ndarray
    found: np.ndarray


@njit(cache=True, nogil=True, inline="always")
def _is_space(byte):
    return byte == 32 or (9 <= byte <= 13) or byte == 0


@njit(cache=True, nogil=True)
def _equal(data, start, end, other, other_start, other_end):
    if end - start != other_end - other_start:
        return False
    for at in range(end - start):
        if data[start + at] != other[other_start + at]:
            return False
    return True


@njit(cache=True, nogil=True)
def _find(slots, entry_hashes, entry_starts, entry_bytes, data, start, end, hashed):
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
def _bit_count(bits):
    b = np.uint64(bits)
    b = b - ((b >> np.uint64(1)) & np.uint64(0x5555555555555555))
    b = (b & np.uint64(0x3333333333333333)) + ((b >> np.uint64(2)) & np.uint64(0x3333333333333333))
    b = (b + (b >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64(np.uint64(b * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True, inline="always")
def _is_kept(bucket, kept_bits):
    return np.int64((kept_bits[bucket >> 6] >> np.uint64(bucket & 63)) & np.uint64(1))


@njit(cache=True, nogil=True)
def _rows_of_buckets(found, first, last, n_words, is_pruned, kept_bits, kept_before):
    """Replaces kept buckets in found[first:last] by their rows."""
    if not is_pruned:
        for i in range(first, last):
            found[i] = np.int32(found[i] + n_words)
        return
    for i in range(first, last):
        bucket = np.int64(found[i])
        below = kept_bits[bucket >> 6] & ((np.uint64(1) << np.uint64(bucket & 63)) - np.uint64(1))
        found[i] = np.int32(n_words + np.int64(kept_before[bucket >> 6]) + _bit_count(below))


@njit(cache=True, nogil=True)
def _add_decoded(codes, centroids, norms, part, last_part, found, n_found, hidden):
    parts = codes.shape[1]
    for i in range(n_found):
        row = np.int64(found[i])
        norm = norms[row] if norms.size else np.float32(1.0)
        for q in range(parts):
            size = last_part if q == parts - 1 else part
            start = q * 256 * part + np.int64(codes[row, q]) * size
            for j in range(size):
                hidden[q * part + j] += np.float32(norm * centroids[start + j])


@njit(cache=True, nogil=True)
def _wrap(data, start, end, scratch):
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


@njit(cache=True, nogil=True)
def _subword_rows(
    wrapped,
    first,
    last,
    length,
    is_ascii,
    minn,
    maxn,
    bucket,
    n_words,
    is_pruned,
    kept_bits,
    kept_before,
    found,
    n_found,
):
    """Appends the rows of a wrapped token's character n-grams that begin in [first, last) to `found`, in order; returns
    its new length. `wrapped` has one more byte, zero, after `length`; `found` has room for (last - first) * maxn
    + 1 more.
    """
    before = n_found
    if is_ascii:
        for start in range(first, last):
            value = FNV_BASIS
            for at in range(start, min(start + maxn, length)):
                value = hash_step(value, wrapped[at])
                n = at - start + 1
                if n >= minn and not (n == 1 and (start == 0 or at + 1 == length)):
                    kept = np.int64(np.uint32(value % bucket))
                    # Without a branch, which half of all n-grams would mispredict: what is not kept is overwritten.
                    found[n_found] = np.int32(kept)
                    n_found += _is_kept(kept, kept_bits) if is_pruned else 1
    else:
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
                if n >= minn and not (n == 1 and (start == 0 or at == length)):
                    kept = np.int64(np.uint32(value % bucket))
                    found[n_found] = np.int32(kept)
                    n_found += _is_kept(kept, kept_bits) if is_pruned else 1
    _rows_of_buckets(found, before, n_found, n_words, is_pruned, kept_bits, kept_before)
    return n_found


@njit(cache=True, nogil=True)
def _add_found(t, found, n_found, hidden):
    """Adds the rows in `found` to the hidden vector, one after the other."""
    if t.codes.shape[0] == 0:
        add_rows(t.rows, t.width, found, n_found, hidden)
    else:
        _add_decoded(t.codes, t.centroids, t.norms, t.part, t.last_part, found, n_found, hidden)


@njit(cache=True, nogil=True)
def _token_rows(t, data, start, end, hashed, scratch, found, n_found):
    """Appends a token's rows to `found`, in order. Returns (new length, whether the token is text, whether it is the
    end of the line)."""
    entry = _find(t.slots, t.entry_hashes, t.entry_starts, t.entry_bytes, data, start, end, hashed)
    if entry >= t.n_words or (
        entry < 0 and end - start >= PREFIX.size and _equal(data, start, start + PREFIX.size, PREFIX, 0, PREFIX.size)
    ):
        return n_found, False, False  # A label is no text.
    if entry >= 0:
        found[n_found] = np.int32(entry)
        n_found += 1
    if _equal(data, start, end, END_OF_LINE, 0, END_OF_LINE.size):
        return n_found, True, True
    if t.maxn > 0:
        length, is_ascii = _wrap(data, start, end, scratch)
        n_found = _subword_rows(
            scratch,
            0,
            length,
            length,
            is_ascii,
            t.minn,
            t.maxn,
            np.uint32(t.bucket),
            t.n_words,
            t.is_pruned,
            t.kept_bits,
            t.kept_before,
            found,
            n_found,
        )
    return n_found, True, False


@njit(cache=True, nogil=True)
def _add_long_token(t, data, start, end, hashed, found, hidden):
    """Adds a long token's rows to the hidden vector, a part at a time, so that memory stays bounded. Returns (how many
    there were, whether the token is text)."""
    entry = _find(t.slots, t.entry_hashes, t.entry_starts, t.entry_bytes, data, start, end, hashed)
    if entry >= t.n_words or (entry < 0 and _equal(data, start, start + PREFIX.size, PREFIX, 0, PREFIX.size)):
        return np.int64(0), False
    n_rows = np.int64(0)
    if entry >= 0:
        found[0] = np.int32(entry)
        _add_found(t, found, 1, hidden)
        n_rows += 1
    if t.maxn > 0:
        scratch = np.empty(end - start + 3, np.int8)
        length, _ = _wrap(data, start, end, scratch)
        step = BATCHED_ROWS // t.maxn
        for first in range(0, length, step):
            n_found = _subword_rows(
                scratch,
                first,
                min(first + step, length),
                length,
                False,
                t.minn,
                t.maxn,
                np.uint32(t.bucket),
                t.n_words,
                t.is_pruned,
                t.kept_bits,
                t.kept_before,
                found,
                0,
            )
            _add_found(t, found, n_found, hidden)
            n_rows += n_found
    return n_rows, True


@njit(cache=True, nogil=True)
def embed(t, data, start, end, hidden, work):
    """The mean of a document's rows into `hidden`; returns (how many there were, the working memory)."""
    slots, tokens, known = work.slots, work.tokens, work.known
    hashes, scratch, found = work.hashes, work.scratch, work.found
    known_bytes = known.view(np.int8)
    mask = slots.size - 1
    word_ngrams = t.word_ngrams
    hidden[:] = np.float32(0.0)
    n_rows = n_found = n_hashes = 0
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
            n_found, _, _ = _token_rows(t, END_OF_LINE, 0, END_OF_LINE.size, END_HASH, scratch, found, n_found)
            if word_ngrams > 1:
                hashes[n_hashes] = np.int32(END_HASH)
                n_hashes += 1
            break
        is_text = True
        if length > MAX_KNOWN_TOKEN:
            n_added, is_text = _add_long_token(t, data, first, at, hashed, found, hidden)
            n_rows += n_added
        else:
            # Text repeats its words: the rows of tokens seen before are copied, not looked up one by one.
            slot = np.int64(hashed) & mask
            token = np.int64(0)
            while slots[slot] != np.uint64(0):
                if slots[slot] >> np.uint64(32) == np.uint64(hashed):
                    token = np.int64(slots[slot] & np.uint64(0xFFFFFFFF))
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
                n_found, is_text, ends = _token_rows(t, data, first, at, hashed, scratch, found, n_found)
                open_line = not ends
                count = n_found - before
                size = ((length + 3) >> 2) + count
                if tokens[0, 0] + 1 == tokens.shape[0] or tokens[0, 1] + size > known.size:
                    slots[:] = np.uint64(0)
                    tokens[0, :] = np.int32(0)
                    slot = np.int64(hashed) & mask
                token = np.int64(tokens[0, 0]) + 1
                place = np.int64(tokens[0, 1])
                known_bytes[4 * place : 4 * place + length] = data[first:at]
                known[place + size - count : place + size] = found[before:n_found]
                tokens[token, 0], tokens[token, 1] = np.int32(place), np.int32(length)
                tokens[token, 2] = np.int32(count)
                tokens[token, 3] = np.int32(1 if is_text else 0) | np.int32(0 if open_line else 2)
                tokens[0, 0], tokens[0, 1] = np.int32(token), np.int32(place + size)
                slots[slot] = (np.uint64(hashed) << np.uint64(32)) | np.uint64(token)
        if is_text and word_ngrams > 1:
            if n_hashes + 1 == hashes.size:
                larger = np.empty(2 * hashes.size, np.int32)
                larger[:n_hashes] = hashes[:n_hashes]
                hashes = larger
            hashes[n_hashes] = np.int32(hashed)
            n_hashes += 1
    bucket = np.uint64(t.bucket)
    for i in range(n_hashes):
        # Token hashes are int32 in the library, so they enter the 64-bit hash with their sign.
        value = np.uint64(np.int64(hashes[i]))
        for j in range(i + 1, min(i + word_ngrams, n_hashes)):
            value = np.uint64(value * WORD_NGRAM_FACTOR + np.uint64(np.int64(hashes[j])))
            kept = np.int64(value % bucket)
            if t.is_pruned and _is_kept(kept, t.kept_bits) == 0:
                continue
            if n_found == found.size:
                _add_found(t, found, n_found, hidden)
                n_rows += n_found
                n_found = 0
            found[n_found] = np.int32(kept)
            _rows_of_buckets(found, n_found, n_found + 1, t.n_words, t.is_pruned, t.kept_bits, t.kept_before)
            n_found += 1
    _add_found(t, found, n_found, hidden)
    n_rows += n_found
    if n_rows:
        factor = np.float32(1.0 / n_rows)
        for i in range(hidden.size):
            hidden[i] *= factor
    return n_rows, Work(slots, tokens, known, hashes, scratch, found)


@njit(cache=True, nogil=True)
def working_memory(n_bytes, maxn):
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
        np.empty(MAX_KNOWN_TOKEN + 3, np.int8),
        np.empty(BATCHED_ROWS + longest, np.int32),
    )
