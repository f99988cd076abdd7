"""All rows of a task against its slice: what was read is the input's, and what stages made follows from the signals that the
output records; for a sample, signals follow from the text.

Thresholds are cheap and measuring is not. So every document is decided about again from its recorded signals, and only a
sample is measured again (`pipeline.audit.replay`). Runs in the reading process.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Set
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.audit.agreement import NAMED, RowsByKey
from gristmill.pipeline.audit.key_order import key_order, name_of, places_in
from gristmill.pipeline.audit.messages import Answer, Entry, TaskJob
from gristmill.pipeline.audit.open_files import opened
from gristmill.pipeline.audit.same_values import shown, unlike
from gristmill.pipeline.audit.sidecar_rows import task_rows
from gristmill.pipeline.document import DOC_KEY, ID, KEY_TYPE, TEXT, URL, key_words, one_chunk
from gristmill.pipeline.planning.graph import Node
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.provenance.sidecar_tables import LEDGER
from gristmill.pipeline.resources import visible_gpus
from gristmill.pipeline.slices.outcome import Outcome
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.slices.traversal import Answers, as_decided, null_findings, traverse
from gristmill.pipeline.source import SliceData
from gristmill.pipeline.stage import DROPPED, QUARANTINED
from gristmill.pipeline.writing.dropped_texts import dropped_texts
from gristmill.pipeline.writing.ledger import ledger_of
from gristmill.pipeline.writing.task_files import shard_columns

CHECK = "columns"
Told = Mapping[tuple[str, bytes], Mapping[str, Any]]


class _Recorded(Answers):
    """Signals are as the output records them, and every node that needs no answer of the whole corpus decides from them."""

    def __init__(self, job: TaskJob, told: Told) -> None:
        self.job, self.told = job, told

    def recorded_signals(self, node: Node, slice_rows: SliceRows) -> dict[str, pa.Array] | None:
        return recorded_signals(self.job, node, slice_rows)

    def measures(self, node: Node) -> bool:
        return False

    def decides(self, node: Node) -> bool:
        return not node.settles

    def undecided(self, node: Node, slice_rows: SliceRows) -> Outcome:
        return as_told(node, slice_rows, self.told)


def compare_recorded(
    job: TaskJob, plan: Plan, source: str, data: SliceData, ledger: pa.Table, path: str, answer: Answer
) -> None:
    """Compares ledger, shards and dropped texts of a task with its slice, for all rows."""
    slice_rows = SliceRows(plan.graph, source, data.table)
    decided = traverse(plan.graph, slice_rows, _Recorded(job, told_by(ledger, data.table)))
    known = [source, *(node.name for node in plan.graph.nodes if node.name in decided)]
    _ledger(slice_rows, known, data, ledger, path, answer)
    _identifiers(slice_rows, known, ledger, path, answer)
    _settled(plan, ledger, path, answer)
    compare_shards(job, plan, slice_rows, decided, answer)
    for entry in job.files:
        if entry.role == "dropped":
            _dropped(job, plan, slice_rows, known, entry, answer)
    output = next(one for one in plan.graph.outputs if one.name == job.output)
    listed = {entry.role for entry in job.files} | {
        f"signals:{path.split('/')[1]}" for path in job.broken if "/" in path
    }
    for node in plan.graph.nodes if output.config.signals == "all" else ():
        visible = [name for name in node.spec.signals.names if name not in node.spec.hidden]
        if visible and len(slice_rows.states[node.name].rows) and f"signals:{node.name}" not in listed:
            answer.fail(CHECK, "documents entered it, but no file has its signals", path, node=node.name)


def compare_measured(job: TaskJob, plan: Plan, slice_rows: SliceRows, decided: Set[str], answer: Answer) -> None:
    """Compares the signals and shards of a task with what stages measured of some of its documents again."""
    for node in plan.graph.nodes:
        state = slice_rows.states.get(node.name)
        if state is None or not len(state.rows) or not node.spec.reproducible or _unmeasured(slice_rows, node):
            continue
        if node.is_fact and node.resources.gpus > len(visible_gpus()):
            continue  # its scores are on record, and there is nothing here to find them with
        if node.spec.irreproducible:
            continue  # what it measures of a document that took too long or ended a parser is not the same again
        told = recorded_signals(job, node, slice_rows)
        if told is None:
            continue
        answer.saw(CHECK, len(state.rows))
        entry = next(entry for entry in job.files if entry.role == f"signals:{node.name}")
        again = slice_rows.measure(node) if node.is_fact else state.signals
        for name, recorded in told.items():
            within = node.spec.tolerances.get(name)
            for at in np.flatnonzero(unlike(recorded, again[name], exact=False, within=within))[:NAMED].tolist():
                message = f"the signal `{name}` is {shown(recorded, at)}; measured again, {shown(again[name], at)}"
                message += "" if within is None else f" (a difference of {within:g} · max(1, |value|) is allowed)"
                document = name_of(slice_rows.keys[state.rows[at]])
                answer.fail(CHECK, message, entry.path, node=node.name, document=document)
    compare_shards(job, plan, slice_rows, decided, answer)


def _unmeasured(slice_rows: SliceRows, node: Node) -> bool:
    """Whether nothing is known of what a node measures."""
    signals = slice_rows.states[node.name].signals
    return bool(signals) and all(array.null_count == len(array) for array in signals.values())


def compare_shards(job: TaskJob, plan: Plan, slice_rows: SliceRows, decided: Set[str], answer: Answer) -> None:
    """The columns of shards, but for the text, are those with which documents leave for the output, as far as that is known
    here; documents that do not leave are another check's."""
    unknown = {TEXT}
    for node in plan.graph.nodes:
        state = slice_rows.states.get(node.name)
        if state is not None and len(state.rows):
            unknown.update(node.spec.signals.names if _unmeasured(slice_rows, node) else ())
            unknown.update(() if node.name in decided else node.spec.findings.names)
    output = next(one for one in plan.graph.outputs if one.name == job.output)
    arrivals = [(edge, slice_rows.leaving(edge)[0]) for edge in output.inputs]
    arrivals = [(edge, rows) for edge, rows in arrivals if len(rows)]
    if not arrivals:
        return
    leaving = np.sort(np.concatenate([rows for _, rows in arrivals]))
    names = [name for name, _ in shard_columns(plan, output) if name not in unknown]
    expected = {name: slice_rows.incoming(arrivals, name, leaving) for name in names}
    by_key = RowsByKey(slice_rows.table.select([DOC_KEY]))
    for entry in job.files:
        if entry.role != "data":
            continue
        with opened(entry.folder, entry.path) as file:
            present = [name for name in names if name in file.schema_arrow.names]
            start = 0
            for group in range(file.metadata.num_row_groups):
                piece = file.read_row_group(group, columns=[DOC_KEY, *present], use_threads=False)
                rows = by_key.find(key_words(piece[DOC_KEY]))
                known = np.flatnonzero(np.isin(rows, leaving))
                answer.saw(CHECK, len(known))
                places = pa.array(np.searchsorted(leaving, rows[known]))
                for name in present:
                    mine, theirs = one_chunk(piece[name]).take(pa.array(known)), expected[name].take(places)
                    for at in np.flatnonzero(unlike(mine, theirs, exact=False))[:NAMED].tolist():
                        message = f"`{name}` is {shown(mine, at)}; by the input and the nodes it is {shown(theirs, at)}"
                        document = name_of(slice_rows.keys[rows[known[at]]])
                        answer.fail(CHECK, message, entry.path, row=start + int(known[at]), document=document)
                start += piece.num_rows


