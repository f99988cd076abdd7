"""The pure functions of FineWeb2's rehydration: published results, ties, bins and exact rates."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.rebalancing.rebalance import rehydration_repeats
from gristmill.stages.rebalancing.rehydration import (
    Counts,
    bin_starts,
    curve,
    moving_average,
    read_weights,
    table_curve,
)

# Small languages out of FineWeb2's misc/rehydration (Apache-2.0): sizes with the tail's threshold last, removal rates in
# per cent, the global rate, and the published change points for up to 4 and up to 10 repeats.
PUBLISHED = {
    "ldn_Latn": (
        [1, 2, 3, 4, 5, 6, 8, 10, 11, 14, 15],
        [98.9795918367347, *[100.0] * 10],
        99.25925925925925,
        {4: {1: 4, 2: 1, 3: 2, 4: 1}, 10: {1: 10, 2: 1, 3: 3, 4: 1}},
    ),
    "dur_Latn": (
        [1, 2, 3, 4, 5, 6, 7, 14, 27],
        [80.0, 13.043478260869565, 50.0, 60.0, 66.66666666666666, 66.66666666666666, 100.0, 100.0, 100.0],
        46.15384615384615,
        {4: {1: 1, 2: 4, 3: 2, 5: 1}, 10: {1: 1, 2: 10, 3: 3, 5: 1}},
    ),
    "lbk_Latn": (
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 22, 23, 24, 28, 29, 32, 58, 60],
        [98.83248730964466, 85.61151079136691, 90.9090909090909, 100.0, 90.0, 62.5, 80.0, 100.0, 100.0, 100.0]
        + [66.66666666666666, *[100.0] * 10, 66.66666666666666],
        97.5909090909091,
        {
            4: {1: 1, 2: 2, 3: 1, 4: 2, 15: 1, 32: 2, 58: 1, 60: 4},
            10: {1: 1, 2: 4, 3: 2, 4: 4, 9: 3, 15: 1, 32: 3, 58: 1, 60: 9},
        },
    ),
    "tlj_Latn": (
        [1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 14, 15, 20, 37, 43],
        [96.96969696969697, 95.65217391304348, *[100.0] * 5, 0.0, 0.0, *[100.0] * 4, 0.0, 100.0],
        95.08196721311475,
        {4: {1: 1, 6: 2, 37: 4, 43: 1}, 10: {1: 1, 6: 3, 8: 5, 14: 3, 37: 10, 43: 1}},
    ),
}


def change_points(sizes: list[int], repeats: np.ndarray) -> dict[int, int]:
    points: dict[int, int] = {}
    for size, count in zip(sizes, repeats.tolist(), strict=True):
        if not points or points[max(points)] != count:
            points[size] = count
    return points


def plain_repeats(rates: list[float], overall: float, most: int) -> list[int]:
    """The published rule, one number at a time."""
    lowest = min(rates)
    values = [1 + (most - 1) * ((r - overall) / (lowest - overall)) if r < overall else 1.0 for r in rates]
    smooth = list(values)
    for i in range(2, len(values) - 2):
        total = values[i - 2] * 0.2
        for value in values[i - 1 : i + 3]:
            total = total + value * 0.2
        smooth[i] = total
    if len(values) in (3, 4):
        smooth[2] = 0.0
        for value in reversed(values):
            smooth[2] += value * 0.2
        smooth[3:] = values[2:-1]
    return [round(value) for value in smooth]


@pytest.mark.parametrize("most", [4, 10])
@pytest.mark.parametrize("language", PUBLISHED)
def test_published_weights_come_out_equal(language: str, most: int) -> None:
    sizes, rates, overall, weights = PUBLISHED[language]
    assert change_points(sizes, rehydration_repeats(sizes, rates, overall, most)) == weights[most]


def test_repeats_come_in_the_order_of_the_sizes_given() -> None:
    sizes, rates, overall, _ = PUBLISHED["lbk_Latn"]
    straight = rehydration_repeats(sizes, rates, overall, 10)
    order = np.random.default_rng(0).permutation(len(sizes))
    mixed = rehydration_repeats(np.array(sizes)[order], np.array(rates)[order], overall, 10)
    assert mixed.tolist() == straight[order].tolist()
    assert mixed.dtype == np.int64


def test_fewer_than_five_sizes_come_out_as_published() -> None:
    # A kernel longer than its input: the third value is a fifth of the sum of all, the fourth takes the third's place.
    assert rehydration_repeats([1, 2, 3, 4], [50, 0, 50, 25], 50, 9).tolist() == [1, 9, 3, 1]
    assert rehydration_repeats([1, 2, 3], [50, 0, 50], 50, 14).tolist() == [1, 14, 3]
    assert rehydration_repeats([1, 2], [50, 0], 50, 4).tolist() == [1, 4]
    assert rehydration_repeats([7], [0.0], 50, 4).tolist() == [4]
    assert rehydration_repeats([], [], 50, 4).tolist() == []


@pytest.mark.parametrize("count", range(1, 9))
def test_smoothing_is_that_of_the_published_code(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(200):
        values = 1 + 9 * rng.integers(0, 8, count) / 7
        published = np.convolve(values, np.ones(5) / 5, mode="same")
        published[:2] = values[:2]
        published[-2:] = values[-2:]
        assert moving_average(values).tolist() == published[:count].tolist()


def test_few_bins_of_a_run_keep_their_values_unless_every_size_is_one() -> None:
    counts = Counts(
        np.array([1, 2, 3, 4]), np.array([10**6, 10**5, 10**5, 10**5]), np.array([500000, 0, 50000, 25000]), False
    )
    merged, published = curve(counts, 9, 30), curve(counts, 9, 1)
    assert merged.size_from.tolist() == published.size_from.tolist() == [1, 2, 3, 4]
    rates = counts.marked / counts.rows
    unsmoothed = rehydration_repeats(counts.sizes, rates, merged.global_rate, 9, few_as_published=False)
    assert merged.repeats.tolist() == unsmoothed.tolist()
    assert (
        merged.repeats.tolist()
        != published.repeats.tolist()
        == rehydration_repeats(counts.sizes, rates, merged.global_rate, 9).tolist()
    )


def test_the_two_sizes_at_each_end_keep_their_own_value() -> None:
    assert rehydration_repeats([1, 2, 3, 4, 5], [0, 0, 50, 0, 0], 50, 6).tolist() == [6, 6, 5, 6, 6]
    assert rehydration_repeats([1, 2, 3, 4, 5], [0, 50, 50, 50, 0], 50, 6).tolist() == [6, 1, 3, 1, 6]


def test_halves_round_to_even() -> None:
    # Repeats before rounding at the first two sizes: 1 + 3·½ = 2.5 and 1 + 5·½ = 3.5.
    assert rehydration_repeats([1, 2], [25, 0], 50, 4).tolist() == [2, 4]
    assert rehydration_repeats([1, 2], [25, 0], 50, 6).tolist() == [4, 6]
    # Ties of the moving average, (1 + 1 + 1 + 6 + 3.5) / 5: adding fifths ends one bit above 2.5, or on it, as the order
    # has it. numpy.convolve, with which the weights were published, rounds the first to 3 and the second to 2.
    assert rehydration_repeats([1, 2, 3, 4, 5], [50, 50, 50, 0, 25], 50, 6).tolist() == [1, 1, 3, 6, 4]
    assert rehydration_repeats([1, 2, 3, 4, 5], [0, 50, 50, 50, 25], 50, 6).tolist() == [6, 1, 2, 1, 4]


def test_the_moving_average_adds_fifths_from_left_to_right() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        values = 1 + 9 * rng.random(int(rng.integers(5, 40)))
        expected = np.convolve(values, np.ones(5) / 5, mode="same")[2:-2]
        found = moving_average(values)
        assert np.abs(found[2:-2] - expected).max() < 1e-14
        by_hand = [
            ((((a * 0.2 + b * 0.2) + c * 0.2) + d * 0.2) + e * 0.2)
            for a, b, c, d, e in zip(values, values[1:], values[2:], values[3:], values[4:], strict=False)
        ]
        assert found[2:-2].tolist() == by_hand


@pytest.mark.parametrize("rate", [0.0, 1 / 3, 55.7, 100.0])
def test_equal_rates_repeat_nothing(rate: float) -> None:
    assert rehydration_repeats(np.arange(1, 20), np.full(19, rate), rate, 10).tolist() == [1] * 19


def test_max_repeats_of_one_repeats_nothing() -> None:
    assert rehydration_repeats([1, 2, 3], [0.9, 0.1, 0.5], 0.6, 1).tolist() == [1, 1, 1]


@given(
    rates=st.lists(st.floats(0, 100), min_size=1, max_size=40),
    overall=st.floats(0, 100),
    most=st.integers(1, 12),
)
def test_repeats_equal_the_rule_applied_one_number_at_a_time(rates: list[float], overall: float, most: int) -> None:
    found = rehydration_repeats(np.arange(1, len(rates) + 1), rates, overall, most)
    assert found.tolist() == plain_repeats(rates, overall, most)
    assert found.min() >= 1 and found.max() <= most


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [0.5], 0.5, 4), "one length"),
        (([1, 2], [0.5, math.nan], 0.5, 4), r"removal_rates\[1\] \(size 2\) is nan"),
        (([1, 2], [0.5, math.inf], 0.5, 4), "leave it out"),
        (([1, 2], [0.5, 0.2], math.nan, 4), "global_rate"),
        (([2, 2], [0.5, 0.2], 0.5, 4), "twice"),
        (([1, 2], [0.5, 0.2], 0.5, 0), "max_repeats"),
        (([1, 2], [0.5, 0.2], 0.5, 2.5), "max_repeats"),
    ],
)
def test_senseless_input_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rehydration_repeats(*arguments)


def counts(table: dict[int, tuple[int, int]], members: bool = True) -> Counts:
    """Counts from {size: (rows, marked)}."""
    sizes = sorted(table)
    rows, marked = (np.array([table[s][i] for s in sizes], np.int64) for i in (0, 1))
    return Counts(np.array(sizes, np.int64), rows, marked, members)


# Sizes, then per size rows and how many of them are marked.
TABLES = st.dictionaries(
    st.integers(1, 300),
    st.integers(1, 1000).flatmap(lambda rows: st.tuples(st.just(rows), st.integers(0, rows))),
    min_size=1,
    max_size=30,
)


@given(TABLES)
def test_rates_are_the_exact_quotient_rounded_once(table: dict[int, tuple[int, int]]) -> None:
    marked = sum(Fraction(m, size) for size, (_, m) in table.items())
    rows = sum(Fraction(n, size) for size, (n, _) in table.items())
    assert counts(table).removal_rate() == float(marked / rows)
    plain = counts(table, members=False)
    assert plain.removal_rate() == float(Fraction(int(plain.marked.sum()), int(plain.rows.sum())))


@given(st.dictionaries(st.integers(1, 500), st.integers(1, 50), min_size=1, max_size=40), st.integers(2, 7))
def test_sizes_with_one_rate_have_that_rate_together(table: dict[int, int], part: int) -> None:
    # One member in `part` is marked at every size: a global rate one bit above that would repeat everything.
    same = counts({size: (part * n, n) for size, n in table.items()})
    assert same.removal_rate() == 1 / part
    assert (curve(same, 10, 1).repeats == 1).all()


def test_a_member_weighs_less_the_larger_its_cluster() -> None:
    # 10 singletons, all marked, and one cluster of 90, unmarked: 10 of 11 clusters, not 10 of 100 rows.
    both = {1: (10, 10), 90: (90, 0)}
    assert counts(both).removal_rate() == 10 / 11
    assert counts(both, members=False).removal_rate() == 0.1


def test_the_tail_is_the_fewest_large_sizes_with_a_thousandth_of_the_clusters() -> None:
    table = {1: (2000, 0), 2: (2000, 0), 3: (3, 0), 4: (4, 0), 5: (5, 0), 6: (6, 0)}
    # 2000 + 1000 + 4 clusters: the two largest sizes hold 2 < 3.004, three hold 3, four hold 4.
    assert bin_starts(counts(table), 1) == [0, 1, 2]
    table[1] = (1996, 0)  # now three hold 3 of 3,000
    assert bin_starts(counts(table), 1) == [0, 1, 2, 3]
    assert bin_starts(counts({7: (7, 0)}), 1) == [0]


def test_small_bins_take_in_the_next_larger_size() -> None:
    table = {1: (50, 0), 2: (40, 0), 3: (60, 0), 4: (160, 0), 9: (9, 0)}
    # Clusters: 50, 20, 20, 40 and a tail of 1, which joins the bin below.
    assert bin_starts(counts(table), 30) == [0, 1, 3]
    # Rising clusters one by one: the last bin before the tail is short and takes the tail in.
    assert bin_starts(counts({1: (50, 0), 2: (40, 0), 3: (90, 0)}), 30) == [0, 1]
    assert bin_starts(counts({1: (3, 0), 2: (4, 0), 5: (5, 0)}), 30) == [0]


@given(TABLES, st.integers(1, 60))
def test_bins_cover_all_sizes_and_are_large_enough(table: dict[int, tuple[int, int]], least: int) -> None:
    one = counts(table)
    made = curve(one, 4, least)
    assert made.size_from[0] == one.sizes[0]
    assert (np.diff(made.size_from) > 0).all()
    assert math.isclose(made.clusters.sum(), one.cluster_count())
    if len(made.clusters) > 1 and least > 1:
        assert made.clusters.min() >= least


def test_weights_name_the_sizes_at_which_the_repeats_change() -> None:
    assert table_curve({1: 1, 2: 3, 5: 3, 9: 2}).weights() == {"1": 1, "2": 3, "9": 2}


def test_a_weights_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "up_to_03_reps.json"
    path.write_text(json.dumps({"por_Latn": {"1": 1, "3": 2}}))
    assert read_weights(path) == {"por_Latn": {1: 1, 3: 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "expected JSON like"),
        ('{"por_Latn": []}', "`por_Latn` holds"),
        ('{"por_Latn": {"one": 1}}', "cluster size 'one'"),
        ('{"por_Latn": {"0": 1}}', "cluster size '0'"),
        ('{"por_Latn": {"1": 1.5}}', "`por_Latn.1` is 1.5"),
        ('{"por_Latn": {"1": 0}}', "`por_Latn.1` is 0"),
        ('{"por_Latn": {"1": 1, "01": 2}}', "twice"),
        ('{"por_Latn": {"1": 1, "1": 2}}', "duplicate key"),
        ('{"por_Latn": {"1": 1}, "por_Latn": {"1": 2}}', "duplicate key"),
    ],
)
def test_a_broken_weights_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "weights.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as refusal:
        read_weights(path)
    assert str(path) in str(refusal.value)


def test_a_missing_weights_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_weights(tmp_path / "none.json")
