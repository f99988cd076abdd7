"""MinHash signatures of texts, their bands' buckets, and b-bit sketches.

The document is the set of its shingles: every run of `ngram` words (or characters) of the normalised text; a document
with fewer has one shingle of all it has, and one without any has no signature. Broder, "On the resemblance and
containment of documents", 1997.

Hashing, all modulo 2^64:

    S = w1·B^(n-1) + … + wn         a polynomial over the word hashes w, rolled along the text
    h = mix64(S xor shingle seed)
    v_j = h + a_j·x                 lane j, where x = second_hash(h): see `stages.deduplication.kernels.permutations`
    signature_j = the least v_j over all shingles, as unsigned integers
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from gristmill.stages.deduplication.kernels.hash_bits import mix64, splitmix64
from gristmill.stages.deduplication.kernels.normalise import MARGIN, NormalForms, normalise
from gristmill.stages.deduplication.kernels.permutations import (
    TURN,
    WIDTH,
    Multipliers,
    lower_minima,
    minimum,
    no_minima,
)
from gristmill.stages.deduplication.kernels.words import PADDING, hash_characters, hash_words
from gristmill.stages.kernels.bits import ones
from gristmill.stages.kernels.scalars import Int

BASE = 0x452821E638D01377
"""Odd base of the polynomial over word hashes: fractional digits of pi."""
SKETCH_BITS = 4
"""Bits of a sketch for each lane. Of the spread of an estimate from whole lanes (standard deviation 0.045 at Jaccard
0.65 and 112 lanes), 4 bits give 0.047, 2 bits 0.055 and 1 bit 0.072, at 56, 28 and 14 bytes a document: below 4 bits
the estimate loses more than the bytes are worth, above 4 it gains next to nothing."""
CHUNK = 4096
"""Bytes of normalised text whose words are hashed and go through the lanes at a time: all arrays stay in the fast caches,
and memory does not grow with a document."""

_BASE = np.uint64(BASE)
_BAND = np.uint64(0xBE5466CF34E90C6D)


class Shingling(NamedTuple):
    """What a shingle is.

    Attributes:
        characters: runs of characters instead of words.
        ngram: words or characters of a shingle, at least 1.
        seed: uint64, `shingle_seed`.
    """

    characters: bool
    ngram: int
    seed: np.uint64


def shingle_seed(seed: int) -> np.uint64:
    """What S is combined with: independent of the lanes' multipliers."""
    return np.uint64(splitmix64(seed ^ 0xC0AC29B7C97C50DD, 1)[0])


@njit(cache=True, nogil=True)
def power(base: np.uint64, exponent: Int) -> np.uint64:
    """base^exponent modulo 2^64."""
    result = np.uint64(1)
    for _ in range(exponent):
        result *= base
    return result


@njit(cache=True, nogil=True)
def signatures(
    data: np.ndarray,
    offsets: np.ndarray,
    forms: NormalForms,
    shingling: Shingling,
    multipliers: Multipliers,
    out: np.ndarray,
    shingle_counts: np.ndarray,
) -> None:
    """Signatures of the texts data[offsets[d]:offsets[d + 1]].

    Args:
        data, offsets: Arrow buffers of a large_string column: uint8, and int64 of shape (documents + 1,).
        out: uint64 of shape (documents, lanes); rows of documents without a shingle are all ones.
        shingle_counts: int64 of shape (documents,): shingles of each document, repeated ones counted again.
    """
    characters, ngram, seed = shingling.characters, shingling.ngram, shingling.seed
    blocks, within = multipliers.blocks, multipliers.within
    lanes = out.shape[1]
    kept = ngram
    normal = np.empty(CHUNK + MARGIN + PADDING, np.uint8)
    # Every unit takes a byte or more, and a word one more for its boundary.
    places = normal.shape[0]
    units = np.empty(kept + places, np.uint64)
    rolled = np.empty(places, np.uint64)
    shingles, seconds = np.empty(places + TURN, np.uint64), np.empty(places + TURN, np.uint64)
    lows = np.empty(blocks.shape[0] * WIDTH, np.int64)
    state = np.zeros(2, np.uint64)
    leave = power(_BASE, ngram)
    for d in range(offsets.shape[0] - 1):
        i, end = offsets[d], offsets[d + 1]
        no_minima(lows)
        state[:] = np.uint64(0)
        units[:kept] = np.uint64(0)
        rolling = np.uint64(0)
        seen: Int = np.int64(0)
        total = np.int64(0)
        held: Int = np.int64(0)
        digits = False
        more = i < end
        while more:
            i, held, digits = normalise(data, i, end, forms, normal, held, digits)
            more = i < end
            if characters:
                count = hash_characters(normal, held, state, units[kept:])
                done = held
            else:
                done, count = hash_words(normal, held, not more, state, units[kept:])
            for k in range(held - done):
                normal[k] = normal[done + k]
            held -= done
            # units[kept:] are new; before them lie the last ones of the chunk before, in their order, or zeros.
            for u in range(count):
                rolling = rolling * _BASE + units[kept + u] - units[kept + u - ngram] * leave
                rolled[u] = rolling
            early: Int = min(max(kept - 1 - seen, 0), count)
            made = count - early
            seen += count
            for s in range(made):
                shingles[s] = mix64(rolled[early + s] ^ seed)
            lower_minima(shingles, made, seconds, blocks, within, lows)
            total += made
            for u in range(kept):
                units[u] = units[u + count]
        if 0 < seen < ngram:
            shingles[0] = mix64(rolling ^ seed)
            lower_minima(shingles, 1, seconds, blocks, within, lows)
            total = np.int64(1)
        shingle_counts[d] = total
        for j in range(lanes):
            out[d, j] = minimum(lows, j)


