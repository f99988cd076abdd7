"""Time left in a run: what its tasks have taken by bytes, over all passes and settling, as far as those are like what was seen.

A step that has run is known by its own tasks; one that has not, by the stages' costs times how much slower or faster this
machine has been than they say. The first task of a process in a pass also loads, and may compile, kernels: it says
nothing about the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.provenance.accounts import Accounts
from gristmill.pipeline.provenance.record_index import TaskDone
from gristmill.pipeline.running.costs import Step, steps_of, text_bytes

LOADING = 1.0
"""Seconds by which the first task of a process is taken to be longer, where no other has ended yet."""

MOST_SLOWER = 8.0
"""A machine is not slower than the costs say by more than this: it is a stage that says too little, and others do not."""

KNOWN = 10
"""One part in so many of a pass's tasks tells what share of the text reaches each node; until then the pass before does."""

OVERRUN = 0.15
"""Of the time that a step has taken beyond what was expected of it, the share that is expected on top."""

MOST_WAITING = 3.0
"""Most times that a pass is taken to last longer than its tasks' seconds say, for what lies between tasks."""


@dataclass
class _Rate:
    """Seconds of tasks, GB of text in them, and how many they are."""

    seconds: float = 0.0
    gigabytes: float = 0.0
    tasks: int = 0

    def add(self, seconds: float, gigabytes: float) -> None:
        self.seconds += seconds
        self.gigabytes += gigabytes
        self.tasks += 1


