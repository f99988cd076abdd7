"""Files of lines, plain or compressed (`.gz`, `.zst`): their uncompressed bytes, and bounds on them."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import zstandard

from gristmill.pipeline.errors import DataError
from gristmill.pipeline.source import FoundFile, Slice, SourceConfig
from gristmill.pipeline.storage import open_read

COMPRESSED = (".gz", ".zst")
MAX_RECORD = 1 << 30
EXPANSION = 8
LEAST_EXPANDED = 64 << 20
"""A compressed file may have as many bytes uncompressed as it states (gzip's last four bytes, zstd's frame header), and
without that EXPANSION times its size, or LEAST_EXPANDED; what expands further is refused."""


def is_compressed(location: str) -> bool:
    """Whether a file is compressed, by its name."""
    return location.endswith(COMPRESSED)


def longest_record(config: SourceConfig) -> int:
    """Bytes of a line or record that a document within `max_document_bytes` may need."""
    return min(MAX_RECORD, 2 * config.max_document_bytes + (16 << 20))


@contextlib.contextmanager
def uncompressed(location: str) -> Iterator[IO[bytes]]:
    """The uncompressed bytes of a file. Raises DataError when they end early or are damaged."""
    try:
        with contextlib.ExitStack() as opened:
            stream = opened.enter_context(open_read(location))
            if location.endswith(".gz"):
                stream = opened.enter_context(gzip.GzipFile(fileobj=stream))
            elif location.endswith(".zst"):
                # Arrow's stream fails where a file ends within a frame; zstandard's takes that for the end of the data.
                stream = opened.enter_context(pa.CompressedInputStream(stream, "zstd"))
            yield stream if isinstance(stream, io.BufferedReader) else opened.enter_context(io.BufferedReader(stream))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{location}: the file cannot be read to its end ({error}). It is truncated or damaged: restore it, "
            "or leave it out with `exclude`."
        ) from error


def most_expanded(file: FoundFile) -> int:
    """Most bytes that a file may have uncompressed."""
    stated = file.size
    if is_compressed(file.location):
        stated = max(EXPANSION * file.size, LEAST_EXPANDED)
        with open_read(file.location) as stream:
            if file.location.endswith(".gz") and file.size >= 18:
                stream.seek(-4, io.SEEK_END)
                stated = max(stated, int.from_bytes(stream.read(4), "little"))
            elif file.location.endswith(".zst"):
                with contextlib.suppress(zstandard.ZstdError):  # damage is told where the file is read
                    stated = max(stated, zstandard.frame_content_size(stream.read(18)))
    return stated


def refuse_expansion(one: Slice, reached: int) -> None:
    """Raises DataError for a compressed file with more bytes than its slice states."""
    if is_compressed(one.location) and reached > one.expanded:
        raise DataError(
            f"{one.location}: the file of {one.file_bytes:,} bytes has more than the {one.expanded:,} uncompressed "
            "that it states or that are assumed, so memory could not be bounded. Compress it anew as one stream "
            "that states its size, unpack it, or leave it out with `exclude`."
        )
