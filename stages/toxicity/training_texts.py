"""Texts that the toxicity model is trained on, and judged by: labelled ones, clean ones, and framed sentences.

Labelled texts: Parquet files with `text`, the five dimensions as integers 0–3 (−1: not annotated, left out of that
head), and optionally `overall` (the same, of the text as a whole), `split` (train, val, test), `source`, `license` and
`language` (a label pair such as eng_Latn). Clean texts: Parquet files with `text` and optionally `source` (a genre) and
`language`; all their sentences count as harmless.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.document import TEXT_TYPE, text_buffers
from gristmill.pipeline.errors import ConfigError
from gristmill.stages.toxicity.contrast_grammar import grammar_sentences
from gristmill.stages.toxicity.contrast_sentences import contrasts
from gristmill.stages.toxicity.kernels import clusters
from gristmill.stages.toxicity.kernels import scoring as kernel
from gristmill.stages.toxicity.model import DIMENSIONS

FRAMED = "frames"
"""Source of the sentences that are made from frames."""

SOURCE_LANGUAGES = {"cold_zh": "cmn_Hani", "mlma_ar": "arb_Arab", "mlma_fr": "fra_Latn"}
"""Languages of known sources in files that have no column `language`; the rest is English."""

CLUSTER_BITS = 22

SHARE_ALIKE = "SA"
"""Part of the SPDX name of every licence that wants derived works under itself."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Labelled texts: large_string, int8[n, HEADS] levels (the last column is the highest of a text, −1 when unknown),
    and one string per text."""

    text: pa.Array
    levels: np.ndarray
    split: np.ndarray
    source: np.ndarray
    language: np.ndarray
    license: np.ndarray

    def rows(self, chosen: np.ndarray) -> Labelled:
        """Those of a bool mask."""
        return Labelled(
            text=self.text.filter(pa.array(chosen)),
            levels=self.levels[chosen],
            split=self.split[chosen],
            source=self.source[chosen],
            language=self.language[chosen],
            license=self.license[chosen],
        )

    def share_alike(self) -> np.ndarray:
        """bool[n]: texts whose licence a model made from them would have to be under."""
        return np.array([SHARE_ALIKE in name.split("-") for name in self.license.tolist()], bool)


def together(parts: Sequence[Labelled]) -> Labelled:
    """All texts, in order."""
    return Labelled(
        text=pa.concat_arrays([part.text for part in parts]),
        levels=np.concatenate([part.levels for part in parts]),
        split=np.concatenate([part.split for part in parts]),
        source=np.concatenate([part.source for part in parts]),
        language=np.concatenate([part.language for part in parts]),
        license=np.concatenate([part.license for part in parts]),
    )


def read_all(paths: Sequence[Path], clustered: bool) -> Labelled:
    """The texts of several files. `clustered`: splits by cluster of near-duplicates in place of the files' own."""
    labelled = together([read_labelled(path) for path in paths])
    return replace(labelled, split=cluster_split(labelled.text)) if clustered else labelled


def read_labelled(path: Path) -> Labelled:
    """Read and check a labelled file. Raises ConfigError for a missing column or a label out of range."""
    table = _read(path, ("text", *DIMENSIONS), ("overall", "split", "source", "language", "license"))
    text = table["text"].cast(TEXT_TYPE).fill_null("").combine_chunks()
    levels = np.stack([_levels(path, table, name) for name in DIMENSIONS], axis=1)
    highest = levels.max(axis=1)
    # A text is harmless over all only when every dimension was looked at, or the file says so.
    overall = np.where(highest > 0, highest, np.where((levels < 0).any(axis=1), -1, 0)).astype(np.int8)
    if "overall" in table.column_names:
        overall = np.maximum(overall, _levels(path, table, "overall"))
    source = _strings(table, "source", "")
    language = _strings(table, "language", "")
    guessed = np.array([SOURCE_LANGUAGES.get(name, "eng_Latn") for name in source.tolist()], object)
    return Labelled(
        text=text,
        levels=np.concatenate([levels, overall[:, None]], axis=1),
        split=_strings(table, "split", "") if "split" in table.column_names else hash_split(text),
        source=source,
        language=np.where(language == "", guessed, language),
        license=_strings(table, "license", ""),
    )


