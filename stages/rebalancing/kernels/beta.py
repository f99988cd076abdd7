"""The Beta distribution and beta-binomial likelihoods from elementary operations: the same bits on every machine."""

from __future__ import annotations

import numpy as np
from numba import njit

from gristmill.stages.kernels.elementary import exp, log

HALF_LOG_2PI = 0.91893853320467274178


@njit(cache=True, nogil=True)
def log_gamma(x: float) -> float:
    """ln Γ(x) for x > 0: Stirling's series from 8 on, the recurrence below (Abramowitz and Stegun 6.1.41)."""
    shift = 0.0
    while x < 8.0:
        shift += log(x)
        x += 1.0
    inverse = 1.0 / x
    square = inverse * inverse
    series = inverse * (
        1 / 12
        - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square * (1 / 1188 - square * 691 / 360360))))
    )
    return (x - 0.5) * log(x) - x + HALF_LOG_2PI + series - shift


@njit(cache=True, nogil=True)
def log_likelihood(mean: np.ndarray, k: float, hits: np.ndarray, trials: np.ndarray) -> float:
    """Σ of the logarithms of beta-binomial likelihoods, without the binomial coefficients.

    Args:
        mean: float64, the prior mean of each cell, in (0, 1).
        k: how many trials the prior is worth.
        hits, trials: float64, counts; cells without trials say nothing.
    """
    total = 0.0
    for cell in range(len(mean)):
        n = trials[cell]
        if n > 0:
            a, b, x = mean[cell] * k, (1.0 - mean[cell]) * k, hits[cell]
            total += log_gamma(a + x) - log_gamma(a) + log_gamma(b + n - x) - log_gamma(b)
            total += log_gamma(k) - log_gamma(k + n)
    return total


@njit(cache=True, nogil=True)
def beta_below(a: float, b: float, x: float) -> float:
    """The probability that a Beta(a, b) variable is at most x: the continued fraction of Abramowitz and Stegun 26.5.8,
    evaluated from the front (Lentz 1976)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    front = exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * log(x) + b * log(1.0 - x))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(a, b, x) / a
    return 1.0 - front * _fraction(b, a, 1.0 - x) / b


@njit(cache=True, nogil=True)
def _fraction(a: float, b: float, x: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 10_000):
        for odd in range(2):
            if odd:
                term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
            else:
                term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + term / c
            c = c if abs(c) > tiny else tiny
            value *= c * d
        if abs(c * d - 1.0) < 1e-14:
            break
    return value


@njit(cache=True, nogil=True)
def beta_quantiles(a: np.ndarray, b: np.ndarray, share: float, out: np.ndarray) -> None:
    """The value below which a Beta variable lies with the given probability, by bisection to 2^-40.

    Args:
        a, b: float64, above 0.
        share: in (0, 1).
        out: float64, is filled.
    """
    for cell in range(len(a)):
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2.0
            if beta_below(a[cell], b[cell], middle) < share:
                low = middle
            else:
                high = middle
        out[cell] = (low + high) / 2.0
