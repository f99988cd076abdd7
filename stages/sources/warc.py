"""Crawls: WARC files of responses, which bring pages as the payload `html`, and WET files of extracted text, plain or `.gz`.

A slice is a run of records, cut where one walk over the file found them to begin (see `known_cuts`), by stored and
uncompressed bytes. A record's position is the byte at which it begins; `offset` and `length` say where it lies in the file,
`url`, `date` and `record_id` are its header's, `truncated` is the crawler's reason for a page that it cut. Every record
enters the run. Those that are no page are dropped with a rule: `not_a_page` (requests, metadata and other types),
`not_http`, `not_200`, `pdf`, `not_html`, `undecodable` (a body whose content encoding cannot be undone) and
`empty_payload`. Only damage is quarantined: a record that is cut, a corrupt gzip member, one that inflates without end, a
header that is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from gristmill.pipeline.document import SOURCE_RULE, TEXT, TEXT_TYPE, doc_keys
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.reader_process import reading
from gristmill.pipeline.source import FoundFile, Slice, SliceData, Source, SourceConfig
from gristmill.pipeline.storage import open_read
from gristmill.stages.sources.columns import mapped_schema, mapped_table
from gristmill.stages.sources.known_cuts import Cut, KnownCuts
from gristmill.stages.sources.listing import find_files
from gristmill.stages.sources.rejects import Reject, rejects_table
from gristmill.stages.web_archives.http_message import parsed_response
from gristmill.stages.web_archives.warc_members import (
    Stored,
    body_start,
    content_length,
    record_headers,
    stored_records,
)

HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
ENDINGS = (".warc", ".warc.gz", ".wet", ".wet.gz")
MAX_EXPANSION = 8
"""A slice has at most this many times `slice_bytes` uncompressed, unless a single record has more."""
MAX_ROWS = 100_000
RULES = ("not_a_page", "not_http", "not_200", "pdf", "not_html", "undecodable")
_SAID_EVERY = 256 << 20
"""Bytes of a walk after which the reading process says that it still reads."""
_HEADER_ROOM = 1 << 20
_MOST_BESIDES = 16 << 20


class WarcConfig(SourceConfig):
    """Settings of crawls."""

    media_types: tuple[str, ...] = Field(default=("text/html", "application/xhtml+xml"), examples=[["text/html"]])
    """Media types of pages, by the crawler's detection (WARC-Identified-Payload-Type), else by the server's header."""
    headers: tuple[HeaderName, ...] | None = Field(default=None, examples=[["X-Robots-Tag", "TDM-Reservation"]])
    """HTTP headers of pages that become columns: `X-Robots-Tag` is `http_x_robots_tag`, with a line for each time that it is
    there. The stage `rights` reads them."""


class WarcSource(Source):
    """WARC and WET files."""

    Config = WarcConfig
    version = 1
    by_offset = True
    may_crash = True
    known_endings: ClassVar[tuple[str, ...]] = (".warc", ".warc.gz", ".wet", ".wet.gz")
    summary = "Crawls: WARC (pages) and WET (texts), plain or gzip: one slice per run of records"

    def files(self) -> Sequence[FoundFile] | None:
        return find_files(self.name, self.config, ENDINGS)

    def cut(self, file: FoundFile) -> list[Slice]:
        known = KnownCuts(
            file,
            {
                "version": self.version,
                "slice_bytes": self.config.slice_bytes,
                "max_document_bytes": self.config.max_document_bytes,
                "bounds": [MAX_EXPANSION, MAX_ROWS],
            },
        )
        cuts = known.found()
        if cuts is None:
            cuts = self._walked(file)
            known.keep(cuts)
        stops = [cut[0] for cut in cuts[1:]] + [file.size]
        return [
            Slice(
                self.name,
                file.path,
                file.location,
                {"start": begin, "stop": stop},
                stop - begin,
                file.size,
                file.stamp,
                max(expanded, 1),
                rows,
            )
            for (begin, expanded, rows), stop in zip(cuts, stops, strict=True)
        ]

    def _walked(self, file: FoundFile) -> list[Cut]:
        """Where a walk over the file cuts it."""
        cuts: list[Cut] = []
        target = self.config.slice_bytes
        stored = expanded = rows = start = 0
        for record in self._stored(file.location, file.size, 0, 0):
            if rows and (
                stored + record.length > target or expanded + record.size > MAX_EXPANSION * target or rows == MAX_ROWS
            ):
                cuts.append((start, expanded, rows))
                start, stored, expanded, rows = record.offset, 0, 0, 0
            stored += record.length
            expanded += record.size
            rows += 1
        return [*cuts, (start, expanded, rows)]

    def _stored(self, location: str, size: int, start: int, keep: int) -> Iterator[Stored]:
        reading(location)
        most = 2 * self.config.max_document_bytes + _MOST_BESIDES
        said = start
        try:
            with open_read(location) as stream:
                for record in stored_records(stream, size, start, keep, most):
                    if record.offset > said + _SAID_EVERY:
                        reading(location)
                        said = record.offset
                    yield record
        except OSError as error:
            raise DataError(f"{location}: the file cannot be read ({error}). Restore it, or leave it out.") from error

    def input_schema(self, one: Slice) -> pa.Schema:
        """The columns of the file, before any mapping: with `text` where its first records are extracted texts."""
        is_text = False
        for number, record in enumerate(self._stored(one.location, one.file_bytes, 0, 1 << 16)):
            kind = record_headers(record.body).get("warc-type", "")
            is_text |= kind == "conversion"
            if number == 16 or kind in ("conversion", "response"):
                break
        return columns_of(is_text, self.config.headers)

    def schema(self, one: Slice) -> pa.Schema:
        return mapped_schema(self.input_schema(one), self.config.columns, one.location, self.config.constants)

    def read(self, one: Slice, columns: frozenset[str] | None = None) -> SliceData:
        schema = self.input_schema(one)
        target = mapped_schema(schema, self.config.columns, one.location, self.config.constants)
        if columns is not None:
            target = pa.schema([item for item in target if item.name in columns])
        values: dict[str, list[Any]] = {name: [] for name in schema.names}
        rules: list[str | None] = []
        rejects: list[Reject] = []
        for record in self._of_slice(one, self.config.max_document_bytes + _HEADER_ROOM):
            row, rule, reject = self._row(record, TEXT in schema.names)
            if reject is not None:
                rejects.append((record.offset, *reject, record.length))
                continue
            row |= {"offset": record.offset, "length": record.length, "file_path": one.path}
            for name, items in values.items():
                items.append(row.get(name))
            rules.append(rule)
        table = pa.table([pa.array(values[item.name], item.type) for item in schema], schema=schema)
        positions = np.array(values["offset"], np.int64)
        keys = doc_keys(self.name, self.config.snapshot, one.path, positions)
        rows = mapped_table(table, target, self.config.columns, keys, one.location, self.config.constants)
        rows = rows.append_column(SOURCE_RULE, pa.array(rules, pa.string()))
        counted = "byte" if self.counts_bytes(one.part) else "row"
        return SliceData(rows, rejects_table(self.name, self.config.snapshot, one.path, rejects, counted), one.bytes)

    def offsets(self, one: Slice) -> np.ndarray:
        return np.array([record.offset for record in self._of_slice(one, 0)], np.int64)

    def _of_slice(self, one: Slice, keep: int) -> Iterator[Stored]:
        for record in self._stored(one.location, one.file_bytes, one.part["start"], keep):
            if record.offset >= one.part["stop"]:
                return
            yield record

    def _row(self, record: Stored, is_text: bool) -> tuple[dict[str, Any], str | None, tuple[str, str] | None]:
        """A record's columns, the rule by which it is dropped, and why it is set aside."""
        if record.problem:
            return {}, None, (record.problem, record.detail)
        problem = _damage(record, self.config.max_document_bytes)
        if problem is not None:
            return {}, None, problem
        head = record_headers(record.body)
        begin = body_start(record.body) or 0
        content = record.body[begin : begin + (content_length(record.body) or 0)]
        row = {
            "id": head.get("warc-record-id"),
            "record_id": head.get("warc-record-id"),
            "url": head.get("warc-target-uri", "").strip("<>") or None,
            "date": head.get("warc-date"),
            "truncated": head.get("warc-truncated"),
        }
        kind = head.get("warc-type", "")
        if is_text:
            return self._text(row, kind, content)
        if kind == "resource":
            row["http_content_type"] = head.get("content-type")
            return self._page(row, content, head.get("warc-identified-payload-type") or head.get("content-type", ""))
        if kind != "response":
            return row, "not_a_page", None
        answer = parsed_response(content, self.config.max_document_bytes)
        if answer is None:
            return row, "not_http", None
        for name in self.config.headers or ():
            values = [value for field, value in answer.fields if field == name.lower()]
            row[header_column(name)] = "\n".join(values) if values else None
        row["http_content_type"] = answer.headers.get("content-type")
        if answer.status != 200:
            return row, "not_200", None
        if answer.body is None:
            return row, "undecodable", None
        stated = head.get("warc-identified-payload-type") or answer.headers.get("content-type", "")
        return self._page(row, answer.body, stated)

    def _page(self, row: dict[str, Any], body: bytes, stated: str) -> tuple[dict[str, Any], str | None, None]:
        media_type = stated.partition(";")[0].strip().lower()
        if media_type == "application/pdf" or body.startswith(b"%PDF-"):
            return row, "pdf", None
        unstated = media_type in ("", "unk", "application/octet-stream") and body.lstrip()[:1] == b"<"
        if body and media_type not in self.config.media_types and not unstated:
            return row, "not_html", None
        return row | {"html": body}, None, None

    def _text(
        self, row: dict[str, Any], kind: str, content: bytes
    ) -> tuple[dict[str, Any], str | None, tuple[str, str] | None]:
        if kind != "conversion":
            return row, "not_a_page", None
        try:
            return row | {"text": content.decode("utf-8")}, None, None
        except UnicodeDecodeError as error:
            return row, None, ("not_utf8", f"{error.reason} at byte {error.start} of the content")


