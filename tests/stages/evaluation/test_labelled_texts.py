"""Reading texts that carry their language."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.errors import ConfigError, DataError
from gristmill.stages.evaluation.labelled_texts import read_labelled

ROWS = [
    {"text": "moleiro", "language": "por", "script": "Latn"},
    {"text": "磨坊", "language": "zho", "script": "Hans"},
    {"text": "мельник", "language": "rus", "script": "Cyrl"},
]
LABELS = ["por_Latn", "cmn_Hani", "rus_Cyrl"]


def write_parquet(path: Path, rows: list[dict[str, object]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def delimited(separator: str) -> str:
    lines = ["text,language,script", *(",".join(row.values()) for row in ROWS)]
    return "\n".join(lines).replace(",", separator) + "\n"


JSON_LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", JSON_LINES.encode()),
        ("a.jsonl.gz", gzip.compress(JSON_LINES.encode())),
        ("a.csv", delimited(",").encode()),
        ("a.tsv", delimited("\t").encode()),
    ],
)
def test_text_files_give_texts_and_canonical_labels(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    found = read_labelled(tmp_path / name)
    assert found.texts.to_pylist() == [row["text"] for row in ROWS] and found.texts.type == pa.large_string()
    assert found.labels == LABELS and found.unknown == {}


def test_parquet_may_have_other_columns_of_any_type(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [{**row, "more": [1, 2]} for row in ROWS])
    assert read_labelled(path).labels == LABELS


def test_labels_outside_the_canonical_set_are_counted_with_the_nearest(tmp_path: Path) -> None:
    rows = [{"text": "x", "language": "xqz", "script": "Latn"}] + [
        {"text": "x", "language": "rus", "script": "Latn"}
    ] * 2
    found = read_labelled(write_parquet(tmp_path / "a.parquet", rows))
    assert found.labels == ["xqz_Latn", "rus_Latn", "rus_Latn"]
    assert found.unknown["rus_Latn"] == (2, "rus_Cyrl") and found.unknown["xqz_Latn"][0] == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"language": "pt"}, "row 1: 'pt' is not an ISO 639-3 code .* Did you mean por"),
        ({"language": "Portuguese"}, "row 1: 'Portuguese' is not an ISO 639-3 code"),
        ({"language": ""}, "row 1: '' is not an ISO 639-3 code"),
        ({"script": "Latin"}, "row 1: 'Latin' is not an ISO 15924 code .* Did you mean Latn"),
        ({"language": None}, "row 1: language is missing"),
        ({"text": None}, "row 1: text is missing"),
        ({"script": 3}, "column script: expected text, found"),
    ],
)
def test_wrong_codes_are_refused_with_their_row(tmp_path: Path, row: dict[str, object], message: str) -> None:
    first = {**ROWS[0], **row} if row.get("script") == 3 else {**ROWS[0]}
    rows: list[dict[str, object]] = [first, {**ROWS[0], **row}]
    with pytest.raises(ConfigError, match=message):
        read_labelled(write_parquet(tmp_path / "a.parquet", rows))


def test_missing_columns_files_and_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        read_labelled(tmp_path / "none.parquet")
    with pytest.raises(ConfigError, match="found text, lang. Add language, script"):
        read_labelled(write_parquet(tmp_path / "a.parquet", [{"text": "x", "lang": "por"}]))
    pq.write_table(pa.Table.from_pylist(ROWS).slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(ConfigError, match="no rows"):
        read_labelled(tmp_path / "empty.parquet")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"Expected \.parquet, \.jsonl"):
        read_labelled(tmp_path / "a.txt")


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz"])
def test_a_file_that_is_not_what_its_name_says_is_an_error_with_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x00\x01 not that")
    with pytest.raises(DataError, match=f"{name}: cannot be read"):
        read_labelled(tmp_path / name)
