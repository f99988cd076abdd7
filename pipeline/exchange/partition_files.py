"""Partition files: what map and merge tasks write, split by partition, and how ranges of it are read and checked.

A file holds one source per chunk of rows (or a single one, put together on local disk): pieces in the order of their
cells, then the index, whose length is known, so that no trailer is read. A piece is a sequence of frames, each a header
(length and XXH3 of the rest) and an Arrow IPC message. A cell is one partition, or a range of neighbouring ones.

Indexes of many files are gathered in blocks, cell by cell. Who reads a cell reads its row of each block: one short read
instead of one for each file.
"""

from __future__ import annotations

import io
import struct
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import xxhash

from gristmill.pipeline.document import DOC_KEY, key_words
from gristmill.pipeline.errors import ConservationError, StorageError
from gristmill.pipeline.exchange.hash_kernels import key_sums
from gristmill.pipeline.exchange.row_files import IPC_OPTIONS, local_disk, reading
from gristmill.pipeline.exchange.shuffle_plan import ENTRY_BYTES, READ_PART
from gristmill.pipeline.storage import is_remote, put, range_get

FRAME_BYTES = 4 << 20
"""Bytes of rows in a frame, about, before compression."""
READ_AHEAD = 4
"""Reads under way at the same time where each takes a request over a network."""

_HEADER = struct.Struct("<QQ")
_FIELDS = ENTRY_BYTES // 8
_FILE, _OFFSET, _LENGTH, _ROWS, _HIGH, _LOW, _CHECK = range(_FIELDS)
_ROW_CHECK = 8


@dataclass(frozen=True)
class PartitionFile:
    """What is known of a file that was written: where its index lies and what that must be.

    Attributes:
        number: of the task that wrote it; in every entry of its index.
        data_bytes: bytes before the index.
        sources: parts that hold pieces of every cell.
        check: XXH3 of the index.
        rows, key_sum: rows and Σ doc_key mod 2^128 of all pieces.
    """

    number: int
    data_bytes: int
    sources: int
    check: int
    rows: int
    key_sum: int


@dataclass(frozen=True)
class Block:
    """Indexes of some files in one object, and how many sources they have together."""

    path: str
    sources: int


def parts_path(folder: str, kind: str, number: int) -> str:
    """Where task `number` of a kind (`map`, `merge`) writes its partition file."""
    return f"{folder}/{kind}-{number:05d}.parts"


class _Encoder:
    """Arrow IPC messages of record batches, one at a time, without the schema."""

    def __init__(self, schema: pa.Schema) -> None:
        self._written = io.BytesIO()
        self._writer = pa.ipc.new_stream(pa.PythonFile(self._written, mode="w"), schema, options=IPC_OPTIONS)
        # The schema message goes out with the first batch; an empty one keeps it apart from the first piece.
        self._writer.write_batch(
            pa.RecordBatch.from_arrays([pa.array([], kind) for kind in schema.types], schema=schema)
        )

    def frame(self, batch: pa.RecordBatch) -> tuple[bytes, bytes]:
        """Header and message."""
        self._written.seek(0)
        self._written.truncate()
        self._writer.write_batch(batch)
        message = self._written.getvalue()
        return _HEADER.pack(len(message), xxhash.xxh3_64_intdigest(message)), message


