"""`recurring`: the rows of which some hash recurs among all rows, found without moving a row.

Rows that are to be grouped by hash are mostly alone with theirs. To know which, only hashes move, 4 bytes of each:

    split   each input's hashes, by range of cells; there are 16 to 32 cells for each hash
    count   each range: two bits a cell tell which ones were hit twice; a bit for each hash says whether its cell was
    keep    each input again: the rows with a bit, in their order, and their bits in the new column RECURS, with a NUMBER

A hash that recurs always has its bit; of those that do not, about one in twenty shares a cell by chance. Cells follow from
the rows alone, so the same rows are kept whatever the budget, the files and the tasks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import xxhash

from gristmill.pipeline.document import one_chunk
from gristmill.pipeline.errors import ConservationError, ContractError
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.hash_kernels import mix
from gristmill.pipeline.exchange.partition_files import Span, read_spans
from gristmill.pipeline.exchange.row_files import RowFile, RowsWriter, read_batches, writing, written_elsewhere
from gristmill.pipeline.exchange.shuffle_driver import Shuffle
from gristmill.pipeline.executor.payloads import ArrowSchema
from gristmill.pipeline.storage import remove

NUMBER = "number"
"""The place of a kept row among all rows: names its document within the exchange in 4 bytes."""
NUMBERS = b"gristmill.numbers"
"""Metadata of the column NUMBER: all its values are below this, as decimal text."""
RECURS = "recurs"
"""Bit i of a row: whether its hash i may recur; fixed-size binary, least significant bits first."""
CELLS = 16
"""Cells for each hash, at least."""
MAX_RANGES = 256
"""Beyond it what one task leaves for another becomes small, and reads too many: 3·10^8 documents of 14 hashes by default."""
_CELL_BITS = 32
"""Bits of a cell's number within its range, as it is written."""
_ENTRY = np.dtype([("start", "<u8"), ("hashes", "<u8"), ("check", "<u8")])


@dataclass(frozen=True)
class Cells:
    """2^`bits` cells in ranges of 2^`local` each."""

    bits: int
    local: int

    @property
    def ranges(self) -> int:
        """How many ranges."""
        return 1 << (self.bits - self.local)


@dataclass(frozen=True)
class InputTask:
    """Input of `run_split` and `run_keep`: rows in chunks of `rows` each. `first` is the number of its first chunk among
    those of all tasks, `before` the rows of all tasks before, both known when rows are kept."""

    number: int
    inputs: tuple[RowFile, ...]
    schema: ArrowSchema
    column: str
    cells: Cells
    rows: int
    folder: str
    path: str
    all_rows: int
    first: int = 0
    before: int = 0


@dataclass(frozen=True)
class CountTask:
    """Input of `run_count`: one range of all chunks, of which each input task made so many."""

    range: int
    chunks: tuple[int, ...]
    cells: Cells
    folder: str


@dataclass(frozen=True)
class SplitResult:
    """Rows read, and the hashes of each chunk."""

    rows: int
    hashes: tuple[int, ...]


@dataclass(frozen=True)
class KeepResult:
    """Rows read and kept, and the bits that those have."""

    read: int
    kept: int
    hashes: int


