"""What an output says about a document in several places agrees, for all rows and without the input: identifiers, signals in
shards, dropped texts, and the order in which rows stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.audit.key_order import key_order, name_of, places_in, starts_of
from gristmill.pipeline.audit.messages import Answer, TaskJob
from gristmill.pipeline.audit.routes import AuditGraph, Routes
from gristmill.pipeline.audit.row_join import numbers_of
from gristmill.pipeline.audit.same_values import shown, unlike
from gristmill.pipeline.audit.source_position import MOST_RECORDS
from gristmill.pipeline.document import COPY, DOC_KEY, ID, URL, doc_keys, key_words, one_chunk
from gristmill.pipeline.provenance.logs import TaskLog
from gristmill.pipeline.provenance.sidecar_tables import dropped_rank
from gristmill.pipeline.stage_spec import REVOKED

CHECK = "agreement"
NAMED = 5
SIZE = "text_bytes"
"""Column that stands for the texts of dropped documents: their UTF-8 bytes, null where there is no text."""


class RowsByKey:
    """A table's rows by doc_key; of several rows with one key, one stands for all."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        words = key_words(table[DOC_KEY])
        order = key_order(words)
        self.rows = order[starts_of(words[order])]
        self.keys = words[self.rows]

    def find(self, words: np.ndarray) -> np.ndarray:
        """Row of each key, −1 where there is none."""
        order = key_order(words)
        place = places_in(self.keys, words[order])
        found = np.full(len(words), -1, np.int64)
        here = place < len(self.keys)
        found[order[here]] = self.rows[place[here]]
        return found


def check_agreement(
    job: TaskJob,
    log: TaskLog,
    graph: AuditGraph,
    tables: Mapping[str, pa.Table | None],
    listed: np.ndarray,
    routes: Routes,
    answer: Answer,
) -> None:
    """Compares the tables of one task. `tables`: by path, what was kept of each; `listed`: documents of the ledger, ascending;
    `routes`: theirs, and last that of a document which it does not list."""
    by_role: dict[str, list[tuple[str, pa.Table]]] = {}
    for entry in job.files:
        table = tables[entry.path]
        if table is not None and DOC_KEY in table.column_names:
            by_role.setdefault(entry.role, []).append((entry.path, table))
    (ledger_path, ledger) = by_role["ledger"][0]
    answer.saw(CHECK)
    shards = by_role.get("data", [])
    by_key = RowsByKey(ledger)
    made = {name for node in graph.nodes for name in node.columns}
    for path, table in [*shards, *by_role.get("dropped", [])]:
        rows = by_key.find(key_words(table[DOC_KEY]))
        for name in (ID, URL):
            if name in table.column_names and name not in made:
                _compare(table, ledger, rows, name, path, f"in {ledger_path}", answer)
    for path, table in by_role.get("dropped", []):
        _dropped(graph, table, ledger, log.seed, path, answer)
    _signals(graph, by_role, listed, routes, answer)
    _all_there(job, log, by_role, ledger_path, answer)
    _order(log, graph, by_role, answer)


def _compare(
    table: pa.Table, other: pa.Table, rows: np.ndarray, name: str, path: str, where: str, answer: Answer
) -> None:
    """A column has the values that another table has in the rows with the same documents (−1: it has none)."""
    known = np.flatnonzero(rows >= 0)
    if not len(known):
        return
    theirs = one_chunk(other[name]).take(pa.array(rows[known]))
    mine = one_chunk(table[name]).take(pa.array(known))
    if name in (ID, URL):
        if not (pa.types.is_string(mine.type) or pa.types.is_large_string(mine.type) or pa.types.is_integer(mine.type)):
            return
        # Rejected records have no identifiers in a ledger, and a URL that is no text is none.
        mine, theirs = mine.cast(pa.large_string()), theirs.cast(pa.large_string())
    wrong = known[unlike(mine, theirs)]
    for row in wrong[:NAMED].tolist():
        told = shown(other[name], int(rows[row]))
        document = name_of(key_words(table[DOC_KEY].slice(row, 1))[0])
        message = f"`{name}` is {shown(table[name], row)}, but {told} {where}"
        answer.fail(CHECK, message, path, row=row, document=document)
    if len(wrong) > NAMED:
        answer.fail(CHECK, f"and {len(wrong) - NAMED} more rows whose `{name}` differs", path)


