"""Work files, named by their bytes, and read back: Arrow files of the work folder, whole or as a stream, checked against the
digest they were written with.

The work folder may be a bucket, or a file system that other machines write to (NFS, Lustre): nothing there is mapped into
memory, and nothing there is a database.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa

from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.storage import WrittenFile, open_read, write_checked
from gristmill.pipeline.work_folder import WorkFolder

_AGAIN = "Remove the work folder and run again."


def open_checked(location: str, sha256: str | None, what: str, again: str = _AGAIN) -> Any:
    """A stream over a file, at its beginning, whose bytes have this digest.

    Raises ConservationError, which begins with `what` and ends with `again`, for a file that is gone or has other bytes.
    """
    found = None
    try:
        stream = open_read(location)
        try:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found == sha256:
                stream.seek(0)
                return stream
        except BaseException:
            stream.close()
            raise
        stream.close()
    except FileNotFoundError:
        found = None
    raise ConservationError(f"{what} (expected SHA-256 {sha256}, found {found or 'no file'}). {again}")


def read_checked(location: str, sha256: str | None, what: str, again: str = _AGAIN) -> pa.Table:
    """The table in an Arrow file. Raises as `open_checked`."""
    with open_checked(location, sha256, what, again) as stream:
        return pa.ipc.open_file(stream).read_all()


def read_table(location: str) -> pa.Table:
    """The table in an Arrow file, whatever its digest."""
    with open_read(location) as stream:
        return pa.ipc.open_file(stream).read_all()


def write_named(work: WorkFolder, stem: str, table: pa.Table, attempt: str, **options: Any) -> tuple[str, WrittenFile]:
    """Writes an Arrow file whose name ends with its digest, so that no other attempt at the same task replaces it.

    Args:
        stem: its path in the run's folder, without digest and ending.
        options: `compression`, and `max_chunksize`: rows of a record batch, which is read whole.

    Returns its path in the run's folder, and what was written.
    """
    stream = pa.BufferOutputStream()
    kind = pa.ipc.IpcWriteOptions(compression=options.get("compression"))
    with pa.ipc.new_file(stream, table.schema, options=kind) as writer:
        writer.write_table(table, max_chunksize=options.get("max_chunksize"))
    data = stream.getvalue()
    path = f"{stem}-{hashlib.sha256(data).hexdigest()[:16]}.arrow"
    return path, write_checked(work.at(path), lambda target: target.write(data), attempt)
