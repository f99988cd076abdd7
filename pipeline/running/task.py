"""One task of one pass: read a slice and its annotations, let the nodes work, leave annotations or shards, commit."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, ID, TEXT, key_words, one_chunk, text_bytes
from gristmill.pipeline.errors import ConservationError, DataError, StorageError
from gristmill.pipeline.planning.earlier_runs import kept_notes
from gristmill.pipeline.planning.graph import SOURCE_PORT, Edge, Node
from gristmill.pipeline.planning.plan import Pass, Plan
from gristmill.pipeline.provenance.accounts import Accounts, Tally, count_rules
from gristmill.pipeline.provenance.content import ContentDigest, quick_checks
from gristmill.pipeline.provenance.statement import FORMAT_VERSION
from gristmill.pipeline.running.task_keys import signal_keys
from gristmill.pipeline.slices.annotations import Annotations, fill_in, measured_before, write_annotations
from gristmill.pipeline.slices.outcome import State
from gristmill.pipeline.slices.read import digest_of_slice, read_outcome, read_slice
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.source import Slice, SliceData
from gristmill.pipeline.stage import DROPPED, QUARANTINED, SettledView
from gristmill.pipeline.storage import reason, sha256_of, write_checked
from gristmill.pipeline.work_folder import WorkFolder, task_name
from gristmill.pipeline.writing.task_files import publish_task

NOTES_BATCH_BYTES = 32 << 20
"""Bytes of a record batch of notes."""


@dataclass(frozen=True)
class SettledFiles:
    """Where a node's settled answer lies for one task.

    Attributes:
        digest: of the whole answer, for all tasks.
        keyed: the file with the rows that this task owns, or None when it owns none.
        keyed_sha256: of that file's bytes.
        broadcast: the file that every task gets, relative to the work folder, or None.
        broadcast_sha256: of that file's bytes.
        schema: of the keyed rows, as an Arrow IPC message; None when the answer has none.
    """

    digest: str
    keyed: str | None = None
    keyed_sha256: str | None = None
    broadcast: str | None = None
    broadcast_sha256: str | None = None
    schema: bytes | None = None


@dataclass(frozen=True)
class TaskInput:
    """What a task needs to know; plain data.

    Attributes:
        plan_file: the pickled plan in the work folder, and its SHA-256.
        earlier: records of this task's earlier passes, in order.
    """

    work: str
    plan_file: str
    plan_digest: str
    task: int
    index: int
    slice: Slice
    key: str
    earlier: tuple[Mapping[str, Any], ...] = ()
    settled: Mapping[str, SettledFiles] = field(default_factory=dict)
    attempt: str = "0"


@lru_cache(maxsize=2)
def load_plan(path: str, expected: str) -> Plan:
    """The plan of a run, once per process. Raises ConservationError when the file is another one."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: the plan cannot be read: {reason(error)}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ConservationError(f"{path}: the plan changed under a running task (expected {expected}, found {found}).")
    # The very bytes that were hashed: opened again, the file might be another one, and a pickle runs code.
    plan = pickle.loads(data)
    if not isinstance(plan, Plan):
        raise ConservationError(f"{path}: this is not a plan file.")
    return plan


def run_task(job: TaskInput) -> dict[str, Any]:
    """Runs one task of one pass and commits it. Returns its record."""
    return _Task(job).run()


