"""Writing shards: Parquet of bounded size, cut by encoder-independent bytes, each with its provenance log in the footer.

With the locked dependencies the bytes of a shard follow from its rows and its log alone.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.pipeline.document import one_chunk
from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.hashing import canonical
from gristmill.pipeline.provenance.content import ContentDigest
from gristmill.pipeline.provenance.kinds import KindLog
from gristmill.pipeline.provenance.logs import LOG_KEY, LedgerLog, ShardLog, ShuffledLog
from gristmill.pipeline.provenance.values import to_json
from gristmill.pipeline.storage import WrittenFile, write_checked
from gristmill.pipeline.writing.encodings import by_types, by_values

_PIECE_BYTES = 32 << 20
_ROW_GROUP_BYTES = 64 << 20


@dataclass(frozen=True)
class Shard:
    """A written Parquet file with what its rows say."""

    file: WrittenFile
    rows: int
    content_digest: str


def row_bytes(table: pa.Table) -> np.ndarray:
    """Encoder-independent bytes of each row, int64: lengths of strings and binaries, 8 for anything else."""
    total = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_binary(column.type):
            lengths = one_chunk(pc.fill_null(pc.binary_length(column), 0))
            total += np.asarray(lengths, np.int64)
        else:
            total += 8
    return total


def cuts(sizes: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Consecutive runs of rows of at most `limit` bytes each (a larger single row is a run of its own)."""
    ends = np.cumsum(sizes)
    runs, start = [], 0
    while start < len(sizes):
        base = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, base + limit, side="right")))
        runs.append((start, stop))
        start = stop
    return runs


def write_parquet(
    location: str,
    schema: pa.Schema,
    pieces: Iterator[pa.Table],
    log: Callable[[int, str], LedgerLog | ShardLog | ShuffledLog | KindLog] | None = None,
    *,
    level: int = 3,
    compact: bool = False,
    attempt: str = "0",
) -> Shard:
    """Writes one Parquet file, reads it back, and opens it as a reader would before it counts.

    Args:
        location: where; a local path or a URL.
        schema: of the rows.
        pieces: the rows, in order; each is held in memory once.
        log: makes the footer log from the number of rows and their content digest.
        level: zstd level.
        compact: whether encodings follow from the values of the first piece, as in sidecars, and not from types alone.
        attempt: distinguishes partial files of attempts at the same task.

    Raises StorageError, and leaves no file, where the bytes on storage differ or no reader opens them.
    """
    digest = ContentDigest(schema)

    def write(stream: Any) -> None:
        _encode(stream, schema, pieces, digest, level, compact, log)

    file = write_checked(
        location, write, attempt, lambda stored: _open_as_reader(location, stored, schema, digest.rows)
    )
    return Shard(file, digest.rows, digest.hexdigest())


def _open_as_reader(location: str, stream: Any, schema: pa.Schema, rows: int) -> None:
    """Reads footer, schema and the first rows of the smallest row group: bytes may be on storage as they were written, which
    was compared before, and still open nowhere, such as a schema that is nested deeper than readers allow."""
    try:
        file = pq.ParquetFile(stream, page_checksum_verification=True)
        metadata = file.metadata
        found = (file.schema_arrow.names, metadata.num_rows)
        groups = [(metadata.row_group(group).total_byte_size, group) for group in range(metadata.num_row_groups)]
        if groups:
            next(file.iter_batches(1, row_groups=[min(groups)[1]], use_threads=False), None)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StorageError(
            f"{location}: the Parquet file that was written cannot be opened ({error}). It was removed. Leave out the column "
            "that no reader takes (`columns:` of the output), and report this."
        ) from error
    if found != (schema.names, rows):
        raise StorageError(
            f"{location}: the Parquet file that was written holds other columns or rows (expected {rows} rows of "
            f"{', '.join(schema.names):.200}, found {found[1]} of {', '.join(found[0]):.200}). It was removed; report this."
        )


def _encode(
    stream: Any,
    schema: pa.Schema,
    pieces: Iterator[pa.Table],
    digest: ContentDigest,
    level: int,
    compact: bool,
    log: Callable[[int, str], LedgerLog | ShardLog | ShuffledLog | KindLog] | None,
) -> None:
    ahead = list(itertools.islice(pieces, 1)) if compact else []
    writer = pq.ParquetWriter(
        stream,
        schema,
        compression="zstd",
        compression_level=level,
        write_page_checksum=True,
        version="2.6",
        **(by_values(ahead[0]) if ahead else by_types(schema)),
    )
    with writer:
        for piece in itertools.chain(ahead, pieces):
            digest.update(piece)
            writer.write_table(piece, row_group_size=_rows_per_group(piece))
        if log is not None:
            writer.add_key_value_metadata({LOG_KEY: canonical(to_json(log(digest.rows, digest.hexdigest()))).decode()})


def read_log(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any] | None:
    """The log in a Parquet file's key-value metadata, or None when it has none."""
    if metadata is None or LOG_KEY.encode() not in metadata:
        return None
    value = json.loads(metadata[LOG_KEY.encode()])
    return value if isinstance(value, dict) else None


def _rows_per_group(piece: pa.Table) -> int:
    if piece.num_rows == 0:
        return 1
    mean = max(1, piece.nbytes // piece.num_rows)
    return max(1, int(_ROW_GROUP_BYTES // mean))


def pieces_of(rows: np.ndarray, sizes: np.ndarray) -> Iterator[np.ndarray]:
    """Rows in runs small enough to be taken into memory at once."""
    for start, stop in cuts(sizes, _PIECE_BYTES):
        yield rows[start:stop]
