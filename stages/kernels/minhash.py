"""MinHash signatures of texts, their bands' buckets, and b-bit sketches.

The document is the set of its shingles: every run of `ngram` words (or characters) of the normalised text; a document
with fewer has one shingle of all it has, and one without any has no signature. Broder, "On the resemblance and
containment of documents", 1997.

Hashing, all modulo 2^64:

    S = w1·B^(n-1) + … + wn         a polynomial over the word hashes w, rolled along the text
    h = mix64(S xor shingle seed)
    v_j = h + rot32(lo(h)·a_j)      lane j; rot32 exchanges the halves of a 64-bit integer, lo is the lower one
    signature_j = the least v_j over all shingles, as unsigned integers

The upper half of v_j, which all but decides the minimum, is hi(h) + a_j·lo(h) modulo 2^32 (and a carry): a pairwise
independent family over the random pair (hi(h), lo(h)); Carter & Wegman, "Universal classes of hash functions", 1979.
The lower half makes equal minima of different shingles a matter of 2^-64. A lane costs one product of two 32-bit
numbers, which every vector unit has, where a product of two 64-bit numbers takes three; and since h is mixed before, the
low bits that products mix badly do no harm.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.kernels.mixing import mix64, ones, splitmix64
from stages.kernels.words import hash_characters, hash_words

BASE = 0x452821E638D01377
"""Odd base of the polynomial over word hashes: fractional digits of pi."""
SKETCH_BITS = 4
"""Bits of a sketch for each lane. Of the spread of an estimate from whole lanes (standard deviation 0.045 at Jaccard
0.65 and 112 lanes), 4 bits give 0.047, 2 bits 0.055 and 1 bit 0.072, at 56, 28 and 14 bytes a document: below 4 bits
the estimate loses more than the bytes are worth, above 4 it gains next to nothing."""
CHUNK = 2048
"""Words hashed before their shingles go through the lanes: both arrays stay in the first-level cache."""

_BASE = np.uint64(BASE)
_BAND = np.uint64(0xBE5466CF34E90C6D)
_LOW32 = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_SIGN = np.uint64(0x8000000000000000)
_LARGEST = np.int64(0x7FFFFFFFFFFFFFFF)


def lane_multipliers(lanes: int, seed: int) -> np.ndarray:
    """uint32[lanes]: the multipliers a_j, distinct, from the generator SplitMix64 started at `seed`."""
    found: dict[int, None] = {}
    for value in splitmix64(seed, 2 * lanes + 16):
        found.setdefault(value >> 32)
    return np.array(list(found)[:lanes], np.uint32)


def shingle_seed(seed: int) -> np.uint64:
    """What S is combined with: independent of the lanes' multipliers."""
    return np.uint64(splitmix64(seed ^ 0xC0AC29B7C97C50DD, 1)[0])


@njit(cache=True, nogil=True)
def power(base: int, exponent: int) -> int:
    """base^exponent modulo 2^64."""
    result = np.uint64(1)
    for _ in range(exponent):
        result *= base
    return result


@njit(cache=True, nogil=True)
def lower_lanes(shingles: np.ndarray, count: int, multipliers: np.ndarray, lows: np.ndarray) -> None:
    """Lower each lane's minimum by `count` shingle hashes.

    Minima are kept as v - 2^63 in int64: signed minima are what all vector units have, and adding 2^63 to h adds it to
    every v. Four shingles a turn, so that minima are loaded and stored a quarter as often.
    """
    whole = count - count % 4
    for s in range(0, whole, 4):
        h0, h1, h2, h3 = shingles[s] ^ _SIGN, shingles[s + 1] ^ _SIGN, shingles[s + 2] ^ _SIGN, shingles[s + 3] ^ _SIGN
        l0, l1, l2, l3 = h0 & _LOW32, h1 & _LOW32, h2 & _LOW32, h3 & _LOW32
        for j in range(multipliers.shape[0]):
            a = np.uint64(multipliers[j])
            p0, p1, p2, p3 = a * l0, a * l1, a * l2, a * l3
            v0 = np.int64(h0 + ((p0 << _HALF) | (p0 >> _HALF)))
            v1 = np.int64(h1 + ((p1 << _HALF) | (p1 >> _HALF)))
            v2 = np.int64(h2 + ((p2 << _HALF) | (p2 >> _HALF)))
            v3 = np.int64(h3 + ((p3 << _HALF) | (p3 >> _HALF)))
            lows[j] = min(lows[j], min(min(v0, v1), min(v2, v3)))
    for s in range(whole, count):
        h0 = shingles[s] ^ _SIGN
        l0 = h0 & _LOW32
        for j in range(multipliers.shape[0]):
            p0 = np.uint64(multipliers[j]) * l0
            lows[j] = min(lows[j], np.int64(h0 + ((p0 << _HALF) | (p0 >> _HALF))))


@njit(cache=True, nogil=True)
def signatures(
    data: np.ndarray,
    offsets: np.ndarray,
    forms: np.ndarray,
    pairs: np.ndarray,
    characters: bool,
    ngram: int,
    seed: int,
    multipliers: np.ndarray,
    out: np.ndarray,
    shingle_counts: np.ndarray,
) -> None:
    """Signatures of the texts data[offsets[d]:offsets[d + 1]].

    Args:
        data, offsets: Arrow buffers of a large_string column: uint8, and int64 of shape (documents + 1,).
        forms, pairs: `words.normal_forms()`.
        characters: shingles of characters instead of words.
        ngram: words or characters of a shingle, at least 1.
        seed: uint64, `shingle_seed`.
        multipliers: uint32 of shape (lanes,), `lane_multipliers`.
        out: uint64 of shape (documents, lanes); rows of documents without a shingle are all ones.
        shingle_counts: int64 of shape (documents,): shingles of each document, repeated ones counted again.

    Memory does not grow with a document: its words pass through a buffer of CHUNK hashes.
    """
    lanes = multipliers.shape[0]
    kept = ngram
    words = np.empty(kept + CHUNK, np.uint64)
    shingles = np.empty(CHUNK, np.uint64)
    lows = np.empty(lanes, np.int64)
    leave = power(_BASE, ngram)
    for d in range(offsets.shape[0] - 1):
        i, end = offsets[d], offsets[d + 1]
        lows[:] = _LARGEST
        rolling = np.uint64(0)
        seen = np.int64(0)
        total = np.int64(0)
        state = np.int64(0)
        while i < end:
            if characters:
                i, count, state = hash_characters(data, i, end, forms, pairs, words[kept:], state)
            else:
                i, count = hash_words(data, i, end, forms, pairs, words[kept:])
            made = np.int64(0)
            # words[kept:] are new; before them lie the last ones of the chunk before, in their order.
            for w in range(kept, kept + count):
                rolling = rolling * _BASE + words[w]
                seen += 1
                if seen > ngram:
                    rolling -= words[w - ngram] * leave
                if seen >= ngram:
                    shingles[made] = mix64(rolling ^ seed)
                    made += 1
            lower_lanes(shingles, made, multipliers, lows)
            total += made
            for w in range(kept):
                words[w] = words[w + count]
        if 0 < seen < ngram:
            shingles[0] = mix64(rolling ^ seed)
            lower_lanes(shingles, 1, multipliers, lows)
            total = np.int64(1)
        shingle_counts[d] = total
        for j in range(lanes):
            out[d, j] = np.uint64(lows[j]) ^ _SIGN


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
def equal_lanes(a: np.ndarray, row: int, b: np.ndarray, other: int, lanes: int) -> int:
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
