"""Copies on this machine's disk of files in buckets that are read again: known by their SHA-256, within a bound.

They lie in $TMPDIR, in a folder that only this user can open, shared by all processes and runs of the machine. What was not
used for longest goes first. A copy is hashed when a process first opens it, so one that is damaged is fetched again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gristmill.pipeline.storage.buckets import Buckets
from gristmill.pipeline.storage.streams import CHUNK

BYTES_VARIABLE = "GRISTMILL_LOCAL_COPIES"
"""Environment variable: bytes of all copies together; 0 keeps none."""
MOST_BYTES = 16 << 30
"""Bytes of all copies together, where the variable is not set and a quarter of what is free is not less."""

_VERIFIED: set[tuple[str, int, int]] = set()
"""Copies that this process has hashed: SHA-256, inode, time of writing in ns."""
_LOCK = threading.Lock()


def open_copy(location: str, sha256: str) -> tuple[Any | None, str | None]:
    """A stream over a file in a bucket that has this digest, from this machine's disk if it can be.

    Returns (stream, digest); (None, the digest that was found) where the file has another one, (None, None) where there is no
    such file. Raises StorageError.
    """
    folder = _folder()
    if folder is not None:
        stream = _opened(folder, sha256)
        if stream is not None:
            return stream, sha256
    try:
        source = Buckets().open_read(location)
    except FileNotFoundError:
        return None, None
    partial = tempfile.TemporaryFile() if folder is None else _partial(folder)
    found = hashlib.sha256()
    try:
        with source:
            while chunk := source.read(CHUNK):
                found.update(chunk)
                partial.write(chunk)
        partial.flush()
        if found.hexdigest() != sha256:
            raise _OtherError
        if folder is not None:
            _adopt(folder, partial, sha256)
        partial.seek(0)
        return partial, sha256
    except BaseException as error:
        _drop(partial)
        if isinstance(error, _OtherError):
            return None, found.hexdigest()
        raise


@contextlib.contextmanager
def being_written() -> Iterator[tuple[Any | None, list[str]]]:
    """A local stream for what is written to a bucket at the same time, and a list for its digest: once that is there, what was
    written becomes a copy. None where no copies are kept."""
    folder = _folder()
    if folder is None:
        yield None, []
        return
    partial, digest = _partial(folder), list[str]()
    try:
        yield partial, digest
        if digest:
            partial.flush()
            _adopt(folder, partial, digest[0])
    finally:
        _drop(partial)


class _OtherError(Exception):
    """The file has another digest."""


def _folder() -> Path | None:
    """Where copies lie; None where there shall be none, or where the place is not this user's alone."""
    if os.environ.get(BYTES_VARIABLE) == "0":
        return None
    folder = Path(tempfile.gettempdir()) / f"gristmill-copies-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return None
    mine = stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o077
    return folder if mine else None


def _opened(folder: Path, sha256: str) -> Any | None:
    path = folder / sha256
    try:
        stream = path.open("rb")
    except OSError:
        return None
    state = os.fstat(stream.fileno())
    known = sha256, state.st_ino, state.st_mtime_ns
    if known not in _VERIFIED:
        if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
            stream.close()
            path.unlink(missing_ok=True)
            return None
        stream.seek(0)
        with _LOCK:
            if len(_VERIFIED) > 1 << 16:
                _VERIFIED.clear()
            _VERIFIED.add(known)
    with contextlib.suppress(OSError):  # another process let it go meanwhile
        os.utime(path, ns=(time.time_ns(), state.st_mtime_ns))
    return stream


def _partial(folder: Path) -> Any:
    return (folder / f".{secrets.token_hex(16)}").open("w+b")


def _adopt(folder: Path, partial: Any, sha256: str) -> None:
    """Makes a copy of what was written, unless it is more than all copies may have, and lets older ones go."""
    size = os.fstat(partial.fileno()).st_size
    bound = _bound(folder)
    if size <= bound:
        os.replace(partial.name, folder / sha256)
        _evict(folder, bound, sha256)


def _evict(folder: Path, bound: int, newest: str) -> None:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                state = entry.stat(follow_symlinks=False)
                found.append((state.st_atime_ns, state.st_size, entry.name))
    total = sum(size for _, size, _ in found)
    for used, size, name in sorted(found):
        # What a killed process was writing goes too, once it is old.
        if name == newest or (name.startswith(".") and time.time_ns() - used < 3_600_000_000_000):
            continue
        if total <= bound and not name.startswith("."):
            break
        with contextlib.suppress(OSError):
            (folder / name).unlink()
            total -= size


def _bound(folder: Path) -> int:
    said = os.environ.get(BYTES_VARIABLE, "")
    return int(said) if said.isdigit() else min(MOST_BYTES, shutil.disk_usage(folder).free // 4)


def _drop(partial: Any) -> None:
    partial.close()
    if isinstance(partial.name, str):
        with contextlib.suppress(OSError):
            os.unlink(partial.name)
