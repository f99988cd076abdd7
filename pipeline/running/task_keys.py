"""What the work of a task depends on: the key of its pass, and the key of each node's signals, by which they are reused."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from gristmill.pipeline.document import TEXT
from gristmill.pipeline.hashing import canonical, digest
from gristmill.pipeline.planning.graph import Node
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.provenance.statement import FORMAT_VERSION
from gristmill.pipeline.source import Slice


class TaskKeys:
    """The keys of a pass: what the result of each of its tasks depends on.

    What tasks have in common is encoded and hashed once, since there may be a million of them.

    Args:
        settled: node → digest of its answer.
    """

    def __init__(self, plan: Plan, index: int, settled: Mapping[str, str]) -> None:
        self._plan, self._index = plan, index
        self._settled = canonical(sorted(settled.items()))
        self._begun: dict[str, Any] = {}

    def key(self, one: Slice, slice_digest: str | None) -> str:
        """The key of a slice's task. Pass 0 has no slice digest yet; the file's size and stamp vouch for it there."""
        if one.source not in self._begun:
            common = canonical(self._index) + b"," + canonical(self._common(one.source))
            self._begun[one.source] = hashlib.sha256(b"gristmill.task\x00[" + common)
        place = [one.source, one.path, sorted(one.part.items()), one.file_bytes]
        own = canonical(place) + b"," + canonical(slice_digest if slice_digest is not None else one.stamp)
        whole = self._begun[one.source].copy()
        whole.update(b"," + own + b"," + self._settled + b"]")
        return str(whole.hexdigest())

    def _common(self, source: str) -> dict[str, Any]:
        plan = self._plan
        passes = plan.passes[: self._index + 1]
        names = {n for p in passes for n in (*p.measures, *p.decides, *(s[0] for s in p.surveys))}
        whole = plan.identity()
        identity = {
            "format": FORMAT_VERSION,
            "seed": whole["seed"],
            "source": [source, whole["sources"][source]],
            "nodes": [node for node in whole["nodes"] if node[0] in names],
            "signals": {name: plan.fingerprints[name].signal for name in names},
            "columns": sorted(plan.columns_needed(source) or ["*"]),
        }
        if plan.revoked is not None:
            identity["revoked"] = plan.revoked.digest
        if plan.splits_by_resources:
            # The same nodes may lie in other passes when a config asks for other resources.
            identity["passes"] = [[p.measures, p.decides] for p in passes]
        if plan.passes[self._index].final:
            # Footer logs name the run, so they are those of one set of slices only.
            identity["outputs"] = [plan.key, [output.config.path for output in plan.graph.outputs]]
        return identity


def signal_keys(plan: Plan, slice_digest: str) -> dict[str, str]:
    """By node, what its signals depend on: the slice, the stage's signal fields, and what made the columns that it
    reads."""
    return {name: digest("gristmill.signals", [slice_digest, lineage]) for name, lineage in _lineages(plan).items()}


_last: tuple[Plan, dict[str, str]] | None = None


def _lineages(plan: Plan) -> dict[str, str]:
    """`signal_lineages` of a plan, worked out once for all tasks of a process."""
    global _last
    known = _last
    if known is None or known[0] is not plan:
        _last = known = plan, signal_lineages(plan)
    return known[1]


class Prints(Protocol):
    """The fingerprints of a node, as this run or another one has them."""

    @property
    def signal(self) -> str: ...

    @property
    def full(self) -> str: ...


def signal_lineages(plan: Plan, prints: Mapping[str, Prints] | None = None, run: str | None = None) -> dict[str, str]:
    """By node, a digest of its stage's signal fields and of what made the columns that it reads, all the way up.

    Args:
        prints, run: fingerprints and key of another run of the same graph; left out: the plan's own.

    Goes through the graph once, in topological order: of each place it keeps what made each column that is asked for
    further down. Following the columns up from each node would take as many steps as there are ways through the graph.
    """
    wanted = _wanted(plan)
    makers: dict[str, dict[str, str]] = {
        name: dict.fromkeys(wanted.get(name, ()), f"source:{name}") for name in plan.graph.sources
    }
    decided = {name: f"source:{name}" for name in plan.graph.sources}
    measured: dict[str, str] = {}
    for node in plan.graph.nodes:
        name, stage, own = node.name, node.stage, (prints or plan.fingerprints)[node.name]
        made = [[column, [makers[edge.node][column] for edge in node.inputs]] for column in sorted(_reads(node))]
        measured[name] = digest("gristmill.lineage", [name, own.signal, made])
        # A settled finding depends on the whole corpus; the run's key stands for it.
        corpus = (run or plan.key) if node.settles else ""
        above = [[str(edge), decided[edge.node]] for edge in node.inputs]
        decided[name] = digest("gristmill.decided", [name, own.full, corpus, above])
        findings, signals = set(stage.spec.findings.names), set(stage.spec.signals.names)
        makers[name] = {
            column: decided[name]
            if column in findings
            else measured[name]
            if column in signals
            else digest("gristmill.maker", [makers[edge.node][column] for edge in node.inputs])
            for column in wanted.get(name, ())
        }
    return measured


def _reads(node: Node) -> AbstractSet[str]:
    """Columns on which a node's signals depend."""
    return node.spec.measure_reads | node.spec.optional_reads | {TEXT}


def _wanted(plan: Plan) -> dict[str, set[str]]:
    """By source and node, the columns of which somebody further down must know who made them."""
    wanted: dict[str, set[str]] = {}
    for node in reversed(plan.graph.nodes):
        own = {*node.spec.findings.names, *node.spec.signals.names}
        passed = _reads(node) | (wanted.get(node.name, set()) - own)
        for edge in node.inputs:
            wanted.setdefault(edge.node, set()).update(passed)
    return wanted
