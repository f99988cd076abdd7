"""Work for several reading processes at once whose results come in the order of the work, whoever finishes first."""

from __future__ import annotations

import os
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from gristmill.pipeline.reader_process import ReaderProcess

AHEAD = 2
"""Results for each process that may wait for an earlier one."""
BYTES_PER_PROCESS = 16 << 20
"""Bytes of an output for which one more process is worth its start, which takes as long as reading about as many."""
T = TypeVar("T")
R = TypeVar("R")


def processes_for(stored: int) -> int:
    """How many processes read so many bytes when nobody says: at most one for each core that this process may use."""
    return min(len(os.sched_getaffinity(0)), 1 + stored // BYTES_PER_PROCESS)


def in_order(
    readers: Sequence[ReaderProcess], items: Iterable[T], work: Callable[[ReaderProcess, T], R]
) -> Iterator[R]:
    """`work(reader, item)` for each item, in order. Each call has a reader to itself; with one reader, one call at a time.

    A thread waits for each reader, so `work` may hash files meanwhile. At most AHEAD results for each reader are held.
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
            if len(begun) >= AHEAD * len(readers):
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
