"""Words in scripts without spaces, where no segmenter of the language is at hand: a fallback.

The language's stop words are found by longest match, and what stands between them is cut into pieces where a hash of the
two neighbouring characters says so. Equal passages are cut equally wherever they stand, so repetition shows as it does
with words, and pieces are about as long as words are; what a piece means is lost.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gristmill.stages.kernels.hashing64 import absorb, hash_bytes
from gristmill.stages.quality.tokenizer import flags as flag

LONGEST_STOP_WORD = 12
"""Code points of the stop words that are looked for."""

_TSHEG = 0x0F0B
"""Stands between the syllables of Tibetan."""


@njit(nogil=True)
def _stop_word_at(compact, at, i, hi, keys, start, mask, longest, seed):  # type: ignore[no-untyped-def]
    """Code points of the longest stop word that begins at i, 0 for none."""
    begin = np.int64(at[i])
    for j in range(min(hi, i + LONGEST_STOP_WORD), i, -1):
        end = np.int64(at[j])
        if end - begin > longest:
            continue
        key = hash_bytes(compact, begin, end, seed)
        slot = np.int64(key) & mask
        while keys[start + slot] != np.uint64(0):
            if keys[start + slot] == key:
                return j - i
            slot = (slot + 1) & mask
    return 0


@njit(nogil=True)
def _divides(codes, flags, i, share):  # type: ignore[no-untyped-def]
    """Whether a piece begins at i, inside a run without spaces; about one of 1/`share` characters begins one."""
    before = codes[i - 1]
    if flags[i] & flag.CLINGING:
        return False
    if 0xF00 <= codes[i] <= 0xFFF:
        return before == _TSHEG
    # Vowel signs of Thai and Lao that are written before their consonant, and the signs that stack consonants.
    if 0xE40 <= before <= 0xE44 or 0xEC0 <= before <= 0xEC4 or before == 0x17D2 or before == 0x1039:
        return False
    mixed = absorb(absorb(np.uint64(0), np.uint64(before)), np.uint64(codes[i]))
    return (absorb(mixed, np.uint64(1)) >> np.uint64(32)) < share


@njit(nogil=True)
def cut_spaceless(  # type: ignore[no-untyped-def]
    codes, flags, at, size, compact, length, keys, start, mask, longest, seed, starts, first, words, stack
):
    """Cut the words of a chunk further where they hold a script without spaces; returns the number of all words.

    Arguments as in `word_splitter.split_chunk`; `length` is the mean length of a piece, `keys`, `start`, `mask`,
    `longest` and `seed` the language's stop words (mask −1 for none), `first` the chunk's first word.
    """
    share = np.uint64(4294967296.0 / length)
    made = 0
    lo = np.int64(0)
    for w in range(first, words):
        hi = lo
        end = np.int64(starts[w + 1])
        spaceless = False
        while hi < size and np.int64(at[hi]) < end:
            spaceless |= (flags[hi] & flag.SPACELESS) != 0
            hi += 1
        stack[made] = at[lo]
        made += 1
        i = lo
        while spaceless and i < hi:
            matched = 0
            if mask >= 0 and flags[i] & flag.SPACELESS:
                matched = _stop_word_at(compact, at, i, hi, keys, start, mask, longest, seed)
            if matched:
                if i > lo and stack[made - 1] != at[i]:
                    stack[made] = at[i]
                    made += 1
                i += matched
                if i < hi:
                    stack[made] = at[i]
                    made += 1
                continue
            if i > lo and np.int64(stack[made - 1]) < np.int64(at[i]):
                both = flags[i] & flags[i - 1] & flag.SPACELESS
                either = (flags[i] | flags[i - 1]) & flag.SPACELESS
                clings = flags[i] & flag.CLINGING
                if (either and not both and not clings) or (both and _divides(codes, flags, i, share)):
                    stack[made] = at[i]
                    made += 1
            i += 1
        lo = hi
    for k in range(made):
        starts[first + k] = stack[k]
    starts[first + made] = at[size]
    return first + made
