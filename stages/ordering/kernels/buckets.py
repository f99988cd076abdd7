"""Finds, for each row, the range between splitters that it falls into."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit


class Places(NamedTuple):
    """Places in an order: compared by `first`, then `second`, then the doc_key.

    Attributes:
        first, second: uint64.
        words: uint64 of shape (rows, 2), as `pipeline.document.key_words` gives them.
    """

    first: np.ndarray
    second: np.ndarray
    words: np.ndarray


@njit(cache=True, nogil=True)
def find_buckets(rows: Places, splitters: Places, starts: np.ndarray, stops: np.ndarray, out: np.ndarray) -> None:
    """How many splitters lie at or before each row.

    Args:
        rows: what is looked up.
        splitters: ascending within each group.
        starts, stops: int64, one per row: the splitters of the row's group; all before `starts` lie before the row.
        out: int32, one per row, is filled.
    """
    for row in range(len(out)):
        low = starts[row]
        high = stops[row]
        while low < high:
            middle = (low + high) >> 1
            if _is_after(splitters, middle, rows, row):
                high = middle
            else:
                low = middle + 1
        out[row] = low


@njit(cache=True, nogil=True)
def _is_after(left: Places, at: int, right: Places, row: int) -> bool:
    if left.first[at] != right.first[row]:
        return bool(left.first[at] > right.first[row])
    if left.second[at] != right.second[row]:
        return bool(left.second[at] > right.second[row])
    if left.words[at, 0] != right.words[row, 0]:
        return bool(left.words[at, 0] > right.words[row, 0])
    return bool(left.words[at, 1] > right.words[row, 1])


@njit(cache=True, nogil=True)
def running_sums(weights: np.ndarray, starts: np.ndarray, offsets: np.ndarray, out: np.ndarray) -> None:
    """Sums of the weights before each row, beginning anew with an offset at each start.

    Args:
        weights: int64.
        starts: int64, ascending; the first is 0.
        offsets: int64, one per start.
        out: int64, one per row, is filled.
    """
    for part in range(len(starts)):
        stop = starts[part + 1] if part + 1 < len(starts) else len(weights)
        held = offsets[part]
        for row in range(starts[part], stop):
            out[row] = held
            held += weights[row]
