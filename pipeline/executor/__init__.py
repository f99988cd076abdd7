"""Executors: where tasks run. The contract that the engine and the exchange rely on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

from gristmill.pipeline.resources import Resources

Payload = TypeVar("Payload")
Result = TypeVar("Result")

ONE_CORE = Resources()
"""What a task needs of which nothing else is said."""


@dataclass(frozen=True)
class SetAside:
    """What became of an independent task that failed wherever it was tried.

    Attributes:
        subject: what the task was about: its input's location.
        reason: the message of its last error.
        input_is_cause: whether the input must change before it can succeed; else the storage, the memory or a node.
    """

    subject: str
    reason: str
    input_is_cause: bool


class Executor(Protocol):
    """Runs tasks. A task is a module-level function and a small payload that may travel as JSON (see `payloads`); its data lie
    in files.

    Attributes:
        workers: how many tasks may run at the same time. Results never depend on it.
    """

    @property
    def workers(self) -> int: ...

    def machines(self) -> Sequence[Resources]:
        """What each machine has on which tasks may run."""
        ...

    def run(
        self,
        function: Callable[[Payload], Result],
        payloads: Iterable[Payload],
        resources: Resources = ONE_CORE,
    ) -> Iterator[tuple[int, Result]]:
        """Run `function` over `payloads`; yields (index, result) as they finish, in any order, each index once.

        A task may run more than once (a lost worker), so tasks write under deterministic names, elsewhere first. Any
        exception stops everything and is raised. `resources`: what each task needs; results never depend on it. Payloads are
        drawn as tasks are started. After a request to stop (`pipeline.stopping`) no task is started any more; Stopped is
        raised when those under way have ended.
        """
        ...

    def run_independent(
        self,
        function: Callable[[Payload], Result],
        payloads: Iterable[Payload],
        resources: Resources = ONE_CORE,
    ) -> Iterator[tuple[int, Result | SetAside]]:
        """As `run`, for tasks of which one may be missing while the others go on, and which may run twice at a time.

        One that fails by its input or by storage (`failures.may_be_set_aside`) is tried on another node, if there is one, and
        then yields SetAside. One that lags may be started a second time with another `attempt` of its payload; the first
        result counts, and whatever else is under way has ended before the iterator does.
        """
        ...


WINDOW = 64
"""Tasks of which `in_order` holds results; at least twice as many as there are workers."""


def in_order(
    executor: Executor, function: Callable[[Payload], Result], payloads: Iterable[Payload]
) -> Iterator[Result]:
    """Results in the order of their payloads, with those of one window of tasks held at a time."""
    source = iter(payloads)
    while window := list(islice(source, max(WINDOW, 2 * executor.workers))):
        found = dict(executor.run(function, window))
        for index in range(len(window)):
            yield found.pop(index)
