"""The inline executor: every task in this process, one after another. What `sample` and most tests use."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from gristmill.pipeline.executor import ONE_CORE
from gristmill.pipeline.resources import Resources, this_machine

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
        if self.order is None:
            for index, payload in enumerate(payloads):
                yield index, function(payload)
            return
        listed = list(enumerate(payloads))
        random.Random(self.order).shuffle(listed)
        for index, payload in listed:
            yield index, function(payload)
