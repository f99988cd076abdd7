"""A few documents through a graph in this process: the stages that judge row by row, without files and without Ray."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, ID, KEY_TYPE, TEXT, one_chunk, take, text_buffers, text_bytes
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.provenance.accounts import Accounts
from gristmill.pipeline.slices.outcome import Outcome
from gristmill.pipeline.slices.read import read_slice, without_revoked
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.slices.row_accounts import node_account
from gristmill.pipeline.slices.traversal import Answers, as_decided, null_findings, traverse
from gristmill.pipeline.stage import DROPPED, QUARANTINED

if TYPE_CHECKING:
    from gristmill.pipeline.planning.graph import Graph, Node
    from gristmill.pipeline.planning.plan import Plan
    from gristmill.pipeline.source import Slice

_PASSAGE = re.compile(r"(\d{1,18}):(\d{1,18}):([0-9a-f]{16,64})(?::.*)?", re.DOTALL)
SPREAD = 8
"""Slices that a sample is spread over, when there are so many: the first file of a crawl is not the crawl."""


@dataclass(frozen=True)
class Example:
    """A document with what a rule found: `value` against `threshold`, where it compares numbers; `passage` is the part of
    the text that the witness points at, where it does."""

    id: str
    text: str
    value: float | None = None
    threshold: float | None = None
    witness: str | None = None
    passage: str | None = None


@dataclass
class Findings:
    """Documents that a rule decided on at a node, or that ended somewhere: how many, and the first few."""

    documents: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass
class Near:
    """The documents closest to a rule's limit.

    Attributes:
        compared: documents of which the rule compared a number.
        fails, passes: those closest to the limit, nearest first: (distance, example). A distance is relative to the limit,
            unless that is 0, since languages have limits of their own.
    """

    compared: int = 0
    fails: list[tuple[float, Example]] = field(default_factory=list)
    passes: list[tuple[float, Example]] = field(default_factory=list)


@dataclass
class Sample:
    """What became of a sample.

    Attributes:
        documents: rows that were looked at; unreadable records are not among them.
        slices: how many slices they came from.
        accounts: as of a run, over the nodes that were judged.
        unjudged: nodes that must see the whole corpus or ask a model elsewhere, or that read what such a node adds.
        dropped, quarantined, marked: findings by (node, rule), the rule that decided.
        ends: findings by the output's name, or by `node.port` for a discarded port.
        rejected: records that could not be read, by reason.
        from_run: nodes whose decisions were taken from a finished run; they are not among `unjudged`.
    """

    documents: int = 0
    slices: int = 0
    accounts: Accounts = field(default_factory=Accounts)
    unjudged: tuple[str, ...] = ()
    dropped: dict[tuple[str, str], Findings] = field(default_factory=dict)
    quarantined: dict[tuple[str, str], Findings] = field(default_factory=dict)
    marked: dict[tuple[str, str], Findings] = field(default_factory=dict)
    ends: dict[str, Findings] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    near: Near = field(default_factory=lambda: Near())
    from_run: dict[str, FromRun] = field(default_factory=dict)


@dataclass(frozen=True)
class Recorded:
    """What a finished run decided about the documents of one slice.

    Attributes:
        in_run: whether the run read the slice's files.
        told: by node and doc_key, what its ledger says: decision, port, copies, rule, failed, value,
            threshold, witness.
        missed: by node, doc_keys that did not come to it in that run.
    """

    in_run: bool
    told: Mapping[str, Mapping[bytes, Sequence[Any]]] = field(default_factory=dict)
    missed: Mapping[str, frozenset[bytes]] = field(default_factory=dict)


@dataclass
class FromRun:
    """Documents that came to a node whose decisions are taken from a finished run: those that have one, those that are not in
    that run, and those that did not come to the node there. The latter two pass."""

    judged: int = 0
    not_in_run: int = 0
    not_reached: int = 0


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, asked for its decisions.

    Attributes:
        nodes: those whose decisions are taken from it.
        ask: (slice, doc_keys) → what it decided about them.
    """

    nodes: frozenset[str]
    ask: Callable[[Slice, Sequence[bytes]], Recorded]


