"""Files on web servers (`https://`, `http://`), read only, by byte ranges and with nothing but the standard library.

Proxies are taken from the environment (`HTTPS_PROXY`, `NO_PROXY`), redirects are followed.
"""

from __future__ import annotations

import contextlib
import io
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.storage.advice import advice
from gristmill.pipeline.storage.retries import RETRY_SECONDS, retrying
from gristmill.pipeline.storage.streams import Paths, RetryingReader, WrittenFile

SECONDS = 60.0
"""Longest wait for a server to say the next byte."""

_READ_BUFFER = 1 << 16


def is_web(location: str) -> bool:
    """Whether a location is a file on a web server."""
    return location.startswith(("http://", "https://"))


class RangeError(StorageError):
    """A server does not serve the bytes that it is asked for: no ranges, another one, or fewer bytes than it announced."""


class _BodyCutError(ConnectionError):
    """A body ended early. Worth another request."""


class WebFiles:
    """The reading operations of `pipeline.storage.Store` on web addresses; the others are refused."""

    def open_read(self, location: str) -> Any:
        with _told(location):
            return io.BufferedReader(RetryingReader(lambda: _Body(location)), _READ_BUFFER)

    def range_get(self, location: str, start: int, length: int) -> bytes:
        """One request for these bytes and no more. Raises FileNotFoundError, and RangeError for a server that serves no
        ranges, serves another one, or ends before it has sent what it announced."""
        with _told(location):
            try:
                return retrying(lambda: _range(location, start, length))
            except _BodyCutError as error:
                raise RangeError(f"{location}: {error}, each time it was asked for them.") from error

    def exists(self, location: str) -> bool:
        return self.size(location) is not None

    def size(self, location: str) -> int | None:
        try:
            return self.info(location)[0]
        except FileNotFoundError:
            return None

    def info(self, location: str) -> tuple[int, str]:
        """Bytes of a file and a stamp of its state. Raises FileNotFoundError."""
        with _told(location):
            with retrying(lambda: _request(location, "HEAD")) as answer:
                length, headers = answer.headers.get("Content-Length"), answer.headers
            if length is None or not length.isdigit():
                raise StorageError(f"{location}: the server does not say how long the file is. Download it first.")
            return int(length), next((f"{n}:{headers[n]}" for n in ("ETag", "Last-Modified") if headers.get(n)), "none")

    def write_checked(self, location: str, write: Callable[[Any], None], attempt: str) -> WrittenFile:
        raise _read_only(location)

    def put(self, location: str, data: bytes, seconds: float = RETRY_SECONDS) -> None:
        raise _read_only(location)

    def put_file(self, location: str, file: Path) -> None:
        raise _read_only(location)

    def put_if_absent(self, location: str, data: bytes) -> bool:
        raise _read_only(location)

    def read_with_etag(self, location: str) -> tuple[bytes, str] | None:
        raise _read_only(location)

    def replace_if(self, location: str, data: bytes, etag: str | None, seconds: float = RETRY_SECONDS) -> str | None:
        raise _read_only(location)

    def delete_if(self, location: str, etag: str) -> bool:
        raise _read_only(location)

    def move(self, source: str, target: str, sha256: str) -> None:
        raise _read_only(target)

    def list(self, location: str) -> Paths:
        raise StorageError(f"{location}: a web server lists no folders. Name files, or a list of them (`path_lists`).")

    def names(self, location: str) -> Paths:
        return self.list(location)

    def delete(self, location: str) -> None:
        raise _read_only(location)


class _Body:
    """A file's bytes from a position on, as one response after another."""

    def __init__(self, location: str) -> None:
        self._location, self._position = location, 0
        self._answer: Any = None
        self._size = 0
        self._open()

    def _open(self) -> None:
        try:
            self._answer = _request(self._location, "GET", {"Range": f"bytes={self._position}-"})
        except urllib.error.HTTPError as error:
            if error.code != 416:  # there is nothing from there on: an empty file
                raise
            self._size = self._position
            return
        size = _size_from(self._answer, self._location, self._position)
        if size is None:
            raise _no_ranges(self._location)
        self._size = size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if target != self._position:
            self.close()
            self._position = target
        return self._position

    def read(self, size: int) -> bytes:
        if self._position >= self._size:
            return b""
        if self._answer is None:
            self._open()
        data: bytes = self._answer.read(min(size, self._size - self._position))
        if not data:
            raise ConnectionError(f"the server closed the connection at byte {self._position} of {self._size}")
        self._position += len(data)
        return data

    def close(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()


def _range(location: str, start: int, length: int) -> bytes:
    if length <= 0:
        return b""
    try:
        answer = _request(location, "GET", {"Range": f"bytes={start}-{start + length - 1}"})
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        return b""  # the file ends before
    with contextlib.closing(answer):
        size = _size_from(answer, location, start)
        if size is None:
            raise _no_ranges(location)
        expected = min(length, size - start)
        parts: list[bytes] = []
        while expected and (data := answer.read(expected)):
            parts.append(data)
            expected -= len(data)
    if expected:
        raise _BodyCutError(f"the server sent {expected} bytes less than the range from byte {start} on has")
    return b"".join(parts)


def _size_from(answer: Any, location: str, start: int) -> int | None:
    """Bytes of the whole file, as the answer to a request for the bytes from `start` on states them; None where the answer
    does not begin there because the server knows no ranges."""
    headers = answer.headers
    if answer.status == 206:
        begin, _, size = headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        if begin.partition("-")[0] != str(start) or not size.isdigit() or int(size) < start:
            raise RangeError(f"{location}: the server answered with another byte range than was asked for.")
        return int(size)
    length = headers.get("Content-Length") or ""
    return int(length) if start == 0 and length.isdigit() else None


def _no_ranges(location: str) -> RangeError:
    return RangeError(f"{location}: the server does not serve byte ranges. Download the file first.")


def _request(location: str, method: str, headers: dict[str, str] | None = None) -> Any:
    request = urllib.request.Request(location, method=method, headers={"User-Agent": "gristmill", **(headers or {})})
    return urllib.request.urlopen(request, timeout=SECONDS)


@contextlib.contextmanager
def _told(location: str) -> Any:
    """What went wrong, as StorageError with advice; FileNotFoundError for a file that is not there."""
    try:
        yield
    except (StorageError, FileNotFoundError):
        raise
    except (OSError, HTTPException, ValueError) as error:
        if getattr(error, "code", None) in (404, 410):
            raise FileNotFoundError(f"{location}: there is no such file (HTTP {error.code})") from error  # type: ignore[union-attr]
        raise StorageError(f"{location}: cannot be read: {advice(location, error)}") from error


def _read_only(location: str) -> StorageError:
    return StorageError(f"{location}: a web server can only be read. Write to a folder or to an object store.")
