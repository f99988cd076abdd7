"""One task of one pass: read a slice and its annotations, let the nodes work, leave annotations or shards, commit."""

from __future__ import annotations

import os
import socket
import time

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, ID, TEXT, key_words, one_chunk
from gristmill.pipeline.errors import ConservationError, DataError
from gristmill.pipeline.planning.plan import Pass
from gristmill.pipeline.planning.plan_file import read_plan
from gristmill.pipeline.planning.prior_runs import kept_notes
from gristmill.pipeline.provenance.content import ContentDigest, quick_checks
from gristmill.pipeline.provenance.logs import FileRead
from gristmill.pipeline.provenance.record_index import TaskDone
from gristmill.pipeline.provenance.statement import FORMAT_VERSION
from gristmill.pipeline.provenance.task_record import (
    ANNOTATIONS,
    INPUT,
    INPUT_REJECTS,
    Notes,
    SidecarParts,
    SliceRecord,
    TaskAttempt,
    TaskFile,
    TaskRecord,
    WorkFile,
    commit,
    committed,
    record_bytes,
)
from gristmill.pipeline.running.compiling import compiling_said
from gristmill.pipeline.running.pass_answers import PassAnswers
from gristmill.pipeline.running.task_input import TaskInput
from gristmill.pipeline.running.task_keys import signal_keys
from gristmill.pipeline.running.task_log import task_log
from gristmill.pipeline.slices.annotations import Annotations, annotations_of
from gristmill.pipeline.slices.checkpoints import Checkpoints
from gristmill.pipeline.slices.read import blanked, digest_of_slice, read_slice, without_revoked
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.slices.row_accounts import slice_accounts
from gristmill.pipeline.slices.traversal import traverse
from gristmill.pipeline.source import SliceData
from gristmill.pipeline.stage_spec import REVOKED
from gristmill.pipeline.storage import folders_synced_once, names_durable_later
from gristmill.pipeline.work_files import read_checked, write_named
from gristmill.pipeline.work_folder import WorkFolder, task_name
from gristmill.pipeline.writing.sample_limits import with_labels
from gristmill.pipeline.writing.task_files import publish_task


def run_task(job: TaskInput) -> TaskDone:
    """Runs one task of one pass and commits it, unless another attempt has. Returns what counts."""
    work = WorkFolder(job.work)
    with compiling_said(work.root), task_log(work.root, job.task, job.index, job.slice.path):
        record = committed(work, job.task, job.index, job.key) if job.attempt != "0" else None
        return _Task(job).run() if record is None else TaskDone.of(record)


