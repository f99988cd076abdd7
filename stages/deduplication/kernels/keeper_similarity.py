"""How similar documents are to the keepers of their clusters: kernels over sketches and over sets of shingles."""

from __future__ import annotations

import numpy as np
from numba import njit

from gristmill.stages.deduplication.kernels.shingles import jaccard
from gristmill.stages.deduplication.kernels.signatures import SKETCH_BITS, equal_lanes

_CHANCE = 2.0**-SKETCH_BITS


@njit(cache=True, nogil=True)
def sketch_similarities(sketches: np.ndarray, rows: np.ndarray, others: np.ndarray, lanes: int) -> np.ndarray:
    """The Jaccard similarity that the sketches (uint64, a row each) of rows[i] and others[i] let expect: float64, 0 to 1.

    Lanes that differ have equal bits with probability c, so the estimate from e equal lanes of L is (e/L - c) / (1 - c).
    """
    found = np.empty(rows.shape[0], np.float64)
    for i in range(rows.shape[0]):
        equal = equal_lanes(sketches, rows[i], sketches, others[i], lanes)
        found[i] = max(0.0, (equal / lanes - _CHANCE) / (1.0 - _CHANCE))
    return found


@njit(cache=True, nogil=True)
def set_similarities(
    entries: np.ndarray, starts: np.ndarray, rows: np.ndarray, others: np.ndarray, places: int
) -> tuple[np.ndarray, np.ndarray]:
    """(similarity, whether it is an estimate) of the sets of rows[i] and others[i]: float64 and bool. Sets are as
    `shingle_sets` writes them, row r from entries[starts[r]] on; an estimate where one was cut off at `places`."""
    found = np.empty(rows.shape[0], np.float64)
    estimated = np.empty(rows.shape[0], np.bool_)
    for i in range(rows.shape[0]):
        a, b = starts[rows[i]], starts[others[i]]
        found[i] = jaccard(entries, a, entries, b, places)
        estimated[i] = entries[a] > places or entries[b] > places
    return found, estimated
