"""From the graph to passes and tasks, with fingerprints and stated bounds: what a run will do, before it does it.

A pass is one sweep over all slices. A node's signals are measured in the first pass that has its input; a node that
settles decides one pass later, when the corpus-wide answer is there. Only the last pass writes shards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, ID, TEXT
from gristmill.pipeline.errors import ConfigError, DataError
from gristmill.pipeline.hashing import digest, tree_digest
from gristmill.pipeline.planning.config import RunConfig
from gristmill.pipeline.planning.foreign_files import Workers, described
from gristmill.pipeline.planning.graph import Graph, Node, Output, build
from gristmill.pipeline.planning.prior_runs import PRIOR, PriorNotes, prior_notes
from gristmill.pipeline.planning.revoked import Revoked, read_revoked
from gristmill.pipeline.planning.small_files import together
from gristmill.pipeline.provenance.kinds import KindSettings
from gristmill.pipeline.provenance.statement import FORMAT_VERSION
from gristmill.pipeline.provenance.values import to_json
from gristmill.pipeline.resources import Resources, largest
from gristmill.pipeline.source import Slice
from gristmill.pipeline.spdx import expression, refusal
from gristmill.pipeline.tokenization.tokenizer_file import parsed_tokenizer, read_tokenizer

BATCH_BYTES = 16 << 20
"""UTF-8 bytes of text that a stage gets at once. Because of partition invariance it cannot change a result."""

HELD = 3
"""Times that a slice is held at once: as read, as taken for a node or a shard, as encoded."""

HELD_OF_ONE = 16
"""Times that the bytes of one giant document are held: its copies are of one piece, and kernels' arrays are as long."""

ROW_BYTES = 1536
"""Bytes of a document besides its text: keys, decisions, signals, ledger; two million tiny documents took up to 1.5 kB each."""

PROCESS_BYTES = 450 << 20
"""Resident memory of a worker before it reads anything: interpreter, pyarrow, compiled kernels, embedded models."""


@dataclass(frozen=True)
class Pass:
    """What one sweep does at each node.

    Attributes:
        index: from 0.
        measures, decides: node names, in graph order.
        surveys: (node, the node whose entry or outcome it sees): equal names mean the node's own entry.
        settles_after: nodes whose corpus-wide answer is computed between this pass and the next.
        final: whether shards are written.
    """

    index: int
    measures: tuple[str, ...]
    decides: tuple[str, ...]
    surveys: tuple[tuple[str, str], ...]
    settles_after: tuple[str, ...]
    final: bool


