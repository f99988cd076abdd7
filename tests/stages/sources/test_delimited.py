"""Tables of text as a source: delimiters, quotes, byte-order marks, broken rows, and cuts that change nothing."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.pipeline.errors import DataError
from gristmill.stages.sources.delimited import CsvSource, DelimitedConfig, TsvSource


def source(path: object, kind: type[CsvSource] = CsvSource, **options: object) -> CsvSource:
    return kind("s", DelimitedConfig(format="csv", paths=(str(path),), **options))


def read(reader: CsvSource) -> tuple[pa.Table, pa.Table]:
    found = [reader.read(one) for one in reader.slices()]
    return pa.concat_tables([r.table for r in found]), pa.concat_tables([r.rejects for r in found])


def texts(reader: CsvSource) -> list[str]:
    return list(read(reader)[0]["text"].to_pylist())


CELL = st.text(st.sampled_from('ab",;\n\r\té "'), max_size=8)


@settings(max_examples=60)
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=15), size=st.integers(1, 120), mark=st.booleans())
def test_any_slicing_gives_what_the_writer_wrote(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], size: int, mark: bool
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    body = io.StringIO()
    csv.writer(body, quoting=csv.QUOTE_ALL).writerows([("text", "other"), *rows])
    path.write_bytes(b"\xef\xbb\xbf" * mark + body.getvalue().encode())
    whole, rejects = read(source(path))
    assert rejects.num_rows == 0
    assert list(zip(whole["text"].to_pylist(), whole["other"].to_pylist(), strict=True)) == rows
    cut = source(path, slice_bytes=size)
    assert read(cut)[0].equals(whole)
    offsets = [offset for one in cut.slices() for offset in cut.offsets(one).tolist()]
    assert len(offsets) == len(rows) and offsets == sorted(offsets)


@settings(max_examples=100)
@given(
    body=st.lists(st.sampled_from(['"', ",", "\n", "a", "\r\n", "é", '""', "b,c", "\n\n"]), max_size=40),
    size=st.integers(1, 30),
)
def test_any_slicing_of_broken_rows_gives_the_same_rows_and_the_same_rejects(
    tmp_path_factory: pytest.TempPathFactory, body: list[str], size: int
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(("text,other\n" + "".join(body)).encode())
    whole, cut = source(path, delimiter=","), source(path, delimiter=",", slice_bytes=size)
    assert read(cut)[0].equals(read(whole)[0])
    assert read(cut)[1].equals(read(whole)[1])


def test_broken_rows_are_set_aside_with_their_line_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(
        b'id,text\n1,"one\nline"\n2,two,too many\n3\n\n4,"lost quote\n5,five\n6,\xff\n7,"a"b\n8,"six, ""quoted"""\n'
    )
    table, rejects = read(source(path))
    assert table["text"].to_pylist() == ["one\nline", "five", 'six, "quoted"']
    assert rejects["reason"].to_pylist() == [
        "wrong_number_of_fields", "wrong_number_of_fields", "broken_row", "not_utf8", "broken_row",
    ]  # fmt: skip
    lines = [detail.split(": ")[1] for detail in rejects["detail"].to_pylist()]
    assert lines == ["line 4", "line 5", "line 7", "line 9", "line 10"]
    assert rejects["position"].to_pylist()[0] == path.read_bytes().index(b"2,two")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "a.csv"
    rows = [["id", "text"], ["1", "a, b; c"], ["2", "no"], ["3", "x | y, z"]]
    path.write_text("".join(delimiter.join(f'"{cell}"' for cell in row) + "\n" for row in rows))
    assert texts(source(path)) == ["a, b; c", "no", "x | y, z"]
    path.write_text("text\nonly, one\ncolumn; here\n")
    assert texts(source(path, delimiter="|")) == ["only, one", "column; here"]


def test_tabulators_bare_quotes_and_files_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tn\n5" pipe, "as is\t1\n"second\t2\n')
    assert texts(source(path, TsvSource, quote=None)) == ['5" pipe, "as is', '"second']
    named = source(path, TsvSource, quote=None, header=False, columns={"text": "column_1"})
    assert texts(named) == ["text", '5" pipe, "as is', '"second']


def test_compressed_tables_give_the_same_rows(tmp_path: Path) -> None:
    body = b"id,text\n" + b"".join(b'%d,"text\n%d"\n' % (n, n) for n in range(100))
    for name, data in (("a.csv", body), ("b.csv.gz", gzip.compress(body)), ("c.csv.zst", zstandard.compress(body))):
        (tmp_path / name).write_bytes(data)
        assert texts(source(tmp_path / name)) == [f"text\n{n}" for n in range(100)]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "there is no record in it"),
        ("text,n\na,1\n".encode("utf-16"), "this is UTF-16. Convert it"),
        (b"text,text\na,b\n", "2 columns would be called `text`"),
        (b"body,n\na,1\n", "there is no column `text`; found body, n"),
    ],
)
def test_what_is_no_table_with_text_is_refused(tmp_path: Path, body: bytes, told: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(body)
    reader = source(path)
    with pytest.raises(DataError, match=told):
        reader.schema(reader.slices()[0])


def test_a_quote_that_is_never_closed_costs_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,text\n" + b'0,"open\n' + b"".join(b"%d,text\n" % n for n in range(5000)))
    table, rejects = read(source(path, slice_bytes=1000))
    assert table.num_rows == 5000 and rejects["reason"].to_pylist() == ["broken_row"]


def test_a_field_of_a_megabyte_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,n\n" + "x" * (3 << 20) + ",1\nnext,2\n")
    assert [len(text) for text in texts(source(path))] == [3 << 20, 4]
