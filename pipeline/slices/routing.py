"""The rows of one slice on their way through the graph: which entered each node, what was found, where they went.

Rows are indices into the slice's table, so that text is never copied until somebody needs it. A column is looked up
where it was made and taken for the rows at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY, TEXT, blank_rows, key_words, one_chunk, text_bytes
from gristmill.pipeline.errors import ConservationError, ContractError
from gristmill.pipeline.planning.graph import Edge, Graph, Node
from gristmill.pipeline.planning.plan import BATCH_BYTES
from gristmill.pipeline.stage import DROPPED, MAX_RULES, QUARANTINED, Decisions, SettledView

BATCH_ROWS = 1 << 16
"""Rows of a batch that carries no text."""


@dataclass
class Outcome:
    """The decisions of a node for its rows, as full arrays (see pipeline.stage.Decisions)."""

    port: np.ndarray
    copies: np.ndarray
    rules: tuple[str, ...]
    rule: np.ndarray
    failed: np.ndarray
    value: np.ndarray
    threshold: np.ndarray
    witness: pa.Array
    columns: dict[str, pa.Array]
    tallies: dict[str, int] = field(default_factory=dict)


@dataclass
class State:
    """A node (or a source) with the rows that entered it.

    Attributes:
        rows: int64, ascending indices into the slice's table.
        weight: int64, copies with which each row arrived.
        arrivals: the rows of each edge.
    """

    rows: np.ndarray
    weight: np.ndarray
    arrivals: dict[Edge, np.ndarray] = field(default_factory=dict)
    signals: dict[str, pa.Array] = field(default_factory=dict)
    outcome: Outcome | None = None


class SliceRows:
    """One slice's rows in a graph."""

    def __init__(self, graph: Graph, source: str, table: pa.Table) -> None:
        self.graph = graph
        self.source = source
        self.table = table
        self.count = table.num_rows
        self.keys = key_words(table[DOC_KEY])
        self.states: dict[str, State] = {}
        self._sizes: np.ndarray | None = None

    def sizes(self) -> np.ndarray:
        """UTF-8 bytes of each row's text as it was read, int64."""
        if self._sizes is None:
            self._sizes = text_bytes(self.table[TEXT])
        return self._sizes

    def set_sizes(self, sizes: np.ndarray) -> None:
        """For a pass that does not read the text."""
        self._sizes = sizes

    def leaving(self, edge: Edge) -> tuple[np.ndarray, np.ndarray]:
        """Rows that leave on an edge, with their number of copies."""
        state = self.states.get(edge.node)
        if state is None or state.outcome is None:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        port = self.graph.ports_of(edge.node).index(edge.port)
        chosen = state.outcome.port == port
        return state.rows[chosen], (state.weight * state.outcome.copies)[chosen]

    def enter(self, name: str, inputs: Sequence[Edge]) -> State:
        """The rows that enter a node: the union of its edges.

        Raises ConservationError when a document arrives twice.
        """
        arrivals: dict[Edge, np.ndarray] = {}
        weight = np.zeros(self.count, np.int64)
        seen = np.zeros(self.count, bool)
        for edge in inputs:
            rows, copies = self.leaving(edge)
            twice = rows[seen[rows]]
            if len(twice):
                key = self.table[DOC_KEY][int(twice[0])].as_py().hex()
                raise ConservationError(
                    f"`{name}`: the document {key} arrives twice, the second time from `{edge}`. A document may take "
                    f"one way only: {', '.join(str(e) for e in inputs)} must not share documents."
                )
            seen[rows] = True
            weight[rows] = copies
            arrivals[edge] = rows
        rows = np.flatnonzero(seen)
        return State(rows, weight[rows], arrivals)

    def column(self, place: str, name: str, rows: np.ndarray) -> pa.Array:
        """A column as it is for `rows` when they leave `place` (a node, or the source)."""
        if place in self.graph.sources:
            if place != self.source or name not in self.table.column_names:
                return pa.nulls(len(rows), self.graph.columns_after(place).get(name, pa.null()))
            return _taken(one_chunk(self.table[name]), rows, self.count)
        state = self.states[place]
        own = self._own(state, name)
        if own is not None:
            positions = np.searchsorted(state.rows, rows)
            made = _taken(own, positions, len(state.rows))
            if name == TEXT and made.null_count:
                # A stage that changes text leaves null where it did not.
                return pc.coalesce(made, self.incoming(list(state.arrivals.items()), place, name, rows))
            return made
        return self.incoming(list(state.arrivals.items()), place, name, rows)

    def _own(self, state: State, name: str) -> pa.Array | None:
        if state.outcome is not None and name in state.outcome.columns:
            return state.outcome.columns[name]
        return state.signals.get(name)

    def incoming(self, arrivals: list[tuple[Edge, np.ndarray]], place: str, name: str, rows: np.ndarray) -> pa.Array:
        """A column as it is for `rows` when they enter `place`."""
        if len(arrivals) == 1:
            return self.column(arrivals[0][0].node, name, rows)
        kind = self.graph.columns_into(tuple(edge for edge, _ in arrivals))[name]
        parts, order = [], []
        for edge, arrived in arrivals:
            mine = np.flatnonzero(np.isin(rows, arrived, assume_unique=True))
            have = name in self.graph.columns_after(edge.node)
            part = self.column(edge.node, name, rows[mine]) if have else pa.nulls(len(mine), kind)
            parts.append(part.cast(kind) if part.type != kind else part)
            order.append(mine)
        back = np.argsort(np.concatenate(order), kind="stable")
        return pa.concat_arrays(parts).take(pa.array(back))

    def batches(self, node: Node, columns: Sequence[str], *, after: bool = False) -> Iterator[tuple[slice, pa.Table]]:
        """The rows that entered a node, cut into batches, with the named columns of its input (`after`: with its own
        signals and findings too) and doc_key. Yields (positions within the node's rows, batch)."""
        state = self.states[node.name]
        rows = state.rows
        for part in self._cuts(rows, TEXT in columns):
            chosen = rows[part]
            data: dict[str, pa.Array] = {DOC_KEY: _taken(one_chunk(self.table[DOC_KEY]), chosen, self.count)}
            for name in columns:
                own = self._own(state, name) if after or name in state.signals else None
                if own is not None and not (name == TEXT and own.null_count):
                    data[name] = own.slice(part.start, part.stop - part.start)
                elif after:
                    data[name] = self.column(node.name, name, chosen)
                else:
                    data[name] = self.incoming(list(state.arrivals.items()), node.name, name, chosen)
            yield part, pa.table(data)

    def _cuts(self, rows: np.ndarray, text: bool) -> Iterator[slice]:
        if not text:
            for start in range(0, len(rows), BATCH_ROWS):
                yield slice(start, min(start + BATCH_ROWS, len(rows)))
            return
        ends = np.cumsum(self.sizes()[rows])
        start = 0
        while start < len(rows):
            limit = (int(ends[start - 1]) if start else 0) + BATCH_BYTES
            stop = max(start + 1, int(np.searchsorted(ends, limit, side="right")))
            yield slice(start, min(stop, len(rows)))
            start = stop

    def measure(self, node: Node) -> dict[str, pa.Array]:
        """The node's signals for the rows that entered it."""
        schema = node.stage.signals()
        wanted = _present(node.stage.measure_reads() | node.stage.optional_reads(), self.graph, node)
        parts: dict[str, list[pa.Array]] = {name: [] for name in schema.names}
        for part, batch in self.batches(node, sorted(wanted)):
            made = node.stage.measure(batch)
            if set(made) != set(schema.names):
                raise ContractError(
                    f"node `{node.name}`: `measure` returned the columns {sorted(made)}, but declares {sorted(schema.names)}."
                )
            for item in schema:
                array = one_chunk(made[item.name])
                if len(array) != part.stop - part.start:
                    raise ConservationError(
                        f"node `{node.name}`: `measure` returned {len(array)} values of `{item.name}` for "
                        f"{part.stop - part.start} documents."
                    )
                if array.type != item.type:
                    raise ContractError(
                        f"node `{node.name}`: the signal `{item.name}` is {array.type}, but declared as {item.type}."
                    )
                parts[item.name].append(array)
        return {item.name: _joined(parts[item.name], item.type) for item in schema}

    def survey(self, node: Node, observed: str) -> pa.Table | None:
        """The node's notes about the rows that entered it, or that entered the node that it observes; None for no rows."""
        seen = self.graph.by_name[observed]
        if observed == node.name:
            wanted = _present(node.stage.survey_reads() | node.stage.optional_reads(), self.graph, node)
            columns = sorted(wanted | set(node.stage.signals().names))
            found = [node.stage.survey(batch) for _, batch in self.batches(node, columns)]
        else:
            have = {**self.graph.columns_into(seen.inputs)}
            have.update({item.name: item.type for item in self.graph.own_columns(observed, hidden=True)})
            columns = sorted((node.stage.survey_reads() - {"dropped"}) | (node.stage.optional_reads() & set(have)))
            outcome = self.states[observed].outcome
            if outcome is None:
                raise ContractError(f"node `{node.name}` observes `{observed}`, which has not decided yet.")
            found = []
            for part, batch in self.batches(seen, columns, after=True):
                gone = pa.array(outcome.port[part] == DROPPED)
                found.append(node.stage.survey(batch.append_column("dropped", gone)))
        return pa.concat_tables(found).combine_chunks() if found else None

    def decide(self, node: Node, settled: SettledView | None) -> Outcome:
        """The node's checked decisions. Raises ConservationError for a decision that is none."""
        state = self.states[node.name]
        wanted = _present(node.stage.decide_reads() | node.stage.optional_reads(), self.graph, node)
        columns = sorted(wanted | set(node.stage.signals().names))
        stage = node.stage.deciding_for(self.source)
        made = []
        for part, batch in self.batches(node, columns):
            view = settled
            if settled is not None and settled.columns is not None:
                view = SettledView(
                    columns=settled.columns.slice(part.start, part.stop - part.start), table=settled.table
                )
            decisions = stage.decide(batch, view)
            check_decisions(node, decisions, batch)
            made.append((part.stop - part.start, decisions))
        return joined_outcome(node, made, len(state.rows))


