"""The source contract: a format that can be cut into slices and read back, slice by slice.

A source plans its slices from sizes alone, never from workers, and reads one slice into a table with `doc_key` and the
user's columns. Records that cannot be read become rejects: they are quarantined with their reason, never skipped.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from gristmill.pipeline.document import KEY_TYPE
from gristmill.pipeline.errors import GUIDE, ContractError
from gristmill.pipeline.licence import License

REJECTS = pa.schema(
    [
        pa.field("doc_key", KEY_TYPE),
        pa.field("position", pa.int64()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("bytes", pa.int64()),
    ]
)
"""Records that could not be read: where (ordinal or byte offset), why in one word, what was found, how many bytes."""


class SourceConfig(BaseModel):
    """Base of every source's config."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: str = Field(examples=["parquet"], json_schema_extra={"otherwise": "by the paths' endings"})
    """One of the formats that `gristmill stages` lists. It must be written where the endings of `paths` name no single one."""
    paths: tuple[str, ...] = Field(default=(), examples=[["data/*.parquet"]])
    """Files, folders or globs: local, or URLs that fsspec knows (`s3://`, `gs://`, `hf://`); `https://` names one file."""
    path_lists: tuple[str, ...] = Field(default=(), examples=[["warc.paths.gz"]])
    """Files with one path per line, plain or `.gz`, such as `warc.paths.gz`; lines are taken below `root`, or below the
    list's folder."""
    sample: float | None = Field(None, gt=0, le=1, examples=[0.001])
    """Share of the files to read, such as 0.001, drawn by a hash of each path and the seed; a larger share holds the files
    of a smaller one."""
    sample_seed: int | None = Field(None, ge=0, examples=[5])
    """Seed of the sample; default: the run's."""
    exclude: tuple[str, ...] = Field(default=(), examples=[["**/broken-*"]])
    """Globs of files to leave out."""
    root: str | None = Field(default=None, examples=["/mnt/crawl"])
    """Folder that paths in doc_keys are relative to; default: the literal folder before the first wildcard."""
    snapshot: str | None = Field(default=None, examples=["CC-MAIN-2024-10"])
    """Label of the state of the source; enters doc_keys, so that two crawls of one path are two sets of documents."""
    license: License | None = Field(default=None, examples=[{"spdx": "CC-BY-4.0", "stated_by": "distributor"}])
    """The licence of the source's documents, and what is known of the rights in them. It stands in the manifest, in every
    shard's log and on the dataset card."""
    columns: dict[str, str] = Field(default_factory=dict, examples=[{"text": "content", "id": "doc_id"}])
    """Our column name → the input's column name, e.g. `{text: content, id: doc_id}`. `doc.text` is the field `text` of the
    column `doc`, unless a column has that very name; such a `doc` is not passed on whole."""
    constants: dict[str, str | int | float | bool] | None = Field(
        default=None, examples=[{"collection": "news", "year": 2024}]
    )
    """Columns that have one value in all rows, e.g. `{collection: news, year: 2024}`."""
    slice_bytes: int = Field(32 << 20, ge=1, examples=[128 << 20])
    """Target size of a slice in bytes of the file as stored. Part of the result: it sets the shard boundaries."""
    max_document_bytes: int = Field(256 << 20, ge=1, examples=[16 << 20])
    """Documents with more UTF-8 bytes of text are quarantined."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a source: where it is now, what it is called below the root, its size, and a stamp of its state."""

    location: str
    path: str
    size: int
    stamp: str


@dataclass(frozen=True, slots=True)
class Slice:
    """What one task reads. Plain data: it travels to workers and into digests.

    Attributes:
        source: the source's name.
        path: file path relative to the source's root, forward slashes: the identity.
        location: where to open it now: never part of an identity.
        part: which part of the file: format-specific integers, e.g. {"row_group": 0, "row_groups": 4, "first_row": 0} or
            {"start": 0, "stop": 1048576}; empty for a whole file.
        bytes: stored bytes that the slice covers, for planning.
        file_bytes: size of the whole file.
        expanded: most bytes that the slice has uncompressed, as the file states them or the source holds it to; 0: as `bytes`.
        rows: most documents in it; 0 where a source cannot know. Both are for the bound on memory, part of no identity.
        files: of a slice of several files: path, location and bytes of each; `path` and `location` are then the first one's.
        records: of a slice of single records: where each lies, in the source's own form; `part` holds a digest of it.
        members: of a slice of several small files that the plan put together: each file's own, in order (see
            `planning.small_files`).
        stamp: mtime in nanoseconds or ETag, as text: on resume, an equal stamp is taken to mean an unchanged file.
    """

    source: str
    path: str
    location: str
    part: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    file_bytes: int = 0
    stamp: str = ""
    expanded: int = 0
    rows: int = 0
    files: tuple[tuple[str, str, int], ...] = ()
    records: str = ""
    members: tuple[Slice, ...] = ()

    @property
    def each(self) -> tuple[Slice, ...]:
        """What the source is asked to read: the members, or the slice itself."""
        return self.members or (self,)