class _Task:
    def __init__(self, job: TaskInput) -> None:
        self.job = job
        self.plan = load_plan(job.plan_file, job.plan_digest)
        self.one: Pass = self.plan.passes[job.index]
        self.work = WorkFolder(Path(job.work))
        for node in self.plan.graph.nodes:
            node.stage.work = self.work.kept
        self.started = time.time()
        self.files: list[dict[str, Any]] = []
        self.attempt = f"{socket.gethostname()}-{job.attempt}"

    def run(self) -> dict[str, Any]:
        data, columns = self._read()
        slice_rows = self._flow(data)
        annotations = Annotations([self.work.root / self._annotation_path(r) for r in self.job.earlier])
        if self.job.earlier:
            annotations.verify(slice_rows)
            if TEXT not in data.table.column_names:
                slice_rows.set_sizes(annotations.sizes())
        notes: dict[str, Any] = {}
        self._read_outcome(slice_rows, annotations)
        slice_digest = self._slice()["digest"] if self.job.earlier else digest_of_slice(data, columns)
        self.signal_keys = signal_keys(self.plan, slice_digest)
        for node in self.plan.graph.nodes:
            self._visit(node, slice_rows, annotations, notes)
        accounts = self._accounts(slice_rows, data.rejects)
        accounts.check(f"{self.job.slice.path}, pass {self.one.index}")
        published: dict[str, Any] = {}
        slice_record = self._slice_record(data, columns, slice_digest)
        if self.one.final:
            published = publish_task(
                self.plan,
                slice_rows,
                self.job.task,
                accounts,
                slice_record,
                data.rejects,
                self._settled_digests(),
                self.attempt,
                self.job.work,
                self._kept_notes(slice_rows),
            )
        else:
            path = f"annotations/{task_name(self.job.task)}/pass-{self.one.index}-{self.job.key[:32]}.arrow"
            written = write_annotations(self.work.root / path, slice_rows, self.one, self.attempt)
            self._keep(path, "annotations", written.sha256, written.size)
        record = {
            "format": FORMAT_VERSION,
            "key": self.job.key,
            "task": self.job.task,
            "pass": self.one.index,
            "slice": slice_record,
            "work_files": self.files,
            "outputs": published,
            "notes": notes,
            "signals": {name: self.signal_keys[name] for name in self.one.measures},
            "accounts": accounts.to_json(),
            "varies": {
                "host": socket.gethostname(),
                "process": os.getpid(),
                "started": self.started,
                "seconds": time.time() - self.started,
            },
        }
        if not self.work.commit(self.job.task, self.one.index, self.job.key, record):
            earlier = self.work.record(self.job.task, self.one.index, self.job.key)
            if earlier is not None:
                return earlier
        return record

    # Reading

    def _columns(self) -> frozenset[str] | None:
        """Input columns that this pass reads."""
        needed = self.plan.columns_needed(self.job.slice.source)
        if self.one.index == 0 or self.one.final:
            return needed
        names = set(self.plan.graph.source_schema[self.job.slice.source].names)
        wanted: set[str] = {ID}
        for node in self.plan.graph.nodes:
            stage = node.stage
            if node.name in self.one.measures:
                wanted |= stage.measure_reads() | stage.optional_reads() | {TEXT}
            if node.name in self.one.decides:
                wanted |= stage.decide_reads() | stage.optional_reads()
            if any(node.name == surveyor for surveyor, _ in self.one.surveys):
                wanted |= stage.survey_reads() | stage.optional_reads()
        return frozenset(wanted & names)

    def _read(self) -> tuple[SliceData, dict[str, str]]:
        data = read_slice(self.plan, self.job.slice, self._columns())
        if not self.job.earlier:
            return data, ContentDigest(data.table.schema).update(data.table).columns()
        slice_record = self._slice()
        expected = slice_record["checks"]
        for name, value in quick_checks(data.table).items():
            if expected.get(name) != value:
                raise DataError(
                    f"{self.job.slice.location}: the input changed during the run: column `{name}` had the "
                    f"check {expected.get(name)} and now has {value}. Restore the file, or remove the work folder "
                    "and run again."
                )
        return data, dict(slice_record["columns"])

    def _flow(self, data: SliceData) -> SliceRows:
        keys = key_words(data.table[DOC_KEY])
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        same = (keys[order][1:] == keys[order][:-1]).all(axis=1) if len(keys) > 1 else np.zeros(0, bool)
        if same.any():
            row = int(order[int(np.flatnonzero(same)[0])])
            raise ConservationError(
                f"{self.job.slice.location}: duplicate doc_key {data.table[DOC_KEY][row].as_py().hex()} in one "
                "slice: the source gives two records the same position."
            )
        return SliceRows(self.plan.graph, self.job.slice.source, data.table)

    def _read_outcome(self, slice_rows: SliceRows, annotations: Annotations) -> None:
        """What the source itself decides: empty text is dropped, oversized documents are quarantined."""
        state = State(np.arange(slice_rows.count), np.ones(slice_rows.count, np.int64))
        if self.job.earlier:
            state.outcome = annotations.outcome(slice_rows.source, state)
        else:
            config = self.plan.graph.sources[slice_rows.source].config
            state.outcome = read_outcome(slice_rows.table[TEXT], config.max_document_bytes)
        slice_rows.states[slice_rows.source] = state

    # Nodes

    def _visit(self, node: Node, slice_rows: SliceRows, annotations: Annotations, notes: dict[str, Any]) -> None:
        measured = self.plan.measured_in.get(node.name)
        decided = self.plan.decided_in[node.name]
        entered = max((self.plan.decided_in.get(edge.node, 0) for edge in node.inputs), default=0)
        if entered > self.one.index:
            return
        state = slice_rows.enter(node.name, node.inputs)
        slice_rows.states[node.name] = state
        if measured is not None and measured < self.one.index:
            state.signals = annotations.signals(node.name, state) or {}
        elif measured == self.one.index:
            state.signals = self._measured(node, slice_rows, state)
        if (node.name, node.name) in self.one.surveys:
            self._survey(node, node.name, slice_rows, notes)
        if decided < self.one.index:
            state.outcome = annotations.outcome(node.name, state)
        elif decided == self.one.index:
            state.outcome = slice_rows.decide(node, self._settled(node, slice_rows, state))
        for surveyor, observed in self.one.surveys:
            if observed == node.name and surveyor != observed:
                self._survey(self.plan.graph.by_name[surveyor], observed, slice_rows, notes)

    def _measured(self, node: Node, slice_rows: SliceRows, state: State) -> dict[str, pa.Array]:
        wanted = self.signal_keys[node.name]
        for record in self.work.earlier_records(self.job.task):
            if record.get("signals", {}).get(node.name) != wanted:
                continue
            file = next((f for f in record["work_files"] if f["role"] == "annotations"), None)
            if file is None or not (self.work.root / file["path"]).is_file():
                continue
            if sha256_of(str(self.work.root / file["path"])) != file["sha256"]:
                continue
            found = measured_before(self.work.root / file["path"], node.name, slice_rows)
            if found is None:
                continue
            old_rows, old = found
            missing = state.rows[~np.isin(state.rows, old_rows, assume_unique=True)]
            partial = State(missing, np.ones(len(missing), np.int64))
            partial.arrivals = {e: np.intersect1d(r, missing, assume_unique=True) for e, r in state.arrivals.items()}
            slice_rows.states[node.name] = partial
            new = slice_rows.measure(node)
            slice_rows.states[node.name] = state
            return {name: fill_in(state.rows, old_rows, old[name], missing, new[name]) for name in new}
        return slice_rows.measure(node)

    def _survey(self, node: Node, observed: str, slice_rows: SliceRows, notes: dict[str, Any]) -> None:
        table = slice_rows.survey(node, observed)
        if table is None:
            notes[node.name] = {"path": None, "rows": 0}
            return
        if "task" in table.column_names:
            raise ConservationError(f"node `{node.name}`: its notes use the reserved column `task`.")
        table = table.append_column("task", pa.array(np.full(table.num_rows, self.job.task), pa.int32()))
        path = f"notes/{node.name}/{task_name(self.job.task)}-{self.job.key[:32]}.arrow"

        def write(stream: Any) -> None:
            with pa.ipc.new_file(stream, table.schema) as writer:
                # A record batch is read whole.
                rows = table.num_rows * NOTES_BATCH_BYTES // max(1, table.nbytes)
                writer.write_table(table, max_chunksize=max(1, min(1 << 20, rows)))

        written = write_checked(str(self.work.root / path), write, self.attempt)
        self._keep(path, f"notes:{node.name}", written.sha256, written.size)
        keys = key_words(table[DOC_KEY]) if DOC_KEY in table.column_names else np.empty((0, 2), np.uint64)
        known = Tally.of(keys, np.zeros(len(keys), np.int64))
        notes[node.name] = {
            "path": path,
            "rows": table.num_rows,
            "sha256": written.sha256,
            "keys": f"{known.keys:032x}",
        }

    def _settled(self, node: Node, slice_rows: SliceRows, state: State) -> SettledView | None:
        files = self.job.settled.get(node.name)
        if files is None:
            return None
        table = None
        if files.broadcast is not None:
            path = str(self.work.root / files.broadcast)
            _check_settled(node.name, path, files.broadcast_sha256)
            with pa.memory_map(path) as stream:
                table = pa.ipc.open_file(stream).read_all().combine_chunks()
        columns = None
        if files.schema is not None:
            schema = pa.ipc.read_schema(pa.py_buffer(files.schema))
            keyed = schema.empty_table()
            if files.keyed is not None:
                _check_settled(node.name, files.keyed, files.keyed_sha256)
                with pa.memory_map(files.keyed) as stream:
                    keyed = pa.ipc.open_file(stream).read_all().combine_chunks()
            columns = _aligned_answer(node.name, keyed, slice_rows.keys[state.rows])
        return SettledView(columns=columns, table=table)

    # Accounts and records

    def _accounts(self, slice_rows: SliceRows, rejects: pa.Table) -> Accounts:
        accounts = Accounts()
        sizes = slice_rows.sizes()
        source = slice_rows.states[slice_rows.source]
        self._account(accounts, slice_rows.source, slice_rows, source, sizes)
        if rejects.num_rows:
            keys = key_words(rejects["doc_key"])
            lengths = np.asarray(one_chunk(rejects["bytes"]), np.int64)
            lost = Tally.of(keys, lengths)
            account = accounts.node(slice_rows.source)
            account.entered.add(lost)
            account.quarantined.add(lost)
            reasons = np.asarray(rejects["reason"].to_pylist(), object)
            names = tuple(sorted(set(reasons.tolist())))
            rule = np.array([names.index(reason) for reason in reasons], np.int16)
            for name, hits in count_rules(names, rule, np.uint64(1) << rule.astype(np.uint64), lengths).items():
                account.rules[name] = hits
        for node in self.plan.graph.nodes:
            state = slice_rows.states.get(node.name)
            if state is not None and state.outcome is not None:
                for edge in node.inputs:
                    rows = state.arrivals[edge]
                    copies = state.weight[np.searchsorted(state.rows, rows)]
                    accounts.node(node.name).edges[_edge_name(edge)] = Tally.of(
                        slice_rows.keys[rows], sizes[rows], copies
                    )
                self._account(accounts, node.name, slice_rows, state, sizes)
        return accounts

    def _account(self, accounts: Accounts, name: str, slice_rows: SliceRows, state: State, sizes: np.ndarray) -> None:
        account, outcome = accounts.node(name), state.outcome
        if outcome is None:
            return
        keys, lengths = slice_rows.keys[state.rows], sizes[state.rows]

        def tally(chosen: np.ndarray, copies: np.ndarray) -> Tally:
            return Tally.of(keys[chosen], lengths[chosen], copies[chosen])

        account.entered = tally(np.ones(len(keys), bool), state.weight)
        account.dropped = tally(outcome.port == DROPPED, state.weight)
        account.quarantined = tally(outcome.port == QUARANTINED, state.weight)
        account.kept = tally(outcome.port >= 0, state.weight)
        for index, port in enumerate(slice_rows.graph.ports_of(name)):
            account.ports[port] = tally(outcome.port == index, state.weight * outcome.copies)
        account.rules = count_rules(outcome.rules, outcome.rule, outcome.failed, lengths)
        account.tallies = dict(outcome.tallies)

    def _kept_notes(self, slice_rows: SliceRows) -> dict[str, pa.Table]:
        """By node, the notes that its outputs keep. A node without notes about this slice is left out."""
        found = {}
        surveyed = {name: note for record in self.job.earlier for name, note in record["notes"].items()}
        for node in self.plan.graph.nodes:
            note, state = surveyed.get(node.name), slice_rows.states.get(node.name)
            if not node.stage.keeps_notes() or note is None or note["path"] is None:
                continue
            if state is None or state.outcome is None:
                raise ConservationError(
                    f"node `{node.name}`: it left notes about rows but made no decisions about them."
                )
            path = str(self.work.root / note["path"])
            sha256 = sha256_of(path)
            if sha256 != note["sha256"]:
                raise ConservationError(
                    f"node `{node.name}`: the notes {path} are not what was committed (expected SHA-256 "
                    f"{note['sha256']}, found {sha256}). Remove the work folder and run again."
                )
            with pa.memory_map(path) as stream:
                notes = pa.ipc.open_file(stream).read_all()
            keys = one_chunk(slice_rows.table[DOC_KEY]).take(pa.array(state.rows))
            found[node.name] = kept_notes(notes, keys, state.outcome.port >= 0)
        return found

    def _slice(self) -> Mapping[str, Any]:
        return dict(self.job.earlier[0]["slice"])

    def _slice_record(self, data: SliceData, columns: dict[str, str], slice_digest: str) -> dict[str, Any]:
        if self.job.earlier:
            return dict(self._slice())
        one = self.job.slice
        return {
            "source": one.source,
            "path": one.path,
            "part": one.part,
            "digest": slice_digest,
            "columns": columns,
            "checks": quick_checks(data.table),
            "rows": data.table.num_rows,
            "rejects": data.rejects.num_rows,
            "reject_bytes": int(np.asarray(one_chunk(data.rejects["bytes"])).sum()) if data.rejects.num_rows else 0,
            "bytes": data.bytes_read,
            "text_bytes": int(text_bytes(data.table[TEXT]).sum()),
            "file_bytes": one.file_bytes,
            "stamp": one.stamp,
        }

    def _settled_digests(self) -> dict[str, str]:
        return {name: files.digest for name, files in sorted(self.job.settled.items())}

    def _keep(self, path: str, role: str, sha256: str, size: int) -> None:
        self.files.append({"path": path, "role": role, "sha256": sha256, "size": size})

    def _annotation_path(self, record: Mapping[str, Any]) -> str:
        file = next(f for f in record["work_files"] if f["role"] == "annotations")
        found = sha256_of(str(self.work.root / file["path"]))
        if found != file["sha256"]:
            raise ConservationError(
                f"{self.work.root / file['path']}: the annotations changed since they were committed (expected "
                f"{file['sha256']}, found {found}). Remove the work folder and run again."
            )
        return str(file["path"])


