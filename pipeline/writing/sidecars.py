"""Sidecars: the files beside the shards (ledger, signals, kept notes, dropped texts), written once per run and for many tasks.

What outputs want alike stands in the folder of the first of them that the config names; the others list it, with its digest
and whose it is. A file holds the rows of consecutive tasks, in their order, and says in `from_task` whose each row is. Which
tasks share a file follows from their numbers of documents, never from workers (see docs/decisions/0026).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pyarrow as pa

from gristmill.pipeline.executor import Executor, in_order
from gristmill.pipeline.hashing import merkle_root
from gristmill.pipeline.planning.graph import Output
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.provenance.files import notes_role
from gristmill.pipeline.provenance.logs import LedgerLog, LedgersLog, NodeLog, SliceRead, TaskEntry
from gristmill.pipeline.provenance.record_index import RecordIndex, RecordRef
from gristmill.pipeline.provenance.sidecar_tables import FROM_TASK_FIELD, LEDGER_FILE, MOST_TASKS
from gristmill.pipeline.provenance.statement import FORMAT_VERSION
from gristmill.pipeline.provenance.task_record import Attempt, OutputFile, TaskRecord
from gristmill.pipeline.provenance.values import extend
from gristmill.pipeline.storage import folders_synced_once, join
from gristmill.pipeline.work_folder import WorkFolder
from gristmill.pipeline.writing.attempt import attempt_folder
from gristmill.pipeline.writing.dropped_texts import Limits, within_limits
from gristmill.pipeline.writing.parquet import write_parquet
from gristmill.pipeline.writing.task_parts import read_part

LEDGER_ROLE = "ledger"
SAMPLE_LEVEL = 1
"""zstd level of samples of texts: twice as fast as 3, which is what they cost a run most, and a third larger."""
GROUP_ROWS = 100_000
"""Rows from which on a row group ends with its task: whoever looks for one task's rows reads a few row groups."""


@dataclass(frozen=True)
class Sidecar:
    """A kind of sidecar of a run.

    Attributes:
        role: in files.parquet.
        part: the role of the tasks' parts.
        folder: where its files lie in an output.
        most: of a sample of dropped texts, documents per node, rule and language; else 0.
    """

    role: str
    part: str
    folder: str
    most: int = 0


def signals_role(node: str) -> str:
    """The role of the files with what a node measured."""
    return f"signals:{node}"


def sample_part(most: int) -> str:
    """The role of a task's candidates for a sample of dropped texts."""
    return f"dropped:{most}"


def ranks_part(most: int) -> str:
    """The role of their ranks alone."""
    return f"ranks:{most}"


def sidecars_of(plan: Plan, output: Output) -> list[Sidecar]:
    """The kinds of sidecars that belong to an output, wherever they lie. All dropped texts, where they are wanted, are no
    sidecars that tasks share, but files of one task each."""
    names = [node.name for node in plan.graph.nodes]
    found = [Sidecar(LEDGER_ROLE, LEDGER_ROLE, "ledger")]
    if output.config.signals == "all":
        found += [Sidecar(signals_role(name), signals_role(name), f"signals/{name}") for name in names]
    keep = [node.name for node in plan.graph.nodes if node.spec.keeps_notes]
    found += [Sidecar(notes_role(name), notes_role(name), f"notes/{name}") for name in keep]
    if output.config.dropped == "sample":
        most = output.config.dropped_sample
        found.append(Sidecar("dropped", sample_part(most), "dropped", most))
    return found


def holder_of(plan: Plan, sidecar: Sidecar) -> Output:
    """The output in whose folder a kind of sidecar lies: the first that it belongs to."""
    return next(output for output in plan.graph.outputs if sidecar in sidecars_of(plan, output))


def holder_of_dropped(plan: Plan) -> Output | None:
    """The output in whose folder all dropped texts lie: the first that keeps them."""
    return next((output for output in plan.graph.outputs if output.config.dropped == "all"), None)


def with_task(table: pa.Table, task: int) -> pa.Table:
    """Rows of a task, with `from_task`."""
    return table.append_column(FROM_TASK_FIELD, pa.array(np.full(table.num_rows, task, np.int32)))


@dataclass(frozen=True)
class SidecarJob:
    """The sidecars of some tasks: their records, the kinds with the folders that they go to, what the ledger's log says
    besides, and by size of a sample of dropped texts its limits."""

    work: str
    refs: tuple[RecordRef, ...]
    kinds: tuple[tuple[Sidecar, str], ...]
    log: LedgersLog
    limits: Mapping[int, Limits]


@dataclass(frozen=True)
class WrittenSidecar:
    """A sidecar that was written: the output that holds it, its first task, and of how many it has rows."""

    sidecar: Sidecar
    output: str
    task: int
    tasks: int
    file: OutputFile
    varies: Attempt


