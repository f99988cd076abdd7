"""Checks of the footer logs: form, agreement with files.parquet and the manifest, lineage, accounts and key sums."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from pydantic import ValidationError

from gristmill.pipeline.audit.fingerprints import promise_problems, wiring_problems
from gristmill.pipeline.audit.messages import Entry, ask
from gristmill.pipeline.audit.removals import check_removals
from gristmill.pipeline.audit.result import Report
from gristmill.pipeline.audit.routes import AuditGraph
from gristmill.pipeline.hashing import canonical, merkle_root
from gristmill.pipeline.planning.small_files import names_digest
from gristmill.pipeline.provenance.accounts import MODULUS, Accounts, NodeAccount, Tally
from gristmill.pipeline.provenance.content import logical_type
from gristmill.pipeline.provenance.files import NO_TASK
from gristmill.pipeline.provenance.logs import LedgerLog, NodeLog, ShardLog, ShuffledLog, SliceRead, TaskEntry, TaskLog
from gristmill.pipeline.provenance.sidecar_tables import LEDGER_FILE, MOST_TASKS
from gristmill.pipeline.provenance.statement import MANIFEST, Predicate, parse_strictly, run_key
from gristmill.pipeline.provenance.values import described, parse, to_json
from gristmill.pipeline.reader_process import ReaderCrashed, ReaderProcess

_BATCH = 64
_OWN = ("output", "shard", "rows", "content_digest", "keys")
"""Keys of a shard's log that are about its file; the rest is about the task."""
_NODE = [item.name for item in fields(NodeLog)]


@dataclass
class _Task:
    """What is known about a task from its logs: its ledger's counts, and the shards' logs must agree.

    Attributes:
        summary: digest of what the ledger's log says about the task.
        summaries: the same of each shard's log, with its path.
        sent: what the accounts sent to this output.
    """

    ledger: str | None = None
    summary: bytes | None = None
    summaries: list[tuple[str, bytes]] = field(default_factory=list)
    slice: SliceRead | None = None
    sent: Tally = field(default_factory=Tally)


