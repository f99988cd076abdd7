"""Sets of shingles, 32 bits of the hash of each, and the Jaccard similarity of two of them.

The shingles are those whose minima MinHash takes (see `stages.deduplication.kernels.signatures`). A set is a run of uint32:
how many hashes there are, then the hashes in ascending order. A document with more than `places` distinct shingles
keeps the `places` least, and its set begins with `places` + 1: the sample that Broder's bottom-k sketch is. Two
different shingles have equal 32 bits with probability 2^-32, so of documents with n shingles each n²/2^32 pairs agree
by chance: 10^-3 of one shingle at n = 2,048.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gristmill.stages.deduplication.kernels.hash_bits import mix64
from gristmill.stages.deduplication.kernels.normalise import MARGIN, NormalForms, normalise
from gristmill.stages.deduplication.kernels.signatures import BASE, CHUNK, Shingling, power
from gristmill.stages.deduplication.kernels.words import PADDING, hash_characters, hash_words
from gristmill.stages.kernels.scalars import Bool, Int

_BASE = np.uint64(BASE)
_HALF = np.uint64(32)


@njit(cache=True, nogil=True)
def _distinct(hashes: np.ndarray, count: Int) -> Int:
    """Sort hashes[:count] and move the distinct ones to the front. Returns their number."""
    part = np.sort(hashes[:count])
    kept = 0
    for k in range(count):
        if k == 0 or part[k] != part[k - 1]:
            hashes[kept] = part[k]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def shingle_sets(
    data: np.ndarray,
    offsets: np.ndarray,
    forms: NormalForms,
    shingling: Shingling,
    places: int,
    out: np.ndarray,
    out_offsets: np.ndarray,
) -> None:
    """Sets of the texts data[offsets[d]:offsets[d + 1]].

    Args:
        data, offsets, forms, shingling: see `signatures.signatures`.
        places: most hashes of a set.
        out: uint32, out: the sets one after the other; as many entries as `most_entries` says.
        out_offsets: int64 of shape (documents + 1,), out: where in `out` each begins.
    """
    characters, ngram, seed = shingling.characters, shingling.ngram, shingling.seed
    out_offsets[0] = 0
    normal = np.empty(CHUNK + MARGIN + PADDING, np.uint8)
    room = normal.shape[0]
    units = np.empty(ngram + room, np.uint64)
    # As many as a chunk brings fit behind those that are kept, so that memory does not grow with a document.
    hashes = np.empty(2 * places + room + 1, np.uint32)
    state = np.zeros(2, np.uint64)
    leave = power(_BASE, ngram)
    for d in range(offsets.shape[0] - 1):
        i, end = offsets[d], offsets[d + 1]
        state[:] = np.uint64(0)
        units[:ngram] = np.uint64(0)
        rolling = np.uint64(0)
        seen = np.int64(0)
        held: Int = np.int64(0)
        found: Int = np.int64(0)
        over: Bool = False
        digits = False
        more = i < end
        while more:
            i, held, digits = normalise(data, i, end, forms, normal, held, digits)
            more = i < end
            if characters:
                count = hash_characters(normal, held, state, units[ngram:])
                done = held
            else:
                done, count = hash_words(normal, held, not more, state, units[ngram:])
            for k in range(held - done):
                normal[k] = normal[done + k]
            held -= done
            for u in range(count):
                rolling = rolling * _BASE + units[ngram + u] - units[u] * leave
                seen += 1
                if seen >= ngram:
                    hashes[found] = np.uint32(mix64(rolling ^ seed) >> _HALF)
                    found += 1
            for u in range(ngram):
                units[u] = units[u + count]
            if found > 2 * places:
                found = _distinct(hashes, found)
                over = over or found > places
                found = min(found, places)
        if 0 < seen < ngram:
            hashes[0] = np.uint32(mix64(rolling ^ seed) >> _HALF)
            found = np.int64(1)
        found = _distinct(hashes, found)
        over = over or found > places
        found = min(found, places)
        o = out_offsets[d]
        out[o] = np.uint32(places + 1 if over else found)
        for k in range(found):
            out[o + 1 + k] = hashes[k]
        out_offsets[d + 1] = o + 1 + found


def most_entries(sizes: np.ndarray, places: int) -> int:
    """Entries that the sets of texts of these sizes (bytes) may take: a shingle takes a byte or more."""
    return int(np.minimum(sizes, places).sum()) + len(sizes)


@njit(cache=True, nogil=True)
def jaccard(a: np.ndarray, a_at: Int, b: np.ndarray, b_at: Int, places: Int) -> float:
    """Jaccard similarity of the sets that begin at a[a_at] and b[b_at], of at most `places` hashes.

    Exact when neither set was cut off. Otherwise over the hashes up to the least one at which a set was cut off, of which
    both hold all that they had: an estimate from at least as many shingles as a set has places, less those in common.
    """
    m: Int = np.int64(a[a_at])
    n: Int = np.int64(b[b_at])
    last = np.uint32(0xFFFFFFFF)
    if m > places:
        m = places
        last = a[a_at + places]
    if n > places:
        n = places
        last = min(last, b[b_at + places])
    i = j = 0
    both = either = 0
    while True:
        x = a[a_at + 1 + i] if i < m else np.uint32(0)
        y = b[b_at + 1 + j] if j < n else np.uint32(0)
        have_x = i < m and x <= last
        have_y = j < n and y <= last
        if not have_x and not have_y:
            break
        either += 1
        if have_x and have_y and x == y:
            both += 1
            i += 1
            j += 1
        elif have_x and (not have_y or x < y):
            i += 1
        else:
            j += 1
    return both / either if either else 0.0
