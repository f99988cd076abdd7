"""What rebalancing did: tables of shares and of repeats by cluster size, and a picture of both as SVG.

Made from the manifest alone: the report of a `rebalance` node (curves with their bins) and the tallies of `rebalance` and
`mix` nodes. `gristmill report` shows them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from gristmill.pipeline.provenance.accounts import NodeAccount
from gristmill.pipeline.provenance.statement import Predicate
from gristmill.stages.rebalancing.budget_views import BudgetReport, budget_bars, is_budget_report, read_budgets

PANEL_WIDTH, PANEL_HEIGHT, GAP = 360, 120, 14
MARGIN_LEFT, MARGIN_TOP, MARGIN_BOTTOM = 46, 26, 34
MOST_PANELS = 12
MOST_GROUPS = 24
"""Groups whose shares are drawn, the largest first; the rest are drawn as one."""
MOST_RANGES = 12
"""Columns of the table of repeats: the sizes from 2^11 on share the last."""
BAR, BAR_LINE, HEADING = 9, 28, 40
REPEATS, RATE, BEFORE = "#1b6ca8", "#b5482a", "#b8b8b8"


def shares_table(tallies: Mapping[str, int]) -> str:
    """Documents that entered and copies that left by group, with their shares, largest group first.

    Args:
        tallies: of a `rebalance` or `mix` node: `documents.GROUP`, `copies.GROUP`.
    """
    documents = _by_group(tallies, "documents")
    copies = _by_group(tallies, "copies")
    before, after = max(1, sum(documents.values())), max(1, sum(copies.values()))
    rows = [("group", "documents", "share", "copies", "share", "copies each")]
    # A node without groups counts all documents as one that has no name.
    named = [] if list(documents) == ["unknown"] else sorted(documents, key=lambda group: (-documents[group], group))
    for name in named:
        number, made = documents[name], copies.get(name, 0)
        rows.append(
            (
                name,
                f"{number:,}",
                f"{number / before:.2%}",
                f"{made:,}",
                f"{made / after:.2%}",
                f"{made / max(1, number):.2f}",
            )
        )
    rows.append(("all", f"{sum(documents.values()):,}", "", f"{sum(copies.values()):,}", "", f"{after / before:.2f}"))
    return _aligned(rows)


def _by_group(tallies: Mapping[str, int], what: str) -> dict[str, int]:
    return {name.removeprefix(f"{what}."): n for name, n in tallies.items() if name.startswith(f"{what}.")}


def repeats_table(report: Mapping[str, Any]) -> str:
    """Repeats by cluster size for every curve: `1–2 ×1, 3–8 ×2, 9 on ×4`, with the curve's removal rate."""
    rows = [("curve", "removal rate", "repeats by cluster size")]
    for name, curve in report["curves"].items():
        rate = curve["global_removal_rate"]
        rows.append((name, "" if rate is None else f"{rate:.1%}", ranges(curve["weights"])))
    return _aligned(rows, left={0, 2})


def sizes_table(report: Mapping[str, Any]) -> str:
    """Repeats by cluster size, and under them the removal rates, for every curve with bins, the one with most clusters
    first. Sizes are taken together from one power of two to the next: `×2–4` where repeats differ within, and the mean
    of the rates over clusters."""
    curves = {name: bins for name, bins in report.get("bins", {}).items() if bins}
    largest = max((bins[-1]["size_from"] for bins in curves.values()), default=1)
    columns = min(MOST_RANGES, largest.bit_length())
    heads = ["1", *(f"{1 << k}–{(2 << k) - 1}" for k in range(1, columns - 1)), f"{1 << (columns - 1)} on"][-columns:]
    rows = [["curve", "", *heads, "all"]]
    for name in sorted(curves, key=lambda name: (-clusters_of(curves[name]), name)):
        cells = [_cell(curves[name], 1 << k, None if k == columns - 1 else 2 << k) for k in range(columns)]
        overall = report["curves"][name]["global_removal_rate"]
        rows.append([name, "repeats", *(repeats for repeats, _ in cells), ""])
        if any(rate for _, rate in cells):
            rows.append(["", "removed", *(rate for _, rate in cells), "" if overall is None else f"{overall:.1%}"])
    return _aligned(rows, left={0, 1})


def clusters_of(bins: Sequence[Mapping[str, Any]]) -> float:
    """Clusters in all bins of a curve; 0 for repeats out of a table."""
    return sum(one["clusters"] or 0 for one in bins)


def _cell(bins: Sequence[Mapping[str, Any]], first: int, stop: int | None) -> tuple[str, str]:
    """Repeats and removal rate of the sizes from `first` to before `stop`: a bin reaches to the next one's size."""
    ends = [*(one["size_from"] for one in bins[1:]), None]
    some = [
        one
        for one, end in zip(bins, ends, strict=True)
        if (stop is None or one["size_from"] < stop) and (end is None or end > first)
    ]
    if not some:
        return "", ""
    repeats = [one["repeats"] for one in some]
    low, high = min(repeats), max(repeats)
    # A bin that begins before the range is in it with sizes that its clusters hardly have: it counts where it is alone.
    own = [one for one in some if one["size_from"] >= first] or some
    weights: list[float] = [one["clusters"] or 0.0 for one in own]
    whole = sum(weights)
    rate = ""
    if all(one["removal_rate"] is not None for one in own) and whole > 0.0:
        rate = f"{sum(w * one['removal_rate'] for w, one in zip(weights, own, strict=True)) / whole:.1%}"
    return f"×{low}" if low == high else f"×{low}–{high}", rate


