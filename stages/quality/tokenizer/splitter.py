"""Splits text into words the way datatrove's word tokenizers do, for languages written with spaces.

White space (`str.isspace`) divides text into chunks. A chunk is taken apart by its tokenizer's rules in the order that
spaCy documents (https://spacy.io/usage/linguistic-features#how-tokenizer-works): prefixes and suffixes are split off
until an exception or nothing to split is left, then the middle is divided at infixes unless it looks like a URL. Last,
neighbouring tokens that together are an exception are joined again. What is left out of spaCy's rules: a few
expressions of single languages that need more context than a neighbouring character.

Languages of India and Pakistan follow the Indic NLP library instead, where every mark is a word. Unlike there, line ends
always divide words, and numbers are not joined over spaces.

Words partition the chunk, so a word is stored as one number: where it begins in the *compact text*, which is the
document without its white space.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from gristmill.stages.kernels.hashing64 import PADDING
from gristmill.stages.kernels.pointers import pointer
from gristmill.stages.kernels.scalars import Bool, Int
from gristmill.stages.quality.tokenizer import rules as rule
from gristmill.stages.quality.tokenizer.affixes import (
    find_exception,
    infix_length,
    is_digit,
    prefix_length,
    suffix_length,
)
from gristmill.stages.quality.tokenizer.chunk import CHUNK_LIMIT, Chunk, Tokenizer, chunk_pointers, tokenizer_at
from gristmill.stages.quality.tokenizer.shapes import is_compound, is_url

LONGEST_REJOINED = 5
"""Words that may form one exception after they were split: those of the longest emoticon but a few."""


@njit(nogil=True)
def _rejoin(chunk: Chunk, tokenizer: Tokenizer, starts: Any, first: Int, words: Int) -> Int:
    """Put neighbouring words together that are an exception of one token, such as the `:` and `)` of a chunk's end.

    Longer ones go first, then later ones. One that overlaps a candidate already looked at, even one not taken, is left:
    of `''''`, only the last two are joined. Returns the number of words.
    """
    marks = chunk.stack
    parts = tokenizer.parts
    count = words - first
    for w in range(count):
        marks[w] = 0
    any_taken = False
    for length in range(min(count, LONGEST_REJOINED), 1, -1):
        for w in range(count - length, -1, -1):
            lo = first + w
            found = find_exception(chunk.compact, starts, lo, lo + length, tokenizer, rule.EXCEPTION_SEED)
            if found < 0:
                continue
            if parts[tokenizer.values[found] + 1] == 0 and marks[w] == 0 and marks[w + length - 1] == 0:
                taken = True
                any_taken = True
            else:
                taken = False
            for k in range(w, w + length):
                marks[k] |= 1
            if taken:
                # All but the first word of a taken span end up without a beginning of their own.
                for k in range(w + 1, w + length):
                    marks[k] |= 2
    if not any_taken:
        return words
    kept = first
    for w in range(count):
        if not marks[w] & 2:
            starts[kept] = starts[first + w]
            kept += 1
    starts[kept] = starts[words]
    return kept


@njit(nogil=True)
def _stands_alone(code: Int) -> Bool:
    """Whether a mark is a word of its own for the Indic NLP library: ASCII's and those of `word_flags.OWN_MARKS`."""
    if code < 0x80:
        return 0x21 <= code <= 0x2F or 0x3A <= code <= 0x40 or 0x5B <= code <= 0x60 or 0x7B <= code <= 0x7E
    if code < 0x700:
        return code in (0x609, 0x60A, 0x60C, 0x61E, 0x66A, 0x66B, 0x66C, 0x66D, 0x6D4)
    return code in (0x964, 0x965, 0x1C7E, 0x1C7F, 0xAAF0, 0xAAF1) or 0xABEB <= code <= 0xABEF


@njit(nogil=True)
def _split_at_marks(chunk: Chunk, size: Int, features: Int, starts: Any, words: Int) -> Int:
    """`split_chunk` for PUNCTUATION_ALONE."""
    codes = chunk.codes
    at = chunk.at
    fresh: Bool = True
    for i in range(size):
        alone: Bool = _stands_alone(codes[i])
        if alone and features & rule.NUMBERS_WHOLE and 0 < i < size - 1 and codes[i] in (0x2C, 0x2E, 0x3A, 0x2F):
            alone = not (is_digit(codes[i - 1]) and is_digit(codes[i + 1]))
        if alone or fresh:
            starts[words] = at[i]
            words += 1
        fresh = alone
    starts[words] = at[size]
    return words


