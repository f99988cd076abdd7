"""The checked graph: nodes, edges between ports, outputs; columns followed from sources to outputs.

Everything that a config can get wrong about wiring is refused here, before any work: unknown stages and ports, cycles,
unconnected ports, columns that nothing upstream produces, outputs inside each other.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

from gristmill.pipeline.document import COPY, DOC_KEY, KEY_TYPE, PAYLOADS, RESERVED, TEXT, TEXT_TYPE, is_payload
from gristmill.pipeline.errors import ConfigError, ContractError, nearest
from gristmill.pipeline.planning.config import OutputConfig, RunConfig
from gristmill.pipeline.provenance.accounts import SOURCE_PORT
from gristmill.pipeline.registry import STAGES, Registry
from gristmill.pipeline.resources import Resources
from gristmill.pipeline.source import Source
from gristmill.pipeline.stage import Stage, StageContext, StageSpec


@dataclass(frozen=True)
class Edge:
    """Rows that leave `node` (a stage's node or a source) on `port`."""

    node: str
    port: str

    def __str__(self) -> str:
        return self.node if self.port == SOURCE_PORT else f"{self.node}.{self.port}"


@dataclass(frozen=True)
class Node:
    """A named use of a stage."""

    name: str
    use: str
    stage: Stage
    inputs: tuple[Edge, ...]
    given: Resources | None = None
    """What the config asks for instead of what the stage states."""

    @property
    def resources(self) -> Resources:
        """What a process needs that runs the node: as the config says, else as the stage states."""
        return self.spec.resources if self.given is None else self.given

    @property
    def spec(self) -> StageSpec:
        """What the stage declares."""
        return self.stage.spec

    @property
    def is_fact(self) -> bool:
        """Whether its signals are recorded facts: measured again, on another machine, they are only nearly the same."""
        return bool(self.spec.tolerances) or self.resources.gpus > 0

    @property
    def settles(self) -> bool:
        return self.stage.implements("settle") and self.spec.surveys

    @property
    def measures(self) -> bool:
        return self.stage.implements("measure")


@dataclass(frozen=True)
class Output:
    """A named output folder."""

    name: str
    inputs: tuple[Edge, ...]
    config: OutputConfig


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order, with the sources' columns known."""

    config: RunConfig
    sources: Mapping[str, Source]
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]
    discarded: tuple[Edge, ...]
    source_schema: Mapping[str, pa.Schema]
    notices: tuple[str, ...] = field(default_factory=tuple)

    @cached_property
    def by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def position(self) -> dict[str, int]:
        """Sources and nodes in topological order, numbered."""
        return {name: index for index, name in enumerate([*self.sources, *(node.name for node in self.nodes)])}

    @cached_property
    def ancestors(self) -> dict[str, frozenset[str]]:
        """Names of all nodes and sources upstream of each node."""
        result: dict[str, frozenset[str]] = {name: frozenset() for name in self.sources}
        for node in self.nodes:
            names = frozenset(edge.node for edge in node.inputs)
            result[node.name] = names.union(*(result[name] for name in names))
        return result

    @cached_property
    def text_makers(self) -> tuple[str, ...]:
        """Names of the nodes that make text from payloads, in graph order."""
        return tuple(node.name for node in self.nodes if node.spec.makes_text)

    def payloads(self, source: str) -> frozenset[str]:
        """Columns in which a source brings documents as they were found: those that a stage reads as such and, where
        it brings no text, `html` and `bytes`. Outputs hold them only where they list them."""
        schema = self.source_schema.get(source, pa.schema([]))
        named = frozenset().union(*(node.spec.payload for node in self.nodes)) - {TEXT}
        return frozenset(schema.names) & (named if TEXT in schema.names else named | set(PAYLOADS))

    @cached_property
    def all_payloads(self) -> frozenset[str]:
        """`payloads` of all sources."""
        return frozenset().union(*(self.payloads(name) for name in self.sources))

    @cached_property
    def has_text(self) -> dict[str, str]:
        """Of the rows that leave each source and node: whether `all`, `some` or `none` have a text."""
        found = {name: "all" if TEXT in schema.names else "none" for name, schema in self.source_schema.items()}
        for node in self.nodes:
            above = {found[edge.node] for edge in node.inputs}
            found[node.name] = "all" if node.spec.makes_text else above.pop() if len(above) == 1 else "some"
        return found

    def own_columns(self, name: str, hidden: bool = False) -> pa.Schema:
        """Columns that a node adds for those after it."""
        stage = self.by_name[name].stage
        out = [item for item in stage.spec.signals if hidden or item.name not in stage.spec.hidden]
        return pa.schema([*out, *stage.spec.findings])

    @cached_property
    def _leaving(self) -> dict[str, dict[str, pa.DataType]]:
        """`columns_after` of every source and node. Made once, in topological order: branches that rejoin would else be
        followed once per way through them."""
        made: dict[str, dict[str, pa.DataType]] = {
            name: {item.name: item.type for item in schema if item.name != DOC_KEY}
            for name, schema in self.source_schema.items()
        }
        for node in self.nodes:
            own = {item.name: item.type for item in self.own_columns(node.name)}
            have = _union([made[edge.node] for edge in node.inputs])
            made[node.name] = {**have, **own} if own else have
        return made

    def columns_after(self, name: str) -> Mapping[str, pa.DataType]:
        """Columns of rows that leave a node or a source, without doc_key."""
        return self._leaving[name]

    def columns_into(self, inputs: Sequence[Edge]) -> Mapping[str, pa.DataType]:
        """Columns of the union of edges; a column missing on some edges is null there."""
        return _union([self._leaving[edge.node] for edge in inputs])

    def context(self, node: Node, *, decides: bool, source: str | None = None, work: str | None = None) -> StageContext:
        """What a function of a node's stage is told: the seed only where it may use it, for `settle` and `decide`."""
        seed = self.config.seed if decides and node.spec.seeded else None
        stated = None if source is None else self.sources[source].config.license
        license = None if stated is None else stated.model_dump()
        return StageContext(given_seed=seed, work=work, source=source, license=license)

    def ports_of(self, name: str) -> tuple[str, ...]:
        return (SOURCE_PORT,) if name in self.sources else self.by_name[name].spec.ports


