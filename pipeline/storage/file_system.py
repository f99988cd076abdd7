"""Local paths and mounted file systems: files that appear whole, under the name they are given, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.storage import versions
from gristmill.pipeline.storage.regular_files import open_regular
from gristmill.pipeline.storage.retries import RETRY_SECONDS, retrying
from gristmill.pipeline.storage.streams import Paths, Tee, WrittenFile, reason, same_bytes


class FileSystem:
    """The operations of `pipeline.storage.Store` on paths of this machine."""

    def open_read(self, location: str) -> Any:
        return retrying(lambda: open(_local(location), "rb"))

    def range_get(self, location: str, start: int, length: int) -> bytes:
        def get() -> bytes:
            with open_regular(_local(location)) as stream:
                if start:
                    stream.seek(start)
                data: bytes = stream.read(length)
                return data

        return retrying(get)

    def write_checked(
        self,
        location: str,
        write: Callable[[Any], None],
        attempt: str,
        check: Callable[[Any], None] | None = None,
        *,
        flushed_later: bool = False,
    ) -> WrittenFile:
        """`check` looks at what was written, from its beginning, before it has its name; it raises for what must not count.
        `flushed_later`: where `folders_synced_once` ends, at the latest."""
        target = _local(location)
        partial = _beside(target, f"{attempt}-{os.getpid()}")
        try:
            with retrying(lambda: _created_file(partial)) as stream:
                tee = Tee(stream)
                write(tee)
                stream.flush()
                if not (later := flushed_later and _PENDING.get() is not None):
                    os.fsync(stream.fileno())
            with self.open_read(partial) as stored:
                same_bytes(location, stored, tee.check.hexdigest())
                if check is not None:
                    stored.seek(0)
                    check(stored)
            retrying(lambda: os.replace(partial, target))
            if later:
                sync_folder(target)
            sync_folder(os.path.dirname(target) or ".")
        except BaseException as error:
            _discard(partial)
            if isinstance(error, OSError):
                raise StorageError(f"{location}: cannot be written: {reason(error)}") from error
            raise
        return WrittenFile(location, tee.size, tee.sha256.hexdigest())

    def put(self, location: str, data: bytes, seconds: float = RETRY_SECONDS) -> None:
        target = _path(location)
        partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}")

        def put() -> None:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            os.replace(partial, target)

        try:
            retrying(put, seconds)
        except OSError as error:
            raise StorageError(f"{location}: cannot be written: {reason(error)}") from error
        finally:
            _discard(partial)

    def put_file(self, location: str, file: Path) -> None:
        target = _path(location)
        partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}")

        def copy() -> None:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, partial)
            os.replace(partial, target)

        try:
            retrying(copy)
        except OSError as error:
            raise StorageError(f"{location}: cannot be written: {reason(error)}") from error
        finally:
            _discard(partial)

    def put_if_absent(self, location: str, data: bytes) -> bool:
        try:
            return _created(_local(location), data)
        except OSError as error:
            raise StorageError(f"{location}: cannot be written: {reason(error)}") from error

    def read_with_etag(self, location: str) -> tuple[bytes, str] | None:
        try:
            return retrying(lambda: versions.read(_path(location)))
        except OSError as error:
            raise StorageError(f"{location}: cannot be read: {reason(error)}") from error

    def replace_if(self, location: str, data: bytes, etag: str | None, seconds: float = RETRY_SECONDS) -> str | None:
        try:
            return retrying(lambda: versions.replace(_path(location), data, etag, _created), seconds)
        except OSError as error:
            raise StorageError(f"{location}: cannot be written: {reason(error)}") from error

    def delete_if(self, location: str, etag: str) -> bool:
        try:
            return retrying(lambda: versions.delete(_path(location), etag))
        except OSError as error:
            raise StorageError(f"{location}: cannot be removed: {reason(error)}") from error

    def move(self, source: str, target: str, sha256: str) -> None:
        place = _path(target)
        try:
            retrying(lambda: place.parent.mkdir(parents=True, exist_ok=True))
            retrying(lambda: os.replace(_path(source), place))
            sync_folder(str(place.parent))
        except OSError as error:
            raise StorageError(f"{target}: {source} cannot be moved there: {reason(error)}") from error

    def exists(self, location: str) -> bool:
        return _path(location).exists()

    def size(self, location: str) -> int | None:
        path = _path(location)
        return path.stat().st_size if path.is_file() else None

    def list(self, location: str) -> Paths:
        root = _path(location)
        return sorted(item.relative_to(root).as_posix() for item in root.rglob("*") if item.is_file())

    def names(self, location: str) -> Paths:
        try:
            return sorted(os.listdir(_path(location)))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"{location}: cannot be listed: {reason(error)}") from error

    def delete(self, location: str) -> None:
        path = _path(location)
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{location}: cannot be removed: {reason(error)}") from error


def _path(location: str) -> Path:
    return Path(_local(location))


def _local(location: str) -> str:
    return location.removeprefix("file://")


def _beside(path: str, suffix: str) -> str:
    """The name of a partial file for a path."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.{suffix}")


