"""What the splitter's functions take: the chunk that they look at, and the tokenizer whose rules apply."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from gristmill.stages.kernels.pointers import pointer
from gristmill.stages.kernels.scalars import Int
from gristmill.stages.quality.tokenizer.rules import WordRules

CHUNK_LIMIT = 1 << 15
"""Code points of a chunk without white space that are looked at together; a longer one is cut there. Real chunks are
words with their punctuation; longer ones are encoded binary data or scripts without spaces."""
SPLITS = 1 << 11
"""Chunks whose words are remembered. Half of the chunks that need the rules came before."""
SPLIT = 5
"""uint64 for each of them."""


class Chunk(NamedTuple):
    """The characters of a chunk, and scratch memory for it: arrays where they are made, pointers where they are read.

    Attributes:
        codes: uint32[CHUNK_LIMIT + 1], the code points.
        flags: uint16[CHUNK_LIMIT + 1], their flags (`tokenizer.flags`).
        at: int32[CHUNK_LIMIT + 2], where each begins in `compact`, in bytes, and behind the last the chunk's end.
        compact: uint8, the compact text: the document without its white space, UTF-8, and PADDING bytes.
        stack: int32[CHUNK_LIMIT + 2], scratch.
        scratch: uint8[64], scratch.
        splits: uint64[SPLIT · SPLITS], zero at first: chunks that were split, and what became of them.
    """

    codes: Any
    flags: Any
    at: Any
    compact: Any
    stack: Any
    scratch: Any
    splits: Any


class Tokenizer(NamedTuple):
    """One tokenizer's part of `WordRules`, as pointers.

    Attributes:
        number: int64, index into TOKENIZERS.
        features: int64, which rules it has.
        start, mask: int64, its slots in `keys` and `values`.
        char_flags: uint16, flags of every code point.
        plain, keys, values, parts: as in `WordRules`.
    """

    number: Int
    features: Int
    start: Int
    mask: Int
    char_flags: Any
    plain: Any
    keys: Any
    values: Any
    parts: Any


@njit(nogil=True)
def new_chunk(compact: np.ndarray) -> Chunk:
    """Arrays for a chunk of CHUNK_LIMIT code points of a compact text."""
    return Chunk(
        np.empty(CHUNK_LIMIT + 1, np.uint32),
        np.empty(CHUNK_LIMIT + 1, np.uint16),
        np.empty(CHUNK_LIMIT + 2, np.int32),
        compact,
        np.empty(CHUNK_LIMIT + 2, np.int32),
        np.empty(64, np.uint8),
        np.zeros(SPLIT * SPLITS, np.uint64),
    )


@njit(nogil=True)
def chunk_pointers(chunk: Chunk) -> Chunk:
    """The same with pointers in place of arrays. They keep nothing alive: name the arrays once more behind their use."""
    return Chunk(
        pointer(chunk.codes),
        pointer(chunk.flags),
        pointer(chunk.at),
        pointer(chunk.compact),
        pointer(chunk.stack),
        pointer(chunk.scratch),
        pointer(chunk.splits),
    )


@njit(nogil=True)
def tokenizer_at(rules: WordRules, number: Int) -> Tokenizer:
    """Tokenizer `number`; `rules` must outlive it."""
    return Tokenizer(
        number,
        rules.features[number],
        rules.table_start[number],
        rules.table_mask[number],
        pointer(rules.flags),
        pointer(rules.plain),
        pointer(rules.keys),
        pointer(rules.values),
        pointer(rules.parts),
    )
