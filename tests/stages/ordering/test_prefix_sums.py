"""Cumulative sums in an order: against sorting in one place, for any buckets."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gristmill.pipeline.document import DOC_KEY
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.file_exchange import FileExchange
from gristmill.pipeline.exchange.row_files import read_batches
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.testing import doc_key_column
from gristmill.stages.ordering.prefix_sums import ORDERED, GroupTotal, ordered_bits, prefix_sums


def rows_of(group: list[str], first: list[int], second: list[int], weight: list[int], seed: int = 1) -> pa.Table:
    count = len(group)
    columns = [doc_key_column(count, seed), [0] * count, group, first, second, weight]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, ORDERED, strict=True)], schema=ORDERED)


def run(
    table: pa.Table, bucket_rows: int, cuts: list[int], budget: int = 1 << 24
) -> tuple[dict[bytes, int], dict[str, GroupTotal]]:
    with TemporaryDirectory() as folder:
        files = []
        for number, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(table)], strict=True)):
            files.append(str(Path(folder) / f"rows-{number}.arrow"))
            with pa.ipc.new_file(files[-1], ORDERED) as writer:
                writer.write_table(table.slice(start, stop - start))
        exchange = FileExchange(InlineExecutor(), Path(folder) / "exchange", budget)
        found, totals = prefix_sums(Rows(tuple(files), ORDERED, len(table)), exchange, bucket_rows=bucket_rows)
        before: dict[bytes, int] = {}
        for file in found.files:
            for batch in read_batches(file, found.schema):
                before.update(zip(batch[DOC_KEY].to_pylist(), batch["before"].to_pylist(), strict=True))
        assert found.count == len(before)
        return before, totals


def brute_force(table: pa.Table) -> tuple[dict[bytes, int], dict[str, GroupTotal]]:
    groups: dict[str, list[tuple[int, int, bytes, int]]] = defaultdict(list)
    for row in table.to_pylist():
        groups[row["group"]].append((row["first"], row["second"], row[DOC_KEY], row["weight"]))
    before, totals = {}, {}
    for name, members in groups.items():
        held = 0
        for _, _, key, weight in sorted(members):
            before[key] = held
            held += weight
        totals[name] = GroupTotal(len(members), held)
    return before, totals


ROW = st.tuples(
    st.sampled_from(["", "a", "b", "ö", "z\x1fy"]),
    st.sampled_from([0, 1, 5, 2**63, 2**64 - 1]),
    st.integers(0, 3),
    st.integers(0, 1 << 40),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROW, max_size=120), st.integers(1, 40), st.data())
def test_sums_are_those_of_sorting_in_one_place(
    rows: list[tuple[str, int, int, int]], bucket_rows: int, data: st.DataObject
) -> None:
    group, first, second, weight = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
    table = rows_of(group, first, second, weight, data.draw(st.integers(1, 5)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    assert run(table, bucket_rows, cuts) == brute_force(table)


def test_one_group_of_equal_places_lies_in_many_buckets() -> None:
    count = 20_000
    draw = np.random.default_rng(3)
    table = rows_of(["only"] * count, [7] * count, [0] * count, draw.integers(0, 9, count).tolist())
    # So little memory that the exchange needs many partitions and pieces.
    assert run(table, 100, [], budget=1 << 20) == run(table, count, [5000]) == brute_force(table)


@pytest.mark.parametrize("spread", [(1, 5), (4, 5), (4, 2000)])
def test_ties_go_by_the_second_place_and_then_by_the_key(spread: tuple[int, int]) -> None:
    draw = np.random.default_rng(8)
    first, second = (draw.integers(0, most, 2000).tolist() for most in spread)
    table = rows_of(draw.choice(["a", "b"], 2000).tolist(), first, second, draw.integers(0, 9, 2000).tolist())
    assert run(table, 20, [700, 701]) == brute_force(table)


def test_weights_beyond_64_bits_are_refused() -> None:
    table = rows_of(["a"] * 4, [1, 2, 3, 4], [0] * 4, [1 << 62] * 4)
    with pytest.raises(DataError, match=r"the group 'a' add up to .*expected less than 2\^63"):
        run(table, 1, [])


def test_bits_have_the_order_of_the_numbers() -> None:
    values = np.array([-np.inf, -1e300, -1.5, -5e-324, -0.0, 0.0, 5e-324, 1.0, 1.5, 1e300, np.inf])
    bits = ordered_bits(values)
    assert bits.dtype == np.uint64
    assert bits[4] == bits[5]
    kept = np.delete(bits, 4)
    assert (kept[1:] > kept[:-1]).all() and kept[0] > 0
