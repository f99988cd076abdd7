"""A run's config: YAML into frozen, typed values; everything that can be refused before the graph is refused here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gristmill.pipeline.errors import ConfigError, nearest
from gristmill.pipeline.planning.output_kinds import KindConfig
from gristmill.pipeline.planning.revoked import RevokedConfig
from gristmill.pipeline.planning.top_level import EXCHANGE_BYTES, SIDECAR_DOCUMENTS, StageEntry, TopLevel
from gristmill.pipeline.planning.yaml_reader import MAX_DEPTH, Document, parse
from gristmill.pipeline.registry import Registry, format_of
from gristmill.pipeline.resources import Resources, wrong_amount
from gristmill.pipeline.source import Source, SourceConfig
from gristmill.pipeline.stage import Stage, StageConfig
from gristmill.pipeline.storage import is_bucket, is_remote

NAME = re.compile(r"[a-z][a-z0-9_]*")
MAX_ENTRIES = {"sources": 2000, "stages": 250, "outputs": 250}
"""Entries of a section. Chains of more stages come from programs, and look-ups along them would take minutes."""
MAX_NAME = 100
"""Characters of the name of a source, node or output: it becomes part of file names."""
MAX_KINDS = 20
"""Kinds of an output."""


LISTS_OF_ONE = ("paths", "path_lists")
"""Settings of sources that may be one text in place of a list of one."""


class ShuffleConfig(BaseModel):
    """The order of an output's rows: by a seeded hash of (doc_key, copy) over the whole corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seed: int | None = Field(None, ge=0, lt=1 << 63, examples=[3])
    """Default: the run's seed."""


class OutputConfig(BaseModel):
    """One output folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    source: str | None = Field(None, alias="from", examples=["toxicity.mild"])
    """The port that is written; default: the last stage's default port."""
    path: str = Field(min_length=1, examples=["out/corpus"])
    """The folder: new or empty, or where a stopped run left off."""
    columns: Literal["all"] | tuple[str, ...] | None = Field(
        None, examples=[["url", "language", "quality_newline_ratio"]]
    )
    """Columns to write besides doc_key, copy, id and text. Default: the input's, what stages find, and of their signals those
    that a reader of the texts needs, such as `language`. `all`: every signal too, which `signals/` has in any case."""
    shard_bytes: int = Field(256 << 20, ge=1, examples=[1 << 30])
    """Largest shard, in encoder-independent bytes (value bytes, not stored bytes)."""
    shuffle: ShuffleConfig | None = Field(None, examples=[True])
    """Shuffle the rows over the whole corpus, copies of a document apart: true, or a map; default: the order of the input."""
    signals: Literal["all", "none"] = Field("all", examples=["none"])
    """Whether `signals/` holds every signal of every document that reached a node."""
    dropped: Literal["none", "sample", "all"] = Field("sample", examples=["all"])
    """Texts of dropped documents to keep in `dropped/`."""
    dropped_sample: int = Field(1000, ge=1, examples=[100])
    """With `dropped: sample`: documents per rule and language."""
    kinds: dict[str, KindConfig] = Field(default_factory=dict, examples=[{"lines": {"format": "jsonl"}}])
    """Further forms of the shards, by names of your own, such as JSON lines. `data/` is Parquet always."""

    @property
    def listed_columns(self) -> tuple[str, ...] | None:
        """The columns that the config lists; None where it leaves them to the engine."""
        return self.columns if isinstance(self.columns, tuple) else None

    @field_validator("kinds")
    @classmethod
    def _named(cls, value: dict[str, KindConfig]) -> dict[str, KindConfig]:
        if len(value) > MAX_KINDS:
            raise ValueError(f"at most {MAX_KINDS} kinds are allowed")
        for name in value:
            if not NAME.fullmatch(name) or len(name) > MAX_NAME:
                raise ValueError(
                    f"{name!r:.120} names no kind: a name is lower-case letters, digits and underscores, at most {MAX_NAME}"
                )
        return value

    @field_validator("shuffle", mode="before")
    @classmethod
    def _shuffle_or_not(cls, value: Any) -> Any:
        return {True: {}, False: None}[value] if isinstance(value, bool) else value


