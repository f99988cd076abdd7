"""Looks up, for each row, the bin of its cluster size in its group's curve; and order-free draws on doc_key."""

from __future__ import annotations

import numpy as np
from numba import njit

from gristmill.pipeline.exchange.hash_kernels import mix


@njit(cache=True, nogil=True)
def find_bins(
    sizes: np.ndarray, codes: np.ndarray, starts: np.ndarray, stops: np.ndarray, size_from: np.ndarray, out: np.ndarray
) -> None:
    """Position in `size_from` of the bin that each row falls into, −1 where its curve has none.

    Args:
        sizes: int64, one per row.
        codes: int64, one per row: index into starts and stops.
        starts, stops: int64; a group's bins are size_from[starts[code]:stops[code]], ascending.
        out: int64, one per row, is filled.
    """
    for row in range(len(sizes)):
        low = starts[codes[row]]
        first = low
        high = stops[codes[row]]
        size = sizes[row]
        while low < high:
            middle = (low + high) >> 1
            if size_from[middle] <= size:
                low = middle + 1
            else:
                high = middle
        out[row] = low - 1 if low > first else -1


@njit(cache=True, nogil=True)
def draws(words: np.ndarray, seed: np.uint64, out: np.ndarray) -> None:
    """A number in [0, 1) for each doc_key: the finaliser of SplitMix64 (Steele, Lea and Flood 2014) over seed and key.

    Args:
        words: uint64 of shape (rows, 2), as `pipeline.document.key_words` gives them.
        seed: equal seeds give equal draws, whatever the order of the rows.
        out: float64, one per row, is filled with multiples of 2^-53.
    """
    for row in range(len(words)):
        value = mix(mix(mix(seed) ^ words[row, 0]) ^ words[row, 1])
        out[row] = np.float64(value >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True)
def hashes(words: np.ndarray, seed: np.uint64, out: np.ndarray) -> None:
    """64 bits for each doc_key, of which `draws` are the upper 53.

    Args:
        words: uint64 of shape (rows, 2), as `pipeline.document.key_words` gives them.
        seed: equal seeds give equal hashes, whatever the order of the rows.
        out: uint64, one per row, is filled.
    """
    for row in range(len(words)):
        out[row] = mix(mix(mix(seed) ^ words[row, 0]) ^ words[row, 1])
