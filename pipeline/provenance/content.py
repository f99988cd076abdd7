"""The content digest of a table: what it says, whatever codec, row groups, dictionaries or Arrow layout hold it.

Per column two SHA-256 streams are kept: one over the shape (a mark per row for nulls, lengths for values of variable
length) and one over the value bytes. Bytes under nulls are left out, NaN is canonical, integers and floats are little
endian, nested types recurse. The table's digest combines the columns sorted by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from gristmill.pipeline.hashing import digest

_WIDTHS: dict[int, np.dtype[Any]] = {bits: np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)}
_FLOATS: dict[int, np.dtype[Any]] = {bits: np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)}


def logical_type(kind: pa.DataType) -> str:
    """The name of a type as it enters the digest: what the values are, not how Arrow lays them out.

    Raises TypeError for types that a shard cannot hold (unions, run-end encoding, extension types).
    """
    if pa.types.is_dictionary(kind):
        return logical_type(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "string"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return "binary"
    if pa.types.is_fixed_size_binary(kind) and not pa.types.is_decimal(kind):
        return f"binary[{kind.byte_width}]"
    if pa.types.is_fixed_size_list(kind):
        return f"list<{logical_type(kind.value_type)}>[{kind.list_size}]"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{logical_type(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"map<{logical_type(kind.key_type)},{logical_type(kind.item_type)}>"
    if pa.types.is_struct(kind):
        inner = ",".join(f"{child.name}:{logical_type(child.type)}" for child in kind)
        return f"struct<{inner}>"
    if pa.types.is_primitive(kind) or pa.types.is_null(kind) or pa.types.is_decimal(kind):
        return str(kind)
    raise TypeError(f"a column of type {kind} has no content digest; cast it before it is written")


class _Streams:
    """Digest of one column (or nested child), fed chunk by chunk."""

    def __init__(self, kind: pa.DataType, hasher: Callable[[], Any] = hashlib.sha256) -> None:
        self.kind = kind
        self.name = logical_type(kind)
        self.shape = hasher()
        self.values = hasher()
        self.children: list[_Streams] = []
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        self.plain = plain
        if pa.types.is_struct(plain):
            self.children = [_Streams(child.type, hasher) for child in plain]
        elif pa.types.is_map(plain):
            self.children = [_Streams(plain.key_type, hasher), _Streams(plain.item_type, hasher)]
        elif _is_list(plain):
            self.children = [_Streams(plain.value_type, hasher)]

    def update(self, array: pa.Array) -> None:
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        kind = self.plain
        if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
            array = array.cast(pa.large_string() if pa.types.is_string_view(kind) else pa.large_binary())
        if self.name in ("string", "binary"):
            self._variable(array)
        elif pa.types.is_struct(kind):
            self._marks(array)
            present = array.drop_null() if array.null_count else array
            for child, values in zip(self.children, present.flatten(), strict=True):
                child.update(values)
        elif pa.types.is_map(kind):
            self._lengths(pc.list_value_length(array.cast(pa.list_(_entry(kind)))))
            present = array.drop_null() if array.null_count else array
            entries = present.cast(pa.list_(_entry(kind))).flatten()
            for child, values in zip(self.children, entries.flatten(), strict=True):
                child.update(values)
        elif _is_list(kind):
            self._lengths(pc.list_value_length(array))
            present = array.drop_null() if array.null_count else array
            self.children[0].update(present.flatten())
        elif pa.types.is_null(kind):
            self.shape.update(b"\x00" * len(array))
        else:
            self._fixed(array)

    def _marks(self, array: pa.Array) -> None:
        if array.null_count:
            self.shape.update(np.asarray(array.is_valid()).astype(np.uint8).tobytes())
        else:
            self.shape.update(b"\x01" * len(array))

    def _lengths(self, lengths: pa.Array) -> None:
        filled = pc.fill_null(lengths.cast(pa.int64()), pa.scalar(-1, pa.int64()))
        self.shape.update(np.ascontiguousarray(np.asarray(filled), "<i8").data)

    def _variable(self, array: pa.Array) -> None:
        if array.null_count:
            self._lengths(pc.binary_length(array))
            array = array.drop_null()
        elif len(array):
            self.shape.update(np.ascontiguousarray(np.diff(_offsets(array)), "<i8").data)
        values = array.buffers()[2] if len(array) else None
        if values is not None:
            offsets = _offsets(array)
            self.values.update(memoryview(values)[int(offsets[0]) : int(offsets[-1])])

    def _fixed(self, array: pa.Array) -> None:
        self._marks(array)
        if array.null_count:
            array = array.drop_null()
        if len(array) == 0:
            return
        if pa.types.is_boolean(array.type):
            self.values.update(np.asarray(array.cast(pa.uint8())).tobytes())
            return
        data = array.buffers()[1]
        if pa.types.is_fixed_size_binary(array.type) or pa.types.is_decimal(array.type):
            width = array.type.byte_width
            self.values.update(memoryview(data)[array.offset * width : (array.offset + len(array)) * width])
            return
        bits = array.type.bit_width
        raw = np.frombuffer(data, _WIDTHS[bits])[array.offset : array.offset + len(array)]
        if pa.types.is_floating(array.type):
            floats = raw.view(_FLOATS[bits])
            missing = np.isnan(floats)
            if missing.any():
                raw = raw.copy()
                raw[missing] = np.array([np.nan], floats.dtype).view(_WIDTHS[bits])[0]
        self.values.update(np.ascontiguousarray(raw).data)

    def finish(self) -> list[Any]:
        return [
            self.name,
            self.shape.hexdigest(),
            self.values.hexdigest(),
            [child.finish() for child in self.children],
        ]


def _offsets(array: pa.Array) -> np.ndarray:
    """Where the values of an array of variable length begin and end: one more than it has values."""
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    return np.frombuffer(array.buffers()[1], np.dtype("<i8" if wide else "<i4"))[array.offset :][: len(array) + 1]


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _entry(kind: pa.DataType) -> pa.DataType:
    return pa.struct([pa.field("key", kind.key_type, nullable=False), pa.field("value", kind.item_type)])


class ContentDigest:
    """The content digest of rows that come in pieces, with the digest of each column."""

    def __init__(self, schema: pa.Schema, hasher: Callable[[], Any] = hashlib.sha256) -> None:
        self._streams = {field.name: _Streams(field.type, hasher) for field in schema}
        if len(self._streams) != len(schema):
            raise ValueError(f"a table with doubled column names has no content digest: {schema.names}")
        self.rows = 0
        self._columns: dict[str, str] | None = None

    def update(self, piece: pa.Table | pa.RecordBatch) -> ContentDigest:
        """Adds rows; the pieces' boundaries do not enter the digest."""
        if set(piece.schema.names) != set(self._streams):
            raise ValueError(f"expected the columns {sorted(self._streams)}, found {sorted(piece.schema.names)}")
        self.rows += piece.num_rows
        self._columns = None
        for name, streams in self._streams.items():
            column = piece.column(name)
            for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
                streams.update(chunk)
        return self

    def columns(self) -> dict[str, str]:
        """Hexadecimal digest of each column: over its name, logical type, shape and values."""
        if self._columns is None:
            self._columns = {
                name: digest("gristmill.column", [name, *one.finish()]) for name, one in self._streams.items()
            }
        return self._columns

    def hexdigest(self) -> str:
        """Hexadecimal digest of the rows: over the number of rows and the column digests sorted by name."""
        return combine(self.rows, self.columns())


def combine(rows: int, columns: dict[str, str]) -> str:
    """The content digest of a table from its column digests."""
    return digest("gristmill.content", [rows, sorted(columns.items())])


def quick_checks(table: pa.Table) -> dict[str, str]:
    """A check of each column as its digest is made, but over XXH3-128: for noticing that a file has changed while a run
    is on, several times as fast as SHA-256. Nothing that is published rests on it."""
    return ContentDigest(table.schema, xxhash.xxh3_128).update(table).columns()


def content_digest(table: pa.Table) -> str:
    """The content digest of a whole table."""
    return ContentDigest(table.schema).update(table).hexdigest()
