"""What the filters say about cluster sizes and quantiles together: removal rates with intervals, by empirical Bayes.

Documents are counted in cells: cluster size × quantile of a score. Cells of few clusters are noise, so each borrows from what
it is part of. With n clusters in a cell, x of them removed, the rate is Beta distributed with

    prior mean    σ(logit(its size's rate) + logit(its quantile's rate) − logit(the group's rate)), the two effects without more
    prior weight  k clusters, the k that the counts of the group's cells speak for (their beta-binomial likelihood; Efron and
                  Morris 1975, Journal of the American Statistical Association 70, for the idea)
    posterior     Beta(mean · k + x, (1 − mean) · k + n − x)

The rates of the group's sizes and quantiles are shrunk in the same way towards those of its script, set off by the difference
between the two overall rates, and these towards the whole corpus. No cluster speaks twice: what a cell borrows comes from its
margins without it, what a group borrows from its script without it. How sure a prior mean is enters its weight. The unit is the
cluster: near-duplicates fail filters together.

A cell is lifted above one copy only where its interval lies below the group's rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gristmill.stages.kernels.elementary import exp, log
from gristmill.stages.rebalancing.kernels.beta import beta_quantiles, log_likelihood

SIZE_FROM = np.array([1, 2, 3, 4, 6, 8, 16, 32, 64, 128, 256, 1024], np.int64)
"""Where bins of cluster sizes begin."""
CREDIBLE = 0.9
"""Probability of the intervals: 5 % lie below, 5 % above."""
WEIGHTS = np.array([2.0**half for half in np.arange(0, 25) / 2])
"""Prior weights that are tried, in clusters: 1 to 2^12, evenly by their logarithm."""
OVERALL_WEIGHT = 100.0
"""Clusters that the overall rate of the rest is worth to a group: less than that, and it has no rate of its own."""
_EDGE = 1e-9
"""Prior means stay this far from 0 and 1."""


@dataclass(frozen=True)
class CellCounts:
    """Clusters and removed clusters of a group: float64 of shape (sizes, quantile bins + 1); documents without a quantile are
    in the last column."""

    clusters: np.ndarray
    removed: np.ndarray


class _Margin(NamedTuple):
    """What is thought of the rates of sizes, or of quantile bins, before and with their counts: Beta distributions by mean and
    weight, and counts; all float64."""

    mean: np.ndarray
    weight: np.ndarray
    hits: np.ndarray
    trials: np.ndarray

    def without(self, hits: np.ndarray | float, trials: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """(logit of the rate, its variance) when some of the counts are left out."""
        a = self.mean * self.weight + (self.hits - hits)
        b = (1 - self.mean) * self.weight + (self.trials - self.hits - trials + hits)
        return _logit(a / (a + b)), 1 / a + 1 / b


@dataclass(frozen=True)
class Margins:
    """Overall rate and margins of what a group is part of, without the group.

    Attributes:
        overall, spread: the rate, and the variance of its logit.
        by_size, by_quantile: the margins.
    """

    overall: float
    spread: float
    by_size: _Margin
    by_quantile: _Margin


@dataclass(frozen=True)
class Evidence:
    """Removal rates of a group.

    Attributes:
        overall: the rate of the group.
        rate, low, high: float64 of shape (sizes, quantile bins + 1): posterior means and the ends of the intervals.
        clusters: as counted.
        prior_weight: clusters that the prior of a cell is worth.
    """

    overall: float
    rate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    clusters: np.ndarray
    prior_weight: float


def margins(counts: CellCounts, parent: Margins | None) -> Margins:
    """Overall rate and margins, shrunk towards the parent's, which must not hold the same clusters."""
    n, x = counts.clusters, counts.removed
    prior, weight = (0.5, 1.0) if parent is None else (parent.overall, OVERALL_WEIGHT)  # Jeffreys' prior at the top
    hits, misses = prior * weight + float(x.sum()), (1 - prior) * weight + float((n - x).sum())
    overall, spread = hits / (hits + misses), 1 / hits + 1 / misses
    made = []
    for axis in (1, 0):
        mean, doubt = np.full(n.shape[1 - axis], overall), np.zeros(n.shape[1 - axis])
        if parent is not None:
            above, doubt = (parent.by_size if axis else parent.by_quantile).without(0.0, 0.0)
            mean = _inverse(above + _logit(np.array([overall]))[0] - _logit(np.array([parent.overall]))[0])
        mean = np.clip(mean, _EDGE, 1 - _EDGE)
        some = _unsure(mean, _likely(mean, x.sum(axis=axis), n.sum(axis=axis)), doubt)
        made.append(_Margin(mean, some, x.sum(axis=axis), n.sum(axis=axis)))
    return Margins(overall, spread, *made)


