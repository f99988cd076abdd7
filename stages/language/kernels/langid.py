"""Inference with py3langid's models over Arrow text buffers: the library's labels, compiled.

A finite automaton reads the text's bytes and names the n-gram feature, if any, that ends at each. The score of a class
is its log prior plus Σ log(1 + count) · log likelihood over the features; probabilities are the softmax of scores divided
by √bytes, which is what the library does to keep them calibrated across lengths, and labels that name several classes
get their sum. Before that a text wholly in capitals is lowered, and all text is brought to Unicode's form NFC.

Likelihoods are kept as int16 multiples of a power of two. Features with the same count are added as integers before their
sum is multiplied, so that the result depends on no order, and few roundings are left; py3langid's own likelihoods are
exact in this form.

Source: https://github.com/adbar/py3langid, `py3langid/langid.py`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from gristmill.pipeline.table_cache import kept_tables
from gristmill.stages.kernels.elementary import exp, log
from gristmill.stages.kernels.row_sums import LANES, add_int16_rows
from gristmill.stages.kernels.scalars import Float, Int
from gristmill.stages.kernels.unicode import SIZE, decode
from gristmill.stages.language.langid_format import LangidModel, read_model

LIKELIHOOD_BITS = 15
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
"""What is known of an answer, each a float64 (see `LangidClassifier.predict`)."""
MAX_LOGIT = 12.0
"""Bound of the evidence `logit`: beyond it probabilities are rounding."""
COMMON_COUNTS = 64
"""Features with a smaller count are grouped by it; rarer ones are multiplied one by one."""
WARM_UP = 16
"""Bytes after which the automaton should have forgotten the state that it started in; n-grams are shorter."""
MIN_WALK = 32
"""Bytes of a quarter of a text from which on quarters are walked through in turns."""
MAX_GROUP = 1 << 16
"""Rows of int16 that fit into an int32 sum."""

NOT_NORMAL, UPPER, LOWER = 1, 2, 4
"""Bits of a character's flags: NFC may change it (NFC_Quick_Check is No or Maybe); upper case; lower or title case."""


class Tables(NamedTuple):
    """A model in the form that kernels read.

    Fields: `moves`, rows of 256 next states by byte, flat, uint32 or uint64: a state is its row and, in the lower
    `rank_bits` bits, its rank among the states that share the row, so that the next look-up needs nothing but the last.
    `start`: the first state. `first_numbers` (int64): by row, the number of its state of rank 0; `features` (int32): by
    that number the feature that the state completes, or −1. `likelihoods` (int16, features × classes padded to LANES) in
    multiples of `unit`; `priors` (float64) and `label_of` (int32) by class; `n_labels`.
    """

    moves: np.ndarray
    rank_bits: np.uint64
    start: np.uint64
    first_numbers: np.ndarray
    features: np.ndarray
    likelihoods: np.ndarray
    unit: float
    priors: np.ndarray
    label_of: np.ndarray
    n_labels: int


@cache
def _characters() -> tuple[np.ndarray, np.ndarray]:
    """(flags, combining class), uint8 by code point, of what Unicode says about normal forms and case."""
    flags, combining = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    # Beyond these ranges no character is assigned but private ones, which have neither case nor decomposition.
    for code in (*range(0xD800), *range(0xF900, 0x33480), *range(0xE0000, 0xE01F0)):
        char = chr(code)
        combining[code] = unicodedata.combining(char)
        if char.isupper():
            flags[code] |= UPPER
        elif char.islower() or char.istitle():
            flags[code] |= LOWER
        parts = unicodedata.decomposition(char)
        if parts and not parts.startswith("<"):
            codes = [int(part, 16) for part in parts.split()]
            if unicodedata.normalize("NFC", char) != char:
                flags[code] |= NOT_NORMAL
            elif len(codes) == 2:
                flags[codes[1]] |= NOT_NORMAL
    for first, last in ((0x1161, 0x1175), (0x11A8, 0x11C2)):  # Hangul vowels and finals join what precedes them.
        flags[first : last + 1] |= NOT_NORMAL
    flags.setflags(write=False)
    combining.setflags(write=False)
    return flags, combining


