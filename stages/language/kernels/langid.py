"""Inference with py3langid's models over Arrow text buffers: the library's labels, compiled.

A finite automaton reads the text's bytes and names the n-gram feature, if any, that ends at each. The score of a class
is its log prior plus Σ log(1 + count) · log likelihood over the features; probabilities are the softmax of scores divided
by √bytes, which is what the library does to keep them calibrated across lengths, and labels that name several classes
get their sum. Before that a text wholly in capitals is lowered, and all text is brought to Unicode's form NFC.

Likelihoods are whole numbers (see `stages.language.kernels.langid_tables`). Features with the same count are added as
integers before their sum is multiplied, and frequent ones in a fixed order, so that the result does not depend on the order
in which they are met.

Source: https://github.com/adbar/py3langid, `py3langid/langid.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from gristmill.pipeline.table_cache import kept_tables
from gristmill.stages.kernels.elementary import exp, log
from gristmill.stages.kernels.normal_form import CAPITALS, COMPOSABLE, MAX_GROWTH, check, forms, normalise
from gristmill.stages.kernels.pointers import pointer
from gristmill.stages.kernels.row_sums import add_int16_rows
from gristmill.stages.kernels.scalars import Float, Int
from gristmill.stages.language.kernels import langid_tables
from gristmill.stages.language.kernels.langid_tables import COUNT, Tables, lay_out
from gristmill.stages.language.kernels.windows import (
    MIN_SIZE,
    SAMPLE,
    WINDOW,
    WINDOWS,
    count_visits,
    draw,
    fresh_visits,
    is_majority,
    votes_for,
    walk,
)
from gristmill.stages.language.langid_format import LangidModel, read_model

EVIDENCE = (
    "logit",
    "likelihood",
    "best_likelihood",
    "mean_likelihood",
    "log_bytes",
    "weight_per_byte",
    "distinct_share",
    "features_per_byte",
)
"""What is known of an answer, each a float64 (see `LangidClassifier.examine`)."""
MAX_LOGIT = 12.0
"""Bound of the evidence `logit`: beyond it probabilities are rounding."""
LEAST_EXPONENT = -80.0
"""A class further below the best has a share of 0: what it would add is lost in float64's rounding."""
COMMON_COUNTS = 64
"""Features with a smaller count are grouped by it; rarer ones are multiplied one by one."""
WALKS = 8
"""Walks through a text that take turns: each waits for memory, not for the others."""
TRAIL = 1024
"""Steps, of all walks together, after which visits are counted."""
WARM_UP = 8
"""Bytes after which the automaton should have forgotten the state that it started in; n-grams are shorter."""
MIN_WALK = 32
"""Bytes of each walk from which on a text is divided among several."""
CERTAIN = 0.97
"""Calibrated score of a sample from which on its answer may stand for the text's."""
MAX_GROUP = 1 << 16
"""Rows of int16 that fit into an int32 sum."""


@njit(cache=True, nogil=True)
def _add_group(
    likelihoods: np.ndarray,
    width: Int,
    group: np.ndarray,
    first: Int,
    last: Int,
    sums: np.ndarray,
    totals: np.ndarray,
    weight: Float,
) -> None:
    """totals += weight * Σ rows group[first:last] of the likelihoods."""
    for start in range(first, last, MAX_GROUP):
        sums[:] = 0
        add_int16_rows(likelihoods, width, group, start, min(start + MAX_GROUP, last), sums)
        for i in range(width):
            totals[i] += weight * np.float64(sums[i])


