"""What a driver costs: memory per task and pass, processor time per task, planning, and the resume of many committed tasks.

    python -m tests.benchmarks.driver memory [TASKS]      # 1,000,000 simulated tasks in three passes
    python -m tests.benchmarks.driver dispatch [TASKS]    # trivial tasks through Ray, 20,000 of them
    python -m tests.benchmarks.driver resume [TASKS]      # 100,000 tasks whose records an earlier attempt has committed
    python -m tests.benchmarks.driver plan [FILES]        # 100,000 Parquet files of three rows, looked at by two workers of Ray

`memory` runs the engine's passes on an executor whose tasks only say what a task would say, so that all that grows is the
driver; it states the peak of the resident set above what it was before planning and before the passes, by task and pass.
`resume` is given real records and work files, and a pool of two processes that reads them. Figures of memory, counts and,
nearly, CPU time hold on a busy machine, other times do not. Each prints JSON.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning.foreign_files import FilesJob, look_at
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.provenance import task_record
from gristmill.pipeline.provenance.accounts import Accounts, NodeAccount, Tally
from gristmill.pipeline.provenance.record_index import RecordIndex, RecordRef, SliceDone, TaskDone
from gristmill.pipeline.provenance.task_record import (
    ANNOTATIONS,
    SliceRecord,
    TaskAttempt,
    TaskRecord,
    WorkFile,
    record_bytes,
)
from gristmill.pipeline.running.engine import Engine
from gristmill.pipeline.running.resuming import tasks_with_records
from gristmill.pipeline.running.task_input import TaskInput
from gristmill.pipeline.running.task_keys import TaskKeys
from gristmill.pipeline.source import Slice
from gristmill.pipeline.writing.dropped_texts import lowest_ranks
from gristmill.pipeline.writing.sample_limits import ranks_before
from tests.pipeline.toy_runs import GRAPH, plan_of, write_corpus

A = "0" * 64


def planned(root: Path, tasks: int) -> Plan:
    """The plan of a graph with two settled nodes and three passes over so many slices of files that are not there."""
    write_corpus(root / "in", files=1)
    plan = plan_of(GRAPH.format(root=root))
    slices = tuple(
        Slice(
            source="s",
            path=f"crawl-data/segment-{task // 1000:05d}/part-{task:07d}.parquet",
            location=f"{root}/in/crawl-data/segment-{task // 1000:05d}/part-{task:07d}.parquet",
            part={"row_group": 0, "row_groups": 4, "first_row": 0},
            bytes=1 << 25,
            file_bytes=(1 << 25) + task,
            stamp=str(1_700_000_000_000_000_000 + task),
        )
        for task in range(tasks)
    )
    return replace(plan, slices=slices)


def accounts_of(plan: Plan, rows: int) -> Accounts:
    """Accounts that balance, as large as those of a real task: the same tally along each edge."""

    def tally() -> Tally:
        return Tally(rows, 1000 * rows, 7)

    accounts = Accounts()
    port = plan.graph.nodes[0].inputs[0]
    accounts.nodes[port.node] = NodeAccount(entered=tally(), kept=tally(), ports={port.port: tally()})
    return accounts


class Simulated(InlineExecutor):
    """An executor of which each task says at once what it would say had it run."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.accounts = accounts_of(plan, 1000)

    def run_independent(
        self, function: Callable[[Any], Any], payloads: Iterable[TaskInput], resources: Any = None
    ) -> Iterator[tuple[int, Any]]:
        for index, job in enumerate(payloads):
            digest = hashlib.sha256(job.key.encode()).hexdigest()
            ref = RecordRef(job.task, job.index, job.key, digest)
            varies = TaskAttempt(host="node-17", started=1.7e9, seconds=40.0, process=job.task % 97)
            yield index, TaskDone(ref, SliceDone("s", digest, 1000, 0, 10**6), self.accounts, varies)

    def run(
        self, function: Callable[[Any], Any], payloads: Iterable[Any], resources: Any = None
    ) -> Iterator[tuple[int, Any]]:
        if function is not ranks_before:
            yield from super().run(function, payloads, resources)
            return
        for index, job in enumerate(payloads):  # records of tasks that never ran have nothing in them
            yield index, lowest_ranks((), job.most)


