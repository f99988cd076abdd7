"""Training of the embedded toxicity model: labelled texts and clean texts in, model file and figures out.

The texts are those of `stages.toxicity.training_texts`; unless told otherwise, the framed sentences of
`stages.toxicity.contrast_sentences` among them.

A level of 1 or more is a positive example. Besides the whole texts, the sentences of harmless texts are examples, and
sentences of clean texts: a sample of each genre, and those that a first model finds most toxic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import text_buffers
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.hashing import file_digest
from gristmill.stages.toxicity.evaluation import figures
from gristmill.stages.toxicity.identity_terms import group_table
from gristmill.stages.toxicity.kernels import logistic
from gristmill.stages.toxicity.kernels import scoring as kernel
from gristmill.stages.toxicity.kernels.logistic import Examples
from gristmill.stages.toxicity.level_thresholds import MIN_SENTENCES, level_cuts
from gristmill.stages.toxicity.model import (
    DIMENSIONS,
    HEAD_NAMES,
    LOGIT_LOW,
    STEPS_PER_LOGIT,
    ToxicityModel,
)
from gristmill.stages.toxicity.training_texts import (
    FRAMED,
    Labelled,
    framed_sentences,
    hash_split,
    read_clean,
    read_labelled,
)

VERSION = 2
"""Version of the training procedure, kept in the model's metadata."""
BITS = 22
KEPT = 520_000
"""Features that get weights, so that the file stays below 4 MB."""
EPOCHS = 8
RATE = 1.0
DECAY = 2e-3
CLEAN_PER_GENRE = 20_000
"""Sentences drawn at random from each genre of clean text."""
HARD_CLEAN = 40_000
"""Sentences of clean text that a first model finds most toxic."""
CLEAN_IMPORTANCE = 0.3
HARD_IMPORTANCE = 1.0
SENTENCE_IMPORTANCE = 0.3
CONTRAST_IMPORTANCE = 2.0
"""Importance of a clean sentence drawn at random, of one that a first model finds most toxic, of a sentence of a harmless
labelled text, and of a text of CONTRAST_SOURCES."""
FRAMED_IMPORTANCE = 0.3
"""Importance of one of them: they are all of one mould."""
CONTRAST_SOURCES = ("hatemoji_build", "toxigen_human", "toxigen_prompts")
"""Sources that set attacks on a group beside harmless texts that name it."""
TAIL = 10
"""Clean sentences that must remain above a score for their share to be counted rather than extrapolated."""
MIN_POSITIVES = 100
MIN_AUC = 0.85
"""A language is covered when it has so many toxic texts in `test` and the overall head reaches this AUC on them."""


def concatenate(parts: Sequence[Examples]) -> Examples:
    """All examples, in order."""
    ends = np.cumsum([0] + [part.starts[-1] for part in parts])
    starts = [part.starts[:-1] + end for part, end in zip(parts, ends, strict=False)]
    return Examples(
        np.concatenate([part.features for part in parts]),
        np.concatenate([*starts, ends[-1:]]),
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.targets for part in parts]),
        np.concatenate([part.importance for part in parts]),
    )


