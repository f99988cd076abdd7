"""A task's rows in a sidecar, which holds those of many tasks; and the check that every row of a sidecar is some task's.

Row groups are found by the statistics of `from_task`, and the last ones that were read are kept, since the next task's rows
lie there too. `check_sidecar` reads a file whole, as `check_task` does shards: then statistics are true, and rows are in the
order of their tasks. It also leaves the lengths of dropped texts, so that no task decodes these a second time. Runs in the
reading process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.pipeline.audit.documents import sound_log
from gristmill.pipeline.audit.messages import Answer, Entry
from gristmill.pipeline.audit.open_files import Damaged, opened
from gristmill.pipeline.audit.scan_file import scanned
from gristmill.pipeline.document import FROM_TASK, TEXT, one_chunk, text_bytes
from gristmill.pipeline.provenance.logs import LedgerLog
from gristmill.pipeline.writing.parquet import read_log

_KEPT = 12
"""Row groups of several tasks that are kept: one of each kind of sidecar."""


def check_sidecar(argument: Mapping[str, Any]) -> dict[str, Any]:
    """All checks of one sidecar by itself. `argument`: `entry`, an Entry, and `lengths`, a folder in which to leave those of
    texts; the answer is an Answer as JSON."""
    entry, answer = Entry(**argument["entry"]), Answer()
    bounds: dict[int, tuple[int, int]] = {}
    lengths: list[np.ndarray] = []
    counts: dict[int, int] = {}
    last, in_order = -(1 << 31), True

    def each(group: int, piece: pa.Table) -> None:
        nonlocal last, in_order
        if entry.role == "dropped" and (found := text_lengths(piece)) is not None:
            lengths.append(found)
        if not _has_tasks(piece.schema) or piece[FROM_TASK].null_count or not piece.num_rows:
            return
        tasks = one_chunk(piece[FROM_TASK]).to_numpy()
        least, most = bounds.get(group, (int(tasks[0]), int(tasks[0])))
        bounds[group] = min(least, int(tasks.min())), max(most, int(tasks.max()))
        in_order = in_order and int(tasks[0]) >= last and bool((tasks[1:] >= tasks[:-1]).all())
        last = int(tasks[-1])
        for task, count in zip(*np.unique(tasks, return_counts=True), strict=True):
            counts[int(task)] = counts.get(int(task), 0) + int(count)

    table, found = scanned(entry.folder, entry, [FROM_TASK], answer, each)
    if table is None:
        return answer.to_json()
    if not in_order:
        answer.fail("content", "its rows are not in the order of their tasks", entry.path)
    if lengths:
        np.save(_lengths_file(argument["lengths"], entry), np.concatenate(lengths), allow_pickle=False)
    if not _has_tasks(table.schema) or table[FROM_TASK].null_count:
        answer.fail("content", f"has no column `{FROM_TASK}` of 32-bit integers without nulls", entry.path)
        return answer.to_json()
    strange = [task for task in counts if not entry.task <= task < entry.task + entry.tasks]
    if strange:
        final = entry.task + entry.tasks - 1
        answer.fail("content", f"has rows of task {strange[0]}; it is about tasks {entry.task} to {final}", entry.path)
    if list(bounds.values()) != _stated_bounds(entry):
        answer.fail("content", f"the statistics of `{FROM_TASK}` in its footer are not those of its rows", entry.path)
    log = sound_log(LedgerLog, found) if entry.role == "ledger" else None
    for one in () if log is None else log.tasks:
        if one.rows != counts.get(one.task, 0):
            message = f"its log gives task {one.task} {one.rows} rows, but it has {counts.get(one.task, 0)}"
            answer.fail("content", message, entry.path)
    return answer.to_json()


def _has_tasks(schema: pa.Schema) -> bool:
    return FROM_TASK in schema.names and schema.field(FROM_TASK).type == pa.int32()


def _stated_bounds(entry: Entry) -> list[tuple[int, int] | None]:
    with opened(entry.folder, entry.path) as file:
        groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
        index = _leaf(file)
        return [_bounds(group.column(index)) for group in groups if group.num_rows]


def _leaf(file: pq.ParquetFile) -> int:
    return next(index for index in range(len(file.schema)) if file.schema.column(index).path == FROM_TASK)


def _bounds(chunk: Any) -> tuple[int, int] | None:
    found = chunk.statistics
    return None if found is None or not found.has_min_max else (int(found.min), int(found.max))


def task_rows(entry: Entry, task: int, columns: Sequence[str] | None = None) -> tuple[pa.Table, int]:
    """A task's rows in a sidecar, without `from_task`, and the number of the first of them in the file.

    Args:
        columns: what is wanted of them, as far as it is there; default: all.

    Raises Damaged and Unreadable.
    """
    parts: list[pa.Table] = []
    before = first = 0
    with opened(entry.folder, entry.path) as file:
        schema = file.schema_arrow.remove_metadata()
        if not _has_tasks(schema):
            raise Damaged(f"has no column `{FROM_TASK}` of 32-bit integers")
        index = _leaf(file)
        names = tuple(name for name in schema.names if columns is None or name in (FROM_TASK, *columns))
        for group in range(file.metadata.num_row_groups):
            stated = file.metadata.row_group(group)
            bounds = _bounds(stated.column(index))
            if bounds is None or bounds[0] <= task <= bounds[1]:
                read = _group if bounds is None or bounds[0] != bounds[1] else _group.__wrapped__
                rows, at = _of_task(read(entry.folder, entry.path, entry.sha256, group, names), task)
                if rows.num_rows and not parts:
                    first = before + at
                parts += [rows] if rows.num_rows else []
            before += stated.num_rows
    empty = schema.empty_table().select(names)
    return pa.concat_tables([empty, *parts]).drop_columns(FROM_TASK).combine_chunks(), first


@lru_cache(maxsize=_KEPT)
def _group(folder: str, path: str, sha256: str, group: int, columns: tuple[str, ...]) -> pa.Table:
    with opened(folder, path) as file:
        return file.read_row_group(group, columns=list(columns), use_threads=False).replace_schema_metadata(None)


def text_lengths(table: pa.Table) -> np.ndarray | None:
    """UTF-8 bytes of each text (int64, −1 for null); None for a table without texts."""
    if TEXT not in table.column_names:
        return None
    column = one_chunk(table[TEXT])
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return None
    return np.where(np.asarray(column.is_null()), -1, text_bytes(column))


def lengths_left(folder: str, entry: Entry, first: int, rows: int) -> np.ndarray | None:
    """The lengths of some rows' texts as the check of the whole file left them in a folder; None where it left none."""
    try:
        whole = np.load(_lengths_file(folder, entry), mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        return None
    return np.array(whole[first : first + rows]) if len(whole) == entry.rows else None


def _lengths_file(folder: str, entry: Entry) -> Path:
    """Where they lie: under the digest of the file, which was compared before it was read."""
    return Path(folder) / f"lengths-{entry.sha256}.npy"


def _of_task(table: pa.Table, task: int) -> tuple[pa.Table, int]:
    """Rows of a task, which lie together, and where the first is."""
    tasks = one_chunk(table[FROM_TASK])
    if not tasks.null_count:
        numbers = tasks.to_numpy()
        begin, end = (int(np.searchsorted(numbers, task, side)) for side in ("left", "right"))
        if end - begin == int(np.count_nonzero(numbers == task)) and (numbers[begin:end] == task).all():
            return table.slice(begin, end - begin), begin
    mine = pc.fill_null(pc.equal(tasks, task), False)
    return table.filter(mine), int(pc.index(mine, True).as_py())


@lru_cache(maxsize=4)
def ledger_log(folder: str, path: str, sha256: str) -> LedgerLog | None:
    """The log of a ledger that has its form, else None. Raises Damaged and Unreadable."""
    with opened(folder, path) as file:
        metadata = file.metadata.metadata
    try:
        return sound_log(LedgerLog, read_log(metadata))
    except (ValueError, RecursionError):
        return None  # the check of the whole file says that it is no JSON
