"""A finished run's config with other thresholds: what differs, and which nodes can decide again from recorded signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, ID, KEY_TYPE, TEXT
from gristmill.pipeline.errors import ConfigError, GristmillError
from gristmill.pipeline.planning.config import RunConfig, load
from gristmill.pipeline.planning.graph import Graph, Node, build
from gristmill.pipeline.planning.plan import fingerprint
from gristmill.pipeline.provenance.statement import MANIFEST, Predicate

_SAME = ("seed", "sources", "revoked", "outputs", "discard", "sidecar_documents")
_RUN_IT = "Run it instead: `gristmill run CONFIG --set … --reuse {folder} --output NEW`"


@dataclass(frozen=True)
class Change:
    """A run's graph, the same with other thresholds, and what can be told of it.

    Attributes:
        base, other: both graphs, with the columns of sources that every output names.
        changed: nodes whose thresholds differ.
        fields: of each, the settings that differ: (before, after), as values of the config.
        decided: nodes that are decided again, from signals, in both graphs.
        told: why the others that come after a changed node are not: their documents fare as the ledger says.
        touched: the changed nodes, and those that read what these or others of them find.
    """

    base: Graph
    other: Graph
    changed: tuple[str, ...]
    fields: Mapping[str, Mapping[str, tuple[object, object]]]
    decided: frozenset[str]
    told: Mapping[str, str]
    touched: frozenset[str]


def changed_config(folder: str, manifest: Predicate, overrides: Sequence[str], plugins: Sequence[str]) -> Change:
    """What a run's config with overrides changes.

    Args:
        folder: the output, for messages.
        overrides: as `--set` gives them: thresholds of nodes that decide from signals.

    Raises ConfigError for other settings, and for nodes that cannot decide again here, with the reason.
    """
    graph = recorded_graph(manifest, plugins)
    changed_graph, fields = changed_graph_of(folder, manifest, graph, overrides, plugins)
    changed = tuple(name for name in graph.by_name if name in fields)
    after = {node.name for node in graph.nodes if node.name in fields or graph.ancestors[node.name] & set(fields)}
    reasons = reasons_not_to_decide(graph, changed_graph, manifest)
    touched, stale = _touched(graph, set(changed))
    reasons = {**stale, **reasons}
    for name in changed:
        if name in reasons:
            setting = ", ".join(f"stages.{name}.{one}" for one in fields[name])
            raise ConfigError(
                f"{setting}: what this would do cannot be told from the signals of {folder}: {reasons[name]}. "
                f"{_RUN_IT.format(folder=folder)}, then `gristmill report NEW`."
            )
    decided = _with_makers(graph, {name for name in after if name not in reasons}, reasons)
    told = {name: reason for name, reason in reasons.items() if name in after}
    return Change(graph, changed_graph, changed, fields, frozenset(decided), told, touched)


def recorded_graph(manifest: Predicate, plugins: Sequence[str]) -> Graph:
    """The graph of a finished run, with the columns of its sources that an output names for every document that it lists."""
    return _graph(load(manifest.varies.config, MANIFEST, plugins=plugins))


def changed_graph_of(
    folder: str, manifest: Predicate, graph: Graph, overrides: Sequence[str], plugins: Sequence[str]
) -> tuple[Graph, dict[str, dict[str, tuple[object, object]]]]:
    """The graph with overrides of its thresholds, and by node the settings that differ. Raises ConfigError for others."""
    other = load(manifest.varies.config, f"--set on the config of {folder}", overrides=overrides, plugins=plugins)
    fields = _differences(folder, graph.config, other)
    return _graph(other), fields


def reasons_not_to_decide(graph: Graph, other: Graph, manifest: Predicate) -> dict[str, str]:
    """By node that cannot decide again from what an output records, why."""
    found = {node.name: _why_not(graph, other, node, manifest) for node in graph.nodes}
    return {name: reason for name, reason in found.items() if reason is not None}


def _differences(folder: str, base: RunConfig, other: RunConfig) -> dict[str, dict[str, tuple[object, object]]]:
    for name in _SAME:
        if _plain(getattr(base, name)) != _plain(getattr(other, name)):
            raise ConfigError(
                f"--set changes `{name}`, which decides what is read or written; thresholds of `stages:` can be tried here. "
                f"{_RUN_IT.format(folder=folder)}."
            )
    wiring = [[(node.name, node.use, node.inputs) for node in config.nodes] for config in (base, other)]
    if wiring[0] != wiring[1]:
        raise ConfigError(
            "--set changes which nodes there are or what they read; only thresholds of the run's own nodes can be tried here. "
            f"{_RUN_IT.format(folder=folder)}."
        )
    found: dict[str, dict[str, tuple[object, object]]] = {}
    for before, after in zip(base.nodes, other.nodes, strict=True):
        theirs, mine = before.config.model_dump(mode="json"), after.config.model_dump(mode="json")
        for field in type(before.config).model_fields:
            kind = type(before.config).field_kind(field)
            if theirs[field] == mine[field] or kind == "runtime":
                continue
            if kind == "signal" or type(before.config).is_resource(field):
                raise ConfigError(
                    f"stages.{before.name}.{field} decides what the node measures, so its signals would be others: nothing "
                    f"can be told without measuring. {_RUN_IT.format(folder=folder)}."
                )
            found.setdefault(before.name, {})[field] = theirs[field], mine[field]
    if not found:
        raise ConfigError(
            "no setting differs from the run's. Give a threshold another value, such as --set "
            "stages.quality.thresholds.too_few_words=20; `gristmill stages NAME` lists a stage's thresholds."
        )
    return found


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    config = getattr(value, "config", None)
    return (getattr(value, "name", None), config) if config is not None else value


def _graph(config: RunConfig) -> Graph:
    schema = pa.schema([(DOC_KEY, KEY_TYPE), (ID, pa.string())])
    return replace(build(config), source_schema={spec.name: schema for spec in config.sources})


def _why_not(graph: Graph, other: Graph, node: Node, manifest: Predicate) -> str | None:
    """Why a node cannot decide again from what an output records; None where it can."""
    spec, changed = node.spec, other.by_name[node.name].spec
    if node.settles or other.by_name[node.name].settles:
        return "it decides with an answer of the whole corpus, which other thresholds may change"
    unkept = sorted(spec.hidden | ({TEXT} & set(spec.signals.names)))
    if unkept:
        return f"it decides from `{unkept[0]}`, which outputs do not keep"
    reads = spec.decide_reads | changed.decide_reads
    made = {
        name for above in graph.ancestors[node.name] & graph.by_name.keys() for name in graph.own_columns(above).names
    }
    lacking = sorted(reads - made - {DOC_KEY, ID})
    lacking += sorted((spec.optional_reads - made) & manifest.data.columns.keys())
    if lacking:
        return f"it decides from `{lacking[0]}` of the input, which outputs do not keep for every document"
    there = next((one for one in manifest.nodes if one.name == node.name), None)
    try:
        mine = fingerprint(node, graph.config.seed)
    except (GristmillError, OSError) as error:
        return f"its models cannot be read here ({error})"
    if there is None or there.fingerprint != mine.full:
        return "its stage's version, or a model or library that it decides with, is another one here than in the run"
    return None


def _touched(graph: Graph, changed: set[str]) -> tuple[frozenset[str], dict[str, str]]:
    """(nodes that a change may alter for a document which comes to them all the same, and of these why the signals of some
    would be others: they measure what another one finds)."""
    found: dict[str, str] = {}
    touched = set(changed)
    for node in graph.nodes:
        above = touched & graph.ancestors[node.name]
        findings = {name for other in above for name in graph.by_name[other].spec.findings.names}
        own = set(graph.by_name[node.name].spec.signals.names)
        measured = (
            sorted(findings & (node.spec.measure_reads | node.spec.optional_reads) - own) if node.measures else []
        )
        if measured:
            found[node.name] = f"it measures `{measured[0]}`, which the changed threshold decides"
        if measured or findings & (node.spec.decide_reads | node.spec.optional_reads | node.spec.survey_reads):
            touched.add(node.name)
    return frozenset(touched), found


def _with_makers(graph: Graph, wanted: set[str], reasons: Mapping[str, str]) -> set[str]:
    """`wanted`, and the nodes before them that find columns which they decide from."""
    found = set(wanted)
    for node in reversed(graph.nodes):
        if node.name in found:
            reads = node.spec.decide_reads | node.spec.optional_reads
            for above in graph.ancestors[node.name] & graph.by_name.keys():
                if above not in reasons and reads & set(graph.by_name[above].spec.findings.names):
                    found.add(above)
    return found
