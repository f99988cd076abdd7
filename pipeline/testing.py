"""For the tests of stages, ours and those of plug-ins (needs hypothesis): partition invariance, which every stage must have.

Any split of the rows into tasks and batches, any order of the tasks and any merge tree give equal signals, equal settled
answers and equal decisions. Signals with a tolerance may differ by as much; what is decided from equal ones is equal.

`assert_partition_invariant` draws splits, `check_invariance` looks at one. The engine itself sends the rows through a graph of
one node (`pipeline.slices.traversal`): each function of a stage sees only the columns that it declares, settled rows find
their documents as in a run. Notes go through files and the exchange.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gristmill.pipeline.audit.same_values import unlike
from gristmill.pipeline.document import DOC_KEY, KEY_TYPE, TEXT, TEXT_TYPE, keys_from_words
from gristmill.pipeline.exchange import Combine, Rows
from gristmill.pipeline.exchange.file_exchange import FileExchange
from gristmill.pipeline.exchange.row_files import read_batches
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning.config import RunConfig
from gristmill.pipeline.planning.graph import Edge, Graph, Node
from gristmill.pipeline.provenance.accounts import SOURCE_PORT
from gristmill.pipeline.slices.outcome import Outcome
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.slices.settled import aligned_answer
from gristmill.pipeline.slices.traversal import Answers, as_decided, traverse
from gristmill.pipeline.stage import (
    Decisions,
    Settled,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    from_failures,
)

SOURCE = "corpus"
"""The source that the rows are said to come from."""
NODE = "node"
"""The node that the stage under test is."""


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
    facts: dict[str, pa.Array] = field(default_factory=dict)
    """Signals that are only nearly the same elsewhere (`StageSpec.tolerances`), in the order of `fact_keys`."""
    fact_keys: list[bytes] = field(default_factory=list)


class _NoSettings(StageConfig):
    """No settings."""


class _Observed(Stage):
    """Stands for the node that a stage observes: drops what the case's rows say that it dropped."""

    Config, version, summary = _NoSettings, 1, "the node that is observed"

    def declare(self) -> StageSpec:
        return StageSpec(optional_reads={"dropped"}, rules=("dropped",))

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        gone = np.zeros(batch.num_rows, bool)
        if "dropped" in batch.column_names:
            gone = batch["dropped"].to_numpy()
        return from_failures({"dropped": gone}, rows=batch.num_rows)


class _SplitRows(SliceRows):
    """The rows of one task, in the order and the batches of a split."""

    def __init__(self, graph: Graph, rows: pa.Table, task: Sequence[Sequence[int]]) -> None:
        order = [row for batch in task for row in batch]
        super().__init__(graph, SOURCE, rows.take(pa.array(order, pa.int64())).combine_chunks())
        self._batch = np.repeat(np.arange(len(task)), [len(batch) for batch in task])

    def cuts(self, rows: np.ndarray, weights: np.ndarray | None) -> Iterator[slice]:
        borders = np.flatnonzero(np.diff(self._batch[rows])) + 1
        for start, stop in pairwise([0, *borders.tolist(), len(rows)]):
            if start < stop:
                yield slice(start, stop)


class _FirstPass(Answers):
    """Measures and surveys; decides where nothing is settled."""

    def __init__(self, stage: Stage, recorded: Result | None = None) -> None:
        self.recorded = recorded
        observed = stage.spec.observes
        self.surveys = (
            [(NODE, NODE if observed is None else observed)]
            if stage.implements("survey") and stage.spec.surveys
            else []
        )
        self.notes: pa.Table | None = None

    def read(self, slice_rows: SliceRows) -> Outcome:
        # The case's rows are those that enter the node, blank texts among them.
        return as_decided(np.zeros(slice_rows.count, np.int16), np.ones(slice_rows.count, np.int64), {})

    def recorded_signals(self, node: Node, slice_rows: SliceRows) -> dict[str, pa.Array] | None:
        if self.recorded is None:
            return None
        place = {key: row for row, key in enumerate(self.recorded.fact_keys)}
        keys = slice_rows.table[DOC_KEY].take(pa.array(slice_rows.states[node.name].rows)).to_pylist()
        rows = pa.array([place[key] for key in keys], pa.int64())
        return {name: array.take(rows) for name, array in self.recorded.facts.items()}

    def decides(self, node: Node) -> bool:
        return not node.settles

    def noted(self, node: Node, slice_rows: SliceRows, notes: pa.Table | None) -> None:
        self.notes = notes


