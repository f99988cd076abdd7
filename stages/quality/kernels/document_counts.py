"""One pass over a batch of documents that counts what all quality signals need: see `quality_counts`.

For each document: its words are found (`text_scan`), then lines (`lines`) and n-grams (`ngrams`) are counted. Scratch
memory is kept from document to document. For a large document it is at most 1 byte for each of its bytes, 4 for each word,
400 MB of filters and hashes, and 16 to 64 bytes for each different n-gram, line or paragraph that may repeat.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from gristmill.stages.kernels.hashing64 import PADDING, hash_word
from gristmill.stages.kernels.pointers import pointer, read_only
from gristmill.stages.kernels.scalars import Int
from gristmill.stages.kernels.vectors import WIDTH
from gristmill.stages.quality.kernels.counts import INDEX, NAMES
from gristmill.stages.quality.kernels.lines import count_lines, count_newlines, split_at_every_boundary
from gristmill.stages.quality.kernels.ngrams import (
    HASHED_WORDS,
    LISTED_WORDS,
    SIZES,
    count_chars,
    filter_openings,
    filter_size,
    list_suspects,
    repeated_among,
    repeated_unlisted,
    table_size,
    top_gram,
)
from gristmill.stages.quality.kernels.spaceless import StopWords, stop_words_at
from gristmill.stages.quality.kernels.text_scan import GivenWords, scan, take_given
from gristmill.stages.quality.kernels.top_grams import COUNTED, list_longer, list_pairs, top_listed
from gristmill.stages.quality.tokenizer import rules as rule
from gristmill.stages.quality.tokenizer.chunk import chunk_pointers, new_chunk, tokenizer_at

_CHARS = INDEX["chars"]
_WORDS = INDEX["words"]
_TEXT_WORDS = INDEX["text_words"]
_TEXT_WORD_CHARS = INDEX["text_word_chars"]
_ALPHA_WORDS = INDEX["alpha_words"]
_STOP_WORDS = INDEX["stop_words"]
_HASHES = INDEX["hashes"]
_ELLIPSES = INDEX["ellipses"]
_TOP_2 = INDEX["top_2"]
_REPEATED_5 = INDEX["repeated_5"]


class Documents(NamedTuple):
    """A batch of documents and how each is to be read.

    Attributes:
        data, offsets: the texts, uint8 and int64 of shape (documents + 1,).
        tokenizers: int64 per document: number of its tokenizer, an index into TOKENIZERS.
        pieces: float64 per document: mean length of a piece where its script has no spaces, in code points; 0 for no
            such fallback.
        lists: int64 per document: its list of stop words, −1 for none.
    """

    data: np.ndarray
    offsets: np.ndarray
    tokenizers: np.ndarray
    pieces: np.ndarray
    lists: np.ndarray


SLOTS_PER_STOP_WORD = 16
"""So that nearly every word that is none falls on an empty slot at once."""


@njit(cache=True)
def _hash_words(data: np.ndarray, ends: np.ndarray, out: np.ndarray) -> None:
    text = pointer(data)
    begin = np.int64(0)
    for i in range(len(ends)):
        out[i] = hash_word(text, begin, ends[i])
        begin = ends[i]


def stop_word_tables(lists: list[tuple[str, ...]]) -> StopWords:
    """Tables of lists of words; words are compared exactly, case included."""
    start, mask, longest, tables = [], [], [], []
    total = 0
    for words in lists:
        encoded = sorted({word.encode() for word in words if word})
        size = 1
        while encoded and size < SLOTS_PER_STOP_WORD * len(encoded):
            size *= 2
        table = np.zeros(size if encoded else 0, np.uint64)
        if encoded:
            data = np.frombuffer(b"".join(encoded) + bytes(PADDING), np.uint8)
            hashes = np.empty(len(encoded), np.uint64)
            _hash_words(data, np.cumsum([len(word) for word in encoded]).astype(np.int64), hashes)
            for key in hashes.tolist():
                slot = key & (size - 1)
                while table[slot]:
                    slot = (slot + 1) & (size - 1)
                table[slot] = key
        start.append(total)
        mask.append(len(table) - 1)
        longest.append(max((len(word) for word in encoded), default=0))
        tables.append(table)
        total += len(table)
    keys = np.concatenate([*tables, np.zeros(1, np.uint64)])
    return StopWords(np.array(start, np.int64), np.array(mask, np.int64), np.array(longest, np.int64), keys)


@njit(nogil=True)
def _first_seen(stop_words: StopWords, key: np.uint64, stamps: Any, stamp: Int) -> Int:
    """1 if the word is a stop word that this document has not had before, else 0."""
    keys = stop_words.keys
    start = stop_words.start
    mask = stop_words.mask
    slot = start + (np.int64(key) & mask)
    while keys[slot] != np.uint64(0) and keys[slot] != key:
        slot = start + ((slot - start + 1) & mask)
    # Without a branch, because which words are stop words cannot be guessed.
    seen = stamps[slot]
    known = keys[slot] == key
    stamps[slot] = stamp if known else seen
    return np.int64(known) & np.int64(seen != stamp)


@njit(cache=True, nogil=True)
def _count(
    documents: Documents,
    rules: rule.WordRules,
    stop_words: StopWords,
    short_line_length: Int,
    given: GivenWords,
    longest_given: Int,
    out: np.ndarray,
) -> None:
    """`count`, whose arguments these are; `longest_given` is the most bytes of a document's given words together."""
    # As locals, because reading a field of a tuple counts a reference to the array.
    offsets = documents.offsets
    given_rows = given.rows
    rows = len(offsets) - 1
    longest = longest_given
    for r in range(rows):
        longest = max(longest, offsets[r + 1] - offsets[r])
    compact_array = np.zeros(longest + PADDING + WIDTH, np.uint8)
    starts_array = np.empty(longest + 2, np.int32)
    chunk_arrays = new_chunk(compact_array)
    stamps_array = np.full(len(stop_words.keys), -1, np.int64)
    hashes_array = np.empty(0, np.uint64)
    suspects_array = np.empty(0, np.int32)
    chosen_array = np.empty(0, np.int32)
    following_array = np.empty(6, np.int64)
    filter_array = np.empty(0, np.uint8)
    keys_array = np.empty(0, np.uint64)
    line_keys_array = np.empty(64, np.uint64)
    paragraph_keys_array = np.empty(64, np.uint64)
    text = pointer(documents.data)
    limit = np.int64(len(documents.data))
    for r in range(rows):
        # Inside the loop, because an array is released after its last use by name, pointers notwithstanding.
        chunk = chunk_pointers(chunk_arrays)
        compact = pointer(compact_array)
        starts = pointer(starts_array)
        stamps = pointer(stamps_array)
        begin = offsets[r]
        end = offsets[r + 1]
        tokenizer = tokenizer_at(rules, np.int64(documents.tokenizers[r]))
        all_flags = tokenizer.char_flags
        own_stop_words = stop_words_at(stop_words, np.int64(documents.lists[r]))
        has_stop_words = own_stop_words.mask >= 0
        row = pointer(out[r])
        size, words, skipped, other_boundaries = scan(
            text, begin, end, tokenizer, documents.pieces[r], own_stop_words, chunk, starts, row
        )
        if given_rows[r] >= 0:
            size, words = take_given(text, begin, all_flags, given, r, compact, starts, row)
        for k in range(PADDING):
            compact[size + k] = 0
        row[_CHARS] = end - begin - skipped
        row[_WORDS] = words
        ascii_only = skipped == 0

        listed = words <= LISTED_WORDS
        hashed = words <= HASHED_WORDS
        if hashed and words > len(hashes_array):
            hashes_array = np.empty(2 * words, np.uint64)
        if listed and words > len(suspects_array):
            suspects_array = np.empty(2 * words, np.int32)
            chosen_array = np.empty(2 * words, np.int32)
        hashes = pointer(hashes_array)
        suspects = pointer(suspects_array)
        chosen = pointer(chosen_array)
        found_stop_words = np.int64(0)
        if hashed or has_stop_words:
            for w in range(words):
                key = hash_word(compact, np.int64(starts[w]), np.int64(starts[w + 1]))
                if hashed:
                    hashes[w] = key
                if has_stop_words:
                    found_stop_words += _first_seen(own_stop_words, key, stamps, np.int64(r))
        row[_STOP_WORDS] = found_stop_words

        newlines = count_newlines(text, begin, end)
        line_keys_array, paragraph_keys_array = count_lines(
            text, begin, end, limit, all_flags, newlines, short_line_length, line_keys_array, paragraph_keys_array, row
        )
        if other_boundaries:
            split_at_every_boundary(text, begin, end, all_flags, row)

        if words < 2:
            continue
        filter_bytes = filter_size(words)
        if filter_bytes > len(filter_array):
            filter_array = np.empty(filter_bytes, np.uint8)
        filtered = pointer(filter_array)
        mask = filter_bytes - 1
        pairs: Int = 0
        fullest: Int = 0
        if listed:
            pairs, fullest = list_pairs(hashes, words, filtered, mask, suspects)
            slots = COUNTED * table_size(pairs)
            if slots > len(keys_array):
                keys_array = np.empty(2 * slots, np.uint64)
        for n in range(2, min(words, 4) + 1):
            if listed:
                if n > 2:
                    pairs, fullest, mask = list_longer(hashes, words, n, filtered, suspects, pairs)
                times, first = top_listed(
                    hashes, n, filtered, mask, fullest, suspects, pairs, chosen, pointer(keys_array)
                )
            else:
                times, first = top_gram(hashes, compact, starts, hashed, words, n, filtered, mask)
            chars = count_chars(compact, np.int64(starts[first]), np.int64(starts[first + n]), ascii_only)
            row[_TOP_2 + n - 2] = times * (chars + n - 1)
        if words < 5:
            continue
        filter_openings(compact, starts, words, filtered, filter_bytes - 1)
        if not listed:
            for n in range(5, 11):
                row[_REPEATED_5 + n - 5] = repeated_unlisted(
                    compact, starts, words, n, filtered, filter_bytes - 1, ascii_only
                )
            continue
        count = list_suspects(compact, starts, words, filtered, filter_bytes - 1, suspects)
        slots = table_size(count)
        if SIZES * slots > len(keys_array):
            keys_array = np.empty(SIZES * slots, np.uint64)
        repeated_among(
            compact, starts, words, suspects, count, pointer(keys_array), slots, pointer(following_array), ascii_only,
            pointer(out[r, _REPEATED_5 : _REPEATED_5 + SIZES]),
        )  # fmt: skip