@njit(cache=True, nogil=True)
def _find_unprepared(
    data: np.ndarray, offsets: np.ndarray, flags: np.ndarray, combining: np.ndarray, found: np.ndarray
) -> None:
    """Marks (bool) the documents that may have to be lowered or normalised: no lower but some upper case, or a
    character or an order of marks that NFC may change (Unicode Standard Annex 15, quick check)."""
    for row in range(offsets.size - 1):
        at, end = offsets[row], offsets[row + 1]
        has_lower = has_upper = changes = False
        last = np.uint8(0)
        while at < end and not changes:
            byte = data[at]
            if byte < 128:
                has_lower |= 97 <= byte <= 122
                has_upper |= 65 <= byte <= 90
                last = np.uint8(0)
                at += 1
            else:
                code, at = decode(data, at, end)
                flag = flags[code]
                mark = combining[code]
                has_upper |= flag & UPPER != 0
                has_lower |= flag & LOWER != 0
                changes |= flag & NOT_NORMAL != 0 or (mark != 0 and mark < last)
                last = mark
        found[row] = changes or (has_upper and not has_lower)


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


@njit(cache=True, nogil=True, inline="always")
def _count(
    state: np.uint64,
    rank_bits: np.uint64,
    first_numbers: np.ndarray,
    visits: np.ndarray,
    visited: np.ndarray,
    n_visited: Int,
) -> Int:
    """Counts a visit; a state's first is noted in `visited`. Returns how many are noted."""
    rank = state & ((np.uint64(1) << rank_bits) - np.uint64(1))
    number = np.uint64(first_numbers[state >> rank_bits]) + rank
    seen = visits[number]
    visits[number] = seen + np.int32(1)
    visited[np.uint64(n_visited)] = np.int32(number)
    return n_visited + np.int64(seen == 0)


@njit(cache=True, nogil=True)
def _walk(
    data: np.ndarray,
    start: Int,
    end: Int,
    moves: np.ndarray,
    rank_bits: np.uint64,
    root: np.uint64,
    first_numbers: np.ndarray,
    visits: np.ndarray,
    visited: np.ndarray,
) -> Int:
    """Runs the automaton over data[start:end] and counts the visits of each state; returns how many were visited.

    Each step waits for the memory of the last, so four walks take turns: three start in the middle of the text, a few
    bytes early, with the first state. An automaton that looks for n-grams has forgotten by then where it started. That
    is not taken on trust: when a walk ends in another state than the next began with, all is counted anew in one walk.
    """
    eight = np.uint64(8)
    n_visited: Int = np.int64(0)
    quarter = (end - start) // 4
    if quarter >= MIN_WALK:
        b0, b1, b2, b3 = start, start + quarter, start + 2 * quarter, start + 3 * quarter
        s0, s1, s2, s3 = root, root, root, root
        for i in range(-WARM_UP, 0):
            s1 = np.uint64(moves[((s1 >> rank_bits) << eight) | np.uint64(data[b1 + i])])
            s2 = np.uint64(moves[((s2 >> rank_bits) << eight) | np.uint64(data[b2 + i])])
            s3 = np.uint64(moves[((s3 >> rank_bits) << eight) | np.uint64(data[b3 + i])])
        began1, began2, began3 = s1, s2, s3
        for i in range(quarter):
            s0 = np.uint64(moves[((s0 >> rank_bits) << eight) | np.uint64(data[b0 + i])])
            s1 = np.uint64(moves[((s1 >> rank_bits) << eight) | np.uint64(data[b1 + i])])
            s2 = np.uint64(moves[((s2 >> rank_bits) << eight) | np.uint64(data[b2 + i])])
            s3 = np.uint64(moves[((s3 >> rank_bits) << eight) | np.uint64(data[b3 + i])])
            n_visited = _count(s0, rank_bits, first_numbers, visits, visited, n_visited)
            n_visited = _count(s1, rank_bits, first_numbers, visits, visited, n_visited)
            n_visited = _count(s2, rank_bits, first_numbers, visits, visited, n_visited)
            n_visited = _count(s3, rank_bits, first_numbers, visits, visited, n_visited)
        if s0 == began1 and s1 == began2 and s2 == began3:
            for at in range(b3 + quarter, end):
                s3 = np.uint64(moves[((s3 >> rank_bits) << eight) | np.uint64(data[at])])
                n_visited = _count(s3, rank_bits, first_numbers, visits, visited, n_visited)
            return n_visited
        for i in range(n_visited):
            visits[visited[i]] = 0
        n_visited = np.int64(0)
    state = root
    for at in range(start, end):
        state = np.uint64(moves[((state >> rank_bits) << eight) | np.uint64(data[at])])
        n_visited = _count(state, rank_bits, first_numbers, visits, visited, n_visited)
    return n_visited


