"""Copies of documents as a step function of their group's factor.

A document with `repeats` r and draw u gets its k-th copy at the position (k − 1 + u) / r: it has as many copies at a
factor f as there are positions below f, f · r in expectation. Over a group this is a monotone function of one number, so
that any amount can be met to within one document, in whatever order documents come.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit


class WeightedRows(NamedTuple):
    """Documents: `codes` (int64), index of the group; `drawn` (float64), from [0, 1); `repeats` (int64, ≥ 1); `amounts`
    (int64)."""

    codes: np.ndarray
    drawn: np.ndarray
    repeats: np.ndarray
    amounts: np.ndarray


class Steps(NamedTuple):
    """Factors at which a document gets one more copy: `codes` (int64), index of its group; `positions` (float64), the
    factor; `amounts` (int64), the document's."""

    codes: np.ndarray
    positions: np.ndarray
    amounts: np.ndarray


@njit(cache=True, nogil=True)
def position(k: int, draw: float, repeats: float) -> float:
    """Where the k-th copy (from 1) begins."""
    return (k - 1 + draw) / repeats


@njit(cache=True, nogil=True)
def copies_below(factor: float, draw: float, repeats: float) -> int:
    """Copies at a factor: positions below it, compared as they are stored, not as they would round."""
    count = max(0, math.ceil(factor * repeats - draw))
    while count > 0 and position(count, draw, repeats) >= factor:
        count -= 1
    while position(count + 1, draw, repeats) < factor:
        count += 1
    return count


@njit(cache=True, nogil=True)
def count_copies(
    factors: np.ndarray, codes: np.ndarray, drawn: np.ndarray, repeats: np.ndarray, out: np.ndarray
) -> None:
    """Copies of each row at its group's factor.

    Args:
        factors: float64 by group.
        codes: int64 by row, index into factors.
        drawn: float64 by row, from [0, 1).
        repeats: int64 by row, ≥ 1.
        out: int64 by row, is filled.
    """
    for row in range(len(codes)):
        out[row] = copies_below(factors[codes[row]], drawn[row], float(repeats[row]))


@njit(cache=True, nogil=True)
def list_steps(
    low: np.ndarray,
    high: np.ndarray,
    rows: WeightedRows,
    totals: np.ndarray,
    steps: Steps,
) -> int:
    """Adds each group's amount at factor `low` to `totals`, and lists the steps from `low` to below `high`.

    Args:
        low, high: float64 by group.
        totals: int64 by group, added to.
        steps: filled as far as they reach.

    Returns the number of steps, which may exceed the arrays' length: call again with longer ones (and fresh totals).
    """
    codes, drawn, repeats, amounts = rows.codes, rows.drawn, rows.repeats, rows.amounts
    found = 0
    for row in range(len(codes)):
        code = codes[row]
        weight = float(repeats[row])
        count = copies_below(low[code], drawn[row], weight)
        totals[code] += count * amounts[row]
        place = position(count + 1, drawn[row], weight)
        while place < high[code]:
            if found < len(steps.codes):
                steps.codes[found] = code
                steps.positions[found] = place
                steps.amounts[found] = amounts[row]
            found += 1
            count += 1
            place = position(count + 1, drawn[row], weight)
    return found
