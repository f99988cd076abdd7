"""What stages counted on the side of documents that go: their nodes decide about them again, from the signals that are kept.

A node that settles, one whose signals no output keeps, and one whose stage or models are not at hand cannot: its tallies
stay, and the removal says so.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY, FROM_TASK, keys_from_words
from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.planning.graph import Graph
from gristmill.pipeline.provenance.removal import kept_rows
from gristmill.pipeline.removal.old_run import OldRun
from gristmill.pipeline.removal.selection import Selection
from gristmill.pipeline.whatif.changed_config import reasons_not_to_decide, recorded_graph
from gristmill.pipeline.whatif.decide_again import told_everywhere, ways
from gristmill.pipeline.whatif.recorded_run import SIGNALS, TaskRecord

Tallies = Mapping[str, Mapping[str, int]]
"""By node, what its stage counted."""


def lost_tallies(run: OldRun, selection: Selection, ledger: pa.Table) -> tuple[dict[int, Tallies], frozenset[str]]:
    """By task, what nodes counted of its documents that go; and the nodes of which that is known.

    Args:
        ledger: the run's rows of it about these documents, with `from_task`.
    """
    counting = [node.name for node in run.manifest.nodes if run.manifest.accounts.node(node.name).tallies]
    try:
        graph = recorded_graph(run.manifest, ()) if counting else None
    except GristmillError:
        graph = None  # a stage of a plugin, or a config of another machine: nothing is decided again here
    if graph is None:
        return {}, frozenset()
    reasons = reasons_not_to_decide(graph, graph, run.manifest)
    known = {node.name for node in graph.nodes if node.name not in reasons}
    signals = _signals(run, selection, known)
    found: dict[int, Tallies] = {}
    for task, keys in selection.tasks.items():
        mine = {name: _of_task(table, task) for name, table in signals.items()}
        array = keys_from_words(keys)
        record = TaskRecord(
            task, run.source_of(task), array, pa.nulls(len(array), pa.string()), _of_task(ledger, task), mine
        )
        found[task], unknown = _counted(graph, record, frozenset(known))
        known -= unknown
    return found, frozenset(known.intersection(counting))


def _counted(graph: Graph, record: TaskRecord, known: frozenset[str]) -> tuple[Tallies, set[str]]:
    """What nodes count of a task's documents, and those that do not know all of them."""
    rows, _ = ways(graph, record, told_everywhere(graph, record), known, None)
    unknown = {name for name, missing in rows.unknown.items() if missing.any()}
    outcomes = {name: state.outcome for name, state in rows.states.items() if name in known and name not in unknown}
    return {name: outcome.tallies for name, outcome in outcomes.items() if outcome is not None}, unknown


def _signals(run: OldRun, selection: Selection, nodes: set[str]) -> dict[str, pa.Table]:
    """By node, the signals of the documents that go, with `from_task`."""
    found: dict[str, pa.Table] = {}
    every = selection.every()
    for name in sorted(nodes):
        parts = []
        for row in run.of_role(SIGNALS + name):
            if any(task in selection.tasks for task in range(row["task"], row["task"] + row["tasks"])):
                for piece in run.pieces(row):
                    parts.append(piece.filter(pa.array(~kept_rows(piece[DOC_KEY], every))))
        if parts:
            table = pa.concat_tables(parts).combine_chunks()
            found[name] = table
    return found


def _of_task(table: pa.Table, task: int) -> pa.Table:
    return table.filter(pc.equal(table[FROM_TASK], task)).drop_columns([FROM_TASK]).combine_chunks()
