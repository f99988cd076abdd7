"""Work files: Arrow files of the work folder, named by their bytes, and read back with their digest checked.

The work folder may be a bucket, or a file system that other machines write to (NFS, Lustre): nothing there is mapped into
memory, and nothing there is a database. What a machine wrote to a bucket or read from it, it keeps on its own disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa

from gristmill.pipeline.errors import ConservationError, StorageError
from gristmill.pipeline.storage import WrittenFile, being_written, is_bucket, open_copy, open_read, write_checked
from gristmill.pipeline.storage.streams import WriteThrough
from gristmill.pipeline.work_folder import WorkFolder

_AGAIN = "Remove the work folder and run again."

LZ4 = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
"""For compressed Arrow files. Handing a column of a small table to another thread takes longer than encoding it."""
PLAIN = pa.ipc.IpcWriteOptions(use_threads=False)
HERE = pa.ipc.IpcReadOptions(use_threads=False)
"""For reading them in the thread that asks."""
_AT_ONCE = 16 << 20
"""Bytes of a file that is read into memory as it is stored: Arrow reads a stream of Python's in many steps."""


class _Both(WriteThrough):
    """Writes into a second stream, too."""

    def __init__(self, first: Any, second: Any) -> None:
        super().__init__(first)
        self._second = second

    def write(self, data: Any) -> int:
        self._second.write(data)
        return super().write(data)


def write_work(location: str, write: Callable[[Any], None], attempt: str = "0") -> WrittenFile:
    """`storage.write_checked`, for a file that this run will read."""
    if not is_bucket(location):
        return write_checked(location, write, attempt, flushed_later=True)
    with being_written() as (copy, digest):
        written = write_checked(location, write if copy is None else lambda stream: write(_Both(stream, copy)), attempt)
        digest.append(written.sha256)
        return written


def open_checked(location: str, sha256: str | None, what: str, again: str = _AGAIN) -> Any:
    """A stream over a file, at its beginning, whose bytes have this digest.

    Raises ConservationError, which begins with `what` and ends with `again`, for a file that is gone or has other bytes.
    """
    stream, found = (open_copy if is_bucket(location) else _opened)(location, str(sha256))
    if stream is not None:
        return stream
    raise ConservationError(f"{what} (expected SHA-256 {sha256}, found {found or 'no file'}). {again}")


def _opened(location: str, sha256: str) -> tuple[Any | None, str | None]:
    try:
        stream = open_read(location)
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None, None
        raise
    try:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found == sha256:
            stream.seek(0)
            return stream, found
    except BaseException:
        stream.close()
        raise
    stream.close()
    return None, found


def read_checked(
    location: str,
    sha256: str | None,
    what: str,
    again: str = _AGAIN,
    columns: Callable[[Sequence[str]], Iterable[str]] | None = None,
) -> pa.Table:
    """The table in an Arrow file, or those of its columns that are wanted, of which others are not unpacked. Raises as
    `open_checked`."""
    with open_checked(location, sha256, what, again) as stream:
        return table_of(stream, columns)


def table_of(stream: Any, columns: Callable[[Sequence[str]], Iterable[str]] | None = None) -> pa.Table:
    """The table in a stream over an Arrow file, at its beginning, or those of its columns that are wanted."""
    data = stream.read(_AT_ONCE + 1)
    if len(data) <= _AT_ONCE:
        stream = pa.BufferReader(data)
    else:
        stream.seek(0)
    file = pa.ipc.open_file(stream, options=HERE)
    if columns is not None:
        chosen = sorted(map(file.schema.get_field_index, columns(file.schema.names)))
        file = pa.ipc.open_file(stream, options=pa.ipc.IpcReadOptions(use_threads=False, included_fields=chosen))
    return file.read_all()


def write_named(work: WorkFolder, stem: str, table: pa.Table, attempt: str, **options: Any) -> tuple[str, WrittenFile]:
    """Writes an Arrow file whose name ends with its digest, so that no other attempt at the same task replaces it.

    Args:
        stem: its path in the run's folder, without digest and ending.
        options: `compression`: "lz4" or none; `max_chunksize`: rows of a record batch, which is read whole.

    Returns its path in the run's folder, and what was written.
    """
    stream = pa.BufferOutputStream()
    with pa.ipc.new_file(stream, table.schema, options=LZ4 if options.get("compression") else PLAIN) as writer:
        writer.write_table(table, max_chunksize=options.get("max_chunksize"))
    data = stream.getvalue()
    path = f"{stem}-{hashlib.sha256(data).hexdigest()[:16]}.arrow"
    return path, write_work(work.at(path), lambda target: target.write(data), attempt)


def open_part(location: str, sha256: str) -> Any:
    """A stream over a file of which parts are read whose content is checked by itself."""
    stream = open_copy(location, sha256)[0] if is_bucket(location) else None
    return stream if stream is not None else open_read(location)
