"""The sections of a report about documents: funnel, languages, signals, toxicity and machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gristmill.launch.pages.charts import CUT, KEPT, LEVELS, OTHER, legend, opens, table
from gristmill.launch.pages.markup import Child, Markup, fragment, tag
from gristmill.launch.report.contents import Contents, missing, row_at, section
from gristmill.launch.report.figures import bars, histogram
from gristmill.launch.report.histograms import near
from gristmill.launch.report.sankey import MOST_NODES, diagram, sankey
from gristmill.launch.report.shards import label_columns, level_columns
from gristmill.launch.terminal.funnel import end_rows, node_rows, rule_rows
from gristmill.launch.terminal.numbers import count, duration, number, share, size

MOST_ROWS = 500
"""Rows of a table."""
MOST_LANGUAGES = 24
"""Languages that are drawn; the table has all that were told apart."""
LOST = ("dropped", "quarantined")


def funnel(contents: Contents) -> Markup:
    """From sources to outputs, as a picture and as two tables."""
    manifest, accounts = contents.manifest, contents.manifest.accounts
    order = [*manifest.sources, *(node.name for node in manifest.nodes)]
    read = sum(one.rows + one.rejects for one in manifest.sources.values())

    def leads(name: str, rule: str | None) -> str | None:
        if name.startswith("output:"):
            return contents.documents([name], name.partition(":")[2], "Some of the documents in this output.")
        if name in manifest.sources and rule is None:
            return contents.documents(
                [f"source:{name}"], name, "Some documents of this source that are in this output."
            )
        return contents.reasons(name, rule or None) or contents.reasons(name)

    drawn = len(manifest.nodes) <= MOST_NODES
    picture, least = sankey(diagram(manifest, leads), read) if drawn else ({}, 0)
    nodes, sub = [], []
    columns = {node.name: list(node.columns) for node in manifest.nodes}
    for row in node_rows(accounts, order)[:MOST_ROWS]:
        nodes.append(
            [
                row.node,
                opens(
                    contents.entered(row.node, columns.get(row.node, ())) if row.entered.documents else None,
                    count(row.entered.documents),
                ),
                opens(
                    contents.passed(row.node, columns.get(row.node, ())) if row.kept.documents else None,
                    count(row.kept.documents),
                ),
                share(row.kept.documents, row.entered.documents),
                opens(contents.reasons(row.node, None, ["dropped"]), count(row.dropped.documents)),
                opens(contents.reasons(row.node, None, ["quarantined"]), count(row.quarantined.documents)),
                opens(
                    contents.reasons(row.node, None, ["marked", "emitted"]) if row.marked.documents else None,
                    count(row.marked.documents),
                ),
                size(row.entered.bytes),
                size(row.left.bytes),
            ]
        )
        if row.branches:
            for port, amount in sorted(row.ports.items(), key=lambda item: -item[1].documents):
                sub.append(len(nodes))
                shown = [
                    f"→ {port}",
                    "",
                    opens(contents.port(row.node, port), count(amount.documents)),
                    share(amount.documents, row.entered.documents),
                ]
                nodes.append([*shown, "", "", "", "", size(amount.bytes)])
    rules = [
        [
            row.rule,
            row.node,
            opens(contents.reasons(row.node, row.rule), count(row.first.documents)),
            share(row.first.documents, accounts.nodes[row.node].entered.rows),
            opens(contents.failed(row.node, row.rule), count(row.any.documents)),
            opens(
                contents.failed(row.node, row.rule, alone=True) if row.sole.documents else None,
                count(row.sole.documents),
            ),
            size(row.first.bytes),
        ]
        for row in rule_rows(accounts, order)
    ]
    ends = [
        [
            row.name,
            row.kind,
            opens(_end(contents, row.kind, row.name), count(row.amount.documents)),
            share(row.amount.documents, read),
            size(row.amount.bytes),
        ]
        for row in end_rows(accounts)[:MOST_ROWS]
    ]
    heads = ["node", "in", "kept", "share", "dropped", "quarantined", "marked", "text in", "text out"]
    return section(
        "funnel",
        "Where documents went",
        tag("p", "Widths are numbers of documents. Click a box, a flow or a number to see documents."),
        contents.chart(
            "The funnel from sources to outputs, with what each node dropped. The tables below have all its numbers.",
            picture,
            legend(("kept", "went on"), ("cut", "dropped, by reason, or discarded")),
            least=least,
        )
        if drawn
        else missing(f"{count(len(manifest.nodes))} nodes are too many to draw."),
        table("Documents at each node", heads, nodes, sub=sub),
        table(
            "Every reason. First: the rule decided. Any: it failed, with or without others. Sole: nothing else failed",
            ["reason", "node", "first", "of what came", "any", "sole", "text, first"],
            rules[:MOST_ROWS],
            left=[1],
        )
        if rules
        else missing("No rule found anything."),
        missing(f"{len(rules) - MOST_ROWS} more reasons are in the manifest.") if len(rules) > MOST_ROWS else None,
        table(
            "Where documents ended, copies counted",
            ["end", "kind", "documents", "of what was read", "text"],
            ends,
            left=[1],
        ),
    )


def _end(contents: Contents, kind: str, name: str) -> str | None:
    """Documents that ended in an output, or on a discarded port."""
    if kind == "output":
        return contents.documents([f"output:{name}"], name, "Some of the documents in this output.")
    node, _, port = name.partition(".")
    return contents.port(node, port)


def languages(contents: Contents) -> Markup | None:
    """Shares of languages before and after."""
    label = label_columns(contents.manifest.nodes)
    before, after = contents.facts.get("labels_before"), contents.facts.get("labels_after")
    if label is None:
        return None
    if not before and not after:
        return section(
            "languages", "Languages", missing("Neither the signals nor the shards of this output hold languages.")
        )
    counts = [dict((one or {"counts": []})["counts"]) for one in (before, after)]
    totals = [
        sum(one.values()) + (given or {"more": 0})["more"] for one, given in zip(counts, (before, after), strict=True)
    ]
    names = sorted({*counts[0], *counts[1]}, key=lambda name: (-counts[0].get(name, 0), -counts[1].get(name, 0), name))
    keys = {
        name: contents.documents([f"label:{name}"], name, "Documents of this language in this output.")
        for name in names
    }
    drawn = [
        {
            "label": name,
            "before": counts[0].get(name, 0) / max(1, totals[0]),
            "after": counts[1].get(name, 0) / max(1, totals[1]),
            "before_tip": f"{name}, before: {count(counts[0].get(name, 0))} documents",
            "after_tip": f"{name}, after: {count(counts[1].get(name, 0))} documents",
            "said": f"{share(counts[0].get(name, 0), totals[0])} → {share(counts[1].get(name, 0), totals[1])}",
            "open": keys[name],
        }
        for name in names[:MOST_LANGUAGES]
    ]
    rows: list[Sequence[Child]] = [
        [
            opens(keys[name], name),
            opens(
                contents.of_language(name),
                count(counts[0].get(name, 0)),
                f"{count(counts[0].get(name, 0))} documents in {name} before",
            ),
            share(counts[0].get(name, 0), totals[0]),
            opens(
                keys[name], count(counts[1].get(name, 0)), f"{count(counts[1].get(name, 0))} documents in {name} after"
            ),
            share(counts[1].get(name, 0), totals[1]),
            share(counts[1].get(name, 0), counts[0].get(name, 0)) if before and after else "–",
        ]
        for name in names[:MOST_ROWS]
    ]
    sides = [
        f"before: as {label.node} found them" if before else "before: not recorded",
        "after: in this output, copies counted",
    ]
    return section(
        "languages",
        "Languages before and after",
        contents.chart(
            "Shares of languages before and after the run. The table below has the numbers.",
            bars(drawn, ("before", "after"), (OTHER, KEPT)),
            legend(("other", sides[0]), ("kept", sides[1] if after else "after: this output has no such column")),
        ),
        tag(
            "details",
            tag("summary", f"Table of {len(names)} languages"),
            table("Documents by language", ["language", "before", "share", "after", "share", "after / before"], rows),
        ),
    )


def signals(contents: Contents) -> Markup | None:
    """Each signal's histogram with thresholds and what they cut, by node."""
    found = contents.facts.get("signals") or []
    if not found:
        if contents.facts.get("has_signals") or not any(node.columns for node in contents.manifest.nodes):
            return None
        return section(
            "signals",
            "Signals",
            missing("This output keeps no signals (`signals: none`), so there is nothing to draw."),
        )
    thresholds = {(node, rule): seen for node, rule, seen in contents.facts.get("thresholds", ())}
    parts: list[Child] = []
    for node in dict.fromkeys(one["node"] for one in found):
        mine = [one for one in found if one["node"] == node]
        account = contents.manifest.accounts.nodes.get(node)
        entered = account.entered.rows if account else 0
        shown = sorted(mine, key=lambda one: -sum(one["failed"]))
        cutting = [_signal(contents, one, thresholds, entered) for one in shown if one["rules"]]
        others = [_signal(contents, one, thresholds, entered) for one in shown if not one["rules"]]
        parts.append(tag("h3", f"{node}: what it measured of {count(entered)} documents"))
        if cutting:
            parts.append(tag("div", *cutting, class_="grid"))
        if others:
            grid = tag("div", *others, class_="grid")
            parts.append(
                tag("details", tag("summary", f"Signals that no rule reads directly ({len(others)})"), grid)
                if cutting
                else grid
            )
    return section(
        "signals",
        "What was measured, and what thresholds cut",
        tag(
            "p",
            "Numbers of documents are on a logarithmic axis: a short bar is still many. Click a bar to see documents.",
        ),
        legend(("kept", "documents"), ("cut", "of these, failed a rule that reads the signal"), ("line", "threshold")),
        *parts,
    )