@dataclass
class LogAudit:
    """Reads every footer once, in the order of files.parquet, and keeps little of each."""

    predicate: Predicate
    graph: AuditGraph
    report: Report
    tasks: dict[int, _Task] = field(default_factory=dict)
    total: Accounts = field(default_factory=Accounts)
    complete: bool = True
    buckets: dict[int, list[int]] = field(default_factory=dict)
    ranges: int = 0

    def __post_init__(self) -> None:
        self.output = self.predicate.output
        self.shuffle = self.predicate.identity.outputs[self.output].shuffle
        self.nodes = [NodeLog(**{name: getattr(node, name) for name in _NODE}) for node in self.predicate.nodes]
        self.licenses = {name: source["license"] for name, source in to_json(self.predicate)["sources"].items()}
        self.ledger_columns = [[item.name, logical_type(item.type)] for item in LEDGER_FILE]
        self.columns = self.predicate.data.columns

    def read(self, entries: Sequence[Entry], reader: ReaderProcess) -> None:
        """Checks all footers. Each file is a data shard, a ledger, or without a log."""
        for entry, answer in read_footers(entries, reader):
            self.report.saw("footer")
            if "unreadable" in answer:
                self.report.unread("footer", answer["unreadable"], file=entry.path)
                self.complete = self.complete and entry.role != "ledger"
            elif "damaged" in answer:
                self.report.fail("footer", answer["damaged"], file=entry.path)
                self.complete = self.complete and entry.role != "ledger"
            else:
                self._footer(entry, answer)
        for task in self.tasks.values():
            for path, summary in task.summaries:
                if task.summary is not None and summary != task.summary:
                    self.report.fail("footer", "its log contradicts the log of its task's ledger", file=path)

    def _footer(self, entry: Entry, answer: Mapping[str, Any]) -> None:
        self._equal(entry, "rows", entry.rows, answer["rows"])
        if entry.role == "data":
            # Columns are compared as a set with types: their order is no content.
            self._equal(entry, "columns", self.columns, dict(answer["columns"]))
        elif entry.role == "ledger":
            self._equal(entry, "columns", self.ledger_columns, answer["columns"])
        if entry.role not in ("data", "ledger"):
            return
        log = self._log(entry, answer["log"])
        if log is None:
            self.complete = self.complete and entry.role != "ledger"
            return
        if isinstance(log, ShuffledLog):
            self._agrees_shuffled(entry, log)
        elif isinstance(log, LedgerLog):
            self._agrees_ledger(entry, log)
        else:
            self._agrees(entry, log)
            self.tasks.setdefault(entry.task, _Task()).summaries.append((entry.path, _summary(log)))

    def _log(self, entry: Entry, text: str | None) -> LedgerLog | ShardLog | ShuffledLog | None:
        if text is None:
            self.report.fail("footer", "carries no log (footer key gristmill.log)", file=entry.path)
            return None
        self.report.saw("schema")
        try:
            log = parse_strictly(text)
            stored = canonical(log) == text.encode("utf-8")
        except (ValueError, TypeError, RecursionError) as error:
            self.report.fail("schema", f"its log cannot be parsed: {error}", file=entry.path)
            return None
        kind: type[LedgerLog | ShardLog | ShuffledLog] = LedgerLog
        if entry.role == "data":
            kind = ShardLog if self.shuffle is None else ShuffledLog
        try:
            made = parse(kind, log)
        except ValidationError as error:
            for problem in described(error):
                self.report.fail("schema", f"its log: {problem}", file=entry.path)
            return None
        if not stored:
            self.report.fail("schema", "its log is not in the canonical encoding", file=entry.path)
        return made

    def _agrees_ledger(self, entry: Entry, log: LedgerLog) -> None:
        """The log is that of this file, its tasks and this run."""
        self._common(entry, to_json(log), log.nodes, {"rows": entry.rows, "content_digest": entry.content_digest})
        numbers = [one.task for one in log.tasks]
        self._equal(entry, "tasks of the log", list(range(entry.task, entry.task + entry.tasks)), numbers)
        self._equal(entry, "rows of the log's tasks", entry.rows, sum(one.rows for one in log.tasks))
        self._equal(entry, "name", f"ledger/part-{entry.task:05d}.parquet", entry.path)
        sources = {one.slices[0].source for one in log.tasks}
        for name in sorted(sources - set(self.predicate.sources)):
            self.report.fail("footer", f"a slice is of {name!r}, which is not a source of this run", file=entry.path)
        known = sources & set(self.predicate.sources)
        stated = to_json(log)
        self._equal(entry, "licences of the log", {name: self.licenses[name] for name in known}, stated["licenses"])
        snapshots = {name: self.predicate.sources[name].snapshot for name in known}
        self._equal(entry, "snapshots of the log", snapshots, log.snapshots)
        for one in log.tasks:
            root = merkle_root([one.slices[0].digest])
            self._equal(entry, f"slices_root of task {one.task} in the log", root, one.slices_root)
            self._remember(entry, log, one)

    def _common(self, entry: Entry, stated: Mapping[str, Any], nodes: list[NodeLog], wanted: Mapping[str, Any]) -> None:
        """What every log says of the run, and some values of its own."""
        of_run = {
            "run": self.predicate.run,
            "seed": self.predicate.identity.seed,
            "settled": self.predicate.settled,
        }
        for name, value in {**of_run, **wanted}.items():
            self._equal(entry, f"{name} of the log", value, stated[name])
        if nodes != self.nodes:
            self.report.fail("footer", "its list of nodes differs from the manifest's", file=entry.path)

    def _agrees(self, entry: Entry, log: ShardLog) -> None:
        """The log is that of this shard, its task and this run."""
        one, stated = log.slices[0], to_json(log)
        wanted = {
            "output": self.output,
            "task": entry.task,
            "rows": entry.rows,
            "content_digest": entry.content_digest,
            "keys": entry.keys,
            "slices_root": merkle_root([one.digest]),
        }
        self._common(entry, stated, log.nodes, wanted)
        part = ",".join(f"{name}={value}" for name, value in sorted(one.part.items()))
        for name, listed, found in (
            ("source", entry.source, one.source),
            ("path", entry.slice_path, one.path),
            ("part", entry.slice_part, part),
            ("digest", entry.slice_digest, one.digest),
        ):
            self._equal(entry, f"slice {name} of the log", listed, found)
        source = self.predicate.sources.get(one.source)
        if source is None:
            self.report.fail(
                "footer", f"its slice is of {one.source!r}, which is not a source of this run", file=entry.path
            )
            return
        licence = {one.source: self.licenses[one.source]}
        self._equal(entry, "licence of the log", licence, stated["licenses"])
        self._equal(entry, "snapshot of the log", source.snapshot, log.snapshot)
        self._equal(entry, "name", shard_path(entry.task, log.shard), entry.path)

    def _agrees_shuffled(self, entry: Entry, log: ShuffledLog) -> None:
        """The log is that of this file and this run, whose rows come from all slices."""
        identity, stated = self.predicate.identity, to_json(log)
        seed = identity.seed if self.shuffle is None or self.shuffle.seed is None else self.shuffle.seed
        self.buckets.setdefault(log.bucket, []).append(log.shard)
        wanted = {
            "output": self.output,
            "tasks": self.predicate.tasks,
            "slices_root": self.predicate.slices_root,
            "licenses": self.licenses,
            "snapshots": {name: source.snapshot for name, source in self.predicate.sources.items()},
            "rows": entry.rows,
            "content_digest": entry.content_digest,
            "keys": entry.keys,
        }
        self._common(entry, stated, log.nodes, wanted)
        self._equal(entry, "seed of the shuffle", seed, log.shuffle.seed)
        self.ranges = self.ranges or log.shuffle.buckets
        self._equal(entry, "buckets of the shuffle", self.ranges, log.shuffle.buckets)
        self._equal(entry, "name", shard_path(log.bucket, log.shard), entry.path)
        self._equal(entry, "task", NO_TASK, entry.task)

    def _remember(self, entry: Entry, log: LedgerLog, stated: TaskEntry) -> None:
        task = self.tasks.setdefault(stated.task, _Task())
        of_task = log.of(stated.task)
        if task.ledger is not None or of_task is None:
            return  # a second ledger of a task is a finding of the lineage
        task.ledger, task.summary, task.slice = entry.path, _summary(of_task), stated.slices[0]
        for problem in _of_files(stated.slices[0]):
            self.report.fail("footer", f"task {stated.task}: {problem}", file=entry.path)
        self._task_accounts(entry, stated.slices[0], stated.accounts)
        self.total.add(stated.accounts)
        for tally in stated.accounts.outputs.get(self.output, {}).values():
            task.sent.add(tally)

    def _task_accounts(self, entry: Entry, one: SliceRead, accounts: Accounts) -> None:
        self.report.saw("accounts")
        for problem in [*accounts.problems(), *wiring_problems(self.graph, accounts)]:
            self.report.fail("accounts", problem, file=entry.path)
        entered = accounts.nodes.get(one.source, NodeAccount()).entered.rows
        if entered != one.rows + one.rejects - one.removed:
            gone = f" and {one.removed} removed" if one.removed else ""
            message = f"{one.rows} rows and {one.rejects} rejects were read{gone}, but {entered} entered"
            self.report.fail("accounts", message, file=entry.path, node=one.source)

    def _equal(self, entry: Entry, what: str, expected: Any, found: Any) -> None:
        if expected != found:
            self.report.fail("footer", f"{what}: expected {_short(expected)}, found {_short(found)}", file=entry.path)

    # After all footers

    def check_lineage(self, entries: Sequence[Entry]) -> None:
        """Every slice of the plan was consumed by exactly one task, and every task's files are listed."""
        report, tasks = self.report, self.predicate.tasks
        report.saw("lineage", max(1, tasks))
        of_tasks = [entry for entry in entries if entry.role != "data" or self.shuffle is None]
        for entry in of_tasks:
            most = 1 if entry.role == "data" else MOST_TASKS
            if not (0 <= entry.task < tasks and 1 <= entry.tasks <= most and entry.task + entry.tasks <= tasks):
                told = f"files of task {entry.task}" + (f" and {entry.tasks - 1} more" if entry.tasks != 1 else "")
                report.fail("lineage", f"files.parquet lists {told}; the run has {tasks} tasks", file=entry.path)
        for entry in entries:
            if entry.role == "data" and entry.output != self.output:
                report.fail("lineage", f"is listed as a shard of the output {entry.output!r:.100}", file=entry.path)
        ledgers = [entry for entry in entries if entry.role == "ledger" and 1 <= entry.tasks <= MOST_TASKS]
        listed = Counter(task for entry in ledgers for task in range(entry.task, entry.task + entry.tasks))
        if tasks > MOST_TASKS * len(entries):
            report.fail(
                "lineage", f"the run has {tasks} tasks, but only {len(entries)} files are listed", file=MANIFEST
            )
            tasks = MOST_TASKS * len(entries)
        for number in range(tasks):
            if listed[number] != 1:
                report.fail("lineage", f"task {number} is in {listed[number]} ledgers; each task is in exactly one")
        shards: dict[int, list[str]] = {}
        for entry in of_tasks:
            if entry.role == "data":
                shards.setdefault(entry.task, []).append(entry.path)
        for number, paths in sorted(shards.items()):
            wanted = {shard_path(number, shard) for shard in range(len(paths))}
            for path in sorted(wanted - set(paths)):
                report.fail("lineage", f"task {number} has {len(paths)} shards, but this one is not listed", file=path)
        for number, found in sorted(self.buckets.items()):
            if number >= self.ranges or sorted(found) != list(range(len(found))):
                told = f"{self.ranges} buckets, and bucket {number} the shards {sorted(found)}"
                report.fail("lineage", f"the shuffle has {told}, which must be numbered from 0 without a gap")
        slices = self._slices(tasks)
        self._sources()
        check_removals(self.predicate, entries, slices, self.report)
        known = set(self.graph.sources)
        for node in self.graph.nodes:
            for edge in node.inputs:
                name, _, port = edge.rpartition(".")
                if name not in known or port not in self.graph.ports_of(name):
                    report.fail("lineage", f"reads {edge}, which no source or upstream node has", node=node.name)
            known.add(node.name)

    def _slices(self, tasks: int) -> list[SliceRead | None]:
        seen: dict[bytes, int] = {}
        for number, task in sorted(self.tasks.items()):
            if task.slice is None:
                continue
            place = canonical([task.slice.source, task.slice.path, task.slice.part])
            first = seen.setdefault(place, number)
            if first != number:
                name = f"{task.slice.source}: {task.slice.path} {task.slice.part or ''}".rstrip()
                self.report.fail("lineage", f"tasks {first} and {number} both consumed the slice {name}")
        slices = [self.tasks[n].slice if n in self.tasks else None for n in range(tasks)]
        known = [one for one in slices if one is not None]
        if len(known) < tasks:
            self.report.unread("lineage", f"the slices of {tasks - len(known)} of {tasks} tasks are not known")
            return slices
        found = merkle_root([one.digest for one in known])
        if found != self.predicate.slices_root:
            message = f"slices_root is stated as {self.predicate.slices_root}, but the logs give {found}"
            self.report.fail("lineage", message, file=MANIFEST)
        run = run_key(self.predicate.identity, known)
        if run != self.predicate.run:
            message = f"the run's key is stated as {self.predicate.run}, but identity and slices give {run}"
            self.report.fail("lineage", message, file=MANIFEST)
        return slices

    def _sources(self) -> None:
        if not self.complete:
            return
        for name, stated in self.predicate.sources.items():
            mine = [t.slice for t in self.tasks.values() if t.slice is not None and t.slice.source == name]
            found = {
                "slices": len(mine),
                "files": len({file.path for one in mine for file in one.each}),
                "rows": sum(one.rows - one.removed for one in mine),
                "rejects": sum(one.rejects for one in mine),
            }
            for what, value in found.items():
                if getattr(stated, what) != value:
                    self.report.fail(
                        "lineage", f"{what}: stated as {getattr(stated, what)}, but {value} in the logs", node=name
                    )

    def sources_by_task(self) -> list[tuple[int, str]]:
        """(first task, source) of each run of tasks that read the same source; empty where not every task is known."""
        known = [one.slice for _, one in sorted(self.tasks.items()) if one.slice is not None]
        if len(known) != self.predicate.tasks:
            return []
        names = [one.source for one in known]
        return [(place, name) for place, name in enumerate(names) if not place or names[place - 1] != name]

    def check_accounts(self) -> None:
        """The run's accounts balance and are the sum of the tasks'."""
        self.report.saw("accounts")
        stated = self.predicate.accounts
        for problem in [*stated.problems(), *wiring_problems(self.graph, stated), *promise_problems(self.predicate)]:
            self.report.fail("accounts", problem, file=MANIFEST)
        if not self.complete:
            self.report.unread("accounts", "not added up, since not every task's log could be read")
        elif self.total != stated:
            for name in sorted(set(self.total.nodes) | set(stated.nodes)):
                told, booked = (a.nodes.get(name, NodeAccount()) for a in (self.total, stated))
                what = [item.name for item in fields(told) if getattr(told, item.name) != getattr(booked, item.name)]
                if what:
                    self.report.fail(
                        "accounts", f"the tasks' accounts do not add up to the run's: {', '.join(what)}", node=name
                    )
            for kind in ("outputs", "discarded"):
                if getattr(self.total, kind) != getattr(stated, kind):
                    self.report.fail("accounts", f"the tasks' {kind} do not add up to the run's", file=MANIFEST)
            if any(self.total.shares.get(name) != shares for name, shares in stated.shares.items()):
                self.report.fail("accounts", "the tasks' shares do not add up to the run's", file=MANIFEST)

    def check_keys(self, entries: Sequence[Entry]) -> None:
        """Rows and doc_key sums of the listed shards are what the accounts sent here, by task and together."""
        self.report.saw("keys")
        held: dict[int, Tally] = {}
        total = Tally()
        for entry in entries:
            if entry.role != "data":
                continue
            if not re.fullmatch("[0-9a-f]{32}", entry.keys):
                self.report.fail("keys", f"{entry.keys!r} is not a doc_key sum", file=entry.path)
                continue
            one = Tally(entry.rows, 0, int(entry.keys, 16) % MODULUS)
            if self.shuffle is None:
                held.setdefault(entry.task, Tally()).add(one)
            total.add(one)
        stated = Tally()
        for tally in self.predicate.accounts.outputs.get(self.output, {}).values():
            stated.add(tally)
        self._sums(total, stated, "all shards", MANIFEST)
        for number, task in sorted(self.tasks.items()):
            # Rows of a task are all over a shuffled output: a full audit joins them by task.
            if task.ledger is not None and self.shuffle is None:
                self.report.saw("keys")
                self._sums(held.get(number, Tally()), task.sent, f"the shards of task {number}", task.ledger)

    def _sums(self, held: Tally, sent: Tally, what: str, file: str) -> None:
        if (held.rows, held.keys) != (sent.rows, sent.keys):
            message = (
                f"{what} hold {held.rows} rows with the key sum {held.keys:032x}, the accounts sent {sent.rows} with "
                f"{sent.keys:032x}"
            )
            self.report.fail("keys", message, file=file)