def evidence(counts: CellCounts, parent: Margins | None) -> Evidence:
    """The rates of a group's cells. No cluster speaks twice: a cell's prior comes from the margins without the cell, theirs
    from a parent without the group.

    Args:
        counts: of the group.
        parent: of the rest of what the group is part of; None for the whole corpus.
    """
    n, x = counts.clusters, counts.removed
    own = margins(counts, parent)
    size, size_doubt = _Margin(*(part[:, None] for part in own.by_size)).without(x, n)
    quantile, quantile_doubt = _Margin(*(part[None, :] for part in own.by_quantile)).without(x, n)
    mean = _inverse(size + quantile - _logit(np.array([own.overall]))[0]).ravel()
    mean = np.clip(mean, _EDGE, 1 - _EDGE)
    weight = _likely(mean, x.ravel(), n.ravel())
    some = _unsure(mean, weight, (size_doubt + quantile_doubt + own.spread).ravel())
    a, b = mean * some + x.ravel(), (1 - mean) * some + (n - x).ravel()
    low, high = np.empty_like(mean), np.empty_like(mean)
    beta_quantiles(a, b, (1 - CREDIBLE) / 2, low)
    beta_quantiles(a, b, (1 + CREDIBLE) / 2, high)
    rate, low, high = (values.reshape(n.shape) for values in (a / (a + b), low, high))
    return Evidence(own.overall, rate, low, high, n, weight)


def _likely(mean: np.ndarray, x: np.ndarray, n: np.ndarray) -> float:
    """The prior weight that the counts speak for, the means given: the one of the mean variance, 1 / (k + 1), over all weights
    by their likelihood. The likeliest weight alone would be too sure where counts are few."""
    likelihood = np.array([log_likelihood(mean, k, x, n) for k in WEIGHTS.tolist()])
    odds = np.array([exp(value) for value in (likelihood - likelihood.max()).tolist()])
    return float(odds.sum() / (odds / (WEIGHTS + 1)).sum() - 1)


def _unsure(mean: np.ndarray, weight: float, doubt: np.ndarray) -> np.ndarray:
    """The prior weight when the means are known to a variance of their logit: that of the Beta distribution whose variance is
    the sum of both, by the delta method."""
    found: np.ndarray = np.maximum(0.1, 1 / (1 / (weight + 1) + mean * (1 - mean) * doubt) - 1)
    return found


def lifts(found: Evidence, max_repeats: float) -> np.ndarray:
    """Copies by cell, from 1 to max_repeats: 1 where the interval reaches up to the overall rate, most where the rate is lowest
    among the others, linear in between as in FineWeb2's rehydration. float64, of the shape of the rates."""
    clear = found.high < found.overall
    copies = np.ones(found.rate.shape)
    if clear.any():
        lowest = found.rate[clear].min()
        copies[clear] = 1 + (max_repeats - 1) * ((found.overall - found.rate[clear]) / (found.overall - lowest))
    return copies


def size_bins(sizes: np.ndarray) -> np.ndarray:
    """The bin of each cluster size (≥ 1): int64."""
    found: np.ndarray = np.searchsorted(SIZE_FROM, sizes, side="right") - 1
    return found


def _logit(rates: np.ndarray) -> np.ndarray:
    clipped = np.clip(rates, _EDGE, 1 - _EDGE)
    return np.array([log(p) - log(1.0 - p) for p in clipped.ravel().tolist()]).reshape(rates.shape)


def _inverse(logits: np.ndarray) -> np.ndarray:
    return np.array([1.0 / (1.0 + exp(-value)) for value in logits.ravel().tolist()]).reshape(logits.shape)