@njit(cache=True, nogil=True)
def _walk(
    data: np.ndarray, start: Int, end: Int, t: Tables, visits: np.ndarray, visited: np.ndarray, trail: np.ndarray
) -> Int:
    """Runs the automaton over data[start:end] and counts the visits of each state in the lower half of `visits` (see
    `fresh_visits`); returns how many states with a feature were visited. `trail` (int32[TRAIL]) is written to.

    Each step waits for the memory of the last, so WALKS walks take turns: all but the first start in the middle of the text,
    a few bytes early, with the first state. An automaton that looks for n-grams has forgotten by then where it started.
    That is not taken on trust: when a walk ends in another state than the next began with, all is counted anew in one.
    Visits are counted after some steps at a time: in between, their memory would keep walks waiting.
    """
    state_array, began = np.empty(WALKS, np.uint64), np.empty(WALKS, np.uint64)
    bytes_, columns, moves = pointer(data), pointer(t.columns), pointer(t.moves)
    states, numbers = pointer(state_array), pointer(trail)
    shift, mask = t.rank_shift, (np.uint64(1) << t.rank_shift) - np.uint64(1)
    n_visited: Int = np.int64(0)
    state = t.start
    at: Int = start
    length = (end - start) // WALKS
    if length >= MIN_WALK:
        states[0] = t.start
        for walk in range(1, WALKS):
            states[walk] = t.start
        for i in range(start - WARM_UP, start):
            for walk in range(1, WALKS):
                column = np.uint64(columns[bytes_[i + walk * length]])
                states[walk] = np.uint64(moves[(states[walk] & mask) + column])
        began[:] = state_array
        for first in range(start, start + length, TRAIL // WALKS):
            n = np.int64(0)
            for i in range(first, min(first + TRAIL // WALKS, start + length)):
                for walk in range(WALKS):
                    column = np.uint64(columns[bytes_[i + walk * length]])
                    states[walk] = np.uint64(moves[(states[walk] & mask) + column])
                for walk in range(WALKS):
                    numbers[n + walk] = np.int32(np.uint64(moves[states[walk] & mask]) + (states[walk] >> shift))
                n += WALKS
            n_visited = count_visits(trail, n, visits, visited, n_visited)
        forgot = True
        for walk in range(1, WALKS):
            forgot &= state_array[walk - 1] == began[walk]
        if forgot:
            state, at = state_array[WALKS - 1], start + WALKS * length
        else:
            for i in range(n_visited):
                visits[visited[i]] &= ~COUNT
            n_visited = np.int64(0)
    for first in range(at, end, TRAIL):
        n = np.int64(0)
        for i in range(first, min(first + TRAIL, end)):
            state = np.uint64(moves[(state & mask) + np.uint64(columns[bytes_[i]])])
            numbers[n] = np.int32(np.uint64(moves[state & mask]) + (state >> shift))
            n += 1
        n_visited = count_visits(trail, n, visits, visited, n_visited)
    return n_visited


@njit(cache=True, nogil=True)
def _take_features(
    visits: np.ndarray, visited: np.ndarray, n_visited: Int, slots: np.ndarray, touched: np.ndarray, counts: np.ndarray
) -> Int:
    """The features of the visited states into `touched`, and how often each came into `counts`; returns how many there are.
    Visits are 0 afterwards. `slots`, int32 zeros by feature, are left so."""
    n_touched = np.int64(0)
    shared = False
    for i in range(n_visited):
        number = visited[i]
        record = visits[number]
        feature, times = record >> 32, np.int32(record & COUNT)
        visits[number] = record & ~COUNT
        if feature < 0:  # Several states complete it.
            shared = True
            feature = -2 - feature
            if slots[feature]:
                counts[slots[feature] - 1] += times
                continue
            slots[feature] = np.int32(n_touched + 1)
        touched[n_touched] = np.int32(feature)
        counts[n_touched] = times
        n_touched += 1
    if shared:
        for i in range(n_touched):
            slots[touched[i]] = 0
    return n_touched


@njit(cache=True, nogil=True)
def _add_up(
    likelihoods: np.ndarray,
    width: Int,
    touched: np.ndarray,
    counts: np.ndarray,
    n_touched: Int,
    weights: np.ndarray,
    group: np.ndarray,
    totals: np.ndarray,
) -> Float:
    """Σ log(1 + count) · likelihoods into `totals` (float64[width]), and Σ log(1 + count): features in groups of equal counts
    (counting sort), those of large counts last, one by one, from the smallest count and feature on."""
    sizes = np.zeros(COMMON_COUNTS + 1, np.int64)
    for i in range(n_touched):
        sizes[min(counts[i], COMMON_COUNTS)] += 1
    place = np.int64(0)
    mass: Float = 0.0
    for count in range(1, COMMON_COUNTS + 1):
        size = sizes[count]
        if count < COMMON_COUNTS:
            mass += np.float64(size) * weights[count]
        sizes[count] = place
        place += size
    frequent = np.empty(n_touched - sizes[COMMON_COUNTS], np.int64)
    n_frequent = 0
    for i in range(n_touched):
        times = np.int64(counts[i])
        if times < COMMON_COUNTS:
            group[sizes[times]] = touched[i]
            sizes[times] += 1
        else:
            frequent[n_frequent] = times << 32 | np.int64(touched[i])
            n_frequent += 1
    totals[:] = 0.0
    sums = np.empty(width, np.int32)
    place = np.int64(0)
    for count in range(1, COMMON_COUNTS):
        if sizes[count] > place:
            _add_group(likelihoods, width, group, place, sizes[count], sums, totals, weights[count])
        place = sizes[count]
    if n_frequent > 1:
        frequent.sort()
    for packed in frequent:
        weight = _log_weight(packed >> 32)
        mass += weight
        base = (packed & 0xFFFFFFFF) * width
        for i in range(width):
            totals[i] += weight * np.float64(likelihoods[base + i])
    return mass


@njit(cache=True, nogil=True)
def _rank(
    t: Tables,
    totals: np.ndarray,
    size: Int,
    floor: Float,
    fits: np.ndarray,
    shares: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
) -> tuple[Int, Float]:
    """The best labels of a text of `size` bytes by its totals, which are scaled and given priors here; returns how many, and
    the sum of `shares` (float64 by label, as `fits`, each label's likelihood, is)."""
    n_classes = t.priors.size
    largest = -np.inf
    fits[:] = -np.inf
    for i in range(n_classes):
        totals[i] = totals[i] * t.unit
        fits[t.label_of[i]] = max(fits[t.label_of[i]], totals[i])
        totals[i] += t.priors[i]
        largest = max(largest, totals[i])
    temperature = np.sqrt(np.float64(size))
    shares[:] = 0.0
    total: Float = 0.0
    for i in range(n_classes):
        exponent = (totals[i] - largest) / temperature
        if exponent > LEAST_EXPONENT:
            share: Float = exp(exponent)
            shares[t.label_of[i]] += share
            total += share
    filled = 0
    top = labels.size
    for label in range(t.n_labels):
        share = np.float32(shares[label] / total)
        if share < floor or (filled == top and share <= scores[top - 1]):
            continue
        at = min(filled, top - 1)
        while at > 0 and share > scores[at - 1]:
            scores[at] = scores[at - 1]
            labels[at] = labels[at - 1]
            at -= 1
        scores[at] = share
        labels[at] = np.int32(label)
        filled = min(filled + 1, top)
    return filled, total


@njit(cache=True, nogil=True)
def _note_evidence(
    t: Tables,
    size: Int,
    totals: np.ndarray,
    mass: Float,
    counts: np.ndarray,
    n_touched: Int,
    fits: np.ndarray,
    shares: np.ndarray,
    total: Float,
    labels: np.ndarray,
    filled: Int,
    evidence: np.ndarray,
) -> None:
    """The evidence for each of a text's labels (see `LangidClassifier.examine`)."""
    n_classes = t.priors.size
    occurrences = np.int64(0)
    for i in range(n_touched):
        occurrences += counts[i]
    for i in range(filled):
        label = labels[i]
        rest = total - shares[label]
        logit = MAX_LOGIT if rest <= 0.0 else log(shares[label]) - log(rest)
        evidence[i, 0] = min(max(logit, -MAX_LOGIT), MAX_LOGIT)
        evidence[i, 1] = fits[label] / mass
        evidence[i, 2] = totals[n_classes] * t.unit / mass
        evidence[i, 3] = totals[n_classes + 1] * t.unit / mass
        evidence[i, 4] = log(np.float64(size))
        evidence[i, 5] = mass / size
        evidence[i, 6] = np.float64(n_touched) / np.float64(occurrences)
        evidence[i, 7] = np.float64(occurrences) / size


@njit(cache=True, nogil=True)
def _predict(
    t: Tables,
    data: np.ndarray,
    offsets: np.ndarray,
    skip: np.ndarray,
    floor: Float,
    weights: np.ndarray,
    coefficients: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    evidence: np.ndarray,
    sampled: np.ndarray,
) -> None:
    """Labels, scores and evidence (see `LangidClassifier.examine`) of the texts that are not to be skipped (uint8, 0), and
    whether the answer is a sample's (bool): with coefficients of a calibration, texts are read until it is certain."""
    n_features, width = t.likelihoods.shape
    flat = t.likelihoods.reshape(t.likelihoods.size)
    visits, steps = fresh_visits(t.features), np.empty(TRAIL, np.int32)
    visited = np.empty(t.features.size + 1, np.int32)
    slots = np.zeros(n_features, np.int32)
    touched, counts = np.empty(n_features, np.int32), np.empty(n_features, np.int32)
    group = np.empty(n_features, np.int32)
    totals = np.empty(width, np.float64)
    shares, fits = np.empty(t.n_labels, np.float64), np.empty(t.n_labels, np.float64)
    starts, trail = np.empty(WINDOWS, np.int64), np.empty(SAMPLE, np.int32)
    window_rows, sums = np.empty(WINDOW, np.int32), np.empty(width, np.int32)
    for row in range(offsets.size - 1):
        if skip[row]:
            continue
        start, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        sampled[row] = coefficients.size > 0 and end - start >= MIN_SIZE
        answered = False
        while not answered:
            labels[row, :] = np.int32(-1)
            scores[row, :] = np.float32(0.0)
            evidence[row, :, :] = 0.0
            size, windows = end - start, np.int64(0)
            if sampled[row]:
                size, windows = np.int64(SAMPLE), np.int64(draw(data, start, end, starts))
                walk(data, starts, t, trail)
                n_visited = count_visits(trail, SAMPLE, visits, visited, 0)
            else:
                n_visited = _walk(data, start, end, t, visits, visited, steps)
            n_touched = _take_features(visits, visited, n_visited, slots, touched, counts)
            if n_touched:
                mass = _add_up(flat, width, touched, counts, n_touched, weights, group, totals)
                filled, total = _rank(t, totals, size, floor, fits, shares, labels[row], scores[row])
                _note_evidence(
                    t, size, totals, mass, counts, n_touched, fits, shares, total, labels[row], filled, evidence[row]
                )
            answered = not sampled[row]
            if sampled[row]:
                answered = bool(
                    labels[row, 0] >= 0
                    and _calibrated(evidence[row, 0], coefficients) >= CERTAIN
                    and is_majority(votes_for(labels[row, 0], t, trail, window_rows, sums), windows)
                )
                sampled[row] = answered


@njit(cache=True, nogil=True)
def _calibrated(evidence: np.ndarray, coefficients: np.ndarray) -> Float:
    """1 / (1 + exp(-(intercept + Σ coefficient · evidence)))."""
    logit = coefficients[0]
    for k in range(evidence.size):
        logit += coefficients[k + 1] * evidence[k]
    return 1.0 / (1.0 + exp(-logit))


@njit(cache=True, nogil=True)
def _calibrate(labels: np.ndarray, evidence: np.ndarray, coefficients: np.ndarray, scores: np.ndarray) -> None:
    """Replaces a document's best score by the calibrated one, and the others in proportion."""
    for row in range(labels.shape[0]):
        if labels[row, 0] < 0:
            continue
        factor = _calibrated(evidence[row, 0], coefficients) / np.float64(scores[row, 0])
        for i in range(labels.shape[1]):
            scores[row, i] = np.float32(factor * np.float64(scores[row, i]))


@njit(cache=True, nogil=True)
def _log_weight(count: Int) -> np.float64:
    """log(1 + count) as the library has it, in float32."""
    return np.float64(np.float32(log(1.0 + np.float64(count))))


@njit(cache=True, nogil=True)
def _log_weights() -> np.ndarray:
    weights = np.zeros(COMMON_COUNTS, np.float64)
    for count in range(1, COMMON_COUNTS):
        weights[count] = _log_weight(count)
    return weights


class LangidClassifier:
    """A py3langid model made ready for inference.

    Attributes:
        labels: distinct names, by label number.
    """

    def __init__(self, model: LangidModel) -> None:
        self._prepare(lay_out(model))

    @classmethod
    def of(cls, path: Path) -> LangidClassifier:
        """The classifier of a model's file, whose tables are kept from one process to the next (see `table_cache`).

        Raises ConfigError as `langid_format.read_model` does.
        """
        made = cls.__new__(cls)
        made._prepare(kept_tables("langid", langid_tables.__file__, lambda: lay_out(read_model(path)), [path]))
        return made

    def _prepare(self, arrays: Mapping[str, np.ndarray]) -> None:
        fields: dict[str, Any] = {
            name: arrays[name] if arrays[name].ndim else arrays[name][()] for name in Tables._fields
        }
        self._tables = Tables(**fields)
        self.labels = tuple(arrays["labels"].tolist())
        self._weights = _log_weights()

    def predict(
        self,
        data: np.ndarray,
        offsets: np.ndarray,
        *,
        top: int = 1,
        floor: float = 0.0,
        coefficients: np.ndarray | None = None,
        sampled: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best labels of each document.

        Args:
            data: uint8, the texts' bytes; offsets: int64 of shape (documents + 1,), as `pipeline.document.text_buffers`
                gives them.
            top: how many labels at most; floor: labels of a smaller probability are left out.
            coefficients: float64, an intercept and one factor per EVIDENCE: the best score is then calibrated by them,
                and a document's other scores keep their proportion to it.
            sampled: bool by document, written: with it and `coefficients`, a text is read until its language is certain,
                and those are marked whose labels and scores are of a sample (see `stages.language.kernels.windows`).

        Returns (labels, scores): int32 and float32 of shape (documents, top), best first, −1 and 0 where there are
        fewer. Scores are the library's probabilities (`norm_probs=True`), or calibrated ones. A document without any
        feature has no label.
        """
        if coefficients is None:
            return self.examine(data, offsets, top=top, floor=floor)[:2]
        coefficients = np.ascontiguousarray(coefficients, np.float64)
        until = coefficients if sampled is not None else np.empty(0, np.float64)
        labels, scores, evidence, found = self._read(data, offsets, top, floor, until)
        _calibrate(labels, evidence, coefficients, scores)
        if sampled is not None:
            sampled[:] = found
        return labels, scores

    def examine(
        self, data: np.ndarray, offsets: np.ndarray, *, top: int = 1, floor: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `predict`, with the evidence for each answer: float64 of shape (documents, top, len(EVIDENCE)).

        Probabilities only compare the classes with each other, and one must win, also for text in none of the languages.
        Evidence of how well the winner fits by itself: `logit`, log p/(1 − p); `likelihood`, its mean log likelihood per
        feature, weighted as in the score; `best_likelihood` and `mean_likelihood`, the same for the best class of each
        feature, and for all classes on average; `log_bytes`, of the text as it is scored. And of how well it is made of what
        the model knows: `weight_per_byte`, Σ log(1 + count) over the features, by the text's bytes; `distinct_share`, how
        many features there are, of their occurrences; `features_per_byte`, these occurrences, by bytes.
        """
        return self._read(data, offsets, top, floor, np.empty(0, np.float64))[:3]

    def _read(
        self, data: np.ndarray, offsets: np.ndarray, top: int, floor: float, coefficients: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Labels, scores, evidence, and which documents were sampled (see `_predict`)."""
        if top < 1:
            raise ValueError(f"top must be at least 1, found {top}")
        rows = max(len(offsets) - 1, 0)
        top = min(top, len(self.labels))
        answers: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] = (
            np.empty((rows, top), np.int32),
            np.empty((rows, top), np.float32),
            np.empty((rows, top, len(EVIDENCE)), np.float64),
            np.zeros(rows, np.bool_),
        )
        if not rows:
            return answers
        kinds = np.empty(rows, np.uint8)
        check(data, offsets, forms().properties, kinds)
        _predict(self._tables, data, offsets, kinds, floor, self._weights, coefficients, *answers)
        for kind, prepare in ((COMPOSABLE, _composed), (CAPITALS, _lowered)):
            changed = np.flatnonzero(kinds == kind)
            if len(changed):
                texts, starts = prepare(data, offsets, changed)
                parts = tuple(answer[changed] for answer in answers)
                nothing = np.zeros(len(changed), np.uint8)
                _predict(self._tables, texts, starts, nothing, floor, self._weights, coefficients, *parts)
                for answer, part in zip(answers, parts, strict=True):
                    answer[changed] = part
        return answers


def _composed(data: np.ndarray, offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Texts in form NFC, with their offsets."""
    size = int((offsets[rows + 1] - offsets[rows]).sum())
    texts, starts = np.empty(MAX_GROWTH * size, np.uint8), np.empty(len(rows) + 1, np.int64)
    normalise(data, offsets, rows, forms(), texts, starts)
    return texts, starts


def _lowered(data: np.ndarray, offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Texts lowered if they are wholly in capitals, in form NFC, with their offsets. They are rare, and lowering a capital
    sigma depends on where it stands, so this is Python's."""
    texts = [data[offsets[row] : offsets[row + 1]].tobytes() for row in rows]
    lowered = [text.decode("utf-8", "surrogateescape") for text in texts]
    lowered = [text.lower() if text.isupper() else text for text in lowered]
    encoded = [text.encode("utf-8", "surrogateescape") for text in lowered]
    starts = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=starts[1:])
    return _composed(np.frombuffer(b"".join(encoded), np.uint8), starts, np.arange(len(rows)))
