"""Executors: where tasks run. The contract that the engine and the exchange rely on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

Payload = TypeVar("Payload")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs tasks. A task is a module-level function and a small picklable payload; its data lie in files.

    Attributes:
        workers: how many tasks may run at the same time. Results never depend on it.
    """

    @property
    def workers(self) -> int: ...

    def run(self, function: Callable[[Payload], Result], payloads: Iterable[Payload]) -> Iterator[tuple[int, Result]]:
        """Run `function` over `payloads`; yields (index, result) as they finish, in any order, each index once.

        A task may run more than once (a lost worker), so tasks write under deterministic names, elsewhere first. Any
        exception stops everything and is raised.
        """
        ...