def check_decisions(node: Node, decisions: Decisions, batch: pa.Table) -> None:
    """Raises ConservationError unless every row has exactly one valid decision."""
    rows = batch.num_rows

    def refuse(problem: str) -> None:
        raise ConservationError(
            f"node `{node.name}` (stage `{node.use}`): {problem}. Exactly one decision per row is the stage's contract; "
            "its author must mend it."
        )

    for name in ("port", "copies", "rule", "failed", "value", "threshold", "witness"):
        array = getattr(decisions, name)
        if array is not None and len(array) != rows:
            refuse(f"`{name}` has {len(array)} entries for {rows} rows")
    port = decisions.port
    if rows and (int(port.min()) < QUARANTINED or int(port.max()) >= len(node.stage.ports)):
        refuse(f"a port index outside {QUARANTINED}…{len(node.stage.ports) - 1}")
    if len(decisions.rules) > MAX_RULES:
        refuse(f"{len(decisions.rules)} rules, more than {MAX_RULES}")
    rule = np.full(rows, -1, np.int16) if decisions.rule is None else decisions.rule
    if rows and (int(rule.min()) < -1 or int(rule.max()) >= len(decisions.rules)):
        refuse("a rule index outside `rules`")
    unknown = set(decisions.rules) - set(node.stage.rules())
    if unknown:
        refuse(f"the rules {sorted(unknown)} are not among those that it declares ({sorted(node.stage.rules())})")
    silent = (port < 0) & (rule < 0)
    if silent.any():
        refuse(f"{int(silent.sum())} rows are dropped or quarantined without a rule")
    if decisions.copies is not None:
        few = (port >= 0) & (decisions.copies < 1)
        if few.any():
            refuse(f"{int(few.sum())} emitted rows have fewer than one copy")
        if not node.stage.emits_copies and (decisions.copies[port >= 0] != 1).any():
            refuse("it emits copies without declaring `emits_copies`")
    declared = {item.name: item.type for item in node.stage.findings()}
    if set(decisions.columns) != set(declared):
        refuse(f"`decide` added the columns {sorted(decisions.columns)}, but declares {sorted(declared)}")
    for name, array in decisions.columns.items():
        if len(array) != rows:
            refuse(f"the column `{name}` has {len(array)} values for {rows} rows")
        if array.type != declared[name]:
            refuse(f"the column `{name}` is {array.type}, but declared as {declared[name]}")
    if TEXT in decisions.columns:
        _check_changed(one_chunk(decisions.columns[TEXT]), (port >= 0) & (rule < 0), port >= 0, refuse)


