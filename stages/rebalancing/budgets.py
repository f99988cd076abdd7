"""From demands to each group's budget, and what a budget means: exposure, effective tokens, the price of each bound."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.rebalancing.cells import (
    Cells,
    effective_amount,
    expected_amount,
    expected_copies,
    exposure,
    marginal_worth,
)
from gristmill.stages.rebalancing.margins import solve_margins
from gristmill.stages.rebalancing.mix_shares import Demands, InfeasibleMix, MixSolution, solve, whole_amounts

SEPARATOR = "\x1f"
"""Stands between the values of a group's columns where margins tell them apart."""
MOST_FILE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """What a mix shall look like: `target` (None: as large as the input, within the cap), and either a temperature with
    bounds (see `stages.rebalancing.mix_shares.Demands`), or `margins`, or `ratios`."""

    target: int | None = None
    temperature: float = 1.0
    fixed: Mapping[str, float] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)
    ceilings: Mapping[str, float] = field(default_factory=dict)
    margins: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    ratios: Mapping[str, float] | None = None
    max_epochs: float | None = None


def solve_budgets(groups: Mapping[str, Cells], budgets: Budgets, unit: str, by: Sequence[str]) -> MixSolution:
    """The amount of each group. Raises InfeasibleMix for what cannot be met, with the nearest that can.

    Args:
        groups: the cells of each group.
        budgets: what is asked for.
        unit: name of what amounts count, for messages.
        by: the columns that make up the groups' names, for margins.
    """
    most_epochs = budgets.max_epochs
    base = {name: cells.base(most_epochs) for name, cells in groups.items()}
    once = {name: cells.once(most_epochs) for name, cells in groups.items()}
    target = sum(base.values()) if budgets.target is None else budgets.target
    demands = Demands(
        target=target,
        temperature=budgets.temperature,
        fixed=budgets.fixed,
        floors=budgets.floors,
        ceilings=budgets.ceilings,
        max_epochs=most_epochs,
        spent={name: cells.spent(most_epochs) for name, cells in groups.items()},
    )
    if budgets.target is None and target == 0:
        raise InfeasibleMix(
            f"there is nothing to mix: all groups together hold 0 {unit} that may still be read. Check the nodes upstream, and "
            "the columns `weight` and `seen`."
        )
    if budgets.margins:
        return solve_margins(base, once, demands, budgets.margins, by, SEPARATOR, unit)
    if budgets.ratios is not None:
        return _by_ratios(once, demands, budgets.ratios, unit)
    return solve(once, demands, unit, base)


def _by_ratios(once: Mapping[str, int], demands: Demands, ratios: Mapping[str, float], unit: str) -> MixSolution:
    """Each group's ratio of the target, as far as there is that much of it."""
    known = [name for name in ratios if once.get(name, 0) > 0]
    if not known:
        raise InfeasibleMix(
            f"none of the {len(ratios)} groups of `ratios` is in the data ({', '.join(sorted(once)[:9])}). Name the groups as "
            "they are there."
        )
    whole = math.fsum(ratios.values())
    wanted = whole_amounts({name: ratio / whole for name, ratio in sorted(ratios.items())}, demands.target)
    amounts = {
        name: min(wanted[name], math.floor(min(demands.most(name, once[name]), float(1 << 62))))
        for name in sorted(known)
    }
    total = sum(amounts.values())
    if not total:
        raise InfeasibleMix(f"with max_epochs {demands.max_epochs:g} nothing is left of the groups of `ratios`.")
    shares = {name: amount / total for name, amount in amounts.items()}
    missing = {name: wanted[name] - amounts.get(name, 0) for name in wanted}
    return MixSolution(
        shares,
        amounts,
        {name: amount / once[name] for name, amount in amounts.items()},
        {name: amount for name, amount in missing.items() if amount > 0},
    )