@dataclass(frozen=True)
class Fingerprint:
    """Identity of a node's work: `signal` of what it measures and surveys, `full` of what it decides.

    `fields` are the config fields that entered them, by kind, so that the manifest can state them: with the stage's name
    and version anyone can compute the fingerprints again.
    """

    signal: str
    full: str
    models: Mapping[str, str]
    fields: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Plan:
    """A graph, its passes, its tasks (one slice each) and its fingerprints."""

    graph: Graph
    passes: tuple[Pass, ...]
    slices: tuple[Slice, ...]
    fingerprints: Mapping[str, Fingerprint]
    prior: Mapping[str, tuple[PriorNotes, ...]] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By source, its `facts`."""
    tokenizers: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the tokenizers that kinds of outputs name, by path."""
    revoked: Revoked | None = None
    """The documents that the sources leave out."""
    stored_key: str | None = None
    """The run's key, where the plan was read from a file without its slices."""

    @property
    def config(self) -> RunConfig:
        return self.graph.config

    @cached_property
    def decided_in(self) -> dict[str, int]:
        return {name: one.index for one in self.passes for name in one.decides}

    @cached_property
    def measured_in(self) -> dict[str, int]:
        return {name: one.index for one in self.passes for name in one.measures}

    @cached_property
    def entered_in(self) -> dict[str, int]:
        """The pass in which a node's rows first have something done to them there."""
        found: dict[str, int] = {}
        for one in self.passes:
            for name in (*one.measures, *(n for n, seen in one.surveys if n == seen), *one.decides):
                found.setdefault(name, one.index)
        return found

    def resources(self, one: Pass) -> Resources:
        """What a task of a pass needs above what reading and writing need: for the nodes that it measures and surveys, and
        those that decide where they measured. What waited for an answer of the whole corpus costs next to nothing then."""
        names = {*one.measures, *(n for n, _ in one.surveys), *one.decides}
        return largest(
            node.resources
            for node in self.graph.nodes
            if node.name in names and self.entered_in[node.name] == one.index
        )

    @cached_property
    def splits_by_resources(self) -> bool:
        """Whether some pass gives its tasks other than one core of a shared worker."""
        return any(replace(self.resources(one), memory_bytes=0) != Resources() for one in self.passes)

    @cached_property
    def stored_bytes(self) -> int:
        """Bytes of all slices as they are stored."""
        return sum(one.bytes for one in self.slices)

    @cached_property
    def key(self) -> str:
        """Identity of the run: config, stages, models, seed, and which slices (by name and size) go in."""
        if self.stored_key is not None:
            return self.stored_key
        slices = hashlib.sha256()
        for one in self.slices:
            slices.update(digest("gristmill.slice", _slice_identity(one)).encode())
        return digest("gristmill.run", [self.identity(), slices.hexdigest()])

    def stamps(self) -> str:
        """Digest of the input files' modification times or ETags: equal stamps are taken to mean unchanged files."""
        return digest("gristmill.stamps", [[one.source, one.path, one.stamp] for one in self.slices])

    def identity(self) -> dict[str, Any]:
        """What may change the result, apart from the input's content; no path, no worker, no region."""
        config = self.config
        return {
            "format": FORMAT_VERSION,
            "seed": config.seed,
            "sidecar_documents": config.sidecar_documents,
            "sources": {spec.name: self._source_identity(spec.name) for spec in config.sources},
            "nodes": [
                [node.name, node.use, [str(edge) for edge in node.inputs], self.fingerprints[node.name].full]
                for node in self.graph.nodes
            ],
            "outputs": {
                output.name: {
                    "from": [str(edge) for edge in output.inputs],
                    # An output that is not shuffled keeps the identity that it had before outputs could be.
                    **output.config.model_dump(mode="json", exclude={"path", "source", "kinds"} | _unused(output)),
                    **self._kinds_identity(output),
                }
                for output in self.graph.outputs
            },
            "discard": sorted(str(edge) for edge in self.graph.discarded),
            **({} if self.revoked is None else {"revoked": self.revoked.identity}),
        }

    def kinds(self, output: Output) -> dict[str, KindSettings]:
        """What decides the bytes of an output's kinds."""
        return {
            name: KindSettings(
                format=kind.format,
                partition_by=list(kind.partition_by),
                most_partitions=kind.most_partitions if kind.partition_by else 0,
                tokenizer=None if kind.tokenizer is None else self.tokenizers[kind.tokenizer],
                end_of_document=kind.end_of_document,
                pack=kind.pack or 0,
                shuffle=self._shuffle_seed(output) if kind.shuffle else None,
            )
            for name, kind in output.config.kinds.items()
        }

    def _shuffle_seed(self, output: Output) -> int:
        shuffle = output.config.shuffle
        return self.config.seed if shuffle is None or shuffle.seed is None else shuffle.seed

    def _kinds_identity(self, output: Output) -> dict[str, Any]:
        kinds = self.kinds(output)
        return {"kinds": {name: to_json(settings) for name, settings in kinds.items()}} if kinds else {}

    def _source_identity(self, name: str) -> dict[str, Any]:
        source = self.graph.sources[name]
        config = source.config
        # The licence decides nothing, but it is written into every shard's log.
        fields = config.model_dump(mode="json", exclude={"paths", "path_lists", "exclude", "root"}, exclude_none=True)
        facts = dict(self.facts.get(name, {}))
        return {"version": type(source).version, "config": fields, **({"facts": facts} if facts else {})}

    def columns_needed(self, source: str) -> frozenset[str] | None:
        """Input columns (after mapping) that any node or output needs; None for all of them, where an output takes all
        and none is a payload."""
        payloads, names = self.graph.payloads(source), {TEXT, ID}
        if any(output.config.listed_columns is None for output in self.graph.outputs):
            if not payloads:
                return None
            names |= set(self.graph.source_schema[source].names) - payloads
        for node in self.graph.nodes:
            stage = node.stage
            names |= (
                stage.spec.measure_reads | stage.spec.survey_reads | stage.spec.decide_reads | stage.spec.optional_reads
            )
        for output in self.graph.outputs:
            names |= set(output.config.listed_columns or ())
        if self.revoked is not None:
            names |= self.revoked.columns(payloads)
        return frozenset(names & set(self.graph.source_schema[source].names))

    def memory_bytes(self) -> int:
        """Upper bound of one worker's memory in any pass; see `pass_memory_bytes`."""
        return max(self.pass_memory_bytes(one) for one in self.passes)

    def pass_memory_bytes(self, one: Pass) -> int:
        """Upper bound of one worker's memory, above what a bare worker needs: for a slice's uncompressed bytes, for the largest
        document that may be in it, for each of its documents (see the constants), and for what stages keep. A shared
        worker keeps what nodes of other passes loaded."""
        largest = max((self._slice_memory(one) for one in self.slices), default=0)
        exchange = self.config.exchange_bytes if any(p.settles_after for p in self.passes) else 0
        needs = self.resources(one)
        shared = (node.resources.memory_bytes for node in self.graph.nodes if not node.resources.own_workers)
        models = needs.memory_bytes if needs.own_workers else sum(shared)
        # A bucket of a shuffled output is gathered, joined and encoded: three times a shard.
        buckets = [3 * out.config.shard_bytes for out in self.graph.outputs if out.config.shuffle is not None]
        held = 0 if self.revoked is None else self.revoked.memory_bytes
        return PROCESS_BYTES + models + held + max(largest, exchange, *buckets, 0)

    def _slice_memory(self, one: Slice) -> int:
        expanded = one.expanded or one.bytes
        document = min(expanded, int(self.graph.sources[one.source].config.max_document_bytes))
        return HELD * expanded + (HELD_OF_ONE - HELD) * document + ROW_BYTES * one.rows

    def disk_bytes(self) -> dict[str, int]:
        """Estimated bytes: of the work folder at its fullest and of the outputs."""
        stored = self.stored_bytes
        surveys = sum(len(one.surveys) for one in self.passes)
        shuffled = sum(2.5 for output in self.graph.outputs if output.config.shuffle is not None)
        work = stored * (0.15 * (len(self.passes) - 1) + 0.4 * surveys + shuffled)
        # Kept notes are compressed; in the exchange they lie as rows, and once more as partitions.
        work += sum(4 * notes.stored for found in self.prior.values() for notes in found)
        return {"work": int(work), "outputs": int(stored * 1.3)}


