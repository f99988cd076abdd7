"""A finished output as the source of signals for a run with other thresholds: what of it fits this run, and what does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gristmill.pipeline.document import TEXT
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.planning.graph import Node
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.planning.prior_runs import finished_run, folder_of, signal_differences, slices_of_run
from gristmill.pipeline.provenance.logs import SliceRead
from gristmill.pipeline.provenance.record_index import RecordIndex
from gristmill.pipeline.provenance.statement import ManifestNode
from gristmill.pipeline.running.task_keys import signal_lineages
from gristmill.pipeline.slices.reused import ReusedFile
from gristmill.pipeline.source import Slice
from gristmill.pipeline.storage import is_remote

_SliceName = tuple[str, str, str]


@dataclass(frozen=True)
class Reuse:
    """What a run takes from a finished output.

    Attributes:
        folder: the output.
        files: by slice (source, path, part), the files with signals of nodes that this run would measure equally.
        measured: by node that is measured all the same, why.
    """

    folder: str = ""
    files: Mapping[_SliceName, tuple[ReusedFile, ...]] = field(default_factory=dict)
    measured: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def nodes(self) -> frozenset[str]:
        """Those of which signals are taken."""
        return frozenset(file.node for files in self.files.values() for file in files)

    def of(self, one: Slice, nodes: Sequence[str]) -> tuple[ReusedFile, ...]:
        """The files with signals of some nodes about a slice."""
        return tuple(file for file in self.files.get(_name(one), ()) if file.node in nodes)

    def counts(self, slices: Sequence[Slice], records: RecordIndex) -> dict[str, int]:
        """By node, of how many slices the signals were taken: of those with the content that they had there."""
        found: dict[str, int] = {}
        for task, one in enumerate(slices):
            for file in self.files.get(_name(one), ()):
                found[file.node] = found.get(file.node, 0) + (records.slice_digest(task) == file.slice_digest)
        return found


@dataclass(frozen=True)
class _Prints:
    signal: str
    full: str


def reusable(plan: Plan, folder: str) -> Reuse:
    """What a run can take from a finished output: signals of nodes whose signal settings and inputs are what they were.

    Raises ConfigError for what is no finished output, was changed since, keeps no signals, or fits in no node or slice, with
    the reasons.
    """
    where = f"--reuse {folder}"
    if not is_remote(folder):
        folder = str(Path(folder.removeprefix("file://")).absolute())
    manifest, listed = finished_run(where, folder)
    roles = {item["role"] for item in listed}
    if not any(role.startswith("signals:") for role in roles):
        raise ConfigError(f"{where}: this output keeps no signals. Reuse one that was written with `signals: all`.")
    measured = _reasons(plan, {node.name: node for node in manifest.nodes}, manifest.run, roles)
    taken = {f"signals:{node.name}" for node in plan.graph.nodes if node.measures and node.name not in measured}
    if not taken:
        reasons = "; ".join(f"{name}: {why}" for name, why in measured.items())
        raise ConfigError(f"{where}: none of its signals fit this run ({reasons or 'no stage measures'}).")
    read = slices_of_run(where, folder, manifest, listed)
    files: dict[_SliceName, tuple[ReusedFile, ...]] = {}
    for item in listed:
        if item["role"] not in taken:
            continue
        held = folder_of(where, folder, manifest, item["output"])
        for task in range(item["task"], item["task"] + item["tasks"]):
            name = _name(read[task])
            files[name] = (*files.get(name, ()), _file(held, item, task, read[task].digest))
    if not any(_name(one) in files for one in plan.slices):
        raise ConfigError(
            f"{where}: that run has read none of the slices of this one: sources, paths below their roots or `slice_bytes` "
            "differ."
        )
    return Reuse(folder, files, measured)


def _file(folder: str, item: Mapping[str, Any], task: int, slice_digest: str) -> ReusedFile:
    node = item["role"].removeprefix("signals:")
    return ReusedFile(node, folder, item["path"], item["sha256"], item["size"], task, slice_digest)


def _name(one: Slice | SliceRead) -> _SliceName:
    """A slice by source, path and part."""
    return one.source, one.path, ",".join(f"{name}={part}" for name, part in sorted(one.part.items()))


def _reasons(plan: Plan, there: Mapping[str, ManifestNode], run: str, roles: set[str]) -> dict[str, str]:
    """By measuring node whose signals cannot be taken, why."""
    moved = {node.name for node in plan.graph.nodes if node.name not in there or not _alike(node, there[node.name])}
    prints = {
        node.name: _Prints("", "")
        if node.name in moved
        else _Prints(there[node.name].signal_fingerprint, there[node.name].fingerprint)
        for node in plan.graph.nodes
    }
    here, before = signal_lineages(plan), signal_lineages(plan, prints, run)
    found = {}
    for node in plan.graph.nodes:
        if not node.measures:
            continue
        unkept = sorted(node.spec.hidden | ({TEXT} & set(node.spec.signals.names)))
        if node.name not in there:
            found[node.name] = "that run has no node of this name"
        elif unkept:
            found[node.name] = f"outputs do not keep its `{unkept[0]}`"
        elif node.name in moved:
            found[node.name] = "it reads from other nodes there"
        elif there[node.name].signal_fingerprint != plan.fingerprints[node.name].signal:
            found[node.name] = signal_differences(there[node.name], node)
        elif here[node.name] != before[node.name]:
            found[node.name] = "a column that it reads was made otherwise there"
        elif f"signals:{node.name}" not in roles:
            found[node.name] = "no document reached it there"
    return found


def _alike(node: Node, there: ManifestNode) -> bool:
    """Whether a node of another run stands where this one does."""
    return [edge.node for edge in node.inputs] == [edge.rpartition(".")[0] for edge in there.from_]
