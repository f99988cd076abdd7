"""`files.parquet`: every file of an output, what it must be, and, apart from that, what may vary from run to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

FILES_TABLE = "files.parquet"

FILES = pa.schema(
    [
        pa.field("path", pa.string()),
        pa.field("role", pa.string()),
        pa.field("task", pa.int32()),
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
"""One row per file: path in the output; role (`data`, `ledger`, `signals:NODE`, `notes:NODE`, `dropped`); the task
that wrote it; size in bytes; SHA-256 of the bytes; digest of the content; rows; Σ doc_key mod 2^128 of a data file's rows;
the slice that the task read; then what may vary: host, start (Unix seconds) and duration (seconds)."""


def notes_role(node: str) -> str:
    """The role of the files with the notes that a node keeps."""
    return f"notes:{node}"


VARIES = ("host", "started", "seconds")


def file_rows(item: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `files.parquet` from a file entry and its task's record."""
    one = record["slice"]
    return {
        **{name: item[name] for name in ("path", "role", "size", "sha256", "content_digest", "rows", "keys")},
        "task": record["task"],
        "source": one["source"],
        "slice_path": one["path"],
        "slice_part": ",".join(f"{name}={value}" for name, value in sorted(one["part"].items())),
        "slice_digest": one["digest"],
        **{name: record["varies"][name] for name in VARIES},
    }