def _unused(output: Output) -> set[str]:
    return {"shuffle"} if output.config.shuffle is None else set()


def _slice_identity(one: Slice) -> list[Any]:
    return [one.source, one.path, sorted(one.part.items()), one.file_bytes]


def passes_of(graph: Graph) -> tuple[Pass, ...]:
    """The passes of a graph: each node is measured in the first pass that has its input and gives tasks what the node needs.

    A pass has one kind of tasks: nodes that need other cores or accelerators, or processes of their own, wait for another
    one. Signals that are facts (see `StageSpec.tolerances`) are measured before the last pass, so that whatever becomes of a
    task that writes shards, they are on record.
    """
    decided: dict[str, int] = {name: 0 for name in graph.sources}
    measured: dict[str, int] = {}
    surveyed: dict[str, tuple[int, str]] = {}
    waiting, index = list(graph.nodes), 0
    while waiting:
        kind: tuple[object, ...] | None = None
        ready = [node for node in waiting if all(decided.get(edge.node, index + 1) <= index for edge in node.inputs)]
        if ready:
            # As far as plain workers come before any others are started.
            plain = next((node for node in ready if not node.resources.own_workers), ready[0])
            kind = _task_kind(plain)
        later = []
        for node in waiting:  # in topological order, so that what is placed here makes others ready
            if any(decided.get(edge.node, index + 1) > index for edge in node.inputs) or _task_kind(node) != kind:
                later.append(node)
                continue
            measured[node.name] = decided[node.name] = index
            if node.settles:
                observed = node.spec.observes
                at = index if observed is None else decided[observed]
                surveyed[node.name] = (at, node.name if observed is None else observed)
                decided[node.name] = max(index, at + 1)
        waiting, index = later, index + 1
    last = max(decided.values())
    if any(node.measures and node.is_fact and measured[node.name] == last for node in graph.nodes):
        last += 1
    return tuple(
        Pass(
            index=index,
            measures=tuple(n.name for n in graph.nodes if n.measures and measured[n.name] == index),
            decides=tuple(n.name for n in graph.nodes if decided[n.name] == index),
            surveys=tuple((n, s[1]) for n, s in surveyed.items() if s[0] == index),
            settles_after=tuple(n for n, s in surveyed.items() if s[0] == index),
            final=index == last,
        )
        for index in range(last + 1)
    )