def resident() -> int:
    """Bytes of the resident set now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def memory(tasks: int) -> dict[str, Any]:
    """The growth of the driver while it plans nothing, and runs all passes of simulated tasks."""
    with tempfile.TemporaryDirectory() as folder:
        _ = planned(Path(folder), 1).key  # what is loaded once
        before = resident()
        plan = planned(Path(folder), tasks)
        _ = plan.key
        after_plan = resident()
        engine = Engine(plan, Simulated(plan))
        engine.work.make()
        file, digest = engine._write_plan()
        begin, cpu = time.monotonic(), time.process_time()
        records = RecordIndex(tasks, len(plan.passes))
        peak = after_plan
        for one in plan.passes:
            engine._pass(one, file, digest, records)
            peak = max(peak, resident())
        many = tasks * len(plan.passes)
        return {
            "tasks": tasks,
            "passes": len(plan.passes),
            "plan_bytes_per_task": round((after_plan - before) / tasks),
            "bytes_per_task_and_pass": round((peak - after_plan) / many),
            "with_plan_bytes_per_task_and_pass": round((peak - before) / many),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "wall_seconds": round(time.monotonic() - begin, 1),
            "tasks_per_cpu_second": round(many / (time.process_time() - cpu)),
        }


class Pool(InlineExecutor):
    """Two processes beside the driver, which count what they ask storage for."""

    workers = 2

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        super().__init__()
        self.pool = pool
        self.asked: Counter[str] = Counter()

    def run(
        self, function: Callable[[Any], Any], payloads: Iterable[Any], resources: Any = None
    ) -> Iterator[tuple[int, Any]]:
        for index, (found, asked) in enumerate(self.pool.map(partial(counted, function), payloads)):
            self.asked += asked
            yield index, found


def counted(function: Callable[[Any], Any], payload: Any) -> tuple[Any, Counter[str]]:
    """A task's result, and how often it asked storage for what."""
    asked: Counter[str] = Counter()
    before = task_record.read_small, task_record.size_of

    def counting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            asked[name] += 1
            return call(*arguments)

        return called

    task_record.read_small, task_record.size_of = counting("reads", before[0]), counting("sizes", before[1])
    try:
        return function(payload), asked
    finally:
        task_record.read_small, task_record.size_of = before


def record_of(task: int, key: str, plan: Plan) -> TaskRecord:
    """A record of a first pass."""
    one = plan.slices[task]
    told = SliceRecord(
        source=one.source, path=one.path, part=one.part, digest=hashlib.sha256(key.encode()).hexdigest(), rows=1000,
        rejects=0, columns={"text": A, "id": A, "url": A}, checks={"text": A[:16], "id": A[:16]}, reject_bytes=0,
        bytes=1 << 25, text_bytes=10**6, file_bytes=one.file_bytes, stamp=one.stamp,
    )  # fmt: skip
    annotations = WorkFile(path=f"annotations/{task}.arrow", role=ANNOTATIONS, sha256=A, size=1)
    return TaskRecord(
        format=2, key=key, task=task, pass_=0, slice=told, work_files=[annotations], outputs={}, sidecars=None, notes={},
        signals={"length": A}, accounts=accounts_of(plan, 1000),
        varies=TaskAttempt(host="node-17", started=1.7e9, seconds=40.0, process=1),
    )  # fmt: skip


