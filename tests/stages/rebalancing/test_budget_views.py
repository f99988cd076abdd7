"""What is shown of budgets: tables that fit, and bars."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest

from gristmill.pipeline.errors import DataError
from gristmill.stages.rebalancing.budget_views import (
    MOST_GROUPS,
    MOST_PASSES,
    WIDTH,
    budget_lines,
    budgets_table,
    exposure_table,
    read_budgets,
)
from gristmill.stages.rebalancing.budgets import Budgets, budget_report, solve_budgets
from gristmill.stages.rebalancing.cells import Cells, factor
from gristmill.stages.rebalancing.report import picture

SVG = "{http://www.w3.org/2000/svg}"


def cells(amounts: list[int], weights: list[float]) -> Cells:
    rows = len(amounts)
    return Cells(
        np.array(weights), np.zeros(rows, np.int64), np.ones(rows, np.int64), np.array(amounts, np.int64), max(amounts)
    )


def solved(groups: dict[str, Cells], **wanted: Any) -> dict[str, Any]:
    budgets = Budgets(max_epochs=4.0, **wanted)
    solution = solve_budgets(groups, budgets, "tokens", ["language"])
    factors = {name: factor(groups[name], 4.0, amount) for name, amount in solution.amounts.items()}
    return budget_report(groups, solution, factors, 4.0, "token_count")


GROUPS = {"eng": cells([600, 400], [1.0, 2.0]), "por": cells([200], [1.0]), "deu": cells([100], [1.0])}


def test_a_row_says_budget_what_it_came_to_and_what_bounds_cost() -> None:
    report = read_budgets(solved(GROUPS, fixed={"por": 0.5}, target=1600), "x")
    table = [line.split("  ") for line in budgets_table(report, {"por": 803, "eng": 740, "deu": 53})]
    rows = {row[0].strip(): [cell.strip() for cell in row if cell.strip()] for row in table}
    assert rows["group"] == [
        "group", "there is", "budget", "met by", "share", "λ", "epochs", "effective", "held by", "price",
    ]  # fmt: skip
    assert rows["por"][:7] == ["por", "200", "800", "+3", "50.00%", "4", "4.00"]
    assert rows["por"][8] == "fixed" and float(rows["por"][9]) > 0.1
    assert rows["all"][:5] == ["all", "1,300", "1,600", "-4", "100.00%"]
    assert sum(report.groups[name].wanted for name in report.groups) == 1600
    without = budgets_table(report)
    assert "met by" not in without[0] and len(without) == 5


def test_lines_fit_whatever_the_names_and_numbers_and_end_with_a_sum() -> None:
    names = ["長い名前" * 3, "x" * 300, "a\x1b[31m\n"] + [f"group-{n}" for n in range(40)]
    groups = {name: cells([10**16 + n], [0.123456789]) for n, name in enumerate(names)}
    report = read_budgets(solved(groups, target=3 * 10**17, ceilings={"group-3": 0.001}), "x")
    lines = budget_lines(report, {name: 10**16 for name in names})
    assert max(len(line) for line in budgets_table(report, {})) <= WIDTH
    assert max(len(line) for line in lines) <= WIDTH and not any("\x1b" in line for line in lines)
    assert sum(" more  " in line for line in lines) == 1
    table = budgets_table(report, {})
    assert len(table) == 2 + MOST_GROUPS and table[-2].startswith("20 more") and table[-1].startswith("all")


def test_exposure_is_counted_and_its_tail_taken_together() -> None:
    report = solved(GROUPS, target=1300)
    report["exposure"] = {str(n): {"documents": n + 1, "amount": 10} for n in range(20)}
    lines = exposure_table(read_budgets(report, "x"))
    assert lines[1].split() == ["never", "1", "10", "5.00%"] and lines[2].startswith("once")
    assert lines[-1].startswith("11 times and more") is False and lines[-1].split()[:3] == ["11", "and", "more"]
    assert len(lines) == MOST_PASSES + 1
    assert lines[-1].split()[-3:] == [str(sum(range(12, 21))), "90", "45.00%"]


def test_what_is_missing_is_said() -> None:
    report = solved(GROUPS, ratios={"eng": 0.1, "por": 0.9}, target=2000)
    assert report["shortfall"] == {"por": 1000}
    lines = budget_lines(read_budgets(report, "x"))
    assert "missing of por: 1,000 tokens, which the data does not have under this cap" in lines


def test_bars_are_as_long_as_amounts() -> None:
    report = read_budgets(solved(GROUPS, fixed={"por": 0.5}, target=1600), "x")
    root = ElementTree.fromstring(picture({}, {"mix": {"amount.por": 400}}, {"mix": report}))
    bars = [element for element in root.iter(f"{SVG}rect")][1:]
    assert len(bars) == 9
    lengths = [float(bar.attrib["width"]) for bar in bars[:3]]  # por has the largest budget
    assert lengths[0] / lengths[1] == pytest.approx(200 / 800, abs=1e-3)
    assert lengths[2] / lengths[1] == pytest.approx(400 / 800, abs=1e-3)
    words = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert any(word == "λ 4, 4.00 epochs, fixed" for word in words)


@pytest.mark.parametrize(
    "change",
    [
        {"target": -1},
        {"target": "many"},
        {"exposure": {"x": {"documents": 1, "amount": 1}}},
        {"groups": {"eng": {}}},
        {"shortfall": [1]},
        {"unit": None},
    ],
)
def test_a_report_that_no_mix_writes_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="out/x: this is not a report as a `mix` writes it"):
        read_budgets(solved(GROUPS, target=1300) | change, "out/x")
