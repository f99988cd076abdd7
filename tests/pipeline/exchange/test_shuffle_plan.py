"""The planner of shuffles, simulated by sizes: requests and bytes stay within their bounds up to 10^5 tasks and beyond."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.pipeline.exchange.shuffle_driver import DEFAULT_BUDGET
from gristmill.pipeline.exchange.shuffle_plan import (
    MAX_CELLS,
    READ_PART,
    Cost,
    Layout,
    Rounds,
    foreseen,
    get_requests,
    partitions_for,
    put_requests,
    row_file_gets,
)

MIB = 1 << 20
ROW_BYTES, SORTED_BYTES = 84, 180
"""Of a band row with its sketch: as it lies in files, and while it is sorted."""


def simulated(
    input_bytes: int, growth: float, file_bytes: int, budget: int = DEFAULT_BUDGET, kept: float = 1.0
) -> tuple[Layout, Rounds, Cost, int]:
    """(layout, rounds, cost, bytes of rows) of a shuffle whose map tasks write what they should, or the share `kept`."""
    planned = int(input_bytes * growth)
    partitions = partitions_for(int(planned / ROW_BYTES), SORTED_BYTES, budget // 2)
    return *foreseen(input_bytes, file_bytes, planned, partitions, budget, kept), max(1, int(planned * kept))


def check_bounds(found: Cost, row_bytes: int, tasks: int, output_share: float = 1.0) -> None:
    """The bounds, with a fold that writes `output_share` of what it reads."""
    reduces = max(1, row_bytes // (90 * MIB))
    output_puts = reduces * put_requests(row_bytes * output_share / reduces)
    assert found.gets <= 2.5 * row_bytes / MIB + 4 * tasks
    assert found.puts + output_puts <= 2 * row_bytes / (8 * MIB) + 4 * tasks


@pytest.mark.parametrize("growth", [0.5, 1.0, 3.0, 6.3], ids=lambda growth: f"rows-{growth}-times-their-input")
@pytest.mark.parametrize("map_tasks", [10**4, 10**5])
def test_requests_and_bytes_stay_within_their_bounds(map_tasks: int, growth: float) -> None:
    """As many map tasks as a quarter of the budget each makes: today's number."""
    input_bytes = map_tasks * DEFAULT_BUDGET // 4
    plan, chosen, found, row_bytes = simulated(input_bytes, growth, file_bytes=96 * MIB)
    assert chosen.groups, "one round would read a piece for each pair of tasks"
    assert found.tasks >= map_tasks // 10
    check_bounds(found, row_bytes, found.tasks)
    one_round = input_bytes + 2 * row_bytes
    assert found.read_bytes + found.written_bytes <= 2.1 * one_round
    assert plan.cells <= MAX_CELLS and plan.partitions // chosen.groups <= 2 * MAX_CELLS
    merged = row_bytes / (chosen.groups * chosen.merges)
    assert merged <= 4 * math.sqrt(plan.partitions) * MIB, "what a merge task puts in order on local disk"


@pytest.mark.parametrize("tasks", [10**4, 10**5])
def test_many_small_input_files_cost_a_request_each(tasks: int) -> None:
    """Notes of as many tasks of a pass: those tasks count as well."""
    _, _, found, row_bytes = simulated(tasks * 2 * MIB, 6.3, file_bytes=2 * MIB)
    check_bounds(found, row_bytes, found.tasks + tasks)


@settings(max_examples=300)
@given(
    input_mib=st.floats(-2, 8).map(lambda power: 10**power),
    growth=st.floats(0.3, 14),
    file_mib=st.sampled_from([8, 30, 96, 400]),
    kept=st.sampled_from([1.0, 0.5, 0.01, 0.0]),
)
def test_any_size_stays_within_the_bounds(input_mib: float, growth: float, file_mib: int, kept: float) -> None:
    """Also where `prepare` drops most rows, which is known after the map tasks only."""
    input_bytes = int(input_mib * MIB)
    file_bytes = min(file_mib * MIB, input_bytes)
    plan, chosen, found, row_bytes = simulated(input_bytes, growth, file_bytes, kept=kept)
    files = max(1, input_bytes // file_bytes)
    # What the input takes by itself is no piece: a read per 8 MiB of it.
    read = files * row_file_gets(file_bytes, max(1, -(-file_bytes // plan.map_bytes)))
    assert found.gets - read <= 2.25 * row_bytes / MIB + 4 * found.tasks
    assert found.puts <= 2 * row_bytes / (8 * MIB) + 4 * found.tasks
    if row_bytes > 100 * MIB:
        assert found.read_bytes + found.written_bytes <= 2.1 * (input_bytes + 2 * row_bytes)
    assert 1 <= chosen.together <= plan.partitions // max(1, chosen.groups)


def test_what_fits_one_round_takes_one() -> None:
    for input_mib in (1, 100, 3_000, 20_000):
        plan, chosen, found, _ = simulated(input_mib * MIB, 1.0, file_bytes=min(input_mib, 96) * MIB)
        assert (plan.cells, chosen.groups) == (plan.partitions, 0)
        assert found.written_bytes < 1.02 * input_mib * MIB


def test_rows_lie_on_storage_once_or_twice() -> None:
    for input_mib, times in ((3_000, 1), (1_000_000, 2)):
        _, _, found, row_bytes = simulated(input_mib * MIB, 1.0, file_bytes=96 * MIB)
        assert times * row_bytes <= found.disk_bytes <= (times + 0.02) * row_bytes


def test_requests_are_counted_as_they_are_made() -> None:
    assert (get_requests(0), get_requests(READ_PART), get_requests(READ_PART + 1)) == (1, 1, 2)
    assert (put_requests(32 * MIB), put_requests(33 * MIB), put_requests(64 * MIB)) == (1, 5, 6)
    assert (row_file_gets(MIB), row_file_gets(20 * MIB), row_file_gets(20 * MIB, 2)) == (1, 4, 6)
