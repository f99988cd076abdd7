"""Candidates with their sets of shingles, for edges that are verified by true Jaccard similarity.

Notes hold a document's set once. Band rows without it find the buckets that two documents share; only their documents are
joined with their sets, so that what most documents have, fourteen buckets of their own, is never multiplied by the set.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, key_words, one_chunk
from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.exchange import Exchange, Rows
from gristmill.pipeline.exchange.row_files import MOST_BYTES

BUCKET = "bucket"
SETS = "shingles"


def sets_field(places: int) -> pa.Field:
    """The column of sets, which tells the exchange how large they may be."""
    return pa.field(SETS, pa.large_binary(), metadata={MOST_BYTES: str(4 * (places + 1))})


def with_sets(notes: Rows, shared: Rows, exchange: Exchange) -> Rows:
    """`shared`, the result of `shared_buckets`, as rows of `bucket`, `doc_key`, `task` and `shingles`."""
    both = Rows(notes.files + shared.files, notes.schema, notes.count + shared.count)
    return exchange.group(both, [DOC_KEY], attach_sets, sort=[DOC_KEY, BUCKET], prepare=sets_and_buckets)


def packed(schema: pa.Schema) -> str:
    """A schema as a parameter of a fold."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode("ascii")


def shared_buckets(tables: Iterator[pa.Table], notes: str) -> Iterator[pa.Table]:
    """Fold over `bucket`, `doc_key`, `task` sorted by (bucket, doc_key): the rows of buckets with two documents or more.

    They have the columns of the notes (`notes` is their `packed` schema), null apart from these three, so that the next
    operator reads both without a copy of either.
    """
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(notes)))
    # The last row, while it is the only one of its bucket; and the last bucket, when it has more.
    held: pa.Table | None = None
    going_on: int | None = None
    for piece in tables:
        table = (piece if held is None else pa.concat_tables([held, piece])).combine_chunks()
        bucket = one_chunk(table[BUCKET]).to_numpy()
        rows = len(bucket)
        same = np.zeros(rows + 1, bool)
        same[1:rows] = bucket[1:] == bucket[:-1]
        if rows and going_on is not None:
            same[0] = int(bucket[0]) == going_on
        shared = same[:-1] | same[1:]
        yield _as_notes(table.filter(pa.array(shared)), schema)
        if rows:
            going_on = int(bucket[-1]) if shared[-1] else None
            held = None if shared[-1] else table.slice(rows - 1)


def _as_notes(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = {name: one_chunk(table[name]) for name in (BUCKET, DOC_KEY, "task")}
    return pa.table([columns.get(field.name, pa.nulls(table.num_rows, field.type)) for field in schema], schema=schema)


def sets_and_buckets(table: pa.Table) -> pa.Table:
    """Notes that have a set, and rows of shared buckets: `doc_key`, `task`, `bucket`, `shingles`."""
    used = pa.array(np.asarray(table[SETS].is_valid()) | np.asarray(table[BUCKET].is_valid()))
    return table.select([DOC_KEY, "task", BUCKET, SETS]).filter(used).combine_chunks()


def attach_sets(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Fold over rows sorted by (doc_key, bucket), a document's note first: its buckets, each with the set."""
    note: pa.Table | None = None
    for piece in tables:
        table = (piece if note is None else pa.concat_tables([note, piece])).combine_chunks()
        is_note = np.asarray(table[BUCKET].is_null())
        rows = table.num_rows
        owner = np.maximum.accumulate(np.where(is_note, np.arange(rows), -1))
        candidates = np.flatnonzero(~is_note)
        keys = key_words(table[DOC_KEY])
        if len(candidates) and (owner[candidates[0]] < 0 or (keys[owner[candidates]] != keys[candidates]).any()):
            raise ConservationError(
                "a document has buckets and no set of shingles: its note was lost. Remove the work folder and run again."
            )
        sets = one_chunk(table[SETS]).take(pa.array(owner[candidates]))
        made = table.select([BUCKET, DOC_KEY, "task"]).take(pa.array(candidates))
        yield made.append_column(table.schema.field(SETS), sets).combine_chunks()
        if rows and owner[-1] >= 0:
            note = table.slice(int(owner[-1]), 1)