class PartitionWriter:
    """Writes a partition file.

    Args:
        path: a local file.
        number: of the task.
        together: whether the pieces of all chunks are put together by cell: on local disk, so that each cell has one piece.
    """

    def __init__(self, path: Path, schema: pa.Schema, cells: int, number: int, together: bool) -> None:
        self._path = path
        self._cells = cells
        self._number = number
        self._encoder = _Encoder(schema)
        self._sink = path.open("wb")
        self._scratch: IO[bytes] | None = tempfile.TemporaryFile(prefix="gristmill-") if together else None
        self._entries: list[np.ndarray] = []
        self._headers: list[dict[int, bytes]] = []

    def spill(self, table: pa.Table, bounds: np.ndarray, sums: np.ndarray) -> None:
        """Append rows that are ordered by cell; `bounds` as from split_order, `sums` as from key_sums."""
        entries = np.zeros((self._cells, _FIELDS), np.uint64)
        entries[:, _FILE] = self._number
        entries[:, _ROWS] = np.diff(bounds).astype(np.uint64)
        entries[:, [_HIGH, _LOW]] = sums
        rows = max(1, FRAME_BYTES * table.num_rows // max(1, table.nbytes))
        out = self._sink if self._scratch is None else self._scratch
        listed: dict[int, bytes] = {}
        with nullcontext() if self._scratch is None else local_disk():
            for cell in np.flatnonzero(entries[:, _ROWS]).tolist():
                start, stop = int(bounds[cell]), int(bounds[cell + 1])
                offset = out.tell()
                headers = []
                for batch in table.slice(start, stop - start).to_batches(max_chunksize=rows):
                    header, message = self._encoder.frame(batch)
                    headers.append(header)
                    out.write(header)
                    out.write(message)
                listed[cell] = b"".join(headers)
                entries[cell, [_OFFSET, _LENGTH]] = offset, out.tell() - offset
                entries[cell, _CHECK] = xxhash.xxh3_64_intdigest(listed[cell])
        self._entries.append(entries)
        if self._scratch is not None:
            self._headers.append(listed)

    def close(self) -> PartitionFile:
        """Write the index."""
        if self._scratch is not None:
            self._put_together(self._scratch)
        data_bytes = self._sink.tell()
        index = np.stack(self._entries) if self._entries else np.zeros((0, self._cells, _FIELDS), np.uint64)
        told = index.tobytes()
        self._sink.write(told)
        self._sink.close()
        rows, key_sum = _totals(index)
        return PartitionFile(
            self._number, data_bytes, len(self._entries), xxhash.xxh3_64_intdigest(told), rows, key_sum
        )

    def discard(self) -> None:
        """Close what is open; for a task that failed, of which the error is told already."""
        with suppress(OSError):
            self._sink.close()
        if self._scratch is not None:
            self._scratch.close()

    def _put_together(self, scratch: IO[bytes]) -> None:
        whole = np.zeros((self._cells, _FIELDS), np.uint64)
        whole[:, _FILE] = self._number
        for cell in range(self._cells):
            offset = self._sink.tell()
            headers = []
            for entries, listed in zip(self._entries, self._headers, strict=True):
                if cell not in listed:
                    continue
                scratch.seek(int(entries[cell, _OFFSET]))
                left = int(entries[cell, _LENGTH])
                while left:
                    with local_disk():
                        data = scratch.read(min(left, 1 << 20))
                    if not data:
                        raise StorageError(f"{tempfile.gettempdir()}: a temporary file there lost its end. Run again.")
                    self._sink.write(data)
                    left -= len(data)
                headers.append(listed[cell])
                _add(whole[cell], entries[cell])
            whole[cell, [_OFFSET, _LENGTH]] = offset, self._sink.tell() - offset
            whole[cell, _CHECK] = xxhash.xxh3_64_intdigest(b"".join(headers))
        scratch.close()
        self._entries = [whole] if self._entries else []


def _add(total: np.ndarray, more: np.ndarray) -> None:
    """Add rows and Σ doc_key of one entry to another."""
    key_sum = (_key_sum(total) + _key_sum(more)) % (1 << 128)
    total[_ROWS] += more[_ROWS]
    total[[_HIGH, _LOW]] = key_sum >> 64, key_sum & ((1 << 64) - 1)


def _key_sum(entry: np.ndarray) -> int:
    return int(entry[_HIGH]) << 64 | int(entry[_LOW])


def _totals(entries: np.ndarray) -> tuple[int, int]:
    """Rows and Σ doc_key of all entries."""
    high, low = (
        # In halves of 32 bits: sums of 2^32 of them fit 64.
        (int((entries[..., slot] >> np.uint64(32)).sum()) << 32)
        + int((entries[..., slot] & np.uint64(0xFFFFFFFF)).sum())
        for slot in (_HIGH, _LOW)
    )
    return int(entries[..., _ROWS].sum()), ((high << 64) + low) % (1 << 128)


# Blocks of indexes


def gather_indexes(path: str, files: Sequence[PartitionFile], cells: int, located: Callable[[int], str]) -> Block:
    """Write the indexes of some files as one block, cell by cell, each row with a checksum of its own.

    Raises StorageError when a file is missing or truncated, ConservationError when its index is not what was written.
    """
    spans = [
        Span(located(file.number), file.data_bytes, file.sources * cells * ENTRY_BYTES, located(file.number))
        for file in files
    ]
    found = read_spans(span for span in spans if span.length)
    parts = []
    for file, span in zip(files, spans, strict=True):
        data = next(found) if span.length else b""
        if xxhash.xxh3_64_intdigest(data) != file.check:
            raise ConservationError(
                f"{span.location}: its index is not what was written (checksum differs), or the file took the place of "
                "another. Remove the work folder of this step and run again."
            )
        parts.append(np.frombuffer(data, np.uint64).reshape(file.sources, cells, _FIELDS))
    rows = np.concatenate([np.zeros((0, cells, _FIELDS), np.uint64), *parts]).transpose(1, 0, 2)
    made = bytearray()
    for cell in range(cells):
        row = np.ascontiguousarray(rows[cell]).tobytes()
        made += row
        made += _row_check(path, cell, row)
    put(path, bytes(made))
    return Block(path, rows.shape[1])


def index_rows(blocks: Sequence[Block], first: int, stop: int) -> np.ndarray:
    """Entries of the cells from `first` to `stop`: uint64 of shape (cells, sources of all blocks, 7).

    Raises StorageError and ConservationError as `gather_indexes` does.
    """
    spans = []
    for block in blocks:
        size = block.sources * ENTRY_BYTES + _ROW_CHECK
        spans.append(Span(block.path, first * size, (stop - first) * size, block.path))
    found = []
    for block, data in zip(blocks, read_spans(spans), strict=True):
        path, size = block.path, block.sources * ENTRY_BYTES
        for cell in range(first, stop):
            at = (cell - first) * (size + _ROW_CHECK)
            row = data[at : at + size]
            if data[at + size : at + size + _ROW_CHECK] != _row_check(path, cell, row):
                raise ConservationError(
                    f"{path}: its row {cell} is not what was written (checksum differs). Remove the work folder of this "
                    "step and run again."
                )
            found.append(np.frombuffer(row, np.uint64).reshape(1, block.sources, _FIELDS))
    # By block and then cell, to by cell and then source.
    wide = [np.concatenate(found[at : at + stop - first]) for at in range(0, len(found), stop - first)]
    return np.concatenate(wide, axis=1)


def _row_check(path: str, cell: int, row: bytes) -> bytes:
    """Bound to the object's name within the work folder and to the cell, so that none can stand for another."""
    name = "/".join(path.split("/")[-3:])
    return xxhash.xxh3_64_digest(row, seed=xxhash.xxh3_64_intdigest(f"{name}:{cell}"))


# Pieces


@dataclass(frozen=True)
class Span:
    """Bytes of a file; `what` names them in messages."""

    location: str
    start: int
    length: int
    what: str

    def parts(self) -> Iterator[Span]:
        """The same bytes in spans of at most READ_PART."""
        for at in range(0, self.length, READ_PART):
            yield replace(self, start=self.start + at, length=min(READ_PART, self.length - at))

    def read(self) -> bytes:
        """The bytes. Raises StorageError when they are not there."""
        try:
            data = range_get(self.location, self.start, self.length)
        except FileNotFoundError as error:
            raise StorageError(
                f"{self.what} is missing; it held rows that the exchange needs. Remove the work folder of this step and run "
                "again."
            ) from error
        if len(data) < self.length:
            raise StorageError(
                f"{self.what} is truncated or damaged ({self.length} bytes at {self.start} were asked for, {len(data)} are "
                "there); it held rows that the exchange needs. Remove the work folder of this step and run again."
            )
        return data


@dataclass(frozen=True)
class Pieces:
    """Pieces of some cells in files of one folder.

    Attributes:
        entries: as from `index_rows`.
        located: the location of the file of a task.
        what: for messages: the name of a cell, given its place in `entries`.
    """

    entries: np.ndarray
    schema: pa.Schema
    located: Callable[[int], str]
    what: Callable[[int], str]

    def tables(self, first: int = 0, stop: int | None = None) -> Iterator[pa.Table]:
        """Rows of the cells from `first` to `stop`, source by source: neighbouring cells of a source are read together."""
        stop = len(self.entries) if stop is None else stop
        spans = [self._span(source, first, stop) for source in range(self.entries.shape[1])]
        stream = _Stream(span for span in spans if span.length)
        for source, span in enumerate(spans):
            for cell in np.flatnonzero(self.entries[first:stop, source, _LENGTH]).tolist():
                yield from self._piece(stream, span.location, first + cell, source)

    def by_cell(self, held_bytes: int) -> Iterator[tuple[int, Iterator[pa.Table]]]:
        """(cell, its rows) for every cell that has some; those of one must be read before the next is asked for.

        Cells that are together no larger than `held_bytes` are read together.
        """
        sizes = self.entries[:, :, _LENGTH].sum(axis=1).astype(np.int64)
        first = 0
        while first < len(sizes):
            stop = first + 1
            while stop < len(sizes) and sizes[first : stop + 1].sum() <= held_bytes:
                stop += 1
            if stop > first + 1:
                yield from self._held(first, stop)
            elif sizes[first]:
                yield first, self.tables(first, stop)
            first = stop

    def _held(self, first: int, stop: int) -> Iterator[tuple[int, Iterator[pa.Table]]]:
        spans = [self._span(source, first, stop) for source in range(self.entries.shape[1])]
        stream = _Stream(span for span in spans if span.length)
        held = [(span.start, stream.take(span.length, span.what)) for span in spans]
        for cell in range(first, stop):
            if self.entries[cell, :, _ROWS].any():
                yield cell, self._of_held(cell, held)

    def _of_held(self, cell: int, held: Sequence[tuple[int, Any]]) -> Iterator[pa.Table]:
        for source, (start, data) in enumerate(held):
            at, length = (int(value) for value in self.entries[cell, source, [_OFFSET, _LENGTH]])
            if length:
                stream = _Stream.over(memoryview(data)[at - start : at - start + length])
                yield from self._piece(stream, self.located(int(self.entries[cell, source, _FILE])), cell, source)

    def _span(self, source: int, first: int, stop: int) -> Span:
        """The pieces of some cells in one source, which lie side by side."""
        entries = self.entries[first:stop, source]
        location = self.located(int(entries[0, _FILE]))
        there = entries[entries[:, _LENGTH] > 0].astype(np.int64)
        if not len(there):
            return Span(location, 0, 0, location)
        ends = there[:, _OFFSET] + there[:, _LENGTH]
        what = f"{self.what(first)}: {location}"
        if (there[1:, _OFFSET] != ends[:-1]).any():
            raise ConservationError(f"{what}: its pieces do not lie side by side. This is a bug; please report it.")
        return Span(location, int(there[0, _OFFSET]), int(ends[-1] - there[0, _OFFSET]), what)

    def _piece(self, stream: _Stream, location: str, cell: int, source: int) -> Iterator[pa.Table]:
        """The rows of one piece, frame by frame; each frame is checked before it is decoded, all together at the end."""
        entry = self.entries[cell, source]
        what = f"{self.what(cell)}: {location}"
        left = int(entry[_LENGTH])
        headers = xxhash.xxh3_64()
        rows = key_sum = 0
        while left:
            header = stream.take(_HEADER.size, what)
            size, check = _HEADER.unpack(header)
            headers.update(header)
            left -= _HEADER.size + size
            message = stream.take(size, what) if left >= 0 else b""
            if left < 0 or xxhash.xxh3_64_intdigest(message) != check:
                raise _not_what_was_written(f"{what}: {int(entry[_LENGTH])} bytes at {int(entry[_OFFSET])}")
            with reading(what):
                batch = pa.ipc.read_record_batch(pa.ipc.read_message(pa.py_buffer(message)), self.schema)
            table = pa.Table.from_batches([batch])
            more, total = measured(table)
            rows, key_sum = rows + more, (key_sum + total) % (1 << 128)
            yield table
        if (rows, key_sum) != (int(entry[_ROWS]), _key_sum(entry)) or headers.intdigest() != int(entry[_CHECK]):
            raise mismatch(what, int(entry[_ROWS]), _key_sum(entry), rows, key_sum)

    def totals(self, cell: int | None = None) -> tuple[int, int]:
        """Rows and Σ doc_key mod 2^128 of a cell, or of all."""
        return _totals(self.entries if cell is None else self.entries[cell])


class _Stream:
    """Bytes of spans one after another, read in parts of at most READ_PART."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._parts = read_spans(span for whole in spans for span in whole.parts())
        self._chunk: Any = memoryview(b"")

    @classmethod
    def over(cls, data: Any) -> _Stream:
        """Bytes that are held already."""
        stream = cls(())
        stream._chunk = data
        return stream

    def take(self, size: int, what: str) -> Any:
        """The next `size` bytes. Raises ConservationError when the spans end before."""
        taken = []
        missing = size
        while missing:
            if not len(self._chunk):
                self._chunk = memoryview(next(self._parts, b""))
                if not len(self._chunk):
                    raise _not_what_was_written(what)
            taken.append(self._chunk[:missing])
            self._chunk = self._chunk[missing:]
            missing -= len(taken[-1])
        return taken[0] if len(taken) == 1 else b"".join(taken)


def read_spans(spans: Iterable[Span]) -> Iterator[bytes]:
    """The bytes of each span, in order. On object stores the next are asked for while one is being used.

    Raises StorageError for a file that is missing or ends before its span does.
    """
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(READ_AHEAD) as threads:
        try:
            for span in spans:
                if not is_remote(span.location):
                    yield span.read()
                    continue
                waiting.append(threads.submit(span.read))
                if len(waiting) > READ_AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


def _not_what_was_written(what: str) -> ConservationError:
    return ConservationError(
        f"{what} are not those that were written (checksum differs). Remove the work folder of this step and run again."
    )


# Totals


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
