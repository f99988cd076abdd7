"""A new version's manifest, card and metadata: the old manifest's, but for what is different now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gristmill.pipeline.provenance.accounts import Accounts
from gristmill.pipeline.provenance.attestation import write_envelope
from gristmill.pipeline.provenance.files import FILES_TABLE
from gristmill.pipeline.provenance.kinds import KindTotals
from gristmill.pipeline.provenance.removal import Removal
from gristmill.pipeline.provenance.signing import ENVELOPE, SigningKey
from gristmill.pipeline.provenance.statement import (
    MANIFEST,
    PREDICATE,
    STATEMENT,
    Files,
    Lineage,
    Predicate,
    Shards,
    SourceTotals,
    Statement,
    Subject,
    manifest_bytes,
    manifest_digest,
)
from gristmill.pipeline.provenance.values import parse, to_json
from gristmill.pipeline.storage import join, sha256_of, write_checked
from gristmill.pipeline.writing.card import SHARDS, card_body, croissant_metadata, front_matter, one_licence
from gristmill.pipeline.writing.manifest import seal


def write_documents(
    old: Predicate,
    targets: Mapping[str, str],
    told: Mapping[str, Any],
    record: Removal,
    attempt: str,
    key: SigningKey | None,
) -> tuple[dict[str, str], dict[str, str]]:
    """Writes card, metadata, envelope and manifest into the attempt folder.

    Args:
        targets: folders of the new versions, by output.
        told: what `removal.requests.write` returns.

    Returns the SHA-256 of what is moved with the files, and of the manifest, which is moved last.
    """
    version = told["versions"][old.output]
    predicate = _predicate(old, targets, told, record)
    manifest = Statement(
        type_=STATEMENT,
        subject=[
            Subject(name="data", digest={"gristmillContentRoot": predicate.data.root}),
            Subject(name=FILES_TABLE, digest={"sha256": version["table"]}),
        ],
        predicateType=PREDICATE,
        predicate=replace(predicate, digest=manifest_digest(to_json(predicate))),
    )
    columns = {name: predicate.data.columns[name] for name in version["columns"] if name in predicate.data.columns}
    nodes = [*predicate.sources, *(node.name for node in predicate.nodes)]
    stated = {one.license.name for one in predicate.sources.values() if one.license is not None}
    card = front_matter({"license": one_licence(stated), **SHARDS}) + card_body(
        predicate, predicate.accounts, list(predicate.sources), nodes, columns
    )
    metadata = json.dumps(croissant_metadata(predicate, columns), indent=1, ensure_ascii=False) + "\n"
    written = {
        "README.md": _put(attempt, "README.md", card),
        "croissant.json": _put(attempt, "croissant.json", metadata),
    }
    sealed = to_json(seal(manifest, written))
    written[FILES_TABLE] = version["table"]
    if key is not None:
        write_envelope(attempt, sealed, key)
        written[ENVELOPE] = sha256_of(join(attempt, ENVELOPE))
    return written, {MANIFEST: _put(attempt, MANIFEST, manifest_bytes(sealed).decode())}


def _put(folder: str, name: str, text: str) -> str:
    return write_checked(join(folder, name), lambda stream: stream.write(text.encode())).sha256


def _predicate(old: Predicate, targets: Mapping[str, str], told: Mapping[str, Any], record: Removal) -> Predicate:
    version = told["versions"][old.output]
    varies = replace(
        old.varies,
        # Neither the list nor the condition is told: they may name what went.
        command=["gristmill", "remove"],
        written=record.removed_at,
        beside={name: targets[name].rstrip("/").rpartition("/")[2] for name in old.varies.beside},
        chain=Lineage(sequence=old.varies.chain.sequence + 1, previous=old.varies.statement),
        statement="",
    )
    return replace(
        old,
        sources={name: _totals(name, totals, told) for name, totals in old.sources.items()},
        accounts=parse(Accounts, told["accounts"]),
        reports=told["reports"],
        data=parse(Shards, version["data"]),
        files=parse(Files, version["files"]),
        kinds={name: parse(KindTotals, one) for name, one in version["kinds"].items()},
        removals=[*old.removals, record],
        digest="",
        varies=varies,
    )


def _totals(name: str, totals: SourceTotals, told: Mapping[str, Any]) -> SourceTotals:
    rows, read = told["removed"].get(name, 0), told["read_bytes"].get(name, 0)
    return replace(totals, rows=totals.rows - rows, text_bytes=totals.text_bytes - read)
