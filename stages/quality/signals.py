"""Signals of the quality stage from the kernel's counts: one correctly rounded division each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from gristmill.stages.quality.kernels.c4 import count_c4
from gristmill.stages.quality.kernels.c4_counts import C4_INDEX
from gristmill.stages.quality.kernels.counts import INDEX
from gristmill.stages.quality.kernels.document_counts import count, stop_word_tables
from gristmill.stages.quality.tokenizer.rules import piece_length, tokenizer_of

_RATIOS: dict[str, tuple[str, str]] = {
    "quality_dup_para_frac": ("duplicate_paragraphs", "paragraphs"),
    "quality_dup_para_char_frac": ("duplicate_paragraph_chars", "chars"),
    "quality_dup_line_frac": ("duplicate_runs", "runs"),
    "quality_dup_line_char_frac": ("duplicate_run_chars", "chars"),
    **{f"quality_top_{n}_gram": (f"top_{n}", "chars") for n in (2, 3, 4)},
    **{f"quality_dup_{n}_grams": (f"repeated_{n}", "chars") for n in range(5, 11)},
    "quality_mean_word_length": ("text_word_chars", "text_words"),
    "quality_hash_ratio": ("hashes", "words"),
    "quality_ellipsis_ratio": ("ellipses", "words"),
    "quality_bullet_line_ratio": ("bullet_lines", "lines"),
    "quality_ellipsis_line_ratio": ("ellipsis_lines", "lines"),
    "quality_alpha_word_ratio": ("alpha_words", "words"),
    "quality_terminal_line_ratio": ("terminal_lines", "content_lines"),
    "quality_short_line_ratio": ("short_lines", "content_lines"),
    "quality_dup_content_char_frac": ("duplicate_line_chars", "chars - newlines"),
    "quality_newline_ratio": ("newlines", "words"),
}
"""Numerator and denominator of each ratio, as counts."""

SIGNALS = pa.schema(
    [
        ("quality_has_words", pa.bool_()),
        ("quality_words", pa.int32()),
        ("quality_stop_words", pa.int32()),
        *((name, pa.float64()) for name in _RATIOS),
        ("quality_words_fallback", pa.bool_()),
    ]
)
"""Columns of the signals; `stages.quality.stage` states what each is."""

_C4_COUNTS = {
    "quality_c4_sentences": "sentences",
    **{
        f"quality_c4_{name}_lines": f"{name}_lines"
        for name in ("long_word", "no_terminal", "few_words", "javascript", "policy", "lorem_ipsum", "curly_bracket")
    },
}
C4_SIGNALS = pa.schema([*((name, pa.int32()) for name in _C4_COUNTS), ("quality_c4_left_char_ratio", pa.float64())])
"""Columns of C4's signals."""


def c4_columns(
    data: np.ndarray, offsets: np.ndarray, labels: Sequence[str], index: np.ndarray, line_ends: bool
) -> Mapping[str, pa.Array]:
    """C4's signals of each document; arguments as for `signal_columns` and `count_c4`."""
    counts = count_c4(data, offsets, np.array([tokenizer_of(label) for label in labels], np.int64)[index], line_ends)
    columns = {name: pa.array(counts[:, C4_INDEX[count]].astype(np.int32)) for name, count in _C4_COUNTS.items()}
    left = _ratio(counts[:, C4_INDEX["kept_chars"]], counts[:, C4_INDEX["chars"]])
    return columns | {"quality_c4_left_char_ratio": left}


def _ratio(part: np.ndarray, whole: np.ndarray) -> pa.Array:
    """One correctly rounded division each, 0 where nothing is there to divide by."""
    ratio = np.zeros(len(whole), np.float64)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return pa.array(ratio)


def signal_columns(
    data: np.ndarray,
    offsets: np.ndarray,
    labels: Sequence[str],
    index: np.ndarray,
    stop_words: Sequence[tuple[str, ...] | None],
    short_line_length: int,
    given: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> Mapping[str, pa.Array]:
    """The signals of each document.

    Args:
        data, offsets: text as `pipeline.document.text_buffers` gives it.
        labels: languages of the batch, such as `deu_Latn`; index: int64 per document, its language.
        stop_words: stop words of each of `labels`; None for a language without a list.
        short_line_length: code points up to which a line counts as short.
        given: words to use in place of the splitter's, see `stages.quality.kernels.document_counts.count`.
    """
    tokenizers = np.array([tokenizer_of(label) for label in labels], np.int64)[index]
    has_list = np.array([words is not None for words in stop_words], bool)[index]
    pieces = np.array([piece_length(label) for label in labels], np.float64)[index]
    tables = stop_word_tables([words or () for words in stop_words])
    lists = np.where(has_list, index, -1)
    counts = count(data, offsets, tokenizers, pieces, lists, tables, short_line_length, given)

    def total(name: str) -> np.ndarray:
        if name == "chars - newlines":
            return np.asarray(total("chars") - total("newlines"))
        return np.asarray(counts[:, INDEX[name]])

    columns: dict[str, pa.Array] = {
        "quality_has_words": pa.array(total("words") > 0),
        "quality_words": pa.array(total("text_words").astype(np.int32)),
        "quality_stop_words": pa.array(total("stop_words").astype(np.int32), mask=~has_list),
    }
    for name, (part, whole) in _RATIOS.items():
        columns[name] = _ratio(total(part), total(whole))
    cut_otherwise = np.zeros(len(index), bool) if given is None else given[0][:-1] >= 0
    columns["quality_words_fallback"] = pa.array((pieces > 0) & ~cut_otherwise)
    return columns
