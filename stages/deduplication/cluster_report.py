"""What the stages that find duplicates report: the largest clusters, crowded buckets, the retention of each source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY, KEY_TYPE, key_words, one_chunk
from gristmill.pipeline.errors import ConfigError, DataError
from gristmill.pipeline.exchange import Exchange, Rows
from gristmill.pipeline.planning.prior_runs import is_emitted

EXAMPLES = 3
"""Members listed of each large cluster, the keeper's cluster mates with the lowest doc_keys."""
CROWDED = 20
"""Crowded buckets listed, those with the most documents left out first."""
MAX_SOURCES = 10_000
"""Distinct values of the column `per_source`: its table travels and is printed whole."""

SIZES = pa.schema([("least", pa.int64()), ("clusters", pa.int64()), ("documents", pa.int64()), ("label", KEY_TYPE)])
"""Partial results of `largest_clusters`: per power of two the clusters and documents (label null), and the largest
clusters one by one (`least` is the size, `clusters` 1)."""
CROWDS = pa.schema(
    [("doc_key", KEY_TYPE), ("buckets", pa.int64()), ("documents", pa.int64()), ("unmatched", pa.int64())]
)
"""Partial results of `crowded_buckets`: the sum over all (doc_key null), and single buckets by their first leader."""
SURVIVORS = pa.schema(
    [("least", pa.int64()), ("clusters", pa.int64()), ("unmarked", pa.int64()), ("unmarked_lowest", pa.int64())]
)
"""By power of two of the size: clusters, those whose keeper has no mark, and those whose lowest doc_key has none."""
COUNTS = pa.schema([("source", pa.string()), ("documents", pa.int64())])


def largest_report(members: Rows, exchange: Exchange, listed: int, least: int) -> dict[str, Any]:
    """Clusters and duplicates in numbers, by size, and the `listed` largest of at least `least` with examples."""
    table = exchange.reduce(members, largest_clusters, {"listed": listed, "least": least})
    single = table["label"].is_valid()
    bins, top = table.filter(pc.invert(single)), table.filter(single)
    labels = [label.hex() for label in top["label"].to_pylist()]
    found: dict[str, list[str]] = {}
    if labels:
        examples = exchange.reduce(members, example_members, {"labels": labels})
        for row in examples.to_pylist():
            found.setdefault(row["label"].hex(), []).append(row[DOC_KEY].hex())
    clusters, documents = int(pc.sum(bins["clusters"]).as_py() or 0), int(pc.sum(bins["documents"]).as_py() or 0)
    return {
        "clusters": clusters,
        "duplicates": documents - clusters,
        "sizes": [
            {
                "from": row["least"],
                "to": 2 * row["least"] - 1,
                "clusters": row["clusters"],
                "documents": row["documents"],
            }
            for row in bins.to_pylist()
        ],
        "largest": [
            {"size": row["least"], "lowest": row["label"].hex(), "members": found[row["label"].hex()]}
            for row in top.to_pylist()
        ],
    }


def largest_clusters(tables: list[pa.Table], listed: int, least: int) -> pa.Table:
    """Combine for `reduce`, over members and its own results: SIZES. Each cluster counts where its lowest member is."""
    parts = [table if "least" in table.schema.names else _sizes(table) for table in tables]
    whole = pa.concat_tables(parts)
    single = whole["label"].is_valid()
    bins = whole.filter(pc.invert(single)).group_by("least").aggregate([("clusters", "sum"), ("documents", "sum")])
    bins = bins.rename_columns({"clusters_sum": "clusters", "documents_sum": "documents"}).sort_by("least")
    bins = bins.append_column("label", pa.nulls(bins.num_rows, KEY_TYPE)).select(SIZES.names)
    top = whole.filter(pc.and_(single, pc.greater_equal(whole["least"], least)))
    top = top.take(_order(top["least"], top["label"])[:listed])
    return pa.concat_tables([bins.cast(SIZES), top]).combine_chunks()


def _order(descending: pa.ChunkedArray, keys: pa.ChunkedArray) -> np.ndarray:
    words = key_words(keys)
    return np.lexsort((words[:, 1], words[:, 0], -descending.to_numpy()))


def _sizes(members: pa.Table) -> pa.Table:
    lowest = (key_words(members[DOC_KEY]) == key_words(members["label"])).all(axis=1)
    size = members["size"].to_numpy()
    heads = np.flatnonzero(lowest & (size > 1))
    size = size[heads].astype(np.int64)
    power = power_of_two(size)
    rows = len(heads)
    bins = pa.table([power, np.ones(rows, np.int64), size, pa.nulls(rows, KEY_TYPE)], schema=SIZES)
    label = one_chunk(members["label"]).take(pa.array(heads, pa.int64()))
    return pa.concat_tables([bins, pa.table([size, np.ones(rows, np.int64), size, label], schema=SIZES)])


