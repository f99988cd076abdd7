"""Partition invariance, which every stage must have: any split of the rows into tasks and batches, any order of the tasks
and any merge tree give equal signals, equal settled answers and equal decisions.

`check_invariance` drives a stage's four functions the way the engine does: each sees only the columns that it declares, notes
go through files and the exchange, settled rows come back to the task that owns the document. A stage's cases lie in
`tests/invariance_cases/NAME.py`, NAME being its entry point; that file holds `CASES`, a list of InvarianceCase.
"""

from __future__ import annotations

import importlib
import json
import math
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from gristmill.pipeline.document import DOC_KEY, KEY_TYPE, keys_from_words, one_chunk
from gristmill.pipeline.exchange import Combine, Rows
from gristmill.pipeline.exchange.file_exchange import FileExchange
from gristmill.pipeline.exchange.row_files import read_batches
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning.graph import Node
from gristmill.pipeline.slices.outcome import check_decisions
from gristmill.pipeline.stage import Settled, SettledView, Stage, StageContext

ROOT = Path(__file__).parents[1]
SOURCE = "corpus"
"""The source that the rows are said to come from."""


@dataclass(frozen=True)
class InvarianceCase:
    """A config and a small corpus on which a stage must be partition-invariant.

    Attributes:
        name: what the case shows, for the test's name.
        config: the stage's settings as they would stand in YAML.
        rows: makes the rows that enter the node, with `doc_key` and every column that the stage reads; a few dozen are
            enough if each path of the stage is taken. For a stage that observes another node: the rows that entered
            that node with its columns and a bool column `dropped`; those not dropped enter this stage.
    """

    name: str
    config: Mapping[str, Any]
    rows: Callable[[], pa.Table]


@dataclass(frozen=True)
class Split:
    """One way to cut n rows into tasks and batches and to merge what comes of them.

    Attributes:
        tasks: for each task its batches, each a list of row numbers.
        tree: seed of the merge tree of `reduce`; None for the exchange's own.
        order: seed of the order in which tasks of the exchange run; None for the given one.
        budget_bytes: memory of the exchange.
        chunk: rows of a record batch in the files of notes.
    """

    tasks: tuple[tuple[tuple[int, ...], ...], ...]
    tree: int | None = None
    order: int | None = None
    budget_bytes: int = 64 << 20
    chunk: int = 1 << 20


def whole(rows: int) -> Split:
    """Everything in one batch of one task."""
    return Split(tasks=((tuple(range(rows)),),))


@st.composite
def splits(draw: st.DrawFn, rows: int) -> Split:
    """Any split of `rows` rows, any order of them, any merge tree."""
    seed = draw(st.integers(0, 2**32 - 1), label="order of rows (0: as they are)")
    order = np.arange(rows) if seed == 0 else np.random.default_rng(seed).permutation(rows)
    cuts = sorted(draw(st.sets(st.integers(1, max(1, rows - 1)), max_size=8), label="cuts"))
    borders = draw(st.lists(st.booleans(), min_size=len(cuts), max_size=len(cuts)), label="is a border of tasks")
    tasks: list[list[tuple[int, ...]]] = [[]]
    bounds = [0, *cuts, rows]
    for index, (start, stop) in enumerate(zip(bounds, bounds[1:], strict=False)):
        if index and borders[index - 1]:
            tasks.append([])
        if start < stop:
            tasks[-1].append(tuple(int(row) for row in order[start:stop]))
    return Split(
        tasks=tuple(tuple(task) for task in tasks),
        tree=draw(st.none() | st.integers(0, 2**16), label="merge tree"),
        order=draw(st.none() | st.integers(0, 2**16), label="order of tasks in the exchange"),
        budget_bytes=draw(st.sampled_from([64 << 20, 1 << 20, 1 << 14]), label="budget"),
        chunk=draw(st.sampled_from([1 << 20, 7, 1]), label="rows per record batch"),
    )


class AnyTreeExchange(FileExchange):
    """An exchange whose `reduce` merges neighbours in an order drawn from a seed; tables stay in order."""

    def __init__(self, executor: InlineExecutor, folder: Path, split: Split) -> None:
        super().__init__(executor, folder, budget_bytes=split.budget_bytes)
        self._draw = None if split.tree is None else np.random.default_rng(split.tree)

    def reduce(self, rows: Rows, combine: Combine, params: Mapping[str, Any] | None = None) -> pa.Table:
        if self._draw is None:
            return super().reduce(rows, combine, params)
        tables = [
            pa.Table.from_batches([batch], rows.schema)
            for path in rows.files
            for batch in read_batches(path, rows.schema)
        ] or [rows.schema.empty_table()]
        merged = False
        while len(tables) > 1 or not merged:
            first = int(self._draw.integers(0, len(tables)))
            last = int(self._draw.integers(first, len(tables))) + 1
            tables[first:last] = [combine(tables[first:last], **dict(params or {}))]
            merged = first == 0 and len(tables) == 1
        return tables[0].combine_chunks()


