"""Ordering and looking up doc_keys: 64 bits of random keys nearly always suffice, and the rest is compared all the same."""

from __future__ import annotations

import numpy as np


def key_order(keys: np.ndarray, minor: np.ndarray | None = None) -> np.ndarray:
    """Positions that order doc_keys (uint64, rows × 2), rows with equal keys by `minor` (int64), else as they stand."""
    high = np.ascontiguousarray(keys[:, 0])
    order = np.argsort(high)
    ordered = high[order]
    tied = np.zeros(len(order), bool)
    same = ordered[1:] == ordered[:-1]
    tied[1:] |= same
    tied[:-1] |= same
    places = np.flatnonzero(tied)
    if len(places):
        # Rows with equal first halves stand together, so ordering them among themselves keeps all others in place.
        rows = np.sort(order[places])
        least = rows if minor is None else minor[rows]
        order[places] = rows[np.lexsort((least, keys[rows, 1], keys[rows, 0]))]
    return order


def starts_of(keys: np.ndarray) -> np.ndarray:
    """Where each distinct key starts among ordered keys."""
    if not len(keys):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.concatenate([[True], (keys[1:] != keys[:-1]).any(axis=1)]))


def places_in(listed: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index of each wanted key among listed ones, or their number for one that is not there.

    Args:
        listed: ascending, distinct keys (uint64, rows × 2).
        wanted: ascending keys.
    """
    if not len(listed):
        return np.zeros(len(wanted), np.int64)
    place = np.searchsorted(listed[:, 0], wanted[:, 0])
    last = len(listed) - 1
    # Several listed keys may share their first half: step on while the second is still too small.
    while True:
        inside = np.minimum(place, last)
        behind = (place <= last) & (listed[inside, 0] == wanted[:, 0]) & (listed[inside, 1] < wanted[:, 1])
        if not behind.any():
            break
        place = place + behind
    inside = np.minimum(place, last)
    found = (place <= last) & (listed[inside] == wanted).all(axis=1)
    return np.where(found, inside, len(listed)).astype(np.int64)


def name_of(key: np.ndarray) -> str:
    """A key (two uint64 words) in hexadecimal."""
    return f"{int(key[0]):016x}{int(key[1]):016x}"
