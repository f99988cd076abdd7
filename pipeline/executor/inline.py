"""The inline executor: every task in this process, one after another. What `sample` and most tests use."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from gristmill.pipeline.executor import ONE_CORE, SetAside
from gristmill.pipeline.executor.failures import TaskFailed, attempted, set_aside
from gristmill.pipeline.resources import Resources, this_machine
from gristmill.pipeline.stopping import obey, tasks_under_way

Payload = TypeVar("Payload")
Result = TypeVar("Result")


class InlineExecutor:
    """Runs tasks in this process, in order.

    Args:
        order: None runs payloads in their order, drawing them one by one; a number is the seed of a permutation in
            which they are run instead. Tests use it to show that the order of completion does not matter.
    """

    workers = 1

    def __init__(self, order: int | None = None) -> None:
        self.order = order

    def machines(self) -> list[Resources]:
        """This one. Its cores bound nothing: a task that wants more of them than there are takes its time."""
        return [replace(this_machine(), cpus=float(1 << 20))]

    def run(
        self,
        function: Callable[[Payload], Result],
        payloads: Iterable[Payload],
        resources: Resources = ONE_CORE,
    ) -> Iterator[tuple[int, Result]]:
        """See `pipeline.executor.Executor.run`."""
        for index, payload in self._ordered(payloads):
            yield index, function(payload)

    def run_independent(
        self,
        function: Callable[[Payload], Result],
        payloads: Iterable[Payload],
        resources: Resources = ONE_CORE,
    ) -> Iterator[tuple[int, Result | SetAside]]:
        """See `pipeline.executor.Executor.run_independent`. There is no other node, and what storage could mend by being
        asked again it was asked for (`storage.retries`)."""
        for index, payload in self._ordered(payloads):
            found = attempted(function, payload)
            yield index, set_aside(found, payload) if isinstance(found, TaskFailed) else found

    def _ordered(self, payloads: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        numbered: Iterable[tuple[int, Any]] = enumerate(payloads)
        if self.order is not None:
            listed = list(numbered)
            random.Random(self.order).shuffle(listed)
            numbered = listed
        with tasks_under_way():
            for item in numbered:
                obey()
                yield item