@dataclass
class Result:
    """All that must be equal, in an order that does not depend on the split."""

    signals: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    keyed: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    broadcast: list[dict[str, Any]] | None = None
    report: Any = None
    decisions: dict[bytes, dict[str, Any]] = field(default_factory=dict)
    tallies: dict[str, int] = field(default_factory=dict)


def run_stage(stage: Stage, rows: pa.Table, split: Split) -> Result:
    """Measure, survey, settle and decide as the engine would, for one split."""
    result = Result()
    with tempfile.TemporaryDirectory() as folder:
        return _run_stage(stage, rows, split, result, Path(folder))


def _run_stage(stage: Stage, rows: pa.Table, split: Split, result: Result, folder: Path) -> Result:
    measured: dict[tuple[int, int], pa.Table] = {}
    files: list[str] = []
    schema, count = None, 0
    for number, task in enumerate(split.tasks):
        notes = []
        for index, chosen in enumerate(task):
            batch = rows.take(pa.array(chosen, pa.int64())).combine_chunks()
            entered = _entered(stage, batch)
            measured[number, index] = _measure(stage, entered, result)
            if stage.implements("survey"):
                seen = batch if stage.spec.observes is not None else measured[number, index]
                if seen.num_rows:
                    own = () if stage.spec.observes is not None else stage.spec.signals.names
                    notes.append(
                        stage.survey(_given(seen, stage.spec.survey_reads, stage, own), StageContext(source=SOURCE))
                    )
        if notes:
            table = pa.concat_tables(notes).combine_chunks()
            table = table.append_column("task", pa.array(np.full(table.num_rows, number), pa.int32()))
            path = folder / f"notes-{number:05d}.arrow"
            with pa.ipc.new_file(str(path), table.schema) as writer:
                writer.write_table(table, max_chunksize=split.chunk)
            files.append(str(path))
            assert schema is None or schema.equals(table.schema), "notes have other columns from task to task"
            schema, count = table.schema, count + table.num_rows
    answer, views = None, {}
    if schema is not None:
        exchange = AnyTreeExchange(InlineExecutor(split.order), folder / "exchange", split)
        answer = stage.settle(Rows(tuple(files), schema, count), exchange, StageContext(given_seed=_seed(stage)))
        views = _delivered(exchange, answer, len(split.tasks), result)
        result.broadcast = None if answer.broadcast is None else _plain(answer.broadcast.to_pylist())
        result.report = _plain(json.loads(json.dumps(dict(answer.report), allow_nan=False)))
    for (number, _), batch in measured.items():
        if batch.num_rows:
            _decide(stage, batch, _view(answer, views.get(number, {}), batch), result)
    missing = len(rows) - len(result.decisions)
    assert missing == 0 or stage.spec.observes is not None, f"{missing} rows have no decision"
    return result


def _entered(stage: Stage, batch: pa.Table) -> pa.Table:
    if stage.spec.observes is None or "dropped" not in batch.column_names:
        return batch
    kept = np.flatnonzero(~np.asarray(batch["dropped"].to_numpy(zero_copy_only=False), bool))
    return batch.take(pa.array(kept, pa.int64())).combine_chunks().drop_columns(["dropped"])


def _seed(stage: Stage) -> int | None:
    return 0 if stage.spec.seeded else None


def _given(batch: pa.Table, reads: AbstractSet[str], stage: Stage, own: Sequence[str]) -> pa.Table:
    """The columns that a function gets: those it declares, those that happen to be there, the stage's own signals."""
    wanted = sorted(reads | (stage.spec.optional_reads & set(batch.column_names)) | set(own))
    return pa.table({name: one_chunk(batch[name]) for name in [DOC_KEY, *wanted]})


def _measure(stage: Stage, batch: pa.Table, result: Result) -> pa.Table:
    if not stage.implements("measure") or not batch.num_rows:
        return batch
    made = stage.measure(_given(batch, stage.spec.measure_reads, stage, ()), StageContext(source=SOURCE))
    declared = stage.spec.signals
    assert set(made) == set(declared.names), f"measure made {sorted(made)}, declared are {sorted(declared.names)}"
    for item in declared:
        array = one_chunk(made[item.name])
        assert array.type == item.type and len(array) == batch.num_rows, f"signal {item.name}: {array.type}"
        batch = batch.append_column(item, array)
    for row in batch.select([DOC_KEY, *declared.names]).to_pylist():
        result.signals[row.pop(DOC_KEY)] = _plain(row)
    return batch