def _signal(
    contents: Contents,
    one: Mapping[str, Any],
    thresholds: Mapping[tuple[str, str], Sequence[Sequence[float]]],
    entered: int,
) -> Markup:
    node, name, edges = one["node"], one["signal"], one["edges"]
    account = contents.manifest.accounts.nodes.get(node)
    limits: list[float] = []
    said: list[Child] = []
    for rule in one["rules"]:
        seen = [value for value, _ in thresholds.get((node, rule), ())]
        limits += seen
        hits = account.rules.get(rule) if account else None
        any_, first = (hits.any[0], hits.first[0]) if hits else (0, 0)
        if not seen and one["limit"]:
            # It failed with others that decided: the ledger has no threshold of it, but its documents bound it.
            a, b = one["limit"]
            limits.append((a + b) / 2)
            seen_text = f" at a limit between {number(a)} and {number(b)}"
        else:
            seen_text = ""
        limit = (
            seen_text
            if not seen
            else f" at {number(min(seen))}" + (f" to {number(max(seen))}" if len(seen) > 1 else "")
        )
        cuts = opens(
            contents.reasons(node, rule),
            f"{share(any_, entered)} ({count(any_)})",
            f"{rule} finds {count(any_)} documents",
        )
        more = f", decides on {count(first)}" if first != any_ else ""
        said.append(tag("span", tag("code", rule), f"{limit} finds ", cuts, more, tag("br")))
    keys = {}
    rows = []
    for place, (a, b) in enumerate(zip(edges, edges[1:], strict=False)):
        span = f"{number(a)} – {number(b)}"
        key = contents.documents(
            [f"bin:{node}:{name}:{place}"], f"{name}: {span}", "Documents with such a value.", name
        )
        if key is not None:
            keys[place] = key
        if one["counts"][place]:
            shown = count(one["counts"][place])
            rows.append([span, opens(key, shown, f"{shown} documents from {span}"), count(one["failed"][place])])
    nulls = f"; {count(one['nulls'])} without a value" if one["nulls"] else ""
    low, high = (number(one[end]) for end in ("low", "high"))
    return tag(
        "div",
        tag("h4", name, class_="mono"),
        contents.chart(
            f"Histogram of {name}, from {low} to {high}. The table below has its numbers.",
            histogram(edges, one["counts"], one["failed"], limits, keys),
            tag("figcaption", *said, f"from {low} to {high}{nulls}"),
        ),
        tag(
            "details",
            tag("summary", "Table"),
            table(f"{name}, documents by value", ["value", "documents", "failed"], rows),
        ),
    )


