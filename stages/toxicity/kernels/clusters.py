"""Clusters of near-duplicates among short texts: MinHash signatures of their features, bands, and unions of what meets."""

from __future__ import annotations

import numpy as np
from numba import njit

from gristmill.stages.kernels.scalars import Int

BANDS = 6
ROWS = 6
"""Two texts meet in a band with probability J^ROWS, J being the Jaccard similarity of their features: texts with J = 0.7
meet in one case of two, with 0.8 in 84 of 100, with 0.9 in 99."""
_P = np.uint64(0x9E3779B97F4A7C15)
_M = np.uint64(0xBF58476D1CE4E5B9)
_STEP = np.uint64(0x632BE59BD9B4E019)


@njit(cache=True, nogil=True)
def signatures(features: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """uint64[windows, BANDS · ROWS]: the lowest hash of each window's features under each of as many functions."""
    count = BANDS * ROWS
    out = np.full((len(starts) - 1, count), np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64)
    for window in range(len(starts) - 1):
        for k in range(starts[window], starts[window + 1]):
            for function in range(count):
                z = (np.uint64(features[k]) + np.uint64(function + 1) * _STEP) * _P
                z = (z ^ (z >> np.uint64(31))) * _M
                z ^= z >> np.uint64(29)
                if z < out[window, function]:
                    out[window, function] = z
    return out


@njit(cache=True, nogil=True)
def _root(parent: np.ndarray, at: Int) -> Int:
    while parent[at] != at:
        parent[at] = parent[parent[at]]
        at = parent[at]
    return at


@njit(cache=True, nogil=True)
def _unite(order: np.ndarray, keys: np.ndarray, owner: np.ndarray, parent: np.ndarray) -> None:
    """Unite the owners of windows that are neighbours in `order` and have equal keys; a cluster's root is its lowest."""
    for k in range(1, len(order)):
        if keys[order[k - 1]] == keys[order[k]]:
            first = _root(parent, owner[order[k - 1]])
            second = _root(parent, owner[order[k]])
            parent[max(first, second)] = min(first, second)


def cluster(features: np.ndarray, starts: np.ndarray, owner: np.ndarray, texts: int) -> np.ndarray:
    """int64[texts]: the lowest text of each text's cluster.

    Args:
        features, starts, owner: windows of the texts, as `kernels.scoring.window_features` gives them.
    """
    minima = signatures(features, starts)
    parent = np.arange(texts)
    for band in range(BANDS):
        keys = np.zeros(len(minima), np.uint64)
        for row in range(ROWS):
            keys = (keys ^ minima[:, band * ROWS + row]) * _P
            keys ^= keys >> np.uint64(29)
        _unite(np.argsort(keys, kind="stable"), keys, owner, parent)
    return np.array([_root(parent, at) for at in range(texts)], np.int64)
