"""What a rebalancer did: tables of shares and repeats, and a picture of repeats over removal rates by cluster size.

    python -m stages.rebalance_report OUTPUT [--svg FILE]

reads the manifest of an output and prints the tables of each rebalancing node; `--svg` writes the picture, which needs
nothing but a browser.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, GristmillError
from pipeline.provenance.manifest import read_manifest

PANEL_WIDTH, PANEL_HEIGHT, GAP = 360, 120, 14
MARGIN_LEFT, MARGIN_TOP, MARGIN_BOTTOM = 46, 26, 34
MOST_PANELS = 12
REPEATS, RATE = "#1b6ca8", "#b5482a"


def shares_table(tallies: Mapping[str, int]) -> str:
    """Documents that entered and copies that left by group, with their shares, largest group first.

    Args:
        tallies: of a `rebalance` or `mix` node: `documents.GROUP`, `copies.GROUP`.
    """
    documents = _by_group(tallies, "documents")
    copies = _by_group(tallies, "copies")
    before, after = max(1, sum(documents.values())), max(1, sum(copies.values()))
    rows = [("group", "documents", "share", "copies", "share", "copies each")]
    for name in sorted(documents, key=lambda group: (-documents[group], group)):
        number, made = documents[name], copies.get(name, 0)
        rows.append(
            (name, f"{number:,}", f"{number / before:.2%}", f"{made:,}", f"{made / after:.2%}", f"{made / max(1, number):.2f}")
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


def picture(report: Mapping[str, Any]) -> str:
    """An SVG: for each of the largest curves, repeats by cluster size, and under them the removal rates of the sizes with
    the group's rate as a dashed line. Sizes stand on a logarithmic axis.

    Raises ConfigError for a report without bins: repeats out of a table come without rates.
    """
    drawable = {name: bins for name, bins in report.get("bins", {}).items() if bins and bins[0]["removal_rate"] is not None}
    if not drawable:
        raise ConfigError("this rebalancer took its repeats from a table, which has no removal rates to draw.")
    weight = {name: sum(one["clusters"] or 0 for one in bins) for name, bins in drawable.items()}
    names = sorted(drawable, key=lambda name: (-weight[name], name))[:MOST_PANELS]
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    cell_width = MARGIN_LEFT + PANEL_WIDTH + GAP
    cell_height = MARGIN_TOP + 2 * PANEL_HEIGHT + GAP + MARGIN_BOTTOM
    body = []
    for index, name in enumerate(names):
        x, y = cell_width * (index % columns) + MARGIN_LEFT, cell_height * (index // columns) + MARGIN_TOP
        body += _panel(x, y, name, drawable[name], report["curves"][name]["global_removal_rate"])
    width, height = columns * cell_width, lines * cell_height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">\n'
        "<title>Repeats and removal rates by cluster size</title>\n"
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


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
        parts.append(f'<rect x="{x}" y="{top}" width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}" fill="none" stroke="#cccccc"/>')
        for index, tick in enumerate(ticks):
            value = index * max(1, most // 5) if top == y else scale * index / 2
            height = top + PANEL_HEIGHT - PANEL_HEIGHT * value / scale
            parts.append(f'<text x="{x - 5}" y="{height + 4:.1f}" text-anchor="end" fill="#555555">{tick}</text>')
        parts.append(f'<text x="{x + PANEL_WIDTH - 4}" y="{top + 13}" text-anchor="end" fill="#555555">{label}</text>')
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


def rebalancing_nodes(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Reports of the rebalancing nodes in a manifest, by node."""
    return {name: report for name, report in manifest["reports"].items() if "curves" in report and "bins" in report}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables of an output's rebalancing nodes. Returns the exit code."""
    parser = argparse.ArgumentParser(description="What the rebalancer of an output did.")
    parser.add_argument("output", help="folder of an output: the one with manifest.json")
    parser.add_argument("--svg", type=Path, help="write a picture of repeats and removal rates to this file")
    given = parser.parse_args(arguments)
    try:
        return _show(given.output, given.svg)
    except GristmillError as error:
        print(f"gristmill: {error}", file=sys.stderr)
        return error.exit_code


def _show(folder: str, svg: Path | None) -> int:
    manifest = read_manifest(folder)
    if manifest is None:
        raise ConfigError(f"{folder}: there is no manifest.json. Give the folder of an output.")
    found = rebalancing_nodes(manifest)
    if not found:
        raise ConfigError(f"{folder}: no node of this run rebalances, so there is nothing to show.")
    for name, report in found.items():
        print(f"{name}\n\n{shares_table(manifest['accounts']['nodes'][name]['tallies'])}\n\n{repeats_table(report)}\n")
    if svg is not None:
        svg.write_text(picture(next(iter(found.values()))), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
