"""Work files read back: an Arrow file of the work folder, whole or as a stream, checked against the digest it was written with.

The work folder may be a bucket, or a file system that other machines write to (NFS, Lustre): nothing there is mapped into
memory, and nothing there is a database.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa

from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.storage import open_read

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
        pass
    raise ConservationError(f"{what} (expected SHA-256 {sha256}, found {found or 'no file'}). {again}")


def read_checked(location: str, sha256: str | None, what: str, again: str = _AGAIN) -> pa.Table:
    """The table in an Arrow file. Raises as `open_checked`."""
    with open_checked(location, sha256, what, again) as stream:
        return pa.ipc.open_file(stream).read_all()


def read_table(location: str) -> pa.Table:
    """The table in an Arrow file, whatever its digest."""
    with open_read(location) as stream:
        return pa.ipc.open_file(stream).read_all()
