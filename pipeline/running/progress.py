"""What a run says about itself while it is on: counts by the engine, tasks under way, and a view of both at any moment."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeVar

from gristmill.pipeline.executor import ONE_CORE, Executor, SetAside
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.provenance.accounts import Accounts
from gristmill.pipeline.provenance.record_index import TaskDone
from gristmill.pipeline.resources import Resources
from gristmill.pipeline.running.time_left import TimeLeft

SLOW_SECONDS = 30.0
"""A task is never called slow before it was under way for so long."""

SLOW_FACTOR = 4.0
"""Nor before it took so many times the median of those that ended; a task may wait in a worker's queue for one other."""

RECENT = 101
"""Tasks that the median is taken over."""

MOST_LISTED = 8
"""Slow tasks, and failed ones, that a view names; it counts all."""

Payload = TypeVar("Payload")
Result = TypeVar("Result")


@dataclass
class Progress:
    """What a run reports while it runs; all fields are totals so far."""

    plan: Plan
    pass_index: int = 0
    stage: str = "pass"
    tasks_done: int = 0
    documents: int = 0
    text_bytes: int = 0
    accounts: Accounts = field(default_factory=Accounts)
    reused: int = 0


Listener = Callable[[Progress], None]


@dataclass(frozen=True)
class NodeCounts:
    """Documents at a node in this pass: those that entered, and what became of them."""

    name: str
    entered: int
    emitted: int
    dropped: int
    quarantined: int


@dataclass(frozen=True)
class SlowTask:
    """A task that is under way for long: its slice's path, and seconds since it was given to the executor."""

    path: str
    seconds: float


@dataclass(frozen=True)
class FailedTask:
    """A task that failed and was not run again in this attempt, or not yet: its slice's path, and the error."""

    path: str
    error: str


@dataclass(frozen=True)
class RunView:
    """A run at one moment.

    Attributes:
        step: what the run does: a pass, a node being settled, publishing.
        pass_index, passes: the pass at hand, from 0, and how many there are.
        done, total: tasks of this pass; reused: tasks of all passes that an interrupted attempt had committed.
        step_done: tasks of this step's exchange or publishing that have ended; in a pass as `done`.
        documents, text_bytes: read in this pass so far, with what interrupted attempts had done.
        bytes_per_second: text by this attempt in this pass; None before the first task ends.
        nodes: counts of this pass by node, in graph order, without sources.
        elapsed, left: seconds since the start, and to the end of the run; None while that is not known.
        under_way: tasks that the executor has; slow: how many of them are slow, slowest: those that have been longest.
        failed: how many tasks failed so far, failures: the last of them.
    """

    step: str
    pass_index: int
    passes: int
    done: int
    total: int
    reused: int
    step_done: int
    documents: int
    text_bytes: int
    bytes_per_second: float | None
    nodes: tuple[NodeCounts, ...]
    elapsed: float
    left: float | None
    under_way: int
    slow: int
    slowest: tuple[SlowTask, ...]
    failed: int
    failures: tuple[FailedTask, ...]

    @property
    def in_pass(self) -> bool:
        """Whether slices are read; otherwise a node is settled, or outputs are published."""
        return self.step.startswith("pass")


