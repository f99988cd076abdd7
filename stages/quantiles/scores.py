"""Scores of documents out of their columns, and the notes that a survey keeps of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY, key_words, one_chunk
from gristmill.pipeline.errors import ContractError
from gristmill.stages.labels.groups import group_columns
from gristmill.stages.ordering.prefix_sums import ORDERED, ordered_bits

SEPARATOR = "\x1f"
"""Stands between the values of several columns of a group."""
WHOLE = ""
"""The only group, where there are no columns to tell groups apart."""
LOWEST = np.uint64(0)
"""The place of a missing score that counts as the lowest: below that of minus infinity."""


def score_values(batch: pa.Table, name: str) -> np.ndarray:
    """float64 of a score column; NaN where there is none. A list counts its entries, a truth value is 0 or 1.

    Raises ContractError for a column of another type.
    """
    array = one_chunk(batch[name])
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        array = pc.list_value_length(array)
    elif pa.types.is_boolean(kind):
        array = array.cast(pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
        raise ContractError(
            f"the score column `{name}` is {kind}; expected numbers, or a list of rules, whose entries are counted. Name a "
            "column with numbers."
        )
    values: np.ndarray = np.asarray(array.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(), np.float64)
    return values


def groups_of(batch: pa.Table, names: Sequence[str]) -> pa.Array:
    """The group of each row as text."""
    if not names:
        return pa.array([WHOLE], pa.string()).take(pa.array(np.zeros(batch.num_rows, np.int64)))
    return pc.binary_join_element_wise(*group_columns(batch, names), pa.scalar(SEPARATOR))


def weights_of(batch: pa.Table, name: str | None) -> np.ndarray:
    """int64: what each document counts as; at least 0, and 0 for null.

    Raises ContractError for a column that does not hold whole numbers of at least 0.
    """
    if name is None:
        return np.ones(batch.num_rows, np.int64)
    array = one_chunk(batch[name])
    if not (pa.types.is_integer(array.type) or pa.types.is_null(array.type)):
        raise ContractError(f"weigh_by names the column `{name}` of type {array.type}; expected whole numbers.")
    weights: np.ndarray = np.asarray(array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), np.int64)
    if len(weights) and weights.min() < 0:
        raise ContractError(f"weigh_by: the column `{name}` holds {weights.min()}; a document weighs 0 or more.")
    return weights


def score_notes(
    batch: pa.Table, scores: Mapping[str, float], by_rank: bool, within: Sequence[str], weigh_by: str | None
) -> pa.Table:
    """One row per document: `group`, `weight` and its scores, `score_0`, …; one score, their weighted sum, unless ranks
    are combined. A score is null where it, or one of its parts, is null or no number."""
    columns = {
        DOC_KEY: one_chunk(batch[DOC_KEY]),
        "group": groups_of(batch, within),
        "weight": pa.array(weights_of(batch, weigh_by)),
    }
    ordered = sorted(scores.items())  # so that sums of floats have one value, however the config lists them
    parts = [score_values(batch, name) for name, _ in ordered]
    if not by_rank:
        total = np.zeros(batch.num_rows)
        for values, (_, factor) in zip(parts, ordered, strict=True):
            total = total + values * factor
        parts = [total]
    for number, values in enumerate(parts):
        columns[f"score_{number}"] = pa.array(values, mask=np.isnan(values))
    return pa.table(columns)


# Functions for the exchange.


def score_rows(table: pa.Table, *, number: int, missing_lowest: bool, falling: bool = False) -> pa.Table:
    """Notes as rows of `ORDERED` in the order of one score; documents without it are left out, or come first.

    Args:
        falling: whether the order is from the highest score down.
    """
    score = one_chunk(table[f"score_{number}"])
    known = score.is_valid().to_numpy(zero_copy_only=False)
    values = score.fill_null(0.0).to_numpy(zero_copy_only=False)
    places = np.where(known, ordered_bits(-values if falling else values), LOWEST)
    rows = {name: one_chunk(table[name]) for name in (DOC_KEY, "task", "group", "weight")}
    rows |= {"first": pa.array(places), "second": pa.array(np.zeros(len(places), np.uint64))}
    made = pa.table([rows[name] for name in ORDERED.names], schema=ORDERED)
    return made if missing_lowest else made.filter(pa.array(known))


COUNTED = pa.schema(
    [
        ("group", pa.string()),
        ("documents", pa.int64()),
        ("scored", pa.int64()),
        ("lowest", pa.float64()),
        ("highest", pa.float64()),
    ]
)


def count_scores(tables: list[pa.Table], *, number: int) -> pa.Table:
    """Combines notes, or counts, into counts by group: documents, those with the score, the lowest and the highest."""
    parts = [_counted(table, number) if DOC_KEY in table.column_names else table for table in tables]
    found = pa.concat_tables(part.select(COUNTED.names) for part in parts).group_by("group", use_threads=False)
    made = found.aggregate([("documents", "sum"), ("scored", "sum"), ("lowest", "min"), ("highest", "max")])
    made = made.select(["group", "documents_sum", "scored_sum", "lowest_min", "highest_max"])
    return made.rename_columns(COUNTED.names).cast(COUNTED).sort_by("group").combine_chunks()


def _counted(notes: pa.Table, number: int) -> pa.Table:
    score = one_chunk(notes[f"score_{number}"])
    ones = pa.array(np.ones(len(score), np.int64))
    columns = [one_chunk(notes["group"]), ones, score.is_valid().cast(pa.int64()), score, score]
    return pa.table(columns, schema=COUNTED)


RANKED = pa.schema([*(ORDERED.field(name) for name in (DOC_KEY, "task", "group", "weight")), ("rank", pa.float64())])


def rank_rows(table: pa.Table, *, factor: float, totals: Mapping[str, int]) -> pa.Table:
    """Cumulative sums as weighted quantiles, `rank`."""
    ranks = quantiles(table, totals) * factor
    return table.select(RANKED.names[:-1]).append_column("rank", pa.array(ranks)).cast(RANKED).combine_chunks()


def quantiles(table: pa.Table, totals: Mapping[str, int]) -> np.ndarray:
    """The share of its group's weight that lies before each document, with half of its own."""
    encoded = one_chunk(table["group"]).dictionary_encode()
    whole = np.array([totals[name] for name in encoded.dictionary.to_pylist()], np.float64)
    weight, before = (one_chunk(table[name]).to_numpy() for name in ("weight", "before"))
    with np.errstate(invalid="ignore"):
        found: np.ndarray = (before + weight * 0.5) / whole[np.asarray(encoded.indices, np.int64)]
    return found


