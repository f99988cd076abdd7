"""Ledgers, signals, kept notes and dropped texts without some documents, and the lists of keyed digests beside ledgers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, FROM_TASK, one_chunk
from gristmill.pipeline.provenance.logs import LedgerLog, TaskEntry
from gristmill.pipeline.provenance.removal import (
    KEYED,
    REMOVAL,
    REMOVED,
    REMOVED_ROLE,
    kept_rows,
    without_witnesses,
    witnesses_naming,
)
from gristmill.pipeline.provenance.task_record import OutputFile
from gristmill.pipeline.removal.old_run import OldRun, Row
from gristmill.pipeline.storage import join
from gristmill.pipeline.writing.parquet import Shard, write_parquet
from gristmill.pipeline.writing.sidecars import LEDGER_ROLE


def rewritten(
    run: OldRun, row: Row, folder: str, removed: np.ndarray, entries: Mapping[int, TaskEntry]
) -> OutputFile | None:
    """Writes a sidecar without the rows of some documents; None for one of which nothing is left, which no ledger is.

    Args:
        row: the old file.
        folder: where the new one goes.
        removed: doc_keys (uint64, documents × 2), ascending.
        entries: what the ledger's log says of tasks that lose documents.
    """
    schema = run.schema(row)
    left: dict[int, int] = {}
    names = {key.tobytes().hex() for key in removed.astype(">u8")}
    pieces = _kept(run, row, removed, names, left)
    first = next(pieces, None)
    if first is None and row["role"] != LEDGER_ROLE:
        return None

    def every() -> Iterator[pa.Table]:
        if first is not None:
            yield first
            yield from pieces

    def log(rows: int, content: str) -> LedgerLog:
        old = run.logs[row["path"]]
        tasks = [replace(entries.get(one.task, one), rows=left.get(one.task, 0)) for one in old.tasks]
        return replace(old, tasks=tasks, rows=rows, content_digest=content)

    with_log = log if row["role"] == LEDGER_ROLE else None
    shard = write_parquet(join(folder, row["path"]), schema, every(), with_log, compact=True)
    return _file(row["path"], row["role"], shard)


def _kept(run: OldRun, row: Row, removed: np.ndarray, names: set[str], left: dict[int, int]) -> Iterator[pa.Table]:
    """The rows that stay, with their numbers by task in `left`."""
    for piece in run.pieces(row):
        piece = piece.filter(pa.array(kept_rows(piece[DOC_KEY], removed)))
        if not piece.num_rows:
            continue
        if row["role"] == LEDGER_ROLE:
            piece = without_witnesses(piece, names)
        for task, count in zip(*np.unique(one_chunk(piece[FROM_TASK]).to_numpy(), return_counts=True), strict=True):
            left[int(task)] = left.get(int(task), 0) + int(count)
        yield piece.combine_chunks()


def names_any(run: OldRun, row: Row, removed: np.ndarray) -> bool:
    """Whether a ledger's witnesses name any of some documents."""
    names = {key.tobytes().hex() for key in removed.astype(">u8")}
    return any(witnesses_naming(piece, names).any() for piece in run.pieces(row, ("witness",)))


def removed_list(
    run: OldRun, ledger: Row, folder: str, digests: Mapping[int, list[bytes]], number: int
) -> OutputFile | None:
    """Writes the keyed digests of documents that the tasks of a ledger have lost, in this removal and before; None for none.

    Args:
        digests: by task, of this removal.
        number: which of the manifest's removals it is, from 0.
    """
    path = removed_path(ledger)
    before = next((row for row in run.of_role(REMOVED_ROLE) if row["path"] == path), None)
    tables = [] if before is None else list(run.pieces(before))
    tasks = range(ledger["task"], ledger["task"] + ledger["tasks"])
    for task in tasks:
        mine = sorted(digests.get(task, []))
        columns = {REMOVAL: [number] * len(mine), KEYED: mine, FROM_TASK: [task] * len(mine)}
        tables.append(pa.table(columns, schema=REMOVED))
    table = pa.concat_tables([REMOVED.empty_table(), *tables])
    if not table.num_rows:
        return None
    table = table.sort_by([(FROM_TASK, "ascending"), (REMOVAL, "ascending"), (KEYED, "ascending")]).combine_chunks()
    return _file(path, REMOVED_ROLE, write_parquet(join(folder, path), REMOVED, iter([table])))


def removed_path(ledger: Row) -> str:
    """Where the keyed digests lie of documents that a ledger has lost."""
    return str(ledger["path"]).replace("ledger/", "removed/", 1)


def _file(path: str, role: str, shard: Shard) -> OutputFile:
    return OutputFile(
        path=path, role=role, size=shard.file.size, sha256=shard.file.sha256, content_digest=shard.content_digest,
        rows=shard.rows, keys=0,
    )  # fmt: skip