def resume(tasks: int) -> dict[str, Any]:
    """The first pass of a run of which an earlier attempt has committed all tasks."""
    with tempfile.TemporaryDirectory() as folder:
        plan = planned(Path(folder), tasks)
        keys = TaskKeys(plan, 0, {})
        with ProcessPoolExecutor(2) as pool:
            list(pool.map(abs, range(4)))
            executor = Pool(pool)
            engine = Engine(plan, executor)
            engine.work.make()
            commits, annotations = Path(engine.work.at("commits")), Path(engine.work.at("annotations"))
            annotations.mkdir(parents=True)
            for task in range(tasks):
                key = keys.key(plan.slices[task], None)
                place = commits / f"task-{task:05d}"
                place.mkdir(parents=True)
                (place / f"pass-0-{key[:32]}.json").write_bytes(record_bytes(record_of(task, key, plan)))
                (annotations / f"{task}.arrow").write_bytes(b"x")
            file, digest = engine._write_plan()
            records = RecordIndex(tasks, len(plan.passes))
            begin, cpu = time.monotonic(), time.process_time()
            engine.left = tasks_with_records(engine.work, tasks)
            engine._pass(plan.passes[0], file, digest, records)
            driver, wall = time.process_time() - cpu, time.monotonic() - begin
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "tasks": tasks,
            "reused": engine.progress.reused,
            "operations": {"listings": 1, **executor.asked},
            "driver_cpu_seconds": round(driver, 1),
            "workers_cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "wall_seconds": round(wall, 1),
        }


class Timed(InlineExecutor):
    """Ray, with the CPU time of its tasks added up."""

    workers = 2

    def __init__(self, ray: Any) -> None:
        super().__init__()
        self.ray, self.cpu = ray, 0.0

    def run_independent(
        self, function: Callable[[Any], Any], payloads: Iterable[Any], resources: Any = None
    ) -> Iterator[tuple[int, Any]]:
        from tests.benchmarks.driver import looked_at  # by its name, and not as a function of the program

        for index, (found, cpu) in self.ray.run_independent(looked_at, payloads):
            self.cpu += cpu
            yield index, found


def looked_at(job: FilesJob) -> tuple[Any, float]:
    """What planning's task finds, and the seconds of CPU that it took."""
    cpu = time.process_time()
    return look_at(job), time.process_time() - cpu


def plan_files(files: int) -> dict[str, Any]:
    """The planning of Parquet files of three rows, by this process and its reading process, and by two workers of Ray."""
    from gristmill.pipeline.executor.ray import RayExecutor

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_corpus(root / "in", files=1, rows=3)
        whole = (root / "in/part-000.parquet").read_bytes()
        for number in range(1, files):
            (root / f"in/{number // 1000:03d}").mkdir(exist_ok=True)
            (root / f"in/{number // 1000:03d}/{number:06d}.parquet").write_bytes(whole)
        text = GRAPH.format(root=root).replace("/in/*.parquet", "/in")
        spent = {}
        keys = set()
        with RayExecutor(workers=2, plugin_folders=[str(Path(__file__).parents[2])]) as ray:
            timed = Timed(ray)
            list(ray.run_independent(abs, range(100)))
            for name, workers in (("tasks", lambda files: timed), ("one_process", None)):
                before, begin, cpu = resident(), time.monotonic(), time.process_time()
                plan = plan_of(text, workers)
                spent[name] = {
                    "driver_cpu_seconds": round(time.process_time() - cpu, 1),
                    "wall_seconds": round(time.monotonic() - begin, 1),
                    "driver_bytes_per_file": round((resident() - before) / files),
                }
                keys.add(plan.key)
            spent["tasks"]["workers_cpu_seconds"] = round(timed.cpu, 1)
        (_,) = keys
        return {"files": files, **spent}


def dispatch(tasks: int) -> dict[str, Any]:
    """Trivial tasks on two workers of a local cluster."""
    from gristmill.pipeline.executor.ray import RayExecutor

    with RayExecutor(workers=2) as executor:
        list(executor.run_independent(abs, range(100)))
        begin, cpu = time.monotonic(), time.process_time()
        done = sum(1 for _ in executor.run_independent(abs, range(tasks)))
        spent, used = time.monotonic() - begin, time.process_time() - cpu
    return {
        "tasks": done,
        "tasks_per_second": round(done / spent),
        "driver_tasks_per_cpu_second": round(done / used),
    }


def main() -> None:
    kinds = {
        "memory": (memory, 1_000_000),
        "resume": (resume, 100_000),
        "dispatch": (dispatch, 20_000),
        "plan": (plan_files, 100_000),
    }
    name = sys.argv[1]
    run, tasks = kinds[name]
    print(json.dumps({name: run(int(sys.argv[2]) if len(sys.argv) > 2 else tasks)}, indent=1))


if __name__ == "__main__":
    main()
