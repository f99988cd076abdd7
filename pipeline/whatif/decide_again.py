"""Sends a task's documents through the graph again: from recorded signals where a node can decide, else as the ledger says.

A document that comes to a node which it did not reach in the run has no signals there. It is unknown from there on: it leaves
on no port.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY, ID, one_chunk
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.planning.graph import Graph, Node
from gristmill.pipeline.provenance.accounts import SOURCE_PORT
from gristmill.pipeline.slices.outcome import Outcome, State
from gristmill.pipeline.slices.routing import SliceRows, scattered
from gristmill.pipeline.slices.traversal import Answers, null_findings, traverse
from gristmill.pipeline.stage import SettledView
from gristmill.pipeline.whatif.recorded_run import TaskRecord, Told

UNKNOWN = -3
"""Port of a document of which nothing is known at a node."""


class RecordedRows(SliceRows):
    """A task's documents on their way through the graph; `unknown`: by node, which of the rows that entered are (bool)."""

    def __init__(self, graph: Graph, record: TaskRecord) -> None:
        super().__init__(graph, record.source, pa.table({DOC_KEY: record.keys, ID: record.ids}))
        self.unknown: dict[str, np.ndarray] = {}

    def decide(self, node: Node, settled: SettledView | None) -> Outcome:
        """The node's decisions about the rows that are known; the others leave on no port."""
        whole = self.states[node.name]
        unknown = self.unknown.get(node.name)
        if unknown is None or not unknown.any():
            return super().decide(node, settled)
        known = np.flatnonzero(~unknown)
        chosen = pa.array(known)
        signals = {name: array.take(chosen) for name, array in whole.signals.items()}
        self.states[node.name] = State(whole.rows[known], whole.weight[known], whole.arrivals, signals)
        outcome = super().decide(node, settled)
        self.states[node.name] = whole
        return _spread(outcome, known, len(whole.rows))


def _spread(outcome: Outcome, known: np.ndarray, count: int) -> Outcome:
    """An outcome of the `known` ones of `count` rows, the others unknown."""

    def over(values: np.ndarray, default: float) -> np.ndarray:
        made = np.full(count, default, values.dtype)
        made[known] = values
        return made

    return Outcome(
        over(outcome.port, UNKNOWN), over(outcome.copies, 1), outcome.rules, over(outcome.rule, -1),
        over(outcome.failed, 0), over(outcome.value, np.nan), over(outcome.threshold, np.nan),
        scattered(outcome.witness, known, count),
        {name: scattered(array, known, count) for name, array in outcome.columns.items()}, outcome.tallies,
    )  # fmt: skip


class RecordedAnswers(Answers):
    """Where answers come from: signals and, for nodes that are not in `decided`, decisions, from an output.

    Args:
        told: by source and node, what the ledger says.
        before: the same documents with the run's own thresholds: who entered where. None for these themselves.
    """

    def __init__(
        self, record: TaskRecord, told: Mapping[str, Told], decided: frozenset[str], before: RecordedRows | None
    ) -> None:
        self.record, self.by_name, self.decided_nodes, self.before = record, told, decided, before

    def read(self, slice_rows: SliceRows) -> Outcome:
        return self.by_name[slice_rows.source].outcome(slice_rows.states[slice_rows.source].rows, {})

    def recorded_signals(self, node: Node, slice_rows: SliceRows) -> dict[str, pa.Array] | None:
        rows = slice_rows.states[node.name].rows
        table = self.record.signals.get(node.name)
        if table is None:
            self._unknown(slice_rows)[node.name] = np.ones(len(rows), bool)
            return {item.name: pa.nulls(len(rows), item.type) for item in node.spec.signals}
        place = pc.index_in(self.record.keys.take(pa.array(rows)), value_set=one_chunk(table[DOC_KEY]))
        self._unknown(slice_rows)[node.name] = ~place.is_valid().to_numpy(zero_copy_only=False)
        missing = [item for item in node.spec.signals if item.name not in table.column_names]
        if missing and node.name in self.decided_nodes:
            raise DataError(f"signals/{node.name} lacks the column `{missing[0].name}`: the output was changed.")
        return {
            item.name: one_chunk(table[item.name]).take(place).cast(item.type)
            if item.name in table.column_names
            else pa.nulls(len(rows), item.type)
            for item in node.spec.signals
        }

    def measures(self, node: Node) -> bool:
        return False

    def decides(self, node: Node) -> bool:
        return node.name in self.decided_nodes

    def undecided(self, node: Node, slice_rows: SliceRows) -> Outcome:
        rows = slice_rows.states[node.name].rows
        outcome = self.by_name[node.name].outcome(rows, null_findings(node, len(rows)))
        if self.before is not None:
            came = np.isin(rows, self.before.states[node.name].rows, assume_unique=True)
            outcome.port[~came] = UNKNOWN
        return outcome

    def _unknown(self, slice_rows: SliceRows) -> dict[str, np.ndarray]:
        if not isinstance(slice_rows, RecordedRows):
            raise TypeError("recorded answers are given to recorded rows")
        return slice_rows.unknown


def told_everywhere(graph: Graph, record: TaskRecord) -> dict[str, Told]:
    """What the ledger says at the source and at every node."""
    found = {record.source: record.told(record.source, (SOURCE_PORT,))}
    return found | {node.name: record.told(node.name, node.spec.ports) for node in graph.nodes}


def ways(
    graph: Graph, record: TaskRecord, told: Mapping[str, Told], decided: frozenset[str], before: RecordedRows | None
) -> tuple[RecordedRows, frozenset[str]]:
    """A task's documents sent through a graph, and the nodes that decided here. Raises DataError for an output whose ledger
    and signals contradict its graph."""
    if record.source not in graph.sources:
        raise DataError(f"task {record.task} read the source `{record.source}`, which the config does not have.")
    rows = RecordedRows(graph, record)
    return rows, traverse(graph, rows, RecordedAnswers(record, told, decided, before))
