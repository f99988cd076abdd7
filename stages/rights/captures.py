"""Tables of files as they were captured from hosts (robots.txt, ai.txt, tdmrep.json): `host`, `body`, `observed_at`.

Parquet, or JSON Lines (plain, `.gz` or `.zst`). `host` is a name, with its port where that is not the usual one; a URL will do.
`observed_at` is a time in ISO 8601, or a timestamp. Rows whose body is null are passed over.
"""

from __future__ import annotations

import json
import re
import stat
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.errors import ConfigError

COLUMNS = ("host", "body", "observed_at")
MAX_TABLE_BYTES = 1 << 30
"""Bytes of all bodies of a kind."""
EXPANSION = 8
"""Most bytes of bodies for each byte of a compressed file; what is above is refused."""
_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?([^/?#\\]*)([^#]*)", re.DOTALL)
_PORTS = {"http": "80", "https": "443"}
_MAX_LINE = 32 << 20


@dataclass(frozen=True)
class Captures:
    """The captures of each host, oldest first: times in ISO 8601 (UTC), and bodies."""

    times: dict[str, list[str]]
    bodies: dict[str, list[bytes]]

    def at(self, host: str, moment: str | None) -> tuple[str, bytes] | None:
        """A host's last capture that is not after a moment, or its first; its last for None."""
        times = self.times.get(host)
        if not times:
            return None
        place = len(times) - 1 if moment is None else max(bisect_right(times, moment) - 1, 0)
        return times[place], self.bodies[host][place]


def host_and_target(url: str) -> tuple[str, str]:
    """The host of a URL as tables name it, and its path and query. Empty strings where it has none.

    >>> host_and_target("https://user@Example.com:443/a?b#c"), host_and_target("example.com:8080")
    (('example.com', '/a?b'), ('example.com:8080', ''))
    """
    found = _URL.match(url)
    scheme, authority, target = (found[1] or "", found[2], found[3]) if found else ("", "", "")
    host = authority.rpartition("@")[2].lower()
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        name, port = host.removesuffix(":"), ""
    name = _ascii(name.rstrip("."))
    usual = port in (_PORTS.get(scheme.lower(), ""), "") or (not scheme and port in _PORTS.values())
    return (name if usual else f"{name}:{port}"), target if target.startswith("/") else "/" + target if target else ""


def moment_of(value: Any) -> str | None:
    """A time in ISO 8601, UTC, to the second, so that texts compare as times; None for what is none.

    >>> moment_of("2024-05-01T02:00:00+02:00"), moment_of("2024-05-01"), moment_of("soon")
    ('2024-05-01T00:00:00Z', '2024-05-01T00:00:00Z', None)
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip()[:64])
        except ValueError:
            return None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return None
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    try:
        text: str = value.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat()
        return f"{text}Z"
    except OverflowError:
        return None


def most_bytes(files: tuple[Path, ...]) -> int:
    """A bound on the memory that tables take, from the sizes of the files; 0 for those that are not there."""
    size = sum(_bound(path) for path in files if path.is_file())
    return min(2 * size + (1 << 20), 3 * MAX_TABLE_BYTES) if files else 0


@cache
def read_captures(files: tuple[Path, ...], until: str | None) -> Captures:
    """The captures of some tables that were observed up to a moment (all for None); one per process.

    Raises ConfigError for what is no such table: file, line or row, expected, found.
    """
    rows: dict[str, set[tuple[str, bytes]]] = {}
    total = 0
    for path in files:
        read = 0
        for where, row in table_rows(path, COLUMNS):
            host, body, observed = (row.get(name) for name in COLUMNS)
            if body is None:
                continue
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
            if total > MAX_TABLE_BYTES or read > _bound(path):
                raise ConfigError(
                    f"{where}: the bodies take more than {min(MAX_TABLE_BYTES, _bound(path)):,} bytes. Leave out hosts that "
                    "the corpus does not have."
                )
            if until is None or moment <= until:
                rows.setdefault(host_and_target(host)[0], set()).add((moment, found))
    ordered = {host: sorted(found) for host, found in rows.items()}
    return Captures(
        {host: [moment for moment, _ in found] for host, found in ordered.items()},
        {host: [body for _, body in found] for host, found in ordered.items()},
    )


def _bound(path: Path) -> int:
    size = path.stat().st_size
    return size if path.suffix.lower() in (".jsonl", ".ndjson", ".json") else EXPANSION * size + (1 << 20)


def table_rows(
    path: Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of Parquet or JSON Lines, each with where it stands. Raises ConfigError for what is neither.

    Parquet must have the columns, and of the optional ones gives those that it has; of JSON Lines the caller finds out.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path}: expected a file, found a folder or a device. Name the table.")
        yield from _parquet_rows(path, columns, optional) if path.suffix.lower() == ".parquet" else _json_rows(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(
            f"{path}: it cannot be read ({error}). Expected Parquet or JSON Lines with the columns {', '.join(columns)}."
        ) from error


def _parquet_rows(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    with pq.ParquetFile(path) as file:
        missing = [name for name in columns if name not in file.schema_arrow.names]
        if missing:
            raise ConfigError(f"{path}: it has no column `{missing[0]}`. Expected the columns {', '.join(columns)}.")
        number = 0
        names = [*columns, *(name for name in optional if name in file.schema_arrow.names)]
        for batch in file.iter_batches(256, columns=names, use_threads=False):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}#{number}", row


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with pa.input_stream(str(path), compression=_COMPRESSED.get(path.suffix.lower())) as stream:
        rest, number, ended = b"", 0, False
        while not ended:
            block = stream.read(1 << 20)
            ended = not block
            *lines, rest = (rest + block).split(b"\n") if not ended else [rest, b""]
            if len(rest) > _MAX_LINE:
                raise ConfigError(f"{path}:{number + 1}: a line of more than {_MAX_LINE:,} bytes.")
            for line in lines:
                number += 1
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ConfigError(f"{path}:{number}: expected a JSON object, one a line ({error}).") from error
                if not isinstance(row, dict):
                    raise ConfigError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}.")
                yield f"{path}:{number}", row


def _ascii(name: str) -> str:
    if name.isascii() or len(name) > 255:
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return name


def _shown(value: Any) -> str:
    text = repr(value[:60] if isinstance(value, (str, bytes)) else value)
    return text if len(text) < 80 else text[:80] + "…"
