"""The shuffle's tasks: a map task splits rows into partitions, a reduce task sorts one partition and folds it.

Both are functions of a payload, so they run anywhere and may run twice: what they write has a deterministic name and
content, and is renamed into place when whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, key_words, one_chunk
from gristmill.pipeline.errors import ConservationError, ContractError
from gristmill.pipeline.exchange.external_sort import SortedRows
from gristmill.pipeline.exchange.function_names import resolve
from gristmill.pipeline.exchange.hash_kernels import hash_rows, key_sums, split_order
from gristmill.pipeline.exchange.row_files import (
    PartitionWriter,
    RowsWriter,
    fixed_width,
    most_bytes,
    read_batches,
    read_partition,
    writing,
    written_elsewhere,
)

SORT_BYTES = 96
"""Bytes per row, beside the row itself, that sorting needs at its peak: bit strings, radix buffers, order."""
VARIABLE_BYTES = 24
"""What a column of variable width is taken to weigh per row where only a plan is made; tasks count real bytes."""

INPUT_ROWS = 1 << 14
"""Most rows that `prepare` gets at once. It may make many of each (14 bands), and a chunk is passed by no more than that."""


@dataclass(frozen=True)
class Partitioner:
    """Which partition a row belongs to: by hash of `columns`, or, with `owners`, by ranges of the owner task."""

    columns: tuple[str, ...]
    partitions: int
    owners: int | None = None

    def parts(self, table: pa.Table) -> np.ndarray:
        """Partition of each row, uint32."""
        if self.owners is not None:
            column = one_chunk(table.column(self.columns[0]))
            owner = column.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
            if len(owner) and (owner.min() < 0 or owner.max() >= self.owners):
                wrong = owner[(owner < 0) | (owner >= self.owners)][0]
                found = "null" if column.null_count else str(wrong)
                raise ConservationError(
                    f"a row names the task {found}, but the plan has tasks 0 to {self.owners - 1}: it could reach no "
                    "document. The stage that settled it must copy `task` from its notes."
                )
            return np.asarray(owner * self.partitions // self.owners, np.uint32)
        if self.partitions == 1:
            return np.zeros(table.num_rows, np.uint32)
        hashes = hash_rows([one_chunk(table.column(name)) for name in self.columns], table.num_rows)
        # High bits, so that a plan with twice the partitions splits each in two.
        shift = np.uint64(64 - (self.partitions - 1).bit_length())
        return (hashes >> shift).astype(np.uint32)


@dataclass(frozen=True)
class MapTask:
    """Input of `run_map`.

    Attributes:
        inputs: (path, first record batch, batch after the last) of each part of a file that the task reads.
        schema: of the input files.
        prepared: of the rows after `prepare`.
        chunk_bytes: rows held before they are split and written.
    """

    number: int
    inputs: tuple[tuple[str, int, int | None], ...]
    schema: pa.Schema
    prepared: pa.Schema
    prepare: str | None
    prepare_params: Mapping[str, Any]
    partitioner: Partitioner
    path: str
    chunk_bytes: int


@dataclass(frozen=True)
class MapResult:
    """Rows read, and per partition the rows and the two halves of Σ doc_key written (uint64, shape (n, 3))."""

    rows: int
    totals: np.ndarray


@dataclass(frozen=True)
class ReduceTask:
    """Input of `run_fold` and of the delivery's `run_route`.

    Attributes:
        sort: the columns that the partition is sorted by.
        rows, key_sum: what the map tasks wrote to the partition, all together.
        path: the file to write, or the folder when there are several.
    """

    part: int
    pieces: str
    maps: int
    schema: pa.Schema
    sort: tuple[str, ...]
    rows: int
    key_sum: int
    fold: str
    params: Mapping[str, Any]
    path: str
    budget_bytes: int


@dataclass(frozen=True)
class ReduceResult:
    """Files with their rows, the schema (None when the fold yielded no table), and what the fold returned."""

    files: tuple[tuple[str, int], ...]
    schema: pa.Schema | None
    tally: int = 0
    owners: tuple[int, ...] = field(default=())


def reduce_tasks(
    step: Path,
    maps: int,
    totals: np.ndarray,
    schema: pa.Schema,
    *,
    sort: Sequence[str],
    fold: str,
    params: Mapping[str, Any],
    budget_bytes: int,
) -> list[ReduceTask]:
    """A task for each partition that has rows; `totals` as in MapResult, added over map tasks."""
    return [
        ReduceTask(
            part=part,
            pieces=str(step / "pieces"),
            maps=maps,
            schema=schema,
            sort=tuple(sort),
            rows=int(totals[part, 0]),
            key_sum=int(totals[part, 1]) << 64 | int(totals[part, 2]),
            fold=fold,
            params=dict(params),
            path=str(step / f"part-{part:05d}.arrow"),
            budget_bytes=budget_bytes,
        )
        for part in range(len(totals))
        if totals[part, 0]
    ]


def row_bytes(schema: pa.Schema) -> int:
    """Bytes of a row: exact for fixed-width columns; for others the most that they say they take, or VARIABLE_BYTES."""
    exact = fixed_width(schema)
    if exact is not None:
        return exact
    return sum(fixed_width(pa.schema([column])) or most_bytes(column) or VARIABLE_BYTES for column in schema)


def map_path(folder: str, number: int) -> str:
    """Where map task `number` writes its partition file."""
    return f"{folder}/map-{number:05d}.parts"


def run_map(task: MapTask) -> MapResult:
    """Split the task's rows into partitions, in chunks that fit the budget. Returns what was written to each."""
    prepare = resolve(task.prepare) if task.prepare else None
    read = 0
    with written_elsewhere(Path(task.path)) as temporary:
        with writing(Path(task.path)):
            writer = PartitionWriter(temporary, task.prepared, task.partitioner.partitions)
        waiting: list[pa.Table] = []
        held = 0
        for table in _input_tables(task):
            read += table.num_rows
            if prepare is not None:
                table = prepare(table, **task.prepare_params)
                check_schema(table.schema, task.prepared, f"`{task.prepare}`")
            waiting.append(table)
            held += table.nbytes
            if held >= task.chunk_bytes:
                _spill(writer, waiting, task)
                held = 0
        if waiting:
            _spill(writer, waiting, task)
        with writing(Path(task.path)):
            totals = writer.close()
    pa.default_memory_pool().release_unused()
    return MapResult(read, totals)


