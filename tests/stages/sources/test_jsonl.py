"""JSON lines as a source: byte ranges, compression, and lines that are no documents."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.pipeline.errors import DataError
from gristmill.stages.sources import jsonl
from gristmill.stages.sources.jsonl import JsonlConfig, JsonlSource


def source(path: object, **options: object) -> JsonlSource:
    return JsonlSource("s", JsonlConfig(format="jsonl", paths=(str(path),), **options))


def read(reader: JsonlSource) -> tuple[pa.Table, pa.Table]:
    read = [reader.read(one) for one in reader.slices()]
    return pa.concat_tables([r.table for r in read]), pa.concat_tables([r.rejects for r in read])


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@settings(max_examples=30)
@given(texts=st.lists(st.text(max_size=30), min_size=1, max_size=20), size=st.integers(1, 200))
def test_any_slicing_gives_every_record_once_with_the_same_key(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], size: int
) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    path.write_bytes(lines(*({"text": text, "n": i} for i, text in enumerate(texts))))
    whole, _ = read(source(path))
    cut, rejects = read(source(path, slice_bytes=size))
    assert cut.equals(whole) and rejects.num_rows == 0
    assert whole["n"].to_pylist() == list(range(len(texts)))
    clean = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
    assert whole["text"].to_pylist() == clean


def test_compressed_files_give_the_keys_of_the_plain_one(tmp_path: Path) -> None:
    body = lines({"text": "one"}, {"text": "zwei"})
    (tmp_path / "p").mkdir()
    (tmp_path / "p/a.jsonl").write_bytes(body)
    (tmp_path / "g").mkdir()
    (tmp_path / "g/a.jsonl.gz").write_bytes(gzip.compress(body))
    (tmp_path / "z").mkdir()
    # Two frames, as parallel compressors write them.
    half = body.index(b"\n") + 1
    packed = zstandard.compress(body[:half]) + zstandard.compress(body[half:])
    (tmp_path / "z/a.jsonl.zst").write_bytes(packed)
    for folder in ("p", "g", "z"):
        assert read(source(tmp_path / folder))[0]["text"].to_pylist() == ["one", "zwei"]


def test_bad_lines_are_rejected_with_place_and_reason(tmp_path: Path) -> None:
    body = lines({"text": "fine", "n": 1})
    body += (
        b"{not json}\n" + b'{"text": "\xff\xfe"}\n' + b"[1, 2]\n" + b'{"text": 5}\n' + b'{"text": "x", "n": "one"}\n\n'
    )
    body += lines({"text": "fine too", "n": 2})
    (tmp_path / "a.jsonl").write_bytes(body)
    table, rejects = read(source(tmp_path / "a.jsonl"))
    assert table["text"].to_pylist() == ["fine", "x", "fine too"]
    assert table["n"].to_pylist() == ["1", "one", "2"], "a key of several types is kept as text"
    reasons = dict(zip(rejects["reason"].to_pylist(), rejects["detail"].to_pylist(), strict=True))
    assert set(reasons) >= {"not_json", "not_utf8", "not_an_object", "text_is_no_string"}
    assert reasons["not_json"].startswith("byte 25: ")
    assert rejects["bytes"].to_pylist()[0] == len(b"{not json}\n")


def test_lone_surrogates_become_replacement_characters(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a\\ud83dz \\ud83d\\ude00"}\n')
    assert read(source(tmp_path / "a.jsonl"))[0]["text"].to_pylist() == ["a�z \U0001f600"]


def test_a_truncated_gzip_file_stops_with_its_name(tmp_path: Path) -> None:
    body = gzip.compress(lines(*({"text": f"text {i}"} for i in range(20000))))
    (tmp_path / "a.jsonl.gz").write_bytes(body[: len(body) // 2])
    reader = source(tmp_path / "a.jsonl.gz")
    with pytest.raises(DataError, match=r"a.jsonl.gz: the file cannot be read"):
        read(reader)


def test_a_zstandard_file_that_ends_early_stops_with_its_name(tmp_path: Path) -> None:
    half = zstandard.compress(lines(*({"text": f"text {i}"} for i in range(2000))))
    body = half + half
    path = tmp_path / "a.jsonl.zst"
    for size in (1, 3, 5, len(half) - 5, len(half) - 1, len(half) + 2, len(half) + 9, len(body) - 1):
        path.write_bytes(body[:size])
        with pytest.raises(DataError, match=r"a.jsonl.zst: the file cannot be read to its end"):
            read(source(path))
    path.write_bytes(body + b"and more")
    with pytest.raises(DataError, match=r"a.jsonl.zst: the file cannot be read to its end"):
        read(source(path))


@pytest.mark.parametrize("late", [10**400, 2**53 + 1, -(10**30)])
def test_a_late_integer_that_no_float_equals_is_set_aside(tmp_path: Path, late: int) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(*[{"text": "a", "x": 0.5}] * 1000, {"text": "b", "x": late}))
    rows, rejects = read(source(tmp_path / "a.jsonl"))
    assert rows.num_rows == 1000
    assert rejects["reason"].to_pylist() == ["value_of_another_type"]


def test_a_missing_text_key_names_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines({"body": "x"}))
    reader = source(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="no column `text`; found body"):
        reader.schema(reader.slices()[0])


def test_a_last_line_without_a_line_break_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n{"text": "b"}')
    for size in (5, 14, 15, 100):
        assert read(source(tmp_path / "a.jsonl", slice_bytes=size))[0]["text"].to_pylist() == ["a", "b"]


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_what_expands_further_than_it_states_is_refused(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.stages.sources.streams.LEAST_EXPANDED", 1000)
    data = lines(*({"text": "a" * 1000} for _ in range(100)))
    path = tmp_path / f"a.jsonl{ending}"
    if ending == ".gz":
        path.write_bytes(gzip.compress(data) + gzip.compress(b""))  # the last member states no bytes
    else:
        path.write_bytes(zstandard.ZstdCompressor(write_content_size=False).compress(data))
    with pytest.raises(DataError, match=rf"a\.jsonl{ending}: .*more than the [\d,]+ uncompressed"):
        read(source(path))
    honest = gzip.compress(data) if ending == ".gz" else zstandard.ZstdCompressor().compress(data)
    path.write_bytes(honest)
    [one] = source(path).slices()
    assert one.expanded == len(data)
    assert read(source(path))[0].num_rows == 100


def test_many_lines_are_held_as_arrays_and_come_out_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gristmill.stages.sources.jsonl._BATCH_BYTES", 50)
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(*({"text": f"text {i}", "n": i, "x": [i]} for i in range(50))))
    table, _ = read(source(path))
    assert table["n"].to_pylist() == list(range(50))
    assert table["x"].to_pylist() == [[i] for i in range(50)]


def test_a_line_that_no_document_needs_is_quarantined_and_the_next_one_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines({"text": "a" * (17 << 20)}, {"text": "next"}))
    table, rejects = read(source(path, max_document_bytes=100, slice_bytes=1 << 30))
    assert table["text"].to_pylist() == ["next"]
    assert rejects["reason"].to_pylist() == ["line_too_long"]
    assert rejects["bytes"].to_pylist()[0] > 17 << 20


def test_a_key_that_appears_late_stops_is_kept_or_ignored_as_the_config_says(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(*({"text": f"text {i}"} for i in range(1200)), {"text": "z", "late": [1], "more": "ü"}))
    with pytest.raises(DataError, match=r"a\.jsonl: the record at byte 25290 has the key `late`.*`late_columns: keep`"):
        read(source(path))
    ignored, _ = read(source(path, late_columns="ignore"))
    assert ignored.num_rows == 1201 and "late_columns" not in ignored.column_names
    for size in (1 << 25, 5000):
        kept, _ = read(source(path, late_columns="keep", slice_bytes=size))
        assert json.loads(kept["late_columns"].to_pylist()[-1]) == {"late": [1], "more": "ü"}
        assert kept["late_columns"].null_count == 1200


def test_one_long_first_line_shows_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines({"text": "x" * (5 << 20), "n": 1}, {"text": "y", "n": 2}))
    assert read(source(path))[0]["n"].to_pylist() == [1, 2]


def test_text_in_an_object_is_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        lines({"doc": {"text": "a", "n": 1}}, {"doc": None}) * 600 + lines({"doc": {"text": 5}}, {"doc": 7})
    )
    reader = source(path, columns={"text": "doc.text", "number": "doc.n"}, constants={"year": 2024, "kind": "test"})
    table, rejects = read(reader)
    assert table.column_names == ["doc_key", "id", "text", "number", "year", "kind"]
    assert table.slice(0, 2).drop_columns(["doc_key", "id"]).to_pylist() == [
        {"text": "a", "number": 1, "year": 2024, "kind": "test"},
        {"text": None, "number": None, "year": 2024, "kind": "test"},
    ]
    assert rejects["reason"].to_pylist() == ["text_is_no_string"]
    only = [reader.read(one, frozenset({"number"})) for one in reader.slices()]
    assert only[0].rejects["reason"].to_pylist() == ["text_is_no_string"]
    assert only[0].table["number"].equals(table["number"])


def test_a_key_that_appears_late_within_an_object_is_treated_like_one_of_the_record(tmp_path: Path) -> None:
    early = {"text": "a", "meta": {"by": {"name": "n"}, "tags": [{"t": 1}]}, "n": 1}
    late = {
        "text": "z", "meta": {"by": {"name": "m", "age": 7}, "tags": [{"t": 2}, {"t": 3, "u": {"v": [1]}}], "new": None},
        "n": 2, "top": True,
    }  # fmt: skip
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(*[early] * 1200, late | {"top": True}, early))
    with pytest.raises(DataError, match=r"a\.jsonl: the record at byte \d+ has the key `top`"):
        read(source(path))
    for columns in (None, frozenset({"text", "late_columns"}), frozenset({"late_columns", "meta"})):
        reader = source(path, late_columns="keep")
        kept = pa.concat_tables([reader.read(one, columns).table for one in reader.slices()])[
            "late_columns"
        ].to_pylist()
        assert json.loads(kept[1200]) == {
            "top": True, "meta.by.age": 7, "meta.tags[1].u": {"v": [1]}, "meta.new": None,
        }  # fmt: skip
        assert kept.count(None) == 1201
    ignored, rejects = read(source(path, late_columns="ignore"))
    assert ignored["meta"].to_pylist()[1200] == {"by": {"name": "m"}, "tags": [{"t": 2}, {"t": 3}]}
    assert rejects.num_rows == 0
    del late["top"]
    path.write_bytes(lines(*[early] * 1200, late))
    with pytest.raises(DataError, match="has the key `meta.by.age`"):
        read(source(path))
    # Of a struct that is not passed on, nothing can be lost but its other fields.
    named, _ = read(source(path, columns={"by": "meta.by.name"}))
    assert named["by"].to_pylist()[-1] == "m" and "meta" not in named.column_names
    with pytest.raises(DataError, match="has the key `meta.by.age`"):
        read(source(path, columns={"by": "meta.by"}))


def test_a_small_file_is_parsed_once_for_its_columns_and_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        *(json.dumps({"id": str(n), "text": f"page {n}"}) for n in range(20)),
        '{"id": "0", "text": "page 0"}',
        "{no",
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    made = source(tmp_path)
    (one,) = made.slices()
    parsed: list[bytes] = []
    parse = jsonl._parsed
    monkeypatch.setattr(jsonl, "_parsed", lambda line: parsed.append(line) or parse(line))
    first = made.read(one)
    assert first.table["text"].to_pylist() == [f"page {n}" for n in (*range(20), 0)] and first.rejects.num_rows == 1
    # The line that comes twice, the one that cannot be parsed, and the nothing after the last line break are tried again.
    assert len(parsed) == len(lines) + 1 + 2
    again = made.read(one)
    assert again.table.equals(first.table) and again.rejects.equals(first.rejects)
    assert len(parsed) == len(lines) + 1 + 2 + len(lines), "the columns of a file are found once"
    assert pickle.loads(pickle.dumps(made)).__dict__.keys() == made.__dict__.keys() - {"_schemas", "_head"}
