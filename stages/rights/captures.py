"""Tables of files as they were captured from hosts (robots.txt, ai.txt, tdmrep.json): `host`, `body`, `observed_at`.

Parquet, or JSON Lines (plain, `.gz` or `.zst`). `host` is a name, with its port where that is not the usual one; a URL will do.
`observed_at` is a time in ISO 8601, or a timestamp. Rows whose body is null are passed over.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.table_rows import table_rows
from gristmill.pipeline.url import host_and_target

COLUMNS = ("host", "body", "observed_at")
MAX_TABLE_BYTES = 1 << 30
"""Bytes of all bodies of a kind."""
EXPANSION = 8
"""Most bytes of bodies for each byte of a compressed file; what is above is refused."""


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


def _shown(value: Any) -> str:
    text = repr(value[:60] if isinstance(value, (str, bytes)) else value)
    return text if len(text) < 80 else text[:80] + "…"
