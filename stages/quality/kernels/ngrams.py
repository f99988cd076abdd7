"""Repeated n-grams of words: the most frequent 2- to 4-gram, and the text covered by repeated 5- to 10-grams.

Gopher's repetition signals (Rae et al. 2021, https://arxiv.org/abs/2112.11446, table A1) in the form that datatrove
gives them. Nearly all n-grams of a document occur once, so each step first counts hashes in a table of bytes, small
enough for the cache, and looks closer only at the n-grams whose byte was hit twice. That changes no result: an n-gram
that occurs twice hits its byte twice.

Memory is bounded by what is found: hash tables hold different n-grams that may repeat, and grow with them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gristmill.stages.kernels.hashing64 import ALL_BITS, absorb, finish, hash_bytes, hash_word
from gristmill.stages.kernels.pointers import load8_at
from gristmill.stages.kernels.scalars import Int

LARGEST_FILTER = 1 << 27
"""Bytes. Longer documents share bytes more often, which costs time and changes nothing."""
LISTED_WORDS = 1 << 18
"""Up to so many words the words that may begin a repeated n-gram are listed and all lengths of n-grams go in one pass;
beyond, the passes are repeated in place of lists and tables six times as large."""
HASHED_WORDS = 1 << 25
"""Up to so many words their hashes are kept, at 8 bytes each; beyond, they are computed anew whenever they are needed."""
SIZES = 6
"""How many lengths of repeated n-grams are counted: 5 to 10."""

_SHORTEST = 5
_OPENING = 16
"""Bytes that two equal n-grams begin with, if they are that long."""
_TWICE = np.uint8(3)
"""A byte of the filter for openings after two hits: each hit shifts in a one."""


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
def _word(compact, starts, w):  # type: ignore[no-untyped-def]
    return hash_word(compact, np.int64(starts[w]), np.int64(starts[w + 1]))


@njit(nogil=True)
def _gram(hashes, compact, starts, hashed, i, n):  # type: ignore[no-untyped-def]
    """The hash of the n-gram at word i, n from 2 to 4; never 0. The hashes of words are looked up if they were kept."""
    if hashed:
        state = absorb(absorb(np.uint64(n), hashes[i]), hashes[i + 1])
        if n > 2:
            state = absorb(state, hashes[i + 2])
            if n > 3:
                state = absorb(state, hashes[i + 3])
    else:
        state = np.uint64(n)
        for w in range(i, i + n):
            state = absorb(state, _word(compact, starts, w))
    return state if state != np.uint64(0) else np.uint64(1)


@njit(nogil=True)
def _place(hashes, compact, starts, hashed, i, n):  # type: ignore[no-untyped-def]
    """A number that equal n-grams share, n from 2 to 4, uniform in its low bits as the hashes of words are.

    A sum with odd factors, which tells orders apart, costs a fraction of the hash `_gram`.
    """
    if hashed:
        place = hashes[i] + np.uint64(3) * hashes[i + 1]
        if n > 2:
            place += np.uint64(5) * hashes[i + 2]
            if n > 3:
                place += np.uint64(7) * hashes[i + 3]
        return np.int64(place)
    place = np.uint64(0)
    factor = np.uint64(1)
    for w in range(i, i + n):
        place += factor * _word(compact, starts, w)
        factor += np.uint64(2)
    return np.int64(place)


@njit(nogil=True)
def _slot_of(keys, mask, key):  # type: ignore[no-untyped-def]
    """The slot that holds a key, or the empty one where it belongs."""
    slot = np.int64(key) & mask
    while keys[slot] != np.uint64(0) and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@njit(nogil=True)
def top_gram(hashes, compact, starts, hashed, words, n, filtered, mask):  # type: ignore[no-untyped-def]
    """(occurrences of the most frequent n-gram, the word at which the first of the most frequent ones begins).

    Args:
        hashes: pointer to the hashes of the words, if `hashed`.
        compact, starts: pointers to the compact text and to the beginnings of words.
        words: number of words, at least n.
        filtered, mask: pointer to uint8 scratch, mask + 1 entries, a power of two.

    An n-gram occurs at most as often as its byte of the filter is hit. So if some n-gram occurs as often as a byte was
    hit, no n-gram whose byte was hit less often occurs more often or as often. The search begins with bytes hit as
    often as the fullest but for one hit, which is often one of another n-gram that shares the byte.
    """
    last = words - n
    for k in range(mask + 1):
        filtered[k] = 0
    fullest = np.int64(0)
    for i in range(last + 1):
        slot = _place(hashes, compact, starts, hashed, i, n) & mask
        # A byte stays at its largest value; its n-grams are looked at from then on.
        hits = min(np.int64(filtered[slot]) + 1, np.int64(255))
        filtered[slot] = hits
        fullest = max(fullest, hits)
    least = max(fullest - 1, np.int64(2))
    while fullest > 1:
        keys = np.zeros(64, np.uint64)
        counts = np.empty(64, np.int32)
        firsts = np.empty(64, np.int32)
        used = 0
        best = np.int64(0)
        first = np.int64(0)
        for i in range(last + 1):
            if np.int64(filtered[_place(hashes, compact, starts, hashed, i, n) & mask]) < least:
                continue
            key = _gram(hashes, compact, starts, hashed, i, n)
            slot = _slot_of(keys, len(keys) - 1, key)
            if keys[slot] == np.uint64(0):
                if 2 * used >= len(keys):
                    wider = np.zeros(4 * len(keys), np.uint64)
                    wider_counts = np.empty(len(wider), np.int32)
                    wider_firsts = np.empty(len(wider), np.int32)
                    for k in range(len(keys)):
                        if keys[k] != np.uint64(0):
                            place = _slot_of(wider, len(wider) - 1, keys[k])
                            wider[place] = keys[k]
                            wider_counts[place] = counts[k]
                            wider_firsts[place] = firsts[k]
                    keys, counts, firsts = wider, wider_counts, wider_firsts
                    slot = _slot_of(keys, len(keys) - 1, key)
                keys[slot] = key
                counts[slot] = 0
                firsts[slot] = i
                used += 1
            counts[slot] += 1
            found = np.int64(counts[slot])
            if found > best or (found == best and np.int64(firsts[slot]) < first):
                best = found
                first = np.int64(firsts[slot])
        if best >= least:
            return best, first
        if least == 2:
            break
        least = max(best, np.int64(2))
    # Every n-gram occurs once; the first of them counts.
    return np.int64(1), np.int64(0)


@njit(nogil=True)
def filter_openings(compact, starts, words, filtered, mask):  # type: ignore[no-untyped-def]
    """Hit the filter with the 16 bytes at each word that begins a 5-gram."""
    for k in range(mask + 1):
        filtered[k] = 0
    for i in range(words - _SHORTEST + 1):
        slot = np.int64(_opening(compact, np.int64(starts[i]))) & mask
        filtered[slot] = (filtered[slot] << 1) | 1


@njit(nogil=True)
def list_suspects(compact, starts, words, filtered, mask, suspects):  # type: ignore[no-untyped-def]
    """Write the words at which a repeated 5-gram or longer may begin, doubled, plus one if their 16 bytes may occur
    twice; returns their number.

    An n-gram of at least 16 bytes that occurs twice has its first 16 bytes twice. Of shorter ones all are suspects.
    """
    count: Int = 0
    for i in range(words - _SHORTEST + 1):
        slot = np.int64(_opening(compact, np.int64(starts[i]))) & mask
        twice = np.int64(filtered[slot] >= _TWICE)
        suspects[count] = 2 * i + twice
        count += twice | np.int64(np.int64(starts[i + _SHORTEST]) - np.int64(starts[i]) < _OPENING)
    return count


@njit(nogil=True)
def repeated_among(  # type: ignore[no-untyped-def]
    compact, starts, words, suspects, count, keys, slots, following, ascii_only, found
):
    """Add up the code points of the words in n-grams that came before, for n from 5 to 10, walking on behind each one.

    n-grams are compared by their words joined without spaces, as datatrove compares them.

    Args:
        suspects, count: what `list_suspects` wrote.
        keys: pointer to uint64 scratch, SIZES · slots entries; slots is a power of two above 2 · count.
        following: pointer to int64 scratch for SIZES entries.
        found: pointer to int64, SIZES entries, to which the code points are added.
    """
    for k in range(SIZES * slots):
        keys[k] = 0
    for n in range(SIZES):
        following[n] = 0
    mask = slots - 1
    for k in range(count):
        i = np.int64(suspects[k]) >> 1
        twice = suspects[k] & 1
        begin = np.int64(starts[i])
        state = np.uint64(0)
        at = begin
        for n in range(SIZES):
            if i + n + _SHORTEST > words:
                break
            end = np.int64(starts[i + n + _SHORTEST])
            if not twice and end - begin >= _OPENING:
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
                following[n] = i + n + _SHORTEST


@njit(nogil=True)
def repeated_unlisted(compact, starts, words, n, filtered, filter_mask, ascii_only):  # type: ignore[no-untyped-def]
    """What `repeated_among` adds up for one n, without a list of suspects."""
    keys = np.zeros(1 << 16, np.uint64)
    used = 0
    chars = np.int64(0)
    i = np.int64(0)
    while i + n <= words:
        begin = np.int64(starts[i])
        end = np.int64(starts[i + n])
        if end - begin >= _OPENING and filtered[np.int64(_opening(compact, begin)) & filter_mask] < _TWICE:
            i += 1
            continue
        key = hash_bytes(compact, begin, end, np.uint64(0))
        slot = _slot_of(keys, len(keys) - 1, key)
        if keys[slot] != np.uint64(0):
            chars += count_chars(compact, begin, end, ascii_only)
            i += n
            continue
        if 2 * used >= len(keys):
            wider = np.zeros(2 * len(keys), np.uint64)
            for k in range(len(keys)):
                if keys[k] != np.uint64(0):
                    wider[_slot_of(wider, len(wider) - 1, keys[k])] = keys[k]
            keys = wider
            slot = _slot_of(keys, len(keys) - 1, key)
        keys[slot] = key
        used += 1
        i += 1
    return chars
