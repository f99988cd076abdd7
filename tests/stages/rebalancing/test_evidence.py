"""Evidence by size and quantile: planted rates lie in their intervals, noise lifts nothing, borrowing goes up the levels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from gristmill.stages.rebalancing.evidence import SIZE_FROM, CellCounts, evidence, lifts, margins, size_bins
from gristmill.stages.rebalancing.kernels.beta import beta_below, beta_quantiles, log_gamma, log_likelihood


def test_log_gamma_and_the_beta_distribution_are_those_of_scipy() -> None:
    for x in (1e-6, 0.1, 0.5, 1.0, 2.0, 7.9, 8.0, 55.5, 1e4, 1e9):
        assert log_gamma(x) == pytest.approx(special.gammaln(x), rel=1e-13, abs=1e-13)
    draw = np.random.default_rng(1)
    for _ in range(300):
        a, b = np.exp(draw.uniform(-3, 14, 2))
        x = draw.beta(a, b)
        assert beta_below(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-7, abs=1e-9)
    a, b = np.exp(draw.uniform(-1, 12, (2, 200)))
    out = np.empty(200)
    for share in (0.05, 0.5, 0.95):
        beta_quantiles(a, b, share, out)
        assert out == pytest.approx(stats.beta.ppf(share, a, b), rel=1e-6, abs=2e-11)


def test_the_likelihood_is_the_beta_binomial_one() -> None:
    mean, x, n = np.array([0.2, 0.5, 0.9]), np.array([1.0, 0.0, 30.0]), np.array([10.0, 0.0, 31.0])
    expected = sum(
        stats.betabinom.logpmf(int(k), int(t), m * 7, (1 - m) * 7) - math.log(special.comb(t, k))
        for m, k, t in zip(mean, x, n, strict=True)
        if t
    )
    assert log_likelihood(mean, 7.0, x, n) == pytest.approx(expected)


def planted(seed: int, clusters: float, groups: int = 6) -> tuple[list[CellCounts], list[np.ndarray]]:
    """Groups of one script whose true rates have effects of size and quantile, and something of each cell's own."""
    draw = np.random.default_rng(seed)
    sizes, bins = len(SIZE_FROM), 11
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    made, truth = [], []
    common = logit(0.5) + draw.normal(0, 0.5, (sizes, 1)) - np.linspace(-1.2, 1.2, bins)[None, :]
    for _ in range(groups):
        effects = common + draw.normal(0, 0.4) + draw.normal(0, 0.15, (sizes, 1)) + draw.normal(0, 0.15, (1, bins))
        rate = 1 / (1 + np.exp(-effects))
        rate = draw.beta(rate * 60, (1 - rate) * 60)
        n = draw.poisson(clusters / (1 + np.arange(sizes))[:, None] ** 2 * np.ones((1, bins))).astype(float)
        made.append(CellCounts(n, draw.binomial(n.astype(int), rate).astype(float)))
        truth.append(rate)
    return made, truth


@pytest.mark.parametrize("clusters", [60.0, 600.0, 6000.0])
def test_planted_rates_lie_in_nine_of_ten_intervals(clusters: float) -> None:
    inside = total = 0
    for seed in range(6):
        groups, truth = planted(seed, clusters)
        for counts, rate in zip(groups, truth, strict=True):
            rest = [other for other in groups if other is not counts]
            parent = CellCounts(sum(g.clusters for g in rest), sum(g.removed for g in rest))  # type: ignore[arg-type]
            found = evidence(counts, margins(parent, None))
            inside += int(((found.low <= rate) & (rate <= found.high)).sum())
            total += rate.size
    assert 0.85 <= inside / total <= 0.95, inside / total


def test_cells_of_few_clusters_borrow_and_those_of_many_do_not() -> None:
    groups, truth = planted(3, 6000.0)
    found = evidence(groups[0], None)
    raw = groups[0].removed / np.maximum(groups[0].clusters, 1)
    many = groups[0].clusters > 3000
    assert np.abs(found.rate - raw)[many].max() < 0.01
    few = groups[0].clusters < 80
    assert np.abs(found.rate - truth[0])[few].mean() < np.abs(raw - truth[0])[few].mean()
    # A group without a document borrows everything.
    above = margins(groups[1], None)
    nothing = margins(CellCounts(np.zeros_like(raw), np.zeros_like(raw)), above)
    assert nothing.by_size.without(0.0, 0.0)[0] == pytest.approx(above.by_size.without(0.0, 0.0)[0], abs=1e-9)


def test_noise_lifts_next_to_nothing_and_a_clear_cell_is_lifted_most() -> None:
    draw = np.random.default_rng(5)
    n = np.full((len(SIZE_FROM), 11), 400.0)
    lifted = 0
    for _ in range(20):
        counts = CellCounts(n, draw.binomial(400, 0.5, n.shape).astype(float))
        copies = lifts(evidence(counts, None), 4)
        assert copies.min() == 1 and copies.max() <= 4
        lifted += int((copies > 1).sum())
    assert lifted / (20 * n.size) < 0.05
    rate = np.full(n.shape, 0.5)
    rate[3, 8] = 0.1
    rate[4, 8] = 0.3
    copies = lifts(evidence(CellCounts(n, np.rint(n * rate)), None), 4)
    assert copies[3, 8] == 4 and 1 < copies[4, 8] < 4 and (copies > 1).sum() == 2


def test_sizes_fall_into_their_bins() -> None:
    sizes = np.array([1, 2, 3, 5, 6, 7, 8, 31, 1023, 1024, 10**9])
    assert SIZE_FROM[size_bins(sizes)].tolist() == [1, 2, 3, 4, 6, 6, 8, 16, 256, 1024, 1024]
