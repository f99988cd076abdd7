"""Files that are read back before they count: written elsewhere first, compared, then renamed; records that win once.

Local paths go through the operating system, URLs (`s3://`, `gs://`, `hf://`, `memory://`) through fsspec. An object
store's put is atomic by itself, so there the final name is written directly and read back.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec

from gristmill.pipeline.errors import StorageError

_CHUNK = 4 << 20


@dataclass(frozen=True)
class WrittenFile:
    """A file that was written, read back and found equal."""

    path: str
    size: int
    sha256: str


class _Tee:
    """A write-only stream that hashes what goes through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.closed = False

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.sha256.update(view)
        self.size += view.nbytes
        self._stream.write(view)
        return view.nbytes

    def flush(self) -> None:
        self._stream.flush()

    def tell(self) -> int:
        return self.size

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


def is_remote(location: str) -> bool:
    """Whether a location is a URL for fsspec rather than a local path."""
    return "://" in location and not location.startswith("file://")


def local(location: str) -> Path:
    """The local path of a location."""
    return Path(location.removeprefix("file://"))


def join(folder: str, *parts: str) -> str:
    """A path below a folder, for both kinds of location."""
    return "/".join([folder.rstrip("/"), *parts])


def open_read(location: str) -> Any:
    """A binary stream over a file. Raises StorageError with the cause."""
    try:
        if is_remote(location):
            return fsspec.open(location, "rb").open()
        return local(location).open("rb")
    except OSError as error:
        raise StorageError(f"{location}: cannot be opened for reading: {reason(error)}") from error


def write_checked(location: str, write: Callable[[Any], None], attempt: str = "0") -> WrittenFile:
    """Writes a file through `write(stream)`, reads it back, and gives it its name.

    The bytes on storage are compared with the digest of the stream that was written. Locally the file is written as
    `.NAME.attempt` first and renamed after fsync. Raises StorageError when the bytes differ or storage fails; nothing
    is left behind then.
    """
    if is_remote(location):
        return _write_remote(location, write)
    target = local(location)
    partial = target.with_name(f".{target.name}.{attempt}-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            tee = _Tee(stream)
            write(tee)
            stream.flush()
            os.fsync(stream.fileno())
        found = sha256_of(str(partial))
        if found != tee.sha256.hexdigest():
            raise StorageError(
                f"{location}: the bytes on storage differ from those written (expected {tee.sha256.hexdigest()}, found "
                f"{found}). Check the disk; nothing was kept."
            )
        os.replace(partial, target)
        sync_folder(target.parent)
    except OSError as error:
        raise StorageError(f"{location}: cannot be written: {reason(error)}") from error
    finally:
        _discard(partial)
    return WrittenFile(location, tee.size, tee.sha256.hexdigest())


def _write_remote(location: str, write: Callable[[Any], None]) -> WrittenFile:
    try:
        # Through a local file: closing a half-written remote stream would complete the upload of half an object.
        with tempfile.NamedTemporaryFile(prefix="gristmill-") as partial:
            tee = _Tee(partial)
            write(tee)
            partial.flush()
            system, path = fsspec.core.url_to_fs(location)
            system.makedirs(system._parent(path), exist_ok=True)
            system.put_file(partial.name, path)
        found = sha256_of(location)
    except OSError as error:
        raise StorageError(f"{location}: cannot be written: {reason(error)}") from error
    if found != tee.sha256.hexdigest():
        remove(location)
        raise StorageError(
            f"{location}: the bytes on storage differ from those written (expected {tee.sha256.hexdigest()}, found "
            f"{found}). Check the store; the object was removed."
        )
    return WrittenFile(location, tee.size, tee.sha256.hexdigest())


def sha256_of(location: str) -> str:
    """SHA-256, in hexadecimal, of a file's bytes."""
    sha256 = hashlib.sha256()
    with open_read(location) as stream:
        while chunk := stream.read(_CHUNK):
            sha256.update(chunk)
    return sha256.hexdigest()


def file_sha256_and_size(location: str) -> tuple[str, int]:
    """SHA-256 and size of a file."""
    return sha256_of(location), size_of(location) or 0


def create_once(path: Path, data: bytes) -> bool:
    """Creates a local file with `data` unless it exists; True for the one who made it.

    The file appears whole or not at all: it is written under another name, then linked.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            return False
        sync_folder(path.parent)
        return True
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {reason(error)}") from error
    finally:
        _discard(partial)


def _discard(partial: Path) -> None:
    """Removes what is left of a partial file; there can be nothing where its folder could not be made."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        partial.unlink()


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def exists(location: str) -> bool:
    """Whether a file or folder is there."""
    if is_remote(location):
        system, path = fsspec.core.url_to_fs(location)
        return bool(system.exists(path))
    return local(location).exists()


def size_of(location: str) -> int | None:
    """Size in bytes, or None when there is no such file."""
    if is_remote(location):
        system, path = fsspec.core.url_to_fs(location)
        return int(system.size(path)) if system.exists(path) else None
    path_ = local(location)
    return path_.stat().st_size if path_.is_file() else None


def list_files(location: str) -> list[str]:
    """All files below a folder, relative, sorted; partial files of a writer (`.name.attempt`) among them."""
    if is_remote(location):
        system, path = fsspec.core.url_to_fs(location)
        return sorted(str(item).removeprefix(path).lstrip("/") for item in system.find(path))
    root = local(location)
    return sorted(item.relative_to(root).as_posix() for item in root.rglob("*") if item.is_file())


def remove(location: str) -> None:
    """Removes a file, or a folder with all that is in it; nothing happens when there is none."""
    if is_remote(location):
        system, path = fsspec.core.url_to_fs(location)
        if system.exists(path):
            system.rm(path, recursive=True)
        return
    path_ = local(location)
    if path_.is_dir():
        shutil.rmtree(path_)
    else:
        path_.unlink(missing_ok=True)


def reason(error: OSError) -> str:
    """What an operating system error means to a person."""
    if error.errno == 28:
        return "no space left on the device. Free some, or point `work:` and the outputs elsewhere, and run again"
    return error.strerror or str(error)
