"""Delivery: keyed rows to one file per owner task, sorted by doc_key, at most one row per document."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, key_words, one_chunk
from gristmill.pipeline.errors import ConservationError, ContractError
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.group import GroupExchange
from gristmill.pipeline.exchange.row_files import RowsWriter, written_elsewhere
from gristmill.pipeline.exchange.shuffle import Partitioner, ReduceResult, ReduceTask, partitions_of

TASK = "task"


def deliver(exchange: GroupExchange, rows: Rows, tasks: int) -> dict[int, str]:
    """See `FileExchange.deliver`."""
    for name, wanted in ((DOC_KEY, "fixed_size_binary[16]"), (TASK, "int32")):
        found = str(rows.schema.field(name).type) if name in rows.schema.names else "no such column"
        if found != wanted:
            raise ContractError(
                f"settled rows need the column `{name}` of type {wanted} to reach their documents, found {found}. Carry "
                "it along from the notes."
            )
    schema = exchange.checked_schema(rows, None, None)
    step = exchange.step("deliver")
    partitions = min(exchange.partitions(rows.count, schema), 1 << max(0, tasks - 1).bit_length())
    shuffled = exchange.split(step, rows, schema, Partitioner((TASK,), partitions, owners=tasks))
    results = exchange.reduced(run_route, shuffled, sort=(TASK, DOC_KEY), fold="", params={})
    files: dict[int, str] = {}
    delivered = 0
    for result in results:
        for owner, (path, count, _) in zip(result.owners, result.files, strict=True):
            files[owner] = path
            delivered += count
    if delivered != rows.count:
        raise ConservationError(f"{shuffled.name}: {rows.count} rows were given, {delivered} were delivered")
    return dict(sorted(files.items()))


def run_route(task: ReduceTask) -> ReduceResult:
    """Sort partitions, each a range of owner tasks, and write the rows of each owner to a file of its own, one after
    another, so that one file is open at a time."""
    files: list[tuple[str, int, int]] = []
    owners: list[int] = []
    previous: tuple[int, bytes] = (-1, b"")
    rows = key_sum = 0
    out = _OwnerFile(task.path.rpartition("/")[0], task.schema)
    with out:
        for partition in partitions_of(task):
            for table in partition.tables():
                owner = one_chunk(table.column(TASK)).to_numpy()
                previous = _check_single(table, owner, previous)
                starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
                for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(owner)], strict=True):
                    if int(owner[start]) != out.owner:
                        out.finish(files, owners)
                        out.begin(int(owner[start]))
                    out.write(table.slice(start, stop - start))
            rows += partition.count
            key_sum = (key_sum + partition.key_sum) % (1 << 128)
        out.finish(files, owners)
    pa.default_memory_pool().release_unused()
    return ReduceResult(tuple(files), task.schema, rows, key_sum, owners=tuple(owners))


def _check_single(table: pa.Table, owner: np.ndarray, previous: tuple[int, bytes]) -> tuple[int, bytes]:
    """Raises ConservationError when a document has two rows. Returns the last row's task and doc_key."""
    keys = one_chunk(table.column(DOC_KEY))
    words = key_words(keys)
    same = (words[1:] == words[:-1]).all(axis=1) & (owner[1:] == owner[:-1])
    twice: Any = None
    if (int(owner[0]), keys[0].as_py()) == previous:
        twice = 0
    elif same.any():
        twice = int(np.flatnonzero(same)[0]) + 1
    if twice is not None:
        raise ConservationError(
            f"document {keys[twice].as_py().hex()} of task {owner[twice]} has more than one settled row; a settled "
            "answer has at most one row per document. The stage's `settle` must merge them."
        )
    return int(owner[-1]), keys[-1].as_py()


class _OwnerFile:
    """The file of the owner task that is being written: a temporary name until it is whole."""

    def __init__(self, folder: str, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self.owner = -1
        self._context: Any = None
        self._writer: RowsWriter | None = None

    def __enter__(self) -> _OwnerFile:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._context is not None:
            self._context.__exit__(kind, error, trace)

    def begin(self, owner: int) -> None:
        self.owner = owner
        self._context = written_elsewhere(self._path())
        self._temporary = self._context.__enter__()
        self._writer = RowsWriter(self._temporary, self._schema)

    def _path(self) -> str:
        return f"{self._folder}/task-{self.owner:05d}.arrow"

    def write(self, table: pa.Table) -> None:
        if self._writer is not None:
            self._writer.write(table)

    def finish(self, files: list[tuple[str, int, int]], owners: list[int]) -> None:
        """Close the file under its name and list it."""
        if self._writer is None:
            return
        self._writer.close()
        size = self._temporary.stat().st_size
        context, self._context = self._context, None
        context.__exit__(None, None, None)
        files.append((self._path(), self._writer.rows, size))
        owners.append(self.owner)
        self._writer = None