def write_sidecars(
    plan: Plan,
    work: WorkFolder,
    records: RecordIndex,
    nodes: Sequence[NodeLog],
    settled: Mapping[str, str],
    limits: Mapping[int, Limits],
    executor: Executor,
) -> list[WrittenSidecar]:
    """Writes every sidecar of a run into the attempt folder of the output that holds it, from what the tasks left.

    Args:
        nodes, settled: for the ledgers' logs.
        limits: of samples of dropped texts (`rank_limits`), by their size.

    Returns them by kind, and by task. Raises ConservationError when what a task left was changed or lost.
    """
    kinds = list(dict.fromkeys(kind for output in plan.graph.outputs for kind in sidecars_of(plan, output)))
    holders = {kind: holder_of(plan, kind) for kind in kinds}
    places = tuple((kind, attempt_folder(plan, holders[kind])) for kind in kinds)
    groups = list(records.groups(plan.config.sidecar_documents, MOST_TASKS))
    log, last = _common_log(plan, nodes, settled), len(plan.passes) - 1
    jobs = (
        SidecarJob(work.place, tuple(records.ref(last, task) for task in tasks), places, log, limits)
        for tasks in groups
    )
    found = [
        WrittenSidecar(kind, holders[kind].name, tasks.start, len(tasks), *written)
        for tasks, files in zip(groups, in_order(executor, write_group, jobs), strict=True)
        for kind, written in zip(kinds, files, strict=True)
        if written is not None
    ]
    return sorted(found, key=lambda one: kinds.index(one.sidecar))


def _common_log(plan: Plan, nodes: Sequence[NodeLog], settled: Mapping[str, str]) -> LedgersLog:
    """What the logs of all ledgers have in common; licences and snapshots are those of all sources."""
    return LedgersLog(
        format=FORMAT_VERSION,
        run=plan.key,
        seed=plan.config.seed,
        nodes=list(nodes),
        settled=dict(settled),
        licenses={spec.name: spec.config.license for spec in plan.config.sources},
        snapshots={spec.name: spec.config.snapshot for spec in plan.config.sources},
    )


def write_group(job: SidecarJob) -> list[tuple[OutputFile, Attempt] | None]:
    """Writes the sidecars of some tasks, by kind; None for one without rows, which no ledger is."""
    work = WorkFolder(job.work)
    records = [ref.read(work) for ref in job.refs]
    with folders_synced_once():
        return [_written(job, work, records, kind, folder) for kind, folder in job.kinds]


def _written(
    job: SidecarJob, work: WorkFolder, records: Sequence[TaskRecord], kind: Sidecar, folder: str
) -> tuple[OutputFile, Attempt] | None:
    started = time.time()
    entries: list[TaskEntry] = []
    tables = _tables(job, work, records, kind, entries)
    first = None if kind.role == LEDGER_ROLE else next(tables, None)
    if first is None and kind.role != LEDGER_ROLE:
        return None

    def log(rows: int, content: str) -> LedgerLog:
        return _with_tasks(job.log, entries, rows, content)

    path = f"{kind.folder}/part-{job.refs[0].task:05d}.parquet"
    attempt = f"{socket.gethostname()}-{job.refs[0].key[:8]}"
    shard = write_parquet(
        join(folder, path),
        LEDGER_FILE if first is None else first.schema,
        _row_groups(tables, first),
        log if first is None else None,
        level=SAMPLE_LEVEL if kind.most else 3,
        compact=True,
        attempt=attempt,
    )
    file = OutputFile(
        path=path,
        role=kind.role,
        size=shard.file.size,
        sha256=shard.file.sha256,
        content_digest=shard.content_digest,
        rows=shard.rows,
        keys=0,
    )
    return file, Attempt(host=socket.gethostname(), started=started, seconds=time.time() - started)


def _tables(
    job: SidecarJob, work: WorkFolder, records: Sequence[TaskRecord], kind: Sidecar, entries: list[TaskEntry]
) -> Iterator[pa.Table]:
    """The rows of each task that has some, with `from_task`; `entries` of all tasks are added for a ledger."""
    for record in records:
        table = read_part(work, record, kind.part)
        if table is not None and kind.most:
            table = within_limits(table, job.limits[kind.most])
        if kind.role == LEDGER_ROLE:
            entries.append(_entry(record, 0 if table is None else table.num_rows))
        if table is not None and table.num_rows:
            yield with_task(table, record.task)


def _entry(record: TaskRecord, rows: int) -> TaskEntry:
    one = SliceRead(**{item.name: getattr(record.slice, item.name) for item in fields(SliceRead)})
    root = merkle_root([one.digest])
    return TaskEntry(task=record.task, slices=[one], slices_root=root, accounts=record.accounts, rows=rows)


def _with_tasks(log: LedgersLog, entries: Sequence[TaskEntry], rows: int, content: str) -> LedgerLog:
    sources = {entry.slices[0].source for entry in entries}
    own = replace(
        log,
        licenses={name: value for name, value in log.licenses.items() if name in sources},
        snapshots={name: value for name, value in log.snapshots.items() if name in sources},
    )
    return extend(LedgerLog, own, tasks=list(entries), rows=rows, content_digest=content)


def _row_groups(tables: Iterator[pa.Table], first: pa.Table | None) -> Iterator[pa.Table]:
    """The same rows, in tables of GROUP_ROWS at least that end with a task."""
    held = [] if first is None else [first]
    for table in tables:
        if sum(one.num_rows for one in held) >= GROUP_ROWS:
            yield pa.concat_tables(held)
            held = []
        held.append(table)
    if held:
        yield pa.concat_tables(held)
