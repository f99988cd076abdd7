"""Labels of a classifier that has many, such as topics or formats: each document's top label, with a threshold per label.

    NAME_top_label     the label with the highest probability (text); null for text in which the model knows nothing
    NAME_probability   its score (float32), the library's: probability + 1e-5
    NAME_label         the label where its threshold is reached, else null

Nothing here waits for the corpus: a document's label is its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import one_chunk
from gristmill.pipeline.errors import ConfigError, nearest
from gristmill.pipeline.stage import Decisions, from_failures
from gristmill.stages.fasttext.model_file import LABEL_PREFIX
from gristmill.stages.fasttext.predict import FastTextClassifier

NO_LABEL, LOW_PROBABILITY, UNWANTED_LABEL = "no_label", "low_probability", "unwanted_label"
RULES = (NO_LABEL, LOW_PROBABILITY, UNWANTED_LABEL)
ANY = "*"
"""The key of `thresholds` for labels that are not named."""
UNKNOWN = "unknown"
"""How reports call documents without a label; `mix` does as well."""
MAX_LABELS = 4096
"""Labels that may compete: documents are counted by each, in every task's record."""
MAX_ANSWERS = 1 << 22
"""Labels times documents that are held at once."""
TOKENS = ("token_count", "token_count_estimate")
"""Columns with tokens, the first that there is."""


class LabelConfig(Protocol):
    """The settings that this module reads."""

    model: Path
    labels: Any
    thresholds: Mapping[str, float]
    keep: tuple[str, ...]
    drop: tuple[str, ...]
    name: str
    on_fail: Any


def competing(config: LabelConfig, model: FastTextClassifier) -> np.ndarray:
    """int32 numbers of the labels that documents may get.

    Raises ConfigError for labels of the config that the model does not have, with the nearest, and for a model whose labels
    cannot be names or are too many.
    """
    place = {label: number for number, label in enumerate(model.labels)}
    for key in ("labels", "thresholds", "keep", "drop"):
        given = getattr(config, key)
        for name in () if isinstance(given, str) else given:
            label = name.removeprefix(LABEL_PREFIX)
            if label not in place and not (key == "thresholds" and name == ANY):
                # fastText's labels are single tokens: who writes them with spaces means these.
                joined = "_".join(label.split())
                hint = f"did you mean {joined}?" if joined in place else nearest(label, model.labels[:MAX_LABELS])
                raise ConfigError(
                    f"stage classifier: {key}: {name!r}: the model {config.model} has no such label; {hint}"
                )
    chosen = list(range(len(model.labels)))
    if config.labels != "all":
        chosen = [place[name.removeprefix(LABEL_PREFIX)] for name in dict.fromkeys(config.labels)]
    if len(chosen) > MAX_LABELS:
        raise ConfigError(
            f"stage classifier: the model {config.model} has {len(chosen)} labels, and at most {MAX_LABELS} are counted. Name "
            "those that documents may get: `labels: [...]`."
        )
    for number in chosen:
        label = model.labels[number]
        if not label.strip() or not label.isprintable():
            raise ConfigError(
                f"stage classifier: the model {config.model} has the label {label!r}, which cannot be a name. Name those that "
                "documents may get: `labels: [...]`."
            )
    return np.asarray(chosen, np.int32)