class ResourcesConfig(BaseModel):
    """What a node needs, where it differs from what its stage states."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    cpus: float | None = Field(None, examples=[2])
    """Cores that a task of the node's pass gets."""
    gpus: float | None = Field(None, examples=[0.5])
    """Accelerators that a task of the node's pass gets; a fraction where several tasks share one."""
    memory_bytes: int | None = Field(None, ge=0, examples=[4 << 30])
    """Resident memory of what the node holds, such as its model."""
    shares_worker: bool | None = Field(None, examples=[False])
    """Whether its processes may run other nodes too."""

    @field_validator("cpus", "gpus")
    @classmethod
    def _amount(cls, value: float | None) -> float | None:
        problem = None if value is None else wrong_amount(value)
        if problem:
            raise ValueError(f"expected {problem}, found {value:g}")
        return value

    def applied(self, stated: Resources) -> Resources:
        """What a stage states, with what is said here in its place."""
        return replace(stated, **self.model_dump(exclude_none=True))


@dataclass(frozen=True)
class NodeSpec:
    """One entry of `stages:`."""

    name: str
    use: str
    stage: type[Stage]
    config: StageConfig
    inputs: tuple[str, ...] | None
    """`from:` as written: nodes, `node.port`s or sources; None: the entry before it, or all sources."""


@dataclass(frozen=True)
class SourceSpec:
    """One entry of `sources:`."""

    name: str
    source: type[Source]
    config: SourceConfig


@dataclass(frozen=True)
class RunConfig:
    """A whole config, checked field by field; the graph has not been looked at yet."""

    name: str
    seed: int
    sources: tuple[SourceSpec, ...]
    nodes: tuple[NodeSpec, ...]
    outputs: Mapping[str, OutputConfig]
    discard: tuple[str, ...]
    expect: Mapping[str, Mapping[str, tuple[float, float]]]
    work: str | None
    max_quarantined: float
    document: Document
    plugins: tuple[str, ...] = ()
    exchange_bytes: int = EXCHANGE_BYTES
    """Memory of one exchange operator's process for rows and buffers. Part of no identity: it cannot change a result."""
    resources: Mapping[str, ResourcesConfig] = field(default_factory=dict)
    """By node. Part of no identity either."""
    sidecar_documents: int = SIDECAR_DOCUMENTS
    """Documents that a file of the ledger or of signals is about, at most, unless one task has more. Part of the identity."""
    revoked: tuple[RevokedConfig, ...] = ()
    """Lists of documents that the sources leave out. What is in them is part of the identity."""

    def where(self, path: str) -> str:
        """File, line and key path, for messages."""
        return self.document.where(path)


def load(
    text: str, name: str, *, overrides: Sequence[str] = (), output: str | None = None, plugins: Sequence[str] = ()
) -> RunConfig:
    """A config from YAML text.

    Args:
        text: the YAML document.
        name: what to call it in messages: its path.
        overrides: `key.path=VALUE` strings as `--set` gives them; VALUE is YAML.
        output: replaces the outputs' place: the folder of a single output, or the parent of several.
        plugins: modules with further stages and sources.

    Raises ConfigError naming file, line, key path, what was found and what is allowed.
    """
    document = parse(text, name)
    if not isinstance(document.value, dict):
        raise ConfigError(f"{name}: a config is a map with sources, stages and outputs; found {_kind(document.value)}.")
    for item in overrides:
        _override(document, item)
    return _Reader(document, Registry(plugins)).read(output, tuple(plugins))


class Classes(Protocol):
    """Stage and source classes by the names that a config has for them; `Registry` is one."""

    def stage(self, name: str, where: str) -> type[Stage]: ...

    def source(self, name: str, where: str) -> type[Source]: ...


def read_document(document: Document, classes: Classes, plugins: tuple[str, ...]) -> RunConfig:
    """A config from a parsed document, with classes that somebody has looked up already. Raises as `load` does."""
    return _Reader(document, classes).read(None, plugins)


