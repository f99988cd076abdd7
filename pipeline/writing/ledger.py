"""The ledger: every decision other than one plain emission, one table per task.

A row says at which node what happened to which document: dropped, quarantined, emitted on another port than the default
or in several copies, or marked; with the deciding rule, all failing rules, value, threshold and witness.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, ID, URL, one_chunk, take
from gristmill.pipeline.provenance.sidecar_tables import LEDGER
from gristmill.pipeline.slices.outcome import Outcome
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.stage import DROPPED, QUARANTINED

_DECISIONS = pa.array(["emitted", "dropped", "quarantined", "marked"], pa.string())
_EMITTED, _DROPPED, _QUARANTINED, _MARKED = range(4)


def ledger_of(slice_rows: SliceRows, order: Iterable[str], rejects: pa.Table | None = None) -> pa.Table:
    """The ledger of a slice after its last pass: nodes in graph order, rows in slice order.

    Args:
        slice_rows: the slice's rows with every node decided.
        order: the source and the nodes.
        rejects: records that could not be read (pipeline.source.REJECTS): quarantined by the source.
    """
    parts = []
    if rejects is not None and rejects.num_rows:
        parts.append(_of_rejects(slice_rows.source, rejects))
    for name in order:
        state = slice_rows.states.get(name)
        if state is None or state.outcome is None or not len(state.rows):
            continue
        outcome = state.outcome
        listed = np.flatnonzero(
            (outcome.port != 0) | (outcome.copies != 1) | (outcome.rule >= 0) | (outcome.failed != 0)
        )
        if len(listed):
            parts.append(_of_node(slice_rows, name, state.rows[listed], outcome, listed))
    return pa.concat_tables(parts).combine_chunks() if parts else LEDGER.empty_table()


def _of_node(slice_rows: SliceRows, name: str, rows: np.ndarray, outcome: Outcome, listed: np.ndarray) -> pa.Table:
    ports = pa.array(slice_rows.graph.ports_of(name), pa.string())
    port = outcome.port[listed]
    decision = np.full(len(listed), _EMITTED)
    decision[port == DROPPED] = _DROPPED
    decision[port == QUARANTINED] = _QUARANTINED
    decision[(port == 0) & (outcome.copies[listed] == 1)] = _MARKED
    rule_names = pa.array(outcome.rules, pa.string())
    rule = outcome.rule[listed]
    value, limit = outcome.value[listed], outcome.threshold[listed]
    named = take(slice_rows.table.select([DOC_KEY, ID]), rows)
    return pa.table(
        [
            pa.repeat(pa.scalar(name, pa.string()), len(listed)),
            named[DOC_KEY],
            named[ID].cast(pa.string()),
            _urls(slice_rows, rows),
            _DECISIONS.take(pa.array(decision)),
            ports.take(pa.array(port, mask=port < 0)),
            rule_names.take(pa.array(rule, mask=rule < 0)),
            _failed(outcome.failed[listed], rule_names),
            pa.array(value, mask=np.isnan(value)),
            pa.array(limit, mask=np.isnan(limit)),
            outcome.witness.take(pa.array(listed)),
            pa.array(np.where(port >= 0, outcome.copies[listed], 0), pa.int32()),
            pa.array(slice_rows.sizes_at(name, leaving=False)[rows], pa.int64()),
        ],
        schema=LEDGER,
    )


def _urls(slice_rows: SliceRows, rows: np.ndarray) -> pa.Array:
    if URL in slice_rows.table.column_names:
        column = one_chunk(slice_rows.table[URL]).take(pa.array(rows))
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            return column.cast(pa.string())
    return pa.nulls(len(rows), pa.string())


def _failed(masks: np.ndarray, names: pa.Array) -> pa.Array:
    """Bit masks as lists of names, in rule order."""
    bits = np.flatnonzero([(masks >> np.uint64(b) & np.uint64(1)).any() for b in range(len(names))])
    table = ((masks[:, None] >> bits.astype(np.uint64)[None, :]) & np.uint64(1)).astype(bool)
    offsets = np.concatenate([[0], np.cumsum(table.sum(axis=1))]).astype(np.int32)
    flat = np.broadcast_to(bits[None, :], table.shape)[table]
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(flat, pa.int64())))


def _of_rejects(source: str, rejects: pa.Table) -> pa.Table:
    count = rejects.num_rows
    reasons = rejects["reason"].to_pylist()
    return pa.table(
        [
            pa.array([source] * count, pa.string()),
            rejects["doc_key"],
            pa.nulls(count, pa.string()),
            pa.nulls(count, pa.string()),
            pa.array(["quarantined"] * count, pa.string()),
            pa.nulls(count, pa.string()),
            pa.array(reasons, pa.string()),
            pa.array([[reason] for reason in reasons], pa.list_(pa.string())),
            pa.nulls(count, pa.float64()),
            pa.nulls(count, pa.float64()),
            rejects["detail"],
            pa.array(np.zeros(count, np.int32)),
            rejects["bytes"],
        ],
        schema=LEDGER,
    )