def _check_changed(text: pa.Array, unsaid: np.ndarray, emitted: np.ndarray, refuse: Callable[[str], None]) -> None:
    """A changed text is on record, so that the ledger says whose text is no longer its source's, and is never blank."""
    changed = text.is_valid().to_numpy(zero_copy_only=False)
    if (changed & unsaid).any():
        refuse(f"{int((changed & unsaid).sum())} emitted rows have a changed text and no rule that says why")
    empty = emitted & changed & blank_rows(text)
    if empty.any():
        refuse(f"{int(empty.sum())} rows are emitted with a text that it emptied; it must drop them with a rule")


def joined_outcome(node: Node, made: Sequence[tuple[int, Decisions]], rows: int) -> Outcome:
    """Batches of decisions as one."""
    rules: list[str] = []
    for _, one in made:
        rules += [rule for rule in one.rules if rule not in rules]
    if len(rules) > MAX_RULES:
        raise ContractError(f"node `{node.name}`: {len(rules)} rules, more than {MAX_RULES}.")
    port, copies = np.zeros(rows, np.int16), np.ones(rows, np.int64)
    rule, failed = np.full(rows, -1, np.int16), np.zeros(rows, np.uint64)
    value, limit = np.full(rows, np.nan), np.full(rows, np.nan)
    witness: list[pa.Array] = []
    columns: dict[str, list[pa.Array]] = {item.name: [] for item in node.stage.findings()}
    tallies: dict[str, int] = {}
    start = 0
    for count, one in made:
        part = slice(start, start + count)
        start += count
        port[part] = one.port
        if one.copies is not None:
            copies[part] = np.where(one.port >= 0, one.copies, 1)
        index = np.array([rules.index(name) for name in one.rules] or [0], np.int16)
        if one.rule is not None:
            rule[part] = np.where(one.rule >= 0, index[np.maximum(one.rule, 0)], -1)
        mask = np.zeros(count, np.uint64)
        if one.failed is not None:
            for here in range(len(one.rules)):
                hit = (one.failed >> np.uint64(here)) & np.uint64(1)
                mask |= hit << np.uint64(index[here])
        decided = rule[part] >= 0
        mask[decided] |= np.uint64(1) << rule[part][decided].astype(np.uint64)
        failed[part] = mask
        if one.value is not None:
            value[part] = one.value
        if one.threshold is not None:
            limit[part] = one.threshold
        witness.append(
            pa.nulls(count, pa.string()) if one.witness is None else one_chunk(one.witness).cast(pa.string())
        )
        for name, arrays in columns.items():
            arrays.append(one_chunk(one.columns[name]))
        for name, number in one.tallies.items():
            tallies[name] = tallies.get(name, 0) + int(number)
    findings = {item.name: _joined(columns[item.name], item.type) for item in node.stage.findings()}
    return Outcome(
        port, copies, tuple(rules), rule, failed, value, limit, _joined(witness, pa.string()), findings, tallies
    )


