"""Parquet as a source: a slice is a file, or row groups of a large one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.document import DOC_KEY, doc_keys
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.reader_process import reading
from gristmill.pipeline.source import REJECTS, FoundFile, Slice, SliceData, Source
from gristmill.pipeline.storage import open_read
from gristmill.stages.sources.columns import input_name, mapped_schema, mapped_table, with_fields
from gristmill.stages.sources.listing import find_files

MAX_EXPANSION = 8
"""A slice has at most this many times `slice_bytes` uncompressed, unless a single row group has more."""
MAX_ROWS = 250_000
"""Documents of a slice, unless a single row group has more: each costs memory besides its text."""


class ParquetSource(Source):
    """Parquet files, folders of them, or globs. A record's position is its ordinal in the file."""

    version = 1
    may_crash = True
    known_endings: ClassVar[tuple[str, ...]] = (".parquet",)
    summary = "Parquet files: one slice per file, or per run of row groups of a large one"

    def files(self) -> Sequence[FoundFile]:
        return find_files(self.name, self.config, (".parquet",))

    def cut(self, file: FoundFile) -> list[Slice]:
        with _opened(file.location, file.size) as reader:
            metadata = reader.metadata
            _refuse_contradictions(metadata, file.location)
            self._last = (file.location, file.size, file.stamp), reader.schema_arrow
            groups = [
                (metadata.row_group(g).num_rows, *_bytes_of(metadata.row_group(g)))
                for g in range(metadata.num_row_groups)
            ]
        if not groups:
            return [self._slice(file, {"row_group": 0, "row_groups": 0, "first_row": 0, "rows": 0}, file.size)]
        result: list[Slice] = []
        start = first_row = 0
        while start < len(groups):
            stop, rows, size, expanded = start, 0, 0, 0
            while stop < len(groups) and (
                stop == start
                or (
                    size + groups[stop][1] <= self.config.slice_bytes
                    and expanded + groups[stop][2] <= MAX_EXPANSION * self.config.slice_bytes
                    and rows + groups[stop][0] <= MAX_ROWS
                )
            ):
                rows += groups[stop][0]
                size += groups[stop][1]
                expanded += groups[stop][2]
                stop += 1
            part = {"row_group": start, "row_groups": stop - start, "first_row": first_row, "rows": rows}
            result.append(self._slice(file, part, size, expanded, rows))
            start = stop
            first_row += rows
        return result

    def _slice(self, file: FoundFile, part: dict[str, int], size: int, expanded: int = 0, rows: int = 0) -> Slice:
        return Slice(self.name, file.path, file.location, part, size, file.size, file.stamp, expanded, rows)

    _last: tuple[tuple[str, int, str], pa.Schema] | None = None
    """The file whose footer was read last, and its columns: on an object store, that is two requests."""

    def input_schema(self, one: Slice) -> pa.Schema:
        """The file's own columns, before any mapping."""
        if self._last is not None and self._last[0] == (one.location, one.file_bytes, one.stamp):
            return self._last[1]
        with _opened(one.location, one.file_bytes) as reader:
            return reader.schema_arrow

    def schema(self, one: Slice) -> pa.Schema:
        return mapped_schema(self.input_schema(one), self.config.columns, one.location, self.config.constants)

    def read(self, one: Slice, columns: frozenset[str] | None = None) -> SliceData:
        with _opened(one.location, one.file_bytes) as reader:
            schema = mapped_schema(reader.schema_arrow, self.config.columns, one.location, self.config.constants)
            if columns is not None:
                schema = pa.schema([item for item in schema if item.name in columns])
            have = with_fields(reader.schema_arrow, self.config.columns).names
            theirs = {input_name(item.name, self.config.columns, have) for item in schema} & set(have)
            groups = list(range(one.part["row_group"], one.part["row_group"] + one.part["row_groups"]))
            try:
                table = reader.read_row_groups(groups, columns=sorted(theirs), use_threads=False)
            except (OSError, pa.ArrowException) as error:
                raise DataError(
                    f"{one.location}: row groups {groups[0] if groups else 0} to {groups[-1] if groups else 0} cannot be read "
                    f"({error}). The file is damaged: restore it, or leave it out with `exclude`."
                ) from error
        if table.num_rows != one.part["rows"]:
            raise DataError(
                f"{one.location}: expected {one.part['rows']} rows in these row groups, found {table.num_rows}. The file "
                "changed since the plan was made; run again."
            )
        # A table without columns forgets its number of rows: only the plan's is used from here on.
        table = table.replace_schema_metadata(None)
        positions = np.arange(one.part["first_row"], one.part["first_row"] + one.part["rows"])
        keys = doc_keys(self.name, self.config.snapshot, one.path, positions)
        rows = mapped_table(table, schema, self.config.columns, keys, one.location, self.config.constants)
        _refuse_invalid_utf8(rows, one)
        return SliceData(rows, REJECTS.empty_table(), one.bytes)