@njit(cache=True, nogil=True)
def _predict(
    t: Tables,
    data: np.ndarray,
    offsets: np.ndarray,
    skip: np.ndarray,
    floor: Float,
    weights: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    evidence: np.ndarray,
) -> None:
    moves, first_numbers, features = t.moves, t.first_numbers, t.features
    rank_bits = t.rank_bits
    likelihoods = t.likelihoods
    n_classes = t.priors.size
    width = likelihoods.shape[1]
    flat = likelihoods.reshape(likelihoods.size)
    visits = np.zeros(features.size, np.int32)
    visited = np.empty(features.size + 1, np.int32)
    counts = np.zeros(likelihoods.shape[0], np.int32)
    touched = np.empty(likelihoods.shape[0] + 1, np.int32)
    group = np.empty(likelihoods.shape[0], np.int32)
    sizes = np.zeros(COMMON_COUNTS + 1, np.int64)
    sums = np.empty(width, np.int32)
    totals = np.empty(width, np.float64)
    shares = np.empty(t.n_labels, np.float64)
    fits = np.empty(t.n_labels, np.float64)
    top = labels.shape[1]
    for row in range(offsets.size - 1):
        if skip[row]:
            continue
        labels[row, :] = np.int32(-1)
        scores[row, :] = np.float32(0.0)
        evidence[row, :, :] = 0.0
        n_visited = _walk(
            data, offsets[row], offsets[row + 1], moves, rank_bits, t.start, first_numbers, visits, visited
        )
        n_touched = np.int64(0)
        for i in range(n_visited):
            number = np.int64(visited[i])
            feature = np.int64(features[number])
            if feature >= 0:  # Several states may complete the same feature.
                if counts[feature] == 0:
                    touched[n_touched] = np.int32(feature)
                    n_touched += 1
                counts[feature] += visits[number]
            visits[number] = 0
        if n_touched == 0:
            continue
        # Features in groups of equal counts (counting sort), those of large counts last and one by one.
        sizes[:] = 0
        for i in range(n_touched):
            sizes[min(counts[touched[i]], COMMON_COUNTS)] += 1
        place = np.int64(0)
        for count in range(1, COMMON_COUNTS + 1):
            size = sizes[count]
            sizes[count] = place
            place += size
        for i in range(n_touched):
            count = min(counts[touched[i]], COMMON_COUNTS)
            group[sizes[count]] = touched[i]
            sizes[count] += 1
        totals[:] = 0.0
        place = np.int64(0)
        for count in range(1, COMMON_COUNTS):
            if sizes[count] > place:
                _add_group(flat, width, group, place, sizes[count], sums, totals, weights[count])
            place = sizes[count]
        for n in range(place, n_touched):
            weight = _log_weight(counts[group[n]])
            base = np.int64(group[n]) * width
            for i in range(width):
                totals[i] += weight * np.float64(flat[base + i])
        mass = 0.0
        occurrences = np.int64(0)
        for i in range(n_touched):
            count = counts[touched[i]]
            occurrences += count
            mass += weights[count] if count < COMMON_COUNTS else _log_weight(count)
            counts[touched[i]] = 0

        largest = -np.inf
        fits[:] = -np.inf
        for i in range(n_classes):
            totals[i] = totals[i] * t.unit
            fits[t.label_of[i]] = max(fits[t.label_of[i]], totals[i])
            totals[i] += t.priors[i]
            largest = max(largest, totals[i])
        temperature = np.sqrt(np.float64(offsets[row + 1] - offsets[row]))
        shares[:] = 0.0
        total: Float = 0.0
        for i in range(n_classes):
            share: Float = exp((totals[i] - largest) / temperature)
            shares[t.label_of[i]] += share
            total += share
        filled = 0
        for label in range(t.n_labels):
            share = np.float32(shares[label] / total)
            if share < floor or (filled == top and share <= scores[row, top - 1]):
                continue
            at = min(filled, top - 1)
            while at > 0 and share > scores[row, at - 1]:
                scores[row, at] = scores[row, at - 1]
                labels[row, at] = labels[row, at - 1]
                at -= 1
            scores[row, at] = share
            labels[row, at] = np.int32(label)
            filled = min(filled + 1, top)
        size = np.float64(offsets[row + 1] - offsets[row])
        for i in range(filled):
            label = labels[row, i]
            rest = total - shares[label]
            logit = MAX_LOGIT if rest <= 0.0 else log(shares[label]) - log(rest)
            evidence[row, i, 0] = min(max(logit, -MAX_LOGIT), MAX_LOGIT)
            evidence[row, i, 1] = fits[label] / mass
            evidence[row, i, 2] = totals[n_classes] * t.unit / mass
            evidence[row, i, 3] = totals[n_classes + 1] * t.unit / mass
            evidence[row, i, 4] = log(size)
            evidence[row, i, 5] = mass / size
            evidence[row, i, 6] = np.float64(n_touched) / np.float64(occurrences)
            evidence[row, i, 7] = np.float64(occurrences) / size


