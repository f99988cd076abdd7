"""What a filter let pass beside a random selection of as many documents, by every signal, from an output's own tables.

A filter's worth shows in what it keeps against chance: a selection that looks like a random one has only made the
corpus smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.pipeline.audit.messages import Entry
from gristmill.pipeline.audit.open_files import Damaged, Unreadable, what_a_run_wrote
from gristmill.pipeline.audit.sidecar_rows import task_rows
from gristmill.pipeline.document import DOC_KEY, key_words, one_chunk
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.provenance.files import FILES_TABLE
from gristmill.pipeline.provenance.holding_folders import holding_folders
from gristmill.pipeline.provenance.sidecar_tables import dropped_rank
from gristmill.pipeline.provenance.statement import Predicate, read_manifest
from gristmill.pipeline.reader_process import ReaderCrashed, ReaderProcess
from gristmill.pipeline.storage import open_within

SIDES = ("all", "passed", "random")


@dataclass
class Beside:
    """One node's comparison.

    Attributes:
        documents: by side (`all`, `passed`, `random`).
        means: signal → mean by side, over documents that have a value; NaN where none has.
        apart: signal → |mean of passed − mean of random| in standard deviations of all.
    """

    documents: dict[str, int]
    means: dict[str, dict[str, float]] = field(default_factory=dict)
    apart: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"documents": self.documents, "means": self.means, "apart": self.apart}


def signals_against_baseline(folder: str, manifest: Predicate) -> dict[str, Beside]:
    """For each node that dropped, quarantined or marked documents and whose signals the output holds: what passed
    without a finding, beside a random selection.

    The selection is drawn task by task: of each task's documents as many as passed there, those with the lowest seeded
    hash of doc_key. Memory: one task's signals and ledger, in a reading process. Nothing where ledger and signals lie in the
    folder of another output that is not beside this one. Raises DataError for files that are damaged.
    """
    nodes = [node.name for node in manifest.nodes]
    with ReaderProcess(__name__) as reader:
        try:
            argument = [folder, nodes, manifest.identity.seed]
            found = reader.call("signals", argument, manifest.data.bytes)
        except ReaderCrashed as error:
            raise DataError(f"{folder}: {error}. `gristmill audit {folder}` says which file is damaged.") from error
    return {name: Beside(**fields) for name, fields in found.items()}


def _signals(argument: Sequence[Any]) -> dict[str, dict[str, Any]]:
    folder, nodes, seed = argument
    with what_a_run_wrote(folder):
        try:
            found = _signals_against_baseline(folder, nodes, seed)
        except (Damaged, Unreadable) as error:
            raise DataError(f"{folder}: {error}. `gristmill audit {folder}` says which file is damaged.") from error
        return {name: beside.to_json() for name, beside in found.items()}


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {"signals": _signals}
"""What the reading process is asked for: the files may be anybody's."""


def _signals_against_baseline(folder: str, nodes: Sequence[str], seed: int) -> dict[str, Beside]:
    names = [name for name in Entry.__dataclass_fields__ if name != "folder"]
    with open_within(folder, FILES_TABLE) as stream:
        listed = pq.ParquetFile(stream).read(columns=names, use_threads=False).to_pylist()
    manifest = read_manifest(folder)
    if manifest is None:
        raise DataError(f"{folder}: there is no manifest.json.")
    folders = holding_folders(folder, manifest, {file["output"] for file in listed})
    files = [Entry(**file, folder=folders[file["output"]]) for file in listed if file["output"] in folders]
    ledgers = [file for file in files if file.role == "ledger"]
    found = {}
    for node in nodes if ledgers else ():
        sums = _Sums()
        for file in files:
            for task in range(file.task, file.task + file.tasks) if file.role == f"signals:{node}" else ():
                _add_task(sums, node, file, next((one for one in ledgers if _is_about(one, task)), None), task, seed)
        if sums.documents["passed"] < sums.documents["all"] and sums.means():
            found[node] = sums.result()
    return found


class _Sums:
    """Sums over tasks: per signal and side the number of values and their sum; of all, also the sum of squares."""

    def __init__(self) -> None:
        self.documents = dict.fromkeys(SIDES, 0)
        self.totals: dict[str, dict[str, np.ndarray]] = {}

    def add(self, name: str, side: str, values: np.ndarray) -> None:
        values = values[~np.isnan(values)]
        mine = self.totals.setdefault(name, {side: np.zeros(3) for side in SIDES})
        mine[side] += (len(values), values.sum(), (values * values).sum())

    def means(self) -> dict[str, dict[str, float]]:
        return {
            name: {side: float(total / count) if count else float("nan") for side, (count, total, _) in sides.items()}
            for name, sides in self.totals.items()
            if sides["all"][0]
        }

    def result(self) -> Beside:
        made = Beside(self.documents, self.means())
        for name, means in made.means.items():
            count, total, squares = self.totals[name]["all"]
            spread = float(np.sqrt(max(0.0, squares / count - (total / count) ** 2)))
            difference = abs(means["passed"] - means["random"])
            made.apart[name] = difference / spread if spread > 0 and not np.isnan(difference) else 0.0
        return made


def _is_about(file: Entry, task: int) -> bool:
    return file.task <= task < file.task + file.tasks


def _add_task(sums: _Sums, node: str, signals: Entry, ledger: Entry | None, task: int, seed: int) -> None:
    table, _ = task_rows(signals, task)
    keys = table[DOC_KEY]
    failed = pa.chunked_array([], keys.type) if ledger is None else _with_findings(ledger, task, node)
    passed = ~np.asarray(pc.is_in(one_chunk(keys), value_set=one_chunk(failed)))
    rank = dropped_rank(key_words(keys), seed)
    random = np.zeros(len(rank), bool)
    random[np.argsort(rank, kind="stable")[: int(passed.sum())]] = True
    chosen = {"all": np.ones(len(rank), bool), "passed": passed, "random": random}
    for side, rows in chosen.items():
        sums.documents[side] += int(rows.sum())
    for name, values in _numbers(table):
        for side, rows in chosen.items():
            sums.add(name, side, values[rows])


def _with_findings(file: Entry, task: int, node: str) -> pa.ChunkedArray:
    """doc_keys of the documents of a task that a node dropped, quarantined or marked."""
    ledger, _ = task_rows(file, task, ["node", DOC_KEY, "decision"])
    decided = pc.is_in(ledger["decision"], value_set=pa.array(["dropped", "quarantined", "marked"]))
    return ledger.filter(pc.and_(pc.equal(ledger["node"], node), decided))[DOC_KEY]


def _numbers(table: pa.Table) -> Iterator[tuple[str, np.ndarray]]:
    """The columns that are numbers or yes and no, as float64 with NaN for null."""
    for column in table.schema:
        if column.name == DOC_KEY or not (
            pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type)
        ):
            continue
        values = one_chunk(table[column.name]).cast(pa.float64())
        yield column.name, np.asarray(pc.fill_null(values, float("nan")))
