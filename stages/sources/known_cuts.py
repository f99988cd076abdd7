"""Where crawls were found to be cut into slices, kept for the user: a walk over a file is done once and not by every plan.

An entry is named by a digest of the file's location, size and stamp, of the settings that decide cuts and of the source's
version. It begins with a SHA-256 of what follows, and holds for each cut a digest of the first bytes there. One that is
damaged, does not cover the file, or does not find these bytes is removed, and the file is walked again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt, TypeAdapter, ValidationError

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.source import FoundFile
from gristmill.pipeline.storage import is_remote, put, range_get, read_within
from gristmill.pipeline.storage.regular_files import MissingFileError
from gristmill.pipeline.user_cache import user_cache

Cut = tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt]
"""Of a slice: the byte at which it begins, its uncompressed bytes, its records."""

LEAST_FILE = 1 << 20
"""Bytes of a file below which a walk is as quick as a look."""
MAX_ENTRY = 4 << 20
MAX_CACHE = 256 << 20
"""Bytes of all entries; the oldest go first."""
_HEAD = 64
"""Bytes that are compared at the beginning of each slice."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    cuts: list[Cut]
    heads: list[str]


_ENTRY = TypeAdapter(_Entry)


@dataclass(frozen=True)
class KnownCuts:
    """The cuts of one file under some settings, if they are known.

    Args:
        file: the file; one without a stamp is never known.
        settings: all that decides where it is cut.
    """

    file: FoundFile
    settings: Mapping[str, Any]

    @property
    def _worth_it(self) -> bool:
        return self.file.size >= LEAST_FILE and self.file.stamp not in ("", "none")

    @property
    def _name(self) -> str:
        location = self.file.location if is_remote(self.file.location) else os.path.realpath(self.file.location)
        return digest("gristmill.cuts", [location, self.file.size, self.file.stamp, sorted(self.settings.items())])

    def found(self) -> list[Cut] | None:
        """The cuts, looked up and compared with the file; None when they are not known."""
        if not self._worth_it:
            return None
        folder = user_cache("cuts")
        try:
            data = read_within(str(folder), self._name, MAX_ENTRY)
        except MissingFileError:
            return None
        except StorageError:  # no regular file, or too large
            data = b""
        cuts = self._checked(data)
        if cuts is None:
            with contextlib.suppress(OSError):  # of another process, or a folder: a walk is due in any case
                (folder / self._name).unlink(missing_ok=True)
        return cuts

    def _checked(self, data: bytes) -> list[Cut] | None:
        seal, _, body = data.partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != seal:
            return None
        try:
            entry = _ENTRY.validate_json(body)
        except ValidationError:
            return None
        starts = [cut[0] for cut in entry.cuts]
        if starts[:1] != [0] or starts != sorted(set(starts)) or starts[-1] >= self.file.size:
            return None
        return entry.cuts if list(self._heads(entry.cuts)) == entry.heads else None

    def _heads(self, cuts: Sequence[Cut]) -> Iterator[str]:
        for start, _, _ in cuts:
            yield hashlib.sha256(range_get(self.file.location, start, _HEAD)).hexdigest()[:16]

    def keep(self, cuts: Sequence[Cut]) -> None:
        """Keeps the cuts that a walk found, where the cache can be written."""
        if not self._worth_it:
            return
        folder, name = user_cache("cuts"), self._name
        # A server that serves no ranges, a full disk, a folder that is gone: all that is lost is that the next plan walks.
        with contextlib.suppress(StorageError, OSError):
            body = _ENTRY.dump_json(_Entry(cuts=list(cuts), heads=list(self._heads(cuts))))
            if len(body) > MAX_ENTRY - 100:
                return
            put(str(folder / name), hashlib.sha256(body).hexdigest().encode() + b"\n" + body, seconds=0)
            if name.startswith("0"):  # looking at all entries at every sixteenth is often enough
                _prune(folder)


def _prune(folder: Path) -> None:
    """Removes the oldest entries until three quarters of MAX_CACHE are left."""
    entries = sorted((item.stat().st_mtime_ns, item.stat().st_size, item.path) for item in os.scandir(folder))
    held = sum(size for _, size, _ in entries)
    if held <= MAX_CACHE:
        return
    for _, size, path in entries:
        if held <= MAX_CACHE * 3 // 4:
            return
        Path(path).unlink(missing_ok=True)
        held -= size
