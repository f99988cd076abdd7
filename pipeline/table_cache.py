"""Tables that take long to make from a model or from constants, kept as plain arrays in the user's cache.

A file holds one line of JSON, that names each array with its type, shape and place, and the arrays' bytes. Its name
follows from what the tables are made of: for another model, other sources or another Python it is another file. It is read,
not mapped: a mapped file that goes away on a shared home folder ends the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import xxhash

from gristmill.pipeline.kernel_cache import sources_digest
from gristmill.pipeline.user_cache import user_cache

MOST_BYTES = 1 << 28
"""Tables that are larger are not kept: they would fill a home folder."""

MOST_FILES = 4
"""Files of one name that are kept, those used last."""

_MOST_HEADER = 1 << 16
_ALIGNED = 64


def kept_tables(
    name: str, made_in: str, make: Callable[[], Mapping[str, np.ndarray]], sources: Sequence[Path] = ()
) -> dict[str, np.ndarray]:
    """The arrays that `make` returns, from the cache where they were made before. All can be written to; numbers are arrays
    without dimensions.

    Args:
        name: what the tables are, for the file's name.
        made_in: `__file__` of the module that makes them; it and what it imports may change.
        make: makes them. It raises for a source that cannot be used; nothing is kept then.
        sources: the files they are made of.
    """
    digests = [_digest(source) for source in sources]
    key = hashlib.sha256(
        json.dumps(
            [
                sources_digest(Path(made_in)),
                digests,
                sys.version,
                sys.byteorder,
                unicodedata.unidata_version,
                np.__version__,
            ]
        ).encode()
    ).hexdigest()[:32]
    folder = user_cache("tables")
    file = folder / f"{name}-{key}.tables"
    found = _read(file)
    if found is not None:
        return found
    made = {array: np.require(value, requirements=["C", "W"]) for array, value in make().items()}
    unchanged = digests == [_digest(source) for source in sources]
    if unchanged and sum(value.nbytes for value in made.values()) <= MOST_BYTES:
        # What cannot be kept is made again next time.
        with contextlib.suppress(OSError):
            _write(file, made)
            _remove_old(folder, name)
    return made


def _digest(path: Path) -> str | None:
    try:
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None  # `make` says what is wrong with it


def _read(file: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file; None where there is none that is this user's own and whole."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
            return None
        if status.st_size > _MOST_HEADER + MOST_BYTES + _ALIGNED:
            return None
        try:
            header = json.loads(stream.readline(_MOST_HEADER))
            size = int(header["size"])
            if size != status.st_size - stream.tell():
                return None
            room = np.empty(size + _ALIGNED, np.uint8)
            body = room[-room.ctypes.data % _ALIGNED :][:size]
            if stream.readinto(body.data) != size or xxhash.xxh3_128_hexdigest(body.data) != header["xxh3"]:
                return None
            with contextlib.suppress(OSError):
                os.utime(file)  # used: `_remove_old` goes by that
            return {
                name: body[at : at + length].view(np.dtype(kind)).reshape(shape)
                for name, kind, shape, at, length in header["arrays"]
            }
        except (OSError, ValueError, TypeError, KeyError):  # damaged: it is made again
            return None


def _write(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    places, at = [], 0
    for name, value in arrays.items():
        places.append((name, value.dtype.str, value.shape, at, value.nbytes))
        at += -(-value.nbytes // _ALIGNED) * _ALIGNED
    body = np.zeros(at, np.uint8)
    for (_, _, _, begin, size), value in zip(places, arrays.values(), strict=True):
        body[begin : begin + size] = value.reshape(-1).view(np.uint8)
    header = json.dumps({"size": at, "xxh3": xxhash.xxh3_128_hexdigest(body.data), "arrays": places})
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".tables-")
    try:
        with open(handle, "wb") as stream:
            stream.write(header.encode() + b"\n")
            stream.write(body.data)
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink()
        raise


def _remove_old(folder: Path, name: str) -> None:
    """Leaves the files of a name that were used last."""
    files = sorted(folder.glob(f"{name}-*.tables"), key=lambda file: file.stat().st_mtime_ns)
    for file in files[:-MOST_FILES]:
        file.unlink(missing_ok=True)
