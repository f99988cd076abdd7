"""The headers of a Parquet file's pages, as far as they say whether a page has a checksum. A reader verifies those that are
there, and does not say that there are none.

A header is a struct in Thrift's compact protocol (https://github.com/apache/parquet-format: PageHeader; the checksum is
field 4, the sizes of the page are fields 2 and 3).
"""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq

MOST_HEADER = 1 << 16
"""Bytes of a page header that are read: statistics of long values may be in it, cut by writers long before."""
_USUAL_HEADER = 1 << 9
"""Bytes that nearly every header fits in; more are read of the others."""
_COMPRESSED, _CHECKSUM = 3, 4
_BOOLEANS, _BYTE, _NUMBERS, _DOUBLE, _BINARY, _LISTS, _MAP, _STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 11, 12
_MOST_DEPTH = 16


def page_without_checksum(file: pq.ParquetFile, stream: Any) -> str | None:
    """Where a file has a page without a checksum, or a header that is none; None when every page has one."""
    for group in range(file.metadata.num_row_groups):
        for index in range(file.metadata.num_columns):
            chunk = file.metadata.row_group(group).column(index)
            if not chunk.num_values:
                continue  # no reader looks at its pages, and writers give an empty dictionary no checksum
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and chunk.dictionary_page_offset:
                start = min(start, chunk.dictionary_page_offset)
            place, end = start, start + chunk.total_compressed_size
            while place < end:
                fields, size = _fields_at(stream, place, end)
                if _CHECKSUM not in fields:
                    return f"row group {group}, column {chunk.path_in_schema}: a page has no checksum"
                if fields.get(_COMPRESSED, -1) < 0:
                    return f"row group {group}, column {chunk.path_in_schema}: a page has no size"
                place += size + fields[_COMPRESSED]
    return None


def _fields_at(stream: Any, place: int, end: int) -> tuple[dict[int, int], int]:
    """The numbers of the header at a place, and its length; nothing and 0 for what is none."""
    for most in (_USUAL_HEADER, MOST_HEADER):
        stream.seek(place)
        try:
            return _Header(bytes(stream.read(min(most, end - place)))).read()
        except IndexError:
            continue
        except ValueError:
            break
    return {}, 0


class _Header:
    """One struct, of which the numbers among the fields are kept. Raises IndexError and ValueError for what is none."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def read(self) -> tuple[dict[int, int], int]:
        """Its numbers by field, and its length in bytes."""
        return self._struct(0), self.at

    def _byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
        raise ValueError("a number of more than ten bytes")

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _struct(self, depth: int) -> dict[int, int]:
        if depth > _MOST_DEPTH:
            raise ValueError("structs nested too deeply")
        fields: dict[int, int] = {}
        last = 0
        while byte := self._byte():
            kind = byte & 0x0F
            last = last + (byte >> 4) if byte >> 4 else self._number()
            if kind in _NUMBERS:
                fields[last] = self._number()
            elif kind not in _BOOLEANS:  # whose value is their kind
                self._skip(kind, depth)
        return fields

    def _skip(self, kind: int, depth: int) -> None:
        if kind in _NUMBERS:
            self._varint()
        elif kind == _BYTE or kind in _BOOLEANS:
            self.at += 1
        elif kind == _DOUBLE:
            self.at += 8
        elif kind == _BINARY:
            size = self._varint()
            self.at += size
        elif kind == _STRUCT:
            self._struct(depth + 1)
        elif kind in _LISTS:
            byte = self._byte()
            for _ in range(byte >> 4 if byte >> 4 < 15 else self._varint()):
                self._skip(byte & 0x0F, depth + 1)
        else:
            raise ValueError(f"a field of the kind {kind}, which no page header has")
        if self.at > len(self.data):
            raise IndexError
