"""Row files of the exchange: Arrow IPC written elsewhere first, batches cut by content, and partition files."""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import xxhash

from gristmill.pipeline.document import one_chunk
from gristmill.pipeline.errors import ConservationError, StorageError
from gristmill.pipeline.storage import reason

IPC_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")
"""LZ4 leaves what it cannot shrink (keys, hashes) as it is and costs next to nothing on it."""
BATCH_ROWS = 65536
"""Most rows of a record batch of fixed-width columns. Constant, so that a file's bytes depend on its rows alone."""
BATCH_BYTES = 16 << 20
"""Bytes of a record batch of rows that are wider than 256 bytes."""
VARIABLE_BATCH_ROWS = 8192
"""The same for tables with columns of variable width."""

_MAGIC = b"GMPARTS1"
_TRAILER = struct.Struct("<8sqq")
INDEX_FIELDS = 6
"""offset, length, rows, Σ doc_key high, Σ doc_key low, XXH3 of the bytes: all uint64."""


MOST_BYTES = b"gristmill.most_bytes"
"""Metadata of a column of variable width whose values are large: the most bytes that one takes, as decimal text."""


def most_bytes(column: pa.Field) -> int | None:
    """What a column of variable width says of itself under MOST_BYTES."""
    told = (column.metadata or {}).get(MOST_BYTES)
    return None if told is None else int(told)


