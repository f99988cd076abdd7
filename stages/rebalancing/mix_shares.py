"""Shares of a mix: temperature sampling with floors, ceilings, fixed shares and caps on epochs, for a target amount.

Convention: with temperature τ a group's share is proportional to n^(1/τ), n being its amount in the data. τ = 1 keeps the
data's own shares, τ > 1 flattens them, and without limit (`math.inf`) every group has the same share. (mT5 writes the
exponent: α = 0.3 is τ = 3.33.) With equal shares and a cap on epochs the result is UniMax's (Chung et al. 2023,
arXiv:2304.09151): as even as possible without reading a group more often than the cap.

Bounds are met by water-filling: share = clip(λ · weight, lowest, highest) with the one λ for which shares add up to 1, so
that groups between their bounds keep the proportions that the temperature gives them.

All results are the same on every machine: powers come from `stages.kernels.elementary`, and sums run in order of names.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gristmill.pipeline.errors import DataError, nearest
from gristmill.stages.kernels.elementary import exp, log

SLACK = 1e-9
"""Shares may miss their bounds by this much: twelve times 1/12 is not quite 1."""


class InfeasibleMix(DataError):
    """Demands on a mix that cannot be met together. The message says which, and the nearest ones that can."""


@dataclass(frozen=True, kw_only=True)
class Demands:
    """What a mix shall look like.

    Attributes:
        target: the amount of the mix, in the unit of the groups' amounts.
        temperature: τ > 0 (see the module's docstring); math.inf for equal shares.
        fixed: shares of named groups, exactly.
        floors, ceilings: least and largest shares of named groups.
        max_epochs: how often a document may be read, at most, earlier phases included; None for any number.
        spent: by group, how much of it was read in earlier phases, counted as often: that much less may be read now.
    """

    target: int
    temperature: float = 1.0
    fixed: Mapping[str, float] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)
    ceilings: Mapping[str, float] = field(default_factory=dict)
    max_epochs: float | None = None
    spent: Mapping[str, int] = field(default_factory=dict)

    def most(self, name: str, amount: int) -> float:
        """How much of a group may be read, of which there is `amount`; infinite without a limit."""
        if self.max_epochs is None:
            return math.inf
        return max(0.0, self.max_epochs * amount - self.spent.get(name, 0))


@dataclass(frozen=True)
class MixSolution:
    """A solved mix, by group in order of names.

    Attributes:
        shares: sum to 1.
        amounts: whole numbers that sum to the target; each less than one from share · target.
        epochs: amount ÷ what there is.
        shortfall: what is missing of amounts that were asked for, where that is allowed.
        bound: what holds a group where it is: `floor`, `ceiling`, `fixed` or `max_epochs`.
    """

    shares: dict[str, float]
    amounts: dict[str, int]
    epochs: dict[str, float]
    shortfall: dict[str, int] = field(default_factory=dict)
    bound: dict[str, str] = field(default_factory=dict)


def solve(
    available: Mapping[str, int], demands: Demands, unit: str = "documents", base: Mapping[str, int] | None = None
) -> MixSolution:
    """The mix of groups that meets all demands.

    Args:
        available: amount of each group in the data; groups with nothing are left out.
        demands: what is asked for.
        unit: name of what amounts count, for messages.
        base: amounts that the temperature goes by, where they are not those that there are: with what upstream repeats.

    Raises InfeasibleMix saying in plain words what cannot be met, and the nearest demands that can.
    """
    present = {name: available[name] for name in sorted(available) if available[name] > 0}
    if not present:
        raise InfeasibleMix(f"there is nothing to mix: all groups together hold 0 {unit}. Check the nodes upstream.")
    if demands.target < 1:
        raise InfeasibleMix(f"the target is {demands.target} {unit}; it must be at least 1.")
    _check_names(present, demands)
    _check_bounds(present, demands)
    lowest, highest = bounds(present, demands, demands.target)
    _check_amounts(present, demands, unit)
    own = present if base is None else {name: base[name] for name in present}
    shares = water_fill(weights(own, demands.temperature), lowest, highest)
    amounts = whole_amounts(shares, demands.target)
    bound = {name: what for name in present if (what := _bound(name, present[name], shares[name], demands))}
    return MixSolution(shares, amounts, {name: amounts[name] / present[name] for name in present}, bound=bound)


def _bound(name: str, amount: int, share: float, demands: Demands) -> str | None:
    low, high = _share_bounds(name, demands)
    if name in demands.fixed:
        return "fixed"
    if share >= demands.most(name, amount) / demands.target * (1 - SLACK):
        return "max_epochs"
    if low > 0 and share <= low * (1 + SLACK):
        return "floor"
    return "ceiling" if high < 1 and share >= high * (1 - SLACK) else None


def weights(available: Mapping[str, int], temperature: float) -> dict[str, float]:
    """n^(1/τ), scaled so that the largest group has 1."""
    if not temperature > 0:
        raise InfeasibleMix(f"temperature must be above 0 (1 keeps the data's shares), found {temperature}.")
    # Not 0, by which bounds are divided.
    least = 1e-300
    largest = max(1, *available.values())
    if temperature == 1:
        return {name: max(least, amount / largest) for name, amount in available.items()}
    return {
        name: max(least, exp(log(amount / largest) / temperature)) if amount else least
        for name, amount in available.items()
    }


def bounds(available: Mapping[str, int], demands: Demands, target: float) -> tuple[dict[str, float], dict[str, float]]:
    """Lowest and highest share of each group in a mix of the given size."""
    lowest, highest = {}, {}
    for name, amount in available.items():
        low, high = _share_bounds(name, demands)
        lowest[name], highest[name] = low, min(high, demands.most(name, amount) / target)
    return lowest, highest


def _share_bounds(name: str, demands: Demands) -> tuple[float, float]:
    if name in demands.fixed:
        return demands.fixed[name], demands.fixed[name]
    return demands.floors.get(name, 0.0), demands.ceilings.get(name, 1.0)


def water_fill(
    weight: Mapping[str, float], lowest: Mapping[str, float], highest: Mapping[str, float]
) -> dict[str, float]:
    """clip(λ · weight, lowest, highest) with the λ for which shares add up to 1.

    The bounds must allow it: Σ lowest ≤ 1 ≤ Σ highest, up to SLACK.
    """
    names = list(weight)
    # The sum is piecewise linear in λ, with corners where a group leaves or reaches a bound. Whether a group is between
    # its bounds is asked of the corners, never of products, which may round to the other side.
    leaves = {n: lowest[n] / weight[n] for n in names}
    reaches = {n: highest[n] / weight[n] for n in names}

    def share(name: str, level: float) -> float:
        if level >= reaches[name]:
            return highest[name]
        return lowest[name] if level < leaves[name] else level * weight[name]

    def total(level: float) -> float:
        return math.fsum(share(n, level) for n in names)

    corners = sorted({*leaves.values(), *reaches.values()} - {math.inf})
    below = [corner for corner in corners if total(corner) <= 1]
    start = below[-1] if below else 0.0
    free = [n for n in names if leaves[n] <= start < reaches[n]]
    level = start
    if free:
        bound = math.fsum(share(n, start) for n in names if not leaves[n] <= start < reaches[n])
        level = max(start, (1 - bound) / math.fsum(weight[n] for n in free))
    shares = {n: level * weight[n] if leaves[n] <= start < reaches[n] else share(n, start) for n in names}
    whole = math.fsum(shares.values())
    return {n: value / whole for n, value in shares.items()}


def whole_amounts(shares: Mapping[str, float], target: int) -> dict[str, int]:
    """share · target in whole numbers that add up to the target: largest remainders go up, ties in order of names."""
    exact = {name: share * target for name, share in shares.items()}
    amounts = {name: math.floor(value) for name, value in exact.items()}
    left = target - sum(amounts.values())
    order = sorted(shares, key=lambda name: (amounts[name] - exact[name], name))
    if left < 0:  # Rounding of the products alone; the smallest remainders give back.
        for name in reversed(order[left:]):
            amounts[name] -= 1
    for index in range(max(0, left)):
        amounts[order[index % len(order)]] += 1
    return amounts


def largest_target(available: Mapping[str, int], demands: Demands) -> int | None:
    """The largest target for which the demands can be met; None when there is no limit, 0 when none can be met."""
    if demands.max_epochs is None:
        return None
    # One too many, before rounding: whether it fits is asked with the same slack as in `solve`.
    low, high = 0, int(math.fsum(demands.most(*group) for group in available.items()) * (1 + 2 * SLACK)) + 1
    while low < high:
        middle = (low + high + 1) // 2
        lowest, highest = bounds(available, demands, middle)
        fits = all(lowest[n] <= highest[n] + SLACK for n in available) and math.fsum(highest.values()) >= 1 - SLACK
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


# Checks, from what no data could meet to what this data cannot.


def _check_names(available: Mapping[str, int], demands: Demands) -> None:
    for what, table in (("fixed", demands.fixed), ("floors", demands.floors), ("ceilings", demands.ceilings)):
        for name, share in table.items():
            if not 0 <= share <= 1:
                raise InfeasibleMix(f"`{what}.{name}` is {share:g}; a share lies between 0 and 1.")
            if name not in available and (share > 0 and what != "ceilings"):
                raise InfeasibleMix(
                    f"`{what}.{name}` asks for a share of {share:g}, but the data has no such group; "
                    f"{_nearest(name, available)}"
                )
            if what != "fixed" and name in demands.fixed:
                raise InfeasibleMix(
                    f"`{name}` has a fixed share of {demands.fixed[name]:g} and is also listed under `{what}`. Keep one."
                )


def _nearest(name: str, available: Iterable[str]) -> str:
    text = nearest(name, available)
    return text if len(text) < 400 else text[:400] + "…"


def _check_bounds(available: Mapping[str, int], demands: Demands) -> None:
    for name in available:
        low, high = _share_bounds(name, demands)
        if low > high:
            raise InfeasibleMix(
                f"`{name}` has a floor of {low:g} above its ceiling of {high:g}. Nearest: set both to {(low + high) / 2:g}."
            )
    low = math.fsum(_share_bounds(name, demands)[0] for name in available)
    if low > 1 + SLACK:
        named = {**demands.floors, **demands.fixed}
        scaled = ", ".join(f"{name} {share / low:.4g}" for name, share in sorted(named.items()) if share > 0)
        raise InfeasibleMix(f"fixed shares and floors add up to {low:.4g}, more than the whole mix. Nearest: {scaled}.")
    high = math.fsum(_share_bounds(name, demands)[1] for name in available)
    if high < 1 - SLACK:
        named = {name: share for name, share in {**demands.ceilings, **demands.fixed}.items() if name in available}
        scaled = ", ".join(f"{name} {share / high:.4g}" for name, share in sorted(named.items()) if share > 0)
        raise InfeasibleMix(
            f"fixed shares and ceilings add up to {high:.4g}, so {1 - high:.4g} of the mix would be assigned to no group. "
            f"Nearest: {scaled or 'a ceiling above 0'}."
        )


def _check_amounts(available: Mapping[str, int], demands: Demands, unit: str) -> None:
    if demands.max_epochs is None:
        return
    lowest, highest = bounds(available, demands, demands.target)
    best = largest_target(available, demands)
    smaller = f"a target of {best} {unit}" if best else "no target at all"
    for name, amount in available.items():
        if lowest[name] > highest[name] + SLACK:
            wanted = lowest[name] * demands.target
            kind = "fixed share" if name in demands.fixed else "floor"
            epochs = (wanted + demands.spent.get(name, 0)) / amount
            raise InfeasibleMix(
                f"the {kind} of `{name}` is {lowest[name]:g} of {demands.target} {unit}, which is {wanted:.0f}; the data has "
                f"{amount}{_spent(name, demands)}, so they would be read {epochs:.2f} times, and max_epochs is "
                f"{demands.max_epochs:g}. Nearest: a share of {math.floor(highest[name] * 1e4) / 1e4:g}, or max_epochs "
                f"{_up(epochs):g}, or {smaller}."
            )
    if math.fsum(highest.values()) < 1 - SLACK:
        most = math.fsum(highest.values()) * demands.target
        raise InfeasibleMix(
            f"the target is {demands.target} {unit}, but with max_epochs {demands.max_epochs:g} and the ceilings the data "
            f"gives at most {most:.0f} of them ({sum(available.values())} read once). Nearest: {smaller}, or more epochs "
            f"(max_epochs {_epochs_needed(available, demands)})."
        )


def _spent(name: str, demands: Demands) -> str:
    spent = demands.spent.get(name, 0)
    return f", of which earlier phases read {spent}" if spent else ""


def _up(value: float) -> float:
    """Rounded up to two places, so that what is proposed is enough."""
    return math.ceil(value * 100 - SLACK) / 100


def _epochs_needed(available: Mapping[str, int], demands: Demands) -> str:
    """The least max_epochs that meets the target, in hundredths."""
    low, high = demands.max_epochs or 0.0, 1e6
    for _ in range(60):
        middle = (low + high) / 2
        asked = replace(demands, max_epochs=middle)
        lowest, highest = bounds(available, asked, demands.target)
        fits = math.fsum(highest.values()) >= 1 and all(lowest[n] <= highest[n] for n in available)
        low, high = (low, middle) if fits else (middle, high)
    return f"{_up(high):g}"
