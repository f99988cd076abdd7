"""Parquet as a source: slices, keys, and every kind of bad file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.document import doc_keys
from gristmill.pipeline.errors import ConfigError, DataError
from gristmill.pipeline.planning.plan import make_plan
from gristmill.pipeline.source import SourceConfig
from gristmill.stages.sources.parquet import ParquetSource
from tests.pipeline.toy_runs import plan_of


def source(*paths: object, **options: object) -> ParquetSource:
    return ParquetSource("s", SourceConfig(format="parquet", paths=tuple(str(path) for path in paths), **options))


def write(path: Path, texts: list[str | None], group: int = 1000, **columns: list[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {"id": [f"{path.stem}-{i}" for i in range(len(texts))], "text": pa.array(texts, pa.string()), **columns}
    )
    pq.write_table(table, path, row_group_size=group)
    return path


def all_rows(reader: ParquetSource) -> pa.Table:
    return pa.concat_tables([reader.read(one).table for one in reader.slices()])


def test_a_large_file_is_cut_at_row_groups_and_gives_the_same_keys(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [f"text {i} " + "x" * 90 for i in range(100)], group=10)
    whole = source(path)
    cut = source(path, slice_bytes=700)
    assert len(whole.slices()) == 1 and len(cut.slices()) > 3
    assert all_rows(cut).equals(all_rows(whole))
    expected = doc_keys("s", None, "a.parquet", np.arange(100))
    assert all_rows(cut)["doc_key"].combine_chunks().equals(expected)


def test_keys_do_not_depend_on_where_the_data_are_mounted(tmp_path: Path) -> None:
    one, two = tmp_path / "one/data", tmp_path / "elsewhere/mount/data"
    for folder in (one, two):
        write(folder / "x/a.parquet", ["first", "second"])
    keys = [all_rows(source(f"{folder}/**/*.parquet"))["doc_key"].to_pylist() for folder in (one, two)]
    assert keys[0] == keys[1]
    assert keys[0][0].hex() == "1c0afa4169e6494eb99a79414b88dd54"


def test_a_snapshot_makes_other_documents(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", ["first"])
    assert all_rows(source(path))["doc_key"] != all_rows(source(path, snapshot="2"))["doc_key"]


def test_text_becomes_large_string_and_a_missing_id_becomes_the_key(tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": ["a", None], "n": [1, 2]}), tmp_path / "a.parquet")
    table = all_rows(source(tmp_path / "a.parquet", columns={"text": "content"}))
    assert table.schema.field("text").type == pa.large_string()
    assert table["id"].to_pylist() == [key.hex() for key in table["doc_key"].to_pylist()]
    assert table["text"].to_pylist() == ["a", None]
    assert table["n"].to_pylist() == [1, 2]


def test_a_folder_a_file_and_a_glob_name_the_same_documents_below_the_same_root(tmp_path: Path) -> None:
    write(tmp_path / "d/a.parquet", ["a"])
    write(tmp_path / "d/b.parquet", ["b"])
    write(tmp_path / "d/_temporary/c.parquet", ["c"])
    folder = all_rows(source(tmp_path / "d"))
    assert folder["text"].to_pylist() == ["a", "b"]
    assert folder.equals(all_rows(source(tmp_path / "d/*.parquet")))
    assert folder.equals(all_rows(source(tmp_path / "d/a.parquet", tmp_path / "d/b.parquet")))
    assert all_rows(source(tmp_path / "d", exclude=("b.*",)))["text"].to_pylist() == ["a"]


def test_one_file_matched_by_two_patterns_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "d/a.parquet", ["a"])
    with pytest.raises(ConfigError, match=r"a.parquet is matched by .*/d` and again by .*a\.parquet`"):
        source(tmp_path / "d", path).slices()


def test_two_files_with_one_relative_path_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "d/a.parquet", ["a"])
    write(tmp_path / "e/a.parquet", ["a"])
    with pytest.raises(ConfigError, match=r"are both `a.parquet` below their roots"):
        source(tmp_path / "d", tmp_path / "e").slices()
    rooted = all_rows(source(tmp_path / "d", tmp_path / "e", root=str(tmp_path)))
    assert len(set(rooted["doc_key"].to_pylist())) == 2


def test_no_match_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\*\.parquet matches no file. Check the path"):
        source(tmp_path / "nothing*.parquet").slices()
    with pytest.raises(ConfigError, match="no path is given"):
        source().slices()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the file is empty"),
        (b"PAR1 but not really", "not a readable Parquet file"),
        (b'{"text": "json"}\n', "not a readable Parquet file"),
    ],
)
def test_what_is_no_parquet_is_refused(tmp_path: Path, body: bytes, told: str) -> None:
    (tmp_path / "a.parquet").write_bytes(body)
    with pytest.raises(DataError, match=told) as error:
        source(tmp_path / "a.parquet").slices()
    assert "a.parquet" in str(error.value) and error.value.exit_code == 3


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", ["some text"] * 100)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a readable Parquet file"):
        source(path).slices()


def test_a_damaged_page_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"id": ["1"], "text": ["0123456789abcdef" * 1000]})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    body = bytearray(path.read_bytes())
    place = body.find(b"0123456789abcdef" * 10)
    body[place + 50] ^= 0x01
    path.write_bytes(bytes(body))
    reader = source(path)
    with pytest.raises(DataError, match="row groups 0 to 0 cannot be read"):
        reader.read(reader.slices()[0])


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    )
    pq.write_table(pa.table({"id": ["1"], "text": bad}), path)
    reader = source(path)
    with pytest.raises(DataError, match="`text` holds text that is not UTF-8"):
        reader.read(reader.slices()[0])


def test_a_missing_text_column_names_what_there_is(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["a"], "n": [1]}), tmp_path / "a.parquet")
    reader = source(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"no column `text`; found body, n. Map one"):
        reader.schema(reader.slices()[0])
    reader = source(tmp_path / "a.parquet", columns={"text": "bdy"})
    with pytest.raises(DataError, match=r"no column `bdy` to map to `text`; did you mean `body`\?"):
        reader.schema(reader.slices()[0])


def test_a_text_column_of_numbers_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "a.parquet")
    reader = source(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="the column `text` is int64, not text"):
        reader.schema(reader.slices()[0])


CONFIG = """
sources: {{s: {{format: parquet, paths: ["{root}/*.parquet"]}}}}
stages: {{length: {{least: 0}}}}
outputs: {{o: {{path: "{root}/out"}}}}
"""


def test_files_with_other_columns_are_united_and_other_types_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", ["a"], extra=[1])
    write(tmp_path / "b.parquet", ["b"])
    plan = plan_of(CONFIG.format(root=tmp_path))
    assert plan.graph.source_schema["s"].names == ["id", "text", "extra"]
    write(tmp_path / "c.parquet", ["c"], extra=["one"])
    with pytest.raises(DataError, match=r"c.parquet: the column `extra` is string, but int64 in .*a.parquet"):
        plan_of(CONFIG.format(root=tmp_path))


def test_an_empty_shard_is_no_problem(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", ["a"])
    write(tmp_path / "b.parquet", [])
    assert len(make_plan(plan_of(CONFIG.format(root=tmp_path)).config).slices) == 2


def test_a_bracket_in_a_name_is_taken_as_it_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(pa.table({"text": ["one"]}), folder / "page [1] ü.parquet")
    pq.write_table(pa.table({"text": ["two"]}), folder / "page 1 ü.parquet")
    (one,) = ParquetSource("s", SourceConfig(format="parquet", paths=(f"{folder}/page [1] ü.parquet",))).slices()
    assert (one.path, one.location) == ("page [1] ü.parquet", f"{folder}/page [1] ü.parquet")
    with pytest.raises(DataError, match="stands for the bracket itself"):
        ParquetSource("s", SourceConfig(format="parquet", paths=(f"{folder}/page [7] ü.parquet",))).slices()
    (one,) = ParquetSource("s", SourceConfig(format="parquet", paths=(f"{folder}/page [[]1] ü*",))).slices()
    assert one.path == "page [1] ü.parquet"


def test_slices_are_cut_by_uncompressed_bytes_and_rows_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", ["x" * 10_000] * 40, group=10)
    [whole] = source(path).slices()
    assert whole.bytes < 10_000
    assert whole.rows == 40
    monkeypatch.setattr("gristmill.stages.sources.parquet.MAX_ROWS", 20)
    assert [one.rows for one in source(path).slices()] == [20, 20]
    monkeypatch.setattr("gristmill.stages.sources.parquet.MAX_ROWS", 1000)
    pq.write_table(
        pa.table({"text": [f"{i}" * 5000 for i in range(40)]}), path, row_group_size=10, use_dictionary=False
    )
    [whole] = source(path).slices()
    assert whole.expanded > 40 * 5000
    assert whole.bytes < whole.expanded // 10
    cut = source(path, slice_bytes=whole.expanded // 16).slices()
    assert len(cut) == 3
    assert all(one.expanded <= whole.expanded // 2 for one in cut)


def test_a_field_of_a_struct_is_named_by_its_path(tmp_path: Path) -> None:
    rows = [{"text": "a", "meta": {"lang": "en"}}, None, {"text": "c", "meta": None}]
    pq.write_table(pa.table({"doc": rows, "n": [1, 2, 3]}), tmp_path / "a.parquet")
    reader = source(tmp_path / "a.parquet", columns={"text": "doc.text", "lang": "doc.meta.lang"})
    table = all_rows(reader)
    assert table.column_names == ["doc_key", "id", "text", "n", "lang"]
    assert table["text"].to_pylist() == ["a", None, "c"] and table["lang"].to_pylist() == ["en", None, None]
    assert reader.read(reader.slices()[0], frozenset({"lang"})).table["lang"].equals(table["lang"])
    reader = source(tmp_path / "a.parquet", columns={"text": "doc.txt"})
    with pytest.raises(DataError, match=r"no column `doc.txt` to map to `text`; did you mean `doc.text`\?"):
        reader.schema(reader.slices()[0])


def test_a_column_with_a_dot_in_its_name_is_taken_before_a_field(tmp_path: Path) -> None:
    pq.write_table(pa.table({"doc.text": ["flat"], "x": [1]}), tmp_path / "a.parquet")
    assert all_rows(source(tmp_path / "a.parquet", columns={"text": "doc.text"}))["text"].to_pylist() == ["flat"]


def test_constants_are_columns_of_every_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", ["a", "b"])
    table = all_rows(source(path, constants={"set": "news", "year": 2024, "share": 0.5, "mine": True}))
    assert table.slice(1).select(["set", "year", "share", "mine"]).to_pylist() == [
        {"set": "news", "year": 2024, "share": 0.5, "mine": True}
    ]
    for name, told in (("text", "documents have of their own"), ("id", "of their own"), ("copy", "of their own")):
        with pytest.raises(ConfigError, match=told):
            source(path, constants={name: "x"}).schema(source(path).slices()[0])
    write(tmp_path / "b.parquet", ["a"], year=[1])
    reader = source(tmp_path / "b.parquet", constants={"year": 2})
    with pytest.raises(ConfigError, match="the input has a column of that name"):
        reader.schema(reader.slices()[0])


def thrift_list(*numbers: int) -> bytes:
    """Signed integers as a footer has them: variable-length, zigzag."""
    return b"".join(
        bytes([zigzag & 127 | 128, zigzag >> 7] if (zigzag := number << 1) > 127 else [zigzag]) for number in numbers
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        # A name of a column in the schema, which comes first, and not in the row group.
        (b"\x02id", b"\x02ie", "a column's name in row group 0: 'ie' and 'id'"),
        # The same name in the row group, which comes last.
        (b"\x02id", b"\x02i\xff", "name of column 0 in row group 0 is not UTF-8"),
        # num_rows of the file, which follows the schema: field 3, 64 bits.
        (b"\x16" + thrift_list(90), b"\x16" + thrift_list(80), "states 80 rows in all and 90 in its row groups"),
    ],
)
def test_a_footer_that_contradicts_itself_is_refused(tmp_path: Path, old: bytes, new: bytes, told: str) -> None:
    path = write(tmp_path / "a.parquet", [f"text {i}" for i in range(90)])
    data = path.read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    place = data.rindex(old) if b"\xff" in new else data.index(old, start)
    path.write_bytes(data[:place] + new + data[place + len(old) :])
    with pytest.raises(DataError, match=f"a.parquet: the footer.*{told}"):
        source(path).slices()


def test_a_row_group_with_fewer_rows_than_its_columns_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [f"text {i}" for i in range(90)])
    data = path.read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    old, new = b"\x16" + thrift_list(90), b"\x16" + thrift_list(80)
    # The rows of the file come first and those of its only row group last; between them are the columns' numbers of values.
    first, last = data.index(old, start), data.rindex(old)
    changed = bytearray(data)
    changed[first : first + 3] = changed[last : last + 3] = new
    path.write_bytes(changed)
    with pytest.raises(DataError, match="a number of rows in row group 0: 80 and 90"):
        source(path).slices()