@njit(cache=True, nogil=True)
def band_buckets(signature: np.ndarray, rows: int, scopes: np.ndarray, out: np.ndarray) -> None:
    """The bucket of each band: a 64-bit hash over the scope, the band's number and its lanes.

    Args:
        signature: uint64 of shape (documents, bands · rows).
        rows: lanes of a band.
        scopes: uint64 of shape (documents,): documents share buckets only within one scope.
        out: uint64 of shape (documents, bands).

    Two different bands of n documents meet in one bucket by chance with probability below n²/2^65.
    """
    for d in range(signature.shape[0]):
        for band in range(out.shape[1]):
            x = mix64(scopes[d] + np.uint64(band + 1) * _BAND)
            for j in range(band * rows, band * rows + rows):
                x = (x ^ signature[d, j]) * _BAND
                x ^= x >> np.uint64(32)
            out[d, band] = mix64(x)


@njit(cache=True, nogil=True)
def sketches(signature: np.ndarray, out: np.ndarray) -> None:
    """SKETCH_BITS well-mixed bits of each lane: lane j in the bits 4·(j mod 16) and up of word j div 16.

    Args:
        signature: uint64 of shape (documents, lanes).
        out: uint64 of shape (documents, ⌈lanes / 16⌉); unused bits are 0.

    Li & König, "b-bit minwise hashing", WWW 2010.
    """
    for d in range(signature.shape[0]):
        out[d, :] = np.uint64(0)
        for j in range(signature.shape[1]):
            out[d, j >> 4] |= (mix64(signature[d, j]) >> np.uint64(60)) << np.uint64(4 * (j & 15))


@njit(cache=True, nogil=True)
def equal_lanes(a: np.ndarray, row: Int, b: np.ndarray, other: Int, lanes: Int) -> Int:
    """How many lanes of the sketches a[row] and b[other] have equal bits, int64."""
    different = np.int64(0)
    for w in range(a.shape[1]):
        x = a[row, w] ^ b[other, w]
        x |= x >> np.uint64(2)
        x |= x >> np.uint64(1)
        different += ones(x & np.uint64(0x1111111111111111))
    return lanes - different


def required_equal(lanes: int, jaccard: float) -> int:
    """The least number of equal lanes whose estimate reaches `jaccard`.

    Lanes that differ have equal bits with probability c = 2^-SKETCH_BITS, so the estimate from e equal lanes of L is
    (e/L - c) / (1 - c).
    """
    chance = 2.0**-SKETCH_BITS
    exact = lanes * (chance + (1.0 - chance) * jaccard)
    # Within rounding of a whole number means that number: 0.65 must not depend on the last bit of a product.
    return max(0, int(np.ceil(exact - 1e-9)))


def sketch_words(lanes: int) -> int:
    """uint64 words of a sketch."""
    return -(-lanes * SKETCH_BITS // 64)
