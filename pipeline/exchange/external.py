"""Sorting more rows than fit in memory: sorted runs on disk, then a merge that holds one block of each run.

A partition that fits is sorted in memory and never touches the disk. A giant one (a bucket of 10^8 rows) needs as much
disk again as it has rows, and the same memory as any other.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.document import one_chunk
from pipeline.exchange.files import RowsWriter, read_batches
from pipeline.exchange.sorting import sort_order

FAN_IN = 64
"""Runs merged at once. 64 runs of 4·10^6 rows are one pass over 2.5·10^8 rows; more runs are merged in two passes."""
PIECE_ROWS = 1 << 17
"""Most rows of a table that is streamed to a fold."""


class SortedRows:
    """Rows taken in pieces and given out sorted. A context manager: leaving it removes the runs.

    Args:
        pieces: tables to sort, read once.
        sort: columns to sort by; all others break ties.
        spill_folder: where runs go; made when needed.
        budget_bytes: most bytes that rows, sort buffers and blocks take together.
        row_bytes: what a row and its sort buffers are expected to take; sets the size of blocks.
        sort_bytes: sort buffers per row.
    """

    def __init__(
        self,
        pieces: Iterable[pa.Table],
        *,
        schema: pa.Schema,
        sort: Sequence[str],
        spill_folder: Path,
        budget_bytes: int,
        row_bytes: int,
        sort_bytes: int,
    ) -> None:
        self._pieces = pieces
        self._schema = schema
        self._sort = tuple(sort)
        self._folder = spill_folder.with_name(f"{spill_folder.name}-{uuid.uuid4().hex}")
        self._budget = budget_bytes
        self._sort_bytes = sort_bytes
        self._block_rows = max(16, budget_bytes // 2 // FAN_IN // row_bytes)
        self._piece_rows = max(16, min(PIECE_ROWS, budget_bytes // 8 // row_bytes))
        self._runs = 0

    def __enter__(self) -> SortedRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def tables(self) -> Iterator[pa.Table]:
        """The rows in order, in tables of at most PIECE_ROWS."""
        waiting: list[pa.Table] = []
        rows = 0
        held = 0
        runs: list[Path] = []
        for piece in self._pieces:
            waiting.append(piece)
            rows += piece.num_rows
            held += piece.nbytes
            if held + rows * self._sort_bytes > self._budget:
                runs.append(self._write_run(self._sorted(waiting)))
                rows = held = 0
        if not runs:
            yield from self._sorted(waiting)
            return
        if waiting:
            runs.append(self._write_run(self._sorted(waiting)))
        while len(runs) > FAN_IN:
            merged = []
            for start in range(0, len(runs), FAN_IN):
                group = runs[start : start + FAN_IN]
                merged.append(self._write_run(self._merged(group)))
                for path in group:
                    path.unlink()
            runs = merged
        yield from self._merged(runs)

    def _sorted(self, waiting: list[pa.Table]) -> Iterator[pa.Table]:
        """Sort tables in memory; empties the list as it goes, so that the rows are held once."""
        if not waiting:
            return
        table = pa.concat_tables(waiting)
        waiting.clear()
        columns: list[Any] = list(table.columns)
        del table
        for index in range(len(columns)):
            columns[index] = one_chunk(columns[index])
        table = pa.table(columns, schema=self._schema)
        del columns
        order = sort_order(table, self._sort)
        for start in range(0, len(order), self._piece_rows):
            yield table.take(pa.array(order[start : start + self._piece_rows]))

    def _write_run(self, tables: Iterator[pa.Table]) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"run-{self._runs:05d}.arrow"
        self._runs += 1
        writer = RowsWriter(path, self._schema, batch_rows=self._block_rows)
        for table in tables:
            writer.write(table)
        writer.close()
        return path

    def _merged(self, paths: Sequence[Path]) -> Iterator[pa.Table]:
        """Merge sorted runs. Each round takes the rows up to the lowest last row of the blocks held: nothing that is
        still on disk can come before it."""
        runs = [_Run(read_batches(str(path), self._schema)) for path in paths]
        while runs:
            bound, takers = self._choose(runs)
            table = pa.concat_tables([run.block for run in takers]).combine_chunks()
            order = sort_order(table, self._sort)
            if bound is not None:
                last = sum(run.block.num_rows for run in takers[: takers.index(bound) + 1]) - 1
                order = order[: int(np.flatnonzero(order == last)[0]) + 1]
            for start in range(0, len(order), self._piece_rows):
                yield table.take(pa.array(order[start : start + self._piece_rows]))
            # The sort is stable and blocks are sorted, so what was taken of a block is its beginning.
            edges = np.cumsum([0] + [run.block.num_rows for run in takers])
            taken = np.bincount(np.searchsorted(edges, order, side="right") - 1, minlength=len(takers))
            for run, count in zip(takers, taken.tolist(), strict=True):
                run.advance(count)
            runs = [run for run in runs if run.block.num_rows]

    def _choose(self, runs: list[_Run]) -> tuple[_Run | None, list[_Run]]:
        """The unfinished run whose block ends first (None when all are read), and the runs with rows before that."""
        unfinished = [run for run in runs if not run.finished]
        if not unfinished:
            return None, runs
        ends = [run.block.slice(run.block.num_rows - 1) for run in unfinished]
        starts = [run.block.slice(0, 1) for run in runs]
        order = sort_order(pa.concat_tables(ends + starts).combine_chunks(), self._sort)
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        first_end = int(np.argmin(rank[: len(ends)]))
        bound = unfinished[first_end]
        before = rank[len(ends) :] <= rank[first_end]
        return bound, [run for run, early in zip(runs, before.tolist(), strict=True) if early or run is bound]


class _Run:
    """A sorted run: the block that is held and those still on disk. `finished` means that none is on disk."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._next = next(batches, None)
        self.finished = False
        self.block = self._load()

    def _load(self) -> pa.Table:
        batch, self._next = self._next, next(self._batches, None)
        self.finished = self._next is None
        return pa.Table.from_batches([batch])

    def advance(self, rows: int) -> None:
        """Let go of the first rows of the block; load the next block when it is empty."""
        self.block = self.block.slice(rows)
        if self.block.num_rows == 0 and not self.finished:
            self.block = self._load()
