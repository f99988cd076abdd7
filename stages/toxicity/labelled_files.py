"""Labelled files of several layouts, read for the evaluation of toxicity scores.

Known layouts: the five dimensions as levels 0–3 (−1: not annotated); one yes-or-no label, or the share of annotators
that said yes (`isHate` of ETHOS, `label_gold` of HateCheck, …); the shares of ETHOS's multi-label file. Parquet, CSV with
commas, semicolons or tabs, and JSON lines are read.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.document import TEXT_TYPE
from gristmill.pipeline.errors import ConfigError
from gristmill.stages.toxicity.model import DIMENSIONS

TEXTS = ("text", "comment", "test_case", "sentence")
BINARY = ("isHate", "label_gold", "hateful", "toxic", "is_hate", "label")
"""Columns that may hold the text or one label, the first that is there; yes is one of YES or a number from 0.5 on."""
YES = frozenset({"hateful", "hate", "toxic", "yes", "true"})
NO = frozenset({"non-hateful", "nonhateful", "not hateful", "nothate", "none", "clean", "no", "false", "normal"})
SLICES = ("functionality", "target_ident", "source", "language", "split")
"""Columns by whose values figures are broken down."""
DATASETS: Mapping[str, Mapping[str, str]] = {
    "ethos": {"binary": "Ethos_Dataset_Binary.csv", "multi_label": "Ethos_Dataset_Multi_Label.csv"}
}
"""Published data sets by name: their parts and the files that hold them, as their authors call them.

