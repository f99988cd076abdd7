"""An automaton that finds any of many strings of lower-case letters and digits (Aho and Corasick 1975, Communications of
the ACM 18(6), https://doi.org/10.1145/360825.360855)."""

from __future__ import annotations

import numpy as np
from numba import njit

from gristmill.stages.urls.kernels.entries import NEWLINE

SYMBOLS = 36


def symbols() -> np.ndarray:
    """uint8[256]: the number of each ASCII letter (upper or lower case) or digit, 255 for other bytes."""
    table = np.full(256, 255, np.uint8)
    for number, code in enumerate(b"0123456789abcdefghijklmnopqrstuvwxyz"):
        table[code] = number
    for number, code in enumerate(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 10):
        table[code] = number
    return table


@njit(cache=True, nogil=True)
def build(data: np.ndarray, used: int, symbol: np.ndarray, moves: np.ndarray, found: np.ndarray) -> int:
    """Builds the automaton of a set's entries.

    Args:
        data, used: the entries, letters and digits in lower case, each ended by a newline. symbol: see `symbols`.
        moves: int32 of shape (used + 1, SYMBOLS), all 0: the next state, written here; state 0 is the start.
        found: int64[used + 1], written here: the position of the longest entry that ends in a state, or −1.

    Returns:
        the number of states.
    """
    found[:] = -1
    states, state, begin = 1, np.int64(0), 0
    for i in range(used):
        if data[i] == NEWLINE:
            found[state] = begin
            state, begin = np.int64(0), i + 1
            continue
        number = symbol[data[i]]
        if moves[state, number] == 0:
            moves[state, number] = states
            states += 1
        state = np.int64(moves[state, number])
    fall = np.zeros(states, np.int64)
    queue = np.empty(states, np.int64)
    head, tail = 0, 0
    for number in range(SYMBOLS):
        if moves[0, number]:
            queue[tail] = moves[0, number]
            tail += 1
    while head < tail:
        state = queue[head]
        head += 1
        if found[state] < 0:
            found[state] = found[fall[state]]
        for number in range(SYMBOLS):
            below = np.int64(moves[state, number])
            if below:
                fall[below] = moves[fall[state], number]
                queue[tail] = below
                tail += 1
            else:
                moves[state, number] = moves[fall[state], number]
    return states
