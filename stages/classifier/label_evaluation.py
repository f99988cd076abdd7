"""How well a classifier's labels are those that people gave: per label, confusions, calibration, thresholds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import text_buffers
from gristmill.pipeline.errors import ConfigError, nearest
from gristmill.stages.classifier.labels import MAX_LABELS, top_labels
from gristmill.stages.evaluation.metrics import calibration_error, rounded
from gristmill.stages.fasttext.model_file import LABEL_PREFIX
from gristmill.stages.fasttext.predict import FastTextClassifier

BINS = 10
"""Of probability, for the calibration curve."""
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
MOST_CONFUSIONS = 50
"""Pairs of labels that are listed, most frequent first."""
SHOWN = 12
"""Confusions that are printed."""


def evaluated(
    model: FastTextClassifier, texts: pa.Array, labels: Sequence[str], precision: float | None = None
) -> dict[str, Any]:
    """Figures of a model on labelled texts, as JSON values; see `label_figures`.

    Labels that the model does not have are counted under `not_in_model`, and their texts left out of all other figures.

    Raises ConfigError when the model has none of the labels.
    """
    place = {label: number for number, label in enumerate(model.labels)}
    given = [_in_model(label, place) for label in labels]
    unknown = Counter(label for label, number in zip(labels, given, strict=True) if number < 0)
    known = np.array([number >= 0 for number in given], bool)
    if not known.any():
        first = next(iter(unknown), "")
        raise ConfigError(
            f"the model has none of the labels of the texts, such as {first!r}; {nearest(first, model.labels[:MAX_LABELS])}"
        )
    data, offsets = text_buffers(texts.filter(pa.array(known)))
    found, scores = top_labels(model, np.arange(len(model.labels), dtype=np.int32), data, offsets)
    figures = label_figures(np.array(given, np.int32)[known], found, scores, model.labels, precision)
    return figures | {
        "not_in_model": dict(sorted(unknown.items(), key=lambda item: (-item[1], item[0]))[:MOST_CONFUSIONS])
    }


def _in_model(label: str, place: Mapping[str, int]) -> int:
    """The number of a label of the data, as it is or as one token; −1 without."""
    plain = label.removeprefix(LABEL_PREFIX)
    return place.get(plain, place.get("_".join(plain.split()), -1))


def label_figures(
    given: np.ndarray, found: np.ndarray, scores: np.ndarray, labels: Sequence[str], precision: float | None = None
) -> dict[str, Any]:
    """Precision, recall and F1 of each label, their mean, confusions, calibration, and what thresholds do.

    Args:
        given, found: int32 label numbers, one per text; −1 in `found` where the model knows nothing.
        scores: float32, the probability of `found`.
        labels: names by number.
        precision: also the least threshold of each label from which on this share of its answers is right.

    Returns JSON values: `documents`, `accuracy`, `macro_f1` (over labels that texts have), `labels` (precision, recall, F1,
    documents given and found), `confusions` (most frequent first), `calibration` (the expected error, and by bins of
    probability its mean beside the share that is right), `thresholds` (share answered, and share of these that is right).
    """
    right = given == found
    answered = found >= 0
    per_label = {}
    for number in np.unique(np.concatenate([given, found[answered]])).tolist():
        mine, said = given == number, found == number
        both, there, told = int((mine & said).sum()), int(mine.sum()), int(said.sum())
        per_label[labels[number]] = {
            "documents": there,
            "found": told,
            "precision": rounded(both / told if told else float("nan")),
            "recall": rounded(both / there if there else float("nan")),
            "f1": rounded(2 * both / (there + told) if there + told else float("nan")),
        } | ({} if precision is None else {"threshold": least_threshold(scores[said], mine[said], precision)})
    scored = [entry["f1"] or 0.0 for entry in per_label.values() if entry["documents"]]
    wrong = Counter(zip(given[~right].tolist(), found[~right].tolist(), strict=True))
    pairs = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:MOST_CONFUSIONS]
    probability = np.clip(scores[answered].astype(np.float64), 0.0, 1.0)
    hit = right[answered]
    bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    return {
        "documents": len(given),
        "accuracy": rounded(float(right.mean())),
        "macro_f1": rounded(float(np.mean(scored))),
        "labels": per_label,
        "confusions": [
            {"given": labels[a], "found": None if b < 0 else labels[b], "documents": number} for (a, b), number in pairs
        ],
        "calibration": {
            "error": rounded(calibration_error(probability, hit, BINS)),
            "bins": [
                {
                    "from": bin / BINS,
                    "to": (bin + 1) / BINS,
                    "documents": int((bins == bin).sum()),
                    "probability": rounded(float(probability[bins == bin].mean())),
                    "right": rounded(float(hit[bins == bin].mean())),
                }
                for bin in np.unique(bins).tolist()
            ],
        },
        "thresholds": [_at(least, probability, hit, len(given)) for least in THRESHOLDS],
    }


def _at(least: float, probability: np.ndarray, hit: np.ndarray, documents: int) -> dict[str, Any]:
    chosen = probability >= least
    return {
        "threshold": least,
        "answered": rounded(int(chosen.sum()) / documents),
        "right": rounded(float(hit[chosen].mean()) if chosen.any() else float("nan")),
    }


def least_threshold(scores: np.ndarray, right: np.ndarray, precision: float) -> float | None:
    """The lowest score from which on the share `precision` of the answers is right; None if there is none.

    >>> least_threshold(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True]), 0.75)
    0.6
    """
    order = np.argsort(-scores, kind="stable")
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # Equal scores are answered together: only the last of them is a place to cut.
    last = np.append(scores[order][1:] != scores[order][:-1], True)[: len(order)]
    reached = np.flatnonzero((share >= precision) & last)
    return rounded(float(np.nextafter(scores[order][reached[-1]], np.float32(0))), 6) if len(reached) else None


def figures_text(figures: Mapping[str, Any]) -> list[str]:
    """The figures as lines."""
    lines = [
        f"{figures['documents']:,} documents, accuracy {_number(figures['accuracy'])}, macro F1 "
        f"{_number(figures['macro_f1'])}, calibration error {_number(figures['calibration']['error'])}",
        "",
    ]
    columns = ["documents", "found", "precision", "recall", "f1"]
    columns += ["threshold"] if any("threshold" in entry for entry in figures["labels"].values()) else []
    rows = [["label", *columns]]
    for name, entry in sorted(figures["labels"].items(), key=lambda item: (-item[1]["documents"], item[0])):
        rows.append([_cut(name), *(_number(entry[column]) for column in columns)])
    lines += _aligned(rows)
    if figures["confusions"]:
        rows = [["given", "found", "documents"]]
        rows += [
            [_cut(c["given"]), _cut(c["found"] or "(none)"), f"{c['documents']:,}"]
            for c in figures["confusions"][:SHOWN]
        ]
        lines += ["", *_aligned(rows)]
    rows = [["threshold", "answered", "right"]]
    rows += [[_number(value) for value in row.values()] for row in figures["thresholds"]]
    lines += ["", *_aligned(rows)]
    missing = figures.get("not_in_model") or {}
    if missing:
        listed = ", ".join(f"{_cut(name)} {number:,}" for name, number in list(missing.items())[:SHOWN])
        lines += ["", f"not in the model, and left out: {listed}" + (", …" if len(missing) > SHOWN else "")]
    return lines


def _number(value: float | int | None) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _cut(name: str) -> str:
    plain = "".join(c if c.isprintable() else " " for c in name[:40])
    return plain if len(name) <= 40 else plain[:39] + "…"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def read_and_evaluate(model: Path, pairs: Sequence[tuple[str, str]], precision: float | None) -> dict[str, Any]:
    """Figures of a model's file on (text, label) pairs. Raises ConfigError for a model that cannot be used."""
    from gristmill.stages.fasttext.model_file import read_model

    texts = pa.array([text for text, _ in pairs], pa.large_string())
    return evaluated(FastTextClassifier(read_model(model)), texts, [label for _, label in pairs], precision)
