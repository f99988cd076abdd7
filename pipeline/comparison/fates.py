"""What became of documents in one output of a run, from its ledger: in it with how many copies, or where and why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY, one_chunk
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.provenance.statement import ManifestNode, Predicate
from gristmill.pipeline.whatif.recorded_run import TaskRecord

MOST_FATES = 100_000
"""Fates of two runs: nodes × rules. A ledger with more was not written by a run."""
_LOST = ("dropped", "quarantined")


@dataclass(frozen=True, order=True)
class Fate:
    """What became of a document with regard to one output.

    Attributes:
        what: `in` the output; `dropped`, `quarantined`, or `routed` elsewhere at a node; `elsewhere` where no node decided;
            `absent` from what the run read; `unknown`; `missing`: in the output by the ledger, but not in its shards;
            `removed` from it later.
        node: that decided; of `in`: that made copies, `""` for none.
        rule: that decided, or the port of `routed`.
    """

    what: str
    node: str = ""
    rule: str = ""

    def __str__(self) -> str:
        where = ": ".join(one for one in (self.node, self.rule) if one)
        return f"{self.what} ({where})" if where else self.what


IN, ELSEWHERE, ABSENT, UNKNOWN, MISSING, REMOVED = (
    Fate(what) for what in ("in", "elsewhere", "absent", "unknown", "missing", "removed")
)


@dataclass
class Fates:
    """Fates by number: the first six are always those above."""

    known: list[Fate] = field(default_factory=lambda: [IN, ELSEWHERE, ABSENT, UNKNOWN, MISSING, REMOVED])
    _numbers: dict[Fate, int] = field(default_factory=dict)

    def number(self, fate: Fate) -> int:
        """The number of a fate. Raises DataError for more fates than a run has."""
        if not self._numbers:
            self._numbers = {one: number for number, one in enumerate(self.known)}
        if fate not in self._numbers:
            if len(self.known) >= MOST_FATES:
                raise DataError(f"the ledgers name more than {MOST_FATES:,} nodes and rules: no run wrote them.")
            self._numbers[fate] = len(self.known)
            self.known.append(fate)
        return self._numbers[fate]


class Walk:
    """The ways of a run's documents to one of its outputs.

    Args:
        manifest: of the output.
        fates: where fates get their numbers.
        edges: the ends of the ways, where not those into the output: then `in` means what comes over these.
    """

    def __init__(self, manifest: Predicate, fates: Fates, edges: Sequence[str] | None = None) -> None:
        self.manifest, self._fates = manifest, fates
        self.edges = manifest.identity.outputs[manifest.output].from_ if edges is None else edges
        wanted = {edge.partition(".")[0] for edge in self.edges}
        self.nodes: list[ManifestNode] = []
        for node in reversed(manifest.nodes):
            if node.name in wanted:
                wanted |= {edge.partition(".")[0] for edge in node.from_}
                self.nodes.insert(0, node)
        self.plain = {source: self._plain(source) for source in manifest.sources}

    def _plain(self, source: str) -> tuple[int, int]:
        """(fate, copies) of a document of a source about which the ledger says nothing."""
        empty = pa.table(
            {
                **{name: pa.array([], pa.string()) for name in ("node", "decision", "port", "rule", "witness", "id")},
                DOC_KEY: pa.array([], pa.binary(16)),
                "copies": pa.array([], pa.int32()),
                **{name: pa.array([], pa.float64()) for name in ("value", "threshold")},
            }
        )
        keys = pa.array([bytes(16)], pa.binary(16))
        made = self.of(TaskRecord(0, source, keys, pa.nulls(1, pa.string()), empty, {}))
        return made["fate"][0].as_py(), made["copies"][0].as_py()

    def of(self, record: TaskRecord) -> pa.Table:
        """The fates of the documents that a task's ledger lists.

        Returns key, fate (int32), copies (int64, 0 where it is not in the output), task, id, and value, threshold and witness
        of the decision that kept it out, or that made copies. Raises DataError for what no ledger says.
        """
        count, ledger = len(record.keys), record.ledger
        weights: dict[str, np.ndarray] = {}
        lost, copied = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
        rows_of = _rows_by_node(ledger)
        # A source has one port; its edges name it as any other's.
        sources = {edge for node in self.nodes for edge in node.from_} | set(self.edges)
        for edge in sources:
            if edge.partition(".")[0] in self.manifest.sources:
                weights[edge] = np.zeros(count, np.int64)
        for name, entered, ports in self._steps(record, weights, count):
            leaving, rows, mine = entered.copy(), rows_of.get(name), None
            if rows is not None:
                mine = ledger.take(pa.array(rows))
                place = pc.index_in(one_chunk(mine[DOC_KEY]), value_set=record.keys)
                documents = np.asarray(place).astype(np.int64)
                copies = np.maximum(1, np.asarray(pc.fill_null(one_chunk(mine["copies"]), 1)).astype(np.int64))
                gone = np.asarray(pc.is_in(one_chunk(mine["decision"]), value_set=pa.array(_LOST)))
                port = one_chunk(pc.fill_null(mine["port"], ports[0]))
                other = ~gone & ~np.asarray(pc.equal(port, ports[0]))
                reached = entered[documents] > 0
                leaving[documents] *= copies
                left = reached & (gone | other)
                lost[documents[left]] = rows[left]
                more = reached & ~gone & (copies > 1)
                copied[documents[more]] = rows[more]
            for number, one in enumerate(ports):
                weight = leaving.copy() if number == 0 else np.zeros(count, np.int64)
                if mine is not None:
                    taken = np.asarray(pc.equal(port, one)) & ~gone
                    weight[documents] = np.where(taken, leaving[documents], 0)
                weights[f"{name}.{one}"] = weight
        copies = sum((weights.get(edge, np.zeros(count, np.int64)) for edge in self.edges), np.zeros(count, np.int64))
        inside = copies > 0
        decided = np.where(inside, copied, lost)
        return self._table(record, inside, copies, decided)

    def _steps(
        self, record: TaskRecord, weights: Mapping[str, np.ndarray], count: int
    ) -> Iterator[tuple[str, np.ndarray, list[str]]]:
        """(name, copies that enter of each document, ports) of the source and each node; `weights` grows meanwhile."""
        port = next((edge.partition(".")[2] for edge in weights if edge.partition(".")[0] == record.source), None)
        if port is not None:
            yield record.source, np.ones(count, np.int64), [port]
        for node in self.nodes:
            entered = np.zeros(count, np.int64)
            for edge in node.from_:
                entered += weights.get(edge, 0)
            yield node.name, entered, node.ports

    def _table(self, record: TaskRecord, inside: np.ndarray, copies: np.ndarray, decided: np.ndarray) -> pa.Table:
        rows = pa.array(decided, mask=decided < 0)
        told = record.ledger.select(["node", "decision", "port", "rule", "value", "threshold", "witness"]).take(rows)
        codes = inside.astype(np.int64)
        for name in ("node", "decision", "port", "rule"):
            mine = one_chunk(told[name]).dictionary_encode(null_encoding="encode").indices
            codes = np.unique(codes * (len(mine) + 1) + np.asarray(mine).astype(np.int64), return_inverse=True)[1]
        found, first, index = np.unique(codes, return_index=True, return_inverse=True)
        named = told.select(["node", "decision", "port", "rule"]).take(pa.array(first, pa.int64())).to_pylist()
        numbers = np.array(
            [self._fates.number(_fate(row, bool(inside[at]))) for row, at in zip(named, first, strict=True)] or [0]
        )
        fate = numbers[index.reshape(-1)] if len(found) else np.zeros(0, np.int64)
        return pa.table(
            {
                "key": record.keys.cast(pa.binary()),
                "fate": pa.array(fate, pa.int32()),
                "copies": pa.array(np.where(inside, copies, 0), pa.int64()),
                "task": pa.array(np.full(len(record.keys), record.task), pa.int32()),
                "id": pc.utf8_slice_codeunits(record.ids, 0, 300),
                "value": one_chunk(told["value"]),
                "threshold": one_chunk(told["threshold"]),
                "witness": pc.utf8_slice_codeunits(one_chunk(told["witness"]), 0, 300),
            }
        )


def _rows_by_node(ledger: pa.Table) -> Mapping[str, np.ndarray]:
    """The rows of each node."""
    encoded = one_chunk(ledger["node"]).dictionary_encode()
    codes = np.asarray(encoded.indices)
    return {name: np.flatnonzero(codes == code) for code, name in enumerate(encoded.dictionary.to_pylist())}


def _fate(row: Mapping[str, str | None], inside: bool) -> Fate:
    node, rule = (row["node"] or "")[:200], (row["rule"] or "")[:200]
    if inside:
        return Fate("in", node, rule) if node else IN
    if not node:
        return ELSEWHERE
    if row["decision"] in _LOST:
        return Fate(str(row["decision"]), node, rule)
    return Fate("routed", node, (row["port"] or "")[:200])
