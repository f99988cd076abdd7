"""Labelled files of several layouts, read for the evaluation of toxicity scores.

Known layouts: the five dimensions as levels 0–3 (−1: not annotated); one yes-or-no label, or the share of annotators
that said yes (`isHate` of ETHOS, `label_gold` of HateCheck, …); the shares of ETHOS's multi-label file. Parquet, CSV with
commas, semicolons or tabs, and JSON lines are read.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.document import TEXT_TYPE
from pipeline.errors import ConfigError
from stages.toxicity_model import DIMENSIONS

TEXTS = ("text", "comment", "test_case", "sentence")
BINARY = ("isHate", "label_gold", "hateful", "toxic", "is_hate", "label")
"""Columns that may hold the text or one label, the first that is there; yes is one of YES or a number from 0.5 on."""
YES = frozenset({"hateful", "hate", "toxic", "yes", "true"})
NO = frozenset({"non-hateful", "nonhateful", "not hateful", "nothate", "none", "clean", "no", "false", "normal"})
SLICES = ("functionality", "target_ident", "source", "language")
"""Columns by whose values figures are broken down."""
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
        share: float64[n], the share of annotators that found a text hateful, or None.
        slices: string values by column.
    """

    text: pa.Array
    levels: np.ndarray
    graded: bool
    share: np.ndarray | None
    slices: Mapping[str, np.ndarray]


def read_file(path: Path) -> LabelledFile:
    """Read a labelled file. Raises ConfigError when it cannot be read, or has no text or no label that is understood."""
    columns = _columns(path)
    name = next((one for one in TEXTS if one in columns), None)
    if name is None:
        raise ConfigError(f"{path}: no text column; expected one of {', '.join(TEXTS)}, found {', '.join(columns)}")
    text = pa.array(["" if value is None else str(value) for value in columns[name]], TEXT_TYPE)
    share = None
    if all(one in columns for one in DIMENSIONS):
        levels = np.stack([_levels(path, one, columns[one]) for one in DIMENSIONS], axis=1)
        graded = True
    elif all(one in columns for names in ETHOS.values() for one in names):
        shares = [np.max([_shares(path, one, columns[one]) for one in names], axis=0) for names in ETHOS.values()]
        levels = (np.stack(shares, axis=1) >= 0.5).astype(np.int8)
        graded = False
    else:
        levels = np.full((len(text), len(DIMENSIONS)), -1, np.int8)
        graded = False
        label = next((one for one in BINARY if one in columns), None)
        if label is None:
            raise ConfigError(
                f"{path}: no labels that are understood; expected the columns {', '.join(DIMENSIONS)}, or one of "
                f"{', '.join(BINARY)}; found {', '.join(columns)}"
            )
        share = _shares(path, label, columns[label])
    highest = levels.max(axis=1, initial=-1)
    overall = np.where(highest > 0, highest, np.where((levels < 0).any(axis=1), -1, 0)).astype(np.int8)
    if share is not None:
        overall = (share >= 0.5).astype(np.int8)
    return LabelledFile(
        text=text,
        levels=np.concatenate([levels, overall[:, None]], axis=1),
        graded=graded,
        share=share if share is not None and len(np.unique(share)) > 2 else None,
        slices={one: np.array([str(v) for v in columns[one]], object) for one in SLICES if one in columns},
    )


def _columns(path: Path) -> dict[str, list[object]]:
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            return {name: table[name].to_pylist() for name in table.column_names}
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    if path.suffix in (".jsonl", ".ndjson"):
        try:
            rows = [json.loads(line) for line in content.splitlines() if line.strip()]
        except ValueError as error:
            raise ConfigError(f"{path}: not JSON lines ({error})") from error
        names = list(dict.fromkeys(name for row in rows for name in row))
        return {name: [row.get(name) for row in rows] for name in names}
    lines = content.splitlines(keepends=True)
    separator = max(";,\t", key=(lines[0] if lines else "").count)
    rows = list(csv.DictReader(lines, delimiter=separator))
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}


def _levels(path: Path, name: str, values: list[object]) -> np.ndarray:
    out = np.full(len(values), -1, np.int8)
    for row, value in enumerate(values):
        try:
            level = -1 if value is None or value == "" else int(float(str(value)))
        except ValueError:
            level = 99
        if not -1 <= level <= 3:
            raise ConfigError(
                f"{path}: `{name}` is {value!r} in row {row}; a level is 0 to 3, or -1 where not annotated"
            )
        out[row] = level
    return out


def _shares(path: Path, name: str, values: list[object]) -> np.ndarray:
    out = np.zeros(len(values))
    for row, value in enumerate(values):
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