def toxicity(contents: Contents) -> Markup | None:
    """Tiers, their documents by source, and levels by dimension."""
    parts: list[Child] = []
    by_source = contents.facts.get("by_source", ())
    for node in contents.manifest.nodes:
        if node.use != "toxicity" and not level_columns(node):
            continue
        account = contents.manifest.accounts.nodes.get(node.name)
        if account is None:
            continue
        entered = account.entered.rows
        rows: list[Sequence[Child]] = []
        for port in node.ports:
            tally = account.ports.get(port)
            key = contents.port(node.name, port)
            documents = tally.rows if tally else 0
            rows.append(
                [port, opens(key, count(documents)), share(documents, entered), size(tally.bytes if tally else 0)]
            )
        parts += [
            tag("h3", f"{node.name}: {count(entered)} documents by tier"),
            table("Documents by tier", ["tier", "documents", "share", "text"], rows),
        ]
        parts.append(_tiers_by_source(contents, node.name, node.ports, by_source))
        parts.append(_decided(contents, node.name))
        levels = {name: contents.facts.get("levels", {}).get(name) for name in level_columns(node)}
        parts.append(_levels(contents, {name: counts for name, counts in levels.items() if counts}))
    if not parts:
        return None
    return section("toxicity", "Toxicity", *parts)


