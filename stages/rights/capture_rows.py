"""The rows of captured files, out of tables and WARC files: read where a foreign file can take nothing along.

A reading process writes them as one Arrow file, sorted, which other processes map; see `captures`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.reader_process import reading
from gristmill.pipeline.table_rows import table_rows
from gristmill.pipeline.url import host_and_target
from gristmill.stages.rights.moments import moment_of
from gristmill.stages.rights.warc_captures import Found, is_warc, warc_captures

COLUMNS = ("host", "body", "observed_at")
STATUS = "status"
"""Optional column: the HTTP status of the answer; a row with one may lack a body."""
SCHEMA = pa.schema(
    {"kind": pa.string(), "host": pa.string(), "observed": pa.string(), "status": pa.int16(), "body": pa.large_binary()}
)
MAX_TABLE_BYTES = 1 << 30
"""Bytes of all bodies of a kind, and of all that come out of WARC files."""
EXPANSION = 8
"""Most bytes of bodies for each byte of a compressed file; what is above is refused."""

Kinds = Sequence[tuple[str, Sequence[Path]]]
"""By kind, the files that a config names for it."""


def captured(kinds: Kinds, until: str | None) -> pa.Table:
    """All captures up to a moment, each once, sorted by kind, host, time: as SCHEMA.

    A WARC file brings captures of every kind, wherever it is named. Raises ConfigError for what is no such file: file, line or
    row, expected, found.
    """
    rows: set[tuple[str, str, str, int, bytes]] = set()
    for kind, files in kinds:
        for one in _of_tables(kind, [path for path in files if not is_warc(path)]):
            rows.add((one.kind, one.host, one.observed, one.status, one.body))
    archives = list(dict.fromkeys(path for _, files in kinds for path in files if is_warc(path)))
    same: dict[bytes, bytes] = {}  # very many hosts have one and the same
    for one in warc_captures(archives, MAX_TABLE_BYTES):
        rows.add((one.kind, one.host, one.observed, one.status, same.setdefault(one.body, one.body)))
    # Of captures of one second the last counts: one that brought a file, before a server's trouble, before there was none.
    rank = {2: 2, 5: 1}
    ordered = sorted(
        (row for row in rows if until is None or row[2] <= until),
        key=lambda row: (*row[:3], rank.get(row[3] // 100, 0), *row[3:]),
    )
    columns = zip(*ordered, strict=True) if ordered else [()] * len(SCHEMA)
    return pa.table([pa.array(list(column), item.type) for column, item in zip(columns, SCHEMA, strict=True)], SCHEMA)


def _of_tables(kind: str, files: Sequence[Path]) -> Iterator[Found]:
    total = 0
    for path in files:
        read, most = 0, min(MAX_TABLE_BYTES, bound(path)) if path.is_file() else 0
        reading(str(path))
        for where, row in table_rows(path, COLUMNS, [STATUS]):
            host, body, observed = (row.get(name) for name in COLUMNS)
            status = row.get(STATUS)
            if status is not None and (type(status) is not int or not 100 <= status <= 599):
                raise ConfigError(
                    f"{where}: `status` is {_shown(status)}; expected the status of an answer, such as 404."
                )
            if body is None and (status is None or status < 400):
                continue
            body = b"" if body is None or (status or 200) >= 400 else body
            if not isinstance(host, str) or not isinstance(body, (str, bytes)):
                raise ConfigError(
                    f"{where}: expected texts `host` and `body`, found {_shown(host)} and {_shown(body)}."
                )
            moment = moment_of(observed)
            if moment is None:
                raise ConfigError(
                    f"{where}: `observed_at` is {_shown(observed)}; expected a time such as 2024-05-01T12:00:00Z."
                )
            found = body.encode("utf-8", "replace") if isinstance(body, str) else body
            read += len(found)
            total += len(found)
            if total > MAX_TABLE_BYTES or read > most:
                raise ConfigError(
                    f"{where}: the bodies take more than {most:,} bytes. Leave out hosts that the corpus does not have."
                )
            if status is None or not 300 <= status < 400:
                yield Found(kind, host_and_target(host)[0], moment, status or 200, found)


def bound(path: Path) -> int:
    """Most bytes of bodies that a file may have."""
    size = path.stat().st_size
    plain = path.suffix.lower() in (".jsonl", ".ndjson", ".json", ".warc")
    return size if plain else EXPANSION * size + (1 << 20)


def _shown(value: Any) -> str:
    text = repr(value[:60] if isinstance(value, (str, bytes)) else value)
    return text if len(text) < 80 else text[:80] + "…"


def write(argument: dict[str, Any]) -> str:
    """Writes `captured` into an Arrow file; returns its SHA-256. For a reading process."""
    table = captured([(kind, [Path(path) for path in files]) for kind, files in argument["kinds"]], argument["until"])
    with pa.OSFile(argument["to"], "wb") as stream, pa.ipc.new_file(stream, SCHEMA) as writer:
        writer.write_batch(
            table.combine_chunks().to_batches()[0] if len(table) else pa.RecordBatch.from_pylist([], SCHEMA)
        )
    with open(argument["to"], "rb") as written:
        return hashlib.file_digest(written, "sha256").hexdigest()


FUNCTIONS = {"write": write}