def _featurise(text: pa.Array, *, sentences: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features, starts, owner) of the windows of texts."""
    data, offsets = text_buffers(text)
    cap = kernel.SENTENCE_TOKENS if sentences else kernel.TEXT_TOKENS
    features, starts, owner, _ = kernel.window_features(
        data, offsets, kernel.token_table(), cap, sentences, BITS, group_table(), int(4 * (offsets[-1] - offsets[0]))
    )
    return features, starts, owner


def _examples(features: np.ndarray, starts: np.ndarray, targets: np.ndarray, importance: np.ndarray) -> Examples:
    return Examples(features, starts, 1.0 / np.sqrt(np.maximum(np.diff(starts), 1)), targets, importance)


def labelled_examples(labelled: Labelled) -> Examples:
    """Whole texts, and the sentences of texts that have several: harmless in every head in which the text is."""
    positive = np.where(labelled.levels < 0, np.nan, (labelled.levels > 0).astype(np.float32)).astype(np.float32)
    features, starts, owner = _featurise(labelled.text, sentences=False)
    importance = np.ones(len(positive), np.float32)
    importance[np.isin(labelled.source, CONTRAST_SOURCES)] = CONTRAST_IMPORTANCE
    importance[labelled.source == FRAMED] = FRAMED_IMPORTANCE
    whole = _examples(features, starts, positive[owner], importance[owner])
    features, starts, owner = _featurise(labelled.text, sentences=True)
    several = np.bincount(owner, minlength=len(positive))[owner] > 1
    targets = np.where(positive[owner] > 0, np.float32(np.nan), positive[owner])
    parts = _examples(features, starts, targets, np.full(len(owner), SENTENCE_IMPORTANCE, np.float32))
    useful = np.flatnonzero(several & ~np.isnan(targets).all(axis=1))
    return concatenate([whole, parts.take(useful)])


def clean_examples(text: pa.Array) -> tuple[Examples, np.ndarray]:
    """(all sentences, the text of each), harmless in every head."""
    features, starts, owner = _featurise(text, sentences=True)
    zeros = np.zeros((len(owner), kernel.HEADS), np.float32)
    return _examples(features, starts, zeros, np.full(len(owner), CLEAN_IMPORTANCE, np.float32)), owner


def _logits(examples: Examples, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """float64[n, HEADS] of float weights, in blocks."""
    out = np.empty((len(examples.starts) - 1, weights.shape[1]))
    for low in range(0, len(out), 20_000):
        high = min(len(out), low + 20_000)
        part = examples.features[examples.starts[low] : examples.starts[high]]
        starts = examples.starts[low:high] - examples.starts[low]
        sums = np.add.reduceat(weights[part].astype(np.float64), starts, axis=0)
        out[low:high] = sums * examples.values[low:high, None] + bias
    return out


def draw_clean(examples: Examples, genre: np.ndarray, seed: int) -> np.ndarray:
    """Up to CLEAN_PER_GENRE rows of each genre, ascending."""
    generator = np.random.Generator(np.random.PCG64(seed))
    chosen = []
    for name in sorted(set(genre.tolist())):
        rows = np.flatnonzero(genre == name)
        chosen.append(rows if len(rows) <= CLEAN_PER_GENRE else generator.permutation(rows)[:CLEAN_PER_GENRE])
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)


def _fit(examples: Examples, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    weights, bias = logistic.fit(examples, size, EPOCHS, RATE, DECAY, seed)
    return weights, bias


def keep_useful(weights: np.ndarray, examples: Examples) -> np.ndarray:
    """bool[2^BITS]: the KEPT features with the largest |weight| · sqrt(occurrences), of those that occur twice."""
    counts = np.bincount(examples.features, minlength=len(weights))
    use = np.where(counts >= 2, np.abs(weights).max(axis=1) * np.sqrt(counts), 0.0)
    kept = np.zeros(len(weights), bool)
    best = np.argsort(-use, kind="stable")[:KEPT]
    kept[best[use[best] > 0]] = True
    return kept


def narrow(examples: Examples, kept: np.ndarray) -> Examples:
    """The examples with only the kept features, renumbered; values stay those of all features."""
    number = np.cumsum(kept) - 1
    stays = kept[examples.features]
    starts = np.concatenate([[0], np.cumsum(stays)])[examples.starts]
    features = number[examples.features[stays]].astype(np.int32)
    return examples._replace(features=features, starts=starts)


def fit_weights(
    labelled: Examples, clean: Examples | None, genre: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(kept features, their weights, biases): fitted once with all features; then again with the useful ones, and with
    the clean sentences that the first fit finds most toxic."""
    examples = labelled
    drawn = np.empty(0, np.int64)
    if clean is not None:
        drawn = draw_clean(clean, genre, seed)
        examples = concatenate([labelled, clean.take(drawn)])
    weights, bias = _fit(examples, 1 << BITS, seed)
    kept = keep_useful(weights, examples)
    if clean is not None:
        worst = _logits(clean, weights, bias).max(axis=1)
        worst[drawn] = -np.inf
        hard = np.sort(np.argsort(-worst, kind="stable")[: min(HARD_CLEAN, len(worst) - len(drawn))])
        worst_clean = clean.take(hard)
        importance = np.full(len(hard), HARD_IMPORTANCE, np.float32)
        examples = concatenate([examples, worst_clean._replace(importance=importance)])
    return kept, *_fit(narrow(examples, kept), int(kept.sum()), seed)


def quantise(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int8 weights, float64 scale per head) with the largest weight of a head at 127."""
    largest = np.abs(weights).max(axis=0).astype(np.float64)
    scale = np.where(largest > 0, largest, 1.0) / 127.0
    return np.rint(weights / scale).astype(np.int8), scale


def calibrate(model: ToxicityModel, labelled: Labelled) -> np.ndarray:
    """float32[HEADS, LEVELS]: Platt's sigmoid of each step, from the worst sentence of each labelled text."""
    steps = model.windows(labelled.text).highest
    logits = LOGIT_LOW + (np.arange(kernel.LEVELS) + 0.5) / STEPS_PER_LOGIT
    table = np.empty((kernel.HEADS, kernel.LEVELS), np.float32)
    for head in range(kernel.HEADS):
        known = labelled.levels[:, head] >= 0
        positive = (labelled.levels[known, head] > 0).astype(np.float64)
        slope, intercept = logistic.platt(logits[steps[known, head]], positive, 60)
        if not 0 < slope < 1e3 or len(np.unique(positive)) < 2:
            slope, intercept = 1.0, 0.0
        probability = np.array([logistic.sigmoid(slope * x + intercept) for x in logits])
        table[head] = _ascending(probability)
    return table


def _ascending(probability: np.ndarray) -> np.ndarray:
    """float32 values at most 1 that ascend strictly, also where float32 cannot tell the probabilities apart."""
    values = np.minimum(probability.astype(np.float32), np.float32(1.0))
    for at in range(len(values) - 2, -1, -1):
        values[at] = min(values[at], np.nextafter(values[at + 1], np.float32(0.0)))
    return values


