"""Repeated n-grams of words: the most frequent 2- to 4-gram, and the text covered by repeated 5- to 10-grams.

Gopher's repetition signals (Rae et al. 2021, https://arxiv.org/abs/2112.11446, table A1) in the form that datatrove
gives them. Nearly all n-grams of a document occur once, so each step first counts hashes in a table of bytes, small
enough for the cache, and looks closer only at the n-grams whose byte was hit twice. That changes no result: an n-gram
that occurs twice hits its byte twice.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.kernels.hashing64 import absorb, finish, hash_bytes
from stages.kernels.pointers import load8_at

LARGEST_FILTER = 1 << 27
"""Bytes. Longer documents share bytes more often, which costs time and changes nothing."""

_TWO = np.uint8(3)
"""A byte of the filter after two hits: each hit shifts in a one."""


@njit(nogil=True)
def filter_size(words):  # type: ignore[no-untyped-def]
    """Bytes of the filter for a number of words: a power of two, about 16 for each word."""
    size = np.int64(1 << 10)
    while size < 16 * words and size < LARGEST_FILTER:
        size *= 2
    return size


@njit(nogil=True)
def table_size(entries):  # type: ignore[no-untyped-def]
    """Slots of a hash table that `entries` entries fill by half at most: a power of two."""
    size = np.int64(64)
    while size < 2 * entries:
        size *= 2
    return size


@njit(nogil=True)
def count_chars(compact, start, end, ascii_only):  # type: ignore[no-untyped-def]
    """Code points in compact[start:end]."""
    if ascii_only:
        return np.int64(end - start)
    chars = np.int64(0)
    for i in range(start, end):
        chars += np.int64((compact[i] & 0xC0) != 0x80)
    return chars


@njit(nogil=True)
def _opening(compact, at):  # type: ignore[no-untyped-def]
    """A hash of the 16 bytes from `at` on."""
    state = absorb(absorb(np.uint64(0), load8_at(compact, at)), load8_at(compact, at + 8))
    return state ^ (state >> np.uint64(29))


@njit(nogil=True)
def _gram(hashes, i, n):  # type: ignore[no-untyped-def]
    """The hash of the n-gram at word i, from the hashes of its words."""
    state = np.uint64(0)
    for j in range(n):
        state = absorb(state, hashes[i + j])
    return finish(state, n)


@njit(nogil=True)
def suspects_of_pairs(hashes, words, filtered, mask, suspects):  # type: ignore[no-untyped-def]
    """Write the words at which a 2-gram begins that may occur twice; returns their number."""
    for k in range(mask + 1):
        filtered[k] = 0
    for i in range(words - 1):
        slot = np.int64(_gram(hashes, i, 2)) & mask
        filtered[slot] = (filtered[slot] << 1) | 1
    count = 0
    for i in range(words - 1):
        slot = np.int64(_gram(hashes, i, 2)) & mask
        suspects[count] = i
        count += np.int64(filtered[slot] >= _TWO)
    return count


@njit(nogil=True)
def suspects_of_openings(compact, starts, words, filtered, mask, suspects):  # type: ignore[no-untyped-def]
    """Write the words at which a repeated 5-gram or longer may begin, doubled, plus one if their 16 bytes may occur
    twice; returns their number.

    An n-gram of at least 16 bytes that occurs twice has its first 16 bytes twice. Of shorter ones all are suspects.
    """
    last = words - 5
    if last < 0:
        return 0
    for k in range(mask + 1):
        filtered[k] = 0
    for i in range(last + 1):
        slot = np.int64(_opening(compact, np.int64(starts[i]))) & mask
        filtered[slot] = (filtered[slot] << 1) | 1
    count = 0
    for i in range(last + 1):
        slot = np.int64(_opening(compact, np.int64(starts[i]))) & mask
        twice = np.int64(filtered[slot] >= _TWO)
        suspects[count] = 2 * i + twice
        count += twice | np.int64(np.int64(starts[i + 5]) - np.int64(starts[i]) < 16)
    return count


@njit(nogil=True)
def top_chars(  # type: ignore[no-untyped-def]
    compact, starts, hashes, words, n, suspects, count, keys, counts, firsts, slots, mask, ascii_only
):
    """(code points of the most frequent n-gram times its occurrences, number of suspects left for n + 1).

    The n-gram is joined by single spaces. Of several equally frequent ones the first in the text counts. `suspects` is
    overwritten with those whose n-gram occurs twice and whose successor is among them too, which every repeated
    (n+1)-gram requires.
    """
    if words < n:
        return np.int64(0), 0
    for k in range(mask + 1):
        keys[k] = 0
    best_count = np.int64(1)
    best_first = np.int64(0)
    kept = 0
    for k in range(count):
        i = np.int64(suspects[k])
        if i + n > words:
            break
        key = _gram(hashes, i, n)
        slot = np.int64(key) & mask
        while keys[slot] != np.uint64(0) and keys[slot] != key:
            slot = (slot + 1) & mask
        if keys[slot] == np.uint64(0):
            keys[slot] = key
            counts[slot] = 1
            firsts[slot] = i
        else:
            counts[slot] += 1
            if counts[slot] > best_count or (counts[slot] == best_count and firsts[slot] < best_first):
                best_count = np.int64(counts[slot])
                best_first = np.int64(firsts[slot])
        slots[k] = slot
        kept = k + 1
    left = 0
    for k in range(kept - 1):
        if suspects[k + 1] == suspects[k] + 1 and counts[slots[k]] > 1 and counts[slots[k + 1]] > 1:
            suspects[left] = suspects[k]
            left += 1
    begin = np.int64(starts[best_first])
    end = np.int64(starts[best_first + n])
    return best_count * (count_chars(compact, begin, end, ascii_only) + n - 1), left


@njit(nogil=True)
def repeated_chars(  # type: ignore[no-untyped-def]
    compact, starts, words, n, suspects, count, keys, mask, ascii_only
):
    """Code points of the words in n-grams that came before, walking on behind each one that did.

    n-grams are compared by their words joined without spaces, as datatrove compares them.
    """
    for k in range(mask + 1):
        keys[k] = 0
    chars = np.int64(0)
    following = np.int64(0)
    for k in range(count):
        i = np.int64(suspects[k]) >> 1
        if i < following:
            continue
        if i + n > words:
            break
        begin = np.int64(starts[i])
        end = np.int64(starts[i + n])
        if not suspects[k] & 1 and end - begin >= 16:
            continue
        key = hash_bytes(compact, begin, end, np.uint64(0))
        slot = np.int64(key) & mask
        while keys[slot] != np.uint64(0) and keys[slot] != key:
            slot = (slot + 1) & mask
        if keys[slot] == np.uint64(0):
            keys[slot] = key
        else:
            chars += count_chars(compact, begin, end, ascii_only)
            following = i + n
    return chars