def _delivered(
    exchange: FileExchange, answer: Settled, tasks: int, result: Result
) -> dict[int, dict[bytes, dict[str, Any]]]:
    views: dict[int, dict[bytes, dict[str, Any]]] = {}
    if answer.keyed is None:
        return views
    for task, path in exchange.deliver(answer.keyed, tasks).items():
        for batch in read_batches(path, answer.keyed.schema):
            for row in batch.to_pylist():
                key = row.pop(DOC_KEY)
                assert row.pop("task") == task and key not in result.keyed, "a document has two answers"
                views.setdefault(task, {})[key] = row
                result.keyed[key] = _plain(row)
    return views


def _view(answer: Settled | None, mine: dict[bytes, dict[str, Any]], batch: pa.Table) -> SettledView | None:
    if answer is None:
        return SettledView(columns=None, table=None)
    columns = None
    if answer.keyed is not None:
        schema = pa.schema([item for item in answer.keyed.schema if item.name not in (DOC_KEY, "task")])
        keys = batch[DOC_KEY].to_pylist()
        columns = pa.Table.from_pylist([mine.get(key) or dict.fromkeys(schema.names) for key in keys], schema)
        columns = columns.combine_chunks()
    return SettledView(columns=columns, table=answer.broadcast)


def _decide(stage: Stage, batch: pa.Table, view: SettledView | None, result: Result) -> None:
    made = stage.decide(
        _given(batch, stage.spec.decide_reads, stage, stage.spec.signals.names),
        view if stage.implements("settle") else None,
        StageContext(given_seed=_seed(stage), source=SOURCE),
    )
    check_decisions(Node("checked", "checked", stage, ()), made, batch)
    assert set(made.rules) <= set(stage.spec.rules), (
        f"rules that are not declared: {set(made.rules) - set(stage.spec.rules)}"
    )
    columns = {name: one_chunk(array).to_pylist() for name, array in made.columns.items()}
    for row, key in enumerate(batch[DOC_KEY].to_pylist()):
        assert key not in result.decisions, "a document is decided twice"
        rule = -1 if made.rule is None else int(made.rule[row])
        failed = (0 if rule < 0 else 1 << rule) if made.failed is None else int(made.failed[row])
        port = int(made.port[row])
        result.decisions[key] = _plain(
            {
                "port": port,
                "copies": 1 if made.copies is None or port < 0 else int(made.copies[row]),
                "rule": None if rule < 0 else made.rules[rule],
                "failed": sorted(name for i, name in enumerate(made.rules) if failed >> i & 1),
                "value": math.nan if made.value is None else float(made.value[row]),
                "threshold": math.nan if made.threshold is None else float(made.threshold[row]),
                "witness": None if made.witness is None else made.witness[row].as_py(),
                **{f"column {name}": values[row] for name, values in columns.items()},
            }
        )
    for name, number in made.tallies.items():
        result.tallies[name] = result.tallies.get(name, 0) + int(number)


def _plain(value: Any) -> Any:
    """Floats by their bits, so that NaN equals NaN and a difference in the last place shows."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value.hex()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def make_stage(cls: type[Stage], config: Mapping[str, Any]) -> Stage:
    """A stage from settings as YAML would give them."""
    return cls(cls.Config.model_validate_json(json.dumps(dict(config)), strict=True))


def check_invariance(cls: type[Stage], case: InvarianceCase, expected: Result, rows: pa.Table, split: Split) -> None:
    """Raises AssertionError naming the part and the first document that come out otherwise for `split`."""
    found = run_stage(make_stage(cls, case.config), rows, split)
    for part in ("signals", "report", "broadcast", "keyed", "decisions", "tallies"):
        one, other = getattr(expected, part), getattr(found, part)
        if one != other:
            raise AssertionError(f"{part} depend on how the rows were split: {_first_difference(one, other)}")


def _first_difference(one: Any, other: Any) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *other]:
            if one.get(key) != other.get(key):
                name = key.hex() if isinstance(key, bytes) else key
                return f"{name}: {one.get(key)!r} in one batch, {other.get(key)!r} here"
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            if a != b:
                return f"row {index}: {a!r} in one batch, {b!r} here"
    return f"{one!r:.400} in one batch, {other!r:.400} here"


def registered_stages() -> dict[str, str]:
    """Entry points of the group `gristmill.stages`: name → module:class."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(project["project"]["entry-points"]["gristmill.stages"])


def cases_of(name: str) -> list[InvarianceCase]:
    """The cases of a registered stage; an empty list when its file is missing."""
    try:
        module = importlib.import_module(f"tests.invariance_cases.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"tests.invariance_cases.{name}":
            raise
        return []
    return list(module.CASES)


def doc_key_column(rows: int, seed: int = 1) -> pa.Array:
    """Distinct pseudo-random doc_keys."""
    words = np.random.default_rng(seed).integers(0, 2**64, (rows, 2), np.uint64)
    keys = keys_from_words(words)
    assert keys.type == KEY_TYPE and len(set(keys.to_pylist())) == rows
    return keys
