"""Losses that a person should hear of at the end of a run: empty outputs, and rules that took more than half."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gristmill.launch.terminal.funnel import RuleRow, rule_rows
from gristmill.launch.terminal.numbers import count, documents, excerpt, number, share
from gristmill.pipeline.errors import GristmillError

if TYPE_CHECKING:
    from gristmill.pipeline.audit.examples import RuleExample
    from gristmill.pipeline.planning.graph import Graph
    from gristmill.pipeline.planning.plan import Plan
    from gristmill.pipeline.provenance.accounts import Accounts

MOST = 0.5
"""Share of what entered a node that one rule may take unsaid."""
EXAMPLES = 2
MARKS = 3
"""Rules of a marking node that are named where its marks drop documents."""


@dataclass(frozen=True)
class Loss:
    """A rule that dropped more than half of what entered its node.

    Attributes:
        node, rule: which.
        dropped, entered: documents.
        setting: the key path in the config that the rule's limit comes from; the node's where the stage names none.
        marks: where marks of an earlier node drop, its most frequent rules.
        examples: documents that it dropped.
    """

    node: str
    rule: str
    dropped: int
    entered: int
    setting: str
    marks: tuple[RuleRow, ...]
    examples: tuple[RuleExample, ...] = ()


@dataclass(frozen=True)
class Empty:
    """An output without a document, and what feeds it: the edge, and how many documents entered the edge's node."""

    output: str
    edges: tuple[str, ...]
    entered: int


def losses(graph: Graph, accounts: Accounts) -> list[Loss]:
    """Rules that took more than half of what entered their nodes, in graph order; without examples."""
    found = []
    rows = rule_rows(accounts)
    for node in graph.nodes:
        account = accounts.nodes.get(node.name)
        if account is None or not account.entered.rows:
            continue
        for row in rows:
            # A rule of a node that drops and marks may have done either: it took no more than was dropped.
            dropped = min(row.first.documents, account.dropped.rows)
            if row.node == node.name and dropped > MOST * account.entered.rows:
                setting = node.spec.settings.get(row.rule)
                path = f"stages.{node.name}" + (f".{setting}" if setting else "")
                marks = _marks(graph, node.use, row.rule, rows)
                found.append(Loss(node.name, row.rule, dropped, account.entered.rows, path, marks))
    return found


def _marks(graph: Graph, use: str, rule: str, rows: Sequence[RuleRow]) -> tuple[RuleRow, ...]:
    marker = rule.removeprefix("marked_by_")
    if use != "drop_marked" or marker not in graph.by_name:
        return ()
    mine = [row for row in rows if row.node == marker]
    return tuple(sorted(mine, key=lambda row: -row.any.documents)[:MARKS])


def empty_outputs(graph: Graph, accounts: Accounts) -> list[Empty]:
    """Outputs that hold no document."""
    found = []
    for output in graph.outputs:
        if any(tally.rows for tally in accounts.outputs.get(output.name, {}).values()):
            continue
        nodes = [accounts.nodes[edge.node] for edge in output.inputs if edge.node in accounts.nodes]
        edges = tuple(str(edge) for edge in output.inputs)
        found.append(Empty(output.name, edges, sum(account.entered.rows for account in nodes)))
    return found


def with_examples(found: Sequence[Loss], folder: str) -> list[Loss]:
    """The losses with a few of the documents that they cost, from an output. Raises DataError as `rule_examples` does."""
    from gristmill.pipeline.audit.examples import rule_examples

    return [replace(one, examples=tuple(rule_examples(folder, one.node, one.rule, EXAMPLES))) for one in found]


def loss_lines(plan: Plan, accounts: Accounts, width: int) -> list[str]:
    """What a person is told; nothing where nothing is lost. The outputs are there."""
    lines = [_empty(one) for one in empty_outputs(plan.graph, accounts)]
    found = losses(plan.graph, accounts)
    problem = []
    try:
        found = with_examples(found, plan.graph.outputs[0].config.path)
    except GristmillError as error:  # the run is done all the same
        problem = [f"no examples: {error}"]
    for one in found:
        lines += _loss(plan.graph, one, width)
    return lines + problem


def _empty(one: Empty) -> str:
    nodes = " and ".join(edge.rpartition(".")[0] or edge for edge in one.edges)
    if not one.entered:
        return f"{one.output} is empty: no document came as far as {nodes}"
    return (
        f"{one.output} is empty: of {documents(one.entered)} that came to {nodes} none left on {', '.join(one.edges)}"
    )


def _loss(graph: Graph, one: Loss, width: int) -> Iterator[str]:
    part = share(one.dropped, one.entered)
    yield f"{one.node} dropped {count(one.dropped)} of {documents(one.entered)} ({part}) by the rule {one.rule}"
    if one.marks:
        marked = ", ".join(f"{row.rule} {count(row.any.documents)}" for row in one.marks)
        yield f"  marks by {one.marks[0].node}: {marked}"
        settings = graph.by_name[one.marks[0].node].spec.settings
        paths = [f"stages.{row.node}.{settings[row.rule]}" for row in one.marks if row.rule in settings]
        yield f"  settings: {', '.join(paths or [one.setting])}"
    else:
        yield f"  setting: {one.setting}"
    for example in one.examples:
        found = ""
        if example.value is not None:
            limit = "" if example.threshold is None else f", limit {number(example.threshold)}"
            found = f"[{number(example.value)}{limit}] "
        elif example.witness:
            found = f"[{excerpt(example.witness, 40)}] "
        start = f"  such as {excerpt(example.id, 200)}  {found}"
        yield start + excerpt(example.text or "", max(20, width - len(start)))


def losses_json(graph: Graph, accounts: Accounts) -> dict[str, Any]:
    """The losses for programs, without examples."""
    return {
        "empty_outputs": [one.output for one in empty_outputs(graph, accounts)],
        "losses": [
            {"node": one.node, "rule": one.rule, "dropped": one.dropped, "entered": one.entered, "setting": one.setting}
            for one in losses(graph, accounts)
        ],
    }
