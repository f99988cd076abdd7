"""The one place where bytes become identities: tagged SHA-256 over a canonical encoding.

Pre-images are `tag || 0x00 || canonical(value)`, so that digests of different kinds never collide by content. The
canonical encoding is JSON with sorted keys, no white space, UTF-8, integers and strings and booleans and nulls and
lists and string-keyed maps only; floats are encoded as their IEEE 754 hexadecimal form (`float.hex`), because decimal
forms differ between writers. Anything else is refused: nothing is ever passed through `str` or `repr`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_SAFE = frozenset({str, int, bool, type(None)})
"""Types that JSON encodes as they are. A subclass is looked at by `_plain`."""


def canonical(value: Any) -> bytes:
    """The canonical encoding of `value`.

    Raises TypeError for anything that has no stable encoding, naming its type and key path.
    """
    return _ENCODER.encode(value if type(value) in _SAFE else _plain(value)).encode("utf-8")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain(value: Any, path: tuple[object, ...] = ()) -> Any:
    kind = type(value)
    if kind in _SAFE:
        return value
    if kind is list or kind is tuple:
        return [item if type(item) in _SAFE else _plain(item, (*path, index)) for index, item in enumerate(value)]
    if isinstance(value, (int, str)):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            return {"float": "nan"}
        return {"float": value.hex()}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if kind is dict or isinstance(value, Mapping):
        made = {}
        for key, item in value.items():
            if type(key) is not str and not isinstance(key, str):
                raise TypeError(f"{_at(path)}: a map key must be a string to be hashed, found {type(key).__name__}")
            made[key] = item if type(item) in _SAFE else _plain(item, (*path, key))
        return made
    if isinstance(value, (list, tuple)):
        return [_plain(item, (*path, index)) for index, item in enumerate(value)]
    raise TypeError(f"{_at(path)}: {type(value).__name__} has no canonical encoding and cannot be hashed")


def _at(path: tuple[object, ...]) -> str:
    """A key path as it is told."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def digest(tag: str, value: Any) -> str:
    """SHA-256, in hexadecimal, of `tag || 0x00 || canonical(value)`."""
    return hashlib.sha256(tag.encode("ascii") + b"\x00" + canonical(value)).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256, in hexadecimal, of a local file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_digest(path: Path) -> str:
    """Digest of a file, or of a folder as the sorted list of (relative path, SHA-256) of the files in it."""
    if path.is_dir():
        files = sorted(item for item in path.rglob("*") if item.is_file())
        return digest("gristmill.folder", [[f.relative_to(path).as_posix(), file_digest(f)] for f in files])
    return file_digest(path)


class MerkleTree:
    """A Merkle tree over hexadecimal digests in the order given, as RFC 6962 defines it; memory grows with its height.

    Leaves are hashed with prefix 0x00 and inner nodes with prefix 0x01, and the split point is the largest power of two
    smaller than the number of leaves, so that no leaf can pass for a node and no list for another. The empty list has
    the root SHA-256("").
    """

    def __init__(self) -> None:
        self.leaves = 0
        self._whole: list[bytes] = []
        """Roots of the complete subtrees of what was added: one per bit that is set in `leaves`, the largest first."""

    def add(self, leaf: str) -> None:
        node = hashlib.sha256(b"\x00" + bytes.fromhex(leaf)).digest()
        self.leaves += 1
        for _ in range((self.leaves & -self.leaves).bit_length() - 1):
            node = _inner(self._whole.pop(), node)
        self._whole.append(node)

    def root(self) -> str:
        """The root in hexadecimal."""
        if not self._whole:
            return hashlib.sha256(b"").hexdigest()
        node = self._whole[-1]
        for left in reversed(self._whole[:-1]):
            node = _inner(left, node)
        return node.hex()


def merkle_root(leaves: Iterable[str]) -> str:
    """The root of the Merkle tree of hexadecimal digests."""
    tree = MerkleTree()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root()


def _inner(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