def add_ranks(tables: Iterator[pa.Table], *, parts: int) -> Iterator[pa.Table]:
    """Fold over rows of RANKED sorted by doc_key: one row per document that has all `parts`, with the sum of its ranks as
    the score `score_0`."""
    rest = RANKED.empty_table()
    for piece in tables:
        table = pa.concat_tables([rest, piece.select(RANKED.names)]).combine_chunks()
        words = key_words(table[DOC_KEY])
        stop = len(words)
        while stop and (words[stop - 1] == words[-1]).all():  # the last document may go on in the next piece
            stop -= 1
        yield _added(table.slice(0, stop), parts)
        rest = table.slice(stop)
    yield _added(rest, parts)


def _added(rows: pa.Table, parts: int) -> pa.Table:
    rows = rows.combine_chunks()
    words = key_words(rows[DOC_KEY])
    first = np.ones(len(words), bool)
    first[1:] = (words[1:] != words[:-1]).any(axis=1)
    starts = np.flatnonzero(first)
    starts = starts[np.diff(np.append(starts, len(words))) == parts]
    rank = one_chunk(rows["rank"]).to_numpy()
    total = np.zeros(len(starts))
    for number in range(parts):
        total = total + rank[starts + number]
    made = rows.select(RANKED.names[:-1]).take(pa.array(starts))
    return made.append_column("score_0", pa.array(total)).combine_chunks()