def _ledger(
    slice_rows: SliceRows, known: list[str], data: SliceData, ledger: pa.Table, path: str, answer: Answer
) -> None:
    """The rows about nodes that can be decided again are those that the engine would write, in their order."""
    again = ledger_of(slice_rows, known, data.rejects)
    numbered = ledger.append_column("row", pa.array(np.arange(ledger.num_rows)))
    mine = numbered.filter(pc.is_in(numbered["node"], value_set=pa.array(known, pa.string())))
    rows = mine["row"].to_pylist()
    answer.saw(CHECK, max(1, again.num_rows))
    count = min(mine.num_rows, again.num_rows)
    moved = np.zeros(count, bool)
    for name in ("node", DOC_KEY):
        moved |= unlike(mine[name].slice(0, count), again[name].slice(0, count))
    if moved.any() or mine.num_rows != again.num_rows:
        at = int(np.flatnonzero(moved)[0]) if moved.any() else count
        one = again if at < again.num_rows else mine
        place = {"node": one["node"][at].as_py(), "document": one[DOC_KEY][at].as_py().hex()}
        which = "lists this document next" if at < again.num_rows else "ends before this document"
        has = f"has {mine.num_rows} rows about nodes that decide by themselves"
        message = f"{has}; decided again, it has {again.num_rows} and {which}"
        answer.fail("replay", message, path, row=rows[at] if at < len(rows) else None, **place)
        return
    makers = slice_rows.graph.text_makers
    for name in LEDGER.names if not makers else [name for name in LEDGER.names if name != "bytes"]:
        for at in np.flatnonzero(unlike(mine[name], again[name], exact=False))[:NAMED].tolist():
            message = f"`{name}` is {shown(mine[name], at)}; decided again, it is {shown(again[name], at)}"
            document = mine[DOC_KEY][at].as_py().hex()
            answer.fail("replay", message, path, row=rows[at], node=mine["node"][at].as_py(), document=document)


