"""Finding documents in the Parquet files of an output: one column at a time, row groups skipped by their statistics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.pipeline.document import one_chunk
from gristmill.pipeline.errors import DataError, GristmillError
from gristmill.pipeline.storage import join, open_within


@dataclass(frozen=True)
class FileAt:
    """A file of a run: the folder of the output that holds it, its path there, and the tasks that it is about."""

    folder: str
    path: str
    task: int
    tasks: int

    @property
    def names_tasks(self) -> bool:
        """Whether each row says of which task it is."""
        return self.task < 0 or not self.path.startswith("data/")


@dataclass(frozen=True)
class Found:
    """Rows of one file that hold a value: ascending row numbers."""

    file: FileAt
    rows: tuple[int, ...]

    @property
    def path(self) -> str:
        return self.file.path


@dataclass
class Searched:
    """What a search looked at."""

    files: int = 0
    rows: int = 0


def rows_with(files: Sequence[FileAt], column: str, value: bytes | str, searched: Searched) -> list[Found]:
    """Where a column holds a value, in the files' order.

    Args:
        files: those to look at; one without the column is passed over.
        column: its name.
        value: bytes for a binary column, text for a string column.
        searched: collects how much was looked at.
    """

    def one(file: FileAt) -> tuple[Found, int]:
        rows, count = _rows_of_file(file.folder, file.path, column, value)
        return Found(file, tuple(rows)), count

    # Decoding releases the interpreter's lock, so threads divide the time; the order of the results is the files'.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(one, files))
    searched.files += len(files)
    searched.rows += sum(count for _, count in found)
    return [item for item, _ in found if item.rows]


def _rows_of_file(folder: str, path: str, column: str, value: bytes | str) -> tuple[list[int], int]:
    rows: list[int] = []
    try:
        with open_within(folder, path) as stream:
            file = pq.ParquetFile(stream)
            if column not in file.schema_arrow.names:
                return [], 0
            kind = file.schema_arrow.field(column).type
            wanted = _typed(value, kind)
            if wanted is None:
                return [], file.metadata.num_rows
            index = _leaf(file, column)
            start = 0
            for group in range(file.metadata.num_row_groups):
                meta = file.metadata.row_group(group)
                if not _excluded(meta.column(index), value):
                    array = file.read_row_group(group, columns=[column], use_threads=False)[column]
                    hits = np.flatnonzero(np.asarray(pc.fill_null(pc.equal(array, wanted), False)))
                    rows += [start + int(hit) for hit in hits]
                start += meta.num_rows
            return rows, start
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(folder, path, error) from error


def _unreadable(folder: str, path: str, error: Exception) -> GristmillError:
    return DataError(
        f"{join(folder, path)}: cannot be read ({error}). `gristmill audit {folder}` shows what else is wrong with this output."
    )


def _typed(value: bytes | str, kind: pa.DataType) -> pa.Scalar | None:
    """The value as a scalar of the column's type; None when no such column can hold it."""
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    if isinstance(value, bytes):
        return pa.scalar(value, kind) if binary else None
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.scalar(value, kind)
    if pa.types.is_integer(kind) and value.removeprefix("-").isdecimal():
        return pa.scalar(int(value), pa.int64())
    return None


def _leaf(file: pq.ParquetFile, column: str) -> int:
    """Index of a flat column among the Parquet leaves."""
    names = [file.schema.column(index).path for index in range(len(file.schema))]
    return names.index(column)


def _excluded(chunk: Any, value: bytes | str) -> bool:
    """Whether a row group's statistics say that it does not hold the value. Only exact bounds are believed: those of
    long values may be cut, but a cut lower bound is still one, and a cut upper bound is not written."""
    statistics = chunk.statistics
    if statistics is None or not statistics.has_min_max:
        return False
    low, high = statistics.min, statistics.max
    if not isinstance(low, type(value)) or not isinstance(high, type(value)):
        return False
    return bool(value < low or value > high)  # type: ignore[operator]


def row_of(folder: str, path: str, row: int, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """One row of a file as plain values, without some columns; only its row group is read."""
    try:
        with open_within(folder, path) as stream:
            file = pq.ParquetFile(stream)
            names = [name for name in file.schema_arrow.names if name not in without]
            for group in range(file.metadata.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if row < count:
                    table = file.read_row_group(group, columns=names, use_threads=False).slice(row, 1)
                    return {name: _value(table[name]) for name in table.column_names}
                row -= count
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(folder, path, error) from error
    raise DataError(f"{join(folder, path)}: there is no such row. The file changed while it was looked at; try again.")


def _value(column: pa.ChunkedArray) -> Any:
    """The one value of a column; as Arrow prints it where Python has no form for it, such as a time in an unknown zone."""
    try:
        return column[0].as_py()
    except (pa.ArrowException, ValueError, LookupError, OverflowError):  # LookupError: an unknown zone, with pytz
        return " ".join(one_chunk(column).to_string().strip("[]").split())