def _override(document: Document, item: str) -> None:
    path, equals, value = item.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set {item}: expected KEY.PATH=VALUE, such as --set stages.minhash.bands=20.")
    parts = path.split(".")
    if len(parts) > MAX_DEPTH:
        raise ConfigError(f"--set {path:.60}…: {len(parts)} keys within each other; at most {MAX_DEPTH} are allowed.")
    place = document.value
    for depth, part in enumerate(parts[:-1]):
        if place.get(part) is None:
            place[part] = {}
        place = place[part]
        if not isinstance(place, dict):
            raise ConfigError(f"--set {item}: `{'.'.join(parts[: depth + 1])}` holds {_kind(place)}, not a map.")
    place[parts[-1]] = parse(value, f"--set {path}").value


_NO_CONDITIONS = (
    "is neither a path nor in a bucket (s3://, gs://, az://), where files can be written on a condition. Name a folder that "
    "all nodes mount, or a bucket."
)


def _keeps_conditions(place: str) -> bool:
    return not is_remote(place) or is_bucket(place) or place.startswith("memory://")


def _kind(value: Any) -> str:
    names = {dict: "a map", list: "a list", str: "text", int: "an integer", float: "a number", bool: "true/false"}
    return "nothing" if value is None else f"{names.get(type(value), type(value).__name__)} ({value!r:.60})"


