"""Row files of the exchange: Arrow IPC, written elsewhere first, batches cut by content, on paths and in buckets."""

from __future__ import annotations

import io
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import one_chunk
from gristmill.pipeline.errors import ConservationError, StorageError
from gristmill.pipeline.exchange.shuffle_plan import FOOTER_BYTES, READ_PART
from gristmill.pipeline.storage import is_remote, local, put_file, range_get, reason, size_of

IPC_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
"""LZ4 leaves what it cannot shrink (keys, hashes) as it is and costs next to nothing on it."""
BATCH_ROWS = 65536
"""Most rows of a record batch of fixed-width columns. Constant, so that a file's bytes depend on its rows alone."""
BATCH_BYTES = 16 << 20
"""Bytes of a record batch of rows that are wider than 256 bytes."""
VARIABLE_BATCH_ROWS = 8192
"""The same for tables with columns of variable width."""

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
def local_disk() -> Iterator[None]:
    """Turns what goes wrong with temporary files into StorageError, with their folder and how to choose another."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{tempfile.gettempdir()}: cannot be written: {reason(error)}. Rows are put in order there: it must be on a local "
            "disk with room; TMPDIR names another folder."
        ) from error


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
def written_elsewhere(location: Path | str) -> Iterator[Path]:
    """A temporary local file that gets the name `location` on success, if it was made, and is removed on failure.

    It lies beside `location` where that is a path, else on local disk, from where it is put into the object store. It is
    not read back: what is read of it later is checked by whoever reads it. Raises StorageError naming `location` when
    storage refuses.
    """
    if is_remote(str(location)):
        with tempfile.TemporaryDirectory(prefix="gristmill-") as folder:
            temporary = Path(folder) / "rows"
            yield temporary
            if temporary.exists():
                put_file(str(location), temporary)
        return
    path = local(str(location))
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with writing(path):
            if temporary.exists():
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


@dataclass(frozen=True)
class RowFile:
    """What a task reads of a file of rows: record batches part · n // parts to (part + 1) · n // parts of its n.

    Attributes:
        size: bytes of the file, where they are known.
    """

    path: str
    size: int | None = None
    part: int = 0
    parts: int = 1


def read_batches(
    file: RowFile | str, schema: pa.Schema, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Record batches of an Arrow IPC file, one at a time, with all columns or those named.

    Raises StorageError when the file is missing, truncated or damaged, ConservationError when its schema is another.
    """
    file = RowFile(file) if isinstance(file, str) else file
    path = file.path
    # The consumer's own errors must not pass for this file's: nothing is yielded inside `reading`.
    with ExitStack() as files:
        with reading(path):
            source = pa.PythonFile(_RangeReader(path, file.size)) if is_remote(path) else pa.OSFile(str(local(path)))
            fields = None if columns is None else sorted(map(schema.get_field_index, columns))
            options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
            reader = pa.ipc.open_file(files.enter_context(source), options=options)
        schema = schema if fields is None else pa.schema([schema.field(index) for index in fields])
        if not reader.schema.equals(schema):
            raise ConservationError(
                f"{path} holds other columns than its handle says: expected {_columns(schema)}, found "
                f"{_columns(reader.schema)}. The file was replaced or mixed up; remove the work folder and run again."
            )
        count = reader.num_record_batches
        for index in range(count * file.part // file.parts, count * (file.part + 1) // file.parts):
            with reading(path):
                batch = reader.get_batch(index)
            yield batch


class _RangeReader(io.RawIOBase):
    """An object's bytes for random access, in few requests: all at once where they are few, else the end (where the footer
    is) and then windows of READ_PART."""

    def __init__(self, location: str, size: int | None) -> None:
        super().__init__()
        self._location = location
        known = size_of(location) if size is None else size
        if known is None:
            raise FileNotFoundError(location)
        self._size = known
        self._at = 0
        tail = known if known <= READ_PART else FOOTER_BYTES
        self._tail = (known - tail, self._get(known - tail, tail))
        self._window = (0, b"")

    def _get(self, start: int, length: int) -> bytes:
        data = range_get(self._location, start, length)
        if len(data) < length:
            raise OSError(f"{length} bytes at {start} were asked for, {len(data)} are there")
        return data

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._size, self._at + size)
        found = []
        while self._at < stop:
            for start, data in (self._tail, self._window):
                if start <= self._at < start + len(data):
                    found.append(data[self._at - start : stop - start])
                    break
            else:
                end = min(self._tail[0], max(stop, self._at + READ_PART))
                self._window = (self._at, b"")
                self._window = (self._at, self._get(self._at, end - self._at))
                continue
            self._at += len(found[-1])
        return found[0] if len(found) == 1 else b"".join(found)


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
