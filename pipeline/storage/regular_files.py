"""Reading the files of a folder that somebody else may have made: regular files below it, no link followed, bounded sizes.

An output holds regular files and its own folders. A name in a list of its files may lead anywhere, and a link, a pipe or a
device may stand where a file should; so each component of a name is opened by itself, without following links, and what was
opened is looked at before a byte is read. Object stores have neither links nor pipes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.storage.buckets import Buckets, is_bucket
from gristmill.pipeline.storage.retries import retrying
from gristmill.pipeline.storage.streams import CHUNK, reason

if TYPE_CHECKING:
    from gristmill.pipeline.storage.object_store import ObjectStore

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Without waiting: opening a pipe would wait for somebody who writes to it."""
_STEP = 1 << 18
"""Bytes of a local file that are hashed at once; of an object as many as one request is worth."""
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotRegularError(StorageError):
    """What stands under a name is no regular file of the folder: a link, a pipe, a device, or a name that leads out."""


class MissingFileError(StorageError, FileNotFoundError):
    """There is no file of that name below the folder."""


@dataclass(frozen=True)
class Item:
    """Something below a folder: `path` relative to it, `kind` as `_kind` says it (None for a regular file), size in bytes."""

    path: str
    kind: str | None
    size: int = 0


def open_within(folder: str, path: str) -> Any:
    """A binary stream over a regular file below a folder; no component of `path` may be a link. The folder itself may.

    Raises MissingFileError, NotRegularError, and StorageError for storage that cannot be read.
    """
    parts = path.split("/")
    if "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise NotRegularError(f"{path!r} does not name a file below {folder}")
    try:
        if "://" in folder and not folder.startswith("file://"):
            return _store_of(folder).open_read("/".join([folder.rstrip("/"), path]))
        return retrying(lambda: _opened(folder.removeprefix("file://"), parts))
    except FileNotFoundError as error:
        raise MissingFileError(f"{folder}: there is no {path}") from error
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise NotRegularError(
                f"{path} is not a regular file of {folder}, or lies below a link. Links and special files are not followed"
            ) from error
        told = reason(error) if isinstance(error, OSError) else str(error)
        raise StorageError(f"{path}: cannot be opened for reading: {told}") from error


def _store_of(folder: str) -> Buckets | ObjectStore:
    if is_bucket(folder):
        return Buckets()
    from gristmill.pipeline.storage.object_store import ObjectStore  # which imports fsspec: a tenth of a second

    return ObjectStore()


def open_regular(path: str) -> Any:
    """A binary stream over a file that somebody named: a regular one, or a link to one. A pipe is not waited for.

    Raises OSError, and NotRegularError for anything else.
    """
    handle = os.open(path, _FILE & ~os.O_NOFOLLOW)
    try:
        kind = _kind(os.fstat(handle).st_mode)
        if kind is not None:
            raise NotRegularError(f"{path} is {kind}; expected a file")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _opened(folder: str, parts: list[str]) -> Any:
    try:
        here = os.open(folder, _FOLDER)
    except NotADirectoryError as error:
        raise FileNotFoundError(errno.ENOENT, "is a file, so nothing lies below it", folder) from error
    try:
        for part in parts[:-1]:
            below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        handle = os.open(parts[-1], _FILE, dir_fd=here)
    finally:
        os.close(here)
    try:
        kind = _kind(os.fstat(handle).st_mode)
        if kind is not None:
            raise NotRegularError(f"{'/'.join(parts)} is {kind}, not a regular file")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _kind(mode: int) -> str | None:
    """What something is, in words; None for a regular file."""
    return None if stat.S_ISREG(mode) else next((kind for test, kind in _KINDS if test(mode)), "a special file")


def read_within(folder: str, path: str, most: int) -> bytes:
    """The bytes of a regular file below a folder. Raises as `open_within`, and StorageError for more than `most` bytes."""
    with open_within(folder, path) as stream:
        try:
            data = b"".join(_chunks(stream, most + 1))
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {reason(error)}") from error
    if len(data) > most:
        raise StorageError(f"{path} has more than {most:,} bytes, so it is no file that a run writes and is not read")
    return data


def _chunks(stream: Any, most: int) -> Iterator[bytes]:
    """What a stream has, up to `most` bytes. Memory is taken for what is there: a manifest may claim any number."""
    while most > 0 and (chunk := bytes(stream.read(min(16 * CHUNK, most)))):
        yield chunk
        most -= len(chunk)


def sha256_within(folder: str, path: str, most: int) -> str | None:
    """SHA-256, in hexadecimal, of a regular file below a folder; None for one of more than `most` bytes, of which no more
    are read. Raises as `open_within`."""
    sha256, size = hashlib.sha256(), 0
    # One piece of memory for all steps, which stays in the processor's cache: new memory costs as much as hashing does.
    step = CHUNK if "://" in folder and not folder.startswith("file://") else _STEP
    buffer = memoryview(bytearray(min(step, most + 1)))
    with open_within(folder, path) as stream:
        try:
            while taken := stream.readinto(buffer[: most + 1 - size]):
                sha256.update(buffer[:taken])
                size += taken
                if size > most:
                    return None
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {reason(error)}") from error
    return sha256.hexdigest()


def size_within(folder: str, path: str) -> int:
    """Bytes of a regular file below a folder. Raises as `open_within`."""
    with open_within(folder, path) as stream:
        return int(stream.seek(0, os.SEEK_END))


def items_within(folder: str) -> Iterator[Item]:
    """All that lies below a folder, folders before what is in them; links are named and not followed.

    Raises OSError for a local folder that cannot be listed, StorageError for a store that cannot.
    """
    if "://" in folder and not folder.startswith("file://"):
        yield from (Item(path, None, size) for path, size in _store_of(folder).sizes(folder))
        return
    folder = folder.removeprefix("file://")
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(os.path.join(folder, below)) as found:
            entries = sorted(found, key=lambda one: one.name)
        for one in entries:
            path = f"{below}/{one.name}" if below else one.name
            try:
                state = one.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            kind = _kind(state.st_mode)
            yield Item(path, kind, state.st_size if kind is None else 0)
            if stat.S_ISDIR(state.st_mode):
                waiting.append(path)