class Watch:
    """Follows a run. The engine tells it what happens; any thread may ask for a view.

    Args:
        plan: the run's plan.
        workers: tasks at the same time.
        now: seconds of a clock that never goes back.
        reused: nodes whose signals are read from a finished output.
    """

    def __init__(
        self,
        plan: Plan,
        workers: int,
        now: Callable[[], float] = time.monotonic,
        reused: AbstractSet[str] = frozenset(),
    ) -> None:
        self._plan, self._now = plan, now
        self._lock = threading.Lock()
        self._begin = now()
        self._time_left = TimeLeft(plan, workers, now, reused)
        self._under_way: dict[tuple[int, int], tuple[str, float]] = {}
        self._runs = 0
        self._seconds: deque[float] = deque(maxlen=RECENT)
        self._step, self._step_done = "starting", 0
        self._pass, self._pass_begin, self._fresh_bytes, self._fresh = 0, self._begin, 0, 0
        self._counts: tuple[int, int, int, int] = (0, 0, 0, 0)
        self._nodes: tuple[NodeCounts, ...] = ()
        self._failed = 0
        self._failures: deque[FailedTask] = deque(maxlen=MOST_LISTED)

    def told(self, progress: Progress) -> None:
        """The engine's state has changed."""
        with self._lock:
            now = self._now()
            if progress.stage != self._step:
                self._step, self._step_done = progress.stage, 0
                self._seconds.clear()
                if progress.stage.startswith("pass"):
                    self._pass, self._pass_begin = progress.pass_index, now
                    self._fresh_bytes = self._fresh = 0
                self._time_left.step(progress.stage)
            self._counts = (progress.tasks_done, progress.reused, progress.documents, progress.text_bytes)
            self._nodes = tuple(
                NodeCounts(
                    node.name,
                    account.entered.rows,
                    account.kept.rows,
                    account.dropped.rows,
                    account.quarantined.rows,
                )
                for node in self._plan.graph.nodes
                if (account := progress.accounts.nodes.get(node.name)) is not None and account.entered.rows
            )

    def committed(self, record: TaskDone, reused: bool, accounts: Accounts) -> None:
        """A task of a pass is done; `reused`: an interrupted attempt had committed it; `accounts`: of the pass so far."""
        with self._lock:
            if reused:
                self._pass_begin = self._now()  # the engine goes through these first: they are no measure of speed
            else:
                self._fresh += 1
                self._fresh_bytes += record.slice.text_bytes
            self._time_left.committed(record, reused, accounts)

    def failed(self, path: str, error: str) -> None:
        """A task failed; `path`: of its slice."""
        with self._lock:
            self._failed += 1
            self._failures.append(FailedTask(path, error))

    def watched(self, executor: Executor) -> Executor:
        """The executor, with each task that it runs followed."""
        return _Watched(executor, self)

    def view(self) -> RunView:
        """The run at this moment."""
        with self._lock:
            now = self._now()
            done, reused, documents, text_bytes = self._counts
            spent = now - self._pass_begin
            limit = max(SLOW_SECONDS, SLOW_FACTOR * median(self._seconds)) if self._seconds else SLOW_SECONDS * 10
            slow = sorted(
                (SlowTask(path, now - begin) for path, begin in self._under_way.values() if now - begin > limit),
                key=lambda task: -task.seconds,
            )
            return RunView(
                step=self._step,
                pass_index=self._pass,
                passes=len(self._plan.passes),
                done=done,
                total=len(self._plan.slices),
                reused=reused,
                step_done=done if self._step.startswith("pass") else self._step_done,
                documents=documents,
                text_bytes=text_bytes,
                bytes_per_second=self._fresh_bytes / spent if self._fresh and spent > 0 else None,
                nodes=self._nodes,
                elapsed=now - self._begin,
                left=self._time_left.seconds(),
                under_way=len(self._under_way),
                slow=len(slow),
                slowest=tuple(slow[:MOST_LISTED]),
                failed=self._failed,
                failures=tuple(self._failures),
            )

    # What the executor does

    def new_run(self) -> int:
        """A number for what an executor is asked to run."""
        with self._lock:
            self._runs += 1
            return self._runs

    def began(self, run: int, index: int, subject: str) -> None:
        """A task was given to the executor."""
        with self._lock:
            self._under_way[run, index] = subject, self._now()

    def ended(self, run: int, index: int) -> None:
        """A task has ended."""
        with self._lock:
            subject = self._under_way.pop((run, index), None)
            self._step_done += 1
            if subject is not None:
                self._seconds.append(self._now() - subject[1])

    def over(self, run: int) -> None:
        """The executor has nothing more of a run."""
        with self._lock:
            for key in [key for key in self._under_way if key[0] == run]:
                del self._under_way[key]


class _Watched:
    """An executor that tells a Watch of its tasks."""

    def __init__(self, executor: Executor, watch: Watch) -> None:
        self._executor, self._watch = executor, watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    @property
    def workers(self) -> int:
        return self._executor.workers

    def machines(self) -> Sequence[Resources]:
        return self._executor.machines()

    def run(
        self, function: Callable[[Payload], Result], payloads: Iterable[Payload], resources: Resources = ONE_CORE
    ) -> Iterator[tuple[int, Result]]:
        return self._followed(self._executor.run, function, payloads, resources)

    def run_independent(
        self, function: Callable[[Payload], Result], payloads: Iterable[Payload], resources: Resources = ONE_CORE
    ) -> Iterator[tuple[int, Result | SetAside]]:
        for index, found in self._followed(self._executor.run_independent, function, payloads, resources):
            if isinstance(found, SetAside):
                self._watch.failed(found.subject, found.reason)
            yield index, found

    def _followed(
        self,
        run_tasks: Callable[..., Iterator[tuple[int, Any]]],
        function: Callable[..., Any],
        payloads: Iterable[Any],
        resources: Resources,
    ) -> Iterator[tuple[int, Any]]:
        run = self._watch.new_run()

        def drawn() -> Iterator[Any]:
            for index, payload in enumerate(payloads):
                self._watch.began(run, index, getattr(payload, "subject", ""))
                yield payload

        try:
            for index, result in run_tasks(function, drawn(), resources):
                self._watch.ended(run, index)
                yield index, result
        finally:
            self._watch.over(run)
