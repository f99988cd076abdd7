"""What a settled answer promised of a node's tallies is held against its accounts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gristmill.pipeline.audit.fingerprints import promise_problems
from gristmill.pipeline.provenance.accounts import Accounts, NodeAccount


def problems(promised: Any, tallies: dict[str, int]) -> list[str]:
    accounts = Accounts(nodes={"mix": NodeAccount(tallies=tallies)})
    predicate: Any = SimpleNamespace(reports={"mix": {"promised": promised}, "other": {}}, accounts=accounts)
    return promise_problems(predicate)


def test_tallies_within_what_was_promised_are_no_problem() -> None:
    assert problems({"amount.eng": [90, 110], "amount.deu": [0, 5]}, {"amount.eng": 110}) == []


@pytest.mark.parametrize("held", [89, 111])
def test_a_budget_that_was_missed_is_named(held: int) -> None:
    (problem,) = problems({"amount.eng": [90, 110]}, {"amount.eng": held})
    assert problem == f"node `mix`: it emitted {held} of `amount.eng`; its report promises 90 to 110."


@pytest.mark.parametrize("bounds", [None, [1], ["a", "b"], {"a": 1}, [1.5, 2]])
def test_promises_that_are_no_bounds_are_named(bounds: Any) -> None:
    (problem,) = problems({"amount.eng": bounds}, {"amount.eng": 1})
    assert "expected two numbers" in problem