def _present(wanted: frozenset[str], graph: Graph, node: Node) -> set[str]:
    have = graph.columns_into(node.inputs)
    return {name for name in wanted if name in have}


def _taken(array: pa.Array, rows: np.ndarray, count: int) -> pa.Array:
    if len(rows) == count:
        return array
    if len(rows) and int(rows[-1]) - int(rows[0]) + 1 == len(rows):
        return array.slice(int(rows[0]), len(rows))
    return array.take(pa.array(rows))


def _joined(parts: Sequence[pa.Array], kind: pa.DataType) -> pa.Array:
    if len(parts) == 1:
        return parts[0]
    return pa.concat_arrays(parts) if parts else pa.array([], kind)


def scattered(array: pa.Array, rows: np.ndarray, count: int) -> pa.Array:
    """An array for `rows` spread over all `count` rows, null elsewhere."""
    places = np.full(count, -1, np.int64)
    places[rows] = np.arange(len(rows))
    return array.take(pa.array(places, mask=places < 0))


def outcome_columns(outcome: Outcome) -> Mapping[str, pa.Array]:
    """An outcome as columns, for an annotation file."""
    return {
        "port": pa.array(outcome.port, pa.int16()),
        "copies": pa.array(outcome.copies, pa.int64()),
        "rule": pa.array(outcome.rule, pa.int16()),
        "failed": pa.array(outcome.failed, pa.uint64()),
        "value": pa.array(outcome.value, pa.float64()),
        "threshold": pa.array(outcome.threshold, pa.float64()),
        "witness": outcome.witness,
    }
