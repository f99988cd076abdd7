"""A run's statement, `manifest.json`: its format, its digests, and reading it back from an output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gristmill.pipeline.errors import DataError
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.storage import exists, join, open_read

FORMAT_VERSION = 1
"""Version of everything that a run writes; enters task keys, logs and manifests."""
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://gristmill.dev/provenance/run/v1"


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
            f"{location}: this is not a Gristmill manifest ({error}). Restore it, or repeat the run."
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