def _dropped(graph: AuditGraph, table: pa.Table, ledger: pa.Table, seed: int, path: str, answer: Answer) -> None:
    """Ranks follow from the seed, and texts are as long as the ledger says."""
    words = key_words(table[DOC_KEY])
    if "rank" in table.column_names:
        wrong = np.flatnonzero(unlike(table["rank"], pa.array(dropped_rank(words, seed), pa.uint64())))
        for row in wrong[:NAMED].tolist():
            answer.fail(CHECK, "`rank` does not follow from the seed", path, row=row, document=name_of(words[row]))
    if SIZE not in table.column_names or "node" not in table.column_names:
        return
    # Where a node makes the text, the ledger has the bytes of what it made it from.
    makers = {node.name for node in graph.nodes if node.makes_text}
    for node in set(pc.unique(table["node"]).to_pylist()) - makers:
        mine = np.flatnonzero(np.asarray(pc.fill_null(pc.equal(table["node"], node), False)))
        theirs = ledger.filter(pc.equal(ledger["node"], node))
        rows = RowsByKey(theirs).find(words[mine])
        sizes = one_chunk(table[SIZE]).take(pa.array(mine))
        known = np.flatnonzero((rows >= 0) & np.asarray(sizes.is_valid()))
        stated = one_chunk(theirs["bytes"]).take(pa.array(rows[known]))
        for at in known[unlike(sizes.take(pa.array(known)), stated)][:NAMED].tolist():
            message = (
                f"its text has {sizes[at].as_py()} bytes, but {shown(theirs['bytes'], int(rows[at]))} in the ledger"
            )
            answer.fail(CHECK, message, path, row=int(mine[at]), node=node, document=name_of(words[mine[at]]))


def _signals(
    graph: AuditGraph,
    by_role: Mapping[str, Sequence[tuple[str, pa.Table]]],
    listed: np.ndarray,
    routes: Routes,
    answer: Answer,
) -> None:
    """A column of a shard that a node measured has the value in `signals/` of the last node on the document's way that makes
    it."""
    tables = {role.removeprefix("signals:"): one[0] for role, one in by_role.items() if role.startswith("signals:")}
    keyed = {name: RowsByKey(table) for name, (_, table) in tables.items()}
    for path, table in by_role.get("data", []):
        words = key_words(table[DOC_KEY])
        order = key_order(words)
        place = np.empty(len(words), np.int64)
        place[order] = places_in(listed, words[order])
        for name in table.column_names:
            makers = [node.name for node in graph.nodes if name in node.columns]
            if not makers or name in (DOC_KEY, COPY, ID, URL):
                continue
            last = np.full(len(words), -1, np.int64)
            for number, maker in enumerate(makers):
                if maker in routes.entered:
                    last[routes.entered[maker][place] > 0] = number
            for number, maker in enumerate(makers):
                if maker in tables and name in tables[maker][1].column_names:
                    where, other = tables[maker]
                    rows = np.where(last == number, keyed[maker].find(words), -1)
                    _compare(table, other, rows, name, path, f"in {where}", answer)


def _all_there(
    job: TaskJob,
    log: TaskLog,
    by_role: Mapping[str, Sequence[tuple[str, pa.Table]]],
    ledger_path: str,
    answer: Answer,
) -> None:
    """Signals are kept of every task in which documents entered the node, and dropped texts of every dropped document where
    the config keeps all."""
    listed = {entry.role for entry in job.files}
    for node in job.measuring:
        account = log.accounts.nodes.get(node)
        role = f"signals:{node}"
        broken = any(path.startswith(f"signals/{node}/") for path in job.broken)
        if account is not None and account.entered.rows and role not in listed and not broken:
            answer.fail(CHECK, "documents entered it, but no file has its signals", ledger_path, node=node)
    unread = any(path.startswith("dropped/") for path in job.broken) or (
        "dropped" in listed and "dropped" not in by_role
    )
    if job.dropped != "all" or unread:
        return
    ledger = by_role["ledger"][0][1]
    # Texts of revoked documents are kept nowhere.
    kept_nowhere = pc.and_(pc.is_in(ledger["node"], pa.array(list(job.sources))), pc.equal(ledger["rule"], REVOKED))
    ledger = ledger.filter(pc.invert(pc.fill_null(kept_nowhere, False)))
    drops = int(pc.sum(pc.equal(ledger["decision"], "dropped")).as_py() or 0)
    kept = sum(table.num_rows for _, table in by_role.get("dropped", []))
    if drops != kept:
        answer.fail(CHECK, f"drops {drops} documents and all texts are to be kept, but {kept} are", ledger_path)


