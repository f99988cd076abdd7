"""Bounds on samples of dropped texts, known before the last pass: what earlier passes dropped says which ranks belong to none.

A sample is the lowest ranks of each node, rule and language in the corpus (`dropped_texts`). The lowest of some tasks bound
those of all, so a few hundred tasks are asked, and the last pass leaves no text in the work folder that cannot be in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, key_words, one_chunk
from gristmill.pipeline.executor import Executor
from gristmill.pipeline.planning.plan import Pass, Plan
from gristmill.pipeline.provenance.record_index import RecordIndex, RecordRef
from gristmill.pipeline.provenance.sidecar_tables import dropped_rank
from gristmill.pipeline.slices.annotations import rules_of
from gristmill.pipeline.slices.routing import SliceRows, scattered
from gristmill.pipeline.stage import DROPPED
from gristmill.pipeline.work_files import read_checked, write_named
from gristmill.pipeline.work_folder import WorkFolder
from gristmill.pipeline.writing.dropped_texts import (
    RANKS,
    Limits,
    full_limits,
    language_of,
    limits_in,
    limits_table,
    lowest_ranks,
)

MOST_TASKS = 256
"""Tasks of a pass that are asked: the bound on a sample of 1,000 then lets about four candidates of a task through."""
_AT_ONCE = 16
_LABEL = "|l"


@dataclass(frozen=True)
class KnownLimits:
    """Where the bounds on samples of one size lie in the work folder, with their digest."""

    most: int
    path: str
    sha256: str

    def read(self, work: WorkFolder) -> Limits:
        """The bounds. Raises ConservationError for a file that is another one."""
        path = work.at(self.path)
        what = f"{path}: the bounds on dropped texts changed since they were written"
        return limits_in(read_checked(path, self.sha256, what))


@dataclass(frozen=True)
class LimitsJob:
    """Records of a pass of some tasks; `seed`: the run's."""

    work: str
    refs: tuple[RecordRef, ...]
    most: int
    seed: int


def sample_sizes(plan: Plan) -> list[int]:
    """The sizes of the samples of dropped texts that outputs keep."""
    outputs = [output.config for output in plan.graph.outputs]
    return sorted({one.dropped_sample for one in outputs if one.dropped == "sample"})


def with_labels(plan: Plan, slice_rows: SliceRows, one: Pass, annotations: pa.Table) -> pa.Table:
    """The annotations of a pass, with the languages of the rows that its nodes dropped, where samples are kept."""
    names = [*([slice_rows.source] if one.index == 0 else []), *one.decides] if sample_sizes(plan) else []
    for name in names:
        state = slice_rows.states[name]
        gone = np.flatnonzero(state.outcome.port == DROPPED) if state.outcome is not None else np.empty(0, np.int64)
        if len(gone):
            rows = state.rows[gone]
            labels = scattered(language_of(plan, slice_rows, name, rows), rows, slice_rows.count)
            annotations = annotations.append_column(f"{name}{_LABEL}", labels)
    return annotations


def known_limits(plan: Plan, work: WorkFolder, records: RecordIndex, executor: Executor) -> tuple[KnownLimits, ...]:
    """The bounds that all passes but the last give, by size of the sample; written into the work folder."""
    found = []
    step = -(-records.tasks // MOST_TASKS)
    refs = [records.ref(index, task) for index in range(len(plan.passes) - 1) for task in range(0, records.tasks, step)]
    for most in sample_sizes(plan) if refs else []:
        chunks = (tuple(refs[at : at + _AT_ONCE]) for at in range(0, len(refs), _AT_ONCE))
        jobs = (LimitsJob(work.place, some, most, plan.config.seed) for some in chunks)
        limits = full_limits((table for _, table in executor.run(ranks_before, jobs)), most)
        if limits:
            path, written = write_named(work, f"samples/limits-{most}", limits_table(limits), "driver")
            found.append(KnownLimits(most, path, written.sha256))
    return tuple(found)


def ranks_before(job: LimitsJob) -> pa.Table:
    """The lowest ranks of each (node, rule, language) that some tasks dropped in a pass."""
    work = WorkFolder(job.work)

    def tables() -> Iterator[pa.Table]:
        for ref in job.refs:
            file = ref.read(work).annotations
            if file is not None:
                path = work.at(file.path)
                what = f"{path}: the annotations changed since they were committed"
                yield from _ranks(read_checked(path, file.sha256, what, columns=_has_ranks), job.seed)

    return lowest_ranks(tables(), job.most)


def _has_ranks(columns: Sequence[str]) -> list[str]:
    """The columns of annotations from which ranks are made."""
    nodes = [name.removesuffix(_LABEL) for name in columns if name.endswith(_LABEL)]
    decided = [f"{node}|d|{part}" for node in nodes for part in ("port", "rule")]
    return [DOC_KEY, *decided, *(f"{node}{_LABEL}" for node in nodes)]


def _ranks(annotations: pa.Table, seed: int) -> Iterable[pa.Table]:
    ranks = dropped_rank(key_words(annotations[DOC_KEY]), seed)
    for column in [name for name in annotations.column_names if name.endswith(_LABEL)]:
        node = column.removesuffix(_LABEL)
        port = one_chunk(annotations[f"{node}|d|port"]).fill_null(0)
        gone = pa.array(np.flatnonzero(np.asarray(port) == DROPPED))
        rules = pa.array(rules_of(annotations, node), pa.string())
        columns = [
            pa.repeat(pa.scalar(node, pa.string()), len(gone)),
            rules.take(one_chunk(annotations[f"{node}|d|rule"]).take(gone)),
            one_chunk(annotations[column]).take(gone),
            pa.array(ranks).take(gone),
        ]
        yield pa.table(columns, schema=RANKS)
