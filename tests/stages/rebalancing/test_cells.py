"""Factors that meet a budget: against bisection; what copies are worth; refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.stages.rebalancing.cells import Cells, effective_amount, expected_amount, expected_copies, factor

ROW = st.tuples(st.sampled_from([0.0, 0.25, 1.0, 1.5, 7.0]), st.integers(0, 5), st.integers(0, 10_000))


def cells(rows: list[tuple[float, int, int]]) -> Cells:
    weight, seen, amount = (np.array(column) for column in zip(*rows, strict=True))
    return Cells(
        weight.astype(np.float64), seen.astype(np.int64), np.ones(len(rows), np.int64), amount.astype(np.int64), 1
    )


@given(st.lists(ROW, min_size=1, max_size=20), st.sampled_from([None, 1.0, 2.5, 4.0]), st.floats(0, 1))
def test_the_factor_is_the_root_of_the_budget(
    rows: list[tuple[float, int, int]], max_epochs: float | None, share: float
) -> None:
    found = cells(rows)
    left = found.left(max_epochs)
    most = 10.0 * found.amount.sum() if max_epochs is None else float((found.amount * left).sum())
    if not (found.amount * (left > 0)).sum():
        assert factor(found, max_epochs, 5) == 0.0
        return
    budget = int(share * most)

    def reached(level: float) -> float:
        return float(
            (found.amount * expected_copies(found.weight, found.seen, np.full(len(rows), level), max_epochs)).sum()
        )

    low, high = 0.0, 1e9
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) < budget else (low, middle)
    level = factor(found, max_epochs, budget)
    assert reached(level) == pytest.approx(budget, rel=1e-9, abs=1e-6)
    assert reached(level) == pytest.approx(reached(high), rel=1e-9, abs=1e-4)


def test_amounts_are_added_up_exactly() -> None:
    amount = np.array([10**15 + 1, 1, 3])
    assert expected_amount(np.array([3.0, 1.0, 0.5]), amount) == 3 * 10**15 + 3 + 1 + 2  # 1.5 rounds up


def test_repeats_are_worth_less_and_what_was_seen_before_counts() -> None:
    star = 15.387756
    fresh, seen = cells([(1.0, 0, 100)]), cells([(1.0, 4, 100)])
    assert effective_amount(fresh, np.array([0.5])) == 50
    assert effective_amount(fresh, np.array([4.0])) == pytest.approx(100 * (1 + star * (1 - math.exp(-3 / star))))
    expected = 100 * star * (math.exp(-3 / star) - math.exp(-4 / star))
    assert effective_amount(seen, np.array([1.0])) == pytest.approx(expected)
