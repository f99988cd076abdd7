"""Documents, bytes and tokens by label, from the tallies of classifiers with labels in a manifest."""

from __future__ import annotations

from collections.abc import Mapping

from gristmill.pipeline.provenance.accounts import NodeAccount
from gristmill.pipeline.provenance.statement import Predicate

COUNTED = ("documents", "bytes", "tokens", "passed")
MOST_LABELS = 50
"""Labels that are shown, those of most documents; the rest are one row."""
WIDTH, LABEL_WIDTH = 100, 12
"""Cells of a line, and of a label at least."""


def label_counts(manifest: Predicate) -> dict[str, dict[str, dict[str, int]]]:
    """By node with labels, in the graph's order: COUNTED by label, most documents first."""
    found = {}
    for node in manifest.nodes:
        tallies = manifest.accounts.nodes.get(node.name, NodeAccount()).tallies
        if node.use != "classifier" or not any(name.startswith("documents.") for name in tallies):
            continue
        rows: dict[str, dict[str, int]] = {}
        for name, number in tallies.items():
            what, _, label = name.partition(".")
            if what in COUNTED:
                rows.setdefault(label, {})[what] = number
        order = sorted(rows, key=lambda label: (-rows[label].get("documents", 0), label))
        found[node.name] = {label: rows[label] for label in order}
    return found


def label_lines(rows: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A table of at most 100 cells: documents and their share, bytes, tokens where they were counted, and how many pass."""
    counted = [what for what in COUNTED if any(what in row for row in rows.values())]
    names = list(rows)
    shown, rest = (names, []) if len(names) <= MOST_LABELS else (names[: MOST_LABELS - 1], names[MOST_LABELS - 1 :])
    parts = [(name, [name]) for name in shown] + ([(f"{len(rest):,} more", rest)] if rest else []) + [("all", names)]
    sums = {what: sum(row.get(what, 0) for row in rows.values()) for what in counted}
    lines = [["label", *(cell for what in counted for cell in ((what, "share") if what != "passed" else (what,)))]]
    for title, members in parts:
        line = ["".join(c if c.isprintable() else " " for c in title[:WIDTH])]
        for what in counted:
            number = sum(rows[name].get(what, 0) for name in members)
            line.append(f"{number:,}")
            line += [] if what == "passed" else [f"{number / sums[what]:.1%}" if sums[what] else ""]
        lines.append(line)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    widths[0] = min(widths[0], max(LABEL_WIDTH, WIDTH - sum(widths[1:]) - 2 * len(widths[1:])))
    for line in lines:
        line[0] = line[0] if len(line[0]) <= widths[0] else line[0][: widths[0] - 1] + "…"
    return [
        "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    ]