def top_labels(
    model: FastTextClassifier, chosen: np.ndarray, data: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(label numbers, scores) of texts: int32, −1 where the model knows nothing, and float32. The best of the labels
    `chosen`; where all may be, what the library answers first."""
    rows = max(0, len(offsets) - 1)
    if len(chosen) == len(model.labels):
        labels, scores = model.predict(data, offsets, top=1)
        best, score = labels[:, 0].copy(), scores[:, 0].copy()
    else:
        wanted = np.zeros(len(model.labels) + 1, bool)  # the last is no label
        wanted[chosen] = True
        best, score = np.full(rows, -1, np.int32), np.zeros(rows, np.float32)
        step = max(1, MAX_ANSWERS // len(model.labels))
        for start in range(0, rows, step):
            stop = min(rows, start + step)
            labels, scores = model.predict(data, offsets[start : stop + 1], top=len(model.labels))
            among = wanted[labels]
            first = among.argmax(axis=1)
            row = np.arange(stop - start)
            found = among[row, first]
            best[start:stop] = np.where(found, labels[row, first], -1)
            score[start:stop] = np.where(found, scores[row, first], 0.0)
    best[~np.isfinite(score)] = -1  # a model whose numbers overflow says nothing
    return best, score


def label_signals(
    name: str, model: FastTextClassifier, chosen: np.ndarray, data: np.ndarray, offsets: np.ndarray
) -> dict[str, pa.Array]:
    """The signals of a batch: top label, its probability, and the bytes of the text for the counts."""
    best, score = top_labels(model, chosen, data, offsets)
    missing = best < 0
    names = pa.array(model.labels, pa.string())
    return {
        f"{name}_top_label": names.take(pa.array(best, mask=missing)),
        f"{name}_probability": pa.array(score, mask=missing),
        f"{name}_bytes": pa.array(np.diff(offsets).astype(np.int64)),
    }


def signal_schema(name: str) -> pa.Schema:
    """The columns of `label_signals`."""
    return pa.schema(
        [(f"{name}_top_label", pa.string()), (f"{name}_probability", pa.float32()), (f"{name}_bytes", pa.int64())]
    )


def decide_labels(batch: pa.Table, config: LabelConfig) -> Decisions:
    """Labels where thresholds are reached, and what `keep` or `drop` make of them; documents, bytes and tokens by label.

    A decision's value is the probability, its threshold that of the label, its witness the label.
    """
    name = config.name
    encoded = one_chunk(batch[f"{name}_top_label"]).dictionary_encode()
    values = encoded.dictionary.to_pylist()
    codes = np.asarray(encoded.indices.fill_null(len(values)), np.int64)
    limits = {key.removeprefix(LABEL_PREFIX): limit for key, limit in config.thresholds.items()}
    least = np.array([*(limits.get(label, limits.get(ANY, 0.0)) for label in values), np.nan])[codes]
    probability = one_chunk(batch[f"{name}_probability"]).fill_null(0.0)
    score = probability.to_numpy(zero_copy_only=False).astype(np.float64)
    known = codes < len(values)
    sure = known & (score >= least)
    listed = {label.removeprefix(LABEL_PREFIX) for label in (*config.keep, *config.drop)}
    named = np.array([*(label in listed for label in values), False])[codes]
    none = np.zeros(batch.num_rows, bool)
    failures = {
        NO_LABEL: ~known if config.keep else none,
        LOW_PROBABILITY: known & ~sure if config.keep else none,
        UNWANTED_LABEL: sure & ~named if config.keep else sure & named,
    }
    names = pa.array([*values, None], pa.string())
    failing = np.where(failures[LOW_PROBABILITY] | failures[UNWANTED_LABEL], codes, len(values))
    made = from_failures(
        failures,
        {LOW_PROBABILITY: score, UNWANTED_LABEL: score},
        {LOW_PROBABILITY: least, UNWANTED_LABEL: least},
        rows=batch.num_rows,
        mark=config.on_fail == "mark",
    )
    return replace(
        made,
        witness=names.take(pa.array(failing)),
        columns={
            f"{name}_label": names.take(pa.array(np.where(sure, codes, len(values)))),
            f"{name}_failed": failed_rules(failures),
        },
        tallies=_tallies(batch, name, np.where(sure, codes, len(values)), values, np.asarray(made.failed == 0, bool)),
    )


def failed_rules(failures: Mapping[str, np.ndarray]) -> pa.Array:
    """Names of the failing rules of each row, as list<string>."""
    matrix = np.stack(list(failures.values()), axis=1)
    offsets = np.concatenate(([0], np.cumsum(matrix.sum(axis=1)))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(list(failures)).take(pa.array(np.nonzero(matrix)[1])))


def _tallies(
    batch: pa.Table, name: str, codes: np.ndarray, values: Sequence[str], passed: np.ndarray
) -> dict[str, int]:
    """Documents, bytes of text, tokens where a column counts them, and documents that pass, by label."""
    counted = {
        "documents": np.ones(len(codes), np.int64),
        "bytes": one_chunk(batch[f"{name}_bytes"]).fill_null(0).to_numpy(zero_copy_only=False),
        "passed": passed.astype(np.int64),
    }
    for column in TOKENS:
        if column in batch.column_names and pa.types.is_integer(batch.schema.field(column).type):
            tokens = one_chunk(batch[column]).cast(pa.int64()).fill_null(0)
            counted["tokens"] = np.maximum(tokens.to_numpy(zero_copy_only=False), 0)
            break
    found: dict[str, int] = {}
    for what, numbers in counted.items():
        total = np.zeros(len(values) + 1, np.int64)
        np.add.at(total, codes, numbers)
        for label, number in zip([*values, UNKNOWN], total.tolist(), strict=True):
            if number:
                found[f"{what}.{label}"] = found.get(f"{what}.{label}", 0) + number
    return found