class _Task:
    def __init__(self, job: TaskInput) -> None:
        self.job = job
        self.plan = read_plan(job.plan_file, job.plan_digest)
        self.one: Pass = self.plan.passes[job.index]
        self.work = WorkFolder(job.work)
        self.preceding = [ref.read(self.work) for ref in job.preceding]
        self.started = time.time()
        self.files: list[WorkFile] = []
        self.attempt = f"{socket.gethostname()}-{job.attempt}"

    def run(self) -> TaskDone:
        with folders_synced_once():  # what the record names is durable before the record is
            record, checkpoints = self._made()
        data = record_bytes(record)
        with names_durable_later():
            won = commit(self.work, record, data)
        checkpoints.remove()
        first = None if won else committed(self.work, self.job.task, self.one.index, self.job.key)
        return TaskDone.of(record, data) if first is None else TaskDone.of(first)

    def _made(self) -> tuple[TaskRecord, Checkpoints]:
        """Does the work and writes its files. Returns the record that will commit them."""
        data, columns = self._read()
        annotations = Annotations([self._checked(record, record.annotations) for record in self.preceding])
        slice_rows = self._slice_rows(data, annotations)
        if self.job.preceding:
            annotations.verify(slice_rows)
            slice_rows.set_sizes(annotations.sizes())
        slice_digest = self._slice().digest if self.job.preceding else digest_of_slice(data, columns)
        keys = signal_keys(self.plan, slice_digest)
        folder = self.work.at("checkpoints", task_name(self.job.task))
        slice_rows.checkpoints = checkpoints = Checkpoints(folder, keys, self.attempt)
        answers = PassAnswers(self.job, self.plan, self.work, annotations, keys, self.attempt, slice_digest)
        traverse(self.plan.graph, slice_rows, answers)
        self.files += answers.files
        accounts = slice_accounts(slice_rows, data.rejects)
        accounts.check(f"{self.job.slice.path}, pass {self.one.index}")
        published: dict[str, list[TaskFile]] = {}
        sidecars: SidecarParts | None = None
        slice_record = self._slice_record(slice_rows, data, columns, slice_digest)
        if self.one.final:
            published, sidecars = publish_task(
                self.plan,
                slice_rows,
                self.job.task,
                accounts,
                slice_record,
                data.rejects,
                self._settled_digests(),
                self.attempt,
                self.work,
                self.job.key,
                self._kept_notes(slice_rows),
                {known.most: known.read(self.work) for known in self.job.limits},
            )
        else:
            self._keep(
                ANNOTATIONS,
                f"pass-{self.one.index}",
                with_labels(self.plan, slice_rows, self.one, annotations_of(slice_rows, self.one)),
            )
            if not self.job.preceding and self._keeps_input():
                self._keep_input(slice_rows.table, data.rejects)
        record = TaskRecord(
            format=FORMAT_VERSION,
            key=self.job.key,
            task=self.job.task,
            pass_=self.one.index,
            slice=slice_record,
            work_files=self.files,
            outputs=published,
            sidecars=sidecars,
            notes=answers.notes,
            signals={name: keys[name] for name in self.one.measures},
            accounts=accounts,
            varies=TaskAttempt(
                host=socket.gethostname(),
                process=os.getpid(),
                started=self.started,
                seconds=time.time() - self.started,
            ),
        )
        return record, checkpoints

    # Reading

    def _columns(self) -> frozenset[str] | None:
        """Input columns that this pass reads."""
        source = self.job.slice.source
        needed = self.plan.columns_needed(source)
        if self.one.index == 0:
            return needed
        payloads = self.plan.graph.payloads(source)
        if self.one.final and not payloads:
            return needed
        names = set(self.plan.graph.source_schema[source].names)
        wanted: set[str] = {ID}
        if self.one.final:
            asked = {name for output in self.plan.graph.outputs for name in output.config.listed_columns or ()}
            wanted |= (names if needed is None else set(needed)) - (payloads - asked)
        for node in self.plan.graph.nodes:
            stage = node.stage
            if node.name in self.one.measures:
                wanted |= stage.spec.measure_reads | stage.spec.optional_reads | {TEXT}
            if node.name in self.one.decides:
                wanted |= stage.spec.decide_reads | stage.spec.optional_reads
            if any(node.name == surveyor for surveyor, _ in self.one.surveys):
                wanted |= stage.spec.survey_reads | stage.spec.optional_reads
        return frozenset(wanted & names)

    def _read(self) -> tuple[SliceData, dict[str, str]]:
        columns = self._columns()
        if self._keeps_input() and self.job.preceding and columns is not None:
            if not columns & self.plan.graph.payloads(self.job.slice.source):
                return self._kept_input(columns), dict(self._slice().columns)
        again = not (self.one.final or self._keeps_input())
        data = read_slice(self.plan, self.job.slice, columns, again=again, shared=self.job.reads)
        if not self.job.preceding:
            return data, ContentDigest(data.table.schema).update(data.table).columns()
        slice_record = self._slice()
        expected = slice_record.checks
        for name, value in quick_checks(data.table).items():
            if expected.get(name) != value:
                raise DataError(
                    f"{self.job.slice.location}: the input changed during the run: column `{name}` had the "
                    f"check {expected.get(name)} and now has {value}. Restore the file, or remove the work folder "
                    "and run again."
                )
        return data, dict(slice_record.columns)

    def _keeps_input(self) -> bool:
        """Whether a source brings no text but payloads: what else it brings is kept beside the annotations, since a
        crawl is costly to open."""
        source = self.job.slice.source
        return TEXT not in self.plan.graph.source_schema[source].names and len(self.plan.passes) > 1

    def _keep_input(self, table: pa.Table, rejects: pa.Table) -> None:
        """Writes what the source brought other than payloads, and the records that it could not read."""
        payloads = self.plan.graph.payloads(self.job.slice.source)
        kept = table.drop_columns([name for name in table.column_names if name in payloads])
        for role, part in ((INPUT, kept), (INPUT_REJECTS, rejects)):
            self._keep(role, role, part)

    def _keep(self, role: str, name: str, table: pa.Table) -> None:
        """Writes a table of the slice's rows into the work folder."""
        stem = f"annotations/{task_name(self.job.task)}/{name}-{self.job.key[:32]}"
        path, written = write_named(self.work, stem, table, self.attempt, compression="lz4")
        self.files.append(WorkFile(path=path, role=role, sha256=written.sha256, size=written.size))

    def _kept_input(self, columns: frozenset[str]) -> SliceData:
        record = self.preceding[0]
        files = {file.role: file for file in record.work_files}
        kept, rejects = (self._checked(record, files.get(role)) for role in (INPUT, INPUT_REJECTS))
        names = [name for name in kept.column_names if name in columns or name == DOC_KEY]
        return SliceData(kept.select(names).combine_chunks(), rejects, self._slice().bytes)

    def _slice_rows(self, data: SliceData, annotations: Annotations) -> SliceRows:
        keys = key_words(data.table[DOC_KEY])
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        same = (keys[order][1:] == keys[order][:-1]).all(axis=1) if len(keys) > 1 else np.zeros(0, bool)
        if same.any():
            row = int(order[int(np.flatnonzero(same)[0])])
            raise ConservationError(
                f"{self.job.slice.location}: duplicate doc_key {data.table[DOC_KEY][row].as_py().hex()} in one "
                "slice: the source gives two records the same position."
            )
        source, table = self.job.slice.source, data.table
        if not self.job.preceding:
            table = without_revoked(self.plan, source, table)
        elif self.plan.revoked is not None:
            table = blanked(table, annotations.ruled(source, REVOKED, table.num_rows))
        return SliceRows(self.plan.graph, source, table, self.work.kept)

    # Notes and records

    def _kept_notes(self, slice_rows: SliceRows) -> dict[str, pa.Table]:
        """By node, the notes that its outputs keep. A node without notes about this slice is left out."""
        found = {}
        surveyed = {name: note for record in self.preceding for name, note in record.notes.items()}
        for node in self.plan.graph.nodes:
            note, state = surveyed.get(node.name), slice_rows.states.get(node.name)
            if not node.spec.keeps_notes or not isinstance(note, Notes):
                continue
            if state is None or state.outcome is None:
                raise ConservationError(
                    f"node `{node.name}`: it left notes about rows but made no decisions about them."
                )
            path = self.work.at(note.path)
            what = f"node `{node.name}`: the notes {path} are not what was committed"
            notes = read_checked(path, note.sha256, what)
            keys = one_chunk(slice_rows.table[DOC_KEY]).take(pa.array(state.rows))
            found[node.name] = kept_notes(notes, keys, state.outcome.port >= 0)
        return found

    def _slice(self) -> SliceRecord:
        return self.preceding[0].slice

    def _slice_record(
        self, slice_rows: SliceRows, data: SliceData, columns: dict[str, str], slice_digest: str
    ) -> SliceRecord:
        if self.job.preceding:
            return self._slice()
        one = self.job.slice
        return SliceRecord(
            source=one.source,
            path=one.path,
            part=one.part,
            digest=slice_digest,
            columns=columns,
            checks=quick_checks(data.table),
            rows=data.table.num_rows,
            rejects=data.rejects.num_rows,
            reject_bytes=int(np.asarray(one_chunk(data.rejects["bytes"])).sum()) if data.rejects.num_rows else 0,
            bytes=data.bytes_read,
            text_bytes=int(slice_rows.sizes().sum()),
            file_bytes=one.file_bytes,
            stamp=one.stamp,
            files=[
                FileRead(path=file.path, part=file.part, file_bytes=file.file_bytes, rows=rows, rejects=rejects)
                for file, (rows, rejects) in zip(one.members, data.counts, strict=True)
            ],
        )

    def _settled_digests(self) -> dict[str, str]:
        return {name: files.digest for name, files in sorted(self.job.settled.items())}

    def _checked(self, record: TaskRecord, file: WorkFile | None) -> pa.Table:
        """A work file of a record. Raises ConservationError unless it is the one that was committed."""
        if file is None:
            raise ConservationError(f"{self.job.slice.path}, pass {record.pass_}: its record names no annotations.")
        path = self.work.at(file.path)
        return read_checked(path, file.sha256, f"{path}: the annotations changed since they were committed")
