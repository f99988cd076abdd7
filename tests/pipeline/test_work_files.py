"""Files of the work folder bear their digest, so that two attempts at a task leave each other's alone."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.pipeline import work_files
from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.work_files import read_checked, write_named
from gristmill.pipeline.work_folder import WorkFolder


def test_attempts_with_other_bytes_write_other_files(tmp_path: Path) -> None:
    work = WorkFolder(str(tmp_path))
    one, two = pa.table({"score": [0.5]}), pa.table({"score": [0.25]})
    first, written = write_named(work, "annotations/task-00000/pass-0-k", one, "here-0")
    second, _ = write_named(work, "annotations/task-00000/pass-0-k", two, "there-1")
    again, _ = write_named(work, "annotations/task-00000/pass-0-k", one, "there-2")
    assert first != second and first == again
    assert first == f"annotations/task-00000/pass-0-k-{written.sha256[:16]}.arrow"
    # Whichever attempt's record wins names a file that is as that attempt wrote it.
    assert read_checked(work.at(first), written.sha256, "x").equals(one)
    with pytest.raises(ConservationError):
        read_checked(work.at(second), written.sha256, "x")


@pytest.mark.parametrize("compression", ["lz4", None])
def test_a_large_file_is_read_from_its_stream_and_a_small_one_from_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str | None
) -> None:
    table = pa.table({"score": [float(n) for n in range(999)], "word": ["one", None, "three"] * 333})
    work = WorkFolder(str(tmp_path))
    path, written = write_named(work, "a", table, "0", compression=compression, max_chunksize=100)
    for most in (1 << 20, written.size, written.size - 1, 0):
        monkeypatch.setattr(work_files, "_AT_ONCE", most)
        assert read_checked(work.at(path), written.sha256, "x").equals(table)
    threaded = pa.BufferOutputStream()
    with pa.ipc.new_file(threaded, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=100)
    assert Path(work.at(path)).read_bytes() == threaded.getvalue().to_pybytes(), "threads decide nothing about bytes"