def _levels(path: Path, table: pa.Table, name: str) -> np.ndarray:
    try:
        column = table[name].cast(pa.int64()).fill_null(-1).to_numpy()
    except pa.ArrowInvalid as error:
        raise ConfigError(f"{path}: `{name}` must hold integers from -1 to 3 ({error})") from error
    wrong = np.flatnonzero((column < -1) | (column > 3))
    if len(wrong):
        raise ConfigError(
            f"{path}: `{name}` is {column[wrong[0]]} in row {wrong[0]}; a level is 0 to 3, or -1 where it was not annotated"
        )
    return np.asarray(column, np.int8)


def framed_sentences() -> Labelled:
    """The sentences of `stages.toxicity.contrast_sentences` and `contrast_grammar`, all of split `train`."""
    made = [(text, "eng_Latn", dimension, level, violence) for text, dimension, level, violence in contrasts()]
    whole = {text for text, *_ in made}
    made.extend(sentence for sentence in grammar_sentences() if sentence.text not in whole)
    text, language, levels = [], [], []
    for sentence, pair, dimension, level, violence in made:
        row = [level if name == dimension else 0 for name in DIMENSIONS[:-1]] + [violence]
        text.append(sentence)
        language.append(pair)
        levels.append([*row, max(row)])
    count = len(text)
    return Labelled(
        text=pa.array(text, TEXT_TYPE),
        levels=np.array(levels, np.int8),
        split=np.full(count, "train", object),
        source=np.full(count, FRAMED, object),
        language=np.array(language, object),
        license=np.full(count, "Apache-2.0", object),
    )


@dataclass(frozen=True, kw_only=True)
class Clean:
    """Harmless texts: large_string, and the genre and language (empty: unknown) of each."""

    text: pa.Array
    genre: np.ndarray
    language: np.ndarray

    def rows(self, chosen: np.ndarray) -> Clean:
        """Those of a bool mask."""
        return Clean(text=self.text.filter(pa.array(chosen)), genre=self.genre[chosen], language=self.language[chosen])


def read_clean(paths: Sequence[Path]) -> Clean:
    """The texts of the files of clean text; a genre is a source, or a file's name."""
    texts, genres, languages = [pa.array([], TEXT_TYPE)], [np.empty(0, object)], [np.empty(0, object)]
    for path in paths:
        table = _read(path, ("text",), ("source", "language"))
        texts.append(table["text"].cast(TEXT_TYPE).fill_null("").combine_chunks())
        genres.append(_strings(table, "source", path.stem))
        languages.append(_strings(table, "language", ""))
    return Clean(text=pa.concat_arrays(texts), genre=np.concatenate(genres), language=np.concatenate(languages))


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


def cluster_split(text: pa.Array) -> np.ndarray:
    """train, val or test (65, 15, 20 in 100) by cluster: texts that share a band of a MinHash signature of their
    features, and those that share one with these, stay together."""
    cluster = near_duplicates(text)
    drawn = (cluster.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    share = drawn.astype(np.float64) / 2.0**24
    # What is alike is no test of anything: the largest cluster, of template sentences, is for training.
    large = np.bincount(cluster, minlength=1)[cluster] > 0.01 * len(cluster)
    return np.where(large | (share < 0.65), "train", np.where(share < 0.8, "val", "test")).astype(object)


def near_duplicates(text: pa.Array) -> np.ndarray:
    """int64[n]: the lowest text of each text's cluster of near-duplicates."""
    data, offsets = text_buffers(text)
    unmarked = kernel.Groups(np.empty(0, np.uint64), np.empty(0, np.uint8))
    capacity = int(2 * (offsets[-1] - offsets[0]))
    features, starts, owner, _ = kernel.window_features(
        data, offsets, kernel.token_table(), kernel.TEXT_TOKENS, 0, CLUSTER_BITS, unmarked, capacity
    )
    return clusters.cluster(features, starts, owner, len(text))