def fixed_width(schema: pa.Schema) -> int | None:
    """Bytes of a row when all columns have fixed width, else None."""
    total = 0
    for kind in schema.types:
        try:
            total += max(1, kind.bit_width // 8)
        except ValueError:
            if not pa.types.is_fixed_size_list(kind):
                return None
            inner = fixed_width(pa.schema([("item", kind.value_type)]))
            if inner is None:
                return None
            total += inner * int(kind.list_size)
    return total


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the file system says while `path` is written (disk full, no permission) into StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {reason(error)}") from error


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turns what goes wrong while rows are read back (missing, truncated, damaged) into StorageError."""
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        problem = "is missing" if isinstance(error, FileNotFoundError) else f"is truncated or damaged ({error})"
        raise StorageError(
            f"{what} {problem}; it held rows that the exchange needs. Remove the work folder of this step and run again."
        ) from error


@contextmanager
def written_elsewhere(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that is renamed to it on success and removed on failure.

    Raises StorageError naming `path` when the file system refuses.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with writing(path):
            os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


class RowsWriter:
    """Writes tables to an Arrow IPC file in batches of a constant number of rows, whatever the tables' sizes."""

    def __init__(self, sink: Path, schema: pa.Schema, batch_rows: int | None = None) -> None:
        self.schema = schema
        self.rows = 0
        width = fixed_width(schema)
        usual = BATCH_ROWS if width is not None else VARIABLE_BATCH_ROWS
        width = sum(most_bytes(column) or 0 for column in schema) if width is None else width
        usual = max(16, min(usual, BATCH_BYTES // max(1, width)))
        self._batch_rows = batch_rows or usual
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._path = sink
        with writing(sink):
            self._writer = pa.ipc.new_file(str(sink), schema, options=IPC_OPTIONS)

    def write(self, table: pa.Table) -> None:
        """Append rows. The table's schema must be the file's."""
        self.rows += table.num_rows
        start = 0
        while self._waiting_rows + table.num_rows - start >= self._batch_rows:
            size = self._batch_rows - self._waiting_rows
            self._waiting.append(table.slice(start, size))
            self._flush()
            start += size
        if start < table.num_rows:
            self._waiting.append(table.slice(start))
            self._waiting_rows += table.num_rows - start

    def _flush(self) -> None:
        if self._waiting:
            table = pa.concat_tables(self._waiting)
            columns = [_without_slack(one_chunk(column)) for column in table.columns]
            with writing(self._path):
                self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self.schema))
        self._waiting, self._waiting_rows = [], 0

    def close(self) -> None:
        """Write what waits and the footer."""
        self._flush()
        with writing(self._path):
            self._writer.close()


def _without_slack(array: pa.Array) -> pa.Array:
    """The same values in buffers that hold nothing else: a slice's bitmaps may end in bits of the rows after it, and
    bytes under nulls may be anything."""
    if array.null_count or pa.types.is_boolean(array.type):
        return array.take(pa.array(np.arange(len(array))))
    return array


def read_batches(path: str, schema: pa.Schema, first: int = 0, stop: int | None = None) -> Iterator[pa.RecordBatch]:
    """Record batches `first` to `stop` of an Arrow IPC file, one at a time.

    Raises StorageError when the file is missing, truncated or damaged, ConservationError when its schema is another.
    """
    # The consumer's own errors must not pass for this file's: nothing is yielded inside `reading`.
    with ExitStack() as files:
        with reading(path):
            reader = pa.ipc.open_file(files.enter_context(pa.OSFile(path)))
        if not reader.schema.equals(schema):
            raise ConservationError(
                f"{path} holds other columns than its handle says: expected {_columns(schema)}, found "
                f"{_columns(reader.schema)}. The file was replaced or mixed up; remove the work folder and run again."
            )
        for index in range(first, reader.num_record_batches if stop is None else stop):
            with reading(path):
                batch = reader.get_batch(index)
            yield batch


def batch_count(path: str) -> int:
    """Record batches in an Arrow IPC file. Raises StorageError as `read_batches` does."""
    with reading(path), pa.OSFile(path) as source:
        return int(pa.ipc.open_file(source).num_record_batches)


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


@dataclass(frozen=True)
class Piece:
    """What one spill of a map task holds of one partition."""

    table: pa.Table
    rows: int
    key_sum: int


class PartitionWriter:
    """Writes a partition file: an Arrow IPC stream of one record batch per spill and partition, an index, a trailer.

    The index is uint64 of shape (partitions, spills, INDEX_FIELDS), so that what belongs to one partition is found with
    one short read. One file per map task keeps the number of files at the number of map tasks.
    """

    def __init__(self, path: Path, schema: pa.Schema, partitions: int) -> None:
        self._path = path
        self._schema = schema
        self._partitions = partitions
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_stream(self._sink, schema, options=IPC_OPTIONS)
        # The schema message goes out with the first batch; an empty one keeps it apart from the first piece.
        self._writer.write_batch(
            pa.RecordBatch.from_arrays([pa.array([], kind) for kind in schema.types], schema=schema)
        )
        self._spills: list[np.ndarray] = []

    def spill(self, table: pa.Table, bounds: np.ndarray, sums: np.ndarray) -> None:
        """Append rows that are ordered by partition; `bounds` as from split_order, `sums` as from key_sums."""
        entries = np.zeros((self._partitions, INDEX_FIELDS), np.uint64)
        entries[:, 2] = np.diff(bounds).astype(np.uint64)
        entries[:, 3:5] = sums
        for part in range(self._partitions):
            start, stop = int(bounds[part]), int(bounds[part + 1])
            if start == stop:
                continue
            offset = self._sink.tell()
            for batch in table.slice(start, stop - start).to_batches():
                self._writer.write_batch(batch)
            entries[part, 0] = offset
            entries[part, 1] = self._sink.tell() - offset
        self._spills.append(entries)

    def close(self) -> np.ndarray:
        """Write index and trailer. Returns the totals by partition: uint64 of shape (partitions, 3): rows and the two
        halves of Σ doc_key."""
        self._writer.close()
        end = self._sink.tell()
        self._sink.close()
        spills = len(self._spills)
        index = np.zeros((self._partitions, spills, INDEX_FIELDS), np.uint64)
        for number, entries in enumerate(self._spills):
            index[:, number] = entries
        # The bytes are read back from storage for their checksum, so a write that went wrong is found here or later.
        with self._path.open("r+b") as file:
            for part in range(self._partitions):
                for number in range(spills):
                    file.seek(int(index[part, number, 0]))
                    index[part, number, 5] = xxhash.xxh3_64_intdigest(file.read(int(index[part, number, 1])))
            file.seek(end)
            file.write(index.tobytes())
            file.write(_TRAILER.pack(_MAGIC, self._partitions, spills))
        totals = np.zeros((self._partitions, 3), np.uint64)
        for entries in self._spills:
            add_totals(totals, entries[:, 2:5])
        return totals


def add_totals(totals: np.ndarray, more: np.ndarray) -> None:
    """Add (rows, Σ high, Σ low) rows to totals in place, with the carry between the halves."""
    totals[:, 0] += more[:, 0]
    low = totals[:, 2] + more[:, 2]
    carry = low < totals[:, 2]
    totals[:, 2] = low
    totals[:, 1] += more[:, 1] + carry.astype(np.uint64)


def read_partition(path: str, schema: pa.Schema, part: int) -> Iterator[Piece]:
    """The pieces of one partition in one partition file, in the order of the spills.

    Raises StorageError when the file is missing or truncated, ConservationError when a piece is not what was written.
    """
    what = f"partition {part}: {path}"
    with ExitStack() as files:
        with reading(what):
            file = files.enter_context(open(path, "rb"))
            entries = _index_row(file, what, part)
        for entry in entries:
            offset, length, rows, high, low, check = (int(value) for value in entry)
            if rows == 0:
                continue
            with reading(what):
                file.seek(offset)
                data = file.read(length)
            if xxhash.xxh3_64_intdigest(data) != check:
                raise ConservationError(
                    f"{what}: {length} bytes at {offset} are not those that were written (checksum differs). Remove "
                    "the work folder of this step and run again."
                )
            with reading(what):
                table = _decode(data, schema)
            yield Piece(table, rows, high << 64 | low)


def _index_row(file: BinaryIO, what: str, part: int) -> np.ndarray:
    """Index entries of one partition, uint64 of shape (spills, INDEX_FIELDS)."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TRAILER.size))
    trailer = file.read(_TRAILER.size)
    magic, partitions, spills = _TRAILER.unpack(trailer) if len(trailer) == _TRAILER.size else (trailer, 0, 0)
    row_size = spills * INDEX_FIELDS * 8
    start = size - _TRAILER.size - partitions * row_size
    if magic != _MAGIC or start < 0 or part >= partitions:
        raise StorageError(
            f"{what} is truncated or damaged: its last bytes are {magic!r}, expected {_MAGIC!r} and an index of "
            f"partitions. Remove the work folder of this step and run again."
        )
    file.seek(start + part * row_size)
    return np.frombuffer(file.read(row_size), np.uint64).reshape(spills, INDEX_FIELDS)


def _decode(data: bytes, schema: pa.Schema) -> pa.Table:
    source = pa.BufferReader(data)
    batches = []
    while source.tell() < len(data):
        batches.append(pa.ipc.read_record_batch(pa.ipc.read_message(source), schema))
    return pa.Table.from_batches(batches, schema)
