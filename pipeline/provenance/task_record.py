"""The record that commits a task's pass: what it read, every file that it wrote, and its accounts; one JSON file each.

A pass of a task counts when its record exists. The record's name is its key: it follows from the slice, the plan up to that
pass and the settled answers, so a changed threshold, a changed input and a changed task count are other keys.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.provenance.accounts import Accounts
from gristmill.pipeline.provenance.logs import SliceRead
from gristmill.pipeline.provenance.statement import FORMAT_VERSION
from gristmill.pipeline.provenance.values import (
    STORED,
    Complete,
    Count,
    Digest,
    KeySum,
    Whole,
    described,
    parse,
    to_json,
)
from gristmill.pipeline.storage import join, names_in, put_if_absent, read_small, remove, size_of
from gristmill.pipeline.work_folder import WorkFolder, task_name

ANNOTATIONS = "annotations"
"""Role of a work file with what a pass found out about every row."""
INPUT = "input"
"""Role of a work file with the columns, other than payloads, of a source that brings no text."""
INPUT_REJECTS = "input-rejects"
"""Role of a work file with the records that such a source could not read."""


@dataclass(frozen=True, kw_only=True)
class SliceRecord(SliceRead):
    """A slice as a task has read it: also digests and quick checks by column, bytes that were read, bytes of text
    (of payload, where the source brings no text)."""

    columns: dict[str, str]
    checks: dict[str, str]
    reject_bytes: Count
    bytes: Count
    text_bytes: Count
    stamp: str


@dataclass(frozen=True, kw_only=True)
class WorkFile:
    """A file between passes; the path is relative to the work folder."""

    __pydantic_config__ = STORED
    path: str
    role: str
    sha256: Digest
    size: Count


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    """A file in an output, by its path there; `keys` are those of a shard's rows and 0 for any other file."""

    __pydantic_config__ = STORED
    path: str
    role: str
    size: Count
    sha256: Digest
    content_digest: str
    rows: Count
    keys: KeySum


@dataclass(frozen=True, kw_only=True)
class SidecarPart:
    """A task's rows of a sidecar of one role: where they lie in its file, and their XXH3-128."""

    __pydantic_config__ = STORED
    role: str
    offset: Count
    size: Count
    check: str
    rows: Count


@dataclass(frozen=True, kw_only=True)
class SidecarParts:
    """What a task leaves in the work folder, at `candidate`, for the files that it shares with other tasks."""

    __pydantic_config__ = STORED
    candidate: str
    size: Count
    sha256: Digest
    parts: list[SidecarPart]

    def part(self, role: str) -> SidecarPart | None:
        """The rows of a role, where there are any."""
        return next((part for part in self.parts if part.role == role), None)


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """A task's rows for a shuffled output, in the work folder at `candidate`; `bytes` independently of their encoding."""

    __pydantic_config__ = STORED
    role: Literal["staged"]
    candidate: str
    size: Count
    sha256: Digest
    rows: Count
    keys: KeySum
    bytes: Count


TaskFile = StagedFile | OutputFile


@dataclass(frozen=True, kw_only=True)
class Notes:
    """A survey's notes about a slice: their file in the work folder, rows, and the sum of the doc_keys they are about."""

    __pydantic_config__ = STORED
    path: str
    rows: Count
    sha256: Digest
    keys: KeySum


