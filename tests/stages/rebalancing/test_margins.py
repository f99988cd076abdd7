"""Margins: proportional fitting with caps, unique or refused."""

from __future__ import annotations

import numpy as np
import pytest

from gristmill.stages.rebalancing.margins import solve_margins
from gristmill.stages.rebalancing.mix_shares import Demands, InfeasibleMix, MixSolution

BY = ("language", "domain")
BASE = {"eng|news": 500, "eng|books": 100, "deu|news": 300, "deu|books": 50, "fra|news": 50}


def solve(
    margins: dict[str, dict[str, float]],
    target: int = 1000,
    base: dict[str, int] | None = None,
    max_epochs: float | None = None,
) -> MixSolution:
    amounts = BASE if base is None else base
    return solve_margins(amounts, amounts, Demands(target=target, max_epochs=max_epochs), margins, BY, "|", "tokens")


def margin(amounts: dict[str, int], place: int, value: str) -> int:
    return sum(amount for name, amount in amounts.items() if name.split("|")[place] == value)


def test_without_caps_it_is_iterative_proportional_fitting() -> None:
    base = {f"{a}|{b}": 1 + 7 * i + 3 * j * j for i, a in enumerate("xyz") for j, b in enumerate("pqrs")}
    found = solve({"language": {"x": 0.5, "y": 0.2}, "domain": {"p": 0.4}}, 10**9, base)
    table = np.array([[base[f"{a}|{b}"] for b in "pqrs"] for a in "xyz"], float)
    other = table[:, 1:].sum(axis=1)  # the named value against the others, which keep their proportions
    two = np.stack([table[:, 0], other], axis=1)
    for _ in range(500):
        two *= (np.array([0.5, 0.2, 0.3]) / two.sum(axis=1))[:, None]
        two *= (np.array([0.4, 0.6]) / two.sum(axis=0))[None, :]
    for i, a in enumerate("xyz"):
        assert found.amounts[f"{a}|p"] / 10**9 == pytest.approx(two[i, 0], rel=1e-5)
        for j, b in enumerate("qrs", 1):
            assert found.amounts[f"{a}|{b}"] / 10**9 == pytest.approx(two[i, 1] * table[i, j] / other[i], rel=1e-5)


def test_margins_hold_under_caps_and_say_what_is_bound() -> None:
    found = solve({"language": {"eng": 0.5, "deu": 0.4}, "domain": {"books": 0.4}}, 1000, max_epochs=3.0)
    assert sum(found.amounts.values()) == pytest.approx(1000, abs=2)
    assert margin(found.amounts, 0, "eng") == pytest.approx(500, abs=2)
    assert margin(found.amounts, 1, "books") == pytest.approx(400, abs=2)
    assert found.amounts["deu|books"] <= 150 and all(found.amounts[name] <= 3 * BASE[name] for name in BASE)
    assert found.bound == {"deu|books": "max_epochs"}


def test_the_order_of_columns_and_values_changes_nothing() -> None:
    one = solve({"language": {"eng": 0.5, "deu": 0.4}, "domain": {"books": 0.2}})
    two = solve({"domain": {"books": 0.2}, "language": {"deu": 0.4, "eng": 0.5}})
    assert one == two


@pytest.mark.parametrize(
    ("margins", "message"),
    [
        ({"language": {"eng": 0.9, "deu": 0.3}}, "add up to 1.2. Nearest: deu 0.25, eng 0.75"),
        ({"language": {"eng": 0.5, "deu": 0.2, "fra": 0.2}}, "add up to 0.9, and there is no other value"),
        ({"language": {"eng": 0.5, "deu": 0.5}}, "leaves nothing to fra"),
        ({"language": {"enx": 0.5}}, "the data has no such value; .*`eng`"),
        ({"language": {"eng": 0.0}}, "lies above 0 and up to 1"),
        ({"language": {"fra": 0.5}, "domain": {"books": 0.9}}, "no mix has all margins at once .*contradict"),
    ],
)
def test_margins_that_cannot_be_met_are_refused(margins: dict[str, dict[str, float]], message: str) -> None:
    with pytest.raises(InfeasibleMix, match=message):
        solve(margins)


def test_a_margin_beyond_the_cap_names_what_there_is() -> None:
    with pytest.raises(InfeasibleMix, match=r"books should have 900 of 1000 tokens.*with max_epochs 4 there are 600"):
        solve({"domain": {"books": 0.9}}, max_epochs=4.0)
