"""Shards without some documents: rows read in order, cut anew where a run without them would have cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import COPY, DOC_KEY, FROM_TASK, TEXT, key_sum, key_words, text_bytes
from gristmill.pipeline.provenance.logs import ShardLog, ShuffledLog
from gristmill.pipeline.provenance.removal import kept_rows
from gristmill.pipeline.provenance.task_record import OutputFile
from gristmill.pipeline.removal.old_run import OldRun, Row
from gristmill.pipeline.storage import join
from gristmill.pipeline.writing.parquet import cuts, pieces_of, row_bytes, write_parquet

OF_TASK, OF_BUCKET = 20, 24
"""Bytes that a task and a bucket count for what the engine adds to a row."""
MakeLog = Callable[[int, int, str, int], ShardLog | ShuffledLog]
"""The log of a shard from its number, rows, content digest and key sum."""


@dataclass(frozen=True)
class Shards:
    """Where rows come from and how they are cut.

    Attributes:
        rows: old shards, in the order of their rows.
        removed: doc_keys (uint64, documents × 2) that do not stay, ascending.
        base: OF_TASK or OF_BUCKET.
        shard_bytes: of a shard at most.
    """

    run: OldRun
    rows: Sequence[Row]
    removed: np.ndarray
    base: int
    shard_bytes: int

    def kept(self) -> Iterator[pa.Table]:
        """Rows that stay."""
        for row in self.rows:
            for piece in self.run.pieces(row):
                stay = kept_rows(piece[DOC_KEY], self.removed)
                if stay.any():
                    yield piece if stay.all() else piece.filter(pa.array(stay))

    def sizes(self, base: int | None = None) -> np.ndarray:
        """Encoder-independent bytes of the rows that stay, int64."""
        base = self.base if base is None else base
        return np.concatenate([np.empty(0, np.int64), *(row_sizes(piece, base) for piece in self.kept())])

    def write(self, folder: str, name: Callable[[int], str], log: MakeLog) -> list[OutputFile]:
        """Writes them anew; `name`: a shard's path in the output by its number."""
        files: list[OutputFile] = []
        if not self.rows:
            return files
        sizes, stream = self.sizes(), _Stream(self.kept())
        schema = self.run.schema(self.rows[0])
        for number, (start, stop) in enumerate(cuts(sizes, self.shard_bytes)):
            files.append(self._shard(folder, name(number), schema, stream, sizes[start:stop], number, log))
        return files

    def _shard(
        self, folder: str, path: str, schema: pa.Schema, stream: _Stream, sizes: np.ndarray, number: int, log: MakeLog
    ) -> OutputFile:
        keys = 0

        def pieces() -> Iterator[pa.Table]:
            nonlocal keys
            for part in pieces_of(np.arange(len(sizes)), sizes):
                table = stream.take(len(part))
                keys = (keys + key_sum(key_words(table[DOC_KEY]))) % (1 << 128)
                yield table

        shard = write_parquet(join(folder, path), schema, pieces(), lambda n, content: log(number, n, content, keys))
        return OutputFile(
            path=path, role="data", size=shard.file.size, sha256=shard.file.sha256, content_digest=shard.content_digest,
            rows=shard.rows, keys=keys,
        )  # fmt: skip


class _Stream:
    """Tables as one run of rows, of which some are taken after others."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self._rest: pa.Table | None = None

    def take(self, rows: int) -> pa.Table:
        """The next rows, in one chunk."""
        parts: list[pa.Table] = []
        while rows:
            table = next(self._tables) if self._rest is None or not self._rest.num_rows else self._rest
            parts.append(table.slice(0, rows))
            self._rest = table.slice(parts[-1].num_rows)
            rows -= parts[-1].num_rows
        return pa.concat_tables(parts).combine_chunks()


def row_sizes(table: pa.Table, base: int) -> np.ndarray:
    """Encoder-independent bytes of a shard's rows, int64; what the engine adds counts `base`."""
    rest = table.drop_columns([name for name in (DOC_KEY, COPY, FROM_TASK) if name in table.column_names])
    total = np.full(table.num_rows, base, np.int64)
    if TEXT in rest.column_names:
        total += text_bytes(rest[TEXT])
        rest = rest.drop_columns([TEXT])
    return np.asarray(total + row_bytes(rest))