@dataclass(frozen=True, kw_only=True)
class NoNotes(Complete):
    """A survey that saw no row of a slice."""

    __pydantic_config__ = STORED
    path: None = None
    rows: Literal[0] = 0


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What may differ when the same thing is made again: host, start (Unix seconds), duration (seconds)."""

    __pydantic_config__ = STORED
    host: str
    started: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TaskAttempt(Attempt):
    """An attempt at a task, with its process number."""

    process: Whole


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """A committed pass of a task. `outputs` has the files of the last pass by output, `sidecars` what it leaves for the
    files that tasks share, `notes` those of surveys by node, `signals` the keys of what nodes measured (see
    `running.task_keys`)."""

    __pydantic_config__ = STORED
    format: Literal[2]
    key: Digest
    task: Count
    pass_: Annotated[Count, Field(alias="pass")]
    slice: SliceRecord
    work_files: list[WorkFile]
    outputs: dict[str, list[TaskFile]]
    sidecars: SidecarParts | None
    notes: dict[str, Notes | NoNotes]
    signals: dict[str, Digest]
    accounts: Accounts
    varies: TaskAttempt

    @property
    def annotations(self) -> WorkFile | None:
        """The file with the annotations of a pass that is not the last."""
        return next((file for file in self.work_files if file.role == ANNOTATIONS), None)


@dataclass(frozen=True, kw_only=True)
class BucketRecord:
    """A committed bucket of a shuffled output: its shards."""

    __pydantic_config__ = STORED
    bucket: Count
    key: Digest
    files: list[OutputFile]
    varies: Attempt


@dataclass(frozen=True, kw_only=True)
class KindRecord:
    """A committed shard of a kind of an output: its files, the index last, and how much of the kind's unit they hold."""

    __pydantic_config__ = STORED
    kind: str
    key: Digest
    files: list[OutputFile]
    units: Count
    varies: Attempt


T = TypeVar("T")
MOST_RECORD = 256 << 20
"""Bytes of a record, at most: a line for each file and rule."""


def record_bytes(record: TaskRecord | BucketRecord | KindRecord) -> bytes:
    """A record as it is stored; what is read back has the same bytes."""
    return json.dumps(to_json(record), sort_keys=True).encode()


def record_digest(record: TaskRecord) -> str:
    """SHA-256 of a record's bytes."""
    return hashlib.sha256(record_bytes(record)).hexdigest()


def write_record(location: str, record: TaskRecord | BucketRecord | KindRecord) -> bool:
    """Writes a record; False when another attempt was first (its record then counts)."""
    return put_if_absent(location, record_bytes(record))


def read_record(kind: type[T], location: str) -> T | None:
    """A record, or None when there is none. Raises StorageError for a file that is no such record."""
    data = read_small(location, MOST_RECORD)
    return None if data is None else parsed_record(kind, data, location)


def parsed_record(kind: type[T], data: bytes, location: str) -> T:
    """A record from its bytes. Raises StorageError for what is none."""
    try:
        return parse(kind, json.loads(data))
    except (ValueError, RecursionError) as error:
        wrong = described(error)[0] if isinstance(error, ValidationError) else str(error)
        raise StorageError(
            f"{location}: this is not a {kind.__name__} of this version of Gristmill ({wrong}). Remove the work folder and run "
            "again."
        ) from error


def committed(work: WorkFolder, task: int, index: int, key: str) -> TaskRecord | None:
    """The committed record of a task's pass, or None. Files that it names must be there with their size."""
    record = read_record(TaskRecord, record_location(work, task, index, key))
    if record is None or record.key != key:
        return None
    if any(size_of(work.at(item.path)) != item.size for item in record.work_files):
        return None
    return record


def commit(work: WorkFolder, record: TaskRecord, data: bytes | None = None) -> bool:
    """Commits a record; False when another attempt was first (its record then counts). `data`: its bytes, if they are known."""
    location = record_location(work, record.task, record.pass_, record.key)
    return put_if_absent(location, record_bytes(record) if data is None else data)


def uncommit(work: WorkFolder, task: int, index: int, key: str) -> None:
    """Takes a record back whose files are gone."""
    remove(record_location(work, task, index, key))


def kept_records(work: WorkFolder, task: int) -> list[TaskRecord]:
    """All records of a task that this version of the format can read, of this run's key or another's, by name."""
    folder = _folder(work, task)
    found = [name for name in names_in(folder) if name.startswith("pass-") and name.endswith(".json")]
    values = [json.loads(read_small(join(folder, name), MOST_RECORD) or b"{}") for name in found]
    return [parse(TaskRecord, value) for value in values if value.get("format") == FORMAT_VERSION]


def record_location(work: WorkFolder, task: int, index: int, key: str) -> str:
    """Where the record of a task's pass lies."""
    return join(_folder(work, task), f"pass-{index}-{key[:32]}.json")


def _folder(work: WorkFolder, task: int) -> str:
    return work.at("commits", task_name(task))
