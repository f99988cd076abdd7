"""A py3langid model laid out for the kernel that reads texts with it.

An automaton's next state waits for the memory of the last, and a model's transitions do not fit the caches near a core, so
what one step needs lies close together. Rows of transitions have no column for bytes that move every state alike, which
leaves some 200 of 256; the bytes that end the most frequent n-grams have the first columns, so that most steps in a row
stay on its first cache line, and so does the number of the row's first state. Rows are an odd number of cache lines
apart, since at a power of two all first lines would compete for the same few places of a cache.

Likelihoods are int16 multiples of a power of two; py3langid's own are exact in this form.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gristmill.stages.kernels.row_sums import LANES
from gristmill.stages.language.langid_format import LangidModel

LIKELIHOOD_BITS = 15
LINE = 16
"""Numbers of 32 bits in a cache line."""
NO_FEATURE = -1
COUNT = 0xFFFFFFFF
"""The bits of a state's record that count its visits; above them stands its feature, as in Tables."""
_SHARED = -2


class Tables(NamedTuple):
    """A model in the form that kernels read.

    Fields: `columns` (uint16): by byte, its column. `moves` (uint32 or uint64), flat: rows of next states by column, and in
    column 0 the number of the row's state of rank 0. A state is where its row begins and, from bit `rank_shift` on, its
    rank among the states that share the row. `start`: the first state. `features` (int32): by a state's number the feature
    that it completes, NO_FEATURE, or −2 − feature where several states complete it. `likelihoods` (int16, features ×
    classes padded to LANES; the two columns after the classes are each feature's best and mean) in multiples of `unit`;
    `priors` (float64) and `label_of` (int32) by class; `n_labels`.
    """

    columns: np.ndarray
    moves: np.ndarray
    rank_shift: np.uint64
    start: np.uint64
    features: np.ndarray
    likelihoods: np.ndarray
    unit: float
    priors: np.ndarray
    label_of: np.ndarray
    n_labels: int


def lay_out(model: LangidModel) -> dict[str, np.ndarray]:
    """The fields of Tables, numbers without dimensions, and the distinct `labels`. Where the arrays begin with a cache
    line, as those of `pipeline.table_cache` do, so does every row of `moves`."""
    labels = tuple(dict.fromkeys(model.classes))
    index = {label: number for number, label in enumerate(labels)}
    likelihoods, unit = _whole_likelihoods(model.likelihoods)
    order = np.argsort(model.state_rows, kind="stable")  # States by row: their numbers here.
    firsts = np.searchsorted(model.state_rows[order], np.arange(len(model.transitions)))
    number_of = np.empty(len(order), np.int64)
    number_of[order] = np.arange(len(order))
    ranks = number_of - firsts[model.state_rows]
    columns, distinct = _columns(model)
    # The tables' rows, an odd number of cache lines apart.
    lines = -(-(len(distinct) + 1) // LINE)
    stride = LINE * (lines + (lines + 1) % 2)
    shift = max(len(model.transitions) * stride - 1, 1).bit_length()
    states = ranks.astype(np.uint64) << np.uint64(shift) | model.state_rows.astype(np.uint64) * np.uint64(stride)
    narrow = shift + int(ranks.max()).bit_length() <= 32 and len(order) < 1 << 32
    kind = np.uint32 if narrow else np.uint64
    moves = np.zeros((len(model.transitions), stride), kind)
    moves[:, 0] = firsts
    moves[:, 1 : len(distinct) + 1] = states.astype(kind)[model.transitions[:, distinct]]
    return {
        "columns": columns,
        "moves": moves.reshape(-1),
        "rank_shift": np.array(shift, np.uint64),
        "start": np.array(states[0], np.uint64),
        "features": _features(model.state_features[order], len(likelihoods)),
        "likelihoods": likelihoods,
        "unit": np.array(unit, np.float64),
        "priors": model.priors.astype(np.float64),
        "label_of": np.array([index[name] for name in model.classes], np.int32),
        "n_labels": np.array(len(labels), np.int64),
        "labels": np.array(labels),
    }


def _whole_likelihoods(likelihoods: np.ndarray) -> tuple[np.ndarray, float]:
    """(int16 multiples with the best and the mean of each feature after its classes, the unit)."""
    classes = likelihoods.shape[1]
    largest = float(np.abs(likelihoods).max())
    unit = 2.0 ** (np.ceil(np.log2(max(largest, 2.0**-20))) - LIKELIHOOD_BITS)
    table = np.zeros((len(likelihoods), -(-(classes + 2) // LANES) * LANES), np.int16)
    whole = np.clip(np.rint(likelihoods / unit), -32767, 32767)
    table[:, :classes] = whole
    table[:, classes] = whole.max(axis=1)
    table[:, classes + 1] = np.rint(whole.mean(axis=1, dtype=np.float64))
    return table, float(unit)


def _columns(model: LangidModel) -> tuple[np.ndarray, np.ndarray]:
    """(the column of each byte, from 1 on; for each of these columns one byte that has it): bytes that move every state
    alike share one, and the first are of bytes at the end of the likeliest n-grams."""
    by_byte = np.ascontiguousarray(model.transitions.T)
    known: dict[bytes, int] = {}
    kinds = np.array([known.setdefault(row.tobytes(), len(known)) for row in by_byte])
    examples = np.array([int(np.argmax(kinds == kind)) for kind in range(len(known))])
    likely = np.exp(model.likelihoods.max(axis=1).astype(np.float64))
    reached = np.where(model.state_features >= 0, likely[np.maximum(model.state_features, 0)], 0.0)
    weights = np.array([reached[np.unique(by_byte[byte])].sum() for byte in examples])
    order = np.argsort(-weights, kind="stable")
    place = np.empty(len(order), np.uint16)
    place[order] = np.arange(1, len(order) + 1)
    return place[kinds], examples[order]


def _features(features: np.ndarray, n_features: int) -> np.ndarray:
    states = np.bincount(features[features >= 0], minlength=n_features)
    shared = (features >= 0) & (states[np.maximum(features, 0)] > 1)
    return np.where(shared, _SHARED - features, features).astype(np.int32)
