"""Files of lines: cut into byte ranges, and read back line by line."""

from __future__ import annotations

from collections.abc import Iterator

from gristmill.pipeline.source import FoundFile, Slice, SourceConfig
from gristmill.stages.sources.streams import (
    is_compressed,
    longest_record,
    most_expanded,
    refuse_expansion,
    uncompressed,
)


def cut_lines(source: str, file: FoundFile, slice_bytes: int, least_record: int) -> list[Slice]:
    """The slices of a file: byte ranges of a plain one, the whole of a compressed one. `least_record` are the bytes of the
    shortest document, for the bound on memory."""
    if is_compressed(file.location) or file.size <= slice_bytes:
        expanded = most_expanded(file)
        rows = expanded // least_record
        return [Slice(source, file.path, file.location, {}, file.size, file.size, file.stamp, expanded, rows)]
    return [
        Slice(
            source,
            file.path,
            file.location,
            {"start": start, "stop": min(start + slice_bytes, file.size)},
            min(start + slice_bytes, file.size) - start,
            file.size,
            file.stamp,
            rows=slice_bytes // least_record,
        )
        for start in range(0, file.size, slice_bytes)
    ]


def lines_of(one: Slice, config: SourceConfig) -> Iterator[tuple[int, bytes, int]]:
    """Lines that start in the slice, as (byte offset, bytes, length): a line belongs to the slice of its first byte. Of a
    line that no document within `max_document_bytes` can need, only the beginning is held.

    Raises DataError for a compressed file with more bytes than its slice states.
    """
    limit = longest_record(config)
    start, stop = one.part.get("start", 0), one.part.get("stop")
    with uncompressed(one.location) as stream:
        offset = start
        if start:
            stream.seek(start - 1)
            # Up to the first line break at or after start - 1: that line began in an earlier slice.
            offset = start - 1 + len(stream.readline())
        while stop is None or offset < stop:
            line = stream.readline(limit)
            if not line:
                return
            length = len(line)
            if length == limit and not line.endswith(b"\n"):
                while rest := stream.readline(1 << 20):
                    length += len(rest)
                    if rest.endswith(b"\n"):
                        break
            refuse_expansion(one, offset + length)
            yield offset, line, length
            offset += length
