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


class WebFiles:
    """The reading operations of `pipeline.storage.Store` on web addresses; the others are refused."""

    def open_read(self, location: str) -> Any:
        with _told(location):
            return io.BufferedReader(RetryingReader(lambda: _Body(location)), _READ_BUFFER)

    def range_get(self, location: str, start: int, length: int) -> bytes:
        def get() -> bytes:
            with contextlib.closing(_Body(location)) as body:
                body.seek(start)
                return body.read(length)

        with _told(location):
            return retrying(get)

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

    def put_if_absent(self, location: str, data: bytes) -> bool:
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
        headers = self._answer.headers
        if self._answer.status == 206:
            begin, _, size = headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
            if begin.partition("-")[0] != str(self._position) or not size.isdigit():
                raise StorageError(f"{self._location}: the server answered with another byte range than was asked for.")
            self._size = int(size)
        elif self._position == 0 and (headers.get("Content-Length") or "").isdigit():
            self._size = int(headers["Content-Length"])
        else:
            raise StorageError(f"{self._location}: the server does not serve byte ranges. Download the file first.")

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