def _created_file(path: str) -> Any:
    """A new file to write to; its folder is made where there is none."""
    try:
        return open(path, "wb")
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        return open(path, "wb")


def _created(path: str | Path, data: bytes) -> bool:
    path = os.fspath(path)
    # Another process may be removing the folder as long as it is empty, or take the partial file for a dead one's.
    for _ in range(9):
        with contextlib.suppress(FileNotFoundError):
            return _created_once(path, data)
    return _created_once(path, data)


def _created_once(path: str, data: bytes) -> bool:
    """Written under another name, then linked: the file appears whole, and for one of those who try."""
    partial = _beside(path, secrets.token_hex(8))
    try:
        with _created_file(partial) as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            # A server of files may answer so to its own first attempt, whose answer was lost.
            if os.stat(partial).st_nlink != 2:
                return False
        sync_folder(os.path.dirname(path) or ".")
        return True
    finally:
        _discard(partial)


_PENDING: ContextVar[dict[str, None] | None] = ContextVar("what is to be flushed", default=None)
_AT_ONCE = 8
"""Flushes under way at a time: a journal commits them together."""


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    """The threads that flush, for as long as the process lives: to start some for each task costs as much as flushing."""
    return ThreadPoolExecutor(_AT_ONCE, "gristmill-flush")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of them


@contextlib.contextmanager
def folders_synced_once() -> Iterator[None]:
    """Within, renames become durable together at the end, one flush for each folder, and not one by one; so do work files.

    For many files of which a record tells that is written afterwards: until then none of them counts. Where it ends with an
    error nothing is flushed, since nothing will be told of the files. Raises StorageError where a flush fails.
    """
    if _PENDING.get() is not None:
        yield
        return
    pending: dict[str, None] = {}
    token = _PENDING.set(pending)
    try:
        yield
    finally:
        _PENDING.reset(token)
    for _ in _pool().map(_flush, pending):
        pass


@contextlib.contextmanager
def names_durable_later() -> Iterator[None]:
    """Within, files get their names without waiting for that to be durable; what they hold is.

    For records of work: after a power cut one that has no name yet is made again.
    """
    token = _PENDING.set({})
    try:
        yield
    finally:
        _PENDING.reset(token)


def sync_folder(folder: str) -> None:
    """Makes renames in a folder durable, or what a file holds, at once or where `folders_synced_once` ends."""
    pending = _PENDING.get()
    if pending is None:
        _sync(folder)
    else:
        pending[folder] = None


def _flush(path: str) -> None:
    try:
        _sync(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {reason(error)}") from error


def _sync(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _discard(partial: str | Path) -> None:
    """Removes what is left of a partial file; there can be nothing where its folder could not be made."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(partial)
