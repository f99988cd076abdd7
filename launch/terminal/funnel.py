"""The funnel: where documents went, node by node and rule by rule, in documents and in bytes of text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gristmill.launch.terminal.console import columns
from gristmill.launch.terminal.numbers import count, share, size

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from gristmill.pipeline.provenance.accounts import Accounts, NodeAccount


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

    @property
    def left(self) -> Amount:
        """What left: the documents that were kept, at the size they had then."""
        return self.kept if self.branches else next(iter(self.ports.values()), self.kept)

    @property
    def makes_text(self) -> bool:
        """Whether pages entered and texts left, as only a stage that makes texts has it."""
        return self.left.bytes != self.kept.bytes


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
    """The funnel as two tables, with as many figures of bytes as fit into the console."""
    print_nodes(console, node_rows(accounts, order))
    rules = rule_rows(accounts, order)
    if rules:
        console.print()
        print_rules(console, rules)


@dataclass(frozen=True)
class _Column:
    """A column of figures.

    Attributes:
        cell: its text for a row.
        port: its text for a port of a node that branches.
        rank: how dispensable it is: the highest ranks go first where the console is narrow.
    """

    heading: str
    cell: Callable[[Any], str]
    port: Callable[[Amount, NodeRow], str] = lambda amount, row: ""
    rank: int = 0


def print_nodes(console: Console, rows: Sequence[NodeRow]) -> None:
    """Per node: in, kept, dropped, quarantined, marked, and bytes of text."""

    def number(amount: Amount) -> str:
        return count(amount.documents) if amount.documents else ""

    shown = [
        _Column("in", lambda row: count(row.entered.documents)),
        _Column("kept", lambda row: count(row.kept.documents), lambda amount, row: count(amount.documents)),
        _Column(
            "",
            lambda row: share(row.kept.documents, row.entered.documents),
            lambda amount, row: share(amount.documents, row.entered.documents),
        ),
        _Column("dropped", lambda row: count(row.dropped.documents)),
    ]
    if any(row.quarantined.documents for row in rows):
        shown.append(_Column("quarantined", lambda row: number(row.quarantined)))
    if any(row.marked.documents for row in rows):
        shown.append(_Column("marked", lambda row: number(row.marked)))
    makers = [row.node for row in rows if row.makes_text]
    what = "bytes" if makers else "text"
    shown += [
        _Column(f"{what} in", lambda row: size(row.entered.bytes), rank=2),
        _Column(f"{what} kept", lambda row: size(row.left.bytes), lambda amount, row: size(amount.bytes), rank=1),
        _Column(f"{what} dropped", lambda row: size(row.dropped.bytes), rank=3),
    ]

    def table(columns_shown: Sequence[_Column]) -> Table:
        made = columns(("node", "left"), *((column.heading, "right") for column in columns_shown))
        for row in rows:
            made.add_row(row.node, *(column.cell(row) for column in columns_shown))
            if row.branches:
                for port, amount in sorted(row.ports.items(), key=lambda item: -item[1].documents):
                    cells = [column.port(amount, row) for column in columns_shown]
                    made.add_row(f"  → {port}", *cells, style="dim")
        return made

    _print_fitting(console, shown, table)
    if makers:
        console.print(
            f"bytes: of pages until they enter {', '.join(makers)}, of the texts made there from then on", style="dim"
        )


def print_rules(console: Console, rows: Sequence[RuleRow]) -> None:
    """Per rule: first, any and sole hits."""
    shown = []
    for name, rank in (("first", 1), ("any", 2), ("sole", 2)):
        shown.append(_Column(name, lambda row, name=name: count(getattr(row, name).documents)))  # type: ignore[misc]
        shown.append(_Column("", lambda row, name=name: size(getattr(row, name).bytes), rank=rank))  # type: ignore[misc]

    def table(columns_shown: Sequence[_Column]) -> Table:
        made = columns(("node", "left"), ("rule", "left"), *((column.heading, "right") for column in columns_shown))
        last = None
        for row in rows:
            made.add_row(
                row.node if row.node != last else "", row.rule, *(column.cell(row) for column in columns_shown)
            )
            last = row.node
        return made

    _print_fitting(console, shown, table)
    console.print(
        "first: the rule decided · any: it failed, with or without others · sole: nothing else failed", style="dim"
    )


def _print_fitting(console: Console, shown: Sequence[_Column], table: Callable[[Sequence[_Column]], Table]) -> None:
    """Prints the table with all columns that fit. Those of the lowest rank stay: rather a long line than half a name."""
    for rank in sorted({column.rank for column in shown}, reverse=True):
        made = table([column for column in shown if column.rank <= rank])
        # Measured as if there were room for everything: else the answer is never more than the console's width.
        width = console.measure(made, options=console.options.update(max_width=10_000)).maximum
        if width <= console.width:
            break
    made.width = width
    console.print(made, crop=False)
