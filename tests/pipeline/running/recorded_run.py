"""A run by the clock of a test: what tasks take is given, and what the engine would say is said at those moments."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from gristmill.pipeline.provenance.accounts import Accounts, NodeAccount, Tally
from gristmill.pipeline.running.progress import Progress, Watch
from gristmill.pipeline.source import Slice
from gristmill.pipeline.stage import Cost


class Hands:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@dataclass(frozen=True)
class Recorded:
    """What a run took: seconds of each task by pass, of settling after each pass, of publishing; worker by task."""

    sizes: Sequence[int]
    tasks: Sequence[Sequence[float]]
    settling: Mapping[int, tuple[str, float]]
    publishing: float
    first_of_a_process: float = 0.0


def plan_for(sizes: Sequence[int], costs: Sequence[Cost], settles: Mapping[int, str]) -> Any:
    """A plan of slices in which the n-th pass measures one node, `node-n`, which settles after it where `settles` says so."""
    names = [settles.get(index, f"node-{index}") for index in range(len(costs))]
    nodes = [
        SimpleNamespace(name=name, spec=SimpleNamespace(cost=cost), inputs=[SimpleNamespace(node="crawl")])
        for name, cost in zip(names, costs, strict=True)
    ]
    passes = [
        SimpleNamespace(
            index=index,
            measures=(name,),
            surveys=((name, name),) if index in settles else (),
            settles_after=(name,) if index in settles else (),
            final=index == len(costs) - 1,
        )
        for index, name in enumerate(names)
    ]
    graph = SimpleNamespace(
        sources={"crawl": None}, nodes=nodes, by_name={node.name: node for node in nodes}, outputs=[]
    )
    slices = [Slice("crawl", f"{n}.parquet", f"in/{n}.parquet", {}, size, size, "") for n, size in enumerate(sizes)]
    config = SimpleNamespace(name="recorded")
    return SimpleNamespace(slices=slices, passes=passes, graph=graph, config=config, key="0" * 64)


def record_of(task: int, pass_: int, seconds: float, process: int, size: int = 1) -> Any:
    """What the engine is given by a task, as far as it is looked at here."""
    return SimpleNamespace(
        task=task,
        pass_=pass_,
        slice=SimpleNamespace(source="crawl", text_bytes=size, rows=size // 1000),
        varies=SimpleNamespace(host="here", process=process, started=0.0, seconds=seconds),
    )


def accounts_of(names: Sequence[str], size: int, shares: Sequence[float]) -> Accounts:
    """Accounts of so many bytes from the source, of which a share enters each node."""
    accounts = Accounts()
    accounts.nodes["crawl"] = NodeAccount(entered=Tally(size // 1000, size), kept=Tally(size // 1000, size))
    for name, share in zip(names, shares, strict=True):
        tally = Tally(int(size * share) // 1000, int(size * share))
        accounts.nodes[name] = NodeAccount(entered=tally, kept=tally)
    return accounts


def replay(
    plan: Any, recorded: Recorded, workers: int, hands: Hands, every: float, shares: Sequence[float] | None = None
) -> Iterator[tuple[float, float | None]]:
    """Plays a run: (seconds since its start, time left as it is told), every so many seconds; and its end as (end, 0)."""
    watch = Watch(plan, workers, hands)
    progress = Progress(plan)
    begin = hands.time
    look = begin + every
    names = [node.name for node in plan.graph.nodes]

    def until(moment: float) -> Iterator[tuple[float, float | None]]:
        nonlocal look
        while look < moment:
            hands.time = look
            yield look - begin, watch.view().left
            look += every
        hands.time = moment

    def say(step: str) -> None:
        progress.stage = step
        watch.told(progress)

    for index, seconds in enumerate(recorded.tasks):
        progress.pass_index, progress.tasks_done, progress.text_bytes = index, 0, 0
        progress.accounts = Accounts()
        say(f"pass {index + 1} of {len(plan.passes)}")
        free = [(hands.time, worker) for worker in range(workers)]
        heapq.heapify(free)
        ends: list[tuple[float, int, int, float]] = []
        seen: set[int] = set()
        for task, taken in enumerate(seconds):
            moment, worker = heapq.heappop(free)
            taken += 0.0 if worker in seen or index else recorded.first_of_a_process
            seen.add(worker)
            ends.append((moment + taken, task, worker, taken))
            heapq.heappush(free, (moment + taken, worker))
        for moment, task, worker, taken in sorted(ends):
            yield from until(moment)
            progress.tasks_done += 1
            progress.text_bytes += recorded.sizes[task]
            progress.accounts.add(accounts_of(names, recorded.sizes[task], shares or [1.0] * len(names)))
            watch.committed(record_of(task, index, taken, worker, recorded.sizes[task]), False, progress.accounts)
            say(progress.stage)
        if index in recorded.settling:
            name, taken = recorded.settling[index]
            say(f"settling {name}")
            yield from until(hands.time + taken)
    say("publishing")
    yield from until(hands.time + recorded.publishing)
    yield hands.time - begin, 0.0


def told_after_a_tenth(
    told: Iterator[tuple[float, float | None]], until: float = 0.95
) -> tuple[float, list[tuple[float, float | None, float]]]:
    """Of a run: its seconds, and (moment, told, true) for each moment after a tenth of it and before `until` of it."""
    looks = list(told)
    end = looks[-1][0]
    return end, [(moment, left, end - moment) for moment, left in looks if end / 10 <= moment <= until * end]
