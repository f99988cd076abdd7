"""Which member of a cluster of duplicates is kept: policies as ranks, lowest rank first, ties by doc_key.

The default keeps the lowest doc_key, a pseudo-random member. Keeping the longest favours boilerplate: of two copies
the one with more navigation around it wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from gristmill.pipeline.document import TEXT, one_chunk, text_bytes
from gristmill.pipeline.errors import ContractError
from gristmill.stages.marks.columns import mark_column, marked_rows

WORST = np.uint64(0xFFFFFFFFFFFFFFFF)
"""Rank of a row whose value is missing: kept only if all members miss it."""


class Best(BaseModel):
    """`keeper: {best: COLUMN}`: the highest number in the column; rows without one are kept last."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    best: str


class SourceOrder(BaseModel):
    """`keeper: {source_order: [A, B], column: source}`: the first listed value of the column; others come after."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    source_order: tuple[str, ...] = Field(min_length=1)
    column: str = "source"


class Newest(BaseModel):
    """`keeper: newest` or `{newest: COLUMN}`: the latest date; rows without a date that can be read are kept last."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    newest: str = "date"


Keeper = Literal["lowest", "longest", "newest"] | Best | SourceOrder | Newest


def keeper_reads(keeper: Keeper, prefer_unmarked: tuple[str, ...]) -> frozenset[str]:
    """The columns that the ranks are made of."""
    marks = frozenset(mark_column(name) for name in prefer_unmarked)
    match keeper:
        case "lowest":
            return marks
        case "longest":
            return marks | {TEXT}
        case "newest":
            return marks | {Newest().newest}
        case Newest(newest=column) | Best(best=column) | SourceOrder(column=column):
            return marks | {column}


def ranks(batch: pa.Table, keeper: Keeper, prefer_unmarked: tuple[str, ...]) -> Mapping[str, pa.Array]:
    """`marked` (bool) and `rank` (uint64) of each row: the keeper is the member with the lowest (marked, rank, doc_key).

    Raises ContractError for a column whose type has no such order.
    """
    marked = np.zeros(batch.num_rows, bool)
    for name in prefer_unmarked:
        column = mark_column(name)
        marked |= marked_rows(batch[column], column)
    match keeper:
        case "longest":
            rank = ~text_bytes(batch[TEXT]).astype(np.uint64)
        case "newest":
            rank = _latest(batch[Newest().newest], Newest().newest)
        case Newest(newest=column):
            rank = _latest(batch[column], column)
        case Best(best=column):
            rank = _highest(batch[column], column)
        case SourceOrder(source_order=order, column=column):
            rank = _listed(batch[column], order)
        case _:
            rank = np.zeros(batch.num_rows, np.uint64)
    return {"marked": pa.array(marked), "rank": pa.array(rank, pa.uint64())}


def _descending(values: np.ndarray) -> np.ndarray:
    """uint64 in the opposite order of int64."""
    return ~(values.view(np.uint64) ^ np.uint64(1 << 63))


def _highest(column: pa.ChunkedArray, name: str) -> np.ndarray:
    array = one_chunk(column)
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_boolean(array.type)):
        raise ContractError(f"keeper: the column `{name}` of `best` is {array.type}; expected numbers.")
    missing = array.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    if pa.types.is_integer(array.type) and array.type != pa.uint64():
        rank = _descending(array.fill_null(0).cast(pa.int64()).to_numpy(zero_copy_only=False).copy())
    elif pa.types.is_integer(array.type):
        rank = ~array.fill_null(0).to_numpy(zero_copy_only=False)
    else:
        number = array.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False) + 0.0  # -0.0 is 0.0
        bits = number.view(np.int64)
        # IEEE 754: positive numbers are ordered like their bits, negative ones against them.
        rank = _descending(np.where(bits < 0, bits ^ np.int64(0x7FFFFFFFFFFFFFFF), bits))
    return np.where(missing, WORST, np.minimum(rank, WORST - np.uint64(1)))


def _latest(column: pa.ChunkedArray, name: str) -> np.ndarray:
    array = one_chunk(column)
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        moments = array.cast(pa.timestamp("us"), safe=False)
    elif pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        encoded = array.dictionary_encode()
        moments = pa.array([_moment(text) for text in encoded.dictionary.to_pylist()], pa.timestamp("us")).take(
            encoded.indices
        )
    else:
        raise ContractError(
            f"keeper: the column `{name}` of `newest` is {array.type}; expected dates, timestamps or text in ISO 8601."
        )
    missing = moments.is_null().to_numpy(zero_copy_only=False)
    values = pc.fill_null(moments.cast(pa.int64()), 0).to_numpy(zero_copy_only=False).copy()
    return np.where(missing, WORST, np.minimum(_descending(values), WORST - np.uint64(1)))


def _moment(text: str | None) -> datetime | None:
    """An ISO 8601 date or time in UTC, where none is stated; None for anything else."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found


def _listed(column: pa.ChunkedArray, order: tuple[str, ...]) -> np.ndarray:
    place = {value: index for index, value in enumerate(order)}
    encoded = one_chunk(column).dictionary_encode()
    table = [place.get(value, len(order)) for value in encoded.dictionary.to_pylist()]
    rows = pc.fill_null(encoded.indices, len(table)).to_numpy(zero_copy_only=False)
    return np.asarray(np.array([*table, len(order)], np.uint64)[rows])
