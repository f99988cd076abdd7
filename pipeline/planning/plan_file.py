"""The plan as it travels to workers: JSON in the work folder, known by its digest; what a task needs of it, rebuilt there.

The config is read again from what its YAML says, by the same code, with the classes that the driver found for it; slices are
not part of the file, since each task brings its own. A worker whose packages would compute something else refuses it.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import pyarrow as pa
from pydantic import ValidationError

from gristmill.pipeline.errors import ConfigError, ConservationError, StorageError
from gristmill.pipeline.kernel_cache import use_cache
from gristmill.pipeline.planning.config import RunConfig, read_document
from gristmill.pipeline.planning.graph import build
from gristmill.pipeline.planning.plan import Fingerprint, Pass, Plan
from gristmill.pipeline.planning.revoked import Revoked
from gristmill.pipeline.planning.yaml_reader import MAX_BYTES, Document
from gristmill.pipeline.provenance.statement import RevokedIdentity
from gristmill.pipeline.provenance.values import STORED, Count, Digest, described, parse, to_json
from gristmill.pipeline.source import Source
from gristmill.pipeline.stage import Stage
from gristmill.pipeline.storage import put, read_small
from gristmill.pipeline.work_files import write_work

MOST_BYTES = 64 * MAX_BYTES
"""Bytes of a plan file: the config with the line of each key, and what follows from it by node."""


@dataclass(frozen=True, kw_only=True)
class StoredPlan:
    """A plan as data.

    Attributes:
        run: the run's key, which the slices entered.
        document, lines, config: the config's name, the line of each key path, and its value after `--set`.
        classes: `source NAME` or `stage NAME` of the config → module:class.
        outputs: output → folder, after `--output`.
        schemas: source → Arrow schema in base64.
    """

    __pydantic_config__ = STORED
    format: Literal[1]
    run: Digest
    document: str
    lines: dict[str, Count]
    config: dict[str, Any]
    plugins: list[str]
    classes: dict[str, str]
    outputs: dict[str, str]
    schemas: dict[str, str]
    notices: list[str]
    passes: tuple[Pass, ...]
    fingerprints: dict[str, Fingerprint]
    facts: dict[str, dict[str, Any]]
    tokenizers: dict[str, Digest]
    revoked: RevokedIdentity | None = None


def write_plan(plan: Plan, location: str) -> str:
    """Writes a plan for its workers. Returns the SHA-256 of the file.

    Raises ConfigError when a stage or source of the run cannot be found again by its name, or is not the same then.
    """
    data = json.dumps(to_json(stored_plan(plan)), separators=(",", ":")).encode()
    found = plan_from(data, location)
    if (found.identity(), found.config.nodes) != (plan.identity(), plan.config.nodes):
        raise ConfigError(
            f"{plan.config.where('')}: a stage or source becomes another one when its config is read a second time, so workers "
            "would not do what was planned. This is a bug in it; report it to its author."
        )
    put(location, data)
    if plan.revoked is not None and found.revoked is not None:
        packed = plan.revoked.packed
        write_work(str(found.revoked.location), lambda target: target.write(packed))
    return hashlib.sha256(data).hexdigest()


@lru_cache(maxsize=2)
def read_plan(location: str, expected: str) -> Plan:
    """The plan of a run, without its slices, once per process.

    Raises ConservationError when the file is another one, ConfigError when this process has other packages than the driver.
    """
    data = read_small(location, MOST_BYTES)
    if data is None:
        raise StorageError(f"{location}: the plan is gone. Is the work folder on storage that all nodes share?")
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ConservationError(
            f"{location}: the plan changed under a running task (expected {expected}, found {found})."
        )
    return plan_from(data, location)


def stored_plan(plan: Plan) -> StoredPlan:
    """What is written of a plan."""
    config = plan.config
    classes: dict[str, type[Any]] = {f"source {spec.config.format}": spec.source for spec in config.sources}
    classes |= {f"stage {spec.use}": spec.stage for spec in config.nodes}
    return StoredPlan(
        format=1,
        run=plan.key,
        document=config.document.name,
        lines=config.document.lines,
        config=config.document.value,
        plugins=list(config.plugins),
        classes={name: f"{kind.__module__}:{kind.__qualname__}" for name, kind in classes.items()},
        outputs={name: output.path for name, output in config.outputs.items()},
        schemas={
            name: base64.b64encode(schema.serialize().to_pybytes()).decode()
            for name, schema in plan.graph.source_schema.items()
        },
        notices=list(plan.graph.notices),
        passes=plan.passes,
        fingerprints=dict(plan.fingerprints),
        facts={name: dict(facts) for name, facts in plan.facts.items()},
        tokenizers=dict(plan.tokenizers),
        revoked=None if plan.revoked is None else parse(RevokedIdentity, plan.revoked.identity),
    )


@lru_cache(maxsize=2)  # where the driver runs the tasks itself, what it wrote and tried is what they read
def plan_from(data: bytes, location: str) -> Plan:
    """A plan from the bytes of its file, once per process. Raises ConservationError for what is no plan, ConfigError as
    `read_plan` does."""
    try:
        stored = parse(StoredPlan, json.loads(data))
    except (ValueError, RecursionError) as error:
        wrong = described(error)[0] if isinstance(error, ValidationError) else str(error)
        raise ConservationError(f"{location}: this is no plan of this version of Gristmill ({wrong}).") from error
    graph = build(_config(stored))
    schemas = {name: pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))) for name, text in stored.schemas.items()}
    graph = replace(graph, source_schema=schemas, notices=tuple(stored.notices))
    plan = Plan(
        graph,
        stored.passes,
        (),
        stored.fingerprints,
        facts=stored.facts,
        tokenizers=stored.tokenizers,
        revoked=None if stored.revoked is None else _revoked(stored.revoked, location),
        stored_key=stored.run,
    )
    _same_packages(plan)
    return plan


def _revoked(stored: RevokedIdentity, location: str) -> Revoked:
    """The run's revocation list, in its file beside the plan."""
    return Revoked(stored.digest, stored.entries, f"{location.removesuffix('.json')}.revoked")