class TimeLeft:
    """Estimates the time to a run's end. Tell it of each step and of each committed task.

    Args:
        plan: the run's plan.
        workers: tasks at the same time.
        now: seconds of a clock that never goes back.
        reused: nodes whose signals are read from a finished output.
    """

    def __init__(
        self, plan: Plan, workers: int, now: Callable[[], float], reused: AbstractSet[str] = frozenset()
    ) -> None:
        self._reused = reused
        self._plan, self._workers, self._now = plan, max(1, workers), now
        self._sizes = [text_bytes(one) / 1e9 for one in plan.slices]
        self._whole = _Rate(0.0, sum(self._sizes), len(self._sizes))
        self._by_source: dict[str, _Rate] = {}
        for one, gigabytes in zip(plan.slices, self._sizes, strict=True):
            self._by_source.setdefault(one.source, _Rate()).add(0.0, gigabytes)
        self._steps = steps_of(plan, None, reused)
        self._at: int | None = None
        self._step_begin = self._told = now()
        self._accounts = Accounts()
        self._warm: dict[tuple[int, str], _Rate] = {}
        self._cold: dict[int, _Rate] = {}
        self._seen: set[tuple[str, int]] = set()
        self._left: dict[str, _Rate] = {}
        self._tasks_left = len(plan.slices)
        self._fresh = _Rate()
        self._waiting = 1.0
        self._from_here: float | None = None
        self._rest = 0.0

    def step(self, name: str) -> None:
        """A step begins; others than a plan's, such as waiting for a lease, say nothing about the end."""
        self._at = next((at for at, step in enumerate(self._steps) if step.name == name), None)
        self._step_begin = self._told = self._now()
        if self._at is not None and self._steps[self._at].is_pass:
            self._seen.clear()
            self._fresh = _Rate()
            self._left = {source: replace(all_) for source, all_ in self._by_source.items()}
            self._tasks_left = len(self._sizes)
        self._estimate()

    def committed(self, record: TaskDone, reused: bool, accounts: Accounts) -> None:
        """A task of the pass at hand is done; `reused`: it was before this attempt.

        Args:
            accounts: of this pass so far.
        """
        source, gigabytes, seconds = record.slice.source, self._sizes[record.task], record.varies.seconds
        left = self._left[source]
        left.gigabytes, left.tasks = max(0.0, left.gigabytes - gigabytes), left.tasks - 1
        self._tasks_left -= 1
        if KNOWN * self._tasks_left <= (KNOWN - 1) * len(self._sizes):
            self._accounts = accounts
        worker = (record.varies.host, record.varies.process)
        if worker in self._seen:
            self._warm.setdefault((record.pass_, source), _Rate()).add(seconds, gigabytes)
        else:
            self._seen.add(worker)
            self._cold.setdefault(record.pass_, _Rate()).add(seconds, gigabytes)
        if reused:
            self._step_begin = self._now()
        else:
            self._fresh.add(seconds, gigabytes)
        self._estimate()

    def seconds(self) -> float | None:
        """Seconds to the end of the run; None before a first task has ended, and where that says nothing about the rest."""
        if self._from_here is None or self._at is None:
            return None
        now = self._now()
        since = now - self._told
        step, rest = self._from_here, self._rest
        if since < step:
            return step - since + rest
        return OVERRUN * (since - step) + rest

    # Estimates

    def _estimate(self) -> None:
        """Of the step at hand and of those after it, at this moment."""
        self._told = self._now()
        self._from_here, self._rest = None, 0.0
        if self._at is None:
            return
        steps = steps_of(self._plan, self._accounts, self._reused)
        slower = self._slower(steps)
        if slower is None:
            return
        step = steps[self._at]
        self._rest = sum(self._duration(later, slower) for later in steps[self._at + 1 :])
        if not step.is_pass:
            self._from_here = self._duration(step, slower) - (self._told - self._step_begin)
            return
        seconds = sum(self._expected(step, source, left, slower) for source, left in self._left.items())
        self._from_here = self._spread(seconds, self._tasks_left, under_way=True) * self._measured_waiting()

    def _duration(self, step: Step, slower: float) -> float:
        """Of a whole step that has not begun, or is no pass."""
        slower = min(slower, MOST_SLOWER)
        if not step.is_pass:
            return step.core_seconds(self._whole.gigabytes, self._whole.tasks) * slower / self._workers
        seconds = sum(self._expected(step, source, all_, slower) for source, all_ in self._by_source.items())
        return self._spread(seconds, self._whole.tasks, under_way=False) * self._waiting

    def _expected(self, step: Step, source: str, slices: _Rate, slower: float) -> float:
        """Seconds of tasks of a pass over some slices of a source."""
        told = step.core_seconds(slices.gigabytes, slices.tasks)
        own = self._warm.get((step.pass_index, source))
        if own is not None:
            return told * own.seconds / step.core_seconds(own.gigabytes, own.tasks)
        others = [rate for (index, _), rate in self._warm.items() if index == step.pass_index]
        if others:
            said = sum(step.core_seconds(rate.gigabytes, rate.tasks) for rate in others)
            return told * sum(rate.seconds for rate in others) / said
        return told * slower

    def _slower(self, steps: tuple[Step, ...]) -> float | None:
        """How many times the seconds that the stages' costs say the tasks so far have taken."""
        passes: Mapping[int, Step] = {step.pass_index: step for step in steps if step.is_pass}
        expected = sum(
            passes[index].core_seconds(rate.gigabytes, rate.tasks) for (index, _), rate in self._warm.items()
        )
        taken = sum(rate.seconds for rate in self._warm.values())
        if not expected:
            expected = sum(passes[index].core_seconds(rate.gigabytes, rate.tasks) for index, rate in self._cold.items())
            taken = sum(max(rate.seconds - LOADING * rate.tasks, rate.seconds / 4) for rate in self._cold.values())
        return taken / expected if expected > 0 else None

    def _spread(self, seconds: float, tasks: int, under_way: bool) -> float:
        """Tasks of so many seconds together, over the workers. Of few tasks, some workers have one more than others; of those
        under way, half is done."""
        if tasks <= 0:
            return 0.0
        mean = seconds / tasks
        if under_way:
            busy = min(self._workers, tasks)
            # The one that has just ended left its worker free; the others are somewhere in the middle of theirs.
            left = seconds - mean * (busy - 1) / 2
            return max(left / busy, mean / 2 if self._workers > 1 else mean)
        waves = math.ceil(tasks / self._workers)
        return waves * mean if waves < 8 else seconds / self._workers

    def _measured_waiting(self) -> float:
        """How many times longer than its tasks' seconds this pass lasts; later passes are taken to be like it."""
        busy = min(self._workers, len(self._sizes))
        if self._fresh.tasks >= 2 * busy:
            passed = (self._told - self._step_begin) * busy
            # Of the tasks under way, half of each is not in these seconds yet.
            counted = self._fresh.seconds * (1 + (busy - 1) / (2 * self._fresh.tasks))
            self._waiting = min(MOST_WAITING, max(1.0, passed / counted)) if counted > 0 else 1.0
        return self._waiting
