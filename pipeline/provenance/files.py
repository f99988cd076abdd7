"""`files.parquet`: every file of an output, what it must be, and, apart from that, what may vary from run to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from gristmill.pipeline.provenance.logs import SliceRead
    from gristmill.pipeline.provenance.task_record import Attempt, OutputFile

FILES_TABLE = "files.parquet"
NO_TASK = -1
"""`task` of a shuffled shard: its rows come from many."""

FILES = pa.schema(
    [
        pa.field("path", pa.string()),
        pa.field("role", pa.string()),
        pa.field("task", pa.int32()),
        pa.field("tasks", pa.int32()),
        pa.field("output", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("content_digest", pa.string()),
        pa.field("rows", pa.int64()),
        pa.field("keys", pa.string()),
        pa.field("source", pa.string()),
        pa.field("slice_path", pa.string()),
        pa.field("slice_part", pa.string()),
        pa.field("slice_digest", pa.string()),
        pa.field("host", pa.string()),
        pa.field("started", pa.float64()),
        pa.field("seconds", pa.float64()),
    ]
)
"""One row per file: path; role (`data`, `ledger`, `signals:NODE`, `notes:NODE`, `dropped`); the first task that it is about,
and of how many; the output in whose folder it lies; size in bytes; SHA-256 of the bytes; digest of the content; rows; Σ doc_key
mod 2^128 of a data file's rows; the slice that the task read, of a file of one task alone; then what may vary: host, start
(Unix seconds) and duration (seconds)."""


def most_table_bytes(files: int) -> int:
    """Bytes that a table of so many files may have: names of files are at most a few thousand bytes long."""
    return (1 << 20) + (files << 14)


def notes_role(node: str) -> str:
    """The role of the files with the notes that a node keeps."""
    return f"notes:{node}"


def file_row(
    file: OutputFile, task: int, one: SliceRead | None, attempt: Attempt, output: str, tasks: int = 1
) -> dict[str, Any]:
    """A row of `files.parquet`: of a file that a task wrote about its slice, or about the rows of many."""
    return {
        **{name: getattr(file, name) for name in ("path", "role", "size", "sha256", "content_digest", "rows")},
        "keys": f"{file.keys:032x}",
        "task": task,
        "tasks": tasks,
        "output": output,
        "source": "" if one is None else one.source,
        "slice_path": "" if one is None else one.path,
        "slice_part": "" if one is None else ",".join(f"{name}={part}" for name, part in sorted(one.part.items())),
        "slice_digest": "" if one is None else one.digest,
        "host": attempt.host,
        "started": attempt.started,
        "seconds": attempt.seconds,
    }
