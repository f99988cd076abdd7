"""Logistic regression by AdaGrad over hashed features, several heads at once, equal to the bit on every machine.

The order of examples comes from splitmix64, the exponential from arithmetic alone; nothing depends on a math library.
Source: Duchi, Hazan and Singer, "Adaptive Subgradient Methods", JMLR 12 (2011).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from gristmill.stages.kernels.scalars import Float, Int

_LN2_HIGH = 0.6931471803691238
_LN2_LOW = 1.9082149292705877e-10


class Examples(NamedTuple):
    """Windows as feature lists with targets.

    Attributes:
        features, starts: example r has the features (int32) features[starts[r]:starts[r + 1]]; one that occurs twice
            counts twice.
        values: float64 by example, the value of each of its features.
        targets: float32[examples, heads] in [0, 1]; NaN leaves the example out of that head.
        importance: float32 by example, factor on the gradient.
    """

    features: np.ndarray
    starts: np.ndarray
    values: np.ndarray
    targets: np.ndarray
    importance: np.ndarray

    def take(self, rows: np.ndarray) -> Examples:
        """The given rows, in their order."""
        lengths = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        index = np.repeat(self.starts[:-1][rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return Examples(self.features[index], starts, self.values[rows], self.targets[rows], self.importance[rows])


@njit(cache=True, nogil=True)
def exponential(x: Float) -> float:
    """e^x for −700 < x < 700 by range reduction and a Taylor polynomial, within 2 ulp."""
    k = math.floor(x / 0.6931471805599453 + 0.5)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    total: Float = 1.0
    for n in range(14, 0, -1):
        total = 1.0 + total * r / n
    return math.ldexp(total, int(k))


@njit(cache=True, nogil=True)
def sigmoid(x: Float) -> float:
    """1 / (1 + e^−x), with x cut to [−40, 40]."""
    return 1.0 / (1.0 + exponential(-min(max(x, -40.0), 40.0)))


@njit(cache=True, nogil=True)
def softplus_tail(x: Float) -> float:
    """log(1 + e^−x) for x ≥ 0, as 2 · artanh(u / (2 + u)) with u = e^−x, by its series."""
    u = exponential(-min(x, 40.0))
    w = u / (2.0 + u)
    total = 0.0
    for n in range(39, 0, -2):
        total = total * w * w + 1.0 / n
    return 2.0 * w * total


@njit(cache=True, nogil=True)
def _splitmix(state: np.uint64) -> tuple[np.uint64, np.uint64]:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def fit(
    examples: Examples, size: Int, epochs: Int, rate: float, decay: float, seed: Int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of a logistic regression per head.

    Args:
        examples: the `Examples`, their features below `size`.
        epochs, rate, decay: passes over the data, AdaGrad's step, L2 factor on each touched weight.

    Returns (float32[size, heads], float64[heads]): weights and biases.
    """
    features, starts, values = examples.features, examples.starts, examples.values
    targets, importance = examples.targets, examples.importance
    rows = len(starts) - 1
    heads = targets.shape[1]
    weights = np.zeros((size, heads), np.float32)
    # AdaGrad's sums start at 1: rare features then move by their gradient and not by full steps, which acts as a prior.
    squares = np.ones((size, heads), np.float32)
    bias = np.full(heads, -3.0)
    bias_squares = np.ones(heads)
    gradient = np.empty(heads)
    order = np.arange(rows)
    state = np.uint64(seed)
    for _ in range(epochs):
        for k in range(rows - 1, 0, -1):
            state, drawn = _splitmix(state)
            j = np.int64(drawn % np.uint64(k + 1))
            order[k], order[j] = order[j], order[k]
        for at in range(rows):
            r = order[at]
            low = starts[r]
            high = starts[r + 1]
            if low == high:
                continue
            value = values[r]
            for h in range(heads):
                gradient[h] = 0.0
            for k in range(low, high):
                f = features[k]
                for h in range(heads):
                    gradient[h] += np.float64(weights[f, h])
            for h in range(heads):
                target = np.float64(targets[r, h])
                if np.isnan(target):
                    gradient[h] = 0.0
                    continue
                g = (sigmoid(gradient[h] * value + bias[h]) - target) * np.float64(importance[r])
                bias_squares[h] += g * g
                bias[h] -= rate * g / np.sqrt(bias_squares[h])
                gradient[h] = g * value
            for k in range(low, high):
                f = features[k]
                for h in range(heads):
                    if gradient[h] != 0.0:
                        g = gradient[h] + decay * np.float64(weights[f, h])
                        squares[f, h] = np.float32(np.float64(squares[f, h]) + g * g)
                        weights[f, h] = np.float32(
                            np.float64(weights[f, h]) - rate * g / np.sqrt(np.float64(squares[f, h]))
                        )
    return weights, bias


@njit(cache=True, nogil=True)
def _loss(logits: np.ndarray, targets: np.ndarray, slope: Float, intercept: Float) -> float:
    """Log loss: Σ log(1 + e^m) with m = −(slope · logit + intercept) for positives, + for the rest."""
    total = 0.0
    for i in range(len(logits)):
        margin = slope * logits[i] + intercept
        if targets[i] > 0.5:
            margin = -margin
        total += max(margin, 0.0) + softplus_tail(abs(margin))
    return total


@njit(cache=True, nogil=True)
def platt(logits: np.ndarray, targets: np.ndarray, rounds: Int) -> tuple[float, float]:
    """(slope, intercept) of the sigmoid(slope · logit + intercept) that maximises the likelihood, by Newton steps that are
    halved until they help.

    Source: Platt, "Probabilistic Outputs for Support Vector Machines" (1999).
    """
    slope = 1.0
    intercept = 0.0
    loss = _loss(logits, targets, slope, intercept)
    for _ in range(rounds):
        ga = 0.0
        gb = 0.0
        haa = 1e-6
        hab = 0.0
        hbb = 1e-6
        for i in range(len(logits)):
            p = sigmoid(slope * logits[i] + intercept)
            e = p - targets[i]
            v = p * (1.0 - p)
            ga += e * logits[i]
            gb += e
            haa += v * logits[i] * logits[i]
            hab += v * logits[i]
            hbb += v
        determinant = haa * hbb - hab * hab
        if determinant <= 0.0:
            break
        da = (hbb * ga - hab * gb) / determinant
        db = (haa * gb - hab * ga) / determinant
        step = 1.0
        while step > 1e-6:
            tried = _loss(logits, targets, slope - step * da, intercept - step * db)
            if tried < loss:
                break
            step *= 0.5
        if step <= 1e-6:
            break
        slope -= step * da
        intercept -= step * db
        loss = tried
    return slope, intercept
