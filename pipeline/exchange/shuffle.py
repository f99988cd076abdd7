"""The shuffle's tasks: map and merge tasks split rows into partitions, index tasks gather where they lie, and reduce tasks
sort one partition after another and fold it.

All are functions of a payload, so they run anywhere and may run twice: what they write has a deterministic name and
content, and appears there when it is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, key_words, one_chunk
from gristmill.pipeline.errors import ConservationError, ContractError
from gristmill.pipeline.exchange.external_sort import SortedRows
from gristmill.pipeline.exchange.hash_kernels import hash_rows, key_sums, split_order
from gristmill.pipeline.exchange.partition_files import (
    Block,
    PartitionFile,
    PartitionWriter,
    Pieces,
    gather_indexes,
    index_rows,
    measured,
    mismatch,
    parts_path,
)
from gristmill.pipeline.exchange.row_files import (
    RowFile,
    RowsWriter,
    fixed_width,
    most_bytes,
    read_batches,
    writing,
    written_elsewhere,
)
from gristmill.pipeline.exchange.shuffle_plan import SORT_BYTES
from gristmill.pipeline.executor.function_names import resolve
from gristmill.pipeline.executor.payloads import ArrowSchema, Params

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
        inputs: what the task reads.
        schema: of the input files.
        prepared: of the rows after `prepare`.
        cells: parts that rows are split into, each of so many neighbouring partitions.
        chunk_bytes: rows held before they are split and written.
        together: whether the pieces of several chunks are put together (see `partition_files`).
    """

    number: int
    inputs: tuple[RowFile, ...]
    schema: ArrowSchema
    prepared: ArrowSchema
    prepare: str | None
    prepare_params: Params
    partitioner: Partitioner
    cells: int
    path: str
    chunk_bytes: int
    together: bool


@dataclass(frozen=True)
class MapResult:
    """Rows read, and what was written."""

    rows: int
    file: PartitionFile


@dataclass(frozen=True)
class MergeTask:
    """Input of `run_merge`: cells `first` to `stop` of map tasks' files, to be split into their partitions.

    Attributes:
        block: index of those files.
        width: partitions of a cell.
        pieces: folder of the files.
    """

    number: int
    block: Block
    first: int
    stop: int
    width: int
    pieces: str
    schema: ArrowSchema
    partitioner: Partitioner
    path: str
    chunk_bytes: int
    together: bool


@dataclass(frozen=True)
class IndexTask:
    """Input of `run_index`: files of a kind in a folder, whose indexes are gathered at `path`."""

    files: tuple[PartitionFile, ...]
    cells: int
    pieces: str
    kind: str
    path: str


@dataclass(frozen=True)
class ReduceTask:
    """Input of `run_fold` and of the delivery's `run_route`: neighbouring partitions, one after another.

    Attributes:
        part: the first partition.
        first, stop: the cells of `blocks` that are these partitions.
        pieces, kind: folder and kind of the files that the blocks index.
        sort: the columns that a partition is sorted by.
        path: the file to write, or in the folder of which there are several.
    """

    part: int
    first: int
    stop: int
    blocks: tuple[Block, ...]
    pieces: str
    kind: str
    schema: ArrowSchema
    sort: tuple[str, ...]
    fold: str
    params: Params
    path: str
    budget_bytes: int


@dataclass(frozen=True)
class ReduceResult:
    """Files with their rows and bytes, the schema (None when the fold yielded no table), what the fold returned, and the
    rows that were read with the sum of their doc_keys."""

    files: tuple[tuple[str, int, int], ...]
    schema: pa.Schema | None
    rows: int
    key_sum: int
    tally: int = 0
    owners: tuple[int, ...] = field(default=())


def row_bytes(schema: pa.Schema) -> int:
    """Bytes of a row: exact for fixed-width columns; for others the most that they say they take, or VARIABLE_BYTES."""
    exact = fixed_width(schema)
    if exact is not None:
        return exact
    return sum(fixed_width(pa.schema([column])) or most_bytes(column) or VARIABLE_BYTES for column in schema)


def map_path(folder: str, number: int) -> str:
    """Where map task `number` writes its partition file."""
    return parts_path(folder, "map", number)