def recurring(exchange: Shuffle, rows: Rows, column: str) -> tuple[Rows, int] | None:
    """See `pipeline.exchange.Exchange.recurring`."""
    kind = rows.schema.field(column).type
    if not pa.types.is_fixed_size_binary(kind) or kind.byte_width % 8:
        raise ContractError(f"recurring needs hashes of 8 bytes in fixed-size binary; `{column}` has type {kind}.")
    words = kind.byte_width // 8
    bits = max(10, (CELLS * rows.count * words).bit_length())
    # The table of a range takes a sixth of the budget at most.
    cells = Cells(bits, min(bits, 32, max(10, (4 * exchange.budget_bytes // 6).bit_length() - 1)))
    if cells.ranges > MAX_RANGES or rows.count >= 1 << 32:
        return None
    step = exchange.step("recurring")
    tasks = [
        InputTask(
            number=number,
            inputs=inputs,
            schema=rows.schema,
            column=column,
            cells=cells,
            rows=max(1, exchange.budget_bytes // 96 // words),
            folder=f"{step}/hashes",
            path=f"{step}/rows/part-{number:05d}.arrow",
            all_rows=rows.count,
        )
        for number, inputs in enumerate(exchange.inputs(rows))
    ]
    split = exchange.run(run_split, tasks)
    exchange.check_read(rows, sum(one.rows for one in split))
    chunks, written = tuple(len(one.hashes) for one in split), sum(sum(one.hashes) for one in split)
    counts = [CountTask(one, chunks, cells, f"{step}/hashes") for one in range(cells.ranges)]
    counted = sum(exchange.run(run_count, counts))
    if counted != written:
        raise ConservationError(
            f"{step}: {written} hashes were written, {counted} were read. Remove the work folder of this step and run again."
        )
    firsts = itertools.accumulate(chunks, initial=0)
    befores = itertools.accumulate((one.rows for one in split), initial=0)
    numbered = zip(tasks, firsts, befores, strict=False)
    kept = exchange.run(run_keep, [replace(task, first=first, before=before) for task, first, before in numbered])
    exchange.check_read(rows, sum(result.read for result in kept))
    remove(f"{step}/hashes")
    schema = _kept_schema(rows.schema, words, rows.count)
    found = Rows(tuple(task.path for task in tasks), schema, sum(one.kept for one in kept))
    return found, sum(one.hashes for one in kept)


def run_split(task: InputTask) -> SplitResult:
    """Write the cells of each chunk's hashes by range."""
    chunks: list[int] = []
    rows = 0
    for chunk, tables in _chunks(task, (task.column,)):
        words, there = _hashes(pa.concat_tables(tables), task.column)
        bounds, local = _split(words, there, task.cells.bits, task.cells.local)
        parts = [local[start:stop] for start, stop in itertools.pairwise(bounds.tolist())]
        _write(_chunk_path(task.folder, task.number, chunk), np.diff(bounds), parts)
        chunks.append(int(bounds[-1]))
        rows += len(words)
    pa.default_memory_pool().release_unused()
    return SplitResult(rows, tuple(chunks))


def run_count(task: CountTask) -> int:
    """Write a bit for each hash of the range, by chunk: whether its cell was hit twice. Returns the number of hashes."""
    table = np.zeros(1 << (task.cells.local - 2), np.uint8)
    sources = [
        _chunk_path(task.folder, number, chunk) for number, chunks in enumerate(task.chunks) for chunk in range(chunks)
    ]
    for _, data in _parts(sources, task.range, _CELL_BITS):
        _hit(table, np.frombuffer(data, "<u4"))
    counts, bits = [], []
    # They are read twice: a range holds any number of hashes, when all rows share theirs.
    for hashes, data in _parts(sources, task.range, _CELL_BITS):
        counts.append(hashes)
        bits.append(_hit_twice(table, np.frombuffer(data, "<u4")))
    _write(_bits_path(task.folder, task.range), np.array(counts, np.int64), bits)
    return sum(counts)


def run_keep(task: InputTask) -> KeepResult:
    """Write the rows that have a bit. Raises ConservationError unless there is one bit for each hash."""
    ranges = [_bits_path(task.folder, one) for one in range(task.cells.ranges)]
    read = hashes = 0
    width = task.schema.field(task.column).type.byte_width // 8
    schema = _kept_schema(task.schema, width, task.all_rows)
    field = schema.field(RECURS)
    with written_elsewhere(task.path) as temporary:
        writer = RowsWriter(temporary, schema)
        for chunk, tables in _chunks(task):
            parts = list(_parts(ranges, task.first + chunk, 1))
            lengths = np.array([0, *(len(data) for _, data in parts)], np.int64)
            ends = 8 * np.cumsum(lengths)[:-1] + np.array([count for count, _ in parts], np.int64)
            cursors = 8 * np.cumsum(lengths)[:-1]
            bits = np.frombuffer(b"".join(data for _, data in parts), np.uint8)
            for table in tables:
                words, there = _hashes(table, task.column)
                marks = np.zeros((len(words), field.type.byte_width), np.uint8)
                marked = int(_mark(words, there, task.cells.bits, task.cells.local, bits, ends, cursors, marks))
                if marked < 0:
                    raise _changed(task, chunk)
                hashes += marked
                places = np.flatnonzero(marks.any(axis=1))
                numbers = pa.array((task.before + read + places).astype(np.uint32))
                read += len(words)
                column = pa.py_buffer(np.ascontiguousarray(marks[places]))
                column = pa.FixedSizeBinaryArray.from_buffers(field.type, len(places), [None, column])
                taken = table.take(pa.array(places)).columns
                writer.write(pa.table([*taken, numbers, column], schema=schema))
            if (cursors != ends).any():
                raise _changed(task, chunk)
        writer.close()
    pa.default_memory_pool().release_unused()
    return KeepResult(read, writer.rows, hashes)


def _kept_schema(schema: pa.Schema, words: int, rows: int) -> pa.Schema:
    number = pa.field(NUMBER, pa.uint32(), metadata={NUMBERS: str(rows)})
    return schema.append(number).append(pa.field(RECURS, pa.binary(-(-words // 8))))


def _chunk_path(folder: str, task: int, chunk: int) -> str:
    return f"{folder}/split-{task:05d}-{chunk:05d}"


def _bits_path(folder: str, number: int) -> str:
    return f"{folder}/bits-{number:05d}"


def _chunks(task: InputTask, columns: Sequence[str] | None = None) -> Iterator[tuple[int, Iterator[pa.Table]]]:
    """(number of a chunk, its rows in tables), chunk by chunk."""
    return (
        (chunk, (table for _, table in numbered))
        for chunk, numbered in itertools.groupby(_numbered(task, columns), key=lambda one: one[0])
    )


def _numbered(task: InputTask, columns: Sequence[str] | None) -> Iterator[tuple[int, pa.Table]]:
    """Tables, none of which is in two chunks."""
    read = 0
    for file in task.inputs:
        for batch in read_batches(file, task.schema, columns):
            start = 0
            while start < batch.num_rows:
                size = min(batch.num_rows - start, task.rows - read % task.rows)
                yield read // task.rows, pa.Table.from_batches([batch.slice(start, size)])
                start += size
                read += size


def _hashes(table: pa.Table, column: str) -> tuple[np.ndarray, np.ndarray]:
    """(hashes of each row, uint64 of shape (rows, hashes); which rows have them)."""
    array = one_chunk(table[column])
    width = array.type.byte_width
    if not len(array):
        return np.empty((0, width // 8), np.uint64), np.empty(0, bool)
    words = np.frombuffer(array.buffers()[1], "<u8", len(array) * width // 8, array.offset * width)
    return words.reshape(len(array), width // 8), np.asarray(array.is_valid())


def _write(path: str, counts: np.ndarray, parts: Sequence[np.ndarray]) -> None:
    """Parts one after another; before them, of each, where it begins, its hashes, and XXH3 of its bytes."""
    entries = np.zeros(len(parts), _ENTRY)
    sizes = np.array([0, *(part.nbytes for part in parts)], np.int64)
    entries["start"] = entries.nbytes + np.cumsum(sizes)[:-1]
    entries["hashes"] = counts
    entries["check"] = [xxhash.xxh3_64_intdigest(part.data) for part in parts]
    with written_elsewhere(path) as temporary, writing(Path(path)), temporary.open("wb") as file:
        for part in (entries, *parts):
            file.write(part.data)


def _parts(paths: Sequence[str], part: int, bits: int) -> Iterator[tuple[int, bytes]]:
    """(hashes, bytes) of one part of each file, with so many bits a hash. Raises StorageError for a file that is missing or
    ends before, ConservationError for other bytes than were written."""
    size = _ENTRY.itemsize
    entries = [
        np.frombuffer(data, _ENTRY)[0] for data in read_spans(Span(path, part * size, size, path) for path in paths)
    ]
    spans = [
        Span(path, int(entry["start"]), (int(entry["hashes"]) * bits + 7) // 8, path)
        for path, entry in zip(paths, entries, strict=True)
    ]
    found = read_spans(span for span in spans if span.length)
    for span, entry in zip(spans, entries, strict=True):
        data = next(found) if span.length else b""
        if xxhash.xxh3_64_intdigest(data) != int(entry["check"]):
            raise ConservationError(
                f"{span.location}: {span.length} bytes at {span.start} are not those that were written (checksum differs). "
                "Remove the work folder of this step and run again."
            )
        yield int(entry["hashes"]), data


def _changed(task: InputTask, chunk: int) -> ConservationError:
    return ConservationError(
        f"{task.inputs[0].path} or a file after it: the hashes of chunk {chunk} are not those that were read before. A file "
        "was changed after it was written; run again with an empty work folder."
    )


@numba.njit(cache=True, nogil=True)
def _split(words: np.ndarray, there: np.ndarray, bits: int, local: int) -> tuple[np.ndarray, np.ndarray]:
    """(bounds of each range, int64; cells within their range, uint32, by range and in the order of their hashes)."""
    shift, mask = np.uint64(64 - bits), np.uint64((1 << local) - 1)
    by = np.uint64(local)
    bounds = np.zeros((1 << (bits - local)) + 1, np.int64)
    for row in range(len(words)):
        if there[row]:
            for at in range(words.shape[1]):
                bounds[np.int64((mix(words[row, at]) >> shift) >> by) + 1] += 1
    for one in range(len(bounds) - 1):
        bounds[one + 1] += bounds[one]
    cursors = bounds[:-1].copy()
    found = np.empty(bounds[-1], np.uint32)
    for row in range(len(words)):
        if there[row]:
            for at in range(words.shape[1]):
                cell = mix(words[row, at]) >> shift
                own = np.int64(cell >> by)
                found[cursors[own]] = np.uint32(cell & mask)
                cursors[own] += 1
    return bounds, found


@numba.njit(cache=True, nogil=True)
def _hit(table: np.ndarray, cells: np.ndarray) -> None:
    """Count each cell up to two, in two bits of a byte."""
    for at in range(len(cells)):
        byte, shift = cells[at] >> np.uint32(2), (cells[at] & np.uint32(3)) << np.uint32(1)
        count = (np.uint32(table[byte]) >> shift) & np.uint32(3)
        if count < np.uint32(2):
            table[byte] = np.uint8(np.uint32(table[byte]) + (np.uint32(1) << shift))


@numba.njit(cache=True, nogil=True)
def _hit_twice(table: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """A bit for each cell given."""
    bits = np.zeros((len(cells) + 7) // 8, np.uint8)
    for at in range(len(cells)):
        byte, shift = cells[at] >> np.uint32(2), (cells[at] & np.uint32(3)) << np.uint32(1)
        twice = (np.uint32(table[byte]) >> (shift + np.uint32(1))) & np.uint32(1)
        bits[at >> 3] |= np.uint8(twice << np.uint32(at & 7))
    return bits


@numba.njit(cache=True, nogil=True)
def _mark(
    words: np.ndarray,
    there: np.ndarray,
    cell_bits: int,
    local: int,
    bits: np.ndarray,
    ends: np.ndarray,
    cursors: np.ndarray,
    marks: np.ndarray,
) -> int:
    """Set the bits of each row's hashes, each taken from its range's, which move on. Returns how many are set; -1 when a
    range has none left."""
    shift, by = np.uint64(64 - cell_bits), np.uint64(local)
    found = 0
    for row in range(len(words)):
        if there[row]:
            for at in range(words.shape[1]):
                own = np.int64((mix(words[row, at]) >> shift) >> by)
                bit = cursors[own]
                if bit == ends[own]:
                    return -1
                cursors[own] = bit + 1
                if bits[bit >> 3] >> np.uint8(bit & 7) & np.uint8(1):
                    marks[row, at >> 3] |= np.uint8(1 << (at & 7))
                    found += 1
    return found