class _SecondPass(_FirstPass):
    """Decides with the settled answer, from the signals of the first pass."""

    surveys = ()

    def __init__(self, first: SliceRows, answer: Settled, keyed: pa.Table | None) -> None:
        self.first = first
        self.answer = answer
        self.keyed = keyed

    def recorded_signals(self, node: Node, slice_rows: SliceRows) -> dict[str, pa.Array]:
        return self.first.states[node.name].signals

    def decides(self, node: Node) -> bool:
        return True

    def settled(self, node: Node, slice_rows: SliceRows) -> SettledView | None:
        if not node.settles:
            return None
        keys = slice_rows.keys[slice_rows.states[node.name].rows]
        columns = None if self.keyed is None else aligned_answer(node.name, self.keyed, keys)
        return SettledView(columns=columns, table=self.answer.broadcast)


def run_stage(stage: Stage, rows: pa.Table, split: Split, recorded: Result | None = None) -> Result:
    """A graph of one node (and the one that it observes), through which the engine sends the tasks of a split. With
    `recorded`, signals are those that were found there, as a run takes facts from its record."""
    graph, result = _graph_of(stage, rows.schema), Result()
    tasks = [_SplitRows(graph, rows, task) for task in split.tasks]
    with tempfile.TemporaryDirectory() as folder:
        notes = []
        for task in tasks:
            answers = _FirstPass(stage, recorded)
            traverse(graph, task, answers)
            notes.append(answers.notes)
        if stage.implements("settle") and stage.spec.surveys:
            answer, keyed = _settled(graph, notes, split, result, Path(folder))
            for number, first in enumerate(tasks):
                tasks[number] = _SplitRows(graph, rows, split.tasks[number])
                traverse(graph, tasks[number], _SecondPass(first, answer, keyed[number]))
        for task in tasks:
            _tell(task, result)
    missing = len(rows) - len(result.decisions)
    assert missing == 0 or stage.spec.observes is not None, f"{missing} rows have no decision"
    return result


def _graph_of(stage: Stage, schema: pa.Schema) -> Graph:
    edge, nodes = Edge(SOURCE, SOURCE_PORT), []
    observed = stage.spec.observes
    if observed is not None:
        nodes.append(Node(observed, "observed", _Observed(_NoSettings()), (edge,)))
        edge = Edge(observed, "kept")
    nodes.append(Node(NODE, NODE, stage, (edge,)))
    nobody: Any = None  # The rows are there: nobody asks the config's file or the source for anything.
    config = RunConfig("invariance", 0, (), (), {}, (), {}, None, 0.0, nobody)
    # Only what a source allows a document is looked up, where a stage makes texts.
    source: Any = SimpleNamespace(config=SimpleNamespace(max_document_bytes=256 << 20, license=None))
    return Graph(config, {SOURCE: source}, tuple(nodes), (), (), {SOURCE: schema})


def _settled(
    graph: Graph, notes: Sequence[pa.Table | None], split: Split, result: Result, folder: Path
) -> tuple[Settled, list[pa.Table | None]]:
    """The settled answer, and the keyed rows that each task gets of it."""
    node, files = graph.by_name[NODE], []
    schema, count = None, 0
    for number, table in enumerate(notes):
        if table is None:
            continue
        table = table.append_column("task", pa.array(np.full(table.num_rows, number), pa.int32()))
        path = folder / f"notes-{number:05d}.arrow"
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=split.chunk)
        files.append(str(path))
        assert schema is None or schema.equals(table.schema), "notes have other columns from task to task"
        schema, count = table.schema, count + table.num_rows
    if schema is None:
        return Settled(), [None] * len(notes)
    exchange = AnyTreeExchange(InlineExecutor(split.order), folder / "exchange", split)
    answer = node.stage.settle(Rows(tuple(files), schema, count), exchange, graph.context(node, decides=True))
    result.broadcast = None if answer.broadcast is None else _plain(answer.broadcast.to_pylist())
    result.report = _plain(json.loads(json.dumps(dict(answer.report), allow_nan=False)))
    if answer.keyed is None:
        return answer, [None] * len(notes)
    keyed = [answer.keyed.schema.empty_table()] * len(notes)
    for number, delivered in exchange.deliver(answer.keyed, len(notes)).items():
        keyed[number] = pa.Table.from_batches(read_batches(delivered, answer.keyed.schema), answer.keyed.schema)
        for row in keyed[number].to_pylist():
            key = row.pop(DOC_KEY)
            assert row.pop("task") == number and key not in result.keyed, "a document has two answers"
            result.keyed[key] = _plain(row)
    return answer, keyed