def run_map(task: MapTask) -> MapResult:
    """Split the task's rows into cells, in chunks that fit the budget."""
    prepare = resolve(task.prepare) if task.prepare else None
    read = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal read
        for table in _input_tables(task):
            read += table.num_rows
            if prepare is not None:
                table = prepare(table, **task.prepare_params)
                check_schema(table.schema, task.prepared, f"`{task.prepare}`")
            yield table

    width = task.partitioner.partitions // task.cells
    file = _split(tables(), task, task.prepared, _Cells(task.partitioner, width, 0, task.cells))
    return MapResult(read, file)


def run_merge(task: MergeTask) -> PartitionFile:
    """Split a group of cells into their partitions. Raises ConservationError unless every row that the index names was
    read and written once."""
    where = f"partitions {task.first * task.width} to {task.stop * task.width - 1} of {_step_name(task.pieces)}"
    pieces = Pieces(
        index_rows([task.block], task.first, task.stop),
        task.schema,
        lambda number: map_path(task.pieces, number),
        lambda _: where,
    )
    cells = (task.stop - task.first) * task.width
    file = _split(pieces.tables(), task, task.schema, _Cells(task.partitioner, 1, task.first * task.width, cells))
    if (file.rows, file.key_sum) != pieces.totals():
        raise mismatch(where, *pieces.totals(), file.rows, file.key_sum)
    return file


def run_index(task: IndexTask) -> Block:
    """Gather the indexes of some partition files."""
    located = partial(parts_path, task.pieces, task.kind)
    return gather_indexes(task.path, task.files, task.cells, located)


@dataclass(frozen=True)
class _Cells:
    """Which cell a row belongs to: partitions in ranges of `width`, from the range `first` on."""

    partitioner: Partitioner
    width: int
    first: int
    cells: int

    def of(self, table: pa.Table) -> np.ndarray:
        """Cell of each row, uint32. Raises ConservationError for a row of another range."""
        found = self.partitioner.parts(table) // np.uint32(self.width)
        if len(found) and not self.first <= int(found.min()) <= int(found.max()) < self.first + self.cells:
            raise ConservationError(
                f"a row of another partition lies among those of the partitions {self.first * self.width} to "
                f"{(self.first + self.cells) * self.width - 1}. Remove the work folder of this step and run again."
            )
        return np.asarray(found - np.uint32(self.first), np.uint32)


def _split(tables: Iterator[pa.Table], task: MapTask | MergeTask, schema: pa.Schema, cells: _Cells) -> PartitionFile:
    """Write rows by cell, no more of them in memory than a chunk."""
    with written_elsewhere(task.path) as temporary:
        with writing(Path(task.path)):
            writer = PartitionWriter(temporary, schema, cells.cells, task.number, task.together)
        try:
            waiting: list[pa.Table] = []
            held = 0
            for table in tables:
                waiting.append(table)
                held += table.nbytes
                if held >= task.chunk_bytes:
                    _spill(writer, waiting, schema, cells, task.path)
                    held = 0
            if waiting:
                _spill(writer, waiting, schema, cells, task.path)
            with writing(Path(task.path)):
                file = writer.close()
        except BaseException:
            writer.discard()
            raise
    pa.default_memory_pool().release_unused()
    return file


