"""What budgets would come to: a mix's demands, solved on the cells that an earlier run's report keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gristmill.stages.rebalancing.budgets import SEPARATOR, budget_report, shown, solve_budgets
from gristmill.stages.rebalancing.cell_records import coarseness, read_cells, regroup
from gristmill.stages.rebalancing.cells import factor
from gristmill.stages.rebalancing.mix import Mix
from gristmill.stages.rebalancing.mix_shares import InfeasibleMix


@dataclass(frozen=True)
class Forecast:
    """What a mix would find if the data were as in an earlier run.

    Attributes:
        report: as a run would report it (see `budget_report`), or None where demands cannot be met or nothing can be said.
        refusal: why a run would stop, with the nearest demands that can be met.
        unknown: what the earlier run does not tell.
    """

    report: Mapping[str, Any] | None = None
    refusal: str | None = None
    unknown: list[str] = field(default_factory=list)


def forecast(mix: Mix, report: Mapping[str, Any], where: str) -> Forecast:
    """Solves the budgets of `mix` on an earlier run's cells, with the solver of the run.

    Args:
        mix: a stage as the config has it.
        report: of a `mix` of the earlier run.
        where: names that report in errors.

    Raises DataError when the report is none that a run writes.
    """
    if "cells" not in report:
        return Forecast(unknown=[f"{where} has no counts by weight: an earlier version wrote it. Run it again."])
    record, counts = read_cells(report["cells"], f"{where}, cells"), mix.counts()
    in_documents = counts == "documents"
    if not in_documents and counts != record.unit:
        return Forecast(unknown=[f"{where} counted {record.unit}; how many {counts} its documents have is not known."])
    separated = bool(mix.config.margins)
    found = regroup(record, mix.groups_by(), separated, in_documents)
    if isinstance(found, str):
        return Forecast(unknown=[f"{where}: {found}. A run by these groups would know."])
    unknown = [text for text in (coarseness(found),) if text]
    missing = _not_there(mix, found.groups)
    if missing:
        listed = ", ".join(missing[:9]) + (f" and {len(missing) - 9} more" if len(missing) > 9 else "")
        unknown.append(f"the earlier run had no {listed}: how much there is of it now is not known; here it has none.")
    epochs = mix.config.max_epochs
    try:
        solution = solve_budgets(found.groups, mix.budgets(), counts, mix.groups_by())
    except InfeasibleMix as error:
        return Forecast(refusal=str(error), unknown=unknown)
    factors = {name: factor(found.groups[name], epochs, amount) for name, amount in solution.amounts.items()}
    return Forecast(budget_report(found.groups, solution, factors, epochs, counts), unknown=unknown)


def _not_there(mix: Mix, groups: Mapping[str, Any]) -> list[str]:
    """Groups, or values of margins, that the config names and the data did not have."""
    budgets, by = mix.budgets(), mix.groups_by()
    named = {*budgets.fixed, *budgets.floors, *budgets.ceilings, *(budgets.ratios or {})}
    missing = sorted(named - {shown(name) for name in groups})
    for column, shares in sorted(budgets.margins.items()):
        there = {name.split(SEPARATOR)[by.index(column)] for name in groups}
        missing += sorted(f"{column} {value}" for value in shares if value not in there)
    return missing
