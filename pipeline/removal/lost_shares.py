"""What outputs lose by source, licence and creator with the selected documents: their rows in all shards, counted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from gristmill.pipeline.audit.shares import unseen
from gristmill.pipeline.document import DOC_KEY, KEY_TYPE, TEXT, one_chunk, text_bytes
from gristmill.pipeline.provenance.removal import kept_rows
from gristmill.pipeline.provenance.shares import COLUMNS, Shares, shares_of
from gristmill.pipeline.removal.old_run import OldRun

SIZE = "text_bytes"


class LostRows:
    """Rows of documents that go, by output, without their texts."""

    def __init__(self, run: OldRun) -> None:
        self._run = run
        stated = run.manifest.accounts.shares
        self._parts: dict[str, list[pa.Table]] = {
            name: [] for name, output in run.outputs.items() if name in stated and not unseen(output.manifest)
        }

    def columns(self, output: str) -> tuple[str, ...]:
        """What to read of an output's shards beside doc_key and text."""
        there = self._run.outputs[output].manifest.data.columns
        return tuple(name for name in COLUMNS if name in there) if output in self._parts else ()

    def add(self, output: str, rows: pa.Table) -> None:
        """Keeps rows of an output's shard."""
        if output in self._parts:
            kept = rows.drop_columns([TEXT]).append_column(SIZE, pa.array(text_bytes(rows[TEXT]), pa.int64()))
            self._parts[output].append(kept)

    def shares(self, source: str, keys: np.ndarray) -> dict[str, Shares]:
        """By output, what it loses with documents of a source (uint64, documents × 2, ascending); only of outputs whose shards
        have what shares are counted by."""
        stated = self._run.manifest.sources[source].license
        found: dict[str, Shares] = {}
        for output, parts in self._parts.items():
            table = pa.concat_tables(parts).combine_chunks() if parts else pa.table({DOC_KEY: pa.array([], KEY_TYPE)})
            mine = table.filter(pa.array(~kept_rows(table[DOC_KEY], keys)))
            if mine.num_rows:
                columns = {name: one_chunk(mine[name]) for name in mine.column_names if name in COLUMNS}
                sizes = one_chunk(mine[SIZE]).to_numpy()
                found[output] = shares_of(source, stated, sizes, np.ones(len(sizes), np.int64), columns)
        return found


def minus_shares(
    shares: Mapping[str, Shares], lost: Mapping[str, Shares], rows: Mapping[str, int]
) -> dict[str, Shares]:
    """Shares without those of lost documents. Of an output that loses rows of which nothing is known, nothing is stated.

    Args:
        rows: by output, rows that it loses.
    """
    left = {}
    for name, held in shares.items():
        if not rows.get(name):
            left[name] = held
        elif name in lost and held.whole[0] > rows[name]:
            left[name] = held.without(lost[name])
    return left
