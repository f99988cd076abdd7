"""Folders of many files of which each is one document: `html` pages and `text` files. A slice is a run of files in the order of
their paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import doc_keys
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.source import REJECTS, FoundFile, Slice, SliceData, SourceConfig
from gristmill.pipeline.storage import open_read
from gristmill.stages.sources.columns import mapped_schema, mapped_table
from gristmill.stages.sources.listing import find_files
from gristmill.stages.sources.rejects import rejects_table

MAX_FILES = 4096
"""Files of a slice."""

Decoded = tuple[Any, str, str]
"""A document's value, or None with a reason and what was found."""


@dataclass(frozen=True)
class WholeFiles:
    """Files as documents.

    Attributes:
        source: the source's name.
        column: what a file's content is called, and its type.
        decoded: makes the value of a file's bytes.
    """

    source: str
    config: SourceConfig
    column: pa.Field
    decoded: Callable[[bytes], Decoded]

    def slices(self, endings: Sequence[str]) -> list[Slice]:
        """Runs of files, of `slice_bytes` and MAX_FILES at most unless a single file is larger."""
        result: list[Slice] = []
        run: list[FoundFile] = []
        size = 0
        for file in find_files(self.source, self.config, endings):
            if run and (size + file.size > self.config.slice_bytes or len(run) == MAX_FILES):
                result.append(self._slice(run))
                run, size = [], 0
            run.append(file)
            size += file.size
        return [*result, self._slice(run)] if run else result

    def _slice(self, run: Sequence[FoundFile]) -> Slice:
        first, size = run[0], sum(file.size for file in run)
        stamp = first.stamp if len(run) == 1 else digest("gristmill.stamps", [file.stamp for file in run])
        files = tuple((file.path, file.location, file.size) for file in run)
        part = {"files": len(run)}
        return Slice(self.source, first.path, first.location, part, size, size, stamp, rows=len(run), files=files)

    def input_schema(self) -> pa.Schema:
        """The columns, before any mapping."""
        return pa.schema([self.column, pa.field("file_path", pa.string())])

    def schema(self, where: str) -> pa.Schema:
        """The columns after mapping."""
        return mapped_schema(self.input_schema(), self.config.columns, where, self.config.constants)

    def read(self, one: Slice, columns: frozenset[str] | None) -> SliceData:
        """The documents of a slice; one above `max_document_bytes`, or that has no value, is a reject."""
        target = self.schema(one.location)
        if columns is not None:
            target = pa.schema([item for item in target if item.name in columns])
        limit = self.config.max_document_bytes
        paths: list[str] = []
        values: list[Any] = []
        keys: list[pa.Array] = []
        rejects: list[pa.Table] = []
        for path, location, size in one.files:
            body = b""
            if size <= limit:
                with open_read(location) as stream:
                    body = stream.read(size + 1)
                if len(body) != size:
                    raise DataError(
                        f"{location}: expected {size} bytes, found another number. The file changed since the plan was made; "
                        "run again."
                    )
            value, reason, detail = self.decoded(body) if size <= limit else (None, "too_large", f"{size} bytes")
            if reason:
                found = [(0, reason, f"{path}: {detail}", size)]
                rejects.append(rejects_table(self.source, self.config.snapshot, path, found))
                continue
            paths.append(path)
            values.append(value)
            keys.append(doc_keys(self.source, self.config.snapshot, path, np.zeros(1, np.int64)))
        schema = self.input_schema()
        table = pa.table([pa.array(values, self.column.type), pa.array(paths, pa.string())], schema=schema)
        joined = pa.concat_arrays(keys) if keys else doc_keys(self.source, None, "", np.empty(0, np.int64))
        rows = mapped_table(table, target, self.config.columns, joined, one.location, self.config.constants)
        return SliceData(rows, pa.concat_tables([REJECTS.empty_table(), *rejects]), one.bytes)
