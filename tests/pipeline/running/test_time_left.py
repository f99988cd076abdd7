"""Time left: within a factor of 1.5 once a tenth of a run is over, whatever the machine, the workers and the costs."""

from __future__ import annotations

import random

import pytest

from gristmill.pipeline.running.progress import Progress, Watch
from gristmill.pipeline.stage import Cost
from tests.pipeline.running.recorded_run import (
    Hands,
    Recorded,
    accounts_of,
    plan_for,
    record_of,
    replay,
    told_after_a_tenth,
)

WITHIN = 1.5
MB = 10**6


def made_up(seed: int, slower: float, slices: int, first: float = 0.0) -> tuple[Recorded, list[Cost]]:
    """Three passes over slices of 8 to 64 MB on a machine that is so many times slower than the costs say, where tasks
    of equal size take times that differ by a fifth."""
    draw = random.Random(seed)
    sizes = [draw.randrange(8 * MB, 64 * MB) for _ in range(slices)]
    costs = [Cost(measure=30, survey=0, settle=0), Cost(measure=0, survey=3, settle=4), Cost(measure=6)]
    per_gb = [31.2, 4.2, 15.2]
    tasks = [[slower * cost * size / 1e9 * draw.uniform(0.8, 1.2) for size in sizes] for cost in per_gb]
    whole = sum(sizes) / 1e9
    return Recorded(sizes, tasks, {1: ("same", 4 * whole * slower)}, 0.1, first), costs


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("slower", [0.3, 1.0, 6.0])
@pytest.mark.parametrize(("workers", "slices"), [(1, 20), (2, 60), (8, 200), (64, 2000)])
def test_is_within_half_as_much_again_after_a_tenth_of_the_run(
    seed: int, slower: float, workers: int, slices: int
) -> None:
    recorded, costs = made_up(seed, slower, slices)
    recorded = Recorded(
        recorded.sizes, recorded.tasks, {1: ("same", recorded.settling[1][1] / workers)}, recorded.publishing
    )
    plan = plan_for(recorded.sizes, costs, {1: "same"})
    end, looks = told_after_a_tenth(replay(plan, recorded, workers, Hands(), every=0.37 * slower))
    assert len(looks) > 5
    for moment, left, true in looks:
        assert left is not None, f"nothing is told {moment:.1f} s after the start of {end:.1f} s"
        assert true / WITHIN <= left <= true * WITHIN, f"{left:.1f} s left, told {moment:.1f} s of {end:.1f} s"


@pytest.mark.parametrize("workers", [1, 4])
def test_compiling_in_the_first_tasks_is_not_expected_of_the_others(workers: int) -> None:
    recorded, costs = made_up(1, 1.0, 200, first=40.0)
    recorded = Recorded(recorded.sizes, recorded.tasks, {1: ("same", recorded.settling[1][1] / workers)}, 0.1, 40.0)
    plan = plan_for(recorded.sizes, costs, {1: "same"})
    end, looks = told_after_a_tenth(replay(plan, recorded, workers, Hands(), every=1.0))
    after = [(left, true) for moment, left, true in looks if moment > 45]
    assert len(after) > 20
    assert all(left is not None and true / WITHIN <= left <= true * WITHIN for left, true in after), end


def test_text_that_does_not_reach_a_later_node_is_not_counted_for_it() -> None:
    """A filter in the first pass that keeps a twentieth leaves the costly second pass little to do."""
    sizes = [20 * MB] * 40
    costs = [Cost(measure=10), Cost(measure=200)]
    tasks = [[0.02 * 11.2] * 40, [0.02 * (200 * 0.05 + 9.2)] * 40]
    plan = plan_for(sizes, costs, {})
    recorded = Recorded(sizes, tasks, {}, 0.1)
    plan.graph.nodes[1].inputs = [type("Edge", (), {"node": "node-0"})()]

    def told() -> list[float | None]:
        _, looks = told_after_a_tenth(replay(plan, recorded, 1, Hands(), 0.5, shares=[1.0, 0.05]), until=0.8)
        assert all(left is not None and true / WITHIN <= left <= true * WITHIN for _, left, true in looks)
        return [left for _, left, _ in looks]

    assert len(told()) > 10


def test_nothing_is_told_before_a_task_has_ended() -> None:
    hands = Hands()
    plan = plan_for([500 * MB] * 4, [Cost()], {})
    watch, progress = Watch(plan, 1, hands), Progress(plan)
    assert watch.view().left is None
    progress.stage = "pass 1 of 1"
    watch.told(progress)
    hands.time += 5
    assert watch.view().left is None


def test_a_task_that_takes_longer_than_expected_does_not_bring_the_end_nearer_for_ever() -> None:
    hands = Hands()
    plan = plan_for([500 * MB] * 4, [Cost()], {})
    watch, progress = Watch(plan, 1, hands), Progress(plan)
    progress.stage = "pass 1 of 1"
    watch.told(progress)
    for task in range(3):
        hands.time += 10
        watch.committed(record_of(task, 0, 10.0, 1), False, accounts_of([], MB, []))
    assert watch.view().left == pytest.approx(10, rel=0.05)
    hands.time += 4
    assert watch.view().left == pytest.approx(6, rel=0.08)
    hands.time += 106
    assert watch.view().left == pytest.approx(15, rel=0.05)


def test_a_stage_that_takes_far_more_than_it_says_does_not_make_the_other_passes_long() -> None:
    """A plug-in that asks a model elsewhere, 300 times as slow as the default cost says."""
    sizes = [20 * MB] * 40
    tasks = [[0.02 * 3000.0] * 40, [0.02 * 15.2 + 0.05] * 40]
    plan = plan_for(sizes, [Cost(), Cost(measure=6)], {})
    end, looks = told_after_a_tenth(replay(plan, Recorded(sizes, tasks, {}, 0.3), 1, Hands(), 20.0), until=0.8)
    assert len(looks) > 10
    assert all(left is not None and true / WITHIN <= left <= true * WITHIN for _, left, true in looks), (end, looks)


def test_tasks_of_an_earlier_attempt_tell_the_pace_before_this_one_has_ended_any() -> None:
    hands = Hands()
    plan = plan_for([500 * MB] * 10, [Cost()], {})
    watch, progress = Watch(plan, 1, hands), Progress(plan)
    progress.stage = "pass 1 of 1"
    watch.told(progress)
    for task in range(6):
        watch.committed(record_of(task, 0, 3.0, 1), True, accounts_of([], MB, []))
    assert watch.view().left == pytest.approx(12, rel=0.05)
    assert watch.view().bytes_per_second is None