def ranges(weights: Mapping[str, int]) -> str:
    """Change points as ranges of sizes.

    >>> ranges({"1": 1, "2": 3, "9": 2})
    '1 ×1, 2–8 ×3, 9 on ×2'
    """
    sizes = sorted(int(size) for size in weights)
    parts = []
    for size, following in zip(sizes, [*sizes[1:], None], strict=True):
        last = "on" if following is None else following - 1
        span = f"{size} on" if last == "on" else str(size) if last == size else f"{size}–{last}"
        parts.append(f"{span} ×{weights[str(size)]}")
    return ", ".join(parts)


def _aligned(rows: Sequence[Sequence[str]], left: Sequence[int] | set[int] = (0,)) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def picture(
    reports: Mapping[str, Mapping[str, Any]],
    tallies: Mapping[str, Mapping[str, int]],
    budgets: Mapping[str, BudgetReport] | None = None,
) -> str:
    """An SVG. For each of the largest curves: repeats by cluster size, and under them the removal rates of the sizes with
    the group's rate as a dashed line, over a logarithmic axis of sizes. For each node: every group's share of documents
    before, and of copies after. For each mix: what groups hold, their budgets, and what these came to.

    Args:
        reports: of `rebalance` nodes, by node.
        tallies: of `rebalance` and `mix` nodes, by node.
        budgets: of `mix` nodes, by node.
    """
    body: list[str] = []
    width, top = 3 * (MARGIN_LEFT + PANEL_WIDTH + GAP), 0
    for node, report in reports.items():
        panels, top = _curves(node, report, top)
        body += panels
    for node, counts in tallies.items():
        bars, top = _bars(node, counts, top, width)
        body += bars
    for node, budget in (budgets or {}).items():
        bars, top = budget_bars(node, budget, amounts_met(tallies.get(node, {})), top, width)
        body += bars
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top + GAP}" width="{width}" height="{top + GAP}" '
        'font-family="sans-serif" font-size="11">\n'
        "<title>Repeats and removal rates by cluster size, shares before and after</title>\n"
        f'<rect width="{width}" height="{top + GAP}" fill="#ffffff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _curves(node: str, report: Mapping[str, Any], top: int) -> tuple[list[str], int]:
    """Panels of a node's largest curves, and where the next thing begins. Repeats out of a table have no rates to draw."""
    drawable = {name: bins for name, bins in report["bins"].items() if bins and bins[0]["removal_rate"] is not None}
    if not drawable:
        return [], top
    names = sorted(drawable, key=lambda name: (-clusters_of(drawable[name]), name))[:MOST_PANELS]
    cell_width = MARGIN_LEFT + PANEL_WIDTH + GAP
    cell_height = MARGIN_TOP + 2 * PANEL_HEIGHT + GAP + MARGIN_BOTTOM
    top += HEADING
    body = [_heading(f"{node}: repeats by cluster size, and what the quality rules remove", top)]
    for index, name in enumerate(names):
        x, y = cell_width * (index % 3) + MARGIN_LEFT, cell_height * (index // 3) + MARGIN_TOP + top
        body += _panel(x, y, name, drawable[name], report["curves"][name]["global_removal_rate"])
    return body, top + -(-len(names) // 3) * cell_height


def _bars(node: str, tallies: Mapping[str, int], top: int, width: int) -> tuple[list[str], int]:
    """Shares of a node's groups before and after, and where the next thing begins."""
    documents, copies = _by_group(tallies, "documents"), _by_group(tallies, "copies")
    if len(documents) < 2:
        return [], top
    before, after = max(1, sum(documents.values())), max(1, sum(copies.values()))
    names = sorted(documents, key=lambda group: (-documents[group], group))
    shares = [(name, documents[name] / before, copies.get(name, 0) / after) for name in names]
    if len(shares) > MOST_GROUPS:
        rest = shares[MOST_GROUPS - 1 :]
        shares = shares[: MOST_GROUPS - 1]
        shares.append((f"{len(rest)} more", sum(one[1] for one in rest), sum(one[2] for one in rest)))
    scale = max(max(one, other) for _, one, other in shares) or 1.0
    left, right = MARGIN_LEFT + 130, 130
    top += HEADING
    body = [_heading(f"{node}: shares of groups, of documents before (grey) and of copies after (blue)", top)]
    y = top + GAP
    for name, one, other in shares:
        body.append(f'<text x="{left - 8}" y="{y + BAR + 4}" text-anchor="end">{escape(name)}</text>')
        for number, (share, colour) in enumerate(((one, BEFORE), (other, REPEATS))):
            length = (width - left - right) * share / scale
            place = y + number * (BAR + 1)
            body.append(f'<rect x="{left}" y="{place}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>')
        longest = (width - left - right) * max(one, other) / scale
        words = f"{one:.2%} → {other:.2%}"
        body.append(f'<text x="{left + longest + 6:.1f}" y="{y + BAR + 4}" fill="#555555">{words}</text>')
        y += BAR_LINE
    return body, y


def _heading(text: str, y: int) -> str:
    return f'<text x="{MARGIN_LEFT - 30}" y="{y - 8}" font-size="14" font-weight="bold">{escape(text)}</text>'


def _panel(x: int, y: int, name: str, bins: Sequence[Mapping[str, Any]], overall: float | None) -> list[str]:
    sizes = [one["size_from"] for one in bins]
    last = sizes[-1] * 1.3 + 1
    most = max(2, max(one["repeats"] for one in bins))
    highest = max([one["removal_rate"] for one in bins] + [overall or 0.0, 0.01])
    below = y + PANEL_HEIGHT + GAP

    def at(size: float) -> float:
        return x + PANEL_WIDTH * math.log(size / sizes[0]) / math.log(last / sizes[0])

    def stairs(values: Sequence[float], top: int, scale: float) -> str:
        points = []
        for size, following, value in zip(sizes, [*sizes[1:], last], values, strict=True):
            height = top + PANEL_HEIGHT - PANEL_HEIGHT * value / scale
            points += [f"{at(size):.1f},{height:.1f}", f"{at(following):.1f},{height:.1f}"]
        return " ".join(points)

    parts = [f'<text x="{x}" y="{y - 9}" font-weight="bold">{escape(name)}</text>']
    for top, scale, label, ticks in (
        (y, most, "repeats", [str(n) for n in range(0, most + 1, max(1, most // 5))]),
        (below, highest, "removed", [f"{highest * part / 2:.0%}" for part in range(3)]),
    ):
        parts.append(
            f'<rect x="{x}" y="{top}" width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}" fill="none" stroke="#cccccc"/>'
        )
        for index, tick in enumerate(ticks):
            value = index * max(1, most // 5) if top == y else scale * index / 2
            height = top + PANEL_HEIGHT - PANEL_HEIGHT * value / scale
            parts.append(f'<text x="{x - 5}" y="{height + 4:.1f}" text-anchor="end" fill="#555555">{tick}</text>')
        # Above the repeats and below the rates, where no curve runs.
        place = top - 9 if top == y else top + PANEL_HEIGHT - 6
        parts.append(f'<text x="{x + PANEL_WIDTH - 4}" y="{place}" text-anchor="end" fill="#555555">{label}</text>')
    lines = ((y, most, REPEATS, "repeats"), (below, highest, RATE, "removal_rate"))
    for top, scale, colour, field in lines:
        points = stairs([one[field] for one in bins], top, scale)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
    if overall is not None:
        height = below + PANEL_HEIGHT - PANEL_HEIGHT * overall / highest
        parts.append(
            f'<line x1="{x}" x2="{x + PANEL_WIDTH}" y1="{height:.1f}" y2="{height:.1f}" stroke="{RATE}" '
            'stroke-dasharray="4 3"/>'
        )
    tick = sizes[0]
    while tick < last:
        parts.append(
            f'<text x="{at(tick):.1f}" y="{below + PANEL_HEIGHT + 14}" text-anchor="middle" fill="#555555">{tick}</text>'
        )
        tick *= 2 if last / sizes[0] < 200 else 4
    middle = x + PANEL_WIDTH / 2
    parts.append(
        f'<text x="{middle}" y="{below + PANEL_HEIGHT + 28}" text-anchor="middle" fill="#555555">cluster size</text>'
    )
    return parts


def rebalancing_reports(manifest: Predicate) -> dict[str, Mapping[str, Any]]:
    """Reports of `rebalance` nodes in a manifest, by node, in the graph's order."""
    reports = manifest.reports
    names = [node.name for node in manifest.nodes if node.name in reports]
    return {name: reports[name] for name in names if "curves" in reports[name] and "bins" in reports[name]}


def budget_reports(manifest: Predicate) -> dict[str, BudgetReport]:
    """Reports of `mix` nodes in a manifest, by node, in the graph's order. Raises DataError for one that no mix writes."""
    reports = manifest.reports
    names = [node.name for node in manifest.nodes if is_budget_report(reports.get(node.name, {}))]
    return {name: read_budgets(reports[name], f"the report of `{name}`") for name in names}


def amounts_met(tallies: Mapping[str, int]) -> dict[str, int]:
    """The amount of all copies by group, from a node's tallies."""
    return _by_group(tallies, "amount")


def group_tallies(manifest: Predicate) -> dict[str, Mapping[str, int]]:
    """Tallies of the nodes that count documents and copies by group, by node, in the graph's order."""
    accounts = manifest.accounts.nodes
    found = {node.name: accounts.get(node.name, NodeAccount()).tallies for node in manifest.nodes}
    return {
        name: counts for name, counts in found.items() if _by_group(counts, "documents") and _by_group(counts, "copies")
    }
