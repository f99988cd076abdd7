"""Columns that Parquet, Arrow or Python have no form for: each is carried, made text, quarantined or refused by name."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.audit.explain import explain
from gristmill.pipeline.errors import DataError
from gristmill.stages.sources.columns import MAX_NESTING
from tests.pipeline.toy_runs import rows_of, run

CONFIG = """
max_quarantined: 1
sources:
  s: {{format: {format}, paths: ["{root}/in"]}}
outputs:
  corpus: {{path: "{root}/out"}}
"""


def carried(root: Path, format_: str) -> list[dict[str, Any]]:
    run(CONFIG.format(root=root, format=format_))
    return rows_of(root / "out")


def json_lines(root: Path, *records: dict[str, Any]) -> list[dict[str, Any]]:
    (root / "in").mkdir()
    (root / "in/a.jsonl").write_text("".join(json.dumps({"text": "some text", **r}) + "\n" for r in records))
    return carried(root, "jsonl")


def parquet(root: Path, column: pa.Array, name: str = "x") -> list[dict[str, Any]]:
    (root / "in").mkdir()
    pq.write_table(pa.table({"text": ["some text"] * len(column), name: column}), root / "in/a.parquet")
    return carried(root, "parquet")


@pytest.mark.parametrize("value", [{}, [{}], {"a": {}}, [[{"b": {}}]]])
def test_objects_without_keys_are_kept_as_json_text(tmp_path: Path, value: Any) -> None:
    assert json.loads(json_lines(tmp_path, {"e": value})[0]["e"]) == value


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize(("levels", "kept"), [(MAX_NESTING, 2), (MAX_NESTING + 1, 1), (150, 1), (900, 1), (5_000, 1)])
def test_a_record_nested_too_deep_is_quarantined(tmp_path: Path, levels: int, kept: int) -> None:
    (tmp_path / "in").mkdir()
    value = "[" * levels + "1" + "]" * levels if levels > 900 else json.dumps(nested(levels))
    (tmp_path / "in/a.jsonl").write_text('{"text": "one"}\n{"text": "two", "e": ' + value + "}\n")
    assert len(carried(tmp_path, "jsonl")) == kept
    reasons = [row["rule"] for row in rows_of(tmp_path / "out", "ledger") if row["decision"] == "quarantined"]
    assert len(reasons) == 2 - kept
    assert set(reasons) <= {"nested_too_deep", "not_json"}


def test_a_parquet_column_nested_too_deep_is_refused(tmp_path: Path) -> None:
    column = pa.array([1], pa.int8())
    for _ in range(MAX_NESTING + 1):
        column = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), column)
    with pytest.raises(DataError, match=r"a\.parquet: in the column `x` lists and structs lie 33 deep"):
        parquet(tmp_path, column)


_UUID = uuid.UUID(int=12)


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (pa.ExtensionArray.from_storage(pa.uuid(), pa.array([_UUID.bytes], pa.binary(16))), _UUID.bytes),
        (pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}"])), "{}"),
        (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8())), 1),
        (
            pa.ExtensionArray.from_storage(
                pa.fixed_shape_tensor(pa.int32(), [2]), pa.array([[1, 2]], pa.list_(pa.int32(), 2))
            ),
            [1, 2],
        ),
        (
            pa.ListArray.from_arrays(
                [0, 1], pa.ExtensionArray.from_storage(pa.uuid(), pa.array([_UUID.bytes], pa.binary(16)))
            ),
            [_UUID.bytes],
        ),
        (pa.array([["a"]], pa.list_(pa.string_view())), ["a"]),
        (pa.array([{"a": "b"}], pa.struct([("a", pa.dictionary(pa.int8(), pa.string()))])), {"a": "b"}),
    ],
    ids=["uuid", "json", "bool8", "tensor", "list of uuid", "list of views", "struct of dictionary"],
)
def test_extension_and_view_types_are_carried_as_what_they_hold(tmp_path: Path, column: pa.Array, found: Any) -> None:
    assert parquet(tmp_path, column)[0]["x"] == found


@pytest.mark.parametrize("zone", ["Mars/Phobos", "+99:00"])
def test_a_time_in_an_unknown_zone_is_carried_and_explained(tmp_path: Path, zone: str) -> None:
    (tmp_path / "in").mkdir()
    table = pa.table({"text": ["some text"], "at": pa.array([1_000_001], pa.timestamp("us", zone))})
    pq.write_table(table, tmp_path / "in/a.parquet")
    run(CONFIG.format(root=tmp_path, format="parquet"))
    written = pq.read_table(next((tmp_path / "out/data").iterdir()))
    assert written["at"].cast(pa.int64()).to_pylist() == [1_000_001]
    told = explain(str(tmp_path / "out"), written["doc_key"][0].as_py().hex())
    assert "1970-01-01 00:00:01.000001Z" in told.documents[0].columns["at"]


def test_an_id_that_has_no_form_as_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.parquet: the column `id` \(timestamp.*Give it another name"):
        parquet(tmp_path, pa.array([1], pa.timestamp("us", "Mars/Phobos")), "id")


def test_list_views_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the column `x` is struct<a: list_view.*write them as plain lists"):
        parquet(tmp_path, pa.array([{"a": [1, 2]}], pa.struct([("a", pa.list_view(pa.int8()))])))


def test_a_column_called_as_the_rule_of_a_source_drops_nothing(tmp_path: Path) -> None:
    (row,) = parquet(tmp_path, pa.array(["pdf"]), "source_rule")
    assert row["input_source_rule"] == "pdf" and "source_rule" not in row


def test_a_document_without_an_id_has_its_doc_key_for_one_row_by_row(tmp_path: Path) -> None:
    rows = json_lines(tmp_path, {"id": "a"}, {}, {"id": None}, {"id": ""})
    assert sorted((row["id"] == row["doc_key"].hex(), row["id"]) for row in rows)[0] == (False, "a")
    assert sum(row["id"] == row["doc_key"].hex() for row in rows) == 3


def test_whole_numbers_of_one_file_widen_to_the_floats_of_another(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_text(json.dumps({"text": "one text", "n": 3}) + "\n")
    (tmp_path / "in/b.jsonl").write_text(json.dumps({"text": "another text", "n": 0.5}) + "\n")
    assert sorted(row["n"] for row in carried(tmp_path, "jsonl")) == [0.5, 3.0]


def test_a_whole_number_that_no_float_holds_is_refused_beside_floats(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_text(json.dumps({"text": "one text", "n": (1 << 53) + 1}) + "\n")
    (tmp_path / "in/b.jsonl").write_text(json.dumps({"text": "another text", "n": 0.5}) + "\n")
    with pytest.raises(DataError, match=r"a\.jsonl: the column `n` is int64, but double in other files .* two sources"):
        carried(tmp_path, "jsonl")


def test_numbers_are_floats_where_a_config_says_so_though_the_first_lines_show_whole_ones(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    whole = {"text": "some text", "n": 1, "deep": [{"m": 2}]}
    late = [{**whole, "n": 0.5, "deep": [{"m": 0.25}]}, {**whole, "n": (1 << 53) + 1}]
    lines = [json.dumps(row) + "\n" for row in [whole] * 1000 + late]
    (tmp_path / "in/a.jsonl").write_text("".join(lines))
    text = CONFIG.format(root=tmp_path, format="jsonl")
    run(text)
    ledger = rows_of(tmp_path / "out", "ledger")
    assert len(ledger) == 1 and "`numbers: float` reads whole numbers as floats" in ledger[0]["witness"]
    run(text.replace("jsonl,", "jsonl, numbers: float,").replace("/out", "/floats"))
    rows = rows_of(tmp_path / "floats")
    assert sorted({(row["n"], row["deep"][0]["m"]) for row in rows}) == [(0.5, 0.25), (1.0, 2.0)] and len(rows) == 1001
    (refused,) = rows_of(tmp_path / "floats", "ledger")
    assert refused["rule"] == "value_of_another_type" and str((1 << 53) + 1) in refused["witness"]
