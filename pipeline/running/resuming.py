"""What an interrupted attempt left: which tasks of a pass are committed, found by tasks and not by the driver."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from gristmill.pipeline.executor import Executor
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.planning.plan_file import read_plan
from gristmill.pipeline.provenance.accounts import Accounts
from gristmill.pipeline.provenance.record_index import CHUNK, TaskDone
from gristmill.pipeline.provenance.task_record import StagedFile, TaskRecord, committed, uncommit
from gristmill.pipeline.storage import join, names_in, sha256_of, size_of
from gristmill.pipeline.work_folder import WorkFolder, task_name
from gristmill.pipeline.writing.attempt import attempt_name, is_written

FINAL_CHUNK = 8
"""Tasks of the last pass that one job checks: it reads all that they have written."""


@dataclass(frozen=True)
class CommittedTasks:
    """A job: tasks of a pass, with their keys, that may be committed."""

    work: str
    plan_file: str
    plan_digest: str
    index: int
    tasks: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class FoundTasks:
    """Those of them that are, and their accounts together: each has none of its own."""

    done: tuple[TaskDone, ...]
    accounts: Accounts


def committed_before(
    executor: Executor,
    work: WorkFolder,
    plan: tuple[str, str],
    index: int,
    final: bool,
    keys: Callable[[int], str],
    tasks: Iterable[int],
) -> Iterator[FoundTasks]:
    """The tasks of a pass that are committed, with all that they wrote in its place.

    Args:
        plan: the plan's file and its digest.
        keys: task → its key in this pass.
        tasks: those of which earlier attempts left records (`tasks_with_records`).
    """
    size = FINAL_CHUNK if final else CHUNK

    def jobs() -> Iterator[CommittedTasks]:
        waiting: list[tuple[int, str]] = []
        for task in tasks:
            waiting.append((task, keys(task)))
            if len(waiting) == size:
                yield CommittedTasks(work.place, *plan, index, tuple(waiting))
                waiting.clear()
        if waiting:
            yield CommittedTasks(work.place, *plan, index, tuple(waiting))

    for _, found in executor.run(find_committed, jobs()):
        if found.done:
            yield found


def tasks_with_records(work: WorkFolder, tasks: int) -> array[int]:
    """Of so many tasks, those of which there are records of any pass, by one listing. A run that begins has none."""
    found = map(_task_of, names_in(work.at("commits")))
    return array("i", sorted(task for task in found if task is not None and task < tasks))


def _task_of(name: str) -> int | None:
    number = name.removeprefix("task-")
    return int(number) if number.isdecimal() and task_name(int(number)) == name else None


def find_committed(job: CommittedTasks) -> FoundTasks:
    """Looks for the records of some tasks. The record of one whose files are not there is taken back."""
    work, plan = WorkFolder(job.work), read_plan(job.plan_file, job.plan_digest)
    done, accounts = [], Accounts()
    for task, key in job.tasks:
        record = committed(work, task, job.index, key)
        if record is None:
            continue
        if plan.passes[job.index].final and not _outputs_there(plan, work, record):
            uncommit(work, task, job.index, key)
            continue
        accounts.add(record.accounts)
        done.append(replace(TaskDone.of(record), accounts=Accounts()))
    return FoundTasks(tuple(done), accounts)


def _outputs_there(plan: Plan, work: WorkFolder, record: TaskRecord) -> bool:
    paths = {output.name: output.config.path for output in plan.graph.outputs}
    if record.sidecars is not None:
        location = work.at(record.sidecars.candidate)
        if size_of(location) != record.sidecars.size or sha256_of(location) != record.sidecars.sha256:
            return False
    for name, files in record.outputs.items():
        for item in files:
            if isinstance(item, StagedFile):
                location = work.at(item.candidate)
                there = size_of(location) == item.size and sha256_of(location) == item.sha256
            else:
                attempt = join(paths[name], attempt_name(plan.key))
                there = is_written(paths[name], attempt, item.path, item.sha256, item.size)
            if not there:
                return False
    return True
