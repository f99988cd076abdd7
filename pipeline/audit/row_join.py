"""The exact join of a task's ledger with its shards, signals and dropped texts, on (doc_key, copy)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.audit.key_order import key_order, name_of, places_in, starts_of
from gristmill.pipeline.audit.messages import Answer
from gristmill.pipeline.audit.routes import AuditGraph, Routes
from gristmill.pipeline.document import COPY, DOC_KEY, key_words, one_chunk
from gristmill.pipeline.provenance.accounts import MODULUS, Accounts, NodeAccount, Tally
from gristmill.pipeline.provenance.sidecar_tables import EMITTED

NAMED = 5
"""Documents that are named per kind of mismatch in a task; the rest are counted."""


def join_outputs(
    graph: AuditGraph,
    output: str,
    data: list[tuple[str, pa.Table | None]],
    keys: np.ndarray,
    routes: Routes,
    accounts: Accounts,
    ledger: str,
    answer: Answer,
) -> None:
    """A task's shards hold each document in the copies that the ledger leaves it, and no other document.

    Args:
        data: the shards, with doc_key and copy; with `row` where they are not whole: the rows' numbers.
        keys: the documents that the ledger lists, ascending.
        ways: their ways, and last that of a document which it does not list.
    """
    answer.saw("join")
    tables = [(path, table) for path, table in data if table is not None]
    for path, table in tables:
        if COPY not in table.column_names or not pa.types.is_integer(table.schema.field(COPY).type):
            answer.fail("join", "has no column `copy` of integers", path)
            return
    words = np.concatenate([np.empty((0, 2), np.uint64), *(key_words(table[DOC_KEY]) for _, table in tables)])
    copy = np.concatenate(
        [np.empty(0, np.int64), *(np.asarray(pc.fill_null(one_chunk(t[COPY]), -1)).astype(np.int64) for _, t in tables)]
    )
    file = np.repeat(np.arange(len(tables)), [table.num_rows for _, table in tables])
    row = np.concatenate([np.empty(0, np.int64), *(_row_numbers(table) for _, table in tables)])
    order = key_order(words, copy)
    ordered = words[order]
    starts = starts_of(ordered)
    count = np.diff(np.append(starts, len(ordered)))
    ordinal = np.arange(len(ordered)) - np.repeat(starts, count)

    def where(position: int) -> dict[str, object]:
        at = int(order[position])
        return {"row": int(row[at]), "document": name_of(ordered[position])}

    def name(position: int) -> str:
        return tables[int(file[int(order[position])])][0]

    # A document's copies are numbered from 0 without a gap; a doubled (doc_key, copy) breaks that.
    wrong = np.flatnonzero(copy[order] != ordinal)
    _report_rows(
        answer,
        wrong,
        lambda p: f"copy {int(copy[order][p])} found where copy {int(ordinal[p])} was expected",
        name,
        where,
    )
    expected = routes.into(graph.outputs[output])
    place = places_in(keys, ordered[starts])
    due = expected[place]
    foreign = (due == 0) & (place == len(keys))
    _report_rows(
        answer,
        starts[foreign],
        lambda p: f"is in the shards, but a document that the ledger does not list cannot reach `{output}`",
        name,
        where,
    )
    gone = (due == 0) & (place < len(keys))
    _report_rows(
        answer, starts[gone], lambda p: f"is in the shards, but by the ledger it does not reach `{output}`", name, where
    )
    other = (due != count) & (due > 0)
    copies = dict(
        zip(starts[other].tolist(), zip(due[other].tolist(), count[other].tolist(), strict=True), strict=True)
    )
    _report_rows(answer, starts[other], lambda p: f"expected {copies[p][0]} copies, found {copies[p][1]}", name, where)
    here = np.zeros(len(keys) + 1, bool)
    here[place] = True
    for index in np.flatnonzero((expected[:-1] > 0) & ~here[:-1])[:NAMED].tolist():
        lost = {"document": name_of(keys[index])}
        answer.fail("join", f"{int(expected[index])} copies are expected in the shards, none was found", ledger, **lost)
    # The unlisted documents cannot be named, but their number and sum are known.
    booked = Tally()
    for tally in accounts.outputs.get(output, {}).values():
        booked.add(tally)
    found = Tally.of(words, np.zeros(len(words), np.int64))
    if (found.rows, found.keys) != (booked.rows, booked.keys):
        answer.fail(
            "join",
            f"the task's shards hold {found.rows} rows with the key sum {found.keys:032x}, its accounts {booked.rows} with "
            f"{booked.keys:032x}",
            ledger,
        )


def _row_numbers(table: pa.Table) -> np.ndarray:
    return one_chunk(table["row"]).to_numpy() if "row" in table.column_names else np.arange(table.num_rows)


def _report_rows(
    answer: Answer,
    found: np.ndarray,
    message: Callable[[int], str],
    name: Callable[[int], str],
    where: Callable[[int], Mapping[str, Any]],
) -> None:
    for position in found[:NAMED].tolist():
        answer.fail("join", message(position), name(position), **where(position))
    if len(found) > NAMED:
        answer.fail("join", f"and {len(found) - NAMED} more documents like that", name(int(found[NAMED])))


def join_signals(
    node: str, table: pa.Table, keys: np.ndarray, routes: Routes, accounts: Accounts, path: str, answer: Answer
) -> None:
    """Signals belong to the documents that entered their node, each once."""
    answer.saw("signals")
    if node not in routes.entered:
        answer.fail("signals", "belongs to a node that is not part of the run", path, node=node)
        return
    words = key_words(table[DOC_KEY])
    order = key_order(words)
    ordered = words[order]
    twice = np.flatnonzero((ordered[1:] == ordered[:-1]).all(axis=1))
    if len(twice):
        document = name_of(ordered[int(twice[0])])
        answer.fail("signals", "the document is listed twice", path, node=node, document=document)
    entered = routes.entered[node]
    strangers = order[np.flatnonzero(entered[places_in(keys, ordered)] == 0)]
    for row in np.sort(strangers)[:NAMED].tolist():
        document = table[DOC_KEY][row].as_py().hex()
        answer.fail("signals", "the document did not enter the node", path, node=node, row=row, document=document)
    # Accounts count copies, signals documents: take the surplus of the listed ones off.
    surplus = Tally.of(keys, np.zeros(len(keys), np.int64), np.maximum(entered[:-1] - 1, 0))
    booked = accounts.nodes.get(node, NodeAccount()).entered
    rows, total = booked.rows - surplus.rows, (booked.keys - surplus.keys) % MODULUS
    found = Tally.of(words, np.zeros(len(words), np.int64))
    if (found.rows, found.keys) != (rows, total):
        answer.fail(
            "signals",
            f"{found.rows} documents with the key sum {found.keys:032x} are here, {rows} with {total:032x} entered",
            path,
            node=node,
        )


def join_notes(
    graph: AuditGraph, node: str, table: pa.Table, keys: np.ndarray, routes: Routes, path: str, answer: Answer
) -> None:
    """Kept notes are of documents that entered their node, and `emitted` says whether they left it."""
    answer.saw("signals")
    if node not in routes.entered or EMITTED not in table.column_names:
        answer.fail(
            "signals", "notes of a node that is not part of the run, or without the column `emitted`", path, node=node
        )
        return
    words = key_words(table[DOC_KEY])
    ordered = words[key_order(words)]
    for at in np.flatnonzero((ordered[1:] == ordered[:-1]).all(axis=1))[:NAMED].tolist():
        answer.fail("signals", "the document is listed twice", path, node=node, document=name_of(ordered[at]))
    place = places_in(keys, words)
    left = routes.into([f"{node}.{port}" for port in graph.ports_of(node)])
    entered, emitted = routes.entered[node][place] > 0, left[place] > 0
    told = np.asarray(table[EMITTED].to_numpy(zero_copy_only=False), bool)
    for message, wrong in (
        ("the document did not enter the node", ~entered),
        ("`emitted` differs from the ledger's decision about the document", entered & (told != emitted)),
    ):
        for row in np.flatnonzero(wrong)[:NAMED].tolist():
            document = table[DOC_KEY][row].as_py().hex()
            answer.fail("signals", message, path, node=node, row=row, document=document)


def listed_drops(table: pa.Table, ledger: pa.Table, path: str, answer: Answer) -> None:
    """Dropped texts are of documents that the ledger drops at that node for that reason, each once."""
    answer.saw("dropped")
    if {"node", "rule", DOC_KEY} - set(table.column_names):
        answer.fail("dropped", f"expected the columns node, rule, doc_key, found {table.column_names}", path)
        return
    drops = ledger.filter(pc.equal(ledger["decision"], "dropped"))
    names = [pc.unique(pa.concat_arrays([_texts(one[name]) for one in (drops, table)])) for name in ("node", "rule")]
    told, mine = (_drops(one, *names) for one in (drops, table))
    known = np.asarray(pc.is_in(mine, value_set=told))
    # Distinct drops are numbered as they first come, so one that was there before has no greater number than all before it.
    number = np.asarray(mine.dictionary_encode().indices).astype(np.int64)
    again = np.zeros(len(number), bool)
    again[1:] = number[1:] <= np.maximum.accumulate(number)[:-1]
    for row in np.flatnonzero(~known | again).tolist():
        rule, place = table["rule"][row].as_py(), {"row": row, "node": table["node"][row].as_py()}
        message = (
            "the document is listed twice" if known[row] else f"the ledger does not drop this document for {rule!r}"
        )
        answer.fail("dropped", message, path, **place, document=table[DOC_KEY][row].as_py().hex())


def _drops(table: pa.Table, nodes: pa.Array, rules: pa.Array) -> pa.FixedSizeBinaryArray:
    """A drop in 24 bytes for each row: the document, and the numbers of its node and of its rule among some."""
    rows = np.empty((table.num_rows, 3), np.uint64)
    rows[:, :2] = key_words(table[DOC_KEY])
    node, rule = numbers_of(table["node"], nodes), numbers_of(table["rule"], rules)
    rows[:, 2] = (node.astype(np.uint32).astype(np.uint64) << np.uint64(32)) | rule.astype(np.uint32)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(24), len(rows), [None, pa.py_buffer(rows)])


def numbers_of(column: pa.ChunkedArray, names: pa.Array) -> np.ndarray:
    """The place of each name among some, −1 for one that is not there or is no text (int64)."""
    return np.asarray(pc.fill_null(pc.index_in(_texts(column), value_set=names.cast(pa.large_string())), -1)).astype(
        np.int64
    )


def _texts(column: pa.ChunkedArray) -> pa.Array:
    """A column of texts; all null where it holds something else, as only a file that no run wrote does."""
    array = one_chunk(column)
    text = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    return array.cast(pa.large_string()) if text else pa.nulls(len(array), pa.large_string())
