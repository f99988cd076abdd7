"""The most frequent 2-, 3- and 4-gram of words of a document whose word hashes are kept and whose words can be listed.

What occurs twice as a 3-gram begins and ends with 2-grams that occur twice, and so on. So 2-grams are hashed into a table of
bytes, only those whose byte was hit twice are listed, and longer n-grams are looked for among the listed alone: one word in
five of ordinary text, and fewer at every step. What was listed by chance changes no result, it is counted exactly.

An n-gram occurs at most as often as its byte is hit. So if some n-gram occurs as often as a byte was hit, no n-gram whose
byte was hit less often occurs more often or as often. Counting begins with the n-grams whose bytes were hit as often as the
fullest but for one hit, which is often one of another n-gram that shares the byte.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from gristmill.stages.kernels.hashing64 import absorb
from gristmill.stages.kernels.scalars import Int
from gristmill.stages.quality.kernels.ngrams import filter_size, table_size

COUNTED = 2
"""uint64 per slot of the table that counts: the n-gram's hash, and its occurrences above the first word of the first."""


@njit(nogil=True)
def _gram(hashes: Any, i: Int, n: Int) -> np.uint64:
    """The hash of the n-gram at word i, n from 2 to 4; never 0."""
    state = absorb(absorb(np.uint64(n), hashes[i]), hashes[i + 1])
    if n > 2:
        state = absorb(state, hashes[i + 2])
        if n > 3:
            state = absorb(state, hashes[i + 3])
    return state if state != np.uint64(0) else np.uint64(1)


@njit(nogil=True)
def _place(hashes: Any, i: Int, n: Int) -> Int:
    """A number that equal n-grams share: a sum with odd factors, which tells orders apart, costs a fraction of `_gram`."""
    place = hashes[i] + np.uint64(3) * hashes[i + 1]
    if n > 2:
        place += np.uint64(5) * hashes[i + 2]
        if n > 3:
            place += np.uint64(7) * hashes[i + 3]
    return np.int64(place)


@njit(nogil=True)
def list_pairs(hashes: Any, words: Int, filtered: Any, mask: Int, listed: Any) -> tuple[Int, Int]:
    """(how many words begin a 2-gram that may occur twice, hits of the fullest byte); the words are written to `listed`.

    Args:
        hashes: pointer to the hashes of the words.
        filtered, mask: pointer to uint8 scratch, mask + 1 entries, a power of two.
        listed: pointer to int32 for `words` entries.
    """
    for k in range(mask + 1):
        filtered[k] = 0
    fullest = np.int64(0)
    before = hashes[0]
    for i in range(words - 1):
        following = hashes[i + 1]
        slot = np.int64(before + np.uint64(3) * following) & mask
        before = following
        # A byte stays at its largest value; its n-grams are looked at from then on.
        hits = min(np.int64(filtered[slot]) + 1, np.int64(255))
        filtered[slot] = hits
        fullest = max(fullest, hits)
    count = np.int64(0)
    if fullest > 1:
        before = hashes[0]
        for i in range(words - 1):
            following = hashes[i + 1]
            listed[count] = i
            count += np.int64(filtered[np.int64(before + np.uint64(3) * following) & mask] > 1)
            before = following
    return count, fullest


@njit(nogil=True)
def list_longer(hashes: Any, words: Int, n: Int, filtered: Any, listed: Any, count: Int) -> tuple[Int, Int, Int]:
    """(how many words begin an n-gram that may occur twice, hits of the fullest byte, mask of `filtered`); `listed` holds
    `count` words that may begin a repeated (n−1)-gram, and of them those of n-grams afterwards."""
    mask = filter_size(count) - 1
    for k in range(mask + 1):
        filtered[k] = 0
    fullest = np.int64(0)
    kept = np.int64(0)
    for k in range(count - 1):
        i = np.int64(listed[k])
        # The (n−1)-gram one word on must be listed too. The last word of all has none behind it, and is never here.
        listed[kept] = i
        kept += np.int64(np.int64(listed[k + 1]) == i + 1)
    for k in range(kept):
        slot = _place(hashes, np.int64(listed[k]), n) & mask
        hits = min(np.int64(filtered[slot]) + 1, np.int64(255))
        filtered[slot] = hits
        fullest = max(fullest, hits)
    count = np.int64(0)
    for k in range(kept):
        i = np.int64(listed[k])
        listed[count] = i
        count += np.int64(filtered[_place(hashes, i, n) & mask] > 1)
    return count, fullest, mask


@njit(nogil=True)
def top_listed(
    hashes: Any, n: Int, filtered: Any, mask: Int, fullest: Int, listed: Any, count: Int, chosen: Any, table: Any
) -> tuple[Int, Int]:
    """(occurrences of the most frequent n-gram, the word at which the first of the most frequent ones begins).

    Args:
        filtered, mask, fullest, listed, count: as the functions above left them.
        chosen: pointer to int32 scratch for `count` entries.
        table: pointer to uint64 scratch, COUNTED · table_size(count) entries.
    """
    least = max(fullest - 1, np.int64(2))
    while fullest > 1:
        picked = np.int64(0)
        for k in range(count):
            i = np.int64(listed[k])
            chosen[picked] = i
            picked += np.int64(np.int64(filtered[_place(hashes, i, n) & mask]) >= least)
        slots = table_size(picked)
        for k in range(COUNTED * slots):
            table[k] = 0
        best = np.int64(0)
        first = np.int64(0)
        for k in range(picked):
            i = np.int64(chosen[k])
            key = _gram(hashes, i, n)
            slot = np.int64(key) & (slots - 1)
            while table[COUNTED * slot] != np.uint64(0) and table[COUNTED * slot] != key:
                slot = (slot + 1) & (slots - 1)
            if table[COUNTED * slot] == np.uint64(0):
                table[COUNTED * slot] = key
                table[COUNTED * slot + 1] = np.uint64(i)
            seen = table[COUNTED * slot + 1] + np.uint64(1 << 32)
            table[COUNTED * slot + 1] = seen
            found = np.int64(seen >> np.uint64(32))
            begin = np.int64(seen & np.uint64(0xFFFFFFFF))
            if found > best or (found == best and begin < first):
                best = found
                first = begin
        if best >= least:
            return best, first
        if least == 2:
            break
        least = max(best, np.int64(2))
    # Every n-gram occurs once; the first of them counts.
    return np.int64(1), np.int64(0)