def _config(stored: StoredPlan) -> RunConfig:
    document = Document(stored.document, stored.config, stored.lines)
    for plugin in stored.plugins:
        _imported(plugin)  # as the driver did: a stage may run classes of theirs that are no stages
    config = read_document(document, _Classes(stored.classes), tuple(stored.plugins))
    moved = {name: output.model_copy(update={"path": stored.outputs[name]}) for name, output in config.outputs.items()}
    return replace(config, outputs=moved)


def _imported(plugin: str) -> None:
    try:
        importlib.import_module(plugin)
    except ImportError as error:
        raise ConfigError(
            f"--plugin {plugin}: the module cannot be imported on this node ({error}). Put its folder on each node's "
            "PYTHONPATH."
        ) from error


class _Classes:
    """The classes of a plan by the names that its config has for them, as `Registry` gives them to the driver."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names
        use_cache()  # their modules may define kernels

    def stage(self, name: str, where: str) -> type[Stage]:
        found: type[Stage] = self._load(f"stage {name}", where, Stage)
        return found

    def source(self, name: str, where: str) -> type[Source]:
        found: type[Source] = self._load(f"source {name}", where, Source)
        return found

    def _load(self, name: str, where: str, base: type[Any]) -> Any:
        module, _, path = self.names.get(name, "").partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in path.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"{where}: the {name} ({module}) cannot be imported on this node ({error}). Install the same packages on every "
                "node, and put the folder of a plugin on each node's PYTHONPATH."
            ) from error
        if not (inspect.isclass(found) and issubclass(found, base)):
            raise ConfigError(f"{where}: the {name} ({module}:{path}) is not a {base.__name__} on this node.")
        return found


def _same_packages(plan: Plan) -> None:
    """What a node's stage would compute here is what the driver's fingerprint says, as far as versions tell."""
    for node in plan.graph.nodes:
        stated = plan.fingerprints[node.name].fields["signal"]
        expected = {name.removeprefix("library:"): v for name, v in stated.items() if name.startswith("library:")}
        here = dict(node.spec.libraries)
        if here != expected:
            raise ConfigError(
                f"{plan.config.where(f'stages.{node.name}')}: this process has {_versions(here)}, the driver has "
                f"{_versions(expected)}. Install the same packages on every node."
            )


def _versions(libraries: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(libraries.items())) or "none of these libraries"