def _bytes_of(group: Any) -> tuple[int, int]:
    """Stored and uncompressed bytes of a row group."""
    columns = [group.column(c) for c in range(group.num_columns)]
    return sum(c.total_compressed_size for c in columns), sum(c.total_uncompressed_size for c in columns)


def _refuse_contradictions(metadata: Any, location: str) -> None:
    """Raises DataError for a footer that contradicts itself. Footers have no checksums, and Arrow does not compare what they
    say twice: rows would be lost, and columns read under other names, without a word."""
    total = 0
    for g in range(metadata.num_row_groups):
        group = metadata.row_group(g)
        total += group.num_rows
        for c in range(group.num_columns):
            column, chunk = metadata.schema.column(c), group.column(c)
            try:
                names = column.path, chunk.path_in_schema or column.path
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{location}: the footer's name of column {c} in row group {g} is not UTF-8 ({error}). It is damaged: "
                    "restore it, or leave it out with `exclude`."
                ) from error
            for what, here, there in (
                ("a column's name", *names),
                ("a column's type", column.physical_type, chunk.physical_type),
                *([("a number of rows", group.num_rows, chunk.num_values)] if not column.max_repetition_level else []),
            ):
                if here != there:
                    raise DataError(
                        f"{location}: the footer contradicts itself about {what} in row group {g}: {here!r:.100} and "
                        f"{there!r:.100}. The file is damaged: restore it, or leave it out with `exclude`."
                    )
    if total != metadata.num_rows:
        raise DataError(
            f"{location}: the footer states {metadata.num_rows} rows in all and {total} in its row groups. The file is "
            "damaged: restore it, or leave it out with `exclude`."
        )


class _opened:
    """A Parquet file, opened; its errors name the file."""

    def __init__(self, location: str, size: int) -> None:
        self.location, self.size = location, size

    def __enter__(self) -> pq.ParquetFile:
        if self.size == 0:
            raise DataError(
                f"{self.location}: the file is empty, so it is not a Parquet file. Restore it, or leave it out."
            )
        reading(self.location)
        self.stream = open_read(self.location)
        try:
            return pq.ParquetFile(self.stream, page_checksum_verification=True)
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
            # A damaged footer may also hold names that are not UTF-8, or metadata that is no schema.
            self.stream.close()
            raise DataError(
                f"{self.location}: this is not a readable Parquet file ({error}). Restore it, leave it out with `exclude`, "
                "or set another `format`."
            ) from error

    def __exit__(self, *exception: object) -> None:
        self.stream.close()


def _refuse_invalid_utf8(rows: pa.Table, one: Slice) -> None:
    """Parquet does not check that strings are UTF-8; kernels rely on it."""
    for name in rows.column_names:
        if name == DOC_KEY or not (pa.types.is_string(rows[name].type) or pa.types.is_large_string(rows[name].type)):
            continue
        try:
            for chunk in rows[name].chunks:
                chunk.validate(full=True)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{one.location}: the column `{name}` holds text that is not UTF-8 ({error}). Write the file anew with "
                "valid text, or leave it out with `exclude`."
            ) from error
