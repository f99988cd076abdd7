"""Pages and text files as sources: a document per file or per line."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.pipeline.errors import ConfigError, DataError
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.source import Source, SourceConfig
from gristmill.stages.sources.html import HtmlSource
from gristmill.stages.sources.text import TextConfig, TextSource
from tests.pipeline.toy_runs import rows_of, run


def text(path: object, **options: Any) -> TextSource:
    return TextSource("s", TextConfig(format="text", paths=(str(path),), **options))


def html(path: object, **options: Any) -> HtmlSource:
    return HtmlSource("s", SourceConfig(format="html", paths=(str(path),), **options))


def read(reader: Source) -> tuple[pa.Table, pa.Table]:
    found = [reader.read(one) for one in reader.slices()]
    return pa.concat_tables([r.table for r in found]), pa.concat_tables([r.rejects for r in found])


def test_pages_are_read_as_their_bytes_however_they_are_grouped(tmp_path: Path) -> None:
    pages = {f"site/{n:02d}.html": b"<p>\xe9 page %d" % n for n in range(30)}
    for name, body in pages.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(body)
    (tmp_path / "site/style.css").write_text("p {}")
    whole, rejects = read(html(tmp_path))
    assert dict(zip(whole["file_path"].to_pylist(), whole["html"].to_pylist(), strict=True)) == pages
    assert rejects.num_rows == 0 and len(set(whole["doc_key"].to_pylist())) == 30
    assert len(html(tmp_path).slices()) == 1
    for size in (1, 40, 100):
        cut = html(tmp_path, slice_bytes=size)
        assert len(cut.slices()) > 3 and read(cut)[0].equals(whole)


def test_a_file_that_is_too_large_or_not_text_is_set_aside_by_its_name(tmp_path: Path) -> None:
    for name, body in (
        ("a.txt", b"\xef\xbb\xbfone\n"),
        ("b.txt", b"\xff\xfe"),
        ("c.txt", b"x" * 101),
        ("d.md", b"two"),
    ):
        (tmp_path / name).write_bytes(body)
    table, rejects = read(text(tmp_path, max_document_bytes=100))
    assert table["text"].to_pylist() == ["one\n", "two"]
    assert rejects["reason"].to_pylist() == ["not_utf8", "too_large"]
    assert [detail.split(": ")[1] for detail in rejects["detail"].to_pylist()] == ["b.txt", "c.txt"]
    assert rejects["bytes"].to_pylist() == [2, 101]


def test_a_file_that_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    reader = text(tmp_path)
    slices = reader.slices()
    (tmp_path / "a.txt").write_text("longer")
    with pytest.raises(DataError, match=r"a\.txt: expected 3 bytes"):
        reader.read(slices[0])


def test_other_encodings_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("naïve ©".encode("utf-16"))
    assert read(text(tmp_path, encoding="utf-16"))[0]["text"].to_pylist() == ["naïve ©"]
    for wrong in ("no-such", "zlib_codec"):
        config = f"sources: {{s: {{format: text, paths: {tmp_path}, encoding: {wrong}}}}}\noutputs: {{o: {{path: x}}}}"
        with pytest.raises(ConfigError, match="is no encoding that Python knows"):
            load(config, "c.yaml")


LINE = st.text(st.characters(exclude_characters="\n\r\ufeff", exclude_categories=["Cs"]), max_size=9)


@settings(max_examples=50)
@given(lines=st.lists(LINE, max_size=30), size=st.integers(1, 60), end=st.booleans())
def test_any_slicing_gives_every_line_once(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], size: int, end: bool
) -> None:
    folder = tmp_path_factory.mktemp("text")
    body = "\n".join(lines) + "\n" * end
    (folder / "a.txt").write_bytes(body.encode())
    expected = [line for line in body.split("\n")][: -1 if body.endswith("\n") or not body else None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gristmill.stages.sources.text._COUNTED", 7)
        reader = text(folder, record="line", slice_bytes=size)
        table, rejects = read(reader)
        assert all(reader.read(one).table.num_rows <= one.rows for one in reader.slices())
    assert table["text"].to_pylist() == expected and rejects.num_rows == 0
    (folder / "a.txt").rename(folder / "b.txt.orig")
    (folder / "a.txt.gz").write_bytes(gzip.compress(body.encode()))
    assert read(text(folder, record="line"))[0]["text"].to_pylist() == expected


def test_lines_that_cannot_be_decoded_are_set_aside(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\n\xff\n\r\nthree\r\n")
    table, rejects = read(text(tmp_path, record="line"))
    assert table["text"].to_pylist() == ["one", "", "three"]
    assert rejects["position"].to_pylist() == [4] and rejects["reason"].to_pylist() == ["not_utf8"]


def test_a_run_over_text_files_keeps_their_names(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for n in range(5):
        (tmp_path / f"in/{n}.txt").write_text(f"text {n}")
    (tmp_path / "in/blank.txt").write_text(" \n")
    run(f"sources: {{s: {{format: text, paths: {tmp_path}/in}}}}\noutputs: {{o: {{path: {tmp_path}/out}}}}\n")
    assert {row["file_path"]: row["text"] for row in rows_of(tmp_path / "out")} == {
        f"{n}.txt": f"text {n}" for n in range(5)
    }
    assert [row["rule"] for row in rows_of(tmp_path / "out", "ledger")] == ["empty_text"]
