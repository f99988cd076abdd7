"""Sorting more rows than fit in memory: sorted runs on disk, then a merge that holds a few blocks of each.

A partition that fits is sorted in memory and never touches the disk. A very large one (a bucket of 10^8 rows) needs as much
local disk (where TMPDIR says) as it has rows, and the same memory as any other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import one_chunk
from gristmill.pipeline.exchange.row_files import RowsWriter, local_disk, reading
from gristmill.pipeline.exchange.sort_keys import sort_order

FAN_IN = 64
"""Runs merged at once. 64 runs of 4·10^6 rows are 2.5·10^8 rows; more are merged in two passes."""
PIECE_ROWS = 1 << 17
"""Most rows of a table that is streamed to a fold."""


@dataclass(frozen=True)
class _Run:
    """A sorted run on disk: blocks of `block_rows` rows (the last may be shorter), and the first row of each."""

    path: Path
    rows: int
    fences: pa.Table


class SortedRows:
    """Rows taken in pieces and given out sorted. A context manager: leaving it removes the runs.

    Args:
        pieces: tables to sort, read once.
        sort: columns to sort by; all others break ties.
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
        budget_bytes: int,
        row_bytes: int,
        sort_bytes: int,
    ) -> None:
        self._pieces = pieces
        self._schema = schema
        self._sort = tuple(sort)
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._budget = budget_bytes
        self._sort_bytes = sort_bytes
        # What a merge holds: a block of every run that straddles the bound, and three times as much to give out.
        self._merge_rows = max(64, budget_bytes // 2 // row_bytes)
        self._block_rows = max(16, self._merge_rows // (4 * FAN_IN))
        self._piece_rows = max(16, min(PIECE_ROWS, budget_bytes // 8 // row_bytes))
        self._runs = 0

    def __enter__(self) -> SortedRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()

    def tables(self) -> Iterator[pa.Table]:
        """The rows in order, in tables of at most PIECE_ROWS."""
        waiting: list[pa.Table] = []
        rows = 0
        held = 0
        runs: list[_Run] = []
        for piece in self._pieces:
            waiting.append(piece)
            rows += piece.num_rows
            held += piece.nbytes
            # Columns are put together one after another, but what was read of a piece is one buffer for all of them and
            # goes with the last: rows are held twice for a moment, before there are sort buffers.
            if held + max(held, rows * self._sort_bytes) > self._budget:
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
                for run in group:
                    run.path.unlink()
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
        # The pool keeps what was freed for its next table; sort buffers come from elsewhere and would lie beside it.
        pa.default_memory_pool().release_unused()
        order = sort_order(table, self._sort)
        for start in range(0, len(order), self._piece_rows):
            yield table.take(pa.array(order[start : start + self._piece_rows]))

    def _write_run(self, tables: Iterator[pa.Table]) -> _Run:
        with local_disk():
            self._scratch = self._scratch or tempfile.TemporaryDirectory(prefix="gristmill-sort-")
        path = Path(self._scratch.name) / f"run-{self._runs:05d}.arrow"
        self._runs += 1
        writer = RowsWriter(path, self._schema, batch_rows=self._block_rows)
        fences = [self._schema.empty_table()]
        for table in tables:
            starts = np.arange(-writer.rows % self._block_rows, table.num_rows, self._block_rows)
            fences.append(table.take(pa.array(starts)))
            writer.write(table)
        writer.close()
        return _Run(path, writer.rows, pa.concat_tables(fences).combine_chunks())

    def _merged(self, runs: Sequence[_Run]) -> Iterator[pa.Table]:
        """Merge sorted runs. Blocks are loaded in the order of their first rows; then all rows up to the first row of
        the next block are in memory, sorted and given out. What is left is at most one block of each run, so a row is
        sorted 4/3 times on average, whatever the runs look like."""
        counts = [run.fences.num_rows for run in runs]
        run_of = np.repeat(np.arange(len(runs)), counts)
        block_of = np.concatenate([np.arange(count) for count in counts])
        fences = pa.concat_tables([run.fences for run in runs]).combine_chunks()
        order = sort_order(fences, self._sort)
        held = self._schema.empty_table()
        with ExitStack() as files:
            with reading(str(runs[0].path.parent)):
                sources = [files.enter_context(pa.OSFile(str(run.path))) for run in runs]
                readers = [pa.ipc.open_file(source) for source in sources]
            at = 0
            while at < len(order) or held.num_rows:
                loaded = [held]
                rows = held.num_rows
                while at < len(order) and (rows < self._merge_rows or len(loaded) == 1):
                    with reading(str(runs[0].path.parent)):
                        block = readers[run_of[order[at]]].get_batch(int(block_of[order[at]]))
                    loaded.append(pa.Table.from_batches([block]))
                    rows += block.num_rows
                    at += 1
                # The next block's first row comes last: the sort is stable, so rows equal to it are given out too.
                if at < len(order):
                    loaded.append(fences.slice(int(order[at]), 1))
                table = pa.concat_tables(loaded).combine_chunks()
                del loaded
                by = sort_order(table, self._sort)
                complete = int(np.flatnonzero(by == rows)[0]) if at < len(order) else rows
                for start in range(0, complete, self._piece_rows):
                    stop = min(start + self._piece_rows, complete)
                    yield table.take(pa.array(by[start:stop]))
                held = table.take(pa.array(by[complete + 1 :]))