def _of_files(one: SliceRead) -> Iterator[str]:
    """Where a slice of several files says other of them than of itself."""
    if not one.files:
        return
    part = {"files": len(one.files), "names": names_digest([(f.path, f.part, f.file_bytes) for f in one.files])}
    totals = tuple(sum(getattr(f, name) for f in one.files) for name in ("file_bytes", "rows", "rejects"))
    if one.part != part or one.path != one.files[0].path:
        yield f"the files of its slice give the part {part}, and it is stated as {one.part}"
    if totals != (one.file_bytes, one.rows, one.rejects):
        stated = one.file_bytes, one.rows, one.rejects
        yield f"the files of its slice have {totals} bytes, rows and rejects together, and it states {stated}"


def _summary(log: TaskLog) -> bytes:
    """A digest of what a log says of its task, and not of its file."""
    return hashlib.sha256(canonical({k: v for k, v in to_json(log).items() if k not in _OWN})).digest()


def shard_path(task: int, shard: int) -> str:
    """Where the shard of a task, or of a bucket of a shuffled output, lies in an output."""
    return f"data/part-{task:05d}-{shard:02d}.parquet"


def read_footers(entries: Sequence[Entry], reader: ReaderProcess) -> Iterator[tuple[Entry, dict[str, Any]]]:
    """The footers of Parquet files, in order, as `open_files.footers` gives them."""
    for start in range(0, len(entries), _BATCH):
        batch = entries[start : start + _BATCH]
        try:
            answers = ask(reader, "footers", [[entry.folder, entry.path] for entry in batch])
        except ReaderCrashed:
            # One of them kills the reader: ask for each alone.
            answers = []
            for entry in batch:
                try:
                    answers += ask(reader, "footers", [[entry.folder, entry.path]])
                except ReaderCrashed as error:
                    answers.append({"unreadable": str(error)})
        yield from zip(batch, answers, strict=True)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else canonical(value).decode("utf-8")
    return text if len(text) <= 200 else f"{text[:200]}…"
