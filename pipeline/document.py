"""The document: a row's identity (doc_key), its reserved columns, and batches of rows.

A document is identified by its `doc_key`: 16 bytes of SHA-256 over where it stands in its source, never over where the
source is mounted nor over when it was read. All joins in the engine are by doc_key and verified.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.hashing import canonical

DOC_KEY = "doc_key"
COPY = "copy"
FROM_TASK = "from_task"
"""In shuffled outputs: the task, and so the ledger, that a row came from."""
TEXT = "text"
ID = "id"
URL = "url"
"""The input column by which people look a page up."""
KEY_BYTES = 16
KEY_TYPE = pa.binary(KEY_BYTES)
TEXT_TYPE = pa.large_string()
"""Text has 64-bit offsets, so that a slice may hold more than 2 GiB of it."""

PAYLOADS = ("html", "bytes")
"""Columns in which a source may bring documents as they were found, in place of text: a stage makes the text from them."""

SOURCE_RULE = "source_rule"
"""Column of a slice as its source read it, beside its schema: the rule by which the source drops a record, null for most."""

RESERVED = frozenset({DOC_KEY, COPY, FROM_TASK, SOURCE_RULE})
"""Columns that the engine makes; a stage's column of that name is refused, an input column goes on as `input_NAME`."""


_PAYLOAD_TYPES = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)


def doc_keys(source: str, snapshot: str | None, path: str, positions: np.ndarray) -> pa.FixedSizeBinaryArray:
    """doc_keys of the records at `positions` of one file.

    Args:
        source: the source's name in the config.
        snapshot: the source's snapshot label, or None.
        path: the file's path relative to the source's root, with forward slashes.
        positions: int64 array of record ordinals or byte offsets; one key is made for each.

    The key is SHA-256("gristmill.doc" 0x00 || SHA-256(canonical([source, snapshot, path])) || position as 8 bytes, big
    endian), cut to 16 bytes.
    """
    stem = hashlib.sha256(canonical([source, snapshot, path])).digest()
    prefix = hashlib.sha256(b"gristmill.doc\x00" + stem)
    pack = struct.Struct(">q").pack
    keys: list[bytes] = []
    for position in positions.tolist():
        one = prefix.copy()
        one.update(pack(position))
        keys.append(one.digest()[:KEY_BYTES])
    return keys_from_bytes(b"".join(keys))


def keys_from_bytes(data: bytes) -> pa.FixedSizeBinaryArray:
    """A doc_key array over concatenated 16-byte keys."""
    array = pa.FixedSizeBinaryArray.from_buffers(KEY_TYPE, len(data) // KEY_BYTES, [None, pa.py_buffer(data)])
    return array


def key_words(keys: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """doc_keys as a uint64 array of shape (rows, 2): big-endian high and low halves, so that numeric order of
    (high, low) is byte order of the keys."""
    array = one_chunk(keys)
    if array.null_count:
        raise ValueError(f"doc_key holds {array.null_count} nulls; every row must have a key")
    data = array.buffers()[1]
    if len(array) == 0 or data is None:
        return np.empty((0, 2), np.uint64)
    raw = np.frombuffer(data, np.dtype(">u8"), count=2 * len(array), offset=array.offset * KEY_BYTES)
    return raw.astype(np.uint64).reshape(-1, 2)


def keys_from_words(words: np.ndarray) -> pa.FixedSizeBinaryArray:
    """The inverse of `key_words`."""
    return keys_from_bytes(np.ascontiguousarray(words, dtype=np.uint64).astype(">u8").tobytes())


def key_sum(words: np.ndarray, counts: np.ndarray | None = None) -> int:
    """Σ n·doc_key mod 2^128 over rows; `counts` (int64, one n per row) defaults to 1 each.

    The sum of keys conserves identities where a count conserves only numbers: losing one row and doubling another
    leaves the count as it was and changes the sum.
    """
    if len(words) == 0:
        return 0
    mask = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    n = np.ones(len(words), np.uint64) if counts is None else counts.astype(np.uint64)
    if counts is not None and int(counts.max(initial=0)) >= 1 << 20:
        raise ValueError("a row cannot have 2^20 or more copies")
    total = 0
    # Partial sums of 32-bit limbs times counts below 2^20 stay below 2^64 for blocks of up to 2^12 rows.
    for start in range(0, len(words), 4096):
        block, m = words[start : start + 4096], n[start : start + 4096]
        high, low = block[:, 0], block[:, 1]
        for limb, bits in ((high >> shift, 96), (high & mask, 64), (low >> shift, 32), (low & mask, 0)):
            total += int((limb * m).sum(dtype=np.uint64)) << bits
    return total % (1 << 128)


def one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one contiguous array."""
    if isinstance(column, pa.ChunkedArray):
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return column


def text_buffers(column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """The Arrow buffers of a text column, without a copy.

    Returns (data, offsets): uint8 bytes and int64 offsets of shape (rows + 1,); row r is data[offsets[r]:offsets[r+1]].
    Null rows are empty. The column must be large_string (see TEXT_TYPE).
    """
    array = one_chunk(column)
    if array.type != TEXT_TYPE:
        raise TypeError(f"text must be large_string, found {array.type}")
    buffers = array.buffers()
    if len(array) == 0 or buffers[1] is None:
        return np.empty(0, np.uint8), np.zeros(len(array) + 1, np.int64)
    offsets = np.frombuffer(buffers[1], np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.empty(0, np.uint8) if buffers[2] is None else np.frombuffer(buffers[2], np.uint8)
    return data, offsets


def is_payload(kind: pa.DataType) -> bool:
    """Whether a column of a type can hold documents as they were found: text or bytes."""
    return any(check(kind) for check in _PAYLOAD_TYPES)


def payload_bytes(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Bytes of each row of a payload column, int64; null rows have 0."""
    lengths = pc.fill_null(pc.binary_length(one_chunk(column)), 0)
    return np.asarray(lengths).astype(np.int64)


def text_bytes(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """UTF-8 bytes of each row, int64."""
    _, offsets = text_buffers(column)
    return np.diff(offsets)


def blank_rows(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Which rows of a text column hold nothing but white space, or null: bool.

    Only short rows can be: a long one is looked at by its trimmed length.
    """
    array = one_chunk(column)
    blank: np.ndarray = text_bytes(array) == 0
    if array.null_count:
        blank |= np.asarray(array.is_null())
    # Trimming copies the text, so it is done only for rows that start with white space.
    starts = np.asarray(pc.fill_null(pc.utf8_is_space(pc.utf8_slice_codeunits(array, 0, 1)), False))
    suspects = np.flatnonzero(starts & ~blank)
    for start in range(0, len(suspects), 1024):
        rows = suspects[start : start + 1024]
        trimmed = pc.utf8_ltrim_whitespace(array.take(pa.array(rows)))
        blank[rows] = np.asarray(pc.binary_length(trimmed)) == 0
    return blank


def take(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """The given rows of a table, each column as one chunk."""
    return table.take(pa.array(rows, pa.int64())).combine_chunks()
