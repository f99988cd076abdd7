"""Checks that read rows, one task at a time: pages, content, ledger, signals, and the join of ledger and shards.

Runs in the reading process (pipeline.audit.child). Memory: one row group, plus the task's keys and its ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from gristmill.pipeline.audit.agreement import SIZE, check_agreement
from gristmill.pipeline.audit.ledger import read_decisions, totals, vocabulary
from gristmill.pipeline.audit.messages import Answer, Entry, TaskJob
from gristmill.pipeline.audit.open_files import Damaged, Unreadable
from gristmill.pipeline.audit.removals import check_removed
from gristmill.pipeline.audit.routes import AuditGraph, follow
from gristmill.pipeline.audit.row_join import join_notes, join_outputs, join_signals, listed_drops
from gristmill.pipeline.audit.scan_file import scanned
from gristmill.pipeline.audit.shares import SeenRows, check_task_shares
from gristmill.pipeline.audit.sidecar_rows import ledger_log, lengths_left, task_rows, text_lengths
from gristmill.pipeline.document import COPY, DOC_KEY, ID, KEY_TYPE, TEXT, URL
from gristmill.pipeline.provenance.logs import TaskLog
from gristmill.pipeline.provenance.removal import REMOVED, REMOVED_ROLE
from gristmill.pipeline.provenance.sidecar_tables import EMITTED, LEDGER


@dataclass
class _Shards:
    """What was read of a task's shards: of each its rows, as far as they are held, and its findings; and what shares are
    counted by."""

    tables: dict[str, pa.Table | None] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    seen: SeenRows = field(default_factory=SeenRows)


_read_ahead: dict[tuple[object, ...], _Shards] = {}
"""Of the task that this process is asked to check next."""


def scan_shards(argument: Mapping[str, Any]) -> None:
    """Reads a task's shards ahead of its check, for which other files may still have to be read. `argument` is a TaskJob."""
    job = TaskJob.from_json(argument)
    _read_ahead[_place(job)] = _shards(job)


def _place(job: TaskJob) -> tuple[object, ...]:
    return job.task, job.nodes, *(entry for entry in job.files if entry.role == "data")


def _shards(job: TaskJob) -> _Shards:
    if (known := _read_ahead.pop(_place(job), None)) is not None:
        return known
    read = _Shards()
    for entry in job.files:
        if entry.role == "data":
            answer = read.answers[entry.path] = Answer()
            kept = _kept(entry.role, job)
            read.tables[entry.path] = scanned(entry.folder, entry, kept, answer, read.seen.add)[0]
    return read


def check_task(argument: Mapping[str, Any]) -> dict[str, Any]:
    """All checks of one task's files that read rows. `argument` is a TaskJob, the answer an Answer, as JSON."""
    job = TaskJob.from_json(argument)
    answer = Answer()
    log: TaskLog | None = None
    shards = _shards(job)
    tables = dict(shards.tables)
    for entry in job.files:
        if entry.role == "data":
            answer.add(shards.answers[entry.path])
            continue
        if entry.role == REMOVED_ROLE:
            tables[entry.path] = REMOVED.empty_table()
            continue
        tables[entry.path] = _rows(entry, job, answer)
        if entry.role == "ledger" and tables[entry.path] is not None:
            whole = ledger_log(entry.folder, entry.path, entry.sha256)
            log = None if whole is None else whole.of(job.task)
    ledger_entry = next((entry for entry in job.files if entry.role == "ledger"), None)
    ledger = None if ledger_entry is None else tables[ledger_entry.path]
    broken = [entry.path for entry in job.files if tables[entry.path] is None] + list(job.broken)
    if ledger is None or ledger_entry is None or log is None:
        for check in ("vocabulary", "ledger", "join", "signals", "dropped"):
            if check not in ("signals", "dropped") or any(entry.role.startswith(check) for entry in job.files):
                answer.unread(check, f"task {job.task}: its ledger could not be read", None)
        return answer.to_json()
    graph = AuditGraph(job.sources, job.nodes, job.outputs)
    source, accounts = log.slices[0].source, log.accounts
    sound = vocabulary(graph, source, job.source_rules, ledger, ledger_entry.path, answer)
    keys, decided = read_decisions(graph, source, ledger, ledger_entry.path, answer) if sound else (None, None)
    if keys is None or decided is None:
        for check in ("ledger", "join"):
            answer.unread(
                check,
                "not compared, since the ledger names nodes, rules or decisions that the run does not have",
                ledger_entry.path,
            )
        return answer.to_json()
    check_removed(job.files, job.task, log.slices[0], answer)
    routes = follow(graph, source, decided, len(keys))
    totals(graph, source, ledger, decided, keys, routes, accounts, ledger_entry.path, answer)
    data = [(entry.path, tables[entry.path]) for entry in job.files if entry.role == "data"]
    if job.spill is not None:
        # Loaded for shuffled outputs alone, since it brings kernels along.
        from gristmill.pipeline.audit.shuffle import rows_of_task

        data = rows_of_task(job)
    joined = not job.shuffled or job.spill is not None
    lost = [path for path in broken if path.startswith("data/")]
    if lost:
        answer.unread(
            "join", "not joined with the ledger, since it could not be read or is not what was listed", lost[0]
        )
    elif joined:
        join_outputs(graph, job.output, data, keys, routes, accounts, ledger_entry.path, answer)
    if not job.shuffled:
        check_task_shares(job, log, shards.seen, answer, ledger_entry.path, lost)
    for entry in job.files:
        table = tables[entry.path]
        if table is None:
            continue
        if entry.role.startswith("signals:"):
            node = entry.role.removeprefix("signals:")
            join_signals(node, table, keys, routes, accounts, entry.path, answer)
        elif entry.role.startswith("notes:"):
            join_notes(graph, entry.role.removeprefix("notes:"), table, keys, routes, entry.path, answer)
        elif entry.role == "dropped":
            listed_drops(table, ledger, entry.path, answer)
    check_agreement(job, log, graph, tables, keys, routes, answer)
    return answer.to_json()


def _rows(entry: Entry, job: TaskJob, answer: Answer) -> pa.Table | None:
    """The task's rows of a sidecar; None for one that cannot be read, as the check of the whole file says."""
    kept = _kept(entry.role, job)
    try:
        table, first = task_rows(entry, job.task, kept)
        lengths = lengths_left(job.lengths, entry, first, table.num_rows) if entry.role == "dropped" else None
        if entry.role == "dropped" and lengths is None:
            lengths = text_lengths(task_rows(entry, job.task, (TEXT,))[0])
    except (Damaged, Unreadable):
        return None
    answer.first_rows[entry.path] = first
    if DOC_KEY not in table.column_names or table.schema.field(DOC_KEY).type != KEY_TYPE or table[DOC_KEY].null_count:
        return None
    if lengths is None:
        return table
    return table.append_column(SIZE, pa.array(lengths, mask=lengths < 0))


def _kept(role: str, job: TaskJob) -> list[str] | None:
    """What is held of a file's columns; None for all."""
    if role == "ledger":
        return list(LEDGER.names)
    if role == "data":
        return [DOC_KEY, COPY, ID, URL, *dict.fromkeys(name for node in job.nodes for name in node.columns)]
    if role == "dropped":
        return ["node", "rule", DOC_KEY, ID, "rank"]
    return [DOC_KEY, EMITTED] if role.startswith("notes:") else None
