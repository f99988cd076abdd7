"""What the work of a task depends on: the key of its pass, and the key of each node's signals, by which they are reused."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from gristmill.pipeline.document import TEXT
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.planning.graph import Node
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.provenance.statement import FORMAT_VERSION
from gristmill.pipeline.source import Slice


def task_key(plan: Plan, index: int, one: Slice, slice_digest: str | None, settled: Mapping[str, str]) -> str:
    """The key of a task's pass: what its result depends on. Pass 0 has no slice digest yet; the file's size and stamp
    vouch for it there."""
    names = {n for p in plan.passes[: index + 1] for n in (*p.measures, *p.decides, *(s[0] for s in p.surveys))}
    whole = plan.identity()
    identity = {
        "format": FORMAT_VERSION,
        "seed": whole["seed"],
        "source": [one.source, whole["sources"][one.source]],
        "nodes": [node for node in whole["nodes"] if node[0] in names],
        "signals": {name: plan.fingerprints[name].signal for name in names},
        "columns": sorted(plan.columns_needed(one.source) or ["*"]),
    }
    if plan.splits_by_resources:
        # The same nodes may lie in other passes when a config asks for other resources.
        identity["passes"] = [[p.measures, p.decides] for p in plan.passes[: index + 1]]
    if plan.passes[index].final:
        # Footer logs name the run, so they are those of one set of slices only.
        identity["outputs"] = [plan.key, [output.config.path for output in plan.graph.outputs]]
    place = [one.source, one.path, sorted(one.part.items()), one.file_bytes]
    slice_identity = slice_digest if slice_digest is not None else one.stamp
    return digest("gristmill.task", [index, identity, place, slice_identity, sorted(settled.items())])


def signal_keys(plan: Plan, slice_digest: str) -> dict[str, str]:
    """By node, what its signals depend on: the slice, the stage's signal fields, and what made the columns that it
    reads."""
    return {
        name: digest("gristmill.signals", [slice_digest, lineage]) for name, lineage in signal_lineages(plan).items()
    }


def signal_lineages(plan: Plan) -> dict[str, str]:
    """By node, a digest of its stage's signal fields and of what made the columns that it reads, all the way up.

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
        name, stage, prints = node.name, node.stage, plan.fingerprints[node.name]
        made = [[column, [makers[edge.node][column] for edge in node.inputs]] for column in sorted(_reads(node))]
        measured[name] = digest("gristmill.lineage", [name, prints.signal, made])
        # A settled finding depends on the whole corpus; the run's key stands for it.
        corpus = plan.key if node.settles else ""
        above = [[str(edge), decided[edge.node]] for edge in node.inputs]
        decided[name] = digest("gristmill.decided", [name, prints.full, corpus, above])
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
