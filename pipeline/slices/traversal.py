"""The one way through a graph's nodes: which node sees which rows, and what is measured, surveyed, settled, decided there.

A task of a run, a sample and the audit's replay all traverse the graph here; they differ in where their answers come
from, and say so in a subclass of `Answers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

from gristmill.pipeline.planning.graph import Graph, Node
from gristmill.pipeline.slices.outcome import Outcome, State
from gristmill.pipeline.slices.read import read_outcome
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.stage import SettledView


class Answers:
    """Where the answers about a node come from. As it stands here: all from its stage, here and now, without surveys.

    The node's rows have entered it when any of these but `visits` is called: `slice_rows.states[node.name]` has them.

    Attributes:
        surveys: (node, the node whose rows its survey sees), as of `Pass.surveys`: equal names mean its own entry.
    """

    surveys: Sequence[tuple[str, str]] = ()

    def read(self, slice_rows: SliceRows) -> Outcome | None:
        """What the source itself decides: an empty text or payload is dropped, oversized documents are quarantined."""
        graph, source = slice_rows.graph, slice_rows.source
        return read_outcome(slice_rows.table, graph.payloads(source), graph.sources[source].config.max_document_bytes)

    def visits(self, node: Node) -> bool:
        """Whether all that enters a node is known; one that is not visited has no state."""
        return True

    def recorded_signals(self, node: Node, slice_rows: SliceRows) -> dict[str, pa.Array] | None:
        """A measuring node's signals, where they are on record; None has it measured."""
        return None

    def measures(self, node: Node) -> bool:
        """Whether the stage may be asked to measure. Where it may not, its signals are unknown."""
        return True

    def noted(self, node: Node, slice_rows: SliceRows, notes: pa.Table | None) -> None:
        """Takes a survey's notes; None when no rows were seen."""

    def recorded_outcome(self, node: Node, slice_rows: SliceRows) -> Outcome | None:
        """A node's decisions, where they are on record; None has it decide."""
        return None

    def decides(self, node: Node) -> bool:
        """Whether the stage may be asked to decide."""
        return True

    def settled(self, node: Node, slice_rows: SliceRows) -> SettledView | None:
        """The corpus-wide answer with which a node decides."""
        return None

    def decided(self, node: Node, slice_rows: SliceRows) -> None:
        """Told when a node's stage has decided; the node's state has its outcome."""

    def undecided(self, node: Node, slice_rows: SliceRows) -> Outcome | None:
        """What becomes of the rows of a node that may not be asked or that reads what is unknown. The columns of the
        outcome are unknown from there on. None: no decision yet, so no row leaves."""
        return None


class _UnknownColumns:
    """Columns that nobody can tell in this traversal: what reads them cannot be told either."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def add(self, names: Iterable[str]) -> None:
        self._names.update(names)

    def hide(self, node: Node, function: Literal["measure", "survey", "decide"]) -> bool:
        """Whether a function of the node's stage would read an unknown column."""
        if not self._names:
            return False
        stage = node.stage
        own = frozenset(stage.spec.signals.names)
        reads = {
            "measure": stage.spec.measure_reads,
            "survey": stage.spec.survey_reads | own,
            "decide": stage.spec.decide_reads | own,
        }[function]
        return not self._names.isdisjoint(reads | stage.spec.optional_reads)


def traverse(graph: Graph, slice_rows: SliceRows, answers: Answers) -> frozenset[str]:
    """Sends a slice's rows through its source and all nodes, each in turn; leaves their states in `slice_rows`.

    Returns the names of the nodes whose stages decided here. Raises ConservationError and ContractError for what a stage
    may not do.
    """
    source = State(np.arange(slice_rows.count), np.ones(slice_rows.count, np.int64))
    slice_rows.states[slice_rows.source] = source
    source.outcome = answers.read(slice_rows)
    unknown = _UnknownColumns()
    asked: set[str] = set()
    for node in graph.nodes:
        if not answers.visits(node):
            continue
        state = slice_rows.states[node.name] = slice_rows.enter(node.name, node.inputs)
        if node.measures:
            state.signals = _signals(node, slice_rows, answers, unknown)
        if (node.name, node.name) in answers.surveys and not unknown.hide(node, "survey"):
            answers.noted(node, slice_rows, slice_rows.survey(node, node.name))
        state.outcome = answers.recorded_outcome(node, slice_rows)
        if state.outcome is None and answers.decides(node) and not unknown.hide(node, "decide"):
            state.outcome = slice_rows.decide(node, answers.settled(node, slice_rows))
            asked.add(node.name)
            answers.decided(node, slice_rows)
        elif state.outcome is None:
            state.outcome = answers.undecided(node, slice_rows)
            unknown.add(() if state.outcome is None else state.outcome.columns)
        for surveyor, observed in answers.surveys:
            if observed == node.name and surveyor != observed:
                other = graph.by_name[surveyor]
                answers.noted(other, slice_rows, slice_rows.survey(other, observed))
    return frozenset(asked)


def _signals(node: Node, slice_rows: SliceRows, answers: Answers, unknown: _UnknownColumns) -> dict[str, pa.Array]:
    recorded = answers.recorded_signals(node, slice_rows)
    if recorded is not None:
        return recorded
    if answers.measures(node) and not unknown.hide(node, "measure"):
        return slice_rows.measure(node)
    unknown.add(node.spec.signals.names)
    rows = len(slice_rows.states[node.name].rows)
    return {item.name: pa.nulls(rows, item.type) for item in node.spec.signals}


def as_decided(port: np.ndarray, copies: np.ndarray, columns: dict[str, pa.Array]) -> Outcome:
    """An outcome of which nothing is known but ports and copies (int16 and int64, one per row), without rules."""
    count = len(port)
    nothing = np.full(count, np.nan)
    return Outcome(
        port, copies, (), np.full(count, -1, np.int16), np.zeros(count, np.uint64), nothing, nothing,
        pa.nulls(count, pa.string()), columns,
    )  # fmt: skip


def null_findings(node: Node, rows: int) -> dict[str, pa.Array]:
    """The columns that a node's decisions add, all unknown."""
    return {item.name: pa.nulls(rows, item.type) for item in node.spec.findings}
