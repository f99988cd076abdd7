"""A source whose files end the process that reads them, as a damaged file may with a library in C++."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from gristmill.pipeline.reader_process import reading
from gristmill.pipeline.source import FoundFile, Slice, SliceData, Source


class Crashing(Source):
    """`deadly.slices` ends what plans it, `deadly.read` what reads it."""

    version = 1
    may_crash = True
    summary = "files that abort"

    def slices(self) -> Sequence[Slice]:
        for path in self.config.paths:
            reading(path)
            if path.endswith(".slices"):
                os.abort()
        return [Slice(self.name, path, path, {}, 1, 1) for path in self.config.paths]

    def schema(self, one: Slice) -> pa.Schema:
        return pa.schema([("id", pa.string()), ("text", pa.large_string())])

    def read(self, one: Slice, columns: frozenset[str] | None = None) -> SliceData:
        os.abort()


class CrashingFiles(Crashing):
    """The same, cut file by file; `paths` names a folder."""

    def files(self) -> list[FoundFile]:
        return [FoundFile(str(path), path.name, 1, "") for path in sorted(Path(self.config.paths[0]).iterdir())]

    def cut(self, file: FoundFile) -> list[Slice]:
        reading(file.location)
        if file.path.endswith(".slices"):
            os.abort()
        return [Slice(self.name, file.path, file.location, {}, 1, 1)]

    def slices(self) -> Sequence[Slice]:
        return Source.slices(self)