def _upstream(name: str, wired: Mapping[str, Sequence[Edge]]) -> set[str]:
    """Names of all nodes and sources upstream of a node; it is among them only on a cycle."""
    found: set[str] = set()
    waiting = [edge.node for edge in wired[name]]
    while waiting:
        place = waiting.pop()
        if place not in found:
            found.add(place)
            waiting += [edge.node for edge in wired.get(place, ())]
    return found


def _union(columns: Sequence[dict[str, pa.DataType]]) -> dict[str, pa.DataType]:
    """All columns, each of the type that the first has that has it. One of one is itself, not a copy."""
    if len(columns) == 1:
        return columns[0]
    found: dict[str, pa.DataType] = {}
    for each in columns:
        for name, kind in each.items():
            found.setdefault(name, kind)
    return found


def build(config: RunConfig, schemas: Mapping[str, pa.Schema] | None = None) -> Graph:
    """The graph of a config.

    Args:
        config: a loaded config.
        schemas: columns of each source after mapping; None when the sources have not been looked at, which skips the
            checks of columns.

    Raises ConfigError naming key path, what was found, what is allowed and the nearest valid name.
    """
    return _Builder(config).build(schemas)


class _Builder:
    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.sources = {spec.name: spec.source(spec.name, spec.config) for spec in config.sources}
        self.stages = {spec.name: self._make(spec.name) for spec in config.nodes}
        self.notices: list[str] = []

    def _make(self, name: str) -> Stage:
        spec = next(spec for spec in self.config.nodes if spec.name == name)
        try:
            stage = spec.stage(spec.config)
            _ = stage.spec  # What it declares is checked before anything relies on it.
            return stage
        except ConfigError as error:
            raise self._fail(f"stages.{name}", str(error)) from error

    def _fail(self, path: str, problem: str) -> ConfigError:
        return ConfigError(f"{self.config.where(path)}: {problem}")

    def build(self, schemas: Mapping[str, pa.Schema] | None) -> Graph:
        wired = self._wire()
        nodes = self._sort(wired)
        outputs = self._outputs(nodes)
        discarded = tuple(self._edge(item, "discard") for item in self.config.discard)
        self._check_ports(nodes, outputs, discarded)
        self._check_observed(nodes)
        self._check_copies(nodes)
        self._check_expect()
        self._check_sources_named(nodes)
        if schemas is not None:
            schemas = {name: self._shadow(name, schema) for name, schema in schemas.items()}
        graph = Graph(self.config, self.sources, nodes, outputs, discarded, schemas or {}, tuple(self.notices))
        if schemas is not None:
            self._check_columns(graph)
        for node in nodes:
            self.notices += [f"{node.name}: {line}" for line in node.spec.notices]
        return Graph(self.config, self.sources, nodes, outputs, discarded, schemas or {}, tuple(self.notices))

    def _edge(self, text: str, path: str) -> Edge:
        name, dot, port = text.partition(".")
        if name in self.sources:
            if dot and port != SOURCE_PORT:
                raise self._fail(path, f"the source `{name}` has no port `{port}`; {nearest(port, [SOURCE_PORT])}")
            return Edge(name, SOURCE_PORT)
        if name not in self.stages:
            raise self._fail(path, f"there is no node `{name}`; {nearest(name, [*self.stages, *self.sources])}")
        ports = self.stages[name].spec.ports
        if not dot:
            return Edge(name, ports[0])
        if port == "dropped":
            raise self._fail(path, f"`{text}`: dropped documents are in the output's ledger and `dropped/`, no port.")
        if port not in ports:
            raise self._fail(path, f"the node `{name}` has no port `{port}`; {nearest(port, ports)}")
        return Edge(name, port)

    def _wire(self) -> dict[str, tuple[Edge, ...]]:
        wired: dict[str, tuple[Edge, ...]] = {}
        previous: str | None = None
        for spec in self.config.nodes:
            path = f"stages.{spec.name}.from"
            if spec.inputs is not None:
                if not spec.inputs:
                    raise self._fail(path, "an empty list; name at least one node or source.")
                edges = tuple(self._edge(item, path) for item in spec.inputs)
            elif previous is None:
                edges = tuple(Edge(name, SOURCE_PORT) for name in self.sources)
            else:
                edges = (self._edge(previous, path),)
            if len(set(edges)) != len(edges):
                raise self._fail(
                    path,
                    "duplicate input: the same port is listed twice, so its documents would arrive twice. Keep one.",
                )
            wired[spec.name] = edges
            previous = spec.name
        return wired

    def _sort(self, wired: dict[str, tuple[Edge, ...]]) -> tuple[Node, ...]:
        done: set[str] = set(self.sources)
        specs = {spec.name: spec for spec in self.config.nodes}
        waiting = list(specs)
        order: list[Node] = []
        while waiting:
            # One at a time, in the order of the file: the order is then as close to what was written as can be.
            name = next((name for name in waiting if all(edge.node in done for edge in wired[name])), None)
            if name is None:
                raise self._fail(
                    f"stages.{waiting[0]}.from",
                    f"a cycle: {self._cycle(waiting[0], wired)}. Remove one of these connections.",
                )
            asked = self.config.resources.get(name)
            given = None if asked is None else asked.applied(self.stages[name].spec.resources)
            order.append(Node(name, specs[name].use, self.stages[name], wired[name], given))
            done.add(name)
            waiting.remove(name)
        return tuple(order)

    def _cycle(self, start: str, wired: dict[str, tuple[Edge, ...]]) -> str:
        path = [start]
        while True:
            step = next(e.node for e in wired[path[-1]] if e.node in wired and e.node in _upstream(e.node, wired))
            if step in path:
                return " → ".join(reversed([*path[path.index(step) :], step]))
            path.append(step)

    def _outputs(self, nodes: tuple[Node, ...]) -> tuple[Output, ...]:
        outputs = []
        last = self.config.nodes[-1].name if self.config.nodes else None
        for name, config in self.config.outputs.items():
            path = f"outputs.{name}.from"
            inputs: tuple[Edge, ...]
            if config.source is not None:
                inputs = (self._edge(config.source, path),)
            elif last is not None:
                inputs = (self._edge(last, path),)
            else:
                inputs = tuple(Edge(source, SOURCE_PORT) for source in self.sources)
            outputs.append(Output(name, inputs, config))
        for one in outputs:
            for other in outputs:
                if one is other:
                    continue
                a, b = (posixpath.normpath(o.config.path) + "/" for o in (one, other))
                if b.startswith(a) and (a != b or one.name < other.name):
                    raise self._fail(
                        f"outputs.{other.name}.path",
                        f"`{other.config.path}` lies inside the output `{one.name}` (`{one.config.path}`). "
                        "Give each output a folder of its own.",
                    )
        return tuple(outputs)

    def _check_ports(self, nodes: tuple[Node, ...], outputs: tuple[Output, ...], discarded: tuple[Edge, ...]) -> None:
        used = {edge for node in nodes for edge in node.inputs} | {edge for out in outputs for edge in out.inputs}
        for edge in discarded:
            if edge in used:
                raise self._fail(
                    "discard", f"`{edge}` is read elsewhere, so it is not discarded. Take it out of the list."
                )
        every = [Edge(name, SOURCE_PORT) for name in self.sources]
        every += [Edge(node.name, port) for node in nodes for port in node.spec.ports]
        for edge in every:
            if edge not in used and edge not in discarded:
                where = f"sources.{edge.node}" if edge.node in self.sources else f"stages.{edge.node}"
                raise self._fail(
                    where,
                    f"the port `{edge}` is not connected: its documents would be lost. Give it to a node or an output "
                    f"(`from: {edge}`), or list it under `discard`.",
                )

    def _check_observed(self, nodes: tuple[Node, ...]) -> None:
        wired = {node.name: node.inputs for node in nodes}
        for node in nodes:
            observed = node.spec.observes
            if observed is None:
                continue
            upstream = _upstream(node.name, wired)
            if observed not in self.stages or observed not in upstream:
                names = [name for name in self.stages if name in upstream]
                raise self._fail(
                    f"stages.{node.name}",
                    f"observes `{observed}`, which is not a node upstream of it; {nearest(observed, names)}",
                )

    def _check_copies(self, nodes: tuple[Node, ...]) -> None:
        multiplies: set[str] = set()
        for node in nodes:
            if any(edge.node in multiplies for edge in node.inputs):
                multiplies.add(node.name)
                if node.settles:
                    raise self._fail(
                        f"stages.{node.name}",
                        "it surveys the corpus but stands after a node that emits copies, which it could not tell "
                        "apart from documents. Put it before that node.",
                    )
            if node.spec.emits_copies:
                multiplies.add(node.name)

    def _check_expect(self) -> None:
        for name, shares in self.config.expect.items():
            known = [*self.sources, *self.stages]
            if name not in known:
                raise self._fail(f"expect.{name}", f"there is no node `{name}`; {nearest(name, known)}")
            ports = self.stages[name].spec.ports if name in self.stages else (SOURCE_PORT,)
            allowed = ["emitted", "dropped", "quarantined", *ports]
            for what in shares:
                if what not in allowed:
                    raise self._fail(f"expect.{name}.{what}", f"unknown share; {nearest(what, allowed)}")

    def _check_sources_named(self, nodes: tuple[Node, ...]) -> None:
        upstream: dict[str, set[str]] = {name: {name} for name in self.sources}
        for node in nodes:
            upstream[node.name] = set().union(*(upstream[edge.node] for edge in node.inputs))
            for field_name, names in node.spec.names_sources.items():
                for name in names:
                    if name not in upstream[node.name]:
                        raise self._fail(
                            f"stages.{node.name}.{field_name}.{name}",
                            f"no source `{name}` leads to this node; {nearest(name, upstream[node.name])}",
                        )

    def _shadow(self, source: str, schema: pa.Schema) -> pa.Schema:
        """Renames input columns that stages make, so that nothing of the user's is lost."""
        made = {
            name for stage in self.stages.values() for name in (*stage.spec.signals.names, *stage.spec.findings.names)
        }
        mapped = self.sources[source].config.columns
        fields = []
        for item in schema:
            if item.name in made - {TEXT}:
                if f"input_{item.name}" in schema.names:
                    raise self._fail(
                        f"sources.{source}",
                        f"the input's column `{item.name}` would be passed on as `input_{item.name}`, since a stage makes a "
                        f"column of that name, but the input has that column too. Map one of them to another name under "
                        f"`columns:`.",
                    )
                self.notices.append(
                    f"{source}: the input's column `{item.name}` is passed on as `input_{item.name}`, since a stage "
                    "makes a column of that name"
                )
                item = item.with_name(f"input_{item.name}")
            elif (name := item.name.removeprefix("input_")) != item.name and (name in mapped or name in RESERVED):
                why = f"`{mapped[name]}` is mapped to that name" if name in mapped else "that name is reserved"
                self.notices.append(f"{source}: the input's column `{name}` is passed on as `{item.name}`, since {why}")
            fields.append(item)
        return pa.schema(fields)

    def _check_columns(self, graph: Graph) -> None:
        for name, schema in graph.source_schema.items():
            if TEXT in schema.names and schema.field(TEXT).type != TEXT_TYPE:
                raise self._fail(
                    f"sources.{name}", f"it brings the column `text` as {schema.field(TEXT).type}, not as {TEXT_TYPE}."
                )
        for node in graph.nodes:
            have = graph.columns_into(node.inputs)
            stage = node.stage
            self._check_text(graph, node)
            self._check_payload(graph, node, have)
            self._check_reads(node.name, "measure", stage.spec.measure_reads, have)
            own = {item.name: item.type for item in graph.own_columns(node.name, hidden=True)}
            signals = {name: own[name] for name in stage.spec.signals.names}
            self._check_reads(node.name, "decide", stage.spec.decide_reads, {**have, **signals})
            observed = stage.spec.observes
            seen = {**have, **signals}
            if observed is not None:
                seen = {**graph.columns_into(graph.by_name[observed].inputs)}
                seen.update({item.name: item.type for item in graph.own_columns(observed, hidden=True)})
                seen["dropped"] = pa.bool_()
            self._check_reads(
                node.name, f"survey of `{observed}`" if observed else "survey", stage.spec.survey_reads, seen
            )
            surveyed = pa.schema([(name, seen[name]) for name in sorted(stage.spec.survey_reads - {DOC_KEY})])
            try:
                stage.check_survey_types(surveyed.empty_table())
            except ContractError as error:
                raise self._fail(f"stages.{node.name}", str(error)) from error
        for output in graph.outputs:
            self._check_output_text(graph, output)
            have = graph.columns_into(output.inputs)
            have = {**have, DOC_KEY: KEY_TYPE, COPY: pa.int32()}
            for name in output.config.listed_columns or ():
                if name not in have:
                    raise self._fail(
                        f"outputs.{output.name}.columns",
                        f"no source or stage produces a column `{name}`; {nearest(name, have)}",
                    )

    def _check_text(self, graph: Graph, node: Node) -> None:
        """A stage that reads text gets it on every way; one that makes it gets documents that have none."""
        spec, path = node.spec, f"stages.{node.name}"
        if spec.makes_text:
            for edge in node.inputs:
                if graph.has_text[edge.node] != "none":
                    raise self._fail(
                        path,
                        f"the stage `{node.use}` makes the text, but documents from `{edge}` have one already: "
                        f"{self._text_maker(graph, edge.node)} Connect it to what has no text yet, under `from:`.",
                    )
            return
        reads = spec.measure_reads | spec.decide_reads | (frozenset() if spec.observes else spec.survey_reads)
        places = [edge.node for edge in node.inputs] if TEXT in reads or spec.changes_text else []
        if spec.observes and TEXT in spec.survey_reads:
            places += [edge.node for edge in graph.by_name[spec.observes].inputs]
        for place in places:
            if graph.has_text[place] != "all":
                raise self._fail(path, f"its stage reads the column `text`, but {self._textless(graph, place)}")

    def _check_payload(self, graph: Graph, node: Node, have: Mapping[str, pa.DataType]) -> None:
        for name in sorted(node.spec.payload & set(have)):
            if not is_payload(have[name]):
                raise self._fail(
                    f"stages.{node.name}",
                    f"its measure reads documents from the column `{name}`, which is {have[name]}; expected text or bytes. "
                    "Map another column to that name under `sources.….columns`.",
                )
            for edge in node.inputs:
                if node.spec.makes_text and name not in graph.columns_after(edge.node):
                    raise self._fail(
                        f"stages.{node.name}",
                        f"it makes the text from the column `{name}`, which documents from `{edge}` do not have. Map one to "
                        "that name under `sources.….columns`, or give them a way of their own, under `from:`.",
                    )

    def _check_output_text(self, graph: Graph, output: Output) -> None:
        path = f"outputs.{output.name}"
        found = {graph.has_text[edge.node]: edge for edge in output.inputs}
        if set(found) == {"none"} and output.config.listed_columns is None:
            raise self._fail(
                path,
                f"{self._textless(graph, output.inputs[0].node)} For documents without text, list what the output is to "
                "hold under `columns:`.",
            )
        if len(found) > 1 or "some" in found:
            edge = found.get("none") or found["some"]
            raise self._fail(path, f"only some of its documents have a text: {self._textless(graph, edge.node)}")

    def _textless(self, graph: Graph, place: str) -> str:
        """What is missing where documents come without text, and what to do."""
        names = [name for name in graph.sources if name == place or name in graph.ancestors.get(place, ())]
        missing = [name for name in names if graph.has_text[name] == "none"]
        payloads = sorted(graph.payloads(missing[0])) if missing else []
        return (
            f"documents of the source `{missing[0]}` come from `{place}` without one. "
            + (
                f"Put a stage before it that makes text from `{payloads[0]}`, such as `extract`."
                if payloads
                else "Map its text under `sources.….columns`."
            )
            if missing
            else "there is none."
        )

    def _text_maker(self, graph: Graph, place: str) -> str:
        """Who made the text that documents have when they leave a place."""
        for name in (place, *graph.ancestors[place]):
            if name in graph.text_makers:
                return f"the node `{name}` makes it."
            if name in graph.sources and graph.has_text[name] == "all":
                return f"the source `{name}` brings it."
        return ""

    def _check_reads(self, name: str, what: str, reads: AbstractSet[str], have: Mapping[str, object]) -> None:
        for column in sorted(reads - {DOC_KEY}):
            if column not in have:
                makers = [
                    spec.name
                    for spec in self.config.nodes
                    if column
                    in (*self.stages[spec.name].spec.signals.names, *self.stages[spec.name].spec.findings.names)
                ]
                hint = f" The node `{makers[0]}` produces it: put it before this one." if makers else ""
                missing = [] if makers else self._stages_that_make(column)
                if missing:
                    hint = f" The stage `{missing[0]}` produces it: add one before this node."
                raise self._fail(
                    f"stages.{name}",
                    f"its {what} reads the column `{column}`, which no upstream node produces; {nearest(column, have)}{hint}",
                )

    def _stages_that_make(self, column: str) -> list[str]:
        """Names of stages, not used in this graph, that add a column with their default settings."""
        registry = Registry(self.config.plugins)
        found = []
        for name in registry.names(STAGES):
            try:
                cls = registry.stage(name, name)
                stage = cls(cls.Config())
            except (ImportError, ValueError):
                continue  # this is only a hint: a stage that needs settings, or is not installed whole, cannot be asked
            if column in (*stage.spec.signals.names, *stage.spec.findings.names):
                found.append(name)
        return found
