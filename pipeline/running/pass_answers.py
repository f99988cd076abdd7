"""One pass of a run over one slice: what preceding passes found is read, the rest is measured, surveyed and decided."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, key_words
from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.planning.graph import Node
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.provenance.accounts import Tally
from gristmill.pipeline.provenance.files import notes_role
from gristmill.pipeline.provenance.task_record import NoNotes, Notes, TaskRecord, WorkFile, kept_records
from gristmill.pipeline.running.task_input import TaskInput
from gristmill.pipeline.slices.annotations import Annotations, fill_in, measured_before
from gristmill.pipeline.slices.outcome import Outcome
from gristmill.pipeline.slices.reused import reused_signals
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.slices.settled import settled_view
from gristmill.pipeline.slices.traversal import Answers
from gristmill.pipeline.stage import SettledView
from gristmill.pipeline.work_files import read_checked, write_named
from gristmill.pipeline.work_folder import WorkFolder, task_name

NOTES_BATCH_BYTES = 32 << 20
"""Bytes of a record batch of notes."""


class PassAnswers(Answers):
    """The answers of one pass.

    Attributes:
        notes: by surveying node, its record: where its notes lie, how many, their digest and the sum of their keys.
        files: work files that were written.
    """

    def __init__(
        self,
        job: TaskInput,
        plan: Plan,
        work: WorkFolder,
        annotations: Annotations,
        signal_keys: Mapping[str, str],
        attempt: str,
        slice_digest: str,
    ) -> None:
        self.job = job
        self.plan = plan
        self.work = work
        self.annotations = annotations
        self.signal_keys = signal_keys
        self.attempt = attempt
        self.reused = {file.node: file for file in job.reused if file.slice_digest == slice_digest}
        self.surveys = plan.passes[job.index].surveys
        self.notes: dict[str, Notes | NoNotes] = {}
        self.files: list[WorkFile] = []
        self._kept: list[TaskRecord] | None = None

    def read(self, slice_rows: SliceRows) -> Outcome | None:
        if self.job.preceding:
            return self.annotations.outcome(slice_rows.source, slice_rows.states[slice_rows.source])
        return super().read(slice_rows)

    def visits(self, node: Node) -> bool:
        return self.plan.entered_in[node.name] <= self.job.index

    def recorded_signals(self, node: Node, slice_rows: SliceRows) -> dict[str, pa.Array] | None:
        if self.plan.measured_in[node.name] < self.job.index:
            return self.annotations.signals(node.name, slice_rows.states[node.name]) or {}
        found = self._measured_by_stopped_run(node, slice_rows)
        if found is None and node.name in self.reused:
            old = reused_signals(self.reused[node.name], node.spec.signals, slice_rows)
            found = _with_missing(node, slice_rows, *old)
        return found

    def _measured_by_stopped_run(self, node: Node, slice_rows: SliceRows) -> dict[str, pa.Array] | None:
        """Signals that a run with other thresholds left; rows that did not reach the node there are measured."""
        wanted = self.signal_keys[node.name]
        if self._kept is None:
            self._kept = kept_records(self.work, self.job.task)
        for record in self._kept:
            file = record.annotations
            if record.signals.get(node.name) != wanted or file is None:
                continue
            try:
                table = read_checked(self.work.at(file.path), file.sha256, "")
            except ConservationError:
                continue
            found = measured_before(table, node.name, slice_rows)
            if found is None:
                continue
            return _with_missing(node, slice_rows, *found)
        return None

    def recorded_outcome(self, node: Node, slice_rows: SliceRows) -> Outcome | None:
        if self.plan.decided_in[node.name] < self.job.index:
            return self.annotations.outcome(node.name, slice_rows.states[node.name])
        return None

    def decides(self, node: Node) -> bool:
        return self.plan.decided_in[node.name] == self.job.index

    def settled(self, node: Node, slice_rows: SliceRows) -> SettledView | None:
        files = self.job.settled.get(node.name)
        if files is None:
            return None
        return settled_view(node.name, files, self.work, slice_rows.keys[slice_rows.states[node.name].rows])

    def noted(self, node: Node, slice_rows: SliceRows, notes: pa.Table | None) -> None:
        if notes is None:
            self.notes[node.name] = NoNotes()
            return
        if "task" in notes.column_names:
            raise ConservationError(f"node `{node.name}`: its notes use the reserved column `task`.")
        table = notes.append_column("task", pa.array(np.full(notes.num_rows, self.job.task), pa.int32()))
        stem = f"notes/{node.name}/{task_name(self.job.task)}-{self.job.key[:32]}"
        rows = table.num_rows * NOTES_BATCH_BYTES // max(1, table.nbytes)  # a record batch is read whole
        path, written = write_named(self.work, stem, table, self.attempt, max_chunksize=max(1, min(1 << 20, rows)))
        self.files.append(WorkFile(path=path, role=notes_role(node.name), sha256=written.sha256, size=written.size))
        keys = key_words(table[DOC_KEY]) if DOC_KEY in table.column_names else np.empty((0, 2), np.uint64)
        known = Tally.of(keys, np.zeros(len(keys), np.int64))
        self.notes[node.name] = Notes(path=path, rows=table.num_rows, sha256=written.sha256, keys=known.keys)


def _with_missing(
    node: Node, slice_rows: SliceRows, old_rows: np.ndarray, old: Mapping[str, pa.Array]
) -> dict[str, pa.Array]:
    """A node's signals, from another run for `old_rows` (arrays over all rows of the slice); other rows are measured."""
    state = slice_rows.states[node.name]
    chosen = ~np.isin(state.rows, old_rows, assume_unique=True)
    missing = state.rows[chosen]
    some = slice_rows.measure_some(node, chosen)
    new = {name: array.filter(pa.array(chosen)) for name, array in some.items()}
    return {name: fill_in(state.rows, old_rows, old[name], missing, new[name]) for name in new}
