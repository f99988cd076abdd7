"""What the auditor asks the reading process about one task, and what it answers: plain values that travel as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gristmill.pipeline.audit.routes import AuditNode
from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.provenance.statement import Predicate
from gristmill.pipeline.provenance.values import to_json
from gristmill.pipeline.reader_process import ReaderCrashed, ReaderProcess

HELD_ROWS = 8_000_000
"""Rows of a shuffled output whose identities are held at once."""


@dataclass(frozen=True)
class Entry:
    """A row of files.parquet, as far as an audit needs it; `folder` is that of the output which holds the file, found by
    the audit: empty where it is not known."""

    path: str
    role: str
    task: int
    tasks: int
    output: str
    size: int
    sha256: str
    content_digest: str
    rows: int
    keys: str
    source: str
    slice_path: str
    slice_part: str
    slice_digest: str
    folder: str = ""


@dataclass(frozen=True)
class TaskJob:
    """One task's files.

    Attributes:
        files: what may be read.
        broken: paths of files that are not read, since an outer check failed.
        source_rules: rules and reject reasons that a source's account names.
        shuffled: whether shards hold rows of many tasks.
        shards, spill, span: then all of them in order, where the identities of their rows lie (see
            pipeline.audit.shuffled; None when not all could be read), and of how many tasks rows are held at once.
        measuring: nodes of which any task has signals.
        dropped: which dropped texts the config keeps: none, sample or all.
        unseen: columns that shares were counted by and that the shards do not have.
        lengths: the folder in which the checks of whole files left the lengths of dropped texts (see `sidecar_rows`).
    """

    folder: str
    task: int
    output: str
    files: tuple[Entry, ...]
    broken: tuple[str, ...]
    sources: tuple[str, ...]
    nodes: tuple[AuditNode, ...]
    outputs: Mapping[str, tuple[str, ...]]
    source_rules: Mapping[str, tuple[str, ...]]
    shuffled: bool = False
    shards: tuple[str, ...] = ()
    spill: str | None = None
    span: int = 1
    measuring: tuple[str, ...] = ()
    dropped: str = "none"
    unseen: tuple[str, ...] = ()
    lengths: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TaskJob:
        return cls(
            folder=value["folder"],
            task=value["task"],
            output=value["output"],
            files=tuple(Entry(**item) for item in value["files"]),
            broken=tuple(value["broken"]),
            sources=tuple(value["sources"]),
            nodes=tuple(
                AuditNode(
                    item["name"],
                    tuple(item["inputs"]),
                    tuple(item["ports"]),
                    tuple(item["rules"]),
                    item["makes_text"],
                    tuple(item["columns"]),
                )
                for item in value["nodes"]
            ),
            outputs={name: tuple(edges) for name, edges in value["outputs"].items()},
            source_rules={name: tuple(rules) for name, rules in value["source_rules"].items()},
            shuffled=value["shuffled"],
            shards=tuple(value["shards"]),
            spill=value["spill"],
            span=value["span"],
            measuring=tuple(value["measuring"]),
            dropped=value["dropped"],
            unseen=tuple(value["unseen"]),
            lengths=value["lengths"],
        )


@dataclass(frozen=True)
class SourceJob:
    """What the reading process needs to go back to the source.

    Attributes:
        task: the task's files.
        config: the run's config, as YAML.
        run: the run's key.
        plugins: modules with stages and sources that may be imported.
        roots: folders below which the sources must lie (see `allowed_sources`).
        changed: shards of the task that do not have their SHA-256, whose changed documents are to be named.
        removal_keys: keys of removals, as their files hold them.
    """

    task: TaskJob
    config: str
    run: str
    plugins: tuple[str, ...]
    roots: tuple[str, ...]
    changed: tuple[Entry, ...] = ()
    removal_keys: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "task": self.task.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SourceJob:
        return cls(
            TaskJob.from_json(value["task"]),
            value["config"],
            value["run"],
            tuple(value["plugins"]),
            tuple(value["roots"]),
            tuple(Entry(**item) for item in value["changed"]),
            tuple(value["removal_keys"]),
        )


def stated(predicate: Predicate) -> dict[str, Any]:
    """What a manifest says that follows from its config alone."""
    whole = to_json(predicate)
    kept = {name: whole[name] for name in ("output", "name", "notices", "nodes")}
    sources = {
        name: {key: source[key] for key in ("format", "snapshot", "license")}
        for name, source in whole["sources"].items()
    }
    return {**kept, "columns": whole["data"]["columns"], "sources": sources}


def ask(reader: ReaderProcess, function: str, argument: Any, size: int = 0) -> Any:
    """The reading process's answer about an output's files. Raises ReaderCrashed for whatever kept it from one: what it reads
    is an enemy's, so a failure is a finding about a file, and the audit goes on."""
    try:
        return reader.call(function, argument, size)
    except ReaderCrashed:
        raise
    except (GristmillError, RuntimeError) as error:
        raise ReaderCrashed(f"the reader failed ({str(error).strip().splitlines()[-1]})") from error


@dataclass
class Answer:
    """Findings about one task, by check, and how much was looked at.

    Attributes:
        first_rows: by file that holds rows of several tasks, the number of the first one that was looked at: rows are
            counted from there.
    """

    findings: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    first_rows: dict[str, int] = field(default_factory=dict)

    def saw(self, check: str, objects: int = 1) -> None:
        self.seen[check] = self.seen.get(check, 0) + objects

    def fail(self, check: str, message: str, file: str | None, **place: Any) -> None:
        if file is not None and place.get("row") is not None:
            place["row"] += self.first_rows.get(file, 0)
        self.findings.append({"check": check, "message": message, "file": file, **place})

    def add(self, other: Answer) -> None:
        """Takes over what another answer says."""
        self.findings += other.findings
        self.bytes += other.bytes
        for check, objects in other.seen.items():
            self.saw(check, objects)

    def unread(self, check: str, message: str, file: str | None) -> None:
        self.findings.append({"check": check, "message": message, "file": file, "unread": True})

    def to_json(self) -> dict[str, Any]:
        return {"findings": self.findings, "seen": self.seen, "bytes": self.bytes}
