"""Curves of copies by quality: how often documents of a quantile are read, from 0 (the worst) to 1 (the best).

    power    C · (x − t)^p · e^(λ (x − t)) from the quantile t on, 0 below: Dolma 3's form
    dolma3   the same, with p, λ and C found as Dolma 3 finds them (allenai/dolma3, `mixing_utils.py`): from the mean that is
             wanted and a cap on the mean of the best
    steps    a table: copies from each quantile on

A curve may be 0 and may exceed 1, for documents that were found once too. It is used as its mean over each of BINS equal parts
of [0, 1], so that budgets count documents by part. Integrals are series of powers, and everything rests on
`stages.kernels.elementary`: equal on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.kernels.elementary import exp, log

BINS = 1000
"""Parts of [0, 1] over which a curve is constant."""
MOST_COPIES = 1000.0
P_RANGE, P_VALUES = (0.01, 2.0), 20
"""Dolma 3 tries 20 powers evenly from 0.01 to 2."""
LAMBDA_RANGE = (0.0, 2.0)
TOLERANCE = 1e-6
"""By how much Dolma 3's solver lets the mean of the best exceed the cap."""
_TERMS = 60
"""Of the series: the last is below 2^-100 of the sum for λ x up to 10."""


class PowerCurve(NamedTuple):
    """C · (x − t)^p · e^(λ (x − t)) for x ≥ t, 0 below."""

    scale: float
    power: float
    rate: float
    from_quantile: float

    def mean(self, low: float, high: float) -> float:
        """The mean over [low, high] within [0, 1]."""
        a, b = max(0.0, low - self.from_quantile), max(0.0, high - self.from_quantile)
        return self.scale * integral(self.power, self.rate, a, b) / (high - low)


def integral(power: float, rate: float, low: float, high: float) -> float:
    """∫ x^p e^(λx) dx over [low, high], 0 ≤ low ≤ high, p > −1: by the series of e^(λx)."""
    return _antiderivative(power, rate, high) - _antiderivative(power, rate, low)


def _antiderivative(power: float, rate: float, x: float) -> float:
    if x <= 0:
        return 0.0
    term, total = exp((power + 1.0) * log(x)), 0.0
    for k in range(_TERMS):
        total += term / (power + k + 1.0)
        term *= rate * x / (k + 1.0)
    return total


def solve_dolma3(
    ratio: float, max_upsample: float, top: float, from_quantile: float, max_rate: float = LAMBDA_RANGE[1]
) -> PowerCurve:
    """Dolma 3's curve: of 20 powers the largest, with the largest λ to within 10^-8, at which the mean over all quantiles is
    `ratio` and the mean over the best `top` of them is at most `max_upsample`.

    Args:
        ratio: tokens wanted ÷ tokens there are.
        max_upsample: Dolma 3 used 7.
        top: the share of the best bucket; Dolma 3's vigintiles have 0.05.
        from_quantile: below it nothing is read.
        max_rate: the largest λ that is tried.

    Raises ConfigError when no power fits, with the largest ratio that would.
    """
    width = 1.0 - from_quantile

    def scale(power: float, rate: float) -> float:
        return ratio / integral(power, rate, 0.0, width)

    def best(power: float, rate: float) -> float:
        return scale(power, rate) * integral(power, rate, width - top, width) / top

    found = None
    for step in range(P_VALUES):
        power = P_RANGE[0] + step * ((P_RANGE[1] - P_RANGE[0]) / (P_VALUES - 1))
        low, high = LAMBDA_RANGE[0], max_rate
        if best(power, low) > max_upsample + TOLERANCE:
            continue
        for _ in range(50):
            middle = (low + high) / 2
            if best(power, middle) <= max_upsample + TOLERANCE:
                low = middle
            else:
                high = middle
            if abs(high - low) < 1e-8:
                break
        found = PowerCurve(scale(power, low), power, low, from_quantile)
    if found is None:
        largest = max_upsample * ratio / best(P_RANGE[0], LAMBDA_RANGE[0])
        raise ConfigError(
            f"dolma3: with max_upsample {max_upsample:g} and throwaway {from_quantile:g} there is no rising curve whose "
            f"mean is {ratio:g}. Nearest: a ratio of {_down(largest):g}, or max_upsample "
            f"{_up(max_upsample * ratio / largest):g}."
        )
    return found


def _down(value: float) -> float:
    return int(value * 1000) / 1000


def _up(value: float) -> float:
    return (int(value * 1000) + 1) / 1000


def step_means(steps: Mapping[float, float]) -> Callable[[float, float], float]:
    """The mean over an interval of a table {quantile from which on: copies}; 0 below the first."""
    starts = sorted(steps)
    stops = [*starts[1:], 1.0]

    def mean(low: float, high: float) -> float:
        parts = [
            max(0.0, min(high, stop) - max(low, start)) * steps[start]
            for start, stop in zip(starts, stops, strict=True)
        ]
        total = 0.0
        for part in parts:
            total += part
        return total / (high - low)

    return mean


def bin_values(mean: Callable[[float, float], float]) -> np.ndarray:
    """The mean of a curve over each of BINS parts of [0, 1], from the lowest quantile up: float64."""
    return np.array([mean(part / BINS, (part + 1) / BINS) for part in range(BINS)])


def bin_of(quantile: np.ndarray) -> np.ndarray:
    """The part that each quantile in [0, 1] lies in: int64."""
    found: np.ndarray = np.clip(np.floor(quantile * BINS), 0, BINS - 1).astype(np.int64)
    return found
