"""Tokens of a text: counted by a Hugging Face tokenizer, or estimated from bytes by language and script.

The estimate divides UTF-8 bytes by what one token holds on average: figures for 399 languages and 37 scripts, measured
with OpenAI's o200k_base (`bytes_per_token.json` says on which texts). Another tokenizer has other figures, so an estimate
is never called `token_count`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import TEXT, text_bytes
from gristmill.pipeline.errors import ConfigError
from gristmill.stages.labels.groups import coded_groups, group_columns, label

FIGURES = Path(__file__).with_name("bytes_per_token.json")
ELSE = 287
"""Hundredths of a byte per token where language and script are unknown: the mean over Latin script."""
BLOCK = 1024
"""Texts given to the tokenizer at a time."""


@cache
def figures() -> tuple[dict[str, int], dict[str, int]]:
    """Hundredths of a byte per token, by label (`por_Latn`) and by script (`Latn`)."""
    data = json.loads(FIGURES.read_text(encoding="utf-8"))
    return data["languages"], data["scripts"]


def bytes_per_token(language: str, script: str) -> int:
    """Hundredths of a byte per token: the language's own figure, else its script's, else ELSE."""
    languages, scripts = figures()
    return languages.get(label((language, script)), scripts.get(script, ELSE))


def estimate_tokens(batch: pa.Table) -> pa.Array:
    """Tokens of each row's text by its bytes, `language` and `language_script` (where they are there): int64, rounded
    to the nearest, at least 1 for a text that is not empty."""
    coded = coded_groups(group_columns(batch, ("language", "language_script")), batch.num_rows)
    each = np.array([bytes_per_token(*key) for key in coded.keys], np.int64)[coded.codes]
    size = text_bytes(batch[TEXT])
    return pa.array(np.where(size > 0, np.maximum(1, (size * 100 + each // 2) // each), 0))


def check_tokenizer(path: Path) -> None:
    """Raises ConfigError when the library or the file cannot be used."""
    _tokenizer(path)


def count_tokens(text: pa.Array, path: Path) -> pa.Array:
    """Tokens of each text without the special tokens of a sequence: int64."""
    tokenizer = _tokenizer(path)
    counts: list[int] = []
    for start in range(0, len(text), BLOCK):
        block = [value or "" for value in text.slice(start, BLOCK).to_pylist()]
        counts += [len(found.ids) for found in tokenizer.encode_batch_fast(block, add_special_tokens=False)]
    return pa.array(counts, pa.int64())


@cache
def _tokenizer(path: Path) -> Any:
    """One per process and file."""
    try:
        from tokenizers import Tokenizer  # optional: only configs that name a tokenizer need it
    except ImportError as error:
        raise ConfigError(
            "counting tokens needs the package tokenizers, which is not installed. Install it (pip install tokenizers), or "
            "leave `tokenizer` out to estimate tokens from bytes."
        ) from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception for missing and for broken files
        raise ConfigError(
            f"{path}: is not a tokenizer ({error}). Name a Hugging Face `tokenizer.json` that exists."
        ) from error
    # Set by some files, they would cut long documents or count padding.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