class _SampleAnswers(Answers):
    """Stages that judge row by row are asked; a node that must see the whole corpus, or ask a model elsewhere, passes
    everything on through its default port, but for documents of which a finished run has decided. The text stays as it is,
    the node's other columns are unknown."""

    def __init__(self, recorded: Recorded | None = None, counts: Mapping[str, FromRun] | None = None) -> None:
        self._recorded, self._counts = recorded, counts or {}

    def measures(self, node: Node) -> bool:
        return node.spec.reproducible and not node.settles

    def decides(self, node: Node) -> bool:
        return self.measures(node)

    def undecided(self, node: Node, slice_rows: SliceRows) -> Outcome:
        rows = len(slice_rows.states[node.name].rows)
        columns = {name: array for name, array in null_findings(node, rows).items() if name != TEXT}
        passing = as_decided(np.zeros(rows, np.int16), np.ones(rows, np.int64), columns)
        if self._recorded is None or node.name not in self._counts:
            return passing
        keys = slice_rows.table[DOC_KEY].take(pa.array(slice_rows.states[node.name].rows)).to_pylist()
        return _recorded_outcome(node, keys, passing, self._recorded, self._counts[node.name])


def _recorded_outcome(
    node: Node, keys: Sequence[bytes], passing: Outcome, recorded: Recorded, counts: FromRun
) -> Outcome:
    """The decisions of a finished run about some documents; those that it does not know pass."""
    if not recorded.in_run:
        counts.not_in_run += len(keys)
        return passing
    told, missed = recorded.told.get(node.name, {}), recorded.missed.get(node.name, frozenset())
    numbers, witness = {rule: at for at, rule in enumerate(node.spec.rules)}, passing.witness.to_pylist()
    for row, key in enumerate(keys):
        if key in missed:
            counts.not_reached += 1
            continue
        counts.judged += 1
        if key not in told:
            continue
        decision, port, copies, rule, failed, value, limit, witness[row] = told[key]
        lost = {"dropped": DROPPED, "quarantined": QUARANTINED}.get(decision)
        found = {*(failed or ()), *([] if rule is None else [rule])}
        if (lost is None and port not in node.spec.ports) or not found <= numbers.keys():
            raise DataError(f"--with: the run's ledger names a port or a rule that `{node.name}` does not have.")
        passing.port[row] = node.spec.ports.index(port) if lost is None else lost
        passing.copies[row] = max(1, copies or 1)
        passing.rule[row] = -1 if rule is None else numbers[rule]
        passing.failed[row] = sum(1 << numbers[one] for one in found)
        passing.value[row] = np.nan if value is None else value
        passing.threshold[row] = np.nan if limit is None else limit
    return replace(passing, rules=node.spec.rules, witness=pa.array(witness, pa.string()))


def unjudged_nodes(graph: Graph) -> tuple[str, ...]:
    """Nodes that a sample cannot judge: those that settle or that ask somebody else, and those that read a column of
    such a node. Found by sending no rows through the graph."""
    source, schema = next(iter(graph.source_schema.items()))
    fields = [(DOC_KEY, KEY_TYPE), *((item.name, item.type) for item in schema if item.name != DOC_KEY)]
    judged = traverse(graph, SliceRows(graph, source, pa.schema(fields).empty_table()), _SampleAnswers())
    return tuple(node.name for node in graph.nodes if node.name not in judged)


def take_sample(
    plan: Plan, documents: int, show: int, near: tuple[str, str] | None = None, run: FinishedRun | None = None
) -> Sample:
    """Sends about `documents` documents, spread evenly over slices and rows, through the graph.

    A node that a sample cannot judge passes everything on through its default port, its columns null. `show` examples
    are kept per rule and end; with `near` (a node and a rule), as many of the documents closest to the rule's limit on
    either side. With `run`, some of these nodes decide as that run did, about documents that were part of it.
    """
    known = frozenset() if run is None else run.nodes
    made = Sample(unjudged=tuple(name for name in unjudged_nodes(plan.graph) if name not in known))
    made.from_run = {node.name: FromRun() for node in plan.graph.nodes if node.name in known}
    for one, table, rejected in _tables(plan, documents):
        made.documents += table.num_rows
        made.slices += 1
        for reason in rejected:
            made.rejected[reason] = made.rejected.get(reason, 0) + 1
        recorded = None if run is None else run.ask(one, table[DOC_KEY].to_pylist())
        _judge(plan, SliceRows(plan.graph, one.source, table), made, show, near, recorded)
    return made


