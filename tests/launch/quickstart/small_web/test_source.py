"""The small web as a source: slices by dump, the same documents under every cut, answers passed through."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydantic import ValidationError

from gristmill.launch.quickstart.small_web import DUMPS, documents
from gristmill.launch.quickstart.small_web.source import SmallWebConfig, SmallWebSource
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.source import Slice


def source(name: str = "web", **options: object) -> SmallWebSource:
    return SmallWebSource(name, SmallWebConfig(format="small_web", documents=300, **options))


def whole(one: SmallWebSource) -> pa.Table:
    return pa.concat_tables([one.read(piece).table for piece in one.slices()])


def test_all_slices_together_are_the_small_web() -> None:
    found = whole(source())
    made = documents(17, 300)
    assert found["id"].to_pylist() == made["id"].to_pylist()
    assert found["text"].to_pylist() == made["text"].to_pylist()
    assert found["answer_verdict"].to_pylist() == made["answer_verdict"].to_pylist()
    assert found["doc_key"].type == pa.binary(16)
    assert len(set(found["doc_key"].to_pylist())) == 300


def test_a_dump_is_cut_into_the_asked_number_of_shards() -> None:
    slices = source(shards_per_dump=3).slices()
    assert [one.path for one in slices[:4]] == [
        f"{DUMPS[0]}/part-00000", f"{DUMPS[0]}/part-00001", f"{DUMPS[0]}/part-00002", f"{DUMPS[1]}/part-00000",
    ]  # fmt: skip
    assert len(slices) == 12
    assert all(one.bytes > 0 for one in slices)


def test_keys_depend_on_the_source_and_are_pinned() -> None:
    first = source().read(source().slices()[0]).table["doc_key"][0].as_py().hex()
    assert first == "ba1c54642a00f051dca7d97ce70307a1"
    assert source("other").read(source("other").slices()[0]).table["doc_key"][0].as_py().hex() != first


def test_only_the_asked_columns_are_read() -> None:
    one = source()
    piece = one.slices()[0]
    assert one.schema(piece).names[:2] == ["id", "text"]
    read = one.read(piece, frozenset({"text", "dump"})).table
    assert read.column_names == ["doc_key", "text", "dump"]


@pytest.mark.parametrize("option", [{"paths": ("a",)}, {"root": "/a"}, {"exclude": ("b",)}])
def test_files_are_refused(option: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="generated and reads no files"):
        source(**option)


def test_a_slice_of_another_small_web_is_refused() -> None:
    with pytest.raises(DataError, match="run again"):
        source().read(Slice("web", "x", "x", {"first_row": 290, "rows": 50}))