def _tell(task: SliceRows, result: Result) -> None:
    """Writes down what a task found, by document."""
    state = task.states[NODE]
    outcome = state.outcome
    assert outcome is not None, "the node has not decided"
    signals = {name: array.to_pylist() for name, array in state.signals.items()}
    if task.graph.by_name[NODE].spec.tolerances:
        for name, array in state.signals.items():
            before = result.facts.get(name)
            result.facts[name] = array if before is None else pa.concat_arrays([before, array])
        result.fact_keys += task.table[DOC_KEY].take(pa.array(state.rows)).to_pylist()
    columns = {name: array.to_pylist() for name, array in outcome.columns.items()}
    for row, key in enumerate(task.table[DOC_KEY].take(pa.array(state.rows)).to_pylist()):
        assert key not in result.decisions, "a document is decided twice"
        if signals:
            result.signals[key] = _plain({name: values[row] for name, values in signals.items()})
        rule, failed = int(outcome.rule[row]), int(outcome.failed[row])
        result.decisions[key] = _plain(
            {
                "port": int(outcome.port[row]),
                "copies": int(outcome.copies[row]),
                "rule": None if rule < 0 else outcome.rules[rule],
                "failed": sorted(name for i, name in enumerate(outcome.rules) if failed >> i & 1),
                "value": float(outcome.value[row]),
                "threshold": float(outcome.threshold[row]),
                "witness": outcome.witness[row].as_py(),
                **{f"column {name}": values[row] for name, values in columns.items()},
            }
        )
    for name, number in outcome.tallies.items():
        result.tallies[name] = result.tallies.get(name, 0) + number


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
    stage = make_stage(cls, case.config)
    found = run_stage(stage, rows, split)
    if stage.spec.tolerances:
        _compare_facts(stage, expected, found)
        # They are measured once and recorded: what follows from the record is the same for every split.
        found = run_stage(stage, rows, split, expected)
    for part in ("signals", "report", "broadcast", "keyed", "decisions", "tallies"):
        one, other = getattr(expected, part), getattr(found, part)
        if one != other:
            raise AssertionError(f"{part} depend on how the rows were split: {_first_difference(one, other)}")


def _compare_facts(stage: Stage, expected: Result, found: Result) -> None:
    order = {key: row for row, key in enumerate(found.fact_keys)}
    rows = pa.array([order[key] for key in expected.fact_keys], pa.int64())
    for name, array in expected.facts.items():
        other = found.facts[name].take(rows)
        differ = np.flatnonzero(unlike(array, other, within=stage.spec.tolerances.get(name)))
        if len(differ):
            at = int(differ[0])
            raise AssertionError(
                f"the signal `{name}` depends on how the rows were split by more than its tolerance: "
                f"{expected.fact_keys[at].hex()}: {array[at]} in one batch, {other[at]} here"
            )


def assert_partition_invariant(
    cls: type[Stage], config: Mapping[str, Any], rows: pa.Table, *, examples: int = 20
) -> Result:
    """Raises AssertionError unless `examples` drawn splits give what one batch of all rows gives, which is returned.

    Args:
        cls: the stage.
        config: its settings as they would stand in YAML.
        rows: what enters the node, see InvarianceCase; `documents` makes some of texts.
    """
    case, rows = InvarianceCase("drawn", config, lambda: rows), rows.combine_chunks()
    expected = run_stage(make_stage(cls, config), rows, whole(len(rows)))
    assert expected.decisions, "the rows are none, so that nothing is decided: give some"

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        check_invariance(cls, case, expected, rows, data.draw(splits(len(rows))))

    holds()
    return expected


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


def doc_key_column(rows: int, seed: int = 1) -> pa.Array:
    """Distinct pseudo-random doc_keys."""
    words = np.random.default_rng(seed).integers(0, 2**64, (rows, 2), np.uint64)
    keys = keys_from_words(words)
    assert keys.type == KEY_TYPE and len(set(keys.to_pylist())) == rows
    return keys


def documents(texts: Sequence[str], **columns: Sequence[Any] | pa.Array) -> pa.Table:
    """Rows as a stage sees them: distinct doc_keys, the texts, and other columns by name."""
    others = {name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in columns.items()}
    return pa.table({DOC_KEY: doc_key_column(len(texts)), TEXT: pa.array(texts, TEXT_TYPE), **others})
