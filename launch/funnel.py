"""The funnel: where documents went, node by node and rule by rule, in documents and in bytes of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launch.formats import count, share, size

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.provenance.accounts import Accounts, NodeAccount

WIDE = 100
"""Terminal columns from which bytes stand beside every count."""


@dataclass(frozen=True)
class Amount:
    """Documents and their UTF-8 bytes of text."""

    documents: int
    bytes: int


@dataclass(frozen=True)
class NodeRow:
    """A node (or a source) of the funnel.

    Attributes:
        entered, kept, dropped, quarantined: entered = kept + dropped + quarantined.
        marked: rows that a rule found and that were kept all the same, among `kept`.
        ports: what left on each port, copies counted each.
    """

    node: str
    entered: Amount
    kept: Amount
    dropped: Amount
    quarantined: Amount
    marked: Amount
    ports: Mapping[str, Amount]

    @property
    def branches(self) -> bool:
        """Whether `kept` does not yet say what left: several ports, or copies."""
        return len(self.ports) > 1 or any(amount.documents != self.kept.documents for amount in self.ports.values())


@dataclass(frozen=True)
class RuleRow:
    """A rule's hits: as the first that failed (it decided), at all, and as the only one that failed."""

    node: str
    rule: str
    first: Amount
    any: Amount
    sole: Amount


@dataclass(frozen=True)
class EndRow:
    """Where documents ended: an output, or a discarded port."""

    kind: str
    name: str
    amount: Amount


def ordered(accounts: Accounts, order: Sequence[str]) -> list[str]:
    """Names of the accounts: those of `order` first, in its order (a manifest sorts them by name)."""
    return [*(name for name in order if name in accounts.nodes), *(n for n in accounts.nodes if n not in order)]


def node_rows(accounts: Accounts, order: Sequence[str] = ()) -> list[NodeRow]:
    """One row per source and node; `order` is the order of the graph."""
    return [_node_row(name, accounts.nodes[name]) for name in ordered(accounts, order)]


def _node_row(name: str, account: NodeAccount) -> NodeRow:
    found = Amount(*(sum(hits.first[i] for hits in account.rules.values()) for i in (0, 1)))
    # Every dropped and quarantined row has a deciding rule; what else a rule decided on was marked.
    marked = Amount(
        max(0, found.documents - account.dropped.rows - account.quarantined.rows),
        max(0, found.bytes - account.dropped.bytes - account.quarantined.bytes),
    )
    return NodeRow(
        name,
        Amount(account.entered.rows, account.entered.bytes),
        Amount(account.kept.rows, account.kept.bytes),
        Amount(account.dropped.rows, account.dropped.bytes),
        Amount(account.quarantined.rows, account.quarantined.bytes),
        marked,
        {port: Amount(tally.rows, tally.bytes) for port, tally in account.ports.items()},
    )


def rule_rows(accounts: Accounts, order: Sequence[str] = ()) -> list[RuleRow]:
    """One row per rule that failed at all: by node, most frequent first."""
    rows = []
    for name in ordered(accounts, order):
        mine = [
            RuleRow(name, rule, Amount(*hits.first), Amount(*hits.any), Amount(*hits.sole))
            for rule, hits in accounts.nodes[name].rules.items()
        ]
        rows += sorted(mine, key=lambda row: (-row.first.documents, -row.any.documents, row.rule))
    return rows


def end_rows(accounts: Accounts, outputs: Sequence[str] = ()) -> list[EndRow]:
    """Outputs, in the order of the config, and discarded ports with what arrived there, copies counted each."""
    rows = []
    names = [
        *(name for name in outputs if name in accounts.outputs),
        *(n for n in accounts.outputs if n not in outputs),
    ]
    for name in names:
        edges = accounts.outputs[name]
        total = Amount(sum(t.rows for t in edges.values()), sum(t.bytes for t in edges.values()))
        rows.append(EndRow("output", name, total))
    rows += [EndRow("discarded", edge, Amount(tally.rows, tally.bytes)) for edge, tally in accounts.discarded.items()]
    return rows