def _check_settled(name: str, path: str, expected: str | None) -> None:
    found = sha256_of(path)
    if found != expected:
        raise ConservationError(
            f"node `{name}`: the settled answer {path} is not what was settled (expected SHA-256 {expected}, found {found}). "
            "Run again: it is settled anew."
        )


def _edge_name(edge: Edge) -> str:
    return f"{edge.node}.{edge.port}" if edge.port != SOURCE_PORT else f"{edge.node}.{SOURCE_PORT}"


def _aligned_answer(name: str, keyed: pa.Table, keys: np.ndarray) -> pa.Table:
    """Keyed answers in the order of a node's rows; every answer must find its document."""
    columns = [c for c in keyed.column_names if c not in (DOC_KEY, "task")]
    answered = key_words(keyed[DOC_KEY])
    # As 16-byte strings, whose order is the keys' order; both sides are padded alike, so no zero byte is lost.
    mine, theirs = (np.frombuffer(words.astype(">u8").tobytes(), "S16") for words in (keys, answered))
    order = np.argsort(mine, kind="stable")
    place = np.searchsorted(mine[order], theirs) if len(mine) else np.zeros(len(theirs), np.int64)
    inside = place < len(mine)
    matched = np.zeros(len(theirs), bool)
    matched[inside] = mine[order[place[inside]]] == theirs[inside]
    if not matched.all():
        lost = keyed[DOC_KEY][int(np.flatnonzero(~matched)[0])].as_py().hex()
        raise ConservationError(
            f"node `{name}`: the settled answer names the document {lost}, which did not enter the node in this task."
        )
    rows = order[place] if len(theirs) else np.empty(0, np.int64)
    if len(np.unique(rows)) != len(rows):
        raise ConservationError(f"node `{name}`: the settled answer names a document twice.")
    target = np.full(len(mine), -1, np.int64)
    target[rows] = np.arange(len(rows))
    index = pa.array(target, mask=target < 0)
    # A table needs a column to have a number of rows.
    arrays = {c: one_chunk(keyed[c]).take(index) for c in columns}
    return pa.table(arrays) if arrays else pa.table({"answered": index.is_valid()})
