"""Cumulative sums of integer weights over the documents of each group in an order, through the exchange.

Quantiles count the documents before each one; rounding to whole copies adds up the fractions before each one. Both need the
sum over everything that comes earlier in a group that may hold the whole corpus, and no task may walk such a group. So the
order, over all groups at once, is cut into buckets at the places of a sample:

    sample    the documents with the lowest hashes of their keys; every m-th of them, in order, is a splitter
    offsets   Σ weight by group and bucket, added up over the buckets before
    sums      each bucket sorted, added up from its groups' offsets on

A bucket is a range of the order, so a group lies in consecutive buckets and a bucket may hold many groups. What comes out
depends on the rows alone: buckets only decide who adds what.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY, KEY_TYPE, key_words, one_chunk
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.executor.function_names import reference, resolve
from gristmill.stages.kernels.draws import hashes
from gristmill.stages.ordering.kernels.buckets import Places, find_buckets, running_sums

if TYPE_CHECKING:
    from gristmill.pipeline.exchange import Exchange, Prepare, Rows

ORDERED = pa.schema(
    [
        (DOC_KEY, KEY_TYPE),
        ("task", pa.int32()),
        ("group", pa.string()),
        ("first", pa.uint64()),
        ("second", pa.uint64()),
        ("weight", pa.int64()),
    ]
)
"""Documents with their group, their place in its order (`first`, then `second`, then doc_key), and what they weigh."""
TOTALS = pa.schema([("group", pa.string()), ("bucket", pa.int32()), ("documents", pa.int64()), ("weight", pa.int64())])
_SAMPLE = pa.schema([("hash", pa.uint64()), *(ORDERED.field(name) for name in (DOC_KEY, "group", "first", "second"))])
BUCKET_ROWS = 1 << 16
"""Documents aimed at in a bucket."""
MOST_BUCKETS = 1024
"""Splitters travel to every task that reads the rows: about 100 bytes each."""
_PER_BUCKET = 64
"""Sampled documents for each bucket: a bucket then holds more than twice its share once in 10^10."""
_SALT = np.uint64(0x6F72646572)
"""Keeps the sample apart from other draws by doc_key."""


@dataclass(frozen=True)
class GroupTotal:
    """What a group holds: documents, and the sum of their weights."""

    documents: int
    weight: int


def prefix_sums(
    rows: Rows,
    exchange: Exchange,
    *,
    prepare: Prepare | None = None,
    params: Mapping[str, Any] | None = None,
    carry: Sequence[str] = (),
    bucket_rows: int = BUCKET_ROWS,
) -> tuple[Rows, dict[str, GroupTotal]]:
    """(rows `doc_key`, `task`, what is carried, and `before`: the sum of the weights before the document; totals by group).

    Args:
        rows: rows of ORDERED, or what `prepare` makes them of; weights are at least 0 and add up to less than 2^63 in a
            group.
        prepare: makes rows of ORDERED out of others, row by row; some may be left out.
        params: of `prepare`.
        carry: further columns of ORDERED to have in the result.
        bucket_rows: documents aimed at in a bucket. No result depends on it.
    """
    source = {"prepare": None if prepare is None else reference(prepare), "params": dict(params or {})}
    buckets = min(MOST_BUCKETS, -(-rows.count // bucket_rows))
    splitters: list[dict[str, Any]] = []
    if buckets > 1:
        sample = exchange.reduce(rows, smallest_hashes, {**source, "most": buckets * _PER_BUCKET})
        splitters = _splitters(sample, buckets)
    cut = {**source, "splitters": splitters}
    sums = exchange.reduce(rows, sums_by_bucket, cut)
    totals, offsets = _offsets(sums)
    found = exchange.group(
        rows,
        ["bucket"],
        sums_in_order,
        {"offsets": offsets, "carry": list(carry)},
        sort=["bucket", "group", "first", "second", DOC_KEY],
        prepare=with_buckets,
        prepare_params=cut,
    )
    return found, totals


def ordered_bits(values: np.ndarray) -> np.ndarray:
    """uint64 in the order of the float64 values, none of which may be NaN; −0 and 0 are equal."""
    bits = (np.asarray(values, np.float64) + 0.0).view(np.uint64)
    negative = (bits >> np.uint64(63)).astype(bool)
    return np.where(negative, ~bits, bits | np.uint64(1 << 63))


def _prepared(table: pa.Table, prepare: str | None, params: Mapping[str, Any]) -> pa.Table:
    return table if prepare is None else resolve(prepare)(table, **params)


def _splitters(sample: pa.Table, buckets: int) -> list[dict[str, Any]]:
    """Places between buckets, in order, as plain values."""
    ordered = sample.sort_by([(name, "ascending") for name in ("group", "first", "second", DOC_KEY)])
    chosen = [ordered.num_rows * number // buckets for number in range(1, buckets)]
    rows = ordered.take(pa.array(sorted({row for row in chosen if row > 0}), pa.int64())).to_pylist()
    return [{**row, DOC_KEY: row[DOC_KEY].hex()} for row in rows]


def _offsets(sums: pa.Table) -> tuple[dict[str, GroupTotal], list[list[Any]]]:
    """Totals by group; and for each group and bucket but the group's first, the weight before: [bucket, group, weight]."""
    totals: dict[str, GroupTotal] = {}
    offsets: list[list[Any]] = []
    for group, bucket, documents, weight in zip(*(sums[name].to_pylist() for name in TOTALS.names), strict=True):
        before = totals.get(group)
        if before is not None:
            offsets.append([bucket, group, before.weight])
            documents, weight = documents + before.documents, weight + before.weight
        if weight >= 1 << 63:
            raise DataError(f"the weights of the group {group!r} add up to {weight}; expected less than 2^63.")
        totals[group] = GroupTotal(documents, weight)
    return totals, offsets


