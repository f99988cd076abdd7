"""Small files of a file system that are replaced on a condition, by creating files if they are absent and nothing else.

`NAME` is kept as `NAME.000000000007`: the highest number holds, it is the ETag, and whoever creates the next one of all who
try has replaced it. No lock is taken, so none is left behind, and a process that is killed leaves at most lower numbers.
File systems have no such operation, and locks of theirs may, on NFS and Lustre, be kept to one machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

_VERSION = re.compile(r"\.([0-9]{12})\Z")
_MOST = 1 << 16
"""Bytes of such a file that are read, at most."""


def read(path: Path) -> tuple[bytes, str] | None:
    """Content and ETag, or None when there is none."""
    while True:
        numbers = _numbers(path)
        if not numbers:
            return None
        try:
            with _version(path, numbers[-1]).open("rb") as stream:
                return stream.read(_MOST), str(numbers[-1])
        except FileNotFoundError:
            continue  # it was replaced between looking and reading


def replace(path: Path, data: bytes, etag: str | None, create: Callable[[Path, bytes], bool]) -> str | None:
    """The new ETag when the file had this one (None: when there was none) and now holds `data`; else None.

    Of all who try with one ETag at most one succeeds. None does where another has replaced the file again at once.
    `create` makes a file with some content unless there is one, and says whether it did.
    """
    before = int(etag) if etag is not None else 0
    mine = _version(path, before + 1)
    if not create(mine, data):
        return None
    numbers = _numbers(path)
    if numbers[-1:] != [before + 1]:
        return None  # replaced since, or a number made again by somebody slow: it counts for nothing, and is left to be cleared
    if before and before not in numbers:
        mine.unlink(missing_ok=True)  # the file was removed meanwhile
        return None
    # The one before stays: who lists the folder while names come and go must not find none of them.
    for number in numbers[:-2]:
        _version(path, number).unlink(missing_ok=True)
    return str(before + 1)


def delete(path: Path, etag: str) -> bool:
    """Removes the file if it has this ETag; whether it did."""
    numbers = _numbers(path)
    if not numbers or numbers[-1] != int(etag):
        return False
    for number in numbers[:-1]:
        _version(path, number).unlink(missing_ok=True)
    try:
        _version(path, int(etag)).unlink()
    except FileNotFoundError:
        return False
    return not _numbers(path)


def _version(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number:012d}")


def _numbers(path: Path) -> list[int]:
    try:
        names = os.listdir(path.parent)
    except FileNotFoundError:
        return []
    ends = (_VERSION.search(name) for name in names if name.startswith(path.name + "."))
    return sorted(int(end[1]) for end in ends if end and end.start() == len(path.name))


__all__ = ["delete", "read", "replace"]
