"""Looks URLs up in the lists: the entry of each kind that a URL matches first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from gristmill.stages.kernels.pointers import pointer
from gristmill.stages.kernels.scalars import Int
from gristmill.stages.urls.kernels.entries import NEWLINE, find
from gristmill.stages.urls.kernels.hosts import DOMAIN_START, FULL_START, HOST_END, HOST_START

DOMAIN, SUBDOMAIN, URL, WORD, SOFT_WORDS, SUBWORD, REGISTERED = 0, 1, 2, 3, 4, 5, 6
"""Columns of what is found: an entry of each kind, and the URL's registered domain in lower case."""
COLUMNS = 7


@njit(nogil=True)
def _write(out: Any, at: Int, data: Any, start: Int, end: Int) -> Int:
    for i in range(start, end):
        out[at + i - start] = data[i]
    return at + end - start


@njit(nogil=True)
def _entry_end(data: Any, start: Int) -> Int:
    end = start
    while data[end] != NEWLINE:
        end += 1
    return end


@njit(cache=True, nogil=True)
def match_urls(
    data: np.ndarray,
    offsets: np.ndarray,
    spans: np.ndarray,
    every_parent: bool,
    domains: np.ndarray,
    domain_slots: np.ndarray,
    urls: np.ndarray,
    url_slots: np.ndarray,
    words: np.ndarray,
    word_slots: np.ndarray,
    soft: np.ndarray,
    soft_slots: np.ndarray,
    seen: np.ndarray,
    subwords: np.ndarray,
    moves: np.ndarray,
    ends: np.ndarray,
    symbol: np.ndarray,
    letter: np.ndarray,
    out: np.ndarray,
    out_offsets: np.ndarray,
    matched: np.ndarray,
) -> None:
    """Finds what each URL matches.

    Args:
        data, offsets: the URLs (uint8, int64[rows + 1]), PADDING readable bytes behind the last one.
        spans: see `hosts.split_hosts`; positions in `data`, where hosts may also lie behind the URLs.
        every_parent: whether every parent of a host is looked up, and a URL without its scheme, or only the registered
            domain, the full name, and the URL as it is.
        domains … soft_slots: the sets (see `entries`). seen: int64[len(soft)], all −1.
        subwords, moves, ends: the set and its automaton (see `subwords.build`). symbol, letter: see `subwords.symbols` and
            `entries.letter_or_digit`.
        out: uint8 of shape (COLUMNS, at least len(data)), and out_offsets: int64 of shape (COLUMNS, rows + 1), written here:
            the matching entries; soft words in the order of the URL, each once, with commas.
        matched: bool of shape (COLUMNS, rows), written here.
    """
    for row in range(len(offsets) - 1):
        text, start, end = pointer(data), offsets[row], offsets[row + 1]
        to = out_offsets[:, row].copy()
        matched[:, row] = False
        host, stop = spans[row, HOST_START], spans[row, HOST_END]
        full, domain = spans[row, FULL_START], spans[row, DOMAIN_START]
        domain_at, domain_slot, domain_count = pointer(domains), pointer(domain_slots), np.uint64(len(domain_slots))
        if domain >= 0:
            matched[REGISTERED, row] = True
            for i in range(domain, stop):
                byte = data[i]
                out[REGISTERED, to[REGISTERED]] = byte + np.uint8(32) if byte >= 65 and byte <= 90 else byte
                to[REGISTERED] += 1
        if every_parent:
            label = host
            while label < stop and not (matched[DOMAIN, row] and matched[SUBDOMAIN, row]):
                column = DOMAIN if label == domain else SUBDOMAIN
                if not matched[column, row] and find(domain_at, domain_slot, domain_count, text, label, stop) >= 0:
                    matched[column, row] = True
                    to[column] = _write(pointer(out[column]), to[column], text, label, stop)
                while label < stop and data[label] != 46:
                    label += 1
                label += 1
        elif domain >= 0:
            for column, label in ((DOMAIN, domain), (SUBDOMAIN, full)):
                # Where nothing stands in front of the domain, the full name is the same.
                if (column == DOMAIN or label != domain) and (
                    find(domain_at, domain_slot, domain_count, text, label, stop) >= 0
                ):
                    matched[column, row] = True
                    to[column] = _write(pointer(out[column]), to[column], text, label, stop)
        url_at, url_slot, url_count = pointer(urls), pointer(url_slots), np.uint64(len(url_slots))
        begin = start
        if find(url_at, url_slot, url_count, text, start, end) < 0:
            begin = end
            if every_parent:
                i = start
                while i + 2 < end and not (data[i] == 58 and data[i + 1] == 47 and data[i + 2] == 47):
                    i += 1
                if i + 2 < end and find(url_at, url_slot, url_count, text, i + 3, end) >= 0:
                    begin = i + 3
        if begin < end:
            matched[URL, row] = True
            to[URL] = _write(pointer(out[URL]), to[URL], text, begin, end)
        word_at, word_slot, word_count = pointer(words), pointer(word_slots), np.uint64(len(word_slots))
        soft_at, soft_slot, soft_count = pointer(soft), pointer(soft_slots), np.uint64(len(soft_slots))
        state, token = np.int64(0), start
        for i in range(start, end + 1):
            inside = i < end and letter[data[i]] != 0
            if inside:
                state = np.int64(moves[state, symbol[data[i]]])
                if ends[state] >= 0 and not matched[SUBWORD, row]:
                    matched[SUBWORD, row] = True
                    last = _entry_end(pointer(subwords), ends[state])
                    to[SUBWORD] = _write(pointer(out[SUBWORD]), to[SUBWORD], pointer(subwords), ends[state], last)
                continue
            if token < i:
                if not matched[WORD, row] and find(word_at, word_slot, word_count, text, token, i) >= 0:
                    matched[WORD, row] = True
                    to[WORD] = _write(pointer(out[WORD]), to[WORD], text, token, i)
                entry = find(soft_at, soft_slot, soft_count, text, token, i)
                if entry >= 0 and seen[entry] != row:
                    seen[entry] = row
                    if matched[SOFT_WORDS, row]:
                        out[SOFT_WORDS, to[SOFT_WORDS]] = 44
                        to[SOFT_WORDS] += 1
                    matched[SOFT_WORDS, row] = True
                    to[SOFT_WORDS] = _write(pointer(out[SOFT_WORDS]), to[SOFT_WORDS], text, token, i)
            token = i + 1
        out_offsets[:, row + 1] = to