def _tables(plan: Plan, documents: int) -> Iterator[tuple[Slice, pa.Table, list[str]]]:
    """(slice, rows, reasons of unreadable records) of slices until there are enough rows."""
    total = len(plan.slices)
    first = sorted({total * i // min(SPREAD, total) for i in range(min(SPREAD, total))})
    order = [*first, *(i for i in range(total) if i not in set(first))]
    left = documents
    for position, index in enumerate(order):
        if left <= 0:
            return
        one = plan.slices[index]
        data = read_slice(plan, one, None)
        table = without_revoked(plan, one.source, data.table)
        wanted = -(-left // max(1, len(first) - position))
        rows = np.unique(np.linspace(0, table.num_rows - 1, min(wanted, table.num_rows)).astype(np.int64))
        left -= len(rows)
        yield one, take(table, rows), data.rejects["reason"].to_pylist()


def _judge(
    plan: Plan,
    slice_rows: SliceRows,
    made: Sample,
    show: int,
    near: tuple[str, str] | None,
    recorded: Recorded | None,
) -> None:
    slice_rows.compared = None if near is None else {}
    judged = traverse(plan.graph, slice_rows, _SampleAnswers(recorded, made.from_run)) | made.from_run.keys()
    for name in (slice_rows.source, *(node.name for node in plan.graph.nodes if node.name in judged)):
        made.accounts.node(name).add(node_account(slice_rows, name))
        _find(made, slice_rows, name, show)
    if near is not None:
        _keep_nearest(made.near, slice_rows, near, show)
    for output in plan.graph.outputs:
        for edge in output.inputs:
            _end(made, slice_rows, output.name, slice_rows.leaving(edge)[0], show)
    for edge in plan.graph.discarded:
        _end(made, slice_rows, str(edge), slice_rows.leaving(edge)[0], show)


def _find(made: Sample, slice_rows: SliceRows, name: str, show: int) -> None:
    state = slice_rows.states[name]
    outcome = state.outcome
    if outcome is None:
        return
    for row in np.flatnonzero(outcome.rule >= 0).tolist():
        port = outcome.port[row]
        where = made.dropped if port == DROPPED else made.quarantined if port == QUARANTINED else made.marked
        found = where.setdefault((name, outcome.rules[outcome.rule[row]]), Findings())
        found.documents += 1
        if len(found.examples) < show:
            numbers = (_number(outcome.value[row]), _number(outcome.threshold[row]))
            found.examples.append(_example(slice_rows, int(state.rows[row]), *numbers, outcome.witness[row].as_py()))


def _keep_nearest(near: Near, slice_rows: SliceRows, rule: tuple[str, str], show: int) -> None:
    for rows, values, limits, failed in (slice_rows.compared or {}).get(rule, ()):
        known = ~np.isnan(values) & ~np.isnan(limits)
        near.compared += int(known.sum())
        distance = np.abs(values - limits) / np.where(limits == 0, 1.0, np.abs(limits))
        for found, chosen in ((near.fails, known & failed), (near.passes, known & ~failed)):
            mine = np.flatnonzero(chosen)
            for at in mine[np.argsort(distance[mine], kind="stable")][:show].tolist():
                example = _example(slice_rows, int(rows[at]), float(values[at]), float(limits[at]))
                found.append((float(distance[at]), example))
            found.sort(key=lambda item: item[0])
            del found[show:]


def _end(made: Sample, slice_rows: SliceRows, name: str, rows: np.ndarray, show: int) -> None:
    found = made.ends.setdefault(name, Findings())
    found.documents += len(rows)
    for row in rows[: max(0, show - len(found.examples))].tolist():
        found.examples.append(_example(slice_rows, row))


def _example(
    slice_rows: SliceRows,
    row: int,
    value: float | None = None,
    threshold: float | None = None,
    witness: str | None = None,
) -> Example:
    table = slice_rows.table
    # Only the beginning is shown; a text of 200 MB stays where it is.
    start = one_chunk(slice_rows.first_text(np.array([row])))
    shown = start[0].as_py() if int(text_bytes(start)[0]) < 1 << 20 else "(a text of over 1 MB)"
    ident = table[ID][row].as_py()
    name = table[DOC_KEY][row].as_py().hex() if ident is None else str(ident)
    return Example(name, shown or "", value, threshold, witness, passage(start, witness))


def passage(text: pa.Array, witness: str | None) -> str | None:
    """The part of a text (a column of one row) that a witness `offset:length:digest` points at, in bytes.

    None for other witnesses, and where the digest is another passage's: the node saw a text that was changed before it.
    """
    found = _PASSAGE.fullmatch(witness or "")
    if found is None:
        return None
    data, offsets = text_buffers(text)
    begin = int(offsets[0]) + int(found[1])
    part = data[begin : min(begin + int(found[2]), int(offsets[1]))].tobytes()
    if not hashlib.sha256(part).hexdigest().startswith(found[3]):
        return None
    return part.decode("utf-8", "replace")


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