def _settled(plan: Plan, ledger: pa.Table, path: str, answer: Answer) -> None:
    """Rows about nodes that decide from an answer of the whole corpus agree with themselves, as far as the stage can tell."""
    for node in plan.graph.nodes:
        if not node.settles:
            continue
        rows = np.flatnonzero(np.asarray(pc.equal(ledger["node"], node.name)))
        told = ledger.take(pa.array(rows))
        answer.saw("replay", told.num_rows)
        for at, message in itertools.islice(node.stage.recheck(told), NAMED):
            document = told[DOC_KEY][at].as_py().hex()
            answer.fail("replay", message, path, row=int(rows[at]), node=node.name, document=document)


def _identifiers(slice_rows: SliceRows, known: list[str], ledger: pa.Table, path: str, answer: Answer) -> None:
    """Rows about the other nodes carry the input's identifiers."""
    rows = RowsByKey(slice_rows.table.select([DOC_KEY])).find(key_words(ledger[DOC_KEY]))
    others = np.asarray(pc.invert(pc.is_in(ledger["node"], value_set=pa.array(known, pa.string()))))
    mine = np.flatnonzero(others & (rows >= 0))
    for name in (ID, URL):
        if name not in slice_rows.table.column_names:
            continue
        column = one_chunk(slice_rows.table[name])
        if name == URL and not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            continue
        theirs = column.take(pa.array(rows[mine])).cast(pa.string())
        told = one_chunk(ledger[name]).take(pa.array(mine))
        for at in np.flatnonzero(unlike(told, theirs))[:NAMED].tolist():
            message = f"`{name}` is {shown(told, at)}; in the input it is {shown(theirs, at)}"
            answer.fail(CHECK, message, path, row=int(mine[at]), document=name_of(slice_rows.keys[rows[mine[at]]]))


