"""The solver of mixes: temperature, bounds, caps on epochs, whole amounts, and what it says when it cannot."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gristmill.stages.rebalancing.mix_shares import (
    Demands,
    InfeasibleMix,
    bounds,
    largest_target,
    solve,
    water_fill,
    whole_amounts,
)

THREE = {"eng": 8_000, "deu": 1_000, "fin": 1_000}


def shares(available: dict[str, int], **demands: object) -> dict[str, float]:
    return solve(available, Demands(target=1000, **demands)).shares  # type: ignore[arg-type]


def test_temperature_1_keeps_the_shares_of_the_data() -> None:
    assert shares(THREE) == pytest.approx({"eng": 0.8, "deu": 0.1, "fin": 0.1})


def test_temperature_flattens_by_the_power_of_its_reciprocal() -> None:
    # mT5's α = 0.3 is τ = 1 / 0.3.
    found = shares(THREE, temperature=1 / 0.3)
    raw = {name: amount**0.3 for name, amount in THREE.items()}
    assert found == pytest.approx({name: value / sum(raw.values()) for name, value in raw.items()})
    assert shares(THREE, temperature=math.inf) == pytest.approx(dict.fromkeys(THREE, 1 / 3))


def test_temperature_below_1_sharpens() -> None:
    assert shares(THREE, temperature=0.5)["eng"] == pytest.approx(64 / 66)


def test_a_very_low_temperature_leaves_the_largest_group_alone() -> None:
    found = shares({"a": 10**12, "b": 1, "c": 1}, temperature=0.001, floors={"c": 0.1})
    assert found == pytest.approx({"a": 0.9, "b": 0.0, "c": 0.1})


def test_equal_shares_under_a_cap_are_unimaxs() -> None:
    # UniMax by hand: the smallest group first; each takes an even part of what is left, or its cap.
    available = {"a": 10, "b": 50, "c": 1_000, "d": 4_000}
    mix = solve(available, Demands(target=1_000, temperature=math.inf, max_epochs=4))
    left, expected = 1_000.0, {}
    for index, (name, amount) in enumerate(sorted(available.items(), key=lambda item: item[1])):
        expected[name] = min(4 * amount, left / (4 - index))
        left -= expected[name]
    assert mix.amounts == {name: round(amount) for name, amount in expected.items()}
    assert mix.amounts == {"a": 40, "b": 200, "c": 380, "d": 380}
    assert mix.epochs == pytest.approx({"a": 4.0, "b": 4.0, "c": 0.38, "d": 0.095})


def test_floors_and_ceilings_bind_and_the_rest_keeps_its_proportions() -> None:
    available = {"a": 700, "b": 200, "c": 60, "d": 40}
    found = shares(available, floors={"d": 0.1}, ceilings={"a": 0.5})
    assert found["a"] == pytest.approx(0.5) and found["d"] == pytest.approx(0.1)
    assert found["b"] / found["c"] == pytest.approx(200 / 60)
    assert math.fsum(found.values()) == pytest.approx(1)


def test_fixed_shares_are_met_exactly() -> None:
    found = shares(THREE, fixed={"deu": 0.25})
    assert found["deu"] == pytest.approx(0.25)
    assert found["eng"] / found["fin"] == pytest.approx(8)


def test_groups_without_anything_are_left_out() -> None:
    assert shares({"a": 5, "b": 0}) == {"a": 1.0}


def test_amounts_add_up_by_largest_remainders() -> None:
    assert whole_amounts({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, 100) == {"a": 34, "b": 33, "c": 33}
    assert whole_amounts({"a": 0.504, "b": 0.496}, 10) == {"a": 5, "b": 5}


AVAILABLE = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3), st.integers(1, 10**12), min_size=1, max_size=12
)
TEMPERATURES = st.one_of(st.floats(0.2, 100), st.just(math.inf))


@st.composite
def problems(draw: st.DrawFn) -> tuple[dict[str, int], Demands]:
    """Data and demands, most of which can be met."""
    available = draw(AVAILABLE)
    share = st.floats(0, 1)
    names = st.sampled_from(sorted(available))
    fixed = {name: value / len(available) for name, value in draw(st.dictionaries(names, share, max_size=3)).items()}
    others = st.sampled_from(sorted(set(available) - set(fixed)) or ["none"])
    floors = {
        n: v / len(available) for n, v in draw(st.dictionaries(others, share, max_size=3)).items() if n in available
    }
    ceilings = {
        n: max(v, floors.get(n, 0))
        for n, v in draw(st.dictionaries(others, share, max_size=2)).items()
        if n in available
    }
    return available, Demands(
        target=draw(st.integers(1, 10**12)),
        temperature=draw(TEMPERATURES),
        fixed=fixed,
        floors=floors,
        ceilings=ceilings,
        max_epochs=draw(st.none() | st.floats(0.5, 50)),
    )


@given(problems())
def test_what_is_solved_meets_every_demand_within_one(problem: tuple[dict[str, int], Demands]) -> None:
    available, demands = problem
    try:
        mix = solve(available, demands)
    except InfeasibleMix:
        assume(False)
        return
    assert sum(mix.amounts.values()) == demands.target
    lowest, highest = bounds(available, demands, demands.target)
    for name, amount in mix.amounts.items():
        slack = 1 + 1e-8 * demands.target
        assert abs(amount - mix.shares[name] * demands.target) < 1.001  # a product of 10^12 is off by 10^-4
        assert lowest[name] * demands.target - slack <= amount <= highest[name] * demands.target + slack


@example(
    (
        {"a": 1, "b": 3, "c": 1, "d": 1, "e": 1, "aa": 6},
        Demands(target=1, temperature=3.0, floors={"a": 0.0, "b": 0.125}, ceilings={"a": 0.0625}),
    )
)
@given(problems())
def test_groups_between_their_bounds_keep_the_proportions_of_the_temperature(
    problem: tuple[dict[str, int], Demands],
) -> None:
    available, demands = problem
    try:
        mix = solve(available, demands)
    except InfeasibleMix:
        assume(False)
        return
    lowest, highest = bounds(available, demands, demands.target)
    levels = []
    for name, share in mix.shares.items():
        if lowest[name] * 1.000001 < share < highest[name] * 0.999999 and share > 1e-9:
            weight = (available[name] / max(available.values())) ** (1 / demands.temperature)
            if weight > 1e-200:
                levels.append(share / weight)
    assert not levels or max(levels) == pytest.approx(min(levels), rel=1e-6)


@given(AVAILABLE, TEMPERATURES, st.randoms())
def test_the_order_of_the_groups_does_not_matter(available: dict[str, int], temperature: float, random: object) -> None:
    names = list(available)
    random.shuffle(names)  # type: ignore[attr-defined]
    demands = Demands(target=10**6, temperature=temperature)
    assert solve({name: available[name] for name in names}, demands) == solve(available, demands)


@example(({"a": 1}, Demands(target=1, max_epochs=1.999999999999993)))
@given(problems())
def test_the_largest_target_can_be_met_and_a_larger_one_cannot(problem: tuple[dict[str, int], Demands]) -> None:
    available, demands = problem
    best = largest_target(available, demands)
    assume(best is not None and best > 0 and sum(demands.fixed.values()) + sum(demands.floors.values()) <= 1)
    assert best is not None

    def fits(target: int) -> bool:
        try:
            solve(available, Demands(**{**vars(demands), "target": target}))
        except InfeasibleMix:
            return False
        return True

    assert fits(best)
    assert not fits(best + best // 1000 + 1)


@pytest.mark.parametrize(
    ("available", "demands", "message"),
    [
        ({}, {}, "nothing to mix"),
        ({"a": 0}, {}, "nothing to mix"),
        (THREE, {"target": 0}, "at least 1"),
        (THREE, {"temperature": 0.0}, "temperature must be above 0"),
        (THREE, {"fixed": {"deutsch": 0.1}}, "no such group; did you mean `deu`"),
        (THREE, {"floors": {"deu": 1.5}}, "between 0 and 1"),
        (
            THREE,
            {"fixed": {"deu": 0.1}, "floors": {"deu": 0.2}},
            "fixed share of 0.1 and is also listed under `floors`. Keep one",
        ),
        (THREE, {"floors": {"deu": 0.5}, "ceilings": {"deu": 0.3}}, "floor of 0.5 above its ceiling of 0.3"),
        (THREE, {"floors": {"deu": 0.6}, "fixed": {"fin": 0.6}}, "add up to 1.2, .* Nearest: deu 0.5, fin 0.5"),
        (THREE, {"ceilings": {"eng": 0.2, "deu": 0.1, "fin": 0.1}}, "add up to 0.4, so 0.6 .* eng 0.5, fin 0.25"),
        (THREE, {"target": 50_000, "max_epochs": 4.0}, "at most 40000 .*a target of 40000 documents.*max_epochs 5"),
        (
            THREE,
            {"target": 20_000, "max_epochs": 4.0, "floors": {"deu": 0.3}},
            "which is 6000; the data has 1000, .* 6.00 times.*a share of 0.2, or max_epochs 6, or a target of 13333",
        ),
    ],
)
def test_what_cannot_be_met_is_said_in_plain_words(available: dict, demands: dict, message: str) -> None:
    with pytest.raises(InfeasibleMix, match=re.compile(message, re.DOTALL)):
        solve(available, Demands(**{"target": 1000, **demands}))


def test_what_is_proposed_as_nearest_can_be_met() -> None:
    solve(THREE, Demands(target=40_000, max_epochs=4.0))
    solve(THREE, Demands(target=50_000, max_epochs=5.0))
    solve(THREE, Demands(target=13_333, max_epochs=4.0, floors={"deu": 0.3}))
    solve(THREE, Demands(target=20_000, max_epochs=6.0, floors={"deu": 0.3}))
    solve(THREE, Demands(target=20_000, max_epochs=4.0, floors={"deu": 0.2}))


def test_water_filling_without_bounds_is_proportional() -> None:
    weight = {"a": 3.0, "b": 1.0}
    assert water_fill(weight, dict.fromkeys(weight, 0.0), dict.fromkeys(weight, math.inf)) == {"a": 0.75, "b": 0.25}
