"""Finds the words of a document and, on the way, counts what is counted in characters and words.

The text is read once. Characters that are no white space are copied into the compact text; each chunk of them becomes a
word at once where nothing in it could divide it, or nothing but one mark at its end, and goes through the tokenizer's
rules otherwise (`word_splitter`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from gristmill.stages.kernels.hashing64 import ALL_BITS, absorb, finish
from gristmill.stages.kernels.pointers import load8_at
from gristmill.stages.kernels.scalars import Bool, Float, Int
from gristmill.stages.kernels.unicode import decode_at
from gristmill.stages.kernels.vectors import WIDTH, copy_32, letters_ahead
from gristmill.stages.quality.kernels.counts import INDEX
from gristmill.stages.quality.kernels.spaceless import StopWords, cut_spaceless
from gristmill.stages.quality.tokenizer import flags as flag
from gristmill.stages.quality.tokenizer import rules as rule
from gristmill.stages.quality.tokenizer.affixes import find_exception
from gristmill.stages.quality.tokenizer.chunk import CHUNK_LIMIT, SPLIT, SPLITS, Chunk, Tokenizer
from gristmill.stages.quality.tokenizer.splitter import split_chunk

_TEXT_WORDS = INDEX["text_words"]
_TEXT_WORD_CHARS = INDEX["text_word_chars"]
_ALPHA_WORDS = INDEX["alpha_words"]
_HASHES = INDEX["hashes"]
_ELLIPSES = INDEX["ellipses"]


class GivenWords(NamedTuple):
    """Words to use in place of those that the splitter finds, in order, without white space inside.

    Attributes:
        rows: int64 of shape (documents + 1,), offsets into the other two; −1 − offset where a document keeps the
            splitter's.
        begins, ends: int64, offsets in bytes within the document at which words begin and end.
    """

    rows: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


@njit(nogil=True)
def _count_marks(codes: Any, size: Int, row: Any) -> None:
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
def _count_word(union: np.uint16, common: np.uint16, chars: Int, row: Any) -> None:
    """Add a word of `chars` code points to the counts, given the union and the intersection of their flags."""
    if not common & flag.SYMBOLIC:
        row[_TEXT_WORDS] += 1
        row[_TEXT_WORD_CHARS] += chars
    if union & flag.LETTER:
        row[_ALPHA_WORDS] += 1


@njit(nogil=True)
def _splits_off(mark: Int, before: np.uint16, features: Int) -> Bool:
    """Whether an ASCII mark at the end of a chunk of letters becomes a word of its own in every tokenizer.

    `before` are the flags of the last letter. For the full stop, exceptions are still to be looked up.
    """
    if mark == 0x2E:
        return (before & flag.BEFORE_STOP) != 0 and not features & rule.STOP_AFTER_UPPER
    return mark == 0x2C or mark == 0x3B or mark == 0x3A or mark == 0x21 or mark == 0x3F or mark == 0x29 or mark == 0x22


_APOSTROPHE_DIVIDES = rule.ELISION | rule.ELISION_FIRST | rule.COMPOUNDS | rule.PUNCTUATION_ALONE


@njit(nogil=True)
def _joins(compact: Any, at: Int, end: Int, features: Int) -> Bool:
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
def _opens_currency(byte: Int) -> Bool:
    """Whether a byte may begin a currency in letters (USD, RM, MYR, Rp, IDR, RMB, SGD) of the Malay tokenizer."""
    return byte == 0x55 or byte == 0x52 or byte == 0x4D or byte == 0x49 or byte == 0x53


@njit(nogil=True)
def _found(chunk: Chunk, begin: Int, end: Int, tokenizer: Tokenizer) -> Bool:
    """Whether compact[begin:end] is an exception of the tokenizer."""
    chunk.at[0] = begin
    chunk.at[1] = end
    return find_exception(chunk.compact, chunk.at, 0, 1, tokenizer, rule.EXCEPTION_SEED) >= 0


@njit(nogil=True)
def _is_exception(chunk: Chunk, begin: Int, end: Int, tokenizer: Tokenizer) -> Bool:
    """Whether the letters compact[begin:end] are an exception of the tokenizer that divides them."""
    head = load8_at(chunk.compact, begin)
    if end - begin < 8:
        head &= ALL_BITS >> np.uint64(8 * (8 - (end - begin)))
    bit = rule.plain_bit(head, end - begin)
    sieve = tokenizer.plain[tokenizer.number * rule.PLAIN + (bit >> 6)]
    return ((sieve >> np.uint64(bit & 63)) & np.uint64(1)) != 0 and _found(chunk, begin, end, tokenizer)


_REMEMBERED_BYTES = 16
"""Bytes of a chunk that is remembered; its words are at most eight, so that where they end fits into eight bytes."""


@njit(nogil=True)
def _split(
    chunk: Chunk,
    begin: Int,
    end: Int,
    tokenizer: Tokenizer,
    piece: Float,
    stop_words: StopWords,
    starts: Any,
    words: Int,
    row: Any,
) -> Int:
    """`_split_slowly`, or what it did with the same chunk before.

    A slot of `chunk.splits` holds the chunk's bytes, its length and tokenizer, the ends of its words in bytes, and what the
    chunk added to the counts, eight bits each. It is the bytes that are compared and no hash of them, since a document may
    come behind another's whose author looked for a collision.
    """
    size = end - begin
    if size > _REMEMBERED_BYTES or piece > 0.0:
        return _split_slowly(chunk, begin, end, tokenizer, piece, stop_words, starts, words, row)
    splits = chunk.splits
    head = load8_at(chunk.compact, begin)
    tail = np.uint64(0)
    if size < 8:
        head &= ALL_BITS >> np.uint64(8 * (8 - size))
    elif size > 8:
        tail = load8_at(chunk.compact, begin + 8) & (ALL_BITS >> np.uint64(8 * (16 - size)))
    kind = np.uint64((tokenizer.number << 8) | size)
    mixed = finish(absorb(absorb(kind, head), tail), size)
    slot = SPLIT * (np.int64(mixed >> np.uint64(32)) & (SPLITS - 1))
    if splits[slot] == kind and splits[slot + 1] == head and splits[slot + 2] == tail:
        ends = splits[slot + 3]
        added = splits[slot + 4]
        starts[words] = begin
        while ends:
            words += 1
            starts[words] = begin + np.int64(ends & np.uint64(0xFF))
            ends >>= np.uint64(8)
        row[_TEXT_WORDS] += np.int64(added & np.uint64(0xFF))
        row[_TEXT_WORD_CHARS] += np.int64((added >> np.uint64(8)) & np.uint64(0xFF))
        row[_ALPHA_WORDS] += np.int64((added >> np.uint64(16)) & np.uint64(0xFF))
        row[_HASHES] += np.int64((added >> np.uint64(24)) & np.uint64(0xFF))
        row[_ELLIPSES] += np.int64((added >> np.uint64(32)) & np.uint64(0xFF))
        return words
    first = words
    text_words = row[_TEXT_WORDS]
    text_word_chars = row[_TEXT_WORD_CHARS]
    alpha_words = row[_ALPHA_WORDS]
    hashes = row[_HASHES]
    ellipses = row[_ELLIPSES]
    words = _split_slowly(chunk, begin, end, tokenizer, piece, stop_words, starts, words, row)
    if words - first <= 8:
        ends = np.uint64(0)
        for w in range(words, first, -1):
            ends = (ends << np.uint64(8)) | np.uint64(np.int64(starts[w]) - begin)
        added = np.uint64(row[_ELLIPSES] - ellipses)
        added = (added << np.uint64(8)) | np.uint64(row[_HASHES] - hashes)
        added = (added << np.uint64(8)) | np.uint64(row[_ALPHA_WORDS] - alpha_words)
        added = (added << np.uint64(8)) | np.uint64(row[_TEXT_WORD_CHARS] - text_word_chars)
        added = (added << np.uint64(8)) | np.uint64(row[_TEXT_WORDS] - text_words)
        splits[slot] = kind
        splits[slot + 1] = head
        splits[slot + 2] = tail
        splits[slot + 3] = ends
        splits[slot + 4] = added
    return words


@njit(nogil=True)
def _split_slowly(
    chunk: Chunk,
    begin: Int,
    end: Int,
    tokenizer: Tokenizer,
    piece: Float,
    stop_words: StopWords,
    starts: Any,
    words: Int,
    row: Any,
) -> Int:
    """Split the chunk compact[begin:end] by all rules, count its words, and return the number of all words."""
    codes = chunk.codes
    flags = chunk.flags
    at = chunk.at
    all_flags = tokenizer.char_flags
    n = np.int64(0)
    union = np.uint16(0)
    j = begin
    while j < end:
        at[n] = j
        code, j = decode_at(chunk.compact, j, end)
        codes[n] = code
        flags[n] = all_flags[code]
        union |= all_flags[code]
        n += 1
    at[n] = end
    _count_marks(codes, n, row)
    first = words
    words = split_chunk(chunk, n, tokenizer, starts, words)
    if piece > 0.0 and union & flag.SPACELESS:
        words = cut_spaceless(chunk, n, piece, stop_words, starts, first, words)
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
def scan(
    text: Any,
    begin: Int,
    end: Int,
    tokenizer: Tokenizer,
    piece: Float,
    stop_words: StopWords,
    chunk: Chunk,
    starts: Any,
    row: Any,
) -> tuple[Int, Int, Int, Bool]:
    """(bytes of the compact text, words, bytes that begin no code point, whether lines have other boundaries).

    Args:
        text: pointer to uint8; the document is text[begin:end].
        tokenizer: the rules to split words by.
        piece: mean length of a piece in scripts without spaces, in code points; 0 for no fallback.
        stop_words: the language's list, for that fallback.
        chunk: pointers to scratch for one chunk and to the compact text, which is written.
        starts: pointer to int32 for the beginnings of words in it; the end of the last is written behind them.
        row: pointer to the document's counts, to which words, their characters, `#` and ellipses are added.
    """
    compact = chunk.compact
    all_flags = tokenizer.char_flags
    features = tokenizer.features
    malay = features & rule.MALAY
    size = np.int64(0)
    words: Int = np.int64(0)
    skipped = np.int64(0)
    other_boundaries = False
    plain_words = np.int64(0)
    plain_chars = np.int64(0)
    # Up to here WIDTH bytes can be read and copied, and the two behind them.
    last_wide = end - WIDTH - 2
    i = begin
    while i < end:
        first = size
        chars = np.int64(0)
        union = np.uint16(0)
        common = np.uint16(0xFFFF)
        last = np.uint16(0)
        if i <= last_wide:
            # Nearly all chunks are ASCII letters alone, or with one mark behind them.
            run = letters_ahead(text, i)
            following = i + run
            mark = np.int64(text[following])
            if run == 0:
                if mark == 0x20 or mark == 0x0A:
                    i += 1
                    continue
            else:
                copy_32(compact, size, text, i)
                last = all_flags[text[following - 1]]
                if run < WIDTH and not (malay and _opens_currency(compact[size])):
                    plain = not _is_exception(chunk, size, size + run, tokenizer)
                    if plain and (mark == 0x20 or mark == 0x0A):
                        starts[words] = size
                        words += 1
                        plain_words += 1
                        plain_chars += run
                        size += run
                        i = following + 1
                        continue
                    if plain and _splits_off(mark, last, features):
                        behind = text[following + 1]
                        if (behind == 0x20 or behind == 0x0A) and not (
                            mark == 0x2E and _found(chunk, size, size + run + 1, tokenizer)
                        ):
                            starts[words] = size
                            starts[words + 1] = size + run
                            words += 2
                            plain_words += 1
                            plain_chars += run
                            size += run + 1
                            i = following + 2
                            continue
                size += run
                i = following
                chars = run
                union = last
                common = last
        # The chunk before its first character that may divide it.
        core_chars = np.int64(-1)
        core_union = np.uint16(0)
        core_common = np.uint16(0)
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
        if (union & flag.SPACELESS and piece > 0.0) or (features & rule.MALAY and _opens_currency(compact[first])):
            quick: Bool = False
        elif union & flag.DIGIT and not common & flag.DIGIT and chars > 1:
            # A unit behind a number.
            quick = False
        elif marks == 0:
            quick = not _is_exception(chunk, first, size, tokenizer)
        elif chars == 1:
            quick = True
            mark = compact[first]
            if mark == 0x23:
                row[_HASHES] += 1
            elif mark == 0xE2 and compact[first + 1] == 0x80 and compact[first + 2] == 0xA6:
                row[_ELLIPSES] += 1
        elif (
            marks == 1
            and 0 < core_chars
            and core_chars == chars - 1
            and _splits_off(compact[mark_at], before, features)
        ):
            # A plain word and one mark behind it.
            quick = False
            if not (compact[mark_at] == 0x2E and _found(chunk, first, size, tokenizer)) and not _is_exception(
                chunk, first, mark_at, tokenizer
            ):
                starts[words] = first
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
                and not _found(chunk, first, size, tokenizer)
            )
        if quick:
            starts[words] = first
            words += 1
            _count_word(union, common, chars, row)
            continue
        words = _split(chunk, first, size, tokenizer, piece, stop_words, starts, words, row)
    starts[words] = size
    row[_TEXT_WORDS] += plain_words
    row[_TEXT_WORD_CHARS] += plain_chars
    row[_ALPHA_WORDS] += plain_words
    return size, words, skipped, other_boundaries


@njit(nogil=True)
def take_given(
    text: Any, begin: Int, all_flags: Any, given: GivenWords, row_number: Int, compact: Any, starts: Any, row: Any
) -> tuple[Int, Int]:
    """(bytes of the compact text, words) for the words given for a document, in place of those that `scan` found; the
    other arguments are as for `scan`."""
    size = np.int64(0)
    words = np.int64(0)
    row[_TEXT_WORDS] = 0
    row[_TEXT_WORD_CHARS] = 0
    row[_ALPHA_WORDS] = 0
    last = given.rows[row_number + 1]
    if last < 0:
        last = -1 - last
    for w in range(given.rows[row_number], last):
        starts[words] = size
        words += 1
        j = begin + given.begins[w]
        end = begin + given.ends[w]
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
