"""Arrow's own files as a source: IPC files and streams, Feather, and folders saved by Hugging Face `datasets`.

A slice is a run of record batches, bounded by their uncompressed bytes and rows. A record's position is its ordinal in the
file. Of a folder that `datasets` saved, its shards are read and its caches (`cache-….arrow`) left out.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import doc_keys
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.reader_process import reading
from gristmill.pipeline.source import REJECTS, FoundFile, Slice, SliceData, Source
from gristmill.pipeline.storage import is_remote, local, open_read
from gristmill.stages.sources.columns import input_name, mapped_schema, mapped_table, with_fields
from gristmill.stages.sources.listing import find_files

ENDINGS = (".arrow", ".arrows", ".feather", ".ipc")
MAGIC = b"ARROW1"
MAX_EXPANSION = 8
"""A slice has at most this many times `slice_bytes` uncompressed, unless a single batch has more."""
MAX_ROWS = 250_000


class ArrowSource(Source):
    """Arrow IPC files and streams."""

    version = 1
    may_crash = True
    known_endings: ClassVar[tuple[str, ...]] = (".arrow", ".arrows", ".feather", ".ipc")
    summary = (
        "Arrow IPC files and streams, Feather, folders saved by Hugging Face datasets: one slice per run of batches"
    )

    def files(self) -> Sequence[FoundFile]:
        return [file for file in find_files(self.name, self.config, ENDINGS) if not _is_cache(file)]

    def cut(self, file: FoundFile) -> list[Slice]:
        sizes = [(batch.num_rows, batch.nbytes) for batch in _batches(file.location, file.size, 0)]
        total = max(1, sum(size for _, size in sizes))
        result: list[Slice] = []
        start = first_row = 0
        while start < len(sizes) or not result:
            stop = start
            rows = held = 0
            while stop < len(sizes) and (
                stop == start
                or (
                    (held + sizes[stop][1]) * file.size <= self.config.slice_bytes * total
                    and held + sizes[stop][1] <= MAX_EXPANSION * self.config.slice_bytes
                    and rows + sizes[stop][0] <= MAX_ROWS
                )
            ):
                rows += sizes[stop][0]
                held += sizes[stop][1]
                stop += 1
            part = {"batch": start, "batches": stop - start, "first_row": first_row, "rows": rows}
            stored = file.size * held // total
            result.append(
                Slice(self.name, file.path, file.location, part, stored, file.size, file.stamp, max(held, 1), rows)
            )
            start = stop
            first_row += rows
        return result

    def input_schema(self, one: Slice) -> pa.Schema:
        """The file's own columns, before any mapping."""
        with _opened(one.location, one.file_bytes) as reader:
            return reader.schema

    def schema(self, one: Slice) -> pa.Schema:
        return mapped_schema(self.input_schema(one), self.config.columns, one.location, self.config.constants)

    def read(self, one: Slice, columns: frozenset[str] | None = None) -> SliceData:
        schema = self.input_schema(one)
        target = mapped_schema(schema, self.config.columns, one.location, self.config.constants)
        if columns is not None:
            target = pa.schema([item for item in target if item.name in columns])
        have = with_fields(schema, self.config.columns).names
        theirs = {input_name(item.name, self.config.columns, have) for item in target}
        names = [name for name in schema.names if name in theirs or any(path.startswith(f"{name}.") for path in theirs)]
        first, count = one.part["batch"], one.part["batches"]
        batches = []
        for batch in _batches(one.location, one.file_bytes, first, count):
            chosen = batch.select(names)
            try:
                chosen.validate(full=True)  # offsets and UTF-8 are taken on trust by everything after this
            except pa.ArrowInvalid as error:
                raise DataError(_damaged(one.location, error)) from error
            batches.append(chosen)
        found = sum(batch.num_rows for batch in batches)
        if found != one.part["rows"]:
            raise DataError(
                f"{one.location}: expected {one.part['rows']} rows in batches {first} to {first + count - 1}, found {found}. "
                "The file changed since the plan was made; run again."
            )
        table = pa.Table.from_batches(batches, pa.schema([schema.field(name) for name in names]))
        table = table.replace_schema_metadata(None).unify_dictionaries()
        positions = np.arange(one.part["first_row"], one.part["first_row"] + one.part["rows"])
        keys = doc_keys(self.name, self.config.snapshot, one.path, positions)
        rows = mapped_table(table, target, self.config.columns, keys, one.location, self.config.constants)
        return SliceData(rows, REJECTS.empty_table(), one.bytes)


def _is_cache(file: FoundFile) -> bool:
    return posixpath.basename(file.path).startswith("cache-")


class _opened:
    """A reader of an IPC file or stream; its errors name the file. A local file is mapped, so that batches that are passed
    over are not read."""

    def __init__(self, location: str, size: int) -> None:
        self.location, self.size = location, size

    def __enter__(self) -> Any:
        if self.size == 0:
            raise DataError(
                f"{self.location}: the file is empty, so it is not an Arrow file. Restore it, or leave it out."
            )
        reading(self.location)
        if is_remote(self.location):
            self.stream = pa.PythonFile(open_read(self.location), mode="r")
        else:
            self.stream = pa.memory_map(str(local(self.location)))
        try:
            is_file = self.stream.read(len(MAGIC)) == MAGIC
            self.stream.seek(0)
            return pa.ipc.open_file(self.stream) if is_file else pa.ipc.open_stream(self.stream)
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, EOFError) as error:
            self.stream.close()
            raise DataError(
                f"{self.location}: this is neither an Arrow IPC file nor a stream ({error}). Restore it, leave it out with "
                "`exclude`, or set another `format`."
            ) from error

    def __exit__(self, *exception: object) -> None:
        self.stream.close()


def _batches(location: str, size: int, first: int, count: int | None = None) -> Iterator[Any]:
    """Record batches from one on, `count` of them or all there are. Raises DataError."""
    with _opened(location, size) as reader:
        try:
            if isinstance(reader, pa.ipc.RecordBatchFileReader):
                last = reader.num_record_batches if count is None else first + count
                for number in range(first, last):
                    yield reader.get_batch(number)
                return
            number = 0
            while count is None or number < first + count:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
                if number >= first:
                    yield batch
                number += 1
        except (OSError, pa.ArrowException, ValueError, IndexError) as error:
            raise DataError(_damaged(location, error)) from error


def _damaged(location: str, error: Exception) -> str:
    return (
        f"{location}: the file cannot be read ({error}). It is damaged or truncated: restore it, or leave it out with "
        "`exclude`."
    )