def clean_tail(model: ToxicityModel, text: pa.Array, genre: np.ndarray) -> np.ndarray:
    """float32[HEADS, LEVELS]: share of clean sentences whose step is at least each step, in the genre with most.

    Genres with fewer than MIN_SENTENCES are left out. From the step on that fewer than TAIL sentences reach, the share
    goes on falling by half for each 0.5 of logit, less steeply than it fell before. Without clean text every share is 1.
    """
    tail = np.ones((kernel.HEADS, kernel.LEVELS))
    windows = model.windows(text, floor=np.zeros(kernel.HEADS, np.int16))
    genres = [rows for name in sorted(set(genre.tolist())) if
              len(rows := np.flatnonzero((genre == name)[windows.owner])) >= MIN_SENTENCES]  # fmt: skip
    if not genres:
        return tail.astype(np.float32)
    for head in range(kernel.HEADS):
        share = np.zeros(kernel.LEVELS)
        above = np.zeros(kernel.LEVELS, np.int64)
        for rows in genres:
            counts = np.bincount(windows.steps[rows, head], minlength=kernel.LEVELS)
            reached = np.cumsum(counts[::-1])[::-1]
            above += reached
            share = np.maximum(share, reached / len(rows))
        last = int(np.flatnonzero(above >= TAIL)[-1])
        fall = np.exp2(-(np.arange(kernel.LEVELS) - last) / (0.5 * STEPS_PER_LOGIT))
        tail[head] = np.where(np.arange(kernel.LEVELS) <= last, share, share[last] * fall)
    return tail.astype(np.float32)


def assemble(
    kept: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    labelled: Labelled,
    clean: pa.Array,
    genre: np.ndarray,
    metadata: Mapping[str, Any],
) -> ToxicityModel:
    """The quantised model, with calibration and cuts from labelled and clean texts that it was not fitted on."""
    quantised, scale = quantise(weights)
    groups = group_table()
    model = ToxicityModel(
        kept=np.packbits(kept, bitorder="little"),
        weights=quantised,
        scale=scale,
        bias=bias,
        probability=np.zeros((kernel.HEADS, kernel.LEVELS), np.float32),
        clean_tail=np.ones((kernel.HEADS, kernel.LEVELS), np.float32),
        cuts=np.ones((len(DIMENSIONS), 3), np.float32),
        group_hash=groups.hashes,
        group_class=groups.classes,
        metadata=metadata,
    )
    model = replace(model, probability=calibrate(model, labelled), clean_tail=clean_tail(model, clean, genre))
    return replace(model, cuts=level_cuts(model, labelled, clean, genre))


def train(
    data: Path, out: Path, seed: int = 17, negatives: Sequence[Path] | None = None, frames: bool = True
) -> dict[str, Any]:
    """Train on `data` (its split `train`), calibrate on `val`, write the model to `out`, return figures of `test`.

    Args:
        data: labelled Parquet file; see the module.
        out: the model file to write.
        seed: order of examples and choice of clean sentences. Equal inputs and seed give equal bytes.
        negatives: Parquet files of clean text.
        frames: whether the English sentences of `stages.toxicity.contrast_sentences` are learned too.

    Raises ConfigError when a file is not as expected or a split is empty.
    """
    labelled = read_labelled(data)
    masks = {name: labelled.split == name for name in ("train", "val", "test")}
    for name, mask in masks.items():
        if not mask.any():
            raise ConfigError(
                f"{data}: no text of split `{name}`; `split` must hold train, val and test, or be left out"
            )
    clean_text, genre = read_clean(list(negatives or ()))
    clean_split = hash_split(clean_text)
    parts = labelled_examples(labelled.rows(masks["train"]))
    if frames:
        parts = concatenate([parts, labelled_examples(framed_sentences())])
    clean, clean_genre = None, np.empty(0, object)
    if (clean_split == "train").any():
        clean, owner = clean_examples(clean_text.filter(pa.array(clean_split == "train")))
        clean_genre = genre[clean_split == "train"][owner]
    kept, weights, bias = fit_weights(parts, clean, clean_genre, seed)
    val = clean_split == "val"
    model = assemble(kept, weights, bias, labelled.rows(masks["val"]), clean_text.filter(pa.array(val)), genre[val], {})
    test = clean_split == "test"
    found = figures(model, labelled.rows(masks["test"]), clean_text.filter(pa.array(test)), genre[test])
    metadata = {
        "training": VERSION,
        **({} if frames else {"frames": False}),
        "seed": seed,
        "data": {"name": data.name, "sha256": file_digest(data)},
        "negatives": [{"name": path.name, "sha256": file_digest(path)} for path in negatives or ()],
        "heads": list(HEAD_NAMES),
        "covered": sorted(
            name
            for name, one in found["languages"].items()
            if one["positives"] >= MIN_POSITIVES and (one["auc_overall"] or 0.0) >= MIN_AUC
        ),
        "figures": found,
    }
    replace(model, metadata=metadata).save(out)
    return metadata