def _dropped(job: TaskJob, plan: Plan, slice_rows: SliceRows, known: list[str], entry: Entry, answer: Answer) -> None:
    """Dropped texts are those of the input, and of nodes that can be decided again all that is said of them."""
    table, answer.first_rows[entry.path] = task_rows(entry, job.task)
    again = dropped_texts(plan, slice_rows, known, None)
    everyone = RowsByKey(slice_rows.table.select([DOC_KEY]))
    for node in pc.unique(table["node"]).to_pylist():
        numbers = np.flatnonzero(np.asarray(pc.fill_null(pc.equal(table["node"], node), False)))
        mine = table.take(pa.array(numbers))
        if node in known:
            theirs = again.filter(pc.equal(again["node"], node))
            rows = RowsByKey(theirs).find(key_words(mine[DOC_KEY]))
        else:
            rows = everyone.find(key_words(mine[DOC_KEY]))
            here = np.maximum(rows, 0)
            ids = one_chunk(slice_rows.table[ID]).take(pa.array(here)).cast(pa.string())
            theirs = pa.table({ID: ids, TEXT: slice_rows.first_text(np.arange(slice_rows.count)).take(pa.array(here))})
            rows = np.where(rows >= 0, np.arange(len(rows)), -1)
        found = np.flatnonzero(rows >= 0)
        answer.saw(CHECK, len(found))
        for name in theirs.column_names:
            if name not in mine.column_names or (name == TEXT and plan.graph.text_makers):
                continue
            told, made = (one_chunk(t[name]).take(pa.array(at)) for t, at in ((mine, found), (theirs, rows[found])))
            for at in np.flatnonzero(unlike(told, made))[:NAMED].tolist():
                message = f"`{name}` is {shown(told, at)}; by the input and the nodes it is {shown(made, at)}"
                document = mine[DOC_KEY][int(found[at])].as_py().hex()
                answer.fail(CHECK, message, entry.path, row=int(numbers[found[at]]), node=node, document=document)


# What the output says, for what is not decided again


def recorded_signals(job: TaskJob, node: Node, slice_rows: SliceRows) -> dict[str, pa.Array] | None:
    """A node's signals for the rows that entered it, as the output has them; None when some are missing."""
    state = slice_rows.states[node.name]
    entry = next((entry for entry in job.files if entry.role == f"signals:{node.name}"), None)
    if not len(state.rows):
        return {item.name: pa.array([], item.type) for item in node.spec.signals}
    if entry is None or node.spec.hidden:
        return None
    table, _ = task_rows(entry, job.task)
    if not {DOC_KEY, *node.spec.signals.names} <= set(table.column_names):
        return None
    if table.schema.field(DOC_KEY).type != KEY_TYPE or table[DOC_KEY].null_count:
        return None  # the checks of contents and columns say so
    keys = key_words(table[DOC_KEY])
    order = key_order(keys)
    entered = slice_rows.keys[state.rows]
    ascending = key_order(entered)
    place = places_in(keys[order], entered[ascending])
    if (place >= len(keys)).any():
        return None
    rows = np.empty(len(entered), np.int64)
    rows[ascending] = order[place]
    chosen = pa.array(rows)
    return {item.name: one_chunk(table[item.name]).take(chosen).cast(item.type) for item in node.spec.signals}


def told_by(ledger: pa.Table, table: pa.Table) -> dict[tuple[str, bytes], dict[str, Any]]:
    """What the ledger says about documents, by node and key."""
    numbered = ledger.append_column("row", pa.array(np.arange(ledger.num_rows)))
    mine = numbered.filter(pc.is_in(numbered[DOC_KEY], value_set=one_chunk(table[DOC_KEY])))
    return {(item["node"], item[DOC_KEY]): item for item in mine.to_pylist()}


def as_told(node: Node, slice_rows: SliceRows, told: Told) -> Outcome:
    """A node's decisions as the ledger records them, with its columns unknown."""
    rows = slice_rows.states[node.name].rows
    count = len(rows)
    keys = keys_of(slice_rows, rows)
    port, copies = np.zeros(count, np.int16), np.ones(count, np.int64)
    codes = {"dropped": DROPPED, "quarantined": QUARANTINED}
    for position, key in enumerate(keys):
        item = told.get((node.name, key))
        if item is not None:
            name = item["port"]
            port[position] = codes.get(item["decision"], 0 if name is None else node.spec.ports.index(name))
            copies[position] = max(1, item["copies"])
    return as_decided(port, copies, null_findings(node, count))


def keys_of(slice_rows: SliceRows, rows: np.ndarray) -> list[bytes]:
    keys: list[bytes] = slice_rows.table[DOC_KEY].take(pa.array(rows)).to_pylist()
    return keys