`ethos`: Mollas, Chrysopoulou, Karlos and Tsoumakas, "ETHOS: a multi-label hate speech detection dataset" (2022).
"""
ETHOS: dict[str, tuple[str, ...]] = {
    "race_origin": ("race", "national_origin"),
    "gender_sex": ("gender", "sexual_orientation"),
    "religion": ("religion",),
    "ability": ("disability",),
    "violence": ("violence",),
}


@dataclass(frozen=True, kw_only=True)
class LabelledFile:
    """Texts and what a file says about them.

    Attributes:
        text: large_string.
        levels: int8[n, 6]; the sixth is the highest, and −1 is unknown.
        graded: whether levels above 1 mean anything.
        share: float64[n], the share of annotators that found a text hateful, NaN where unknown, or None.
        shares: float64[n, 5], the same for each dimension, or None.
        slices: string values by column.
    """

    text: pa.Array
    levels: np.ndarray
    graded: bool
    share: np.ndarray | None
    shares: np.ndarray | None
    slices: Mapping[str, np.ndarray]


def read_file(path: Path) -> LabelledFile:
    """Read a labelled file. Raises ConfigError when it cannot be read, or has no text or no label that is understood."""
    columns = _columns(path)
    if not columns:
        raise ConfigError(f"{path}: is empty. Give labelled texts.")
    name = next((one for one in TEXTS if one in columns), None)
    if name is None:
        raise ConfigError(f"{path}: no text column; expected one of {', '.join(TEXTS)}, found {', '.join(columns)}")
    if not columns[name]:
        raise ConfigError(f"{path}: no rows. Give labelled texts.")
    text = _texts(path, name, columns[name])
    share = shares = None
    if all(one in columns for one in DIMENSIONS):
        levels = np.stack([_levels(path, one, columns[one]) for one in DIMENSIONS], axis=1)
        graded = True
    elif all(one in columns for names in ETHOS.values() for one in names):
        kinds = [np.max([_shares(path, one, columns[one]) for one in names], axis=0) for names in ETHOS.values()]
        shares = np.stack(kinds, axis=1)
        levels = _yes_or_no(shares)
        graded = False
    else:
        levels = np.full((len(text), len(DIMENSIONS)), -1, np.int8)
        graded = False
        label = next((one for one in BINARY if one in columns), None)
        if label is None:
            raise ConfigError(
                f"{path}: no known label columns; expected the columns {', '.join(DIMENSIONS)}, or one of "
                f"{', '.join(BINARY)}; found {', '.join(columns)}"
            )
        share = _shares(path, label, columns[label])
    highest = levels.max(axis=1, initial=-1)
    overall = np.where(highest > 0, highest, np.where((levels < 0).any(axis=1), -1, 0)).astype(np.int8)
    if shares is not None:  # kinds of hate among hateful texts: none of these kinds does not make a text harmless
        overall = np.where(highest > 0, 1, -1).astype(np.int8)
    if share is not None:
        overall = _yes_or_no(share)
    return LabelledFile(
        text=text,
        levels=np.concatenate([levels, overall[:, None]], axis=1),
        graded=graded,
        share=share if share is not None and ((share > 0) & (share < 1)).any() else None,
        shares=shares,
        slices={one: np.array([str(v) for v in columns[one]], object) for one in SLICES if one in columns},
    )


def _texts(path: Path, name: str, values: list[object]) -> pa.Array:
    texts = ["" if value is None else str(value) for value in values]
    try:
        return pa.array(texts, TEXT_TYPE)
    except UnicodeEncodeError as error:  # JSON can spell halves of surrogate pairs, which UTF-8 has no bytes for
        row = next(at for at, one in enumerate(texts) if not one.isascii() and _surrogate(one))
        raise ConfigError(
            f"{path}: `{name}` in row {row} holds half of a surrogate pair ({error.object[error.start]!r}), which is no "
            "character. Fix the row, or remove it."
        ) from error


def _surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _columns(path: Path) -> dict[str, list[object]]:
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            return {name: table[name].to_pylist() for name in table.column_names}
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    # Not `splitlines`: a text may well hold one of the other characters that it divides at.
    if path.suffix in (".jsonl", ".ndjson"):
        rows = [_object(path, at, line) for at, line in enumerate(content.split("\n")) if line.strip()]
        names = list(dict.fromkeys(name for row in rows for name in row))
        return {name: [row.get(name) for row in rows] for name in names}
    separator = max(";,\t", key=content.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(content, newline=""), delimiter=separator)
    try:
        records = list(reader)
    except csv.Error as error:
        raise ConfigError(
            f"{path}: line {reader.line_num} is not a row of values with `{separator}` ({error})"
        ) from error
    return {name: [record[name] for record in records] for name in reader.fieldnames or ()}


def _object(path: Path, row: int, line: str) -> dict[str, object]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{path}: row {row} is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: row {row} is {line[:60]!r}; a line must be an object with names and values")
    return value


def _yes_or_no(share: np.ndarray) -> np.ndarray:
    """int8: 1 from one half of the annotators on, −1 where the share is unknown (NaN)."""
    return np.where(np.isnan(share), -1, share >= 0.5).astype(np.int8)


def _levels(path: Path, name: str, values: list[object]) -> np.ndarray:
    out = np.full(len(values), -1, np.int8)
    for row, value in enumerate(values):
        try:
            level = -1.0 if value is None or value == "" else float(str(value))
        except ValueError:
            level = np.nan
        if level not in (-1.0, 0.0, 1.0, 2.0, 3.0):
            raise ConfigError(
                f"{path}: `{name}` is {value!r} in row {row}; a level is 0, 1, 2 or 3, or -1 where it was not annotated"
            )
        out[row] = int(level)
    return out


def _shares(path: Path, name: str, values: list[object]) -> np.ndarray:
    """float64: shares of annotators, yes as 1 and no as 0; NaN where nothing is said."""
    out = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        if value is None or value == "":
            continue
        word = str(value).strip().lower()
        if word in YES or word in NO:
            out[row] = float(word in YES)
            continue
        try:
            out[row] = float(word)
        except ValueError:
            out[row] = -1.0
        if not 0.0 <= out[row] <= 1.0:
            raise ConfigError(
                f"{path}: `{name}` is {value!r} in row {row}; expected a share from 0 to 1, or one of "
                f"{', '.join(sorted(YES | NO))}"
            )
    return out
