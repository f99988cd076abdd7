"""A Parquet file counts when a reader opens it, and not when its bytes are merely those that were written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.writing import parquet
from gristmill.pipeline.writing.parquet import write_parquet


def nested(levels: int) -> pa.Table:
    column = pa.array([1], pa.int8())
    for _ in range(levels):
        column = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), column)
    return pa.table({"x": column})


def test_a_file_that_no_reader_opens_is_refused_and_removed(tmp_path: Path) -> None:
    table = nested(150)
    with pytest.raises(StorageError, match=r"deep\.parquet: the Parquet file that was written cannot be opened"):
        write_parquet(str(tmp_path / "deep.parquet"), table.schema, iter([table]))
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_other_rows_is_refused_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = parquet._encode

    def forgetful(stream: Any, schema: Any, pieces: Any, digest: Any, *more: Any) -> None:
        sound(stream, schema, pieces, digest, *more)
        digest.update(nested(1))

    monkeypatch.setattr(parquet, "_encode", forgetful)
    table = nested(1)
    with pytest.raises(StorageError, match=r"expected 2 rows of x, found 1 of x"):
        write_parquet(str(tmp_path / "a.parquet"), table.schema, iter([table]))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_and_a_nested_one_open(tmp_path: Path) -> None:
    table = nested(32)
    assert write_parquet(str(tmp_path / "a.parquet"), table.schema, iter([table])).rows == 1
    assert write_parquet(str(tmp_path / "b.parquet"), table.schema, iter([])).rows == 0
    assert write_parquet(str(tmp_path / "c.parquet"), table.schema, iter([table.slice(0, 0)])).rows == 0
