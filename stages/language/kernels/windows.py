"""Windows of a text, drawn by its content, by which the language of most of it is certain or not.

A text of one language needs no reading to the end. WINDOWS of them are drawn without replacement, all sets of windows being
equally likely, by numbers that follow from the text alone; each names a language by itself. When so many name one that by
Hoeffding's inequality for sampling without replacement (Serfling, *Probability Inequalities for the Sum in Sampling without
Replacement*, Annals of Statistics 1974) more than half of all windows do, but for a chance of at most RISK, the sample
speaks for the text. Tests that stop while they read (Wald's) ask that n-grams be independent, and neighbours are not;
here only the draw of windows is random, so nothing is asked of the text.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gristmill.pipeline.exchange.hash_kernels import mix
from gristmill.stages.kernels.elementary import log
from gristmill.stages.kernels.pointers import load8_at, pointer
from gristmill.stages.kernels.row_sums import add_int16_rows
from gristmill.stages.kernels.scalars import Bool, Int
from gristmill.stages.language.kernels.langid_tables import COUNT, NO_FEATURE, Tables

WINDOW = 64
"""Bytes of a window."""
WINDOWS = 24
"""Windows in a sample."""
SAMPLE = WINDOWS * WINDOW
MIN_SIZE = 2 * SAMPLE + WINDOW
"""Bytes of a text from which on it is sampled: below, reading all costs little more."""
RISK = 1e-3
"""Greatest chance that a sample is taken whose language at most half of the text's windows name."""

_WARM_UP = 8
_WALKS = 8
_SILENT = -(1 << 62) + 1
_SEED_WORDS = 8
"""Words of eight bytes, evenly spaced, from which numbers are drawn."""


@njit(cache=True, nogil=True)
def draw(data: np.ndarray, start: Int, end: Int, starts: np.ndarray) -> Int:
    """Draws windows of data[start:end], at least MIN_SIZE bytes long, into `starts` (int64[WINDOWS]); returns of how many.
    The first window is none of them: it warms up the automaton for the second."""
    size = end - start
    windows = size // WINDOW - 1
    bytes_ = pointer(data)
    state = mix(np.uint64(size))
    for i in range(_SEED_WORDS):
        state = mix(state ^ load8_at(bytes_, start + (size - 8) * i // (_SEED_WORDS - 1)))
    for i in range(WINDOWS):  # Floyd's sampling: Bentley and Floyd, Communications of the ACM 30(9), 1987.
        last = np.int64(windows - WINDOWS + i)
        state = mix(state)
        pick = np.int64(((state >> np.uint64(32)) * np.uint64(last + 1)) >> np.uint64(32))
        for k in range(i):
            if starts[k] == pick:
                pick = last
                break
        starts[i] = pick
    for i in range(WINDOWS):
        starts[i] = start + (starts[i] + 1) * WINDOW
    return windows


@njit(cache=True, nogil=True)
def walk(data: np.ndarray, starts: np.ndarray, t: Tables, trail: np.ndarray) -> None:
    """The numbers of the states after each byte of the windows at `starts` into `trail` (int32[SAMPLE]), window by window."""
    state_array = np.empty(_WALKS, np.uint64)
    bytes_, columns, moves = pointer(data), pointer(t.columns), pointer(t.moves)
    states, begins, numbers = pointer(state_array), pointer(starts), pointer(trail)
    shift, mask = t.rank_shift, (np.uint64(1) << t.rank_shift) - np.uint64(1)
    for first in range(0, WINDOWS, _WALKS):
        state_array[:] = t.start
        for i in range(-_WARM_UP, WINDOW):
            for k in range(_WALKS):
                column = np.uint64(columns[bytes_[begins[first + k] + i]])
                states[k] = np.uint64(moves[(states[k] & mask) + column])
            if i >= 0:
                for k in range(_WALKS):
                    number = np.uint64(moves[states[k] & mask]) + (states[k] >> shift)
                    numbers[(first + k) * WINDOW + i] = np.int32(number)


@njit(cache=True, nogil=True)
def fresh_visits(features: np.ndarray) -> np.ndarray:
    """int64 by state: no visit yet in the lower half, beside it the feature that the state completes, as in Tables. A state
    without one counts as visited, so that it is never noted, from so far below 0 that its visits never make a feature."""
    visits = np.empty(features.size, np.int64)
    for number in range(features.size):
        feature = np.int64(features[number])
        visits[number] = _SILENT if feature == NO_FEATURE else feature << 32
    return visits


@njit(cache=True, nogil=True)
def count_visits(trail: np.ndarray, size: Int, visits: np.ndarray, visited: np.ndarray, n_visited: Int) -> Int:
    """Counts the visits of the first `size` states of `trail` in `visits`, and notes those with a feature that were not
    visited before in `visited` from `n_visited` on; returns how many are there now."""
    numbers, records, noted = pointer(trail), pointer(visits), pointer(visited)
    for i in range(size):
        number = numbers[i]
        seen = records[number]
        records[number] = seen + 1
        noted[n_visited] = number
        n_visited += np.int64(seen & COUNT == 0)
    return n_visited


@njit(cache=True, nogil=True)
def votes_for(label: Int, t: Tables, trail: np.ndarray, rows: np.ndarray, sums: np.ndarray) -> Int:
    """How many windows name a label: the class of the largest sum of likelihoods over a window's n-grams has it.

    `rows` (int32[WINDOW]) and `sums` (int32, as wide as a row of likelihoods) are written to.
    """
    width = t.likelihoods.shape[1]
    flat = t.likelihoods.reshape(t.likelihoods.size)
    votes = 0
    for window in range(WINDOWS):
        n_rows = 0
        for i in range(window * WINDOW, (window + 1) * WINDOW):
            feature = t.features[trail[i]]
            rows[n_rows] = feature if feature >= 0 else -2 - feature
            n_rows += feature != NO_FEATURE
        sums[:] = 0
        add_int16_rows(flat, width, rows, 0, n_rows, sums)
        best = 0
        for i in range(1, t.priors.size):
            if sums[i] > sums[best]:
                best = i
        votes += n_rows > 0 and t.label_of[best] == label
    return votes


@njit(cache=True, nogil=True)
def is_majority(votes: Int, windows: Int) -> Bool:
    """Whether so many votes of WINDOWS drawn from `windows` say, at RISK, that more than half of all would be the same."""
    share = np.float64(votes) / WINDOWS - 0.5
    unseen = 1.0 - np.float64(WINDOWS - 1) / np.float64(windows)
    return share > 0.0 and share * share * (2.0 * WINDOWS) > unseen * -log(RISK)
