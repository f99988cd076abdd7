"""Where the host of a URL lies, and how much of it somebody could register: tldextract's reading, for hosts in ASCII."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from gristmill.stages.kernels.pointers import pointer
from gristmill.stages.kernels.scalars import Bool, Int
from gristmill.stages.urls.kernels.entries import find

END, WILDCARD = 1, 2
"""What a suffix is, in the bytes behind its entry's position: a rule of its own; the parent of `*`."""

HOST_START, HOST_END, FULL_START, DOMAIN_START = 0, 1, 2, 3
"""Columns of `spans`: the host, where the full name starts, and where the registered domain starts; −1 for none. All end
where the host ends."""


@njit(nogil=True)
def _is_space(byte: np.uint8) -> Bool:
    return byte == 32 or (byte >= 9 and byte <= 13) or (byte >= 28 and byte <= 31)


@njit(nogil=True)
def _after_scheme(data: Any, start: Int, end: Int) -> Int:
    """Where the part behind `scheme://` or a leading `//` starts; `start` where there is neither."""
    i = start
    while i + 1 < end and not (data[i] == 47 and data[i + 1] == 47):
        i += 1
    if i + 1 >= end:
        return start
    if i == start:
        return start + 2
    if i < start + 2 or data[i - 1] != 58:
        return start
    for k in range(start, i - 1):
        byte = data[k] | np.uint8(32)
        if not (
            (byte >= 97 and byte <= 122 and data[k] < 128)
            or (data[k] >= 48 and data[k] <= 57)
            or data[k] == 43
            or data[k] == 45
            or data[k] == 46
        ):
            return start
    return i + 2


@njit(cache=True, nogil=True)
def split_hosts(
    data: np.ndarray,
    offsets: np.ndarray,
    suffixes: np.ndarray,
    slots: np.ndarray,
    kinds: np.ndarray,
    longest: int,
    spans: np.ndarray,
    odd: np.ndarray,
    malformed: np.ndarray,
) -> None:
    """Finds each URL's host and its parts.

    Args:
        data, offsets: the URLs: uint8 and int64[rows + 1].
        suffixes, slots, kinds: every public suffix and every end of one as a set (see `entries`), and uint8 by position
            what it is (END, WILDCARD); the exception `!www.ck` is an entry of that name. longest: bytes of the longest.
        spans: int64 of shape (rows, 4), written here: HOST_START, HOST_END, FULL_START, DOMAIN_START, within `data`.
        odd: bool, written here: hosts that are left to the library: not ASCII, `xn--`, brackets, `*` or `!`.
        malformed: bool, written here: no scheme, no host, or white space or control characters in the URL.
    """
    count = np.uint64(len(slots))
    # A candidate suffix in lower case, behind a `!`, with room for what the hash reads behind it.
    lower = np.zeros(longest + 24, np.uint8)
    lower[0] = 33
    for row in range(len(offsets) - 1):
        low, suffix_at, slot_at, data_at = pointer(lower), pointer(suffixes), pointer(slots), pointer(data)
        start, end = offsets[row], offsets[row + 1]
        spans[row, :] = -1
        odd[row] = False
        bad = False
        for i in range(start, end):
            bad = bad or data[i] <= 32 or data[i] == 127
        at = _after_scheme(data_at, start, end)
        bad = bad or at < start + 4
        stop = at
        while stop < end and data[stop] != 47 and data[stop] != 63 and data[stop] != 35:
            stop += 1
        for i in range(at, stop):
            if data[i] == 64:
                at = i + 1
        if at < stop and data[at] == 91:
            odd[row] = True
        for i in range(at, stop):
            if data[i] == 58 and not odd[row]:
                stop = i
                break
        while at < stop and _is_space(data[at]):
            at += 1
        while stop > at and _is_space(data[stop - 1]):
            stop -= 1
        while stop > at and data[stop - 1] == 46:
            stop -= 1
        spans[row, HOST_START], spans[row, HOST_END] = at, stop
        malformed[row] = bad or at == stop
        label = at
        for i in range(at, stop):
            byte = data[i]
            if i > at and data[i - 1] == 46:
                label = i
            if byte >= 128 or byte == 42 or byte == 33:
                odd[row] = True
            if i == label + 3 and byte == 45 and data[i - 1] == 45:
                odd[row] = odd[row] or ((data[label] | 32) == 120 and (data[label + 1] | 32) == 110)
        if odd[row]:
            continue
        # Labels from the last one on, as long as they continue a suffix.
        suffix: Int = np.int64(-1)
        known_from: Int = stop
        label_end: Int = stop
        kind = np.uint8(0)
        while label_end >= at:
            first: Int = label_end
            while first > at and data[first - 1] != 46:
                first -= 1
            found: Int = np.int64(-1)
            if stop - first <= longest and first < label_end:
                for i in range(first, stop):
                    byte = data[i]
                    lower[1 + i - first] = byte + np.uint8(32) if byte >= 65 and byte <= 90 else byte
                found = find(suffix_at, slot_at, count, low, 1, 1 + stop - first)
            if found >= 0:
                kind = kinds[found]
                known_from = first
                if kind & END:
                    suffix = first
            else:
                if kind & WILDCARD:
                    excepted: Bool = False
                    if stop - first <= longest and first < label_end:
                        excepted = find(suffix_at, slot_at, count, low, 0, 1 + stop - first) >= 0
                    suffix = known_from if excepted else first
                break
            if first == at:
                break
            label_end = first - 1
        if suffix < 0 or suffix == at:
            # No suffix, or nothing in front of it: no domain, and then no full name either.
            continue
        domain_end = suffix - 1
        domain: Int = domain_end
        while domain > at and data[domain - 1] != 46:
            domain -= 1
        if domain == domain_end:
            continue
        spans[row, DOMAIN_START] = domain
        # A full name has no empty first part: the dot in front of `.example.com` is not in it.
        spans[row, FULL_START] = at + 1 if domain == at + 1 and data[at] == 46 else at