def _input_tables(task: MapTask) -> Iterator[pa.Table]:
    """The task's rows in tables of at most a chunk and INPUT_ROWS rows."""
    for path, first, stop in task.inputs:
        for batch in read_batches(path, task.schema, first, stop):
            size = INPUT_ROWS
            if batch.nbytes > task.chunk_bytes:
                size = max(1, min(size, batch.num_rows * task.chunk_bytes // batch.nbytes))
            for start in range(0, batch.num_rows, size):
                yield pa.Table.from_batches([batch.slice(start, size)])


def _spill(writer: PartitionWriter, waiting: list[pa.Table], task: MapTask) -> None:
    table = pa.concat_tables(waiting)
    waiting.clear()
    rows = table.num_rows
    order = np.empty(rows, np.uint32)
    bounds = split_order(task.partitioner.parts(table), task.partitioner.partitions, order)
    if DOC_KEY in table.schema.names:
        sums = key_sums(key_words(table.column(DOC_KEY)), order, bounds)
    else:
        sums = np.zeros((task.partitioner.partitions, 2), np.uint64)
    columns: list[Any] = list(table.columns)
    del table
    taken = pa.array(order)
    # Column by column, each source column let go at once: two copies of one column, not of all.
    for index in range(len(columns)):
        columns[index] = one_chunk(columns[index]).take(taken)
    with writing(Path(task.path)):
        writer.spill(pa.table(columns, schema=task.prepared), bounds, sums)


def partition_rows(task: ReduceTask) -> SortedRows:
    """The rows of a partition, loaded and sorted within the budget, each piece checked against its index."""
    name = f"partition {task.part} of {Path(task.pieces).parent.name}"

    def pieces() -> Iterator[pa.Table]:
        for number in range(task.maps):
            path = map_path(task.pieces, number)
            for piece in read_partition(path, task.schema, task.part):
                rows, total = measured(piece.table)
                if rows != piece.rows or total != piece.key_sum:
                    raise mismatch(f"{name} in {path}", piece.rows, piece.key_sum, rows, total)
                yield piece.table

    return SortedRows(
        pieces(),
        schema=task.schema,
        sort=task.sort,
        spill_folder=Path(f"{task.pieces}/runs-{task.part:05d}"),
        budget_bytes=task.budget_bytes,
        row_bytes=row_bytes(task.schema) + SORT_BYTES,
        sort_bytes=SORT_BYTES,
    )


def counted(tables: Iterator[pa.Table], task: ReduceTask) -> Iterator[pa.Table]:
    """Pass tables through; at their end, check that they were the rows that the map tasks wrote."""
    rows = 0
    total = 0
    for table in tables:
        more_rows, more_total = measured(table)
        rows += more_rows
        total = (total + more_total) % (1 << 128)
        yield table
    if rows != task.rows or total != task.key_sum:
        name = f"partition {task.part} of {Path(task.pieces).parent.name}"
        raise mismatch(name, task.rows, task.key_sum, rows, total)


def measured(table: pa.Table) -> tuple[int, int]:
    """(rows, Σ doc_key mod 2^128); the sum is 0 for rows without a doc_key."""
    rows = table.num_rows
    if rows == 0 or DOC_KEY not in table.schema.names:
        return rows, 0
    order = np.arange(rows, dtype=np.uint32)
    sums = key_sums(key_words(table.column(DOC_KEY)), order, np.array([0, rows], np.int64))
    return rows, int(sums[0, 0]) << 64 | int(sums[0, 1])


def mismatch(where: str, rows: int, total: int, found_rows: int, found_total: int) -> ConservationError:
    """The error for rows that went in and did not come out."""
    return ConservationError(
        f"{where}: {rows} rows with doc_key sum {total:032x} were written, {found_rows} rows with doc_key sum "
        f"{found_total:032x} were read. Rows were lost, doubled or exchanged on storage; remove the work folder of this "
        "step and run again."
    )


def check_schema(found: pa.Schema, expected: pa.Schema, who: str) -> None:
    """Raises ContractError unless the schemas agree in names, types and order."""
    if not found.equals(expected):
        raise ContractError(
            f"{who} made tables with different columns: expected [{_listed(expected)}], found [{_listed(found)}]. It "
            "must make the same columns whatever its input."
        )


def _listed(schema: pa.Schema) -> str:
    return ", ".join(f"{column.name}: {column.type}" for column in schema)


def run_fold(task: ReduceTask) -> ReduceResult:
    """Sort one partition, stream it through the fold, and write what the fold yields."""
    fold = resolve(task.fold)
    tally = 0
    with partition_rows(task) as sorted_rows:
        ended = False

        def stream() -> Iterator[pa.Table]:
            nonlocal ended
            yield from counted(sorted_rows.tables(), task)
            ended = True

        with written_elsewhere(Path(task.path)) as temporary:
            writer: RowsWriter | None = None
            made = iter(fold(stream(), **task.params))
            while True:
                try:
                    table = next(made)
                except StopIteration as stop:
                    tally = stop.value or 0
                    break
                if not isinstance(table, pa.Table):
                    raise ContractError(f"fold `{task.fold}` yielded a {type(table).__name__}, expected pyarrow Tables")
                if writer is None:
                    writer = RowsWriter(temporary, table.schema)
                check_schema(table.schema, writer.schema, f"fold `{task.fold}`")
                writer.write(table)
            if not ended:
                raise ContractError(
                    f"fold `{task.fold}` stopped before the end of partition {task.part}, so groups would be left out. "
                    "It must read its input to the end."
                )
            if writer is None:
                temporary.touch()
                result = ReduceResult((), None, tally)
            else:
                writer.close()
                result = ReduceResult(((task.path, writer.rows),), writer.schema, tally)
    pa.default_memory_pool().release_unused()
    return result