@dataclass(frozen=True)
class SliceData:
    """One slice, read.

    Attributes:
        table: `doc_key`, `text` (large_string, nulls allowed: they are dropped as `empty_text`), `id` (string) and the
            other input columns; in record order. A source that drops records itself adds `source_rule`.
        rejects: unreadable records, schema REJECTS.
        bytes_read: stored bytes read, the base of the quarantine share.
        counts: of a slice of several files, rows and rejects of each.
    """

    table: pa.Table
    rejects: pa.Table
    bytes_read: int
    counts: tuple[tuple[int, int], ...] = ()


class Source:
    """Base of all source formats.

    Class attributes:
        Config: the format's config, a subclass of SourceConfig.
        version: raised whenever the same config and input may give other documents.
        summary: one line for people.
        known_endings: of the names of files that are of this format where a config names none, such as `.jsonl.gz`.
        by_offset: whether the position in a doc_key is the byte at which a record begins, and not its number.
        may_crash: whether a damaged file may end the process that reads it, as a library in C++ may; such a source is
            asked in a reading process, from its module, name and config, and calls `reader_process.reading` before it
            opens a file.
    """

    Config: ClassVar[type[SourceConfig]] = SourceConfig
    version: ClassVar[int]
    summary: ClassVar[str]
    known_endings: ClassVar[tuple[str, ...]] = ()
    by_offset: ClassVar[bool] = False
    may_crash: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if inspect.isabstract(cls):
            return
        what = f"source class {cls.__module__}.{cls.__qualname__}"
        for name, kind in (("version", int), ("summary", str)):
            if not isinstance(getattr(cls, name, None), kind):
                raise ContractError(
                    f"{what}: the class attribute `{name}` is missing or no {kind.__name__}. Set it. See {GUIDE}."
                )
        config: Any = cls.Config
        if not (inspect.isclass(config) and issubclass(config, SourceConfig)):
            raise ContractError(
                f"{what}: `Config` does not derive from gristmill.pipeline.source.SourceConfig. Derive it."
            )
        by_file = cls.files is not Source.files and cls.cut is not Source.cut
        planned = [] if by_file else ["slices"]
        for name in (*planned, "schema", "read", *(["offsets"] if cls.by_offset else [])):
            if getattr(cls, name) is getattr(Source, name):
                why = " (it sets `by_offset`)" if name == "offsets" else ""
                raise ContractError(f"{what}: `{name}` is not implemented{why}. See {GUIDE}.")

    def __init__(self, name: str, config: Any) -> None:
        self.name = name
        self.config = config

    def files(self) -> Sequence[FoundFile] | None:
        """The files in plan order, where each is cut into slices by itself: with many of them, tasks do so. None where slices
        are found in another way. Raises DataError when nothing matches."""
        return None

    def cut(self, file: FoundFile) -> Sequence[Slice]:
        """The slices of one of `files`. Raises DataError when it cannot be read as this format."""
        raise NotImplementedError

    def slices(self) -> Sequence[Slice]:
        """All slices in plan order. Raises what `files` and `cut` raise. To be given where there are no `files`."""
        files = self.files()
        if files is None:
            raise NotImplementedError
        return [one for file in files for one in self.cut(file)]

    def facts(self) -> Mapping[str, Any]:
        """After `slices` or `files`: what else decided which records are read, such as the digest of an index. JSON values;
        they enter the run's identity and its manifest."""
        return {}

    def schema(self, one: Slice) -> pa.Schema:
        """The input columns after mapping, without reading rows. Asked of the first slice of each file, right after `cut`."""
        raise NotImplementedError

    def read(self, one: Slice, columns: frozenset[str] | None = None) -> SliceData:
        """Reads a slice. `columns` (after mapping) limits what is read; None reads all."""
        raise NotImplementedError

    @classmethod
    def counts_bytes(cls, part: Mapping[str, int]) -> bool:
        """Whether positions in a slice with these bounds are bytes and no numbers of records."""
        return cls.by_offset

    def offsets(self, one: Slice) -> np.ndarray:
        """With `by_offset`: the bytes at which the records of a slice begin, int64, ascending."""
        raise NotImplementedError