# Functions for the exchange.


def smallest_hashes(
    tables: list[pa.Table], *, most: int, prepare: str | None = None, params: Mapping[str, Any]
) -> pa.Table:
    """Combines rows, or samples, into the `most` documents with the lowest hashes of their keys."""
    parts = [table if "hash" in table.column_names else _hashed(_prepared(table, prepare, params)) for table in tables]
    every = pa.concat_tables(part.select(_SAMPLE.names) for part in parts)
    if every.num_rows > most:
        every = every.take(pc.select_k_unstable(every, most, [("hash", "ascending"), (DOC_KEY, "ascending")]))
    return every.combine_chunks()


def _hashed(table: pa.Table) -> pa.Table:
    found = np.empty(table.num_rows, np.uint64)
    hashes(key_words(table[DOC_KEY]), _SALT, found)
    return table.append_column("hash", pa.array(found))


def sums_by_bucket(
    tables: list[pa.Table],
    *,
    splitters: Sequence[Mapping[str, Any]],
    prepare: str | None = None,
    params: Mapping[str, Any],
) -> pa.Table:
    """Combines rows, or sums, into sums by group and bucket, in order."""
    parts = []
    for table in tables:
        if "documents" in table.column_names:
            parts.append(table.select(TOTALS.names))
            continue
        placed = with_buckets(table, splitters=splitters, prepare=prepare, params=params)
        ones = pa.array(np.ones(placed.num_rows, np.int64))
        parts.append(placed.append_column("documents", ones).select(TOTALS.names))
    grouped = pa.concat_tables(parts).group_by(["group", "bucket"], use_threads=False)
    summed = grouped.aggregate([("documents", "sum"), ("weight", "sum")])
    summed = summed.select(["group", "bucket", "documents_sum", "weight_sum"]).rename_columns(TOTALS.names)
    return summed.cast(TOTALS).sort_by([("group", "ascending"), ("bucket", "ascending")]).combine_chunks()


def with_buckets(
    table: pa.Table,
    *,
    splitters: Sequence[Mapping[str, Any]],
    prepare: str | None = None,
    params: Mapping[str, Any],
) -> pa.Table:
    """Rows of ORDERED with the bucket of each."""
    rows = _prepared(table, prepare, params).select(ORDERED.names).combine_chunks()
    out = np.zeros(rows.num_rows, np.int32)
    if splitters and rows.num_rows:
        # Strings are ordered as Arrow orders them, by bytes.
        groups = [str(one["group"]).encode() for one in splitters]
        encoded = one_chunk(rows["group"]).dictionary_encode()
        names = [name.encode() for name in encoded.dictionary.to_pylist()]
        codes = np.asarray(encoded.indices, np.int64)
        starts = np.array([bisect_left(groups, name) for name in names], np.int64)
        stops = np.array([bisect_right(groups, name) for name in names], np.int64)
        keys = pa.array([bytes.fromhex(one[DOC_KEY]) for one in splitters], KEY_TYPE)
        at = Places(
            np.array([one["first"] for one in splitters], np.uint64),
            np.array([one["second"] for one in splitters], np.uint64),
            key_words(keys),
        )
        first, second = (one_chunk(rows[name]).to_numpy() for name in ("first", "second"))
        find_buckets(Places(first, second, key_words(rows[DOC_KEY])), at, starts[codes], stops[codes], out)
    return rows.append_column("bucket", pa.array(out))


def sums_in_order(
    tables: Iterator[pa.Table], *, offsets: Sequence[Sequence[Any]], carry: Sequence[str]
) -> Iterator[pa.Table]:
    """Fold over rows sorted by (bucket, group, place): the sum of the weights before each row in its group."""
    known = {(bucket, group): weight for bucket, group, weight in offsets}
    last: tuple[int, str] | None = None
    held = 0
    for table in tables:
        bucket = one_chunk(table["bucket"]).to_numpy()
        encoded = one_chunk(table["group"]).dictionary_encode()
        codes = np.asarray(encoded.indices, np.int64)
        names = encoded.dictionary.to_pylist()
        rows = table.num_rows
        change = np.ones(rows, bool)
        change[1:] = (bucket[1:] != bucket[:-1]) | (codes[1:] != codes[:-1])
        starts = np.flatnonzero(change)
        parts = [(int(bucket[row]), names[codes[row]]) for row in starts.tolist()]
        begin = np.array([held if part == last else known.get(part, 0) for part in parts], np.int64)
        weights = one_chunk(table["weight"]).to_numpy()
        out = np.empty(rows, np.int64)
        if rows:
            running_sums(weights, starts, begin, out)
            last, held = parts[-1], int(out[-1] + weights[-1])
        yield table.select([DOC_KEY, "task", *carry]).append_column("before", pa.array(out))
