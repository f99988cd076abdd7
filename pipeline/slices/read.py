"""A slice as the engine reads it, with the plan's names and types, and what its source decides before any stage sees a
document: empty text is dropped, an oversized document is quarantined; the same where a node makes the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY, SOURCE_RULE, TEXT, blank_rows, one_chunk, payload_bytes, text_bytes
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.planning.foreign_files import read_each
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.provenance.content import combine, content_digest
from gristmill.pipeline.slices.outcome import Outcome
from gristmill.pipeline.source import Slice, SliceData
from gristmill.pipeline.stage import DROPPED, QUARANTINED
from gristmill.pipeline.stage_spec import EMPTY_PAYLOAD, REVOKED, TEXT_RULES


def read_slice(
    plan: Plan, one: Slice, columns: frozenset[str] | None, *, again: bool = False, shared: str | None = None
) -> SliceData:
    """A slice with the plan's columns for its source: in one order, of one type, null where this file lacks them.

    Args:
        plan: what the run is to do.
        one: the slice.
        columns: names to read, as the plan knows them; None reads all.
        again: whether a later pass reads the slice again.
        shared: the folder in which workers keep what they read for that.
    """
    schema = plan.graph.source_schema[one.source]
    # An input column that a node makes anew is passed on under another name (see pipeline.graph).
    made = {name for node in plan.graph.nodes for name in plan.graph.own_columns(node.name, hidden=True).names}
    renamed = {name: f"input_{name}" for name in made - {TEXT}}
    wanted = columns
    if wanted is not None:
        # A name of the form input_NAME may be the input's own: which of both there is, the source knows.
        wanted = wanted | {old for old, new in renamed.items() if new in wanted}
    read = read_each(plan.graph.sources[one.source], one, wanted, again=again, shared=shared)
    found = [_as_planned(data, schema, columns, renamed, member) for member, data in zip(one.each, read, strict=True)]
    if len(found) == 1:
        return found[0]
    return SliceData(
        pa.concat_tables([data.table for data in found], promote_options="default").combine_chunks(),
        pa.concat_tables([data.rejects for data in found]).combine_chunks(),
        sum(data.bytes_read for data in found),
        tuple((data.table.num_rows, data.rejects.num_rows) for data in found),
    )


def _as_planned(
    data: SliceData, schema: pa.Schema, columns: frozenset[str] | None, renamed: Mapping[str, str], one: Slice
) -> SliceData:
    table = data.table.rename_columns([renamed.get(name, name) for name in data.table.column_names])
    fields = [pa.field(DOC_KEY, table.schema.field(DOC_KEY).type)]
    arrays = [one_chunk(table[DOC_KEY])]
    for item in schema:
        if columns is not None and item.name not in columns:
            continue
        if item.name in table.column_names:
            array = one_chunk(table[item.name])
            arrays.append(array if array.type == item.type else _cast(array, item, one))
        else:
            arrays.append(pa.nulls(table.num_rows, item.type))
        fields.append(pa.field(item.name, item.type))
    if SOURCE_RULE in table.column_names:
        arrays.append(one_chunk(table[SOURCE_RULE]))
        fields.append(table.schema.field(SOURCE_RULE))
    return SliceData(pa.table(arrays, schema=pa.schema(fields)), data.rejects, data.bytes_read)


def _cast(array: pa.Array, item: pa.Field, one: Slice) -> pa.Array:
    try:
        return array.cast(item.type)
    except pa.ArrowException as error:
        raise DataError(
            f"{one.location}: the column `{item.name}` is {array.type}, but {item.type} in other files of the source "
            f"`{one.source}`, and cannot be read so ({error}). Convert the files to one type, or make them two sources."
        ) from error


def without_revoked(plan: Plan, source: str, table: pa.Table) -> pa.Table:
    """A slice as it was read, of which documents on the run's revocation list have nothing but their doc_key left: whatever
    comes after cannot keep a part of them. The source drops them."""
    if plan.revoked is None:
        return table
    return blanked(table, plan.revoked.documents(source, table, plan.graph.payloads(source)))


def blanked(table: pa.Table, revoked: np.ndarray) -> pa.Table:
    """A slice whose revoked rows (bool) have nothing but their doc_key and the rule."""
    if not revoked.any():
        return table
    kept = pa.array(np.arange(table.num_rows), mask=revoked)
    columns = {
        name: one_chunk(table[name]) if name == DOC_KEY else one_chunk(table[name]).take(kept)
        for name in table.column_names
    }
    rules = columns.get(SOURCE_RULE, pa.nulls(table.num_rows, pa.string()))
    columns[SOURCE_RULE] = pc.if_else(pa.array(revoked), REVOKED, rules)
    return pa.table(columns)


def digest_of_slice(data: SliceData, columns: dict[str, str]) -> str:
    """Digest of what was read of a slice: its rows, from their column digests, and its rejects."""
    found = combine(data.table.num_rows, columns)
    if data.rejects.num_rows:
        found = digest("gristmill.rejects", [found, content_digest(data.rejects)])
    return found


def read_outcome(table: pa.Table, payloads: frozenset[str], max_document_bytes: int) -> Outcome:
    """The decisions of a source for the rows of a slice: by the rules of its format, then about their texts, else about
    their payloads as far as they were read."""
    outcome = _judged_content(table, payloads, max_document_bytes)
    if SOURCE_RULE not in table.column_names or table[SOURCE_RULE].null_count == table.num_rows:
        return outcome
    given = one_chunk(table[SOURCE_RULE])
    rules = (*outcome.rules, *sorted(set(given.drop_null().to_pylist())))
    number = pc.fill_null(pc.index_in(given, pa.array(rules, given.type)), -1)
    chosen = np.asarray(given.is_valid())
    rule = np.where(chosen, np.asarray(number), outcome.rule).astype(np.int16)
    return replace(
        outcome,
        rules=rules,
        port=np.where(chosen, DROPPED, outcome.port).astype(np.int16),
        rule=rule,
        failed=np.where(chosen, np.uint64(1) << np.maximum(rule, 0).astype(np.uint64), outcome.failed),
        value=np.where(chosen, np.nan, outcome.value),
        threshold=np.where(chosen, np.nan, outcome.threshold),
    )


def _judged_content(table: pa.Table, payloads: frozenset[str], max_document_bytes: int) -> Outcome:
    if TEXT in table.column_names:
        return _judged(TEXT_RULES, blank_rows(table[TEXT]), text_bytes(table[TEXT]), max_document_bytes)
    read = [name for name in table.column_names if name in payloads]
    sizes = np.zeros(table.num_rows, np.int64)
    for name in read:
        sizes += payload_bytes(table[name])
    empty = (sizes == 0) & bool(read)
    return _judged((EMPTY_PAYLOAD, TEXT_RULES[1]), empty, sizes, max_document_bytes)


def judge_made_text(outcome: Outcome, text: pa.Array, max_document_bytes: int) -> Outcome:
    """A node's decisions about rows whose text it made, where blank and oversized texts are emitted no more."""
    judged = _judged(TEXT_RULES, blank_rows(text), text_bytes(text), max_document_bytes)
    chosen = (outcome.port >= 0) & (judged.rule >= 0)
    if not chosen.any():
        return outcome
    rules = (*outcome.rules, *(rule for rule in TEXT_RULES if rule not in outcome.rules))
    number = np.array([rules.index(rule) for rule in TEXT_RULES], np.int16)[np.maximum(judged.rule, 0)]
    bit = np.uint64(1) << number.astype(np.uint64)
    return replace(
        outcome,
        rules=rules,
        port=np.where(chosen, judged.port, outcome.port),
        copies=np.where(chosen, 1, outcome.copies),
        rule=np.where(chosen, number, outcome.rule),
        failed=np.where(chosen, outcome.failed | bit, outcome.failed),
        value=np.where(chosen, judged.value, outcome.value),
        threshold=np.where(chosen, judged.threshold, outcome.threshold),
    )


def _judged(rules: tuple[str, ...], empty: np.ndarray, sizes: np.ndarray, max_document_bytes: int) -> Outcome:
    count = len(sizes)
    large = sizes > max_document_bytes
    port = np.zeros(count, np.int16)
    port[empty] = DROPPED
    port[large] = QUARANTINED
    rule = np.full(count, -1, np.int16)
    rule[empty], rule[large] = 0, 1
    value = np.where(rule >= 0, sizes, np.nan).astype(np.float64)
    limit = np.where(large, float(max_document_bytes), np.nan)
    limit[empty] = 0.0
    failed = empty.astype(np.uint64) | (large.astype(np.uint64) << np.uint64(1))
    return Outcome(port, np.ones(count, np.int64), rules, rule, failed, value, limit, pa.nulls(count, pa.string()), {})
