"""Parts that tasks leave for sidecars: texts as they are, all else packed, and every part with a check of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest

from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.provenance.task_record import TaskRecord
from gristmill.pipeline.work_folder import WorkFolder
from gristmill.pipeline.writing.task_parts import read_part, write_parts

TEXTS = pa.table({"text": pa.array(["the same line again\n" * 500] * 20, pa.large_string())})
NUMBERS = pa.table({"value": pa.array([0.5] * 20_000)})


class Record:
    """As much of a task's record as is read."""

    def __init__(self, sidecars: Any) -> None:
        self.sidecars = sidecars


def parts_of(work: WorkFolder, sidecars: Any, role: str) -> pa.Table | None:
    return read_part(work, cast(TaskRecord, Record(sidecars)), role)


def test_parts_read_back_in_any_order_and_empty_ones_are_none(tmp_path: Path) -> None:
    work = WorkFolder(str(tmp_path))
    chunked = pa.concat_tables([NUMBERS, NUMBERS.slice(0, 7)])
    left = write_parts(
        work, 3, "k" * 64, [("ledger", chunked), ("none", NUMBERS.slice(0, 0)), ("dropped:9", TEXTS)], "0"
    )
    assert [part.role for part in left.parts] == ["ledger", "dropped:9"]
    assert parts_of(work, left, "dropped:9") == TEXTS
    assert parts_of(work, left, "ledger") == chunked
    assert parts_of(work, left, "none") is None
    assert sum(part.size for part in left.parts) == left.size == Path(work.at(left.candidate)).stat().st_size


def test_texts_are_not_packed_on_a_disk_and_numbers_are(tmp_path: Path) -> None:
    left = write_parts(WorkFolder(str(tmp_path)), 0, "k" * 64, [("dropped:9", TEXTS), ("ledger", NUMBERS)], "0")
    texts, numbers = left.parts
    assert texts.size > TEXTS.nbytes > 50 * numbers.size


def test_a_part_that_changed_is_refused(tmp_path: Path) -> None:
    work = WorkFolder(str(tmp_path))
    left = write_parts(work, 0, "k" * 64, [("ledger", NUMBERS), ("dropped:9", TEXTS)], "0")
    path = Path(work.at(left.candidate))
    data = bytearray(path.read_bytes())
    data[-5000] ^= 1
    path.write_bytes(data)
    assert parts_of(work, left, "ledger") == NUMBERS
    with pytest.raises(ConservationError, match="its rows for `dropped:9` changed"):
        parts_of(work, left, "dropped:9")
    with pytest.raises(ConservationError, match="its rows for `ledger` changed"):
        parts_of(work, replace(left, parts=[replace(left.parts[0], size=8)]), "ledger")
