"""What can be seen of a run at any moment: counts and speed of a pass, tasks under way, slow and failed ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gristmill.pipeline.executor import SetAside
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.running.engine import Engine
from gristmill.pipeline.running.progress import Progress, Watch
from gristmill.pipeline.stage import Cost
from tests.pipeline.running.recorded_run import Hands, accounts_of, plan_for, record_of
from tests.pipeline.toy_runs import GRAPH, plan_of, write_corpus

MB = 10**6


@dataclass(frozen=True)
class Job:
    subject: str


class ByHand:
    """An executor whose tasks take as long as the test says: each is (seconds of the clock, function's payload)."""

    workers = 2

    def __init__(self, hands: Hands, look: Callable[[int], None]) -> None:
        self.hands, self.look = hands, look

    def machines(self) -> list[Any]:
        return []

    def run(
        self, function: Callable[[Any], Any], payloads: Iterable[Any], resources: Any = None
    ) -> Iterator[tuple[int, Any]]:
        for index, payload in list(enumerate(payloads)):
            self.look(index)
            yield index, function(payload)

    def run_independent(
        self, function: Callable[[Any], Any], payloads: Iterable[Any], resources: Any = None
    ) -> Iterator[tuple[int, Any]]:
        for index, payload in enumerate(payloads):
            yield index, SetAside(payload.subject, "the disk is full", input_is_cause=False)


def test_each_pass_has_its_own_speed() -> None:
    hands = Hands()
    plan = plan_for([MB] * 10, [Cost(), Cost()], {})
    watch, progress = Watch(plan, 1, hands), Progress(plan)
    progress.stage = "pass 1 of 2"
    watch.told(progress)
    hands.time += 100
    progress.tasks_done = 10
    watch.committed(record_of(0, 0, 100.0, 1, 10 * MB), False, accounts_of([], MB, []))
    watch.told(progress)
    assert watch.view().bytes_per_second == 100_000
    progress.stage, progress.pass_index, progress.tasks_done = "pass 2 of 2", 1, 0
    watch.told(progress)
    assert watch.view().bytes_per_second is None
    hands.time += 1
    watch.committed(record_of(0, 1, 1.0, 1, 5 * MB), False, accounts_of([], MB, []))
    assert watch.view().bytes_per_second == 5 * MB


def test_tasks_of_an_earlier_attempt_count_as_done_but_not_as_fast() -> None:
    hands = Hands()
    plan = plan_for([MB] * 10, [Cost()], {})
    watch, progress = Watch(plan, 1, hands), Progress(plan)
    progress.stage = "pass 1 of 1"
    watch.told(progress)
    for task in range(6):
        progress.tasks_done, progress.reused = task + 1, task + 1
        watch.committed(record_of(task, 0, 1.0, 1, MB), True, accounts_of([], MB, []))
    hands.time += 3
    progress.tasks_done = 7
    watch.committed(record_of(6, 0, 3.0, 1, MB), False, accounts_of([], MB, []))
    watch.told(progress)
    view = watch.view()
    assert (view.done, view.reused, view.bytes_per_second) == (7, 6, MB / 3)


def test_a_task_is_slow_that_takes_many_times_the_median_of_the_others() -> None:
    hands = Hands()
    watch = Watch(plan_for([MB], [Cost()], {}), 2, hands)
    run = watch.new_run()
    for index in range(5):
        watch.began(run, index, f"{index}.parquet")
        hands.time += 20
        watch.ended(run, index)
    watch.began(run, 5, "5.parquet")
    hands.time += 79
    assert watch.view().slow == 0
    hands.time += 2
    watch.began(run, 6, "6.parquet")
    view = watch.view()
    assert (view.under_way, view.slow) == (2, 1)
    assert [(task.path, task.seconds) for task in view.slowest] == [("5.parquet", 81)]


def test_short_tasks_are_not_called_slow_for_being_longer_than_shorter_ones() -> None:
    hands = Hands()
    watch = Watch(plan_for([MB], [Cost()], {}), 2, hands)
    run = watch.new_run()
    watch.began(run, 0, "a")
    hands.time += 0.1
    watch.ended(run, 0)
    watch.began(run, 1, "b")
    hands.time += 25
    assert watch.view().slow == 0


def test_all_slow_and_failed_tasks_are_counted_and_the_worst_are_named() -> None:
    hands = Hands()
    watch = Watch(plan_for([MB], [Cost()], {}), 2, hands)
    run = watch.new_run()
    watch.began(run, 999, "first")
    watch.ended(run, 999)
    for index in range(50):
        watch.began(run, index, f"{index}.parquet")
        hands.time += 1
        watch.failed(f"{index}.parquet", "the disk is full")
    hands.time += 100
    view = watch.view()
    assert view.slow == 50
    assert [task.path for task in view.slowest[:2]] == ["0.parquet", "1.parquet"]
    assert len(view.slowest) == 8
    assert view.failed == 50
    assert view.failures[-1].path == "49.parquet"


def test_tasks_are_followed_through_the_executor_that_runs_them() -> None:
    hands = Hands()
    watch = Watch(plan_for([MB], [Cost()], {}), 2, hands)
    seen: list[tuple[int, int]] = []
    executor = watch.watched(ByHand(hands, lambda index: seen.append((watch.view().under_way, watch.view().step_done))))
    assert executor.workers == 2
    assert list(executor.run(lambda job: job.subject, [Job("a"), Job("b"), Job("c")])) == [(0, "a"), (1, "b"), (2, "c")]
    assert seen == [(3, 0), (2, 1), (1, 2)]
    assert (watch.view().under_way, watch.view().step_done) == (0, 3)


def test_tasks_that_were_set_aside_have_failed() -> None:
    watch = Watch(plan_for([MB], [Cost()], {}), 2, Hands())
    executor = watch.watched(ByHand(Hands(), lambda index: None))
    assert len(list(executor.run_independent(str, [Job("a.parquet"), Job("b.parquet")]))) == 2
    view = watch.view()
    assert (view.failed, view.under_way, view.step_done) == (2, 0, 2)
    assert [(task.path, task.error) for task in view.failures] == [
        ("a.parquet", "the disk is full"), ("b.parquet", "the disk is full")
    ]  # fmt: skip


def test_what_was_under_way_when_an_executor_gave_up_is_not_under_way_for_ever() -> None:
    watch = Watch(plan_for([MB], [Cost()], {}), 2, Hands())

    def fail(job: Job) -> str:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(watch.watched(ByHand(Hands(), lambda index: None)).run(fail, [Job("a"), Job("b")]))
    assert watch.view().under_way == 0


def test_a_run_is_seen_node_by_node_and_task_by_task(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    views = []
    engine = Engine(
        plan_of(GRAPH.format(root=tmp_path)), InlineExecutor(), listener=lambda _: views.append(engine.watch.view())
    )
    result = engine.run()
    steps = list(dict.fromkeys(view.step for view in views))
    assert steps[0] == "pass 1 of 3" and steps[-1] == "publishing" and "settling same" in steps
    last = [view for view in views if view.step == "pass 3 of 3"][-1]
    assert (last.done, last.total, last.documents) == (3, 3, 120)
    counted = {node.name: (node.entered, node.emitted, node.dropped) for node in last.nodes}
    assert counted == {
        name: (account.entered.rows, account.kept.rows, account.dropped.rows)
        for name, account in result.accounts.nodes.items()
        if name != "s"
    }
    assert last.left is not None