def _task_kind(node: Node) -> tuple[object, ...]:
    """What nodes of one pass have in common. Memory is added up instead: it costs no pass."""
    needs = node.resources
    return needs.cpus, needs.gpus, None if needs.shares_worker else node.name


def fingerprint(node: Node, seed: int, prior: Sequence[PriorNotes] = ()) -> Fingerprint:
    """The fingerprints of a node's stage: name, version, config fields without paths, models by content, optional
    libraries by version.

    The run's seed enters the full one of a stage that uses it.

    A resource of kind `signal` enters both fingerprints, one of kind `threshold` only the full one. So do the notes of
    prior runs that the node settles with.
    """
    stage = node.stage
    config = stage.config
    models = {name: tree_digest(path) for name, path in sorted(stage.spec.models.items())}
    values = config.model_dump(mode="json")
    signals: dict[str, Any] = {}
    thresholds: dict[str, Any] = {}
    for name in type(config).model_fields:
        kind = type(config).field_kind(name)
        if kind == "runtime":
            continue
        value = models.get(name) if type(config).is_resource(name) else values[name]
        (signals if kind == "signal" else thresholds)[name] = value
    fields = type(config).model_fields
    for name, value in models.items():
        if name not in fields:
            signals[f"model:{name}"] = value
    for name, installed in sorted(stage.spec.libraries.items()):
        signals[f"library:{name}"] = installed
    if stage.spec.seeded:
        thresholds["run:seed"] = seed
    if prior:
        thresholds[PRIOR] = [notes.digest for notes in prior]
    signal = digest("gristmill.signal", [node.use, type(stage).version, signals])
    fields_by_kind = {"signal": signals, "threshold": thresholds}
    return Fingerprint(signal, digest("gristmill.node", [signal, thresholds]), models, fields_by_kind)


def make_plan(config: RunConfig, workers: Workers | None = None) -> Plan:
    """The plan of a config: looks at the sources' files, runs nothing.

    Args:
        workers: asked for workers to look at many files; without, this process looks at all.

    Raises ConfigError for a wrong graph and DataError for input that cannot be read.
    """
    build(config)  # wiring errors come before any file is touched
    files: list[Slice] = []
    slices: list[Slice] = []
    schemas: dict[str, pa.Schema] = {}
    facts: dict[str, Mapping[str, Any]] = {}
    for spec in config.sources:
        source = spec.source(spec.name, spec.config)
        found, schemas_found, facts[spec.name] = described(source, executor=workers)
        if not found:
            raise DataError(
                f"{config.where(f'sources.{spec.name}.paths')}: nothing to read: {', '.join(spec.config.paths)} holds "
                "no records. Check the path."
            )
        files += found
        slices += together(found, spec.config)
        schemas[spec.name] = _union_schema(config, spec.name, schemas_found)
    _refuse_doubles(config, files)
    graph = build(config, schemas)
    for node in graph.nodes:
        try:
            node.stage.check_files()
        except ConfigError as error:
            raise ConfigError(f"{config.where(f'stages.{node.name}')}: {error}") from error
    fingerprints = {node.name: fingerprint(node, config.seed) for node in graph.nodes}
    prior = {
        node.name: prior_notes(graph, node, fingerprints[node.name].signal, slices)
        for node in graph.nodes
        if node.spec.against
    }
    fingerprints |= {name: fingerprint(graph.by_name[name], config.seed, notes) for name, notes in prior.items()}
    revoked = _revoked(config)
    if revoked is not None:
        graph = replace(graph, notices=(*graph.notices, *_revoked_notices(graph, revoked)))
    return Plan(graph, passes_of(graph), tuple(slices), fingerprints, prior, facts, _tokenizers(config), revoked)


