"""Curves of copies by quality: integrals against quadrature, Dolma 3's solver against the same search done with SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.rebalancing.quality_curve import (
    BINS,
    PowerCurve,
    bin_of,
    bin_values,
    integral,
    solve_dolma3,
    step_means,
)

# allenai/dolma3, mixing_dashboard.ipynb: throwaway 0.4, at most 7 times; (where its first bucket begins, the share of its best
# bucket, tokens wanted ÷ there) of four topics, rounded, and the p and λ that its solver finds for them.
TOPICS = [
    (0.35, 0.05, 0.6, 2.0, 2.0),
    (0.4, 0.04, 1.9, None, None),
    (0.4, 0.08, 3.5, None, None),
    (0.0, 0.3, 1.0, None, None),
]


@given(st.floats(0, 3), st.floats(-2, 3), st.floats(0, 1), st.floats(0, 1))
def test_integrals_are_those_of_quadrature(power: float, rate: float, low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    expected, error = quad(lambda x: x**power * np.exp(rate * x), low, high)
    assert integral(power, rate, low, high) == pytest.approx(expected, abs=1e-12 + 2 * error)


def dolma3(ratio: float, most: float, top: float, start: float) -> tuple[float, float]:
    """(p, λ) by the published search, with SciPy's quadrature."""
    width = 1 - start
    best = None
    for p in np.linspace(0.01, 2.0, 20):

        def tail(rate: float, p: float = p) -> float:
            f = lambda x: x**p * np.exp(rate * x)  # noqa: E731
            return ratio / quad(f, 0, width, limit=200)[0] * quad(f, width - top, width, limit=200)[0] / top

        low, high = 0.0, 2.0
        if tail(low) > most + 1e-6:
            continue
        while abs(high - low) >= 1e-8:
            middle = (low + high) / 2
            low, high = (middle, high) if tail(middle) <= most + 1e-6 else (low, middle)
        best = p, low
    assert best is not None
    return best


@pytest.mark.parametrize(("start", "top", "ratio", "p", "rate"), TOPICS)
def test_dolma3_finds_the_published_curve(
    start: float, top: float, ratio: float, p: float | None, rate: float | None
) -> None:
    curve = solve_dolma3(ratio, 7.0, top, start)
    power, slope = dolma3(ratio, 7.0, top, start)
    assert curve.power == pytest.approx(power) and curve.rate == pytest.approx(slope, abs=5e-8)
    if p is not None:
        assert (curve.power, curve.rate) == pytest.approx((p, rate), abs=1e-7)
    assert curve.mean(0.0, 1.0) == pytest.approx(ratio, rel=1e-12)
    assert curve.mean(1 - top, 1.0) <= 7.0 + 1e-6
    assert start == 0 or curve.mean(0.0, start) == 0.0


def test_a_ratio_beyond_the_cap_is_refused_with_the_largest_that_fits() -> None:
    with pytest.raises(
        ConfigError, match=r"no rising curve whose mean is 6\. Nearest: a ratio of 4\.\d+, or max_upsample \d"
    ):
        solve_dolma3(6.0, 7.0, 0.05, 0.4)
    solve_dolma3(4.15, 7.0, 0.05, 0.4)


def test_parts_hold_the_mean_of_the_curve_and_add_up_to_it() -> None:
    curve = PowerCurve(2.0, 0.5, 1.0, 0.25)
    values = bin_values(curve.mean)
    assert len(values) == BINS and values.mean() == pytest.approx(curve.mean(0.0, 1.0), rel=1e-12)
    assert (values[:250] == 0).all() and (np.diff(values[250:]) > 0).all()
    steps = bin_values(step_means({0.1: 0.5, 0.75: 2.0}))
    assert steps[[99, 100, 749, 750, 999]].tolist() == pytest.approx([0, 0.5, 0.5, 2, 2])
    assert bin_of(np.array([0.0, 0.0005, 0.9999, 1.0])).tolist() == [0, 0, 999, 999]
