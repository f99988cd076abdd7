"""What a mix's budgets came to, for people: a table that fits a terminal, how often text is read, and bars as SVG.

Made from the report of a `mix` node (`stages.rebalancing.budgets.budget_report`), of a run or of a forecast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gristmill.pipeline.errors import DataError
from gristmill.pipeline.provenance.values import described

MOST_GROUPS = 24
"""Groups that are shown, those with the largest budgets; the rest are one row."""
MOST_PASSES = 12
"""Rows of the table of exposure; those read more often share the last."""
WIDTH = 100
GROUP_WIDTH = 12
"""Cells that a group's name has at least, however wide the numbers."""
HELD, WANTED, MET = "#b8b8b8", "#9ec5e0", "#1b6ca8"
_UNITS = ("", "k", "M", "G", "T", "P", "E")
_Count = Annotated[int, Field(ge=0, lt=1 << 70)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class GroupBudget(BaseModel):
    """A group of a report; see `budget_report`."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    amount: _Count
    wanted: _Count
    share_before: _Number
    share_after: _Number
    epochs: _Number
    factor: _Number
    effective_amount: _Count
    repeated_for_budget: _Count = 0
    bound: str | None = None
    price_of_bound: _Number | None = None


class Exposed(BaseModel):
    """Documents, and their amount, that are read equally often."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    documents: _Count
    amount: _Count


class BudgetReport(BaseModel):
    """The report of a mix, as far as people are shown it."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    unit: str
    target: _Count
    effective_amount: _Count
    exposure: dict[Annotated[str, Field(pattern=r"^\d{1,18}$")], Exposed]
    groups: dict[str, GroupBudget]
    shortfall: dict[str, _Count] = {}


def is_budget_report(report: Mapping[str, Any]) -> bool:
    """Whether a node's report is that of a mix."""
    return "groups" in report and "exposure" in report and "target" in report


def read_budgets(report: Mapping[str, Any], where: str) -> BudgetReport:
    """A report out of a manifest. Raises DataError naming `where` when it is none that a mix writes."""
    try:
        return BudgetReport.model_validate(report)
    except ValidationError as error:
        raise DataError(
            f"{where}: this is not a report as a `mix` writes it ({described(error)[0]}). Restore the manifest, or repeat the "
            "run."
        ) from error


def unit_name(report: BudgetReport) -> str:
    """What is counted, in a word.

    >>> unit_name(BudgetReport(unit="mix_bytes", target=1, effective_amount=1, exposure={}, groups={}))
    'bytes'
    """
    return {"mix_bytes": "bytes", "token_count": "tokens", "token_count_estimate": "estimated tokens"}.get(
        report.unit, report.unit
    )


def short(number: float) -> str:
    """A count in four digits.

    >>> short(9999), short(1234567), short(2.5e9), short(-12345)
    ('9,999', '1.235M', '2.5G', '-12.35k')
    """
    value, place = float(number), 0
    if abs(value) < 9999.5:
        return f"{value:,.0f}"
    while abs(value) >= 999.95 and place < len(_UNITS) - 1:
        value, place = value / 1000, place + 1
    return f"{value:.4g}{_UNITS[place]}"


def budgets_table(report: BudgetReport, met: Mapping[str, int] | None = None) -> list[str]:
    """Lines of at most WIDTH cells: per group what there is, the budget, what it came to, λ, epochs and worth.

    Args:
        met: the amount of the copies by group; None where nothing has run.
    """
    headings = ["group", "there is", "budget", *(["met by"] if met is not None else []), "share"]
    headings += ["λ", "epochs", "effective", "held by", "price"]
    names = sorted(report.groups, key=lambda name: (-report.groups[name].wanted, name))
    shown, rest = (names, []) if len(names) <= MOST_GROUPS else (names[: MOST_GROUPS - 1], names[MOST_GROUPS - 1 :])
    rows = [_row(name, report.groups[name], met) for name in shown]
    if rest:
        rows.append(_sum(f"{len(rest):,} more", [report.groups[name] for name in rest], rest, met, report.target))
    rows.append(_sum("all", list(report.groups.values()), names, met, report.target))
    return _aligned([headings, *rows], right=set(range(1, len(headings))) - {headings.index("held by")})


def _row(name: str, group: GroupBudget, met: Mapping[str, int] | None) -> list[str]:
    price = "" if group.price_of_bound is None else f"{group.price_of_bound:+.3f}"
    return [
        name,
        short(group.amount),
        short(group.wanted),
        *([] if met is None else [_difference(met.get(name, 0) - group.wanted)]),
        f"{group.share_after:.2%}",
        f"{group.factor:.4g}",
        f"{group.epochs:.2f}",
        short(group.effective_amount),
        group.bound or "",
        price,
    ]


def _sum(
    name: str, groups: Sequence[GroupBudget], names: Sequence[str], met: Mapping[str, int] | None, target: int
) -> list[str]:
    amount, wanted = sum(group.amount for group in groups), sum(group.wanted for group in groups)
    return [
        name,
        short(amount),
        short(wanted),
        *([] if met is None else [_difference(sum(met.get(one, 0) for one in names) - wanted)]),
        f"{wanted / target:.2%}" if target else "",
        "",
        f"{wanted / amount:.2f}" if amount else "",
        short(sum(group.effective_amount for group in groups)),
        "",
        "",
    ]


def _difference(number: int) -> str:
    return "exactly" if number == 0 else f"+{short(number)}" if number > 0 else short(number)


def exposure_table(report: BudgetReport) -> list[str]:
    """Documents and amount by how often they are read, earlier phases included."""
    passes = sorted(report.exposure.items(), key=lambda item: int(item[0]))
    last = passes[MOST_PASSES - 1 :]
    if len(last) > 1:
        both = Exposed(documents=sum(e.documents for _, e in last), amount=sum(e.amount for _, e in last))
        passes = [*passes[: MOST_PASSES - 1], (f"{last[0][0]} and more", both)]
    whole = sum(one.amount for _, one in passes)
    rows = [["read", "documents", unit_name(report), "share"]]
    for times, one in passes:
        times_read = {"0": "never", "1": "once"}.get(times, f"{times} times")
        share = f"{one.amount / whole:.2%}" if whole else ""
        rows.append([times_read, f"{one.documents:,}", short(one.amount), share])
    return _aligned(rows, right={1, 2, 3})


def budget_lines(report: BudgetReport, met: Mapping[str, int] | None = None) -> list[str]:
    """All that is said of a mix: the table, what its columns mean, exposure, and what is missing."""
    unit = unit_name(report)
    lines = [f"{report.target:,} {unit}, worth {report.effective_amount:,} fresh ones", ""]
    lines += [*budgets_table(report, met), ""]
    if any(group.price_of_bound is not None for group in report.groups.values()):
        lines += [
            "price: what one of the budget would be worth more, in fresh ones, in groups between their bounds",
            "       (below 0: worth less there; the bound gives the group too little).",
            "",
        ]
    lines += exposure_table(report)
    lifted = sum(group.repeated_for_budget for group in report.groups.values())
    if lifted:
        lines += ["", f"{short(lifted)} {unit} are repeats that only the budget asks for."]
    missing = sorted(report.shortfall.items(), key=lambda item: (-item[1], item[0]))
    for name, amount in missing[:MOST_GROUPS]:
        lines += [f"missing of {_cut(name, 40)}: {amount:,} {unit}, which the data does not have under this cap"]
    if len(missing) > MOST_GROUPS:
        lines += [f"and of {len(missing) - MOST_GROUPS:,} more groups"]
    return lines


def _aligned(rows: Sequence[Sequence[str]], right: set[int]) -> list[str]:
    """Columns with two spaces between; the first is cut so that the lines fit."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    widths[0] = min(widths[0], max(GROUP_WIDTH, WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1)))
    made = []
    for row in rows:
        cells = [_cut(row[0], widths[0]), *row[1:]]
        parts = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        made.append("  ".join(parts).rstrip())
    return made


def _cut(name: str, cells: int) -> str:
    """A name on one line of at most so many cells, without anything that a terminal would obey."""
    plain = "".join(c if c.isprintable() else " " for c in name[: cells + 1])
    return plain if len(plain) <= cells else plain[: cells - 1] + "…"


def budget_bars(node: str, report: BudgetReport, met: Mapping[str, int], top: int, width: int) -> tuple[list[str], int]:
    """SVG elements of one mix, and where the next thing begins: what each group holds, its budget, and what it came to."""
    left, right, bar = 176, 150, 8
    names = sorted(report.groups, key=lambda name: (-report.groups[name].wanted, name))[:MOST_GROUPS]
    scale = max([1, *(max(report.groups[n].amount, report.groups[n].wanted, met.get(n, 0)) for n in names)])
    body = [
        f'<text x="16" y="{top + 32}" font-size="14" font-weight="bold">{escape(_cut(node, 60))}: what groups hold (grey), '
        "their budgets (light blue) and what these came to (blue)</text>"
    ]
    y = top + 54
    for name in names:
        group = report.groups[name]
        body.append(
            f'<text x="{left - 8}" y="{y + 2 * bar}" text-anchor="end" fill="#000000">{escape(_cut(name, 24))}</text>'
        )
        for place, (amount, colour) in enumerate(
            ((group.amount, HELD), (group.wanted, WANTED), (met.get(name, 0), MET))
        ):
            length = (width - left - right) * amount / scale
            body.append(
                f'<rect x="{left}" y="{y + place * (bar + 1)}" width="{length:.1f}" height="{bar}" fill="{colour}"/>'
            )
        longest = (width - left - right) * max(group.amount, group.wanted, met.get(name, 0)) / scale
        words = f"λ {group.factor:.4g}, {group.epochs:.2f} epochs" + (f", {group.bound}" if group.bound else "")
        body.append(f'<text x="{left + longest + 6:.1f}" y="{y + 2 * bar}" fill="#555555">{escape(words[:48])}</text>')
        y += 3 * (bar + 1) + 9
    if len(report.groups) > len(names):
        more = f"{len(report.groups) - len(names):,} smaller groups are not drawn"
        body.append(f'<text x="{left}" y="{y + 8}" fill="#555555">{more}</text>')
        y += 20
    return body, y