def power_of_two(size: np.ndarray) -> np.ndarray:
    """The largest power of two that is not above, int64."""
    # frexp gives it exactly, where a logarithm might round.
    power: np.ndarray = np.left_shift(1, (np.frexp(size.astype(np.float64))[1] - 1).astype(np.int64))
    return power


def survivors_report(counts: Rows, exchange: Exchange) -> list[dict[str, int]]:
    """Clusters by size, those that survive a filter by the marks with the keepers that were chosen (`unmarked`), and those that
    would if the member with the lowest doc_key were kept whatever its marks (`unmarked_lowest`)."""
    rows = exchange.reduce(counts, add_survivors).to_pylist()
    return [{"from": row["least"], "to": 2 * row.pop("least") - 1, **row} for row in rows]


def add_survivors(tables: list[pa.Table]) -> pa.Table:
    """Combine for `reduce`, over SURVIVORS and its own results."""
    names = SURVIVORS.names[1:]
    summed = pa.concat_tables(tables).group_by("least", use_threads=False).aggregate([(name, "sum") for name in names])
    summed = summed.select(["least", *(f"{name}_sum" for name in names)]).rename_columns(SURVIVORS.names)
    return summed.cast(SURVIVORS).sort_by("least").combine_chunks()


def survivor_lines(report: Any) -> list[str]:
    """A table of `survivors_report`; empty for what is none."""
    rows = [["size", "clusters", "kept unmarked", "share", "by lowest", "share"]]
    for row in report if isinstance(report, list) else ():
        numbers = [row.get(name) if isinstance(row, dict) else None for name in ("from", "to", *SURVIVORS.names[1:])]
        least, most, clusters, unmarked, lowest = (n if isinstance(n, int) and 0 <= n < 1 << 62 else 0 for n in numbers)
        shares = [f"{number / clusters:.1%}" if clusters else "" for number in (unmarked, lowest)]
        size = str(least) if least == most else f"{least}–{most}"
        rows.append([size, f"{clusters:,}", f"{unmarked:,}", shares[0], f"{lowest:,}", shares[1]])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return lines if len(lines) > 1 else []


def example_members(tables: list[pa.Table], labels: Sequence[str]) -> pa.Table:
    """Combine for `reduce`: of each named cluster the EXAMPLES members with the lowest doc_keys; label and doc_key."""
    wanted = pa.array([bytes.fromhex(label) for label in labels], KEY_TYPE)
    found = pa.concat_tables([table.select([DOC_KEY, "label"]) for table in tables])
    found = found.filter(pc.is_in(found["label"], value_set=wanted)).combine_chunks()
    key, label = key_words(found[DOC_KEY]), key_words(found["label"])
    order = np.lexsort((key[:, 1], key[:, 0], label[:, 1], label[:, 0]))
    label = label[order]
    starts = np.ones(len(order), bool)
    starts[1:] = (label[1:] != label[:-1]).any(axis=1)
    place = np.arange(len(order)) - np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
    return found.take(pa.array(order[place < EXAMPLES], pa.int64())).combine_chunks()


def crowded_report(edges: Rows, exchange: Exchange) -> dict[str, Any]:
    """Buckets in which documents found neither a leader that they resemble nor room to become one."""
    table = exchange.reduce(edges, crowded_buckets)
    total = table.filter(table["doc_key"].is_null()).to_pylist()[0]
    single = table.filter(table["doc_key"].is_valid()).to_pylist()
    return {
        "crowded": {
            "buckets": total["buckets"],
            "documents": total["documents"],
            "unmatched": total["unmatched"],
            "most": [
                {"first": row["doc_key"].hex(), "documents": row["documents"], "unmatched": row["unmatched"]}
                for row in single
            ],
        }
    }


def crowded_buckets(tables: list[pa.Table]) -> pa.Table:
    """Combine for `reduce`, over edges and its own results: CROWDS."""
    whole = pa.concat_tables([table if "buckets" in table.schema.names else _crowds(table) for table in tables])
    single = whole["doc_key"].is_valid()
    rest = whole.filter(pc.invert(single))
    sums = [int(pc.sum(rest[name]).as_py() or 0) for name in CROWDS.names[1:]]
    total = pa.table([pa.nulls(1, KEY_TYPE), *([value] for value in sums)], schema=CROWDS)
    top = whole.filter(single)
    top = top.sort_by([("unmatched", "descending"), ("documents", "descending"), ("doc_key", "ascending")])
    return pa.concat_tables([total, top.slice(0, CROWDED)]).combine_chunks()


