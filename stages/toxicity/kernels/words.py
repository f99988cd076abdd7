"""The words of texts: which groups they name, and the hashes of all of them."""

from __future__ import annotations

import numpy as np
from numba import njit

from gristmill.stages.toxicity.kernels.scoring import GROUP_CLASSES, TEXT_TOKENS, group_of, new_tokens, read_window


@njit(cache=True, nogil=True)
def mentioned(data, offsets, table, groups):  # type: ignore[no-untyped-def]
    """bool[texts, 4]: whether a token of each text names a group of class 1 to 4."""
    texts = len(offsets) - 1
    found = np.zeros((texts, 4), np.bool_)
    tokens = new_tokens(TEXT_TOKENS)
    for text in range(texts):
        i = offsets[text]
        while i < offsets[text + 1]:
            n, i, _, _ = read_window(data, i, offsets[text + 1], table, 0, tokens)
            for t in range(n):
                group = group_of(tokens.hashes[t], groups)
                if 0 < group <= GROUP_CLASSES:
                    found[text, np.int64(group) - 1] = True
    return found


@njit(cache=True, nogil=True)
def word_hashes(data, offsets, table, cap):  # type: ignore[no-untyped-def]
    """(uint64 hashes, int64 texts) of all tokens of all texts, in order."""
    tokens = new_tokens(cap)
    hashes = np.empty(1024, np.uint64)
    owner = np.empty(1024, np.int64)
    count = 0
    for text in range(len(offsets) - 1):
        i = offsets[text]
        while i < offsets[text + 1]:
            n, i, _, _ = read_window(data, i, offsets[text + 1], table, 0, tokens)
            if count + n > len(hashes):
                more = np.empty(2 * (count + n), np.uint64)
                more[:count] = hashes[:count]
                hashes = more
                more_owner = np.empty(len(hashes), np.int64)
                more_owner[:count] = owner[:count]
                owner = more_owner
            hashes[count : count + n] = tokens.hashes[:n]
            owner[count : count + n] = text
            count += n
    return hashes[:count], owner[:count]
