"""Files of the work folder bear their digest, so that two attempts at a task leave each other's alone."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

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
