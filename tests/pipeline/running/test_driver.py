"""What the driver keeps of tasks does not follow what they say, and what it gives to others is read again and checked."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.executor import WINDOW, in_order
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.provenance.record_index import RecordIndex, TaskDone
from gristmill.pipeline.provenance.task_record import commit, record_location
from gristmill.pipeline.running import resuming
from gristmill.pipeline.running.task_keys import TaskKeys
from gristmill.pipeline.work_folder import WorkFolder
from tests.benchmarks.driver import memory, planned, record_of
from tests.pipeline.toy_runs import GRAPH, run, write_corpus


def test_a_task_and_pass_take_less_than_two_kilobytes_of_the_driver() -> None:
    found = memory(4000)
    assert found["passes"] == 3 and found["with_plan_bytes_per_task_and_pass"] < 2048, found


def test_a_key_is_the_digest_of_all_that_it_names(tmp_path: Path) -> None:
    plan = planned(tmp_path, 3)
    settled = {"same": "1" * 64}
    for index, one in enumerate(plan.slices):
        keys = TaskKeys(plan, index, settled)
        place = [one.source, one.path, sorted(one.part.items()), one.file_bytes]
        whole = [index, keys._common(one.source), place, "2" * 64, sorted(settled.items())]
        assert keys.key(one, "2" * 64) == digest("gristmill.task", whole)
        assert keys.key(one, None) == digest("gristmill.task", [*whole[:3], one.stamp, whole[4]])
        assert keys.key(one, None) != keys.key(plan.slices[index - 1], None)


def test_a_record_is_found_by_its_reference_and_no_other_is_taken_for_it(tmp_path: Path) -> None:
    plan, work = planned(tmp_path, 3), WorkFolder(str(tmp_path / "work"))
    record = record_of(2, "3" * 64, plan)
    assert commit(work, record)
    index = RecordIndex(3, 2)
    index.add(TaskDone.of(record))
    assert index.has(0, 2) and not index.has(0, 1) and not index.has(1, 2)
    (ref,) = index.preceding(1, 2)
    assert ref.read(work) == record and index.slice_digest(2) == record.slice.digest
    assert [len(chunk) for chunk in index.chunks(0, 2)] == [2, 1]
    place = Path(record_location(work, 2, 0, "3" * 64))
    place.write_bytes(place.read_bytes().replace(b"node-17", b"node-18"))
    with pytest.raises(ConservationError, match="not the record that was committed"):
        ref.read(work)
    place.unlink()
    with pytest.raises(ConservationError, match="found none"):
        ref.read(work)


class Arriving(InlineExecutor):
    """Results that come in any order; counts what is under way."""

    drawn = 0

    def run(
        self, function: Callable[[Any], Any], payloads: Iterable[Any], resources: Any = None
    ) -> Iterator[tuple[int, Any]]:
        listed = list(enumerate(payloads))
        self.drawn = max(self.drawn, len(listed))
        random.Random(1).shuffle(listed)
        for index, payload in listed:
            yield index, function(payload)


def test_results_come_in_order_a_window_at_a_time() -> None:
    executor = Arriving()
    assert list(in_order(executor, str, range(3 * WINDOW + 5))) == [str(n) for n in range(3 * WINDOW + 5)]
    assert executor.drawn == WINDOW


def test_committed_tasks_are_looked_for_in_tasks_and_not_at_all_in_a_new_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "in", files=4)
    asked: list[int] = []
    real = resuming.find_committed

    def find(job: resuming.CommittedTasks) -> resuming.FoundTasks:
        asked.append(len(job.tasks))
        return real(job)

    class Stop(Exception):
        pass

    def stop(progress: object) -> None:
        if getattr(progress, "stage", "") == "publishing":
            raise Stop

    monkeypatch.setattr(resuming, "find_committed", find)
    with pytest.raises(Stop):
        run(GRAPH.format(root=tmp_path), listener=stop)
    assert asked == []
    assert run(GRAPH.format(root=tmp_path)).reused_tasks == 12
    assert asked == [4, 4, 4]