def read_ratios(path: Path) -> dict[str, float]:
    """A mixture search's ratios by group: a JSON or YAML file. Raises ConfigError naming the file and what is wrong."""
    expected = "expected numbers by group, such as {eng_Latn: 0.6, deu_Latn: 0.4}"
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Name a file with ratios.") from error
    if len(data) > MOST_FILE_BYTES:
        raise ConfigError(f"{path}: has more than {MOST_FILE_BYTES} bytes; {expected}.")
    try:
        value = json.loads(data) if path.suffix == ".json" else yaml.safe_load(data)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON or YAML; {expected}.") from error
    if not isinstance(value, dict) or not value:
        raise ConfigError(f"{path}: holds {type(value).__name__}; {expected}.")
    for name, ratio in value.items():
        number = isinstance(ratio, (int, float)) and not isinstance(ratio, bool)
        if not isinstance(name, str) or not number or not 0 <= ratio < math.inf:
            raise ConfigError(f"{path}: `{str(name)[:80]}` is {ratio!r:.60}; {expected}.")
    if not math.fsum(value.values()) > 0:
        raise ConfigError(f"{path}: all ratios are 0; {expected}.")
    return {name: float(ratio) for name, ratio in value.items()}


def shown(group: str) -> str:
    """A group's name for people."""
    return "_".join(part or "unknown" for part in group.split(SEPARATOR)) if SEPARATOR in group else group or "unknown"


def budget_report(
    groups: Mapping[str, Cells],
    solution: MixSolution,
    factors: Mapping[str, float],
    max_epochs: float | None,
    unit: str,
) -> dict[str, Any]:
    """What the solved mix means, as plain values for the manifest."""
    copies = {
        name: expected_copies(cells.weight, cells.seen, np.full(len(cells.weight), factors.get(name, 0.0)), max_epochs)
        for name, cells in groups.items()
    }
    worth = {name: marginal_worth(groups[name], copies[name]) for name in solution.amounts}
    free = [name for name in solution.amounts if name not in solution.bound]
    typical = _mean_worth(free or list(solution.amounts), worth, solution.amounts)
    base = {name: cells.base(max_epochs) for name, cells in groups.items()}
    size = sum(base.values())
    report: dict[str, dict[str, Any]] = {}
    for name, cells in groups.items():
        more = copies[name]
        lifted = (cells.weight <= 1) & (more > 1)
        report[shown(name)] = {
            "documents": int(cells.documents.sum()),
            "amount": int(cells.amount.sum()),
            "amount_with_repeats": base[name],
            "share_before": base[name] / size if size else 0.0,
            "share_after": solution.shares.get(name, 0.0),
            "wanted": solution.amounts.get(name, 0),
            "epochs": solution.epochs.get(name, 0.0),
            "factor": factors.get(name, 0.0),
            "effective_amount": round(effective_amount(cells, more)),
            # Read more than once although nothing but the budget asks for it.
            "repeated_for_budget": expected_amount(np.where(lifted, more - 1.0, 0.0), cells.amount),
        }
        if name in solution.bound:
            report[shown(name)]["bound"] = solution.bound[name]
            # What moving a token from this group to those between their bounds is worth, in fresh tokens.
            report[shown(name)]["price_of_bound"] = round(typical - worth[name], 6)
    named = sorted(groups)
    found: dict[str, Any] = {
        "unit": unit,
        "target": sum(solution.amounts.values()),
        "effective_amount": sum(entry["effective_amount"] for entry in report.values()),
        "exposure": exposure([groups[name] for name in named], [copies[name] for name in named]),
        "groups": report,
    }
    # An audit compares these with what was emitted: within a group's largest document.
    bounds = {name: (amount, groups[name].largest) for name, amount in sorted(solution.amounts.items())}
    found["promised"] = {f"amount.{shown(name)}": [max(0, a - most), a + most] for name, (a, most) in bounds.items()}
    if solution.shortfall:
        found["shortfall"] = {shown(name): amount for name, amount in sorted(solution.shortfall.items())}
    return found


def _mean_worth(names: Sequence[str], worth: Mapping[str, float], amounts: Mapping[str, int]) -> float:
    whole = sum(amounts[name] for name in names)
    return math.fsum(worth[name] * amounts[name] for name in names) / whole if whole else 0.0
