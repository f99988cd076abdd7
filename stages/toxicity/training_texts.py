"""Texts that the toxicity model is trained on, and judged by: labelled ones, clean ones, and framed sentences.

Labelled texts: a Parquet file with `text`, the five dimensions as integers 0–3 (−1: not annotated, left out of that
head), and optionally `split` (train, val, test), `source` and `language` (a label pair such as eng_Latn). Clean texts:
Parquet files with `text` and optionally `source` (a genre); all their sentences count as harmless.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.document import TEXT_TYPE
from gristmill.pipeline.errors import ConfigError
from gristmill.stages.toxicity.contrast_sentences import contrasts
from gristmill.stages.toxicity.model import DIMENSIONS

FRAMED = "frames"
"""Source of the sentences that are made from frames."""

SOURCE_LANGUAGES = {"cold_zh": "cmn_Hani", "mlma_ar": "arb_Arab", "mlma_fr": "fra_Latn"}
"""Languages of known sources in files that have no column `language`; the rest is English."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Labelled texts: large_string, int8[n, HEADS] levels (the last column is the highest of a text, −1 when unknown),
    and one string per text."""

    text: pa.Array
    levels: np.ndarray
    split: np.ndarray
    source: np.ndarray
    language: np.ndarray

    def rows(self, chosen: np.ndarray) -> Labelled:
        """Those of a bool mask."""
        return Labelled(
            text=self.text.filter(pa.array(chosen)),
            levels=self.levels[chosen],
            split=self.split[chosen],
            source=self.source[chosen],
            language=self.language[chosen],
        )


def read_labelled(path: Path) -> Labelled:
    """Read and check a labelled file. Raises ConfigError for a missing column or a label out of range."""
    table = _read(path, ("text", *DIMENSIONS), ("split", "source", "language"))
    text = table["text"].cast(TEXT_TYPE).fill_null("").combine_chunks()
    columns = []
    for name in DIMENSIONS:
        try:
            column = table[name].cast(pa.int64()).fill_null(-1).to_numpy()
        except pa.ArrowInvalid as error:
            raise ConfigError(f"{path}: `{name}` must hold integers from -1 to 3 ({error})") from error
        wrong = np.flatnonzero((column < -1) | (column > 3))
        if len(wrong):
            raise ConfigError(
                f"{path}: `{name}` is {column[wrong[0]]} in row {wrong[0]}; a level is 0 to 3, or -1 where it was not "
                "annotated"
            )
        columns.append(column.astype(np.int8))
    levels = np.stack(columns, axis=1)
    highest = levels.max(axis=1)
    # A text is harmless over all only when every dimension was looked at.
    overall = np.where(highest > 0, highest, np.where((levels < 0).any(axis=1), -1, 0)).astype(np.int8)
    source = _strings(table, "source", "")
    language = _strings(table, "language", "")
    guessed = np.array([SOURCE_LANGUAGES.get(name, "eng_Latn") for name in source.tolist()], object)
    return Labelled(
        text=text,
        levels=np.concatenate([levels, overall[:, None]], axis=1),
        split=_strings(table, "split", "") if "split" in table.column_names else hash_split(text),
        source=source,
        language=np.where(language == "", guessed, language),
    )


def framed_sentences() -> Labelled:
    """The sentences of `stages.toxicity.contrast_sentences`, all of split `train`."""
    text, levels = [], []
    for sentence, dimension, level, violence in contrasts():
        row = [level if name == dimension else 0 for name in DIMENSIONS[:-1]] + [violence]
        text.append(sentence)
        levels.append([*row, max(row)])
    count = len(text)
    return Labelled(
        text=pa.array(text, TEXT_TYPE),
        levels=np.array(levels, np.int8),
        split=np.full(count, "train", object),
        source=np.full(count, FRAMED, object),
        language=np.full(count, "eng_Latn", object),
    )


def read_clean(paths: Sequence[Path]) -> tuple[pa.Array, np.ndarray]:
    """(large_string texts, genre of each) of the files of clean text."""
    texts, genres = [], []
    for path in paths:
        table = _read(path, ("text",), ("source",))
        texts.append(table["text"].cast(TEXT_TYPE).fill_null("").combine_chunks())
        genres.append(_strings(table, "source", path.stem))
    if not texts:
        return pa.array([], TEXT_TYPE), np.empty(0, object)
    return pa.concat_arrays(texts), np.concatenate(genres)


def _read(path: Path, needed: Sequence[str], optional: Sequence[str]) -> pa.Table:
    try:
        names = pq.read_schema(path).names
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"{path}: cannot be read as Parquet ({error})") from error
    missing = [name for name in needed if name not in names]
    if missing:
        raise ConfigError(
            f"{path}: the column{'s' if len(missing) > 1 else ''} {', '.join(missing)} missing; expected "
            f"{', '.join(needed)}, found {', '.join(names)}"
        )
    return pq.read_table(path, columns=[*needed, *(name for name in optional if name in names)])


def _strings(table: pa.Table, name: str, default: str) -> np.ndarray:
    if name not in table.column_names:
        return np.full(table.num_rows, default, object)
    return np.array(table[name].cast(pa.string()).fill_null(default).to_pylist(), object)


def hash_split(text: pa.Array) -> np.ndarray:
    """train, val or test (70, 15, 15 in 100) by the text's own SHA-256, so that copies stay together."""
    names = np.array(["train"] * 70 + ["val"] * 15 + ["test"] * 15, object)
    drawn = [int.from_bytes(hashlib.sha256(one.as_py().encode("utf-8")).digest()[:4], "big") % 100 for one in text]
    return names[np.array(drawn, np.int64)] if drawn else np.empty(0, object)
