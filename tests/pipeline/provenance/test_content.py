"""The content digest: equal for equal rows however they are held, different for different rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.pipeline.provenance.content import ContentDigest, content_digest, logical_type

TABLE = pa.table(
    {
        "text": pa.array(["x", None, "yz", "", "ünï"], pa.large_string()),
        "score": pa.array([1.0, float("nan"), None, -0.0, 2.5], pa.float64()),
        "tags": pa.array([["a"], None, [], ["b", None], ["c", "c"]], pa.list_(pa.string())),
        "flag": pa.array([True, None, False, True, False]),
        "doc_key": pa.array([bytes([i]) * 16 for i in range(5)], pa.binary(16)),
        "when": pa.array([1, 2, None, 4, 5], pa.timestamp("us", "UTC")),
        "point": pa.array([{"a": 1}, None, {"a": None}, {"a": 3}, {"a": 4}], pa.struct([("a", pa.int32())])),
        "pairs": pa.array([[("k", 1)], None, [], [("a", None), ("b", 2)], []], pa.map_(pa.string(), pa.int32())),
        "nothing": pa.nulls(5),
    }
)
PINNED = "6b5fccb3263e7f5c8bdd933e0bc27885c7d09763f7f4b7df6b650f85a83e4767"


def test_the_digest_is_pinned() -> None:
    assert content_digest(TABLE) == PINNED


@given(cuts=st.lists(st.integers(0, 5), max_size=4))
def test_the_digest_does_not_depend_on_pieces(cuts: list[int]) -> None:
    digest = ContentDigest(TABLE.schema)
    edges = [0, *sorted(cuts), 5]
    for start, stop in zip(edges, edges[1:], strict=False):
        digest.update(TABLE.slice(start, stop - start))
    assert digest.hexdigest() == PINNED


@pytest.mark.parametrize(
    "cast",
    [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.large_string()), pa.string_view()],
)
def test_the_digest_does_not_depend_on_the_layout_of_strings(cast: pa.DataType) -> None:
    column = TABLE["text"].combine_chunks()
    held = column.dictionary_encode() if pa.types.is_dictionary(cast) else column.cast(cast)
    assert content_digest(TABLE.set_column(0, "text", held)) == PINNED


@pytest.mark.parametrize(
    "options", [{"compression": "none"}, {"compression": "zstd", "row_group_size": 2, "version": "1.0"}]
)
def test_the_digest_survives_parquet(tmp_path: Path, options: dict[str, Any]) -> None:
    table = TABLE.drop_columns(["nothing"])
    pq.write_table(table, tmp_path / "a.parquet", **options)
    assert content_digest(pq.read_table(tmp_path / "a.parquet")) == content_digest(table)


def test_the_order_of_columns_does_not_matter_but_the_order_of_rows_does() -> None:
    assert content_digest(TABLE.select(TABLE.column_names[::-1])) == PINNED
    assert content_digest(TABLE.take([1, 0, 2, 3, 4])) != PINNED


def test_bytes_under_nulls_do_not_matter() -> None:
    offsets = pa.py_buffer(np.array([0, 1, 3], np.int32))
    clean = pa.array(["a", None])
    dirty = pa.Array.from_buffers(pa.string(), 2, [pa.py_buffer(b"\x01"), offsets, pa.py_buffer(b"a??")])
    assert dirty.to_pylist() == clean.to_pylist()
    assert content_digest(pa.table({"c": dirty})) == content_digest(pa.table({"c": clean}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array(["ab", "c"]), pa.array(["a", "bc"])),
        (pa.array([None, ""]), pa.array(["", None])),
        (pa.array(["a", None]), pa.array(["a", ""])),
        (pa.array([[1], [2, 3]]), pa.array([[1, 2], [3]])),
        (pa.array([[], None]), pa.array([None, []], pa.list_(pa.null()))),
        (pa.array([1, 2], pa.int32()), pa.array([1, 2], pa.int64())),
        (pa.array([0.0]), pa.array([-0.0])),
        (pa.array([b"a"]), pa.array(["a"])),
        (pa.array([True]), pa.array([False])),
    ],
)
def test_different_columns_have_different_digests(one: pa.Array, other: pa.Array) -> None:
    assert content_digest(pa.table({"c": one})) != content_digest(pa.table({"c": other}))


def test_every_nan_is_the_same() -> None:
    odd = np.array([0x7FF8000000000001], np.uint64).view(np.float64)
    one, other = pa.array([float("nan")]), pa.array(odd, from_pandas=False)
    assert content_digest(pa.table({"c": one})) == content_digest(pa.table({"c": other}))


def test_a_column_name_enters() -> None:
    column = pa.array([1])
    assert content_digest(pa.table({"a": column})) != content_digest(pa.table({"b": column}))


def test_types_without_a_digest_are_refused() -> None:
    with pytest.raises(TypeError, match="has no content digest"):
        logical_type(pa.sparse_union([pa.field("a", pa.int8())]))