_NONE_GIVEN = np.empty(0, np.int64)


def count(
    data: np.ndarray,
    offsets: np.ndarray,
    tokenizers: np.ndarray,
    pieces: np.ndarray,
    lists: np.ndarray,
    stop_words: StopWords,
    short_line_length: int = 30,
    given: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Counts of each document of a batch.

    Args:
        data, offsets: text as `pipeline.document.text_buffers` gives it.
        tokenizers: int64 per document: number of its tokenizer, an index into `word_flags.TOKENIZERS`.
        pieces: float64 per document: mean length of a piece where its script has no spaces, 0 for no such fallback.
        lists: int64 per document: its list of stop words, −1 for none.
        stop_words: the lists.
        short_line_length: code points up to which a line counts as short.
        given: words to use in place of those that the splitter finds: (rows + 1 offsets into the other two, byte
            offsets within the document at which words begin, and at which they end); words in order, without white
            space inside. A document keeps the splitter's where its offset is given as −1 − offset.

    Returns int64 of shape (documents, len(NAMES)), columns as in `quality_counts.NAMES`.
    """
    rules = rule.word_rules()
    rows = len(offsets) - 1
    out = np.zeros((rows, len(NAMES)), np.int64)
    given_rows = np.full(rows + 1, -1, np.int64) if given is None else np.ascontiguousarray(given[0], np.int64)
    begins, ends = (_NONE_GIVEN, _NONE_GIVEN) if given is None else (given[1], given[2])
    # Words may overlap, so that together they are longer than their document.
    places = np.where(given_rows < 0, -1 - given_rows, given_rows)
    longest_given = np.diff(np.concatenate([[0], np.cumsum(ends - begins)])[places]).max(initial=0)
    if rows:
        _count(
            Documents(
                read_only(data, np.uint8),
                read_only(offsets, np.int64),
                read_only(tokenizers, np.int64),
                read_only(pieces, np.float64),
                read_only(lists, np.int64),
            ),
            rules,
            StopWords(
                read_only(stop_words.start, np.int64),
                read_only(stop_words.mask, np.int64),
                read_only(stop_words.longest, np.int64),
                read_only(stop_words.keys, np.uint64),
            ),
            np.int64(short_line_length),
            GivenWords(read_only(given_rows, np.int64), read_only(begins, np.int64), read_only(ends, np.int64)),
            np.int64(longest_given),
            out,
        )
    return out
