"""Executors: where tasks run. The contract that the engine and the exchange rely on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from gristmill.pipeline.resources import Resources

Payload = TypeVar("Payload")
Result = TypeVar("Result")


ONE_CORE = Resources()
"""What a task needs of which nothing else is said."""


class Executor(Protocol):
    """Runs tasks. A task is a module-level function and a small picklable payload; its data lie in files.

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
        exception stops everything and is raised. `resources`: what each task needs; results never depend on it.
        """
        ...
