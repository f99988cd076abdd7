"""Two outputs over each other in a terminal: sides, differences, funnels, changed documents; words that the page shares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gristmill.launch.terminal.console import columns, out, say
from gristmill.launch.terminal.funnel import node_rows, rule_rows
from gristmill.launch.terminal.numbers import count, documents, excerpt, number, plain, share

if TYPE_CHECKING:
    from gristmill.pipeline.provenance.statement import Predicate

CHANGES_SHOWN = 12
"""Changes that are shown with documents; --json has all."""
DIFFERENCES_SHOWN = 30
CAUSES_SHOWN = 3
SIGNALS_SHOWN = 8
KINDS = {
    "left": "left",
    "entered": "entered",
    "copies": "other copies",
    "reason": "other reason",
    "unknown": "unknown",
}
TITLES = {
    "removals": "removal",
    "settings": "settings",
    "stages": "stages",
    "models": "models",
    "inputs": "inputs",
    "answers": "corpus-wide answers",
    "environment": "software and machine",
}


def print_sides(found: Mapping[str, Any]) -> None:
    """Both outputs, and how their documents were joined."""
    table = columns(("", "left"), ("output", "left"), ("documents read", "right"), ("rows written", "right"))
    for side in ("a", "b"):
        one = found[side]
        table.add_row(side.upper(), plain(one["folder"]), count(one["read"]), count(one["rows"]))
    out().print(table)
    for line in join_notes(found):
        say(line)


def join_notes(found: Mapping[str, Any]) -> list[str]:
    """How documents were joined, then what must be known of that."""
    join = found["join"]
    said = [f"joined by {join['by']}: {plain(join['because'])}; documents as the {join['from']} have them"]
    if found["same_run"]:
        said.append("both are outputs of the same run")
    for side in ("a", "b"):
        if join["unjoined"][side]:
            said.append(
                f"{documents(join['unjoined'][side])} of {side.upper()} could not be joined: no text of them is kept"
            )
        if join["contrary_to_ledger"][side]:
            said.append(
                f"{documents(join['contrary_to_ledger'][side])} of {side.upper()} are in the shards although the ledger says "
                f"otherwise: run gristmill audit {found[side]['folder']}"
            )
    if join["unknown"]:
        said.append(
            f"{documents(join['unknown'])}: not known whether the other run read them, since it read some files only"
        )
    return said


def print_differences(found: Mapping[str, Any]) -> None:
    """What differs in what made the outputs."""
    say()
    shown = 0
    for kind, title in TITLES.items():
        for one in found["differences"][kind]:
            shown += 1
            if shown <= DIFFERENCES_SHOWN:
                say(f"  {title}: {plain(str(one['key']))}: {_value(one['a'])} → {_value(one['b'])}")
    if shown > DIFFERENCES_SHOWN:
        say(f"  … and {shown - DIFFERENCES_SHOWN} more; --json has all.")
    if not shown:
        say("Nothing differs in what made them.")


def funnel_rows(a: Predicate, b: Predicate) -> list[list[str]]:
    """A row for each node of either run: name, then in, kept and their share for A and B."""
    sides = [{row.node: row for row in node_rows(one.accounts, _order(one))} for one in (a, b)]
    made = []
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        rows = [side.get(name) for side in sides]
        entered = ["–" if row is None else count(row.entered.documents) for row in rows]
        kept = ["–" if row is None else count(row.kept.documents) for row in rows]
        shares = ["–" if row is None else share(row.kept.documents, row.entered.documents) for row in rows]
        made.append([name, *entered, *kept, *shares])
    return made


def rule_changes(a: Predicate, b: Predicate) -> list[list[str]]:
    """A row for each rule: name, documents on which it decided in A and in B, and the difference; the largest first."""
    sides = [
        {(row.node, row.rule): row.first.documents for row in rule_rows(one.accounts, _order(one))} for one in (a, b)
    ]
    pairs = [(name, sides[0].get(name, 0), sides[1].get(name, 0)) for name in dict.fromkeys([*sides[0], *sides[1]])]
    pairs.sort(key=lambda one: -abs(one[2] - one[1]))
    return [[": ".join(name), count(mine), count(theirs), f"{theirs - mine:+,}"] for name, mine, theirs in pairs]


def _order(one: Predicate) -> list[str]:
    return [*one.sources, *(node.name for node in one.nodes)]


def print_funnels(a: Predicate, b: Predicate) -> None:
    """Both funnels, and the rules that decide otherwise."""
    heads = ("in, A", "in, B", "kept, A", "kept, B", "A", "B")
    table = columns(("node", "left"), *((head, "right") for head in heads))
    for row in funnel_rows(a, b):
        table.add_row(plain(row[0]), *row[1:])
    say()
    out().print(table)
    changed = [row for row in rule_changes(a, b) if row[3] != "+0"]
    if changed:
        table = columns(("rule", "left"), ("A", "right"), ("B", "right"), ("", "right"))
        for row in changed[: 2 * CHANGES_SHOWN]:
            table.add_row(plain(row[0]), *row[1:])
        say()
        out().print(table)


def print_distributions(found: Mapping[str, Any]) -> None:
    """The signals whose histograms in both outputs are furthest apart."""
    rows = [one for one in found["signals"] if one["apart"] > 0]
    if not rows:
        return
    heads = (("mean, A", "right"), ("mean, B", "right"), ("apart", "right"))
    table = columns(("signals of the documents in each output", "left"), *heads)
    for one in rows[:SIGNALS_SHOWN]:
        means = [number(one["means"][side]) for side in ("a", "b")]
        table.add_row(plain(f"{one['node']}: {one['signal']}"), *means, f"{one['apart']:.2f}")
    say()
    out().print(table)


def print_changes(found: Mapping[str, Any], show: int) -> None:
    """Documents that fare otherwise, as a table, then with examples."""
    changes = found["changes"]
    say()
    if not changes:
        say("No document fares otherwise.")
        return
    table = columns(("documents", "right"), ("", "left"), ("in A", "left"), ("in B", "left"))
    for one in changes[: 2 * CHANGES_SHOWN]:
        cells = (KINDS[one["kind"]], fate(one, "a"), fate(one, "b"))
        table.add_row(count(one["documents"]), *(plain(cell) for cell in cells))
    out().print(table)
    if len(changes) > 2 * CHANGES_SHOWN:
        say(f"… and {len(changes) - 2 * CHANGES_SHOWN} more; --json has all.")
    if found["in_both"] is not None:
        say(f"{documents(found['in_both'])} in both")
    width = max(40, out().width)
    for one in changes[:CHANGES_SHOWN] if show else ():
        say()
        say(plain(f"{KINDS[one['kind']]}: {fate(one, 'a')} → {fate(one, 'b')}, {documents(one['documents'])}"))
        if one["causes"]:
            told = ", ".join(one["causes"][:CAUSES_SHOWN])
            say(plain(f"  because of {told}" + (" …" if len(one["causes"]) > CAUSES_SHOWN else "")))
        for example in one["examples"]:
            say(_example_line(example, width))


def fate(change: Mapping[str, Any], side: str) -> str:
    """What became of the documents of a change on one side."""
    one = change[side]
    where = ": ".join(part for part in (one["node"], one["rule"]) if part)
    if one["fate"] == "in":
        copies, number_of = change[f"copies_{side}"], change["documents"]
        return "kept" if copies == number_of else f"kept, {count(copies)} copies" + (f" ({where})" if where else "")
    said = {
        "absent": "not read",
        "elsewhere": "goes elsewhere",
        "missing": "missing in the shards",
        "removed": "taken out",
    }
    what = said.get(one["fate"], str(one["fate"]))
    return f"{what}, {where}" if where else what


def _example_line(example: Mapping[str, Any], width: int) -> str:
    ident = plain(str(example["id"] or example["doc_key"]))
    told = [saw(example[side]) for side in ("a", "b") if saw(example[side])]
    start = f"  {excerpt(ident, 34) if out().is_terminal else ident}  " + (f"[{' → '.join(told)}] " if told else "")
    return start + excerpt(example["text"] or "", max(20, width - len(start)))


def saw(side: Mapping[str, Any]) -> str:
    """What the deciding rule saw of a document on one side."""
    if side["value"] is not None:
        limit = "" if side["threshold"] is None else f", limit {number(side['threshold'])}"
        return f"{number(side['value'])}{limit}"
    return excerpt(side["witness"] or "", 40)


def _value(value: Any) -> str:
    return "none" if value is None else plain(json.dumps(value, ensure_ascii=False))[:200]
