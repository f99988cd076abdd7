"""The captured files of hosts, looked up by host and time.

What the config names is read once on a machine, in a reading process, into a sorted Arrow file that is kept for the user;
all processes map it, so that their memory does not grow with it. Small tables of JSON Lines are read where they are needed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from gristmill.pipeline.errors import ConfigError, GristmillError
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.reader_process import ReaderCrashed, ReaderProcess
from gristmill.pipeline.user_cache import user_cache
from gristmill.stages.rights.capture_rows import MAX_TABLE_BYTES, bound, captured

_FORMAT = 3
_SMALL = 1 << 20
"""Bytes of JSON Lines that a process reads itself: its own JSON reader bounds them, and a process takes a second to start."""
_MAX_KEPT = 8 << 30
"""Bytes of all kept files; those that nobody has used for longest go first."""


class Capture(NamedTuple):
    """A captured file: when it was observed (ISO 8601), its bytes, and the HTTP status of the answer."""

    observed: str
    body: bytes
    status: int


class Captures:
    """The captures of each host of one kind, oldest first. Holds no more than it is asked for."""

    def __init__(self, table: pa.Table) -> None:
        self._columns = {name: _whole(table[name]) for name in ("host", "observed", "status", "body")}
        self._rows = lru_cache(maxsize=4096)(self._rows_of)

    def at(self, host: str, moment: str | None) -> Capture | None:
        """A host's last capture that is not after a moment, or its first; its last for None."""
        first, stop = self._rows(host)
        if first == stop:
            return None
        row = stop - 1
        if moment is not None:
            times = self._columns["observed"]
            row = max(bisect_right(range(stop), moment, first, key=lambda at: times[at].as_py()) - 1, first)
        return Capture(*(self._columns[name][row].as_py() for name in ("observed", "body", "status")))

    def _rows_of(self, host: str) -> tuple[int, int]:
        hosts = self._columns["host"]
        first = bisect_left(range(len(hosts)), host, key=lambda at: hosts[at].as_py())
        return first, bisect_right(range(len(hosts)), host, first, key=lambda at: hosts[at].as_py())


def most_bytes(files: tuple[Path, ...]) -> int:
    """A bound on the memory that tables take, from the sizes of the files; 0 for those that are not there."""
    size = sum(bound(path) for path in files if path.is_file())
    return min(2 * size + (1 << 20), 3 * MAX_TABLE_BYTES) if files else 0


@cache
def read_captures(kinds: tuple[tuple[str, tuple[Path, ...]], ...], until: str | None) -> Mapping[str, Captures]:
    """By kind, the captures of some files that were observed up to a moment (all for None); one per process.

    Args:
        kinds: by kind, the files that the config names for it.

    Raises ConfigError for what is no such file: file, line or row, expected, found.
    """
    files = [path for _, paths in kinds for path in paths]
    if all(_is_small(path) for path in files):
        table = captured(kinds, until)
    else:
        table = _kept(kinds, until)
    names = _whole(table["kind"])
    found = {}
    for kind in dict.fromkeys(names.to_pylist() if len(names) < 1000 else names.unique().to_pylist()):
        first = bisect_left(range(len(names)), kind, key=lambda at: names[at].as_py())
        stop = bisect_right(range(len(names)), kind, first, key=lambda at: names[at].as_py())
        found[kind] = Captures(table.slice(first, stop - first))
    return found


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece; as it is where it is one, since combining copies what is mapped."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _is_small(path: Path) -> bool:
    plain = path.suffix.lower() in (".jsonl", ".ndjson", ".json")
    return not path.is_file() or (plain and path.stat().st_size <= _SMALL)


def _kept(kinds: tuple[tuple[str, tuple[Path, ...]], ...], until: str | None) -> pa.Table:
    """What was read of these files on this machine, now or before, mapped."""
    try:
        size = sum(path.stat().st_size for _, paths in kinds for path in paths)
        stamps = [
            [kind, os.path.realpath(path), path.stat().st_size, path.stat().st_mtime_ns]
            for kind, paths in kinds
            for path in paths
        ]
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: it cannot be read ({error.strerror}). Name the file of captures."
        ) from error
    folder = user_cache("captures")
    name = digest("gristmill.captures", [_FORMAT, until, stamps])
    with open(folder / f"{name}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several workers one reads
        for kept in sorted(folder.glob(f"{name}-*.arrow")):
            if _sha256(kept) == kept.stem.rpartition("-")[2]:
                os.utime(kept)
                return _mapped(kept)
            kept.unlink(missing_ok=True)
        new = folder / f"{name}-{os.getpid()}.new"
        argument = {"kinds": [[kind, [str(p) for p in paths]] for kind, paths in kinds], "until": until, "to": str(new)}
        try:
            with ReaderProcess("gristmill.stages.rights.capture_rows") as reader:
                sha256 = reader.call("write", argument, size)
        except ReaderCrashed as error:
            raise ConfigError(f"{error.at or 'a file of captures'}: reading it was stopped ({error}).") from error
        kept = folder / f"{name}-{sha256}.arrow"
        new.rename(kept)
        _prune(folder, kept)
        return _mapped(kept)


def _mapped(path: Path) -> pa.Table:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowException) as error:
        raise GristmillError(f"{path}: what was kept of captured files cannot be read ({error}). Remove it.") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _prune(folder: Path, but: Path) -> None:
    """Removes what was not used for longest beyond _MAX_KEPT; processes that have mapped it keep it."""
    entries = sorted((item.stat().st_mtime_ns, item.stat().st_size, Path(item.path)) for item in os.scandir(folder))
    held = sum(size for _, size, _ in entries)
    for _, size, path in entries:
        if held <= _MAX_KEPT:
            return
        if path != but:
            path.unlink(missing_ok=True)
            held -= size
