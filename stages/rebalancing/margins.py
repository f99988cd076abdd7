"""Budgets by margins: shares by language and shares by domain at once, raked under caps.

Of all amounts with the wanted margins that keep the caps, those nearest to the data in relative entropy: a group's amount is
min(cap, base · Π of one factor for each of its values). The factors are found value by value, each time meeting one margin
exactly, which is coordinate ascent on the dual of a strictly convex problem: if the margins can be met at all, the amounts are
unique and the steps lead there (with caps off, this is iterative proportional fitting, Deming and Stephan 1940).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from gristmill.pipeline.errors import nearest
from gristmill.stages.rebalancing.mix_shares import SLACK, Demands, InfeasibleMix, MixSolution, whole_amounts

MOST_SWEEPS = 2000
TOLERANCE = 1e-7
"""Of the target: how far a margin may lie from what is wanted when the steps end."""


def solve_margins(
    base: Mapping[str, int],
    once: Mapping[str, int],
    demands: Demands,
    margins: Mapping[str, Mapping[str, float]],
    by: Sequence[str],
    separator: str,
    unit: str,
) -> MixSolution:
    """Amounts by group with the wanted shares of each named value.

    Args:
        base: amounts that proportions are kept of, by group: the values of `by`, joined by `separator`.
        once: the amount of each group, read once.
        demands: the target and the cap on epochs.
        margins: by column, the share of each named value; the other values of a column share the rest as the data has it.
        unit: name of what amounts count, for messages.

    Raises InfeasibleMix when they cannot be met together.
    """
    names = sorted(name for name in base if base[name] > 0 and once[name] > 0)
    if not names:
        raise InfeasibleMix(f"there is nothing to mix: all groups together hold 0 {unit}. Check the nodes upstream.")
    parts = {name: dict(zip(by, name.split(separator), strict=True)) for name in names}
    weight = np.array([base[name] for name in names], np.float64)
    most = np.array([demands.most(name, once[name]) for name in names])
    rows: list[tuple[str, str, np.ndarray, float]] = []
    for column, shares in sorted(margins.items()):
        rows += _margin(column, shares, [parts[name][column] for name in names], weight, demands.target)
    factors = np.full(len(names), demands.target / weight.sum())
    error = math.inf
    for _ in range(MOST_SWEEPS):
        for _, _, members, wanted in rows:
            factors[members] *= _lift(factors[members] * weight[members], most[members], wanted)
        amounts = np.minimum(most, factors * weight)
        error = max(abs(float(amounts[members].sum()) - wanted) for _, _, members, wanted in rows)
        if error <= TOLERANCE * demands.target:
            break
    else:
        raise _unmet(rows, amounts, most, demands, unit)
    shares_found = {name: float(amount) for name, amount in zip(names, amounts / amounts.sum(), strict=True)}
    whole = whole_amounts(shares_found, demands.target)
    bound = {
        name: "max_epochs"
        for name, amount, limit in zip(names, amounts.tolist(), most.tolist(), strict=True)
        if amount >= limit * (1 - SLACK)
    }
    for name in bound:  # a whole number may lie above the cap by rounding
        whole[name] = min(whole[name], math.floor(demands.most(name, once[name])))
    return MixSolution(shares_found, whole, {name: whole[name] / once[name] for name in names}, bound=bound)


def _margin(
    column: str, shares: Mapping[str, float], values: Sequence[str], weight: np.ndarray, target: int
) -> list[tuple[str, str, np.ndarray, float]]:
    """(column, value, the groups with it, the amount wanted) for each value of a column."""
    for value, share in shares.items():
        if not 0 < share <= 1:
            raise InfeasibleMix(f"`margins.{column}.{value}` is {share:g}; a share lies above 0 and up to 1.")
        if value not in values:
            raise InfeasibleMix(
                f"`margins.{column}.{value}` asks for a share of {share:g}, but the data has no such value; "
                f"{nearest(value, sorted(set(values)))}"
            )
    named = math.fsum(shares.values())
    others = sorted(set(values) - set(shares))
    if named > 1 + SLACK or (not others and named < 1 - SLACK):
        scaled = ", ".join(f"{value} {share / named:.4g}" for value, share in sorted(shares.items()))
        raise InfeasibleMix(
            f"the shares of `margins.{column}` add up to {named:.4g}"
            + (", and there is no other value to take the rest" if named < 1 else "")
            + f". Nearest: {scaled}."
        )
    if others and named > 1 - SLACK:
        raise InfeasibleMix(
            f"the shares of `margins.{column}` add up to 1, which leaves nothing to {', '.join(others[:9])}. Drop these "
            "upstream, or leave them a share."
        )
    found = []
    arranged = np.array(values)
    for value, share in sorted(shares.items()):
        found.append((column, value, np.flatnonzero(arranged == value), share * target))
    if others:
        rest = np.flatnonzero(~np.isin(arranged, sorted(shares)))
        found.append((column, "the other values", rest, (1 - named) * target))
    return found


def _lift(amounts: np.ndarray, most: np.ndarray, wanted: float) -> float:
    """The factor at which Σ min(most, factor · amount) is what is wanted, or at which all are at their caps."""
    full = most / amounts
    order = np.argsort(full, kind="stable")
    reached = np.concatenate(([0.0], np.cumsum(np.where(np.isfinite(most[order]), most[order], 0.0))))
    slope = np.cumsum(amounts[order][::-1])[::-1]
    for k, limit in enumerate(full[order].tolist()):
        level = float((wanted - reached[k]) / slope[k])
        if level <= limit:
            return max(level, 1e-300)
    return float(full.max())


def _unmet(
    rows: Sequence[tuple[str, str, np.ndarray, float]],
    amounts: np.ndarray,
    most: np.ndarray,
    demands: Demands,
    unit: str,
) -> InfeasibleMix:
    column, value, members, wanted = max(rows, key=lambda row: (abs(float(amounts[row[2]].sum()) - row[3]), row[:2]))
    reached = float(amounts[members].sum())
    limit = float(most[members].sum())
    why = (
        f"with max_epochs {demands.max_epochs:g} there are {limit:.0f}"
        if limit < wanted
        else "the margins contradict each other under max_epochs, or where the data has no such combination"
    )
    return InfeasibleMix(
        f"`margins.{column}`: {value} should have {wanted:.0f} of {demands.target} {unit}, and no mix has all margins at once "
        f"({why}). Nearest: a share of {reached / demands.target:.4g} for it, more epochs, or a smaller target."
    )
