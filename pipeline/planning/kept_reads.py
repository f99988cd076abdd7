"""Tables that the reading process made of slices, kept in the temporary folder for the passes that read them again.

What is small is so decoded once in a run, and not once per pass. Files of local paths alone are kept, and as many as have room;
one that was touched since is read anew, so that a change is noticed as without. Workers on the driver's machine keep what they
read themselves in a folder of the driver's, for whichever of them has the slice in the next pass.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, SOURCE_RULE
from gristmill.pipeline.source import Slice, SliceData
from gristmill.pipeline.storage import is_remote, local
from gristmill.pipeline.work_files import HERE, PLAIN

MOST_BYTES = 512 << 20
"""Bytes that are kept, unless a quarter of what is free in the temporary folder is less. No process holds them in memory."""

FileState = tuple[int, ...]
_READ = b"read"
"""Metadata of a file's first schema: the columns that were asked for, and stored bytes read of each file."""


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
            return _read(file, self.bytes_read, self.columns, columns)


def _read(
    file: pa.NativeFile, bytes_read: Sequence[int], have: frozenset[str] | None, columns: frozenset[str] | None
) -> list[SliceData]:
    tables = [pa.ipc.open_stream(file, options=HERE).read_all() for _ in range(2 * len(bytes_read))]
    if columns != have and columns is not None:
        wanted = columns | {DOC_KEY, SOURCE_RULE}
        tables[::2] = [t.select([name for name in t.column_names if name in wanted]) for t in tables[::2]]
    found = zip(tables[::2], tables[1::2], bytes_read, strict=True)
    return [SliceData(table, rejects, size) for table, rejects, size in found]


def write_tables(file: pa.NativeFile, data: SliceData) -> None:
    """Appends what was read of a file, as `Tables` has it."""
    for table in (data.table, data.rejects):
        with pa.ipc.new_stream(file, table.schema, options=PLAIN) as writer:
            writer.write_table(table)


@dataclass(frozen=True)
class SharedReads:
    """Tables that workers on one machine keep for each other, in a folder of the driver's: a file for each slice, named by what
    it was read of and by the states of these files. Elsewhere there is no such folder, and nothing is kept."""

    folder: Path

    def read(
        self,
        key: str,
        one: Slice,
        columns: frozenset[str] | None,
        again: bool,
        decode: Callable[[], list[SliceData]],
    ) -> list[SliceData]:
        """A slice from the file that a worker left, else decoded. Arguments: see `foreign_files.read_each`."""
        states = file_states(one)  # before it is read: a change meanwhile is one since
        if states is None or not self._is_ours():
            return decode()
        place = self.folder / hashlib.sha256(json.dumps([key, states]).encode()).hexdigest()
        found = self._found(place, columns)
        if found is None:
            found = decode()
            if again:
                self._keep(place, columns, found)
        elif not again:
            place.unlink(missing_ok=True)
        return found

    def _is_ours(self) -> bool:
        try:
            status = os.stat(self.folder, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077

    def _found(self, place: Path, columns: frozenset[str] | None) -> list[SliceData] | None:
        try:
            file = pa.memory_map(str(place))
        except FileNotFoundError:
            return None
        with file:
            with pa.ipc.open_stream(file, options=HERE) as header:
                names, bytes_read = json.loads(header.schema.metadata[_READ])
                header.read_all()
            have = None if names is None else frozenset(names)
            if have is not None and (columns is None or not columns <= have):
                return None
            return _read(file, bytes_read, have, columns)

    def _keep(self, place: Path, columns: frozenset[str] | None, found: Sequence[SliceData]) -> None:
        partial = place.with_name(f"{place.name}.{os.getpid()}")
        names = None if columns is None else sorted(columns)
        said = json.dumps([names, [int(data.bytes_read) for data in found]])
        try:
            with pa.OSFile(str(partial), "wb") as file:
                pa.ipc.new_stream(file, pa.schema([], metadata={_READ: said})).close()
                for data in found:
                    write_tables(file, data)
            os.rename(partial, place)
        except OSError:  # there is no room, or the run is over: the next pass decodes it again
            partial.unlink(missing_ok=True)


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
        self._of_workers: tempfile.TemporaryDirectory[str] | None = None

    def for_workers(self, slices: Sequence[Slice]) -> str | None:
        """A folder in which workers keep what they read (`SharedReads`), until the end of the run; None where not all of the
        slices have room, since workers do not know of each other how much they keep."""
        if self._of_workers is None:
            free = shutil.disk_usage(tempfile.gettempdir()).free
            if sum(max(one.expanded, one.bytes) for one in slices) > min(self._most, free // 4):
                return None
            self._of_workers = tempfile.TemporaryDirectory(prefix="gristmill-", ignore_cleanup_errors=True)
        return self._of_workers.name

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
        for folder in (self._folder, self._of_workers):
            if folder is not None:
                folder.cleanup()
        self._folder = self._of_workers = None


_of_run: KeptReads | None = None


@contextmanager
def reads_kept() -> Iterator[KeptReads]:
    """Around a run: what this process reads meanwhile, and says that it will read again, is kept until the end."""
    global _of_run
    before, _of_run = _of_run, KeptReads()
    try:
        yield _of_run
    finally:
        _of_run.clear()
        _of_run = before


def reads_of_run() -> KeptReads | None:
    """What this process keeps; None outside of a run."""
    return _of_run