def _crowds(edges: pa.Table) -> pa.Table:
    found = edges.filter(pc.greater(edges["unmatched"], 0))
    one = pa.array(np.ones(found.num_rows, np.int64))
    single = pa.table([found["doc_key"], one, found["bucket_size"], found["unmatched"]], schema=CROWDS)
    summed = single.set_column(0, CROWDS.field(0), pa.nulls(single.num_rows, KEY_TYPE))
    return pa.concat_tables([single, summed])


def prior_report(members: Rows, exchange: Exchange) -> dict[str, int]:
    """What this run and prior ones have in common: `known`, documents of this run whose keeper a prior one holds, and
    `superseded`, documents that a prior run emitted and whose keeper is another one now."""
    table = exchange.reduce(members, count_prior)
    return {name: int(table[name][0].as_py()) for name in ("known", "superseded")}


def count_prior(tables: list[pa.Table]) -> pa.Table:
    """Combine for `reduce`, over members with keepers and its own results: one row with the counts of `prior_report`."""
    known = superseded = 0
    for table in tables:
        if "known" in table.schema.names:
            known += int(pc.sum(table["known"]).as_py())
            superseded += int(pc.sum(table["superseded"]).as_py())
            continue
        task = one_chunk(table["task"]).to_numpy()
        keeper = one_chunk(table["keeper_earlier"]).to_numpy(zero_copy_only=False)
        lost = (key_words(table[DOC_KEY]) != key_words(table["keeper"])).any(axis=1)
        known += int(((task >= 0) & keeper).sum())
        superseded += int((is_emitted(task) & lost & ~keeper).sum())
    return pa.table({"known": pa.array([known], pa.int64()), "superseded": pa.array([superseded], pa.int64())})


def retention_report(notes: Rows, members: Rows, exchange: Exchange, column: str) -> list[dict[str, Any]]:
    """Documents that entered and were removed by source, the source that loses most first."""
    entered = {row["source"]: row["documents"] for row in exchange.reduce(notes, by_source).to_pylist()}
    removed = {row["source"]: row["documents"] for row in exchange.reduce(members, removed_by_source).to_pylist()}
    if len(entered) > MAX_SOURCES:
        raise ConfigError(
            f"per_source: the column `{column}` has {len(entered)} values, and its table may have {MAX_SOURCES}. Name a "
            "column with fewer, such as the source or the dump."
        )
    rows = [
        {"source": source, "entered": count, "removed": removed.get(source, 0), "share": removed.get(source, 0) / count}
        for source, count in entered.items()
    ]
    return sorted(rows, key=lambda row: (-row["share"], row["source"] is None, row["source"] or ""))


def by_source(tables: list[pa.Table]) -> pa.Table:
    """Combine for `reduce`, over notes and its own results: documents by source."""
    return _counted([table if "documents" in table.schema.names else _ones(table) for table in tables])


def removed_by_source(tables: list[pa.Table]) -> pa.Table:
    """Combine for `reduce`, over members with keepers and its own results: documents by source that are no keepers."""
    parts = []
    for table in tables:
        if "documents" not in table.schema.names:
            lost = (key_words(table[DOC_KEY]) != key_words(table["keeper"])).any(axis=1)
            table = _ones(table.filter(pa.array(lost)))
        parts.append(table)
    return _counted(parts)


def _ones(table: pa.Table) -> pa.Table:
    # What prior runs read was counted there.
    table = table.filter(pc.greater_equal(table["task"], 0))
    return pa.table([table["source"], np.ones(table.num_rows, np.int64)], schema=COUNTS)


def _counted(tables: list[pa.Table]) -> pa.Table:
    whole = pa.concat_tables(tables).group_by("source").aggregate([("documents", "sum")])
    return whole.rename_columns(["source", "documents"]).cast(COUNTS).sort_by("source").combine_chunks()


def check_retention(rows: list[dict[str, Any]], column: str, most: float | None) -> None:
    """Raises DataError when more than the share `most` of a source's documents would be removed."""
    over = [row for row in rows if most is not None and row["share"] > most]
    if over:
        listed = ", ".join(f"{row['source']!r} {row['removed']} of {row['entered']}" for row in over[:10])
        more = f" and {len(over) - 10} more" if len(over) > 10 else ""
        raise DataError(
            f"deduplication would remove more than {most:.0%} of the documents of {len(over)} sources (by the column "
            f"`{column}`): {listed}{more}. Nothing was dropped. Look at the largest clusters in the report for what chains "
            "them together (boilerplate, empty templates), or raise `max_removed_per_source`."
        )
