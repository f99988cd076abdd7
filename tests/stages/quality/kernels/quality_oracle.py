"""The counts of the quality kernel a second time, from datatrove's functions and plain Python."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from datatrove.pipeline.filters.gopher_repetition_filter import (
    find_all_duplicate,
    find_duplicates,
    find_top_duplicate,
    get_n_grams,
)
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION

from gristmill.pipeline.document import text_buffers
from gristmill.stages.quality.kernels.counts import INDEX
from gristmill.stages.quality.kernels.document_counts import count, stop_word_tables


def oracle(text: str, words: Sequence[str], stop_words: Sequence[str], short_line_length: int = 30) -> dict[str, int]:
    """All counts of a text with the given words, as datatrove's filters compute them on their way."""
    words = list(words)
    found: dict[str, int] = {"chars": len(text), "newlines": text.count("\n")}
    for name, chars_name, pieces in (
        ("paragraphs", "duplicate_paragraph_chars", re.split(r"\n{2,}", text.strip())),
        ("runs", "duplicate_run_chars", re.split(r"\n+", text)),
    ):
        found[name] = len(pieces)
        found[f"duplicate_{name}"], found[chars_name] = find_duplicates(pieces)
    for n in (2, 3, 4):
        grams = get_n_grams(words, n)
        found[f"top_{n}"] = find_top_duplicate(grams) if grams else 0
    for n in range(5, 11):
        found[f"repeated_{n}"] = find_all_duplicate(words, n)
    text_words = [word for word in words if any(char not in PUNCTUATION_SET for char in word)]
    found["words"], found["text_words"] = len(words), len(text_words)
    found["text_word_chars"] = sum(len(word) for word in text_words)
    found["alpha_words"] = sum(any(char.isalpha() for char in word) for word in words)
    found["stop_words"] = len(set(stop_words) & set(words))
    found["hashes"] = text.count("#")
    found["ellipses"] = text.count("...") + text.count("…")
    lines = text.splitlines()
    found["lines"] = len(lines)
    found["bullet_lines"] = sum(line.lstrip().startswith(("•", "-")) for line in lines)
    found["ellipsis_lines"] = sum(line.rstrip().endswith(("...", "…")) for line in lines)
    content = [line for line in text.split("\n") if line.strip() != ""]
    found["content_lines"] = len(content)
    found["terminal_lines"] = sum(line.endswith(tuple(TERMINAL_PUNCTUATION)) for line in content)
    found["short_lines"] = sum(len(line) <= short_line_length for line in content)
    found["duplicate_line_chars"] = find_duplicates(content)[1]
    return found


def spans(text: str, words: Sequence[str]) -> tuple[list[int], list[int]]:
    """Byte offsets at which each word begins and ends in the text."""
    begins, ends = [], []
    char = byte = 0
    for word in words:
        at = text.index(word, char)
        byte += len(text[char:at].encode())
        begins.append(byte)
        byte += len(word.encode())
        ends.append(byte)
        char = at + len(word)
    return begins, ends


def given_words(texts: Sequence[str], words: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The words of each text, as `stages.quality.kernels.document_counts.count` takes them."""
    found = [spans(text, own) for text, own in zip(texts, words, strict=True)]
    rows = np.cumsum([0, *(len(begins) for begins, _ in found)])
    begins = np.array([offset for begins, _ in found for offset in begins], np.int64)
    ends = np.array([offset for _, ends in found for offset in ends], np.int64)
    return rows, begins, ends


def counted(
    texts: Sequence[str],
    words: Sequence[Sequence[str]] | None = None,
    stop_words: tuple[str, ...] = (),
    tokenizer: int | Sequence[int] = 0,
    piece: float = 0.0,
    short_line_length: int = 30,
) -> list[dict[str, int]]:
    """The kernel's counts of each text, by name."""
    data, offsets = text_buffers(pa.array(texts, pa.large_string()))
    rows = len(texts)
    given = None if words is None else given_words(texts, words)
    counts = count(
        data,
        offsets,
        np.full(rows, tokenizer),
        np.full(rows, piece),
        np.zeros(rows, np.int64),
        stop_word_tables([stop_words]),
        short_line_length,
        given,
    )
    return [{name: int(row[at]) for name, at in INDEX.items()} for row in counts]