def _input_tables(task: MapTask) -> Iterator[pa.Table]:
    """The task's rows in tables of at most a chunk and INPUT_ROWS rows."""
    for file in task.inputs:
        for batch in read_batches(file, task.schema):
            size = INPUT_ROWS
            if batch.nbytes > task.chunk_bytes:
                size = max(1, min(size, batch.num_rows * task.chunk_bytes // batch.nbytes))
            for start in range(0, batch.num_rows, size):
                yield pa.Table.from_batches([batch.slice(start, size)])


def _spill(writer: PartitionWriter, waiting: list[pa.Table], schema: pa.Schema, cells: _Cells, path: str) -> None:
    table = pa.concat_tables(waiting)
    waiting.clear()
    rows = table.num_rows
    order = np.empty(rows, np.uint32)
    bounds = split_order(cells.of(table), cells.cells, order)
    if DOC_KEY in table.schema.names:
        sums = key_sums(key_words(table.column(DOC_KEY)), order, bounds)
    else:
        sums = np.zeros((cells.cells, 2), np.uint64)
    columns: list[Any] = list(table.columns)
    del table
    taken = pa.array(order)
    # Column by column, each source column let go at once: two copies of one column, not of all.
    for index in range(len(columns)):
        columns[index] = one_chunk(columns[index]).take(taken)
    with writing(Path(path)):
        writer.spill(pa.table(columns, schema=schema), bounds, sums)


@dataclass(frozen=True)
class Partition:
    """One partition: its number, rows and Σ doc_key as they were written, and the rows in order.

    Attributes:
        rows: a context manager; leaving it removes what was sorted on disk.
    """

    part: int
    count: int
    key_sum: int
    name: str
    rows: SortedRows

    def tables(self) -> Iterator[pa.Table]:
        """The rows in order; at their end they are held against those that the map tasks wrote."""
        count = 0
        total = 0
        for table in self.rows.tables():
            more_rows, more_total = measured(table)
            count += more_rows
            total = (total + more_total) % (1 << 128)
            yield table
        if (count, total) != (self.count, self.key_sum):
            raise mismatch(self.name, self.count, self.key_sum, count, total)


def partitions_of(task: ReduceTask) -> Iterator[Partition]:
    """The task's partitions that have rows, one after another, loaded and sorted within the budget, each piece checked
    against its index."""
    step = _step_name(task.pieces)
    pieces = Pieces(
        index_rows(task.blocks, task.first, task.stop),
        task.schema,
        partial(parts_path, task.pieces, task.kind),
        lambda cell: f"partition {task.part + cell}",
    )
    for cell, tables in pieces.by_cell(task.budget_bytes // 8):
        sorted_rows = SortedRows(
            tables,
            schema=task.schema,
            sort=task.sort,
            budget_bytes=task.budget_bytes,
            row_bytes=row_bytes(task.schema) + SORT_BYTES,
            sort_bytes=SORT_BYTES,
        )
        with sorted_rows:
            yield Partition(
                task.part + cell, *pieces.totals(cell), f"partition {task.part + cell} of {step}", sorted_rows
            )


def _step_name(pieces: str) -> str:
    return pieces.rstrip("/").split("/")[-2]


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
    """Sort each partition, stream it through the fold, and write what the fold yields."""
    fold = resolve(task.fold)
    tally = rows = key_sum = 0
    writer: RowsWriter | None = None
    with written_elsewhere(task.path) as temporary:
        for partition in partitions_of(task):
            stream = _Ended(partition.tables())
            made = iter(fold(stream, **task.params))
            while True:
                try:
                    table = next(made)
                except StopIteration as stop:
                    tally += stop.value or 0
                    break
                if not isinstance(table, pa.Table):
                    raise ContractError(f"fold `{task.fold}` yielded a {type(table).__name__}, expected pyarrow Tables")
                if writer is None:
                    writer = RowsWriter(temporary, table.schema)
                check_schema(table.schema, writer.schema, f"fold `{task.fold}`")
                writer.write(table)
            if not stream.ended:
                raise ContractError(
                    f"fold `{task.fold}` stopped before the end of partition {partition.part}, so groups would be left "
                    "out. It must read its input to the end."
                )
            rows += partition.count
            key_sum = (key_sum + partition.key_sum) % (1 << 128)
        files: tuple[tuple[str, int, int], ...] = ()
        if writer is not None:
            writer.close()
            if writer.rows:
                files = ((task.path, writer.rows, temporary.stat().st_size),)
            else:
                temporary.unlink()
    pa.default_memory_pool().release_unused()
    return ReduceResult(files, None if writer is None else writer.schema, rows, key_sum, tally)


class _Ended:
    """An iterator that knows whether it was read to its end."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self.ended = False

    def __iter__(self) -> Iterator[pa.Table]:
        return self

    def __next__(self) -> pa.Table:
        try:
            return next(self._tables)
        except StopIteration:
            self.ended = True
            raise