class _Reader:
    """Reads one document; keeps the registry and the key path for messages."""

    def __init__(self, document: Document, registry: Classes) -> None:
        self.document = document
        self.registry = registry

    def fail(self, path: str, problem: str) -> ConfigError:
        return ConfigError(f"{self.document.where(path)}: {problem}")

    def read(self, output: str | None, plugins: tuple[str, ...]) -> RunConfig:
        top: dict[str, Any] = self.document.value
        settings = self.settings(top)
        name = settings.name or Path(self.document.name).stem
        if not name:
            raise self.fail("name", "expected text, found nothing.")
        work = settings.work
        if work is not None and not _keeps_conditions(work):
            raise self.fail("work", f"`{work:.60}` {_NO_CONDITIONS}")
        sources = tuple(self.source(k, v, settings.seed) for k, v in self.section("sources").items())
        nodes = tuple(self.node(k, v) for k, v in self.section("stages", may_be_empty=True).items())
        taken = {spec.name for spec in sources}
        for node in nodes:
            if node.name in taken:
                raise self.fail(f"stages.{node.name}", "a source has the same name. Rename one of them.")
        outputs = {k: self.output(k, v) for k, v in self.section("outputs").items()}
        if output is not None:
            outputs = _moved(outputs, output)
        first = next(iter(outputs))
        if work is None and not _keeps_conditions(outputs[first].path):  # the work folder lies beside it
            raise self.fail(f"outputs.{first}.path", f"`{outputs[first].path:.60}` {_NO_CONDITIONS}")
        return RunConfig(
            name=name,
            seed=settings.seed,
            sources=sources,
            nodes=nodes,
            outputs=outputs,
            discard=self.names("discard", top.get("discard")),
            expect=self.expect(top.get("expect")),
            work=work,
            max_quarantined=settings.max_quarantined,
            document=self.document,
            plugins=plugins,
            exchange_bytes=settings.exchange_bytes,
            resources=self.resources(top.get("resources"), [node.name for node in nodes]),
            sidecar_documents=settings.sidecar_documents,
            revoked=self.revoked(top.get("revoked"), [spec.name for spec in sources]),
        )

    def settings(self, top: Mapping[str, Any]) -> TopLevel:
        """The keys of the top level, of which the sections are yet to be read."""
        for key in top:
            if key not in TopLevel.model_fields:
                raise self.fail(key, f"unknown key; {nearest(key, list(TopLevel.model_fields))}")
        try:
            # A section that is missing is told of where it is read.
            return TopLevel.model_validate({"sources": None, "outputs": None} | dict(top))
        except ValidationError as error:
            key = str(error.errors()[0]["loc"][0])
            extra: Any = TopLevel.model_fields[key].json_schema_extra
            raise self.fail(key, f"expected {extra['expected']}, found {_kind(top[key])}.") from error

    def section(self, key: str, may_be_empty: bool = False) -> dict[str, Any]:
        value = self.document.value.get(key)
        if may_be_empty and value in (None, {}):
            return {}
        if not isinstance(value, dict) or not value:
            raise self.fail(key, f"expected a map with at least one entry, found {_kind(value)}.")
        if len(value) > MAX_ENTRIES[key]:
            raise self.fail(key, f"found {len(value):,} entries; at most {MAX_ENTRIES[key]:,} are allowed.")
        for name in value:
            if not NAME.fullmatch(name):
                raise self.fail(f"{key}.{name!r}", "a name is lower-case letters, digits and underscores.")
            if len(name) > MAX_NAME:
                raise self.fail(
                    f"{key}.{name}", f"a name of {len(name)} characters; at most {MAX_NAME} are allowed. Shorten it."
                )
        return value

    def names(self, key: str, value: Any) -> tuple[str, ...]:
        if value is None:
            return ()
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise self.fail(key, f"expected a name or a list of names, found {_kind(value)}.")
        return tuple(items)

    def source(self, name: str, value: Any, seed: int) -> SourceSpec:
        path = f"sources.{name}"
        if not isinstance(value, dict):
            raise self.fail(path, f"expected a map such as {{format: parquet, paths: […]}}, found {_kind(value)}.")
        kind = value.get("format")
        if kind is None:
            kind = self.format_by_ending(path, value.get("paths"))
            value = {"format": kind, **{key: item for key, item in value.items() if key != "format"}}
        if not isinstance(kind, str):
            raise self.fail(f"{path}.format", f"expected a format, found {_kind(kind)}.")
        made = self.registry.source(kind, self.document.where(f"{path}.format"))
        value = source_settings(value, seed)
        return SourceSpec(name, made, self.model(made.Config, value, path))

    def format_by_ending(self, path: str, paths: Any) -> str:
        """The format of a source that names none: that of its paths' endings."""
        given = [paths] if isinstance(paths, str) else paths if isinstance(paths, list) else []
        formats = {format_of(item) if isinstance(item, str) else None for item in given}
        found = formats.pop() if len(formats) == 1 else None
        if found is None:
            raise self.fail(
                f"{path}.format",
                "expected a format, found nothing, and the endings of `paths` name no single one. Write it, such as "
                "`format: parquet`; `gristmill stages` lists the formats.",
            )
        return found

    def node(self, name: str, value: Any) -> NodeSpec:
        path = f"stages.{name}"
        value = {} if value is None else value
        if not isinstance(value, dict):
            raise self.fail(path, f"expected a map of the stage's settings, found {_kind(value)}.")
        use = value.get("use", name)
        if not isinstance(use, str):
            raise self.fail(f"{path}.use", f"expected a stage's name, found {_kind(use)}.")
        stage = self.registry.stage(use, self.document.where(f"{path}.use" if "use" in value else path))
        settings = {k: v for k, v in value.items() if k not in ("use", "from")}
        inputs = self.names(f"{path}.from", value["from"]) if "from" in value else None
        return NodeSpec(name, use, stage, self.model(stage.Config, settings, path), inputs)

    def output(self, name: str, value: Any) -> OutputConfig:
        path = f"outputs.{name}"
        if not isinstance(value, dict):
            raise self.fail(path, f"expected a map such as {{path: out/{name}}}, found {_kind(value)}.")
        made: OutputConfig = self.model(OutputConfig, value, path)
        return made

    def revoked(self, value: Any, sources: Sequence[str]) -> tuple[RevokedConfig, ...]:
        given = [] if value is None else value if isinstance(value, list) else [value]
        lists = []
        for number, item in enumerate(given):
            path = f"revoked.{number}" if isinstance(value, list) else "revoked"
            item = {"path": item} if isinstance(item, str) else item
            if not isinstance(item, dict):
                raise self.fail(path, f"expected a file, or a map such as {{path: …, kind: url}}, found {_kind(item)}.")
            one: RevokedConfig = self.model(RevokedConfig, item, path)
            if one.source is not None and one.source not in sources:
                raise self.fail(f"{path}.source", f"there is no source `{one.source}`; {nearest(one.source, sources)}")
            lists.append(one)
        return tuple(lists)

    def resources(self, value: Any, nodes: Sequence[str]) -> dict[str, ResourcesConfig]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.fail("resources", f"expected a map of nodes, found {_kind(value)}.")
        for name, needs in value.items():
            if name not in nodes:
                raise self.fail(f"resources.{name}", f"there is no node named `{name}`; {nearest(str(name), nodes)}")
            if not isinstance(needs, dict):
                raise self.fail(f"resources.{name}", f"expected a map such as {{gpus: 1}}, found {_kind(needs)}.")
        return {name: self.model(ResourcesConfig, needs, f"resources.{name}") for name, needs in value.items()}

    def expect(self, value: Any) -> dict[str, dict[str, tuple[float, float]]]:
        if value is None:
            return {}
        result: dict[str, dict[str, tuple[float, float]]] = {}
        if not isinstance(value, dict):
            raise self.fail("expect", f"expected a map of nodes, found {_kind(value)}.")
        for node, shares in value.items():
            if not isinstance(shares, dict):
                raise self.fail(
                    f"expect.{node}", f"expected a map such as {{emitted: [0.2, 0.9]}}, found {_kind(shares)}."
                )
            result[node] = {}
            for what, bounds in shares.items():
                fine = isinstance(bounds, list) and len(bounds) == 2
                fine = fine and all(
                    isinstance(b, (int, float)) and not isinstance(b, bool) and math.isfinite(b) for b in bounds
                )
                if not fine or not 0 <= bounds[0] <= bounds[1]:
                    raise self.fail(f"expect.{node}.{what}", f"expected [least, most] shares, found {_kind(bounds)}.")
                result[node][what] = (float(bounds[0]), float(bounds[1]))
        return result

    def model(self, model: type[Any], value: dict[str, Any], path: str) -> Any:
        try:
            return model.model_validate_json(json.dumps(value, allow_nan=False), strict=True)
        except ValueError as error:
            if not isinstance(error, ValidationError):
                raise self.fail(path, f"a value has no JSON form ({error}). Write a finite number or text.") from error
            raise self.fail(*self.explain(model, error, path)) from error

    def explain(self, model: type[BaseModel], error: ValidationError, path: str) -> tuple[str, str]:
        first = error.errors()[0]
        # Of a field that may be one of several things, the location also has what pydantic calls the first of them.
        named = [str(part) for part in first["loc"] if not str(part).startswith("literal[")]
        key = ".".join([path, *named])
        if first["type"] == "extra_forbidden":
            owner = model
            for part in first["loc"][:-1]:
                inner = owner.model_fields.get(str(part))
                # The model itself, or the one of `MODEL | None`.
                kinds = [] if inner is None else [inner.annotation, *get_args(inner.annotation)]
                models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
                if len(models) != 1:
                    break
                owner = models[0]
            allowed = [info.alias or name for name, info in owner.model_fields.items()]
            if issubclass(owner, StageConfig):
                allowed += [info.alias or name for name, info in StageEntry.model_fields.items()]
            return key, f"unknown key; {nearest(str(first['loc'][-1]), allowed)}"
        if first["type"] == "missing":
            return key, "this key is required and missing."
        if first["type"] == "json_invalid":
            return path, f"a value has no JSON form: {first['msg']}."
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] in ("model_type", "model_attributes_type", "dict_type"):
            message = "expected a map such as {key: value}"
        return key, f"{message}; found {_kind(first['input'])}."


def source_settings(value: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A source's entry of a config as its model takes it: one path is a list of one, and a sample is drawn by the run's
    seed unless it has its own."""
    settings = {key: [item] if key in LISTS_OF_ONE and isinstance(item, str) else item for key, item in value.items()}
    return {"sample_seed": seed, **settings} if settings.get("sample") is not None else settings


def _moved(outputs: Mapping[str, OutputConfig], output: str) -> dict[str, OutputConfig]:
    if not output:
        raise ConfigError("--output: expected a folder, found nothing.")
    if len(outputs) == 1:
        return {name: config.model_copy(update={"path": output}) for name, config in outputs.items()}
    return {name: config.model_copy(update={"path": f"{output}/{name}"}) for name, config in outputs.items()}