def _order(
    log: TaskLog, graph: AuditGraph, by_role: Mapping[str, Sequence[tuple[str, pa.Table]]], answer: Answer
) -> None:
    """Rows stand in the order of the slice: by their records' numbers, or where these cannot be tried as in the signals of the
    first node."""
    reference = _reference(log, graph, by_role)
    if reference is None:
        return
    shards = by_role.get("data", [])
    last = (-1, -1)
    for path, table in shards if all(COPY in table.column_names for _, table in shards) else ():
        place = reference.find(key_words(table[DOC_KEY]))
        copy = np.asarray(pc.fill_null(one_chunk(table[COPY]), -1)).astype(np.int64)
        known = np.flatnonzero(place >= 0)
        if not len(known):
            continue
        place, copy = place[known], copy[known]
        back = np.flatnonzero((place[1:] < place[:-1]) | ((place[1:] == place[:-1]) & (copy[1:] <= copy[:-1])))
        if (int(place[0]), int(copy[0])) <= last:
            _misplaced(table, int(known[0]), path, answer)
        elif len(back):
            _misplaced(table, int(known[back[0] + 1]), path, answer)
        last = (int(place[-1]), int(copy[-1]))
    names = pa.array([node.name for node in graph.nodes], pa.string())
    for role, files in by_role.items():
        for path, table in files:
            if role == "data":
                continue
            place = reference.find(key_words(table[DOC_KEY]))
            if role in ("ledger", "dropped"):
                nodes = numbers_of(table["node"], names)
                # A source lists records that it could not read first, whose numbers may be any.
                ahead = (nodes[1:] < nodes[:-1]) | (
                    (nodes[1:] == nodes[:-1]) & (nodes[1:] >= 0) & (place[1:] >= 0) & (place[1:] < place[:-1])
                )
            else:
                ahead = (place[1:] >= 0) & (place[1:] < place[:-1])
            if ahead.any():
                _misplaced(table, int(np.flatnonzero(ahead)[0]) + 1, path, answer)


def _reference(
    log: TaskLog, graph: AuditGraph, by_role: Mapping[str, Sequence[tuple[str, pa.Table]]]
) -> RowsByKey | None:
    """Documents in the order of the slice."""
    one = log.slices[0]
    some = next((table for files in by_role.values() for _, table in files if table.num_rows), None)
    if some is None:
        return None
    wanted = key_words(some[DOC_KEY])
    count = one.rows + one.rejects
    for first in sorted({0, int(one.part.get("first_row", 0))}, reverse=True):
        if 0 < count <= MOST_RECORDS and first >= 0:
            # Several files of one slice are whole, and follow each other.
            numbers = [(file.path, np.arange(first, first + file.rows + file.rejects)) for file in one.each]
            keys = pa.concat_arrays([doc_keys(one.source, log.snapshot, *item) for item in numbers])
            numbered = RowsByKey(pa.table({DOC_KEY: keys}))
            if (numbered.find(wanted[:1]) >= 0).all():
                return numbered
    signals = (by_role[f"signals:{node.name}"] for node in graph.nodes if f"signals:{node.name}" in by_role)
    first_files = next(signals, None)
    return None if first_files is None else RowsByKey(first_files[0][1])


def _misplaced(table: pa.Table, row: int, path: str, answer: Answer) -> None:
    document = name_of(key_words(table[DOC_KEY].slice(row, 1))[0])
    answer.fail(CHECK, "stands before a row that comes later in the slice", path, row=row, document=document)
