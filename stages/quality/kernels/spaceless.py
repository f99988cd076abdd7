"""Words in scripts without spaces, where no segmenter of the language is at hand: a fallback.

The language's stop words are found by longest match, and what stands between them is cut into pieces where a hash of the
two neighbouring characters says so. Equal passages are cut equally wherever they stand, so repetition shows as it does
with words, and pieces are about as long as words are; what a piece means is lost.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from gristmill.stages.kernels.hashing64 import absorb, hash_word
from gristmill.stages.kernels.pointers import pointer
from gristmill.stages.kernels.scalars import Bool, Float, Int
from gristmill.stages.quality.tokenizer import flags as flag
from gristmill.stages.quality.tokenizer.chunk import Chunk

LONGEST_STOP_WORD = 12
"""Code points of the stop words that are looked for."""

_TSHEG = 0x0F0B
"""Stands between the syllables of Tibetan."""


class StopWords(NamedTuple):
    """Stop words as hash tables: of several lists as arrays, of one list as numbers and a pointer (`stop_words_at`).

    Attributes:
        start, mask: int64 per list: its slots in `keys`, a power of two of them; mask −1 for an empty list.
        longest: int64 per list: bytes of its longest word.
        keys: uint64 hashes of all lists, 0 for an empty slot.
    """

    start: Any
    mask: Any
    longest: Any
    keys: Any


@njit(nogil=True)
def stop_words_at(lists: StopWords, number: Int) -> StopWords:
    """List `number`, an empty one for −1; `lists` must outlive it."""
    if number < 0:
        return StopWords(np.int64(0), np.int64(-1), np.int64(0), pointer(lists.keys))
    return StopWords(lists.start[number], lists.mask[number], lists.longest[number], pointer(lists.keys))


@njit(nogil=True)
def _stop_word_at(chunk: Chunk, i: Int, hi: Int, stop_words: StopWords) -> Int:
    """Code points of the longest stop word that begins at i, 0 for none."""
    at = chunk.at
    keys = stop_words.keys
    start = stop_words.start
    begin = np.int64(at[i])
    for j in range(min(hi, i + LONGEST_STOP_WORD), i, -1):
        end = np.int64(at[j])
        if end - begin > stop_words.longest:
            continue
        key = hash_word(chunk.compact, begin, end)
        slot = np.int64(key) & stop_words.mask
        while keys[start + slot] != np.uint64(0):
            if keys[start + slot] == key:
                return j - i
            slot = (slot + 1) & stop_words.mask
    return 0


@njit(nogil=True)
def _divides(codes: Any, flags: Any, i: Int, share: np.uint64) -> Bool:
    """Whether a piece begins at i, inside a run without spaces; about one of 1/`share` characters begins one."""
    before: Int = codes[i - 1]
    if flags[i] & flag.CLINGING:
        return False
    if 0xF00 <= codes[i] <= 0xFFF:
        return before == _TSHEG
    # Vowel signs of Thai and Lao that are written before their consonant, and the signs that stack consonants.
    if 0xE40 <= before <= 0xE44 or 0xEC0 <= before <= 0xEC4 or before == 0x17D2 or before == 0x1039:
        return False
    mixed = absorb(absorb(np.uint64(0), np.uint64(before)), np.uint64(codes[i]))
    begins: Bool = (absorb(mixed, np.uint64(1)) >> np.uint64(32)) < share
    return begins


@njit(nogil=True)
def cut_spaceless(
    chunk: Chunk, size: Int, length: Float, stop_words: StopWords, starts: Any, first: Int, words: Int
) -> Int:
    """Cut the words of a chunk further where they hold a script without spaces; returns the number of all words.

    Arguments as in `splitter.split_chunk`; `length` is the mean length of a piece in code points, `stop_words` the
    language's list, `first` the chunk's first word.
    """
    codes = chunk.codes
    flags = chunk.flags
    at = chunk.at
    stack = chunk.stack
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
            matched: Int = 0
            if stop_words.mask >= 0 and flags[i] & flag.SPACELESS:
                matched = _stop_word_at(chunk, i, hi, stop_words)
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
