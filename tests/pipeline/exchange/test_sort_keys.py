"""Order and hashes of rows: a function of their content, equal to Python's order of the same values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.pipeline.document import key_sum
from gristmill.pipeline.exchange.hash_kernels import hash_rows, key_sums, split_order
from gristmill.pipeline.exchange.sort_keys import argsort_words, sort_order

VALUES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "int8": (pa.int8(), st.integers(-128, 127)),
    "int64": (pa.int64(), st.sampled_from([-(2**63), -1, 0, 1, 2**63 - 1])),
    "uint64": (pa.uint64(), st.sampled_from([0, 1, 2**63, 2**64 - 1])),
    "bool": (pa.bool_(), st.booleans()),
    "string": (pa.string(), st.text(alphabet="ab\0é𝄞", max_size=4)),
    "large_binary": (pa.large_binary(), st.binary(max_size=3)),
    "binary3": (pa.binary(3), st.binary(min_size=3, max_size=3)),
    "binary16": (pa.binary(16), st.sampled_from([bytes(16), bytes(15) + b"\1", b"\xff" * 16])),
}


def ordered(value: Any) -> tuple[bool, Any]:
    """Python's order with nulls first and text by its bytes."""
    return (value is not None, value.encode() if isinstance(value, str) else 0 if value is None else value)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
    rows = draw(st.integers(0, 80))
    columns = {}
    for index, name in enumerate(names):
        kind, values = VALUES[name]
        drawn = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        columns[f"{index}-{name}"] = pa.array(drawn, kind)
    return pa.table(columns)


@given(table=tables(), by=st.integers(1, 4), seed=st.integers(0, 9))
def test_rows_are_ordered_as_python_orders_them_and_arrival_never_shows(table: pa.Table, by: int, seed: int) -> None:
    names = table.schema.names[:by]
    rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    found = table.take(pa.array(sort_order(table, names)))
    got = list(zip(*(column.to_pylist() for column in found.columns), strict=True))
    assert [tuple(map(ordered, row)) for row in got] == sorted(tuple(map(ordered, row)) for row in rows)
    turned = table.take(pa.array(np.random.default_rng(seed).permutation(len(rows))))
    assert turned.take(pa.array(sort_order(turned, names))).equals(found)


def test_columns_without_an_order_still_break_ties_by_content() -> None:
    count = 300
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "key": pa.array(np.zeros(count, np.int64)),
            "list": pa.array([rng.integers(0, 3, rng.integers(0, 3)).tolist() for _ in range(count)]),
            "struct": pa.array([{"x": float(rng.integers(0, 4)), "y": None} for _ in range(count)]),
            "sketch": pa.array([rng.integers(0, 2, 3).tolist() for _ in range(count)], pa.list_(pa.uint8(), 3)),
        }
    )
    found = table.take(pa.array(sort_order(table, ["key"])))
    turned = table.take(pa.array(rng.permutation(count)))
    assert turned.take(pa.array(sort_order(turned, ["key"]))).to_pylist() == found.to_pylist()
    assert found.to_pylist() != table.to_pylist()


@pytest.mark.parametrize("distinct", [1, 3, 50, 10**9])
def test_long_runs_of_equal_leading_bits_are_sorted_by_all_bits_and_stably(distinct: int) -> None:
    rng = np.random.default_rng(distinct)
    words = np.stack(
        [rng.integers(0, distinct, 60_000) << 30, rng.integers(0, 2, 60_000), rng.integers(0, 99, 60_000)], axis=1
    )
    words = words.astype(np.uint64)
    order, tied = argsort_words(words)
    expected = np.lexsort((words[:, 2], words[:, 1], words[:, 0]))
    assert (order == expected).all()
    in_order = words[expected]
    assert (tied[:-1] == (in_order[1:] == in_order[:-1]).all(axis=1)).all() and not tied[-1]


def test_row_hashes_are_pinned() -> None:
    # They decide the partition of a row, and with it the order of what the exchange gives out.
    hashes = hash_rows([pa.array([0, 1, None], pa.int16()), pa.array(["", "abc", "é" * 9])], 3)
    assert [f"{value:016x}" for value in hashes.tolist()] == [
        "85ef68249fef4216",
        "4b420d2f4eb0a92c",
        "7fff52f46c58f400",
    ]


@given(table=tables(), skip=st.integers(0, 5))
def test_row_hashes_do_not_depend_on_where_a_row_lies(table: pa.Table, skip: int) -> None:
    skip = min(skip, table.num_rows)
    columns = [column.combine_chunks() for column in table.columns]
    whole = hash_rows(columns, table.num_rows)
    sliced = hash_rows([column.slice(skip) for column in columns], table.num_rows - skip)
    copied = hash_rows([pa.array(column.slice(skip).to_pylist(), column.type) for column in columns], len(sliced))
    assert (whole[skip:] == sliced).all() and (sliced == copied).all()


def test_row_hashes_spread_sequential_keys_evenly() -> None:
    parts = (hash_rows([pa.array(np.arange(64_000))], 64_000) >> np.uint64(58)).astype(np.int64)
    counts = np.bincount(parts, minlength=64)
    # 1,000 expected in each; six standard deviations of a binomial are 190.
    assert counts.min() > 810 and counts.max() < 1190


@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), max_size=40))
def test_sums_by_partition_are_those_of_the_document_module(rows: list[tuple[int, int, int]]) -> None:
    parts = np.array([part for part, _, _ in rows], np.uint32)
    words = np.array([[high, low] for _, high, low in rows], np.uint64).reshape(-1, 2)
    order = np.empty(len(rows), np.uint32)
    bounds = split_order(parts, 4, order)
    sums = key_sums(words, order, bounds)
    for part in range(4):
        assert (parts[order[bounds[part] : bounds[part + 1]]] == part).all()
        assert int(sums[part, 0]) << 64 | int(sums[part, 1]) == key_sum(words[parts == part])
