"""What stores have in common: a stream that hashes what is written through it, one that goes on reading where a connection
broke, the comparison after writing, and what errors mean."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

import xxhash

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.storage.retries import retrying

Paths = list[str]

CHUNK = 4 << 20
"""Bytes of a file that are read at once in order to hash it."""


@dataclass(frozen=True)
class WrittenFile:
    """A file that was written, read back and found equal."""

    path: str
    size: int
    sha256: str


class WriteThrough:
    """A stream for Arrow to write to, over another one, which stays open when this one is closed.

    Attributes:
        size: bytes written so far.
    """

    def __init__(self, stream: Any) -> None:
        self._stream, self.size, self.closed = stream, 0, False

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._stream.write(data)
        self.size += size
        return size

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


class Tee(WriteThrough):
    """Hashes what goes through it.

    Attributes:
        sha256: the file's digest, which is told of it.
        check: XXH3-128, for reading it back once: several times as fast.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)
        self.sha256 = hashlib.sha256()
        self.check = xxhash.xxh3_128()

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.sha256.update(view)
        self.check.update(view)
        return super().write(view)


def same_bytes(location: str, stream: Any, expected: str) -> None:
    """Raises StorageError when the bytes of a stream, which is left open, are not those with the expected XXH3-128."""
    check = xxhash.xxh3_128()
    while chunk := stream.read(CHUNK):
        check.update(chunk)
    if check.hexdigest() != expected:
        raise StorageError(
            f"{location}: the bytes on storage differ from those written (expected XXH3-128 {expected}, found "
            f"{check.hexdigest()}). Check the disk; nothing was kept."
        )


def read_back(location: str, stream: Any, expected: str, advice: str) -> None:
    """Raises StorageError when the bytes of a stream, which is closed, are not those with the expected SHA-256."""
    sha256 = hashlib.sha256()
    with stream:
        while chunk := stream.read(CHUNK):
            sha256.update(chunk)
    if sha256.hexdigest() != expected:
        raise StorageError(
            f"{location}: the bytes on storage differ from those written (expected {expected}, found "
            f"{sha256.hexdigest()}). {advice}"
        )


def reason(error: OSError) -> str:
    """What an operating system error means to a person."""
    if error.errno == errno.ENOSPC:
        return "no space left on the device. Free some, or point `work:` and the outputs elsewhere, and run again"
    if error.errno == errno.EIO:
        return (
            "Input/output error. The disk or its connection fails: check it, or point `work:` and the outputs elsewhere "
            "and run again"
        )
    return error.strerror or str(error) or type(error).__name__


class RetryingReader(io.RawIOBase):
    """A seekable binary stream that is opened again, at the same position, after a transient error.

    Args:
        opened: opens the object's stream at its beginning.
    """

    def __init__(self, opened: Callable[[], Any]) -> None:
        super().__init__()
        self._open = opened
        self._stream: Any = retrying(opened)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = int(retrying(lambda: self._at().seek(offset, whence)))
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = retrying(lambda: self._read(len(buffer)))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _at(self) -> Any:
        if self._stream is None:
            stream = self._open()
            stream.seek(self._position)
            self._stream = stream
        return self._stream

    def _read(self, size: int) -> bytes:
        try:
            return bytes(self._at().read(size))
        except Exception:
            stream, self._stream = self._stream, None
            with contextlib.suppress(Exception):  # it is broken: the error above is the one to tell
                stream.close()
            raise

    def close(self) -> None:
        if not self.closed and self._stream is not None:
            self._stream.close()
        super().close()