def _tiers_by_source(
    contents: Contents, node: str, ports: Sequence[str], by_source: Sequence[Sequence[Any]]
) -> Markup | None:
    at = contents.facts.get("sources_at", {}).get(node)
    if not at:
        return None
    left = {(source, port): n for name, decision, port, source, n in by_source if name == node and decision not in LOST}
    lost: dict[str, int] = {}
    for name, decision, _, source, n in by_source:
        if name == node and decision in LOST:
            lost[source] = lost.get(source, 0) + n
    rows: list[Sequence[Child]] = []
    for source, entered in sorted(at.items(), key=lambda one: -one[1])[:MOST_ROWS]:
        others = [left.get((source, port), 0) for port in ports[1:]]
        plain = entered - sum(others) - lost.get(source, 0)
        cells: list[Child] = [source, count(entered), f"{count(plain)} ({share(plain, entered)})"]
        for port, n in zip(ports[1:], others, strict=True):

            def fits(one: Mapping[str, Any], source: str = source, port: str = port) -> bool:
                return one.get("source") == source and row_at(one, node).get("port") == port

            key = contents.where(fits, f"{source}: {port}", "Documents of this source and tier.") if n else None
            cells.append(opens(key, f"{count(n)} ({share(n, entered)})", f"{count(n)} {port} documents of {source}"))
        rows.append(cells)
    return table("Tiers by source", ["source", "documents", *ports], rows)


def _decided(contents: Contents, node: str) -> Markup | None:
    """By which score documents came into a tier."""
    found = [(rule, signal, n) for at, rule, signal, n in contents.facts.get("decided_by", ()) if at == node]
    rows: list[Sequence[Child]] = []
    for rule, signal, n in sorted(found, key=lambda one: (one[0], -one[2]))[:MOST_ROWS]:

        def fits(one: Mapping[str, Any], rule: str = rule, signal: str = signal) -> bool:
            row, value = row_at(one, node), one.get("values", {}).get(signal)
            return row.get("rule") == rule and value is not None and near(value, row.get("value"))

        key = contents.where(fits, f"{rule}: {signal}", "Documents that came into the tier by this score.")
        rows.append([signal, rule, opens(key, count(n), f"{rule} by {signal}: {count(n)} documents")])
    return table("By the score that decided", ["dimension", "rule", "documents"], rows, left=[1]) if rows else None


def _levels(contents: Contents, levels: Mapping[str, Sequence[int]]) -> Markup | None:
    if not levels:
        return missing("The shards of this output hold no levels by dimension.")
    drawn, rows = [], []
    for name, counts in levels.items():
        keys = [
            contents.documents(
                [f"level:{name}:{level}"], f"{name}: level {level}", "Documents in this output at this level."
            )
            for level in range(len(counts))
        ]
        total = sum(counts)
        first = next((key for key in reversed(keys[1:]) if key), keys[0])
        numbers = {f"l{level}": counts[level] for level in range(1, len(counts))}
        tips = {
            f"l{level}_tip": f"{name}, level {level}: {count(counts[level])} documents"
            for level in range(1, len(counts))
        }
        drawn.append({"label": name, **numbers, **tips, "said": share(total - counts[0], total), "open": first})
        rows.append(
            [
                name,
                *(
                    opens(key, count(n), f"{name}, level {level}: {count(n)}")
                    for level, (key, n) in enumerate(zip(keys, counts, strict=True))
                ),
            ]
        )
    heads = ["dimension", "level 0", "level 1", "level 2", "level 3"]
    return fragment(
        tag("h3", "Levels by dimension, in this output"),
        contents.chart(
            "Documents at the levels 1 to 3 of each dimension. The table below has the numbers.",
            bars(drawn, ("l1", "l2", "l3"), LEVELS[1:], stacked=True),
            legend(("l1", "level 1"), ("l2", "level 2"), ("l3", "level 3")),
        )
        if any(sum(counts[1:]) for counts in levels.values())
        else missing("No document in this output is above level 0 in any dimension."),
        table("Documents by dimension and level, copies counted", heads, rows),
    )


def machines(contents: Contents) -> Markup | None:
    """Tasks, documents and time by machine, as files.parquet has them."""
    hosts = contents.facts.get("hosts") or []
    if not hosts:
        return None
    drawn, rows = [], []
    for host, tasks, documents, seconds in sorted(hosts, key=lambda one: -one[2])[:MOST_ROWS]:
        rate = documents / seconds if seconds else 0.0
        rows.append([host, count(int(tasks)), count(int(documents)), duration(seconds), f"{rate:,.0f}"])
        drawn.append(
            {"label": host, "rate": rate, "rate_tip": f"{host}: {rate:,.0f} documents/s", "said": f"{rate:,.0f}/s"}
        )
    heads = ["machine", "tasks", "documents written", "time in tasks", "documents/s in a task"]
    return section(
        "machines",
        "Machines",
        contents.chart(
            "Documents per second of each machine. The table below has the numbers.",
            bars(drawn[:MOST_LANGUAGES], ("rate",), (CUT,)),
        )
        if len(drawn) > 1
        else None,
        table("The last pass, by machine", heads, rows),
        missing(
            "An output records the time of its last pass, by task and machine; memory that processes took it does not record. "
            "`gristmill plan CONFIG` states the bound that a run is held to."
        ),
    )
