"""Repeated n-grams of words: the most frequent 2- to 4-gram, and the text covered by repeated 5- to 10-grams.

Gopher's repetition signals (Rae et al. 2021, https://arxiv.org/abs/2112.11446, table A1) in the form that datatrove
gives them. Nearly all n-grams of a document occur once, so each step first counts hashes in a table of bytes, small
enough for the cache, and looks closer only at the n-grams whose byte was hit twice. That changes no result: an n-gram
that occurs twice hits its byte twice.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.kernels.hashing64 import ALL_BITS, absorb, finish
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
    """The hash of the n-gram at word i, n from 2 to 4, from the hashes of its words; never 0."""
    state = absorb(absorb(np.uint64(n), hashes[i]), hashes[i + 1])
    if n > 2:
        state = absorb(state, hashes[i + 2])
        if n > 3:
            state = absorb(state, hashes[i + 3])
    return state if state != np.uint64(0) else np.uint64(1)


@njit(nogil=True)
def suspects_of_top(hashes, words, n, filtered, mask, suspects, least):  # type: ignore[no-untyped-def]
    """(number of suspects, the count that they have at least), for the most frequent n-gram.

    Writes the words at which an n-gram begins whose slot was hit at least as often as the fullest slot was, or `least`
    times if `least` is positive. An n-gram occurs at most as often as its slot is hit, so an n-gram that occurs as often
    as that is among the suspects, and so is every other that occurs as often. One hit less is let in as well, because
    the fullest slot is often full by two n-grams that share it.
    """
    last = words - n
    if least <= 0:
        for k in range(mask + 1):
            filtered[k] = 0
        fullest = np.int64(0)
        for i in range(last + 1):
            slot = np.int64(_gram(hashes, i, n)) & mask
            hits = np.int64(filtered[slot]) + 1
            # A byte stays at its largest value, and its n-grams are suspects from then on.
            hits = min(hits, np.int64(255))
            filtered[slot] = hits
            fullest = max(fullest, hits)
        least = max(fullest - 1, np.int64(min(fullest, 2)))
    count = 0
    if least > 1:
        for i in range(last + 1):
            suspects[count] = i
            count += np.int64(np.int64(filtered[np.int64(_gram(hashes, i, n)) & mask]) >= least)
    return count, least


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
def top_count(hashes, n, suspects, count, keys, counts, firsts, mask):  # type: ignore[no-untyped-def]
    """(occurrences of the most frequent n-gram among the suspects, the word where the first of the most frequent ones
    in the text begins)."""
    for k in range(mask + 1):
        keys[k] = 0
    best = np.int64(0)
    best_first = np.int64(0)
    for k in range(count):
        i = np.int64(suspects[k])
        key = _gram(hashes, i, n)
        slot = np.int64(key) & mask
        while keys[slot] != np.uint64(0) and keys[slot] != key:
            slot = (slot + 1) & mask
        if keys[slot] == np.uint64(0):
            keys[slot] = key
            counts[slot] = 0
            firsts[slot] = i
        counts[slot] += 1
        found = np.int64(counts[slot])
        if found > best or (found == best and np.int64(firsts[slot]) < best_first):
            best = found
            best_first = np.int64(firsts[slot])
    return best, best_first


@njit(nogil=True)
def repeated_chars(  # type: ignore[no-untyped-def]
    compact, starts, words, suspects, count, keys, slots, following, ascii_only, found
):
    """Add up the code points of the words in n-grams that came before, for n from 5 to 10, walking on behind each one.

    n-grams are compared by their words joined without spaces, as datatrove compares them.

    Args:
        keys: pointer to uint64 scratch, 6 · slots entries; slots is a power of two above 2 · count.
        following: pointer to int64 scratch for 6 entries.
        found: pointer to int64, 6 entries, to which the code points are added.
    """
    for k in range(6 * slots):
        keys[k] = 0
    for n in range(6):
        following[n] = 0
    mask = slots - 1
    for k in range(count):
        i = np.int64(suspects[k]) >> 1
        twice = suspects[k] & 1
        begin = np.int64(starts[i])
        state = np.uint64(0)
        at = begin
        for n in range(6):
            if i + n + 5 > words:
                break
            end = np.int64(starts[i + n + 5])
            if not twice and end - begin >= 16:
                break
            while at + 8 <= end:
                state = absorb(state, load8_at(compact, at))
                at += 8
            if i < following[n]:
                continue
            key = state
            if at < end:
                key = absorb(key, load8_at(compact, at) & (ALL_BITS >> np.uint64(8 * (8 - (end - at)))))
            key = finish(key, end - begin)
            slot = np.int64(key) & mask
            table = n * slots
            while keys[table + slot] != np.uint64(0) and keys[table + slot] != key:
                slot = (slot + 1) & mask
            if keys[table + slot] == np.uint64(0):
                keys[table + slot] = key
            else:
                found[n] += count_chars(compact, begin, end, ascii_only)
                following[n] = i + n + 5
