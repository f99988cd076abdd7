"""Storage, by location: files that are read back before they count, and records that win once.

One small interface over four kinds of place: local and mounted file systems (paths), buckets (`s3://`, `gs://`, `az://`),
other stores that fsspec knows, and web servers, which are only read. What is transient is tried again here and nowhere
else (`retries`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.storage.buckets import Buckets, is_bucket
from gristmill.pipeline.storage.file_system import FileSystem, folders_synced_once, names_durable_later, sync_folder
from gristmill.pipeline.storage.local_copies import being_written, open_copy
from gristmill.pipeline.storage.regular_files import (
    Item,
    NotRegularError,
    items_within,
    open_regular,
    open_within,
    read_within,
    sha256_within,
    size_within,
)
from gristmill.pipeline.storage.retries import RETRY_SECONDS, info_of, retrying
from gristmill.pipeline.storage.streams import CHUNK, Paths, WrittenFile, reason
from gristmill.pipeline.storage.web import RangeError, WebFiles, is_web

__all__ = [
    "Item", "NotRegularError", "RangeError", "Store", "WrittenFile", "being_written", "create_once", "delete_if",
    "exists", "file_sha256_and_size", "file_system_of", "folders_synced_once",
    "info_of", "is_bucket", "is_remote", "is_web", "items_within",
    "join", "list_files", "local", "move", "names_durable_later", "names_in", "open_copy", "open_read",
    "open_regular", "open_within",
    "probe_conditions",
    "put", "put_file", "put_if_absent", "range_get", "read_small", "read_with_etag", "read_within", "reason", "remove",
    "replace_if", "retrying", "sha256_of", "sha256_within", "size_of", "size_within", "sizes_of", "sync_folder",
    "web_file", "write_checked",
]  # fmt: skip


class Store(Protocol):
    """What a kind of storage must be able to do. All errors but a missing file are StorageError."""

    def open_read(self, location: str) -> Any:
        """A seekable binary stream."""

    def range_get(self, location: str, start: int, length: int) -> bytes:
        """At most `length` bytes from `start` on. Raises FileNotFoundError."""

    def write_checked(self, location: str, write: Callable[[Any], None], attempt: str) -> WrittenFile:
        """Writes a file that appears whole, with the digest of what is on storage, or not at all."""

    def put(self, location: str, data: bytes, seconds: float = RETRY_SECONDS) -> None:
        """Writes a small file, in place of one that is there."""

    def put_file(self, location: str, file: Path) -> None:
        """Copies a local file, in place of one that is there."""

    def put_if_absent(self, location: str, data: bytes) -> bool:
        """Creates a small file unless there is one; True for the one who did, of all who try at the same time."""

    def read_with_etag(self, location: str) -> tuple[bytes, str] | None:
        """A record that is replaced on conditions, with its ETag; None when there is none."""

    def replace_if(self, location: str, data: bytes, etag: str | None, seconds: float = RETRY_SECONDS) -> str | None:
        """Replaces a record that still has this ETag (None: creates it); the new ETag, or None when it has not."""

    def delete_if(self, location: str, etag: str) -> bool:
        """Removes a record that still has this ETag; whether it did."""

    def move(self, source: str, target: str, sha256: str) -> None:
        """Gives a file with that digest another name in the same store, in place of a file that has it."""

    def exists(self, location: str) -> bool:
        """Whether a file or folder is there."""

    def size(self, location: str) -> int | None:
        """Bytes of a file, or None when there is none."""

    def list(self, location: str) -> Paths:
        """All files below a folder, relative, sorted."""

    def names(self, location: str) -> Paths:
        """What lies directly in a folder, files and folders, sorted; nothing for a folder that is not there."""

    def delete(self, location: str) -> None:
        """Removes a file or a folder with all that is in it, if it is there. Links are removed, not followed."""


@runtime_checkable
class SizesOfFolder(Protocol):
    """A store that says the sizes of all files of a folder in one request."""

    def sizes(self, location: str) -> Sequence[tuple[str, int]]:
        """All files below a folder, relative, sorted, each with its bytes."""


_FILES, _BUCKETS, _WEB = FileSystem(), Buckets(), WebFiles()


def store_of(location: str) -> Store:
    """The kind of storage that a location lies in."""
    if is_web(location):
        return _WEB
    if is_bucket(location):
        return _BUCKETS
    return _objects() if is_remote(location) else _FILES


@functools.cache
def _objects() -> Store:
    # fsspec takes a tenth of a second to import, and most commands never need it.
    from gristmill.pipeline.storage.object_store import ObjectStore

    return ObjectStore()


def file_system_of(location: str) -> tuple[Any, str]:
    """The file system of a path or URL, and the path in it. Raises as `fsspec.core.url_to_fs`: ImportError, ValueError."""
    from gristmill.pipeline.storage.bucket_listing import found_at

    return found_at(location)


def is_remote(location: str) -> bool:
    """Whether a location is a URL for fsspec rather than a local path."""
    return "://" in location and not location.startswith("file://")


def local(location: str) -> Path:
    """The local path of a location."""
    return Path(location.removeprefix("file://"))


def join(folder: str, *parts: str) -> str:
    """A path below a folder, for both kinds of location."""
    return "/".join([folder.rstrip("/"), *parts])


def web_file(location: str) -> tuple[int, str]:
    """Bytes of a file on a web server and a stamp of its state. Raises FileNotFoundError and StorageError."""
    return _WEB.info(location)


def open_read(location: str) -> Any:
    """A binary stream over a file. Raises StorageError with the cause."""
    try:
        return store_of(location).open_read(location)
    except OSError as error:
        raise StorageError(f"{location}: cannot be opened for reading: {reason(error)}") from error


def read_small(location: str, most: int) -> bytes | None:
    """A file's bytes, or None when there is no such file. Raises StorageError for more than `most` bytes."""
    try:
        data = store_of(location).range_get(location, 0, most + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{location}: cannot be read: {reason(error)}") from error
    if len(data) > most:
        raise StorageError(f"{location}: expected at most {most} bytes, found more. This is no file of Gristmill's.")
    return data


def range_get(location: str, start: int, length: int) -> bytes:
    """At most `length` bytes of a file from `start` on, in one request; fewer where the file ends before.

    Raises FileNotFoundError, and StorageError: as RangeError where a web server does not serve them.
    """
    try:
        return store_of(location).range_get(location, start, length)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{location}: cannot be read: {reason(error)}") from error


def write_checked(
    location: str,
    write: Callable[[Any], None],
    attempt: str = "0",
    check: Callable[[Any], None] | None = None,
    *,
    flushed_later: bool = False,
) -> WrittenFile:
    """Writes a file through `write(stream)`, reads it back, and gives it its name.

    The bytes on storage are compared with the digest of the stream that was written. Locally the file is written as
    `.NAME.attempt` first and renamed after fsync. Raises StorageError when the bytes differ or storage fails; nothing
    is left behind then.

    Args:
        check: looks at what was written, as a stream from its beginning, and raises StorageError for what must not count.
        flushed_later: within `folders_synced_once`, the flush to disk may wait for its end: of files whose bytes are
            compared with a digest whenever they are read.
    """
    store = store_of(location)
    if isinstance(store, FileSystem):
        return store.write_checked(location, write, attempt, check, flushed_later=flushed_later)
    written = store.write_checked(location, write, attempt)
    if check is not None:
        try:
            with open_read(location) as stored:
                check(stored)
        except StorageError:
            remove(location)
            raise
    return written


def sha256_of(location: str) -> str:
    """SHA-256, in hexadecimal, of a file's bytes."""
    sha256 = hashlib.sha256()
    with open_read(location) as stream:
        while chunk := stream.read(CHUNK):
            sha256.update(chunk)
    return sha256.hexdigest()


def file_sha256_and_size(location: str) -> tuple[str, int]:
    """SHA-256 and size of a file."""
    return sha256_of(location), size_of(location) or 0


def put(location: str, data: bytes, seconds: float = RETRY_SECONDS) -> None:
    """Writes a small file, in place of one that is there; transient errors are tried again for at most `seconds`."""
    store_of(location).put(location, data, seconds)


def put_file(location: str, file: Path) -> None:
    """Copies a local file, in place of one that is there, without reading it back: for what is checked when it is read."""
    store_of(location).put_file(location, file)


def put_if_absent(location: str, data: bytes) -> bool:
    """Creates a small file unless there is one; True for the one who did, of all who try at the same time.

    Raises StorageError for a store that cannot promise that.
    """
    return store_of(location).put_if_absent(location, data)


def read_with_etag(location: str) -> tuple[bytes, str] | None:
    """A record that is replaced on conditions, with its ETag; None when there is none.

    Records are small (64 KiB), and are written by `replace_if` alone.
    """
    return store_of(location).read_with_etag(location)


def replace_if(location: str, data: bytes, etag: str | None, seconds: float = RETRY_SECONDS) -> str | None:
    """Replaces a record if it still has this ETag, or creates it if `etag` is None and there is none.

    Returns the new ETag, or None when the record was not as it was asked for, or was replaced again by another before the
    answer came. Of all who try with one ETag at most one succeeds. Let no two contents be equal, or ETags may be too.
    """
    return store_of(location).replace_if(location, data, etag, seconds)


def delete_if(location: str, etag: str) -> bool:
    """Removes a record if it still has this ETag; whether it did."""
    return store_of(location).delete_if(location, etag)


def probe_conditions(folder: str) -> None:
    """Raises StorageError for storage that does not keep the conditions of `put_if_absent` and `replace_if`.

    Some stores refuse them, which they say; others take and ignore them, so that two drivers would both win.
    """
    name = join(folder, f".gristmill-probe-{secrets.token_hex(16)}")
    try:
        first = replace_if(name, b"1", None)
        kept = first is not None and replace_if(name, b"2", None) is None
        second = replace_if(name, b"3", first) if first is not None else None
        kept = kept and second is not None and replace_if(name, b"4", first) is None
        if not (kept and second is not None and delete_if(name, second)):
            raise StorageError(
                f"{folder}: the store does not keep the conditions of writes (If-None-Match, If-Match), so two runs could "
                "write one output at the same time. Use a store that does (Amazon S3, Google Cloud Storage, Azure Blob "
                "Storage, recent versions of MinIO and Ceph), or a mounted file system."
            )
    except StorageError:
        with contextlib.suppress(StorageError):
            remove(name)  # where even that is refused, the first error is the one to tell
        raise


def create_once(path: Path, data: bytes) -> bool:
    """`put_if_absent` for a local path."""
    return _FILES.put_if_absent(str(path), data)


def move(source: str, target: str, sha256: str) -> None:
    """Gives a file with that digest another name in the same store, in place of a file that has it."""
    store_of(target).move(source, target, sha256)


def exists(location: str) -> bool:
    """Whether a file or folder is there."""
    return store_of(location).exists(location)


def size_of(location: str) -> int | None:
    """Size in bytes, or None when there is no such file."""
    return store_of(location).size(location)


def sizes_of(locations: Sequence[str]) -> list[int | None]:
    """`size_of` of each; of many objects in one folder by listing it, a request for a thousand of them."""
    folders = Counter(location.rpartition("/")[0] for location in locations if is_remote(location))
    listed: dict[str, int] = {}
    for folder, count in folders.items():
        store = store_of(folder)
        if count > 2 and isinstance(store, SizesOfFolder):
            listed.update((join(folder, name), size) for name, size in store.sizes(folder))
    return [listed[location] if location in listed else size_of(location) for location in locations]


def list_files(location: str) -> list[str]:
    """All files below a folder, relative, sorted; partial files of a writer (`.name.attempt`) among them."""
    return store_of(location).list(location)


def names_in(location: str) -> list[str]:
    """What lies directly in a folder, files and folders, sorted; nothing for a folder that is not there."""
    return store_of(location).names(location)


def remove(location: str) -> None:
    """Removes a file, or a folder with all that is in it, if there is one. Links are removed, not followed."""
    store_of(location).delete(location)