@njit(cache=True, nogil=True)
def _calibrate(labels: np.ndarray, evidence: np.ndarray, coefficients: np.ndarray, scores: np.ndarray) -> None:
    """Replaces a document's best score by 1 / (1 + exp(-(intercept + Σ coefficient · evidence))), and the others in
    proportion."""
    for row in range(labels.shape[0]):
        if labels[row, 0] < 0:
            continue
        logit = coefficients[0]
        for k in range(evidence.shape[2]):
            logit += coefficients[k + 1] * evidence[row, 0, k]
        factor = 1.0 / (1.0 + exp(-logit)) / np.float64(scores[row, 0])
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


def _arrays(model: LangidModel) -> dict[str, np.ndarray]:
    """The fields of Tables, numbers without dimensions, `labels`, and `weights` of small counts."""
    labels = tuple(dict.fromkeys(model.classes))
    index = {label: number for number, label in enumerate(labels)}
    largest = float(np.abs(model.likelihoods).max())
    unit = 2.0 ** (np.ceil(np.log2(max(largest, 2.0**-20))) - LIKELIHOOD_BITS)
    # Two columns more than classes, which padding mostly has room for: of each feature the best and the mean class.
    width = -(-(len(model.classes) + 2) // LANES) * LANES
    likelihoods = np.zeros((len(model.likelihoods), width), np.int16)
    whole = np.clip(np.rint(model.likelihoods / unit), -32767, 32767)
    likelihoods[:, : len(model.classes)] = whole
    likelihoods[:, len(model.classes)] = whole.max(axis=1)
    likelihoods[:, len(model.classes) + 1] = np.rint(whole.mean(axis=1, dtype=np.float64))
    rows = len(model.transitions)
    order = np.argsort(model.state_rows, kind="stable")  # States by row: their numbers here.
    first_numbers = np.searchsorted(model.state_rows[order], np.arange(rows)).astype(np.int64)
    number_of = np.empty(len(order), np.int64)
    number_of[order] = np.arange(len(order))
    ranks = number_of - first_numbers[model.state_rows]
    rank_bits = int(ranks.max()).bit_length()
    wide = rank_bits + (rows - 1).bit_length() > 32
    packed = (model.state_rows.astype(np.uint64) << np.uint64(rank_bits)) | ranks.astype(np.uint64)
    packed = packed.astype(np.uint64 if wide else np.uint32)
    return {
        "moves": packed[model.transitions.reshape(-1)],
        "rank_bits": np.array(rank_bits, np.uint64),
        "start": np.array(packed[0], np.uint64),
        "first_numbers": first_numbers,
        "features": model.state_features[order],
        "likelihoods": likelihoods,
        "unit": np.array(unit, np.float64),
        "priors": model.priors.astype(np.float64),
        "label_of": np.array([index[name] for name in model.classes], np.int32),
        "n_labels": np.array(len(labels), np.int64),
        "labels": np.array(labels),
        "weights": _log_weights(),
    }


class LangidClassifier:
    """A py3langid model made ready for inference.

    Attributes:
        labels: distinct names, by label number.
    """

    def __init__(self, model: LangidModel) -> None:
        self._prepare(_arrays(model))

    @classmethod
    def of(cls, path: Path) -> LangidClassifier:
        """The classifier of a model's file, whose tables are kept from one process to the next (see `table_cache`).

        Raises ConfigError as `langid_format.read_model` does.
        """
        made = cls.__new__(cls)
        made._prepare(kept_tables("langid", __file__, lambda: _arrays(read_model(path)), path))
        return made

    def _prepare(self, arrays: Mapping[str, np.ndarray]) -> None:
        fields: dict[str, Any] = {
            name: arrays[name] if arrays[name].ndim else arrays[name][()] for name in Tables._fields
        }
        self._tables = Tables(**fields)
        self.labels = tuple(arrays["labels"].tolist())
        self._weights = arrays["weights"]

    def predict(
        self,
        data: np.ndarray,
        offsets: np.ndarray,
        *,
        top: int = 1,
        floor: float = 0.0,
        coefficients: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best labels of each document.

        Args:
            data: uint8, the texts' bytes; offsets: int64 of shape (documents + 1,), as `pipeline.document.text_buffers`
                gives them.
            top: how many labels at most; floor: labels of a smaller probability are left out.
            coefficients: float64, an intercept and one factor per EVIDENCE: the best score is then calibrated by them,
                and a document's other scores keep their proportion to it.

        Returns (labels, scores): int32 and float32 of shape (documents, top), best first, −1 and 0 where there are
        fewer. Scores are the library's probabilities (`norm_probs=True`), or calibrated ones. A document without any
        feature has no label.
        """
        labels, scores, evidence = self.examine(data, offsets, top=top, floor=floor)
        if coefficients is not None:
            _calibrate(labels, evidence, np.ascontiguousarray(coefficients, np.float64), scores)
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
        if top < 1:
            raise ValueError(f"top must be at least 1, found {top}")
        rows = max(len(offsets) - 1, 0)
        top = min(top, len(self.labels))
        labels = np.empty((rows, top), np.int32)
        scores = np.empty((rows, top), np.float32)
        evidence = np.empty((rows, top, len(EVIDENCE)), np.float64)
        if not rows:
            return labels, scores, evidence
        unprepared = np.empty(rows, np.bool_)
        _find_unprepared(data, offsets, *_characters(), unprepared)
        _predict(self._tables, data, offsets, unprepared, floor, self._weights, labels, scores, evidence)
        changed = np.flatnonzero(unprepared)
        if len(changed):
            texts = [_prepared(data[offsets[row] : offsets[row + 1]].tobytes()) for row in changed]
            starts = np.zeros(len(texts) + 1, np.int64)
            np.cumsum([len(text) for text in texts], out=starts[1:])
            joined = np.frombuffer(b"".join(texts), np.uint8)
            parts = labels[: len(texts)].copy(), scores[: len(texts)].copy(), evidence[: len(texts)].copy()
            _predict(self._tables, joined, starts, np.zeros(len(texts), np.bool_), floor, self._weights, *parts)
            labels[changed], scores[changed], evidence[changed] = parts
        return labels, scores, evidence


def _prepared(text: bytes) -> bytes:
    """A text lowered if it is wholly in capitals, in form NFC; bytes that are no UTF-8 are left as they are."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        return text
    if decoded.isupper():
        decoded = decoded.lower()
    return unicodedata.normalize("NFC", decoded).encode("utf-8")
