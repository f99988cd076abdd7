"""Arrow's files as a source: files, streams, folders of `datasets`, cuts that change nothing, and damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.feather
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.pipeline.errors import DataError
from gristmill.pipeline.planning.foreign_files import described, read
from gristmill.pipeline.source import SourceConfig
from gristmill.stages.sources.arrow import ArrowSource


def source(path: object, **options: Any) -> ArrowSource:
    return ArrowSource("s", SourceConfig(format="arrow", paths=(str(path),), **options))


def rows(reader: ArrowSource) -> pa.Table:
    return pa.concat_tables([reader.read(one).table for one in reader.slices()])


def write(path: Path, table: pa.Table, batch: int, stream: bool, compression: str | None = None) -> None:
    options = pa.ipc.IpcWriteOptions(compression=compression, emit_dictionary_deltas=stream)
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(str(path), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=batch)


@settings(max_examples=30)
@given(
    count=st.integers(0, 40),
    batch=st.integers(1, 15),
    size=st.integers(1, 3000),
    stream=st.booleans(),
    packed=st.booleans(),
)
def test_any_cut_of_files_and_streams_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, count: int, batch: int, size: int, stream: bool, packed: bool
) -> None:
    path = tmp_path_factory.mktemp("arrow") / "a.arrow"
    table = pa.table(
        {
            "text": pa.array([f"text {n}" for n in range(count)], pa.string()),
            "kind": pa.array([f"k{n % 3}" for n in range(count)]).dictionary_encode(),
            "doc": pa.array([{"n": n} for n in range(count)], pa.struct([("n", pa.int64())])),
        }
    )
    write(path, table, batch, stream, "zstd" if packed else None)
    whole = rows(source(path, columns={"n": "doc.n"}))
    assert whole.drop_columns(["doc_key", "id"]).to_pylist() == [
        {"text": f"text {n}", "kind": f"k{n % 3}", "n": n} for n in range(count)
    ]
    cut = source(path, columns={"n": "doc.n"}, slice_bytes=size)
    assert rows(cut).equals(whole)
    assert [cut.read(one, frozenset({"n"})).table["n"].to_pylist() for one in cut.slices()] == [
        cut.read(one).table["n"].to_pylist() for one in cut.slices()
    ]


def test_a_folder_that_datasets_saved_is_read_without_its_caches(tmp_path: Path) -> None:
    saved = datasets.Dataset.from_dict({"text": [f"text {n}" for n in range(50)]})
    datasets.DatasetDict({"train": saved}).save_to_disk(str(tmp_path / "set"), num_shards={"train": 3})
    (tmp_path / "set/train/cache-0123.arrow").write_bytes(b"nothing")
    reader = source(tmp_path / "set")
    assert [one.path for one in reader.slices()] == [f"train/data-0000{n}-of-00003.arrow" for n in range(3)]
    assert rows(reader)["text"].to_pylist() == [f"text {n}" for n in range(50)]


def test_feather_is_read(tmp_path: Path) -> None:
    pyarrow.feather.write_feather(pa.table({"text": ["a", "b"]}), str(tmp_path / "a.feather"), compression="lz4")
    assert rows(source(tmp_path / "a.feather"))["text"].to_pylist() == ["a", "b"]


@pytest.mark.parametrize("stream", [False, True])
def test_damage_is_told_with_the_files_name(tmp_path: Path, stream: bool) -> None:
    path = tmp_path / "a.arrow"
    write(path, pa.table({"text": [f"text {n}" for n in range(1000)]}), 100, stream)
    body = path.read_bytes()
    for bad in (b"", b"nothing of the kind", body[: len(body) // 2], body[:20] + bytes(200) + body[220:]):
        path.write_bytes(bad)
        with pytest.raises(DataError, match=r"a\.arrow: "):
            for one in described(source(path))[0]:
                read(source(path), one)


def test_wrong_offsets_and_text_that_is_not_utf8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    write(path, pa.table({"text": ["findable text", "another"]}), 10, False)
    body = path.read_bytes()
    path.write_bytes(body.replace(b"findable", b"find\xff\xfele"))
    reader = source(path)
    with pytest.raises(DataError, match=r"a\.arrow: the file cannot be read"):
        reader.read(reader.slices()[0])
    offsets = (13).to_bytes(4, "little") + (20).to_bytes(4, "little")
    assert body.count(offsets) == 1
    path.write_bytes(body.replace(offsets, (13).to_bytes(4, "little") + (1 << 30).to_bytes(4, "little")))
    with pytest.raises(DataError, match=r"a\.arrow: the file cannot be read"):
        reader.read(reader.slices()[0])