@njit(nogil=True)
def split_chunk(chunk: Chunk, size: Int, tokenizer: Tokenizer, starts: Any, words: Int) -> Int:
    """Write where the words of a chunk begin, and return the number of all words so far.

    Args:
        chunk: the chunk, as pointers.
        size: its code points, at least 1.
        tokenizer: the rules to split it by.
        starts: pointer to the beginnings of all words in the compact text (int32); those from `words` on are written, at
            most `size`, and the chunk's end behind them.
        words: number of words before this chunk.
    """
    at = chunk.at
    compact = chunk.compact
    stack = chunk.stack
    features = tokenizer.features
    if features & rule.PUNCTUATION_ALONE:
        return _split_at_marks(chunk, size, features, starts, words)
    lo = np.int64(0)
    hi = np.int64(size)
    depth = 0
    last = np.int64(0)
    special: Int = np.int64(-1)
    whole = False
    first = words
    while lo < hi and hi - lo != last:
        if features & rule.COMPOUNDS and is_compound(chunk, lo, hi, tokenizer):
            whole = True
            break
        special = find_exception(compact, at, lo, hi, tokenizer, rule.EXCEPTION_SEED)
        if special >= 0:
            break
        last = hi - lo
        before = np.int64(prefix_length(chunk, lo, hi, features))
        if before and lo + before < hi:
            special = find_exception(compact, at, lo + before, hi, tokenizer, rule.EXCEPTION_SEED)
            if special >= 0:
                starts[words] = at[lo]
                words += 1
                lo += before
                break
        behind = np.int64(0)
        if lo + before < hi:
            behind = np.int64(suffix_length(chunk, lo + before, hi, tokenizer))
        if behind and lo < hi - behind:
            special = find_exception(compact, at, lo, hi - behind, tokenizer, rule.EXCEPTION_SEED)
            if special >= 0:
                hi -= behind
                stack[depth] = at[hi]
                depth += 1
                break
        if before:
            starts[words] = at[lo]
            words += 1
            lo += before
        if behind:
            hi -= behind
            stack[depth] = at[hi]
            depth += 1
    if lo < hi:
        if special >= 0:
            part = np.int64(tokenizer.values[special])
            while lo < hi and tokenizer.parts[part] > 0:
                starts[words] = at[lo]
                words += 1
                lo += np.int64(tokenizer.parts[part])
                part += 1
        elif whole or is_url(chunk, lo, hi):
            starts[words] = at[lo]
            words += 1
        else:
            token = lo
            i = lo
            while i < hi:
                length = infix_length(chunk, i, lo, hi, features)
                if length == 0 or i == lo:
                    # An infix at the very beginning divides nothing.
                    i += max(length, 1)
                    continue
                if i > token:
                    starts[words] = at[token]
                    words += 1
                if length > 0:
                    starts[words] = at[i]
                    words += 1
                    token = i + length
                    i = token
                else:
                    token = i
                    i += 1
            if token < hi:
                starts[words] = at[token]
                words += 1
    while depth:
        depth -= 1
        starts[words] = stack[depth]
        words += 1
    starts[words] = at[size]
    if words - first > 1:
        words = _rejoin(chunk, tokenizer, starts, first, words)
    return words


@njit(cache=True, nogil=True)
def _split_one(chunk: Chunk, rules: rule.WordRules, number: Int, starts: np.ndarray) -> Int:
    size = len(chunk.codes)
    return split_chunk(chunk_pointers(chunk), size, tokenizer_at(rules, number), pointer(starts), 0)


def split_words(text: str, tokenizer: int = 0) -> list[str]:
    """The words of a text, for tests and explanations; the quality kernel does the same over whole batches.

    Args:
        text: any text; lone surrogates stand for themselves.
        tokenizer: index into `word_flags.TOKENIZERS`, see `word_rules.tokenizer_of`.
    """
    rules = rule.word_rules()
    found = []
    for chunk in text.split():
        for begin in range(0, len(chunk), CHUNK_LIMIT):
            piece = chunk[begin : begin + CHUNK_LIMIT]
            encoded = [char.encode("utf-8", "surrogatepass") for char in piece]
            codes = np.array([ord(char) for char in piece], np.uint32)
            at = np.cumsum([0, *(len(char) for char in encoded)]).astype(np.int32)
            compact = np.frombuffer(b"".join(encoded) + bytes(PADDING), np.uint8)
            starts = np.empty(len(piece) + 2, np.int32)
            stack, scratch = np.empty(len(piece) + 2, np.int32), np.empty(64, np.uint8)
            whole = Chunk(codes, rules.flags[codes], at, compact, stack, scratch, np.zeros(0, np.uint64))
            count = _split_one(whole, rules, tokenizer, starts)
            bounds = np.searchsorted(at, starts[: count + 1])
            found += [piece[lo:hi] for lo, hi in zip(bounds[:-1], bounds[1:], strict=True)]
    return found
