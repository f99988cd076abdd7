"""Tables that the reading process made of slices, kept in the temporary folder for the passes that read them again.

What is small is so decoded once in a run, and not once per pass. Files of local paths alone are kept, and as many as have room;
one that was touched since is read anew, so that a change is noticed as without.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, SOURCE_RULE
from gristmill.pipeline.source import Slice, SliceData
from gristmill.pipeline.storage import is_remote, local
from gristmill.pipeline.work_files import HERE

MOST_BYTES = 512 << 20
"""Bytes that are kept, unless a quarter of what is free in the temporary folder is less. No process holds them in memory."""

FileState = tuple[int, ...]


@dataclass(frozen=True)
class Tables:
    """A slice as it was read: an Arrow file with a table of rows and one of rejects for each of its files.

    Attributes:
        columns: the columns that were asked for; None: all.
        bytes_read: stored bytes read of each file.
        states: of the files as they were before.
    """

    path: Path
    columns: frozenset[str] | None
    bytes_read: tuple[int, ...]
    states: tuple[FileState, ...] | None

    def read(self, columns: frozenset[str] | None) -> list[SliceData]:
        """The columns that are wanted of those that were read. The file may be removed afterwards, not changed."""
        with pa.memory_map(str(self.path)) as file:
            tables = [pa.ipc.open_stream(file, options=HERE).read_all() for _ in range(2 * len(self.bytes_read))]
        if columns != self.columns and columns is not None:
            wanted = columns | {DOC_KEY, SOURCE_RULE}
            tables[::2] = [t.select([name for name in t.column_names if name in wanted]) for t in tables[::2]]
        found = zip(tables[::2], tables[1::2], self.bytes_read, strict=True)
        return [SliceData(table, rejects, size) for table, rejects, size in found]


def file_states(one: Slice) -> tuple[FileState, ...] | None:
    """What changes when a slice's files do; None where one is gone, or where the storage does not say it for nothing."""
    locations = [location for m in one.each for location in (m.location, *(file[1] for file in m.files))]
    if any(is_remote(location) for location in locations):
        return None
    try:
        states = [os.stat(local(location)) for location in dict.fromkeys(locations)]
    except OSError:  # whoever reads it says what is wrong with it
        return None
    return tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in states)


class KeptReads:
    """The tables that this process keeps."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._held: dict[str, Tables] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def found(self, key: str, one: Slice, columns: frozenset[str] | None) -> Tables | None:
        """What was kept of a slice, if it has the columns and its files are as they were then."""
        tables = self._held.get(key)
        if tables is None or (tables.columns is not None and (columns is None or not columns <= tables.columns)):
            return None
        return tables if file_states(one) == tables.states else None

    def keep(self, key: str, tables: Tables) -> None:
        """Takes the file of tables, if there is room for it."""
        self.drop(key)
        if tables.states is None:
            return
        held = sum(one.path.stat().st_size for one in self._held.values())
        free = shutil.disk_usage(tables.path.parent).free
        if held + tables.path.stat().st_size > min(self._most, (free + held) // 4):
            return
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="gristmill-")
        place = Path(self._folder.name) / tables.path.parent.name
        os.rename(tables.path, place)
        self._held[key] = Tables(place, tables.columns, tables.bytes_read, tables.states)

    def drop(self, key: str) -> None:
        """Gives up what is kept of a slice."""
        tables = self._held.pop(key, None)
        if tables is not None:
            tables.path.unlink()

    def clear(self) -> None:
        """Gives up everything."""
        self._held.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


_of_run: KeptReads | None = None


@contextmanager
def reads_kept() -> Iterator[None]:
    """Around a run: what this process reads meanwhile, and says that it will read again, is kept until the end."""
    global _of_run
    before, _of_run = _of_run, KeptReads()
    try:
        yield
    finally:
        _of_run.clear()
        _of_run = before


def reads_of_run() -> KeptReads | None:
    """What this process keeps; None outside of a run."""
    return _of_run