def _revoked(config: RunConfig) -> Revoked | None:
    try:
        return read_revoked(config.revoked)
    except ConfigError as error:
        raise ConfigError(f"{config.where('revoked')}: {error}") from error


def _revoked_notices(graph: Graph, revoked: Revoked) -> list[str]:
    """Where a list cannot do what it may be meant to."""
    if not revoked.entries:
        return ["revoked: the lists have no entries, so no document is left out"]
    by_url = " and ".join(kind for kind in ("url", "domain") if kind in revoked.entries)
    return [
        f"revoked: {name} has no column `url`, so entries by {by_url} find nothing there"
        for name, schema in graph.source_schema.items()
        if by_url and "url" not in schema.names
    ]


def _tokenizers(config: RunConfig) -> dict[str, str]:
    """SHA-256 by path of the tokenizers that kinds name. Raises ConfigError for one that cannot be used."""
    found: dict[str, str] = {}
    for output, settings in config.outputs.items():
        for name, kind in settings.kinds.items():
            if kind.tokenizer is None or kind.end_of_document is None:
                continue
            key = "tokenizer"
            try:
                file = parsed_tokenizer(read_tokenizer(kind.tokenizer), kind.tokenizer)
                key = "end_of_document"
                file.end_of_document(kind.end_of_document)
            except ConfigError as error:
                raise ConfigError(f"{config.where(f'outputs.{output}.kinds.{name}.{key}')}: {error}") from error
            found[kind.tokenizer] = file.sha256
    return found


def check_ready(plan: Plan) -> None:
    """What a run needs beside its input is there, and licences have names. Raises ConfigError for what is not so."""
    for source in plan.config.sources:
        stated = source.config.license
        if stated is not None and stated.spdx is not None and expression(stated.spdx) is None:
            raise ConfigError(f"{plan.config.where(f'sources.{source.name}.license.spdx')}: {refusal(stated.spdx)}")
    for node in plan.graph.nodes:
        try:
            node.stage.check_ready()
        except ConfigError as error:
            raise ConfigError(f"{plan.config.where(f'stages.{node.name}')}: {error}") from error


def _refuse_doubles(config: RunConfig, slices: Sequence[Slice]) -> None:
    first: dict[tuple[str, str], str] = {}
    for one in slices:
        place = first.setdefault((one.source, one.path), one.location)
        if place != one.location:
            raise ConfigError(
                f"{config.where(f'sources.{one.source}.paths')}: {place} and {one.location} are both `{one.path}` below "
                "their roots, so their documents would share keys. Make them two sources, or set `root:`."
            )


def _union_schema(config: RunConfig, source: str, schemas: Sequence[tuple[Slice, pa.Schema]]) -> pa.Schema:
    fields: dict[str, tuple[pa.Field, Slice]] = {}
    for one, schema in schemas:
        for item in schema:
            known = fields.setdefault(item.name, (item, one))
            if known[0].type != item.type:
                wider = _wider(known[0].type, item.type)
                if wider is not None:
                    fields[item.name] = (item.with_type(wider), one)
                elif pa.types.is_null(known[0].type):
                    fields[item.name] = (item, one)
                elif not pa.types.is_null(item.type):
                    raise DataError(
                        f"{one.location}: the column `{item.name}` is {item.type}, but {known[0].type} in "
                        f"{known[1].location}. Files of one source must agree: convert one, or make them two sources "
                        f"({config.where(f'sources.{source}')})."
                    )
    return pa.schema([item for item, _ in fields.values() if item.name != DOC_KEY])


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type of numbers that holds both types: whole numbers become int64, or floats beside floats (of which a slice with
    one that a float cannot hold is refused); None for what is no pair of numbers."""
    kinds = (one, other)
    if all(pa.types.is_signed_integer(kind) for kind in kinds):
        return pa.int64()
    if all(pa.types.is_signed_integer(kind) or kind in (pa.float32(), pa.float64()) for kind in kinds):
        return pa.float64()
    return None
