"""Finds the words of a document and, on the way, counts what is counted in characters and words.

The text is read once. Characters that are no white space are copied into the compact text; each chunk of them becomes a
word at once where nothing in it could divide it, or nothing but one mark at its end, and goes through the tokenizer's
rules otherwise (`word_splitter`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gristmill.stages.kernels.scalars import Bool
from gristmill.stages.kernels.unicode import decode_at
from gristmill.stages.quality.kernels.counts import INDEX
from gristmill.stages.quality.kernels.spaceless import cut_spaceless
from gristmill.stages.quality.tokenizer import flags as flag
from gristmill.stages.quality.tokenizer import rules as rule
from gristmill.stages.quality.tokenizer.affixes import find_exception
from gristmill.stages.quality.tokenizer.splitter import CHUNK_LIMIT, split_chunk

_TEXT_WORDS = INDEX["text_words"]
_TEXT_WORD_CHARS = INDEX["text_word_chars"]
_ALPHA_WORDS = INDEX["alpha_words"]
_HASHES = INDEX["hashes"]
_ELLIPSES = INDEX["ellipses"]

WORD_SEED = 0x510E527FADE682D1
"""Seed of the hash of a word."""


@njit(nogil=True)
def _count_marks(codes, size, row):  # type: ignore[no-untyped-def]
    """Add the `#`, `...` and `…` of a chunk to the counts."""
    j = 0
    while j < size:
        code = codes[j]
        if code == 0x23:
            row[_HASHES] += 1
        elif code == 0x2026:
            row[_ELLIPSES] += 1
        elif code == 0x2E and j + 2 < size and codes[j + 1] == 0x2E and codes[j + 2] == 0x2E:
            row[_ELLIPSES] += 1
            j += 2
        j += 1


@njit(nogil=True)
def _count_word(union, common, chars, row):  # type: ignore[no-untyped-def]
    """Add a word of `chars` code points to the counts, given the union and the intersection of their flags."""
    if not common & flag.SYMBOLIC:
        row[_TEXT_WORDS] += 1
        row[_TEXT_WORD_CHARS] += chars
    if union & flag.LETTER:
        row[_ALPHA_WORDS] += 1


@njit(nogil=True)
def _splits_off(mark, before, features):  # type: ignore[no-untyped-def]
    """Whether an ASCII mark at the end of a chunk of letters becomes a word of its own in every tokenizer.

    `before` are the flags of the last letter. For the full stop, exceptions are still to be looked up.
    """
    if mark == 0x2E:
        return (before & flag.BEFORE_STOP) != 0 and not features & rule.STOP_AFTER_UPPER
    return mark == 0x2C or mark == 0x3B or mark == 0x3A or mark == 0x21 or mark == 0x3F or mark == 0x29 or mark == 0x22


_APOSTROPHE_DIVIDES = rule.ELISION | rule.ELISION_FIRST | rule.COMPOUNDS | rule.PUNCTUATION_ALONE


@njit(nogil=True)
def _joins(compact, at, end, features):  # type: ignore[no-untyped-def]
    """Whether the mark at compact[at], the only one of a chunk that ends at `end` and inside it, is an apostrophe that
    divides nothing."""
    if features & _APOSTROPHE_DIVIDES:
        return False
    if compact[at] == 0x27:
        following = at + 1
    elif compact[at] == 0xE2 and compact[at + 1] == 0x80 and compact[at + 2] == 0x99:
        if features & rule.MARKS_INSIDE:
            return False
        following = at + 3
    else:
        return False
    return not (following == end - 1 and (compact[following] | 0x20) == 0x73)


@njit(nogil=True)
def _opens_currency(byte):  # type: ignore[no-untyped-def]
    """Whether a byte may begin a currency in letters (USD, RM, MYR, Rp, IDR, RMB, SGD) of the Malay tokenizer."""
    return byte == 0x55 or byte == 0x52 or byte == 0x4D or byte == 0x49 or byte == 0x53


@njit(nogil=True)
def _found(compact, begin, end, at, keys, values, start, mask):  # type: ignore[no-untyped-def]
    """Whether compact[begin:end] is an exception of the tokenizer."""
    at[0] = begin
    at[1] = end
    return find_exception(compact, at, 0, 1, keys, values, start, mask, rule.EXCEPTION_SEED) >= 0


@njit(nogil=True)
def _is_exception(compact, begin, end, tokenizer, at, inert_filter, keys, values, start, mask):  # type: ignore[no-untyped-def]
    """Whether the letters compact[begin:end] are an exception of the tokenizer that divides them."""
    slot = (tokenizer << 9) | (np.int64(compact[begin] & 0x1F) << 4) | min(end - begin, 15)
    return inert_filter[slot] != 0 and _found(compact, begin, end, at, keys, values, start, mask)


@njit(nogil=True)
def _split_slowly(  # type: ignore[no-untyped-def]
    compact, begin, end, all_flags, features, keys, values, parts, start, mask, piece, s_keys, s_start, s_mask,
    s_longest, codes, flags, at, stack, scratch, starts, words, row,
):  # fmt: skip
    """Split the chunk compact[begin:end] by all rules, count its words, and return the number of all words."""
    n = np.int64(0)
    union = np.uint16(0)
    j = begin
    while j < end:
        at[n] = j
        code, j = decode_at(compact, j, end)
        codes[n] = code
        flags[n] = all_flags[code]
        union |= all_flags[code]
        n += 1
    at[n] = end
    _count_marks(codes, n, row)
    first = words
    words = split_chunk(
        codes, flags, at, n, compact, features, keys, values, parts, start, mask, starts, words, stack, scratch
    )
    if piece > 0.0 and union & flag.SPACELESS:
        words = cut_spaceless(
            codes, flags, at, n, compact, piece, s_keys, s_start, s_mask, s_longest, np.uint64(WORD_SEED), starts,
            first, words, stack,
        )  # fmt: skip
    starts[words] = end
    # Code points of each word: `at` and `starts` rise together.
    k = np.int64(0)
    for w in range(first, words):
        following = np.int64(starts[w + 1])
        word_union = np.uint16(0)
        word_common = np.uint16(0xFFFF)
        chars = np.int64(0)
        while k < n and np.int64(at[k]) < following:
            word_union |= flags[k]
            word_common &= flags[k]
            chars += 1
            k += 1
        _count_word(word_union, word_common, chars, row)
    return words


@njit(nogil=True)
def scan(  # type: ignore[no-untyped-def]
    text, begin, end, all_flags, tokenizer, features, inert_filter, keys, values, parts, start, mask, piece, s_keys,
    s_start, s_mask, s_longest, codes, flags, at, stack, scratch, compact, starts, row,
):  # fmt: skip
    """(bytes of the compact text, words, bytes that begin no code point, whether lines have other boundaries).

    Args:
        text: pointer to uint8; the document is text[begin:end].
        all_flags: pointer to the flags of all code points.
        tokenizer, features, inert_filter, keys, values, parts, start, mask: the tokenizer and its tables, see
            `WordRules`, as pointers.
        piece: mean length of a piece in scripts without spaces, 0 for no fallback.
        s_keys, s_start, s_mask, s_longest: the language's stop words; mask −1 for none.
        codes, flags, at, stack, scratch: pointers to scratch for one chunk.
        compact: pointer to uint8 for the compact text.
        starts: pointer to int32 for the beginnings of words in it; the end of the last is written behind them.
        row: pointer to the document's counts, to which words, their characters, `#` and ellipses are added.
    """
    size = np.int64(0)
    words = np.int64(0)
    skipped = np.int64(0)
    other_boundaries = False
    i = begin
    while i < end:
        chunk = size
        chars = np.int64(0)
        union = np.uint16(0)
        common = np.uint16(0xFFFF)
        # The chunk before its first character that may divide it.
        core_chars = np.int64(-1)
        core_union = np.uint16(0)
        core_common = np.uint16(0)
        last = np.uint16(0)
        before = np.uint16(0)
        marks = np.int64(0)
        mark_at = size
        while i < end and chars < CHUNK_LIMIT:
            byte = text[i]
            before_size = size
            if byte < 0x80:
                here = all_flags[byte]
                if here & flag.SPACE:
                    other_boundaries |= byte != 0x20 and byte != 0x0A and byte != 0x09
                    i += 1
                    break
                compact[size] = byte
                size += 1
                i += 1
            else:
                code, following = decode_at(text, i, end)
                here = all_flags[code]
                skipped += following - i - 1
                if here & flag.SPACE:
                    other_boundaries = True
                    i = following
                    break
                while i < following:
                    compact[size] = text[i]
                    size += 1
                    i += 1
            if here & flag.ACTIVE:
                if core_chars < 0:
                    core_chars = chars
                    core_union = union
                    core_common = common
                    before = last
                    mark_at = before_size
                marks += 1
            union |= here
            common &= here
            last = here
            chars += 1
        if chars == 0:
            continue
        if (union & flag.SPACELESS and piece > 0.0) or (features & rule.MALAY and _opens_currency(compact[chunk])):
            quick: Bool = False
        elif union & flag.DIGIT and not common & flag.DIGIT and chars > 1:
            # A unit behind a number.
            quick = False
        elif marks == 0:
            quick = not _is_exception(compact, chunk, size, tokenizer, at, inert_filter, keys, values, start, mask)
        elif chars == 1:
            quick = True
            first = compact[chunk]
            if first == 0x23:
                row[_HASHES] += 1
            elif first == 0xE2 and compact[chunk + 1] == 0x80 and compact[chunk + 2] == 0xA6:
                row[_ELLIPSES] += 1
        elif (
            marks == 1
            and 0 < core_chars
            and core_chars == chars - 1
            and _splits_off(compact[mark_at], before, features)
        ):
            # A plain word and one mark behind it.
            quick = False
            if not (
                compact[mark_at] == 0x2E and _found(compact, chunk, size, at, keys, values, start, mask)
            ) and not _is_exception(compact, chunk, mark_at, tokenizer, at, inert_filter, keys, values, start, mask):
                starts[words] = chunk
                starts[words + 1] = mark_at
                words += 2
                _count_word(core_union, core_common, core_chars, row)
                _count_word(last, last, 1, row)
                continue
        else:
            quick = (
                marks == 1
                and 0 < core_chars < chars - 1
                and _joins(compact, mark_at, size, features)
                and not _found(compact, chunk, size, at, keys, values, start, mask)
            )
        if quick:
            starts[words] = chunk
            words += 1
            _count_word(union, common, chars, row)
            continue
        words = _split_slowly(
            compact, chunk, size, all_flags, features, keys, values, parts, start, mask, piece, s_keys, s_start, s_mask,
            s_longest, codes, flags, at, stack, scratch, starts, words, row,
        )  # fmt: skip
    starts[words] = size
    return size, words, skipped, other_boundaries


@njit(nogil=True)
def take_given(text, begin, all_flags, begins, ends, first, last, compact, starts, row):  # type: ignore[no-untyped-def]
    """(bytes of the compact text, words) for the words stated by the caller, in place of those that `scan` found.

    Words first to last − 1 lie at text[begin + begins[w] : begin + ends[w]]; the other arguments are as for `scan`.
    """
    size = np.int64(0)
    words = np.int64(0)
    row[_TEXT_WORDS] = 0
    row[_TEXT_WORD_CHARS] = 0
    row[_ALPHA_WORDS] = 0
    for w in range(first, last):
        starts[words] = size
        words += 1
        j = begin + begins[w]
        end = begin + ends[w]
        union = np.uint16(0)
        common = np.uint16(0xFFFF)
        chars = np.int64(0)
        while j < end:
            code, following = decode_at(text, j, end)
            union |= all_flags[code]
            common &= all_flags[code]
            chars += 1
            while j < following:
                compact[size] = text[j]
                size += 1
                j += 1
        _count_word(union, common, chars, row)
    starts[words] = size
    return size, words
