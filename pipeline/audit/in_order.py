"""Work for several reading processes at once whose results come in the order of the work, whoever finishes first."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from gristmill.pipeline.reader_process import ReaderProcess

AHEAD = 2
"""Results for each process that may wait for an earlier one."""
BYTES_PER_PROCESS = 4 << 20
"""Bytes of an output for which one more process is worth its start, which takes as long as reading about as many."""
T = TypeVar("T")
R = TypeVar("R")


def processes_for(stored: int) -> int:
    """How many processes read so many bytes when nobody says: at most one for each core that this process may use."""
    return min(len(os.sched_getaffinity(0)), 1 + stored // BYTES_PER_PROCESS)


class Countdown:
    """Lets threads wait until some number of things are done; each is done within it."""

    def __init__(self, number: int) -> None:
        self._left, self._changed = number, threading.Condition()

    def __enter__(self) -> None:
        """Something begins."""

    def __exit__(self, *exception: object) -> None:
        with self._changed:
            self._left -= 1
            self._changed.notify_all()

    def wait(self) -> None:
        """Returns when all are done."""
        with self._changed:
            self._changed.wait_for(lambda: self._left <= 0)


def in_order(
    readers: Sequence[ReaderProcess], items: Iterable[T], work: Callable[[ReaderProcess, T], R], more: int = 0
) -> Iterator[R]:
    """`work(reader, item)` for each item, in order. Each call has a reader to itself; with one reader, one call at a time.

    A thread waits for each reader, so `work` may hash files meanwhile. At most AHEAD results for each reader, and
    some more, are held.
    """
    if len(readers) == 1:
        for item in items:
            yield work(readers[0], item)
        return
    idle: queue.SimpleQueue[ReaderProcess] = queue.SimpleQueue()
    for reader in readers:
        idle.put(reader)

    def with_a_reader(item: T) -> R:
        reader = idle.get()
        try:
            return work(reader, item)
        finally:
            idle.put(reader)

    begun: deque[Future[R]] = deque()
    with ThreadPoolExecutor(max_workers=len(readers)) as pool:
        for item in items:
            begun.append(pool.submit(with_a_reader, item))
            if len(begun) >= AHEAD * len(readers) + more:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