def funnel_json(accounts: Accounts, order: Sequence[str] = ()) -> dict[str, Any]:
    """The funnel for programs: nodes, rules and ends, each amount as [documents, bytes]."""

    def pair(amount: Amount) -> list[int]:
        return [amount.documents, amount.bytes]

    return {
        "nodes": [
            {
                "node": row.node,
                **{name: pair(getattr(row, name)) for name in ("entered", "kept", "dropped", "quarantined", "marked")},
                "ports": {port: pair(amount) for port, amount in row.ports.items()},
            }
            for row in node_rows(accounts, order)
        ],
        "rules": [
            {"node": row.node, "rule": row.rule, "first": pair(row.first), "any": pair(row.any), "sole": pair(row.sole)}
            for row in rule_rows(accounts, order)
        ],
        "ends": [{"kind": row.kind, "name": row.name, "amount": pair(row.amount)} for row in end_rows(accounts)],
    }


def print_funnel(console: Console, accounts: Accounts, order: Sequence[str] = ()) -> None:
    """The funnel as two tables; at less than `WIDE` columns with fewer figures of bytes."""
    print_nodes(console, node_rows(accounts, order))
    rules = rule_rows(accounts, order)
    if rules:
        console.print()
        print_rules(console, rules)


def print_nodes(console: Console, rows: Sequence[NodeRow]) -> None:
    """Per node: in, kept, dropped, quarantined, marked, and the text that is left."""
    from launch.console import columns

    wide = console.width >= WIDE
    some_marked = any(row.marked.documents for row in rows)
    some_set_aside = any(row.quarantined.documents for row in rows)
    headings = [("node", "left"), ("in", "right"), ("kept", "right"), ("", "right"), ("dropped", "right")]
    headings += [("quarantined", "right")] if some_set_aside or wide else []
    headings += [("marked", "right")] if some_marked else []
    headings += [("text in", "right"), ("text kept", "right")] if wide else [("text kept", "right")]
    headings += [("text dropped", "right")] if wide else []
    table = columns(*headings)
    for row in rows:
        cells = [row.node, count(row.entered.documents), count(row.kept.documents)]
        cells += [share(row.kept.documents, row.entered.documents), count(row.dropped.documents)]
        cells += [count(row.quarantined.documents)] if some_set_aside or wide else []
        cells += [count(row.marked.documents) if row.marked.documents else ""] if some_marked else []
        cells += [size(row.entered.bytes)] if wide else []
        cells += [size(row.kept.bytes)]
        cells += [size(row.dropped.bytes)] if wide else []
        table.add_row(*cells)
        if row.branches:
            for port, amount in sorted(row.ports.items(), key=lambda item: -item[1].documents):
                blank = [""] * (len(cells) - 4 - (2 if wide else 1))
                cells_of_port = [
                    f"  → {port}",
                    "",
                    count(amount.documents),
                    share(amount.documents, row.entered.documents),
                ]
                cells_of_port += [*blank, size(amount.bytes)] + ([""] if wide else [])
                table.add_row(*cells_of_port, style="dim")
    console.print(table)


def print_rules(console: Console, rows: Sequence[RuleRow]) -> None:
    """Per rule: first, any and sole hits."""
    from launch.console import columns

    wide = console.width >= WIDE
    headings = [("node", "left"), ("rule", "left")]
    for name in ("first", "any", "sole"):
        headings += [(name, "right")] + ([("", "right")] if wide or name == "first" else [])
    table = columns(*headings)
    last = None
    for row in rows:
        cells = [row.node if row.node != last else "", row.rule]
        for name in ("first", "any", "sole"):
            amount: Amount = getattr(row, name)
            cells += [count(amount.documents)] + ([size(amount.bytes)] if wide or name == "first" else [])
        table.add_row(*cells)
        last = row.node
    console.print(table)
    console.print(
        "first: the rule decided · any: it failed, with or without others · sole: nothing else failed", style="dim"
    )