def header_column(name: str) -> str:
    """The column of an HTTP header."""
    return f"http_{name.lower().replace('-', '_')}"


def columns_of(is_text: bool, headers: Sequence[str] | None = None) -> pa.Schema:
    """The columns of a file before any mapping: of pages, with some headers, or of extracted texts."""
    content = pa.field(TEXT, TEXT_TYPE) if is_text else pa.field("html", pa.large_binary())
    names = ("id", "url", "date", "record_id", "file_path", "http_content_type", "truncated")
    more = dict.fromkeys(header_column(name) for name in headers or () if not is_text)
    strings = [pa.field(name, pa.string()) for name in (*names, *(name for name in more if name not in names))]
    return pa.schema([*strings, content, pa.field("offset", pa.int64()), pa.field("length", pa.int64())])


def _damage(record: Stored, max_document_bytes: int) -> tuple[str, str] | None:
    begin, length = body_start(record.body), content_length(record.body)
    if not record.body.startswith(b"WARC/1.") or begin is None:
        return "no_warc_header", f"expected a WARC record, found {record.body[:16]!r}"
    if length is None:
        return "no_content_length", "the record does not state its length"
    if length > record.size - begin:
        return "truncated_record", f"the record states {length:,} bytes, {record.size - begin:,} are there"
    if length > max_document_bytes:
        return "too_large", f"a record of {length:,} bytes; `max_document_bytes` is {max_document_bytes:,}"
    rest = record.body[begin + length :].lstrip(b"\r\n")
    if rest or record.size > len(record.body):
        told = "another record" if rest.startswith(b"WARC/") else "other bytes"
        return (
            "more_than_a_record",
            f"{told} in one gzip member. Compress the file record by record (`warcio recompress`)",
        )
    return None
