"""Folders of pages: each `.html` file is a document with the payload `html`, its bytes as they lie there, from which a stage
makes the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa

from gristmill.pipeline.source import Slice, SliceData, Source
from gristmill.stages.sources.whole_files import Decoded, WholeFiles

ENDINGS = (".html", ".htm", ".xhtml")


class HtmlSource(Source):
    """Pages, one per file; `file_path` names the file."""

    version = 1
    known_endings: ClassVar[tuple[str, ...]] = (".html", ".htm", ".xhtml")
    summary = "Folders of HTML pages, one per file: a slice is a run of files"

    def slices(self) -> Sequence[Slice]:
        return self._files().slices(ENDINGS)

    def input_schema(self, one: Slice) -> pa.Schema:
        """The columns before any mapping."""
        return self._files().input_schema()

    def schema(self, one: Slice) -> pa.Schema:
        return self._files().schema(one.location)

    def read(self, one: Slice, columns: frozenset[str] | None = None) -> SliceData:
        return self._files().read(one, columns)

    def _files(self) -> WholeFiles:
        return WholeFiles(self.name, self.config, pa.field("html", pa.large_binary()), _page)


def _page(body: bytes) -> Decoded:
    return body, "", ""
