"""Common Crawl by selection: records chosen in its columnar index before any download, then read by byte ranges.

A slice is a run of selected records of one WARC file in the order of their offsets; neighbours are read by one request.
Rows and doc_keys are those that the source `warc` gives the same records. A record that is not what the index says, or not
there, is quarantined with its offset; a selected row that says of no record where it lies, or that names one which an earlier
row names, with its number in the index file. Rows that are not selected are no documents, but what was selected of which
index enters the run's identity.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import xxhash
from pydantic import Field, model_validator

from gristmill.pipeline.errors import DataError
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.reader_process import reading
from gristmill.pipeline.source import FoundFile, Slice
from gristmill.pipeline.storage import RangeError, join, range_get
from gristmill.stages.sources.commoncrawl_index import RECORD, Aside, Select, Selection, span, stretches
from gristmill.stages.sources.listing import drawn, find_files
from gristmill.stages.sources.warc import WarcConfig, WarcSource, columns_of
from gristmill.stages.web_archives.http_message import body_of, parsed_response
from gristmill.stages.web_archives.warc_members import Stored, body_start, content_length, inflated, record_headers

MAX_REQUEST = 16 << 20
"""Bytes of a request, unless a single record has more."""
MAX_ROWS = 100_000
EXPANSION = 16
LEAST_EXPANDED = 64 << 20
"""A slice may have EXPANSION times its bytes uncompressed, or LEAST_EXPANDED; what goes beyond is set aside."""
_OTHER_SUBSETS = ("*/subset=crawldiagnostics/*", "*/subset=robotstxt/*")


class CommonCrawlConfig(WarcConfig):
    """Settings of selections from Common Crawl. `paths` and `path_lists` name files of the index; with neither, those of
    `snapshot` are read below `root`. `sample` draws WARC files."""

    root: str | None = Field(default=None, examples=["s3://commoncrawl"])
    """Must be given: the folder or prefix that the index's WARC file names (`crawl-data/…`) lie below, such as
    `https://data.commoncrawl.org` or `s3://commoncrawl`."""
    select: Select = Field(default=Select(), examples=[{"languages": ["deu"], "status": [200]}])
    """Conditions on index rows."""
    gap: int = Field(default=64 << 10, ge=0, le=MAX_REQUEST, examples=[1 << 20])
    """Most bytes between two records that are read by one request."""

    @model_validator(mode="after")
    def _names_an_index(self) -> CommonCrawlConfig:
        if not self.root:
            raise ValueError("`root:` is not given. Set it to the folder or prefix that the WARC files lie below.")
        if not (self.paths or self.path_lists) and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", self.snapshot or ""):
            raise ValueError(
                "no index is given. Set `snapshot:` to the name of a crawl, such as CC-MAIN-2024-10, or `paths:` to "
                "index files."
            )
        return self


class CommonCrawlSource(WarcSource):
    """Records that Common Crawl's index selects."""

    Config = CommonCrawlConfig
    version = 1
    known_endings: ClassVar[tuple[str, ...]] = ()
    summary = "Common Crawl: records selected in its columnar index, read by byte ranges: one slice per run of records"

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._facts: Mapping[str, Any] = {}

    def files(self) -> None:
        """Records are selected, not files."""

    def slices(self) -> Sequence[Slice]:
        where = f"sources.{self.name}.select"
        selection = Selection(self._index(), self.config.select, lambda name: drawn(self.config, name), where)
        result: list[Slice] = []
        whole = hashlib.sha256()
        for name, records in selection.records():
            for run in self._runs(records):
                whole.update(
                    digest("gristmill.commoncrawl.records", [name, hashlib.sha256(run.tobytes()).hexdigest()]).encode()
                )
                result.append(self._slice(name, run, int(span(records[-1:])[0])))
        if not result:
            raise DataError(
                f"{where}: none of {selection.rows:,} index rows is selected. Loosen the conditions, or raise `sample`."
            )
        aside = [self._aside(file, selection.aside[file], result) for file in selection.aside]
        for one in aside:
            whole.update(one.stamp.encode())
        self._facts = {
            "index_files": selection.index_files,
            "index_bytes": selection.index_bytes,
            "index_rows": selection.rows,
            "rows_selected": selection.selected,
            "requests": sum(one.part["requests"] for one in result),
            "index_sha256": selection.index_sha256,
            "selection_sha256": whole.hexdigest(),
            **({"rows_set_aside": sum(one.rows for one in aside)} if aside else {}),
        }
        return [*result, *aside]

    def facts(self) -> Mapping[str, Any]:
        return self._facts

    def _index(self) -> list[FoundFile]:
        """The files of the index."""
        config = self.config
        found: list[FoundFile] = []
        # The root is where WARC files lie; files of the index that are named one by one may lie elsewhere.
        plain: dict[str, Any] = {"sample": None, "root": None, "path_lists": ()}
        if config.paths:
            found += find_files(self.name, config.model_copy(update=plain), (".parquet",))
        lists = config.path_lists
        if not (config.paths or lists):
            lists = (join(config.root, "crawl-data", config.snapshot, "cc-index-table.paths.gz"),)
        if lists:
            below = {**plain, "root": config.root, "paths": (), "path_lists": lists}
            exclude = (*config.exclude, *_OTHER_SUBSETS)
            found += find_files(self.name, config.model_copy(update={**below, "exclude": exclude}), (".parquet",))
        return found

    def _runs(self, records: np.ndarray) -> Iterator[np.ndarray]:
        """Records of each slice: whole requests, of `slice_bytes` unless a request has more."""
        parts: list[np.ndarray] = []
        size = rows = 0
        for stretch in self._stretches(records):
            length = self._fetched(stretch)
            if parts and (size + length > self.config.slice_bytes or rows + len(stretch) > MAX_ROWS):
                yield np.concatenate(parts)
                parts, size, rows = [], 0, 0
            parts.append(stretch)
            size += length
            rows += len(stretch)
        if parts:
            yield np.concatenate(parts)

    def _stretches(self, records: np.ndarray) -> Iterator[np.ndarray]:
        """Runs of records that one request reads. What is too long for a record, or has no length, is a run of its own."""
        most = min(MAX_REQUEST, self.config.slice_bytes)
        start = 0
        for row in [*np.flatnonzero(~self._readable(records)).tolist(), len(records)]:
            if row > start:
                yield from stretches(records[start:row], self.config.gap, most)
            yield from [records[row : row + 1]] if row < len(records) else []
            start = row + 1

    def _readable(self, records: np.ndarray) -> np.ndarray:
        return (records["length"] > 0) & (records["length"] <= self._longest())

    def _longest(self) -> int:
        return int(2 * self.config.max_document_bytes + (16 << 20))

    def _fetched(self, stretch: np.ndarray) -> int:
        return span(stretch)[1] if self._readable(stretch).all() else 0

    def _slice(self, name: str, records: np.ndarray, last: int) -> Slice:
        packed = records.tobytes()
        sha256 = hashlib.sha256(packed).hexdigest()
        runs = list(self._stretches(records))
        size = sum(self._fetched(run) for run in runs)
        part = {
            "start": int(records["offset"][0]),
            "records": len(records),
            "requests": sum(1 for run in runs if self._fetched(run)),
            "selection": int(sha256[:15], 16),
        }
        return Slice(
            self.name,
            name,
            join(self.config.root, name),
            part,
            bytes=size,
            file_bytes=last,
            stamp=sha256,
            expanded=max(EXPANSION * size, LEAST_EXPANDED),
            rows=len(records),
            records=base64.b64encode(zlib.compress(packed, 1)).decode(),
        )

    def _aside(self, file: FoundFile, rows: list[Aside], others: Sequence[Slice]) -> Slice:
        """The slice of an index file's rows that are set aside. Each counts as many bytes as the others have
        on average, since nobody knows how long its record is."""
        rows = sorted(rows)
        packed = json.dumps(rows).encode()
        sha256 = hashlib.sha256(packed).hexdigest()
        mean = max(1, sum(one.bytes for one in others) // max(1, sum(one.rows for one in others)))
        return Slice(
            self.name,
            file.path,
            file.location,
            {"start": rows[0][0], "records": len(rows), "requests": 0, "selection": int(sha256[:15], 16), "index": 1},
            bytes=mean * len(rows),
            file_bytes=file.size,
            stamp=sha256,
            expanded=LEAST_EXPANDED,
            rows=len(rows),
            records=base64.b64encode(zlib.compress(packed, 1)).decode(),
        )

    def _rows(self, one: Slice) -> list[Aside]:
        """Of a slice of index rows: their numbers, and what is wrong with them."""
        return [
            (row, problem, told) for row, problem, told in json.loads(zlib.decompress(base64.b64decode(one.records)))
        ]

    def _records(self, one: Slice) -> np.ndarray:
        return np.frombuffer(zlib.decompress(base64.b64decode(one.records)), RECORD)

    @classmethod
    def counts_bytes(cls, part: Mapping[str, int]) -> bool:
        return "index" not in part

    def input_schema(self, one: Slice) -> pa.Schema:
        """The columns of the source `warc`, for pages."""
        return columns_of(is_text=False, headers=self.config.headers)

    def offsets(self, one: Slice) -> np.ndarray:
        if "index" in one.part:
            return np.array([row for row, _, _ in self._rows(one)], np.int64)
        return np.asarray(self._records(one)["offset"], np.int64)

    def _of_slice(self, one: Slice, keep: int) -> Iterator[Stored]:
        if "index" in one.part:
            for row, problem, told in self._rows(one):
                why = "the row of the index says of no record where it lies: " if problem == "no_place" else ""
                yield _problem(row, one.bytes // one.rows, problem, why + told)
            return
        room = one.expanded
        missing = ""
        for run in self._stretches(self._records(one)):
            if not self._readable(run).all():
                offset, length = int(run["offset"][0]), int(run["length"][0])
                yield _problem(offset, length, "too_large", f"the index says that the record has {length:,} bytes")
                continue
            reading(one.location)
            start, size = span(run)
            data, problem, told = b"", "missing_file", missing
            if not missing:
                data, problem, told = _range(one.location, start, size)
                missing = told if problem == "missing_file" else ""
            for offset, length, url, sha1 in run.tolist():
                view = data[offset - start : offset - start + length]
                if problem or len(view) < length:
                    told = told or f"the file ends after {start + len(data):,} bytes"
                    yield _problem(offset, length, problem or "truncated_record", told)
                    continue
                stored = _stored(view, offset, keep, min(self._longest(), room))
                room -= stored.size
                if not stored.problem:
                    difference = _difference(stored, url, sha1, self.config.max_document_bytes)
                    if difference:
                        stored = _problem(offset, length, "not_as_indexed", difference)
                yield stored


def _problem(offset: int, length: int, problem: str, detail: str) -> Stored:
    return Stored(offset, length, b"", 0, problem, detail)


def _range(location: str, start: int, size: int) -> tuple[bytes, str, str]:
    """The bytes of a request, or why there are none: a reason in a word and what was found."""
    try:
        return range_get(location, start, size), "", ""
    except FileNotFoundError:
        return b"", "missing_file", "there is no such WARC file"
    except RangeError as error:
        return b"", "no_range", str(error).removeprefix(f"{location}: ")


def _stored(member: bytes, offset: int, keep: int, most: int) -> Stored:
    """The record that should be the whole of some bytes."""
    found = inflated(io.BytesIO(member), 0, keep, most)
    if found.problem:
        return Stored(offset, len(member), b"", found.size, found.problem, found.detail)
    if found.end != len(member):
        told = f"the record has {found.end:,} bytes, the index says {len(member):,}"
        return Stored(offset, len(member), b"", found.size, "not_as_indexed", told)
    return Stored(offset, len(member), found.body, found.size)


def _difference(stored: Stored, url: int, sha1: bytes, limit: int) -> str:
    """In what a record is not what the index says."""
    target = record_headers(stored.body).get("warc-target-uri", "").strip("<>")
    if xxhash.xxh3_64_intdigest(target.encode()) != url:
        return f"the record is of {target[:500]!r}, the index has another URL there"
    begin = body_start(stored.body) or 0
    content = stored.body[begin : begin + (content_length(stored.body) or 0)]
    if not any(sha1) or len(content) != (content_length(stored.body) or 0):
        return ""
    payload = body_of(content)
    if hashlib.sha1(payload).digest() == sha1:
        return ""
    answer = parsed_response(content, limit)
    if answer is not None and answer.body is not None and hashlib.sha1(answer.body).digest() == sha1:
        return ""
    found, stated = (base64.b32encode(one).decode() for one in (hashlib.sha1(payload).digest(), sha1))
    return f"the payload has the digest {found}, the index says {stated}"
