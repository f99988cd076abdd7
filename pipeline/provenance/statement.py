"""A run's statement, `manifest.json`: what it says, its digests, and reading it back from an output.

It is an in-toto Statement whose size grows with nodes and not with shards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from gristmill.pipeline.errors import DataError
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.provenance.accounts import Accounts
from gristmill.pipeline.provenance.kinds import KindSettings, KindTotals
from gristmill.pipeline.provenance.logs import NodeLog, SliceRead, StatedLicense
from gristmill.pipeline.provenance.removal import Removal
from gristmill.pipeline.provenance.values import STORED, Complete, Count, Digest, Seed, Whole, described, parse, to_json
from gristmill.pipeline.storage import join, read_within

FORMAT_VERSION: Final = 2
"""Version of everything that a run writes; enters task keys, logs and manifests."""
MANIFEST: Final = "manifest.json"
MOST_BYTES: Final = 64 << 20
"""Bytes of a manifest, and of any document beside it, that are read: it grows with nodes and languages, not with rows."""
OLDER: Final = (
    "Use the version of Gristmill that wrote it (0.1 of 2026-11 and before wrote format 1; docs/verify_output.py verifies "
    "both), or repeat the run."
)
"""What to do about an output of another format."""
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://gristmill.dev/provenance/run/v1"


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Config fields by kind; a field that holds a path has its file's or folder's digest here."""

    __pydantic_config__ = STORED
    signal: dict[str, Any]
    threshold: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ManifestNode(NodeLog):
    """A node as the manifest states it: with ports (the default one first), rules, the columns that it adds (name →
    logical type), the fields that fingerprints follow from, whether it makes documents' texts or may change them (left out
    where it does neither), and rules that depend on the machine (left out where there are none)."""

    ports: Annotated[list[str], Field(min_length=1)]
    rules: list[str]
    columns: dict[str, str]
    fields: Fields
    text: Literal["made", "changed"] | None = None
    irreproducible: list[str] = field(default_factory=list)

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        made: dict[str, Any] = handler(self)
        return {name: value for name, value in made.items() if value or name not in ("text", "irreproducible")}


@dataclass(frozen=True, kw_only=True)
class ShuffleSetting:
    """The shuffle that the config asks for; without a seed the run's is taken."""

    __pydantic_config__ = STORED
    seed: Seed | None


class OutputIdentity(BaseModel):
    """What enters an output, and how it is written: the config's fields, but for the path."""

    model_config = ConfigDict(extra="allow", frozen=True)
    from_: Annotated[list[str], Field(alias="from")]
    shuffle: ShuffleSetting | None = None
    kinds: dict[str, KindSettings] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _as_it_was(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `shuffle` and `kinds` where the run's identity has none: it is part of what is hashed."""
        made: dict[str, Any] = handler(self)
        later = {"shuffle", "kinds"} - self.model_fields_set
        return {name: value for name, value in made.items() if name not in later}


@dataclass(frozen=True, kw_only=True)
class RevokedIdentity:
    """The revocation list of a run: the digest of its entries, and how many there are by kind."""

    __pydantic_config__ = STORED
    digest: Digest
    entries: dict[str, Count]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What may change a result, apart from the input's content."""

    __pydantic_config__ = STORED
    format: Literal[2]
    seed: Seed
    sidecar_documents: Count
    sources: dict[str, dict[str, Any]]
    nodes: list[list[Any]]
    outputs: dict[str, OutputIdentity]
    discard: list[str]
    revoked: RevokedIdentity | None = None

    @model_serializer(mode="wrap")
    def _as_it_was(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `revoked` where the run has no list: it is part of what is hashed."""
        made: dict[str, Any] = handler(self)
        return {name: value for name, value in made.items() if name != "revoked" or value is not None}


@dataclass(frozen=True, kw_only=True)
class SourceTotals:
    """A source and what was read of it."""

    __pydantic_config__ = STORED
    format: str
    snapshot: str | None
    license: StatedLicense | None
    slices: Count
    files: Count
    rows: Count
    text_bytes: Count
    rejects: Count


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The shards together: `root` is the Merkle root of their content digests."""

    __pydantic_config__ = STORED
    files: Count
    rows: Count
    bytes: Count
    root: Digest
    columns: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Files:
    """All files together: Merkle roots of their SHA-256 and of their content digests, in files.parquet's order."""

    __pydantic_config__ = STORED
    count: Count
    root: Digest
    content_root: Digest


@dataclass(frozen=True, kw_only=True)
class Lineage(Complete):
    """The manifest's place among its dataset's runs: a number from 1, and the earlier manifest's statement digest."""

    __pydantic_config__ = STORED
    sequence: Annotated[Whole, Field(ge=1)] = 1
    previous: Digest | None = None


FolderName = Annotated[str, Field(pattern=r"^[^/\\\x00]+$", min_length=1, max_length=255)]
"""The name of a folder, without any other: what it may be is looked at before it is opened."""


@dataclass(frozen=True, kw_only=True)
class Varies:
    """What may differ between two runs of the same thing (the config as written names paths), and the digest of the whole
    statement."""

    __pydantic_config__ = STORED
    command: list[str]
    config: Annotated[str, Field(description="the config with overrides, as YAML")]
    stamps: Annotated[Digest, Field(description="digest of the input files' modification times or ETags")]
    written: str
    python: str
    platform: str
    machine: str
    packages: dict[str, str]
    executable: str
    beside: Annotated[
        dict[str, FolderName],
        Field(
            description="by output that holds files of this one, the name of its folder, where that lies beside this one's"
        ),
    ]
    chain: Lineage
    statement: Digest


@dataclass(frozen=True, kw_only=True)
class Predicate:
    """What made a run."""

    __pydantic_config__ = STORED
    format: Literal[2]
    name: str
    output: str
    run: Digest
    identity: Identity
    nodes: list[ManifestNode]
    sources: dict[str, SourceTotals]
    accounts: Accounts
    settled: dict[str, Digest]
    reports: dict[str, dict[str, Any]]
    notices: list[str]
    data: Shards
    files: Files
    slices_root: Digest
    tasks: Count
    digest: Digest
    varies: Varies
    kinds: dict[str, KindTotals] = field(default_factory=dict)
    """Left out where the output has none."""
    removals: list[Removal] = field(default_factory=list)
    """Of documents that were taken out since the run, in order; left out where none were."""

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        made: dict[str, Any] = handler(self)
        return {name: value for name, value in made.items() if value or name not in ("kinds", "removals")}

    @model_validator(mode="after")
    def _names_its_output(self) -> Predicate:
        if self.output not in self.identity.outputs:
            raise ValueError(
                f"output: {self.output!r} is not an output of the run ({', '.join(self.identity.outputs)})"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Something that the statement is about."""

    __pydantic_config__ = STORED
    name: str
    digest: dict[str, Digest]


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A manifest: an in-toto Statement v1."""

    __pydantic_config__ = STORED
    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: list[Subject]
    predicateType: Literal["https://gristmill.dev/provenance/run/v1"]
    predicate: Predicate


def run_key(identity: Identity, slices: Sequence[SliceRead]) -> str:
    """The run's key from its identity and its slices in task order (see planning.plan.Plan.key)."""
    names = hashlib.sha256()
    for one in slices:
        place = [one.source, one.path, sorted(one.part.items()), one.file_bytes]
        names.update(digest("gristmill.slice", place).encode())
    return digest("gristmill.run", [to_json(identity), names.hexdigest()])


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


def read_manifest(folder: str) -> Predicate | None:
    """The predicate of an output's manifest, or None when there is no manifest.

    Raises DataError when there is one that cannot be read, is of another version or has another form.
    """
    found = read_statement_bytes(folder)
    return None if found is None else parse(Statement, found[0]).predicate


def parse_strictly(text: str | bytes) -> Any:
    """JSON without doubled keys and half characters. Raises ValueError that says what is wrong.

    A lone surrogate is a valid escape in JSON and no character: it cannot be written, hashed or shown.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(items)
        if len(made) != len(items):
            names = [name for name, _ in items]
            raise ValueError(
                f"the key {next(n for n in names if names.count(n) > 1)!r} is a duplicate key in one object"
            )
        return made

    try:
        value = json.loads(text, object_pairs_hook=pairs)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("lists and objects are nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("holds half of a surrogate pair, which is no character") from error
    return value


def read_statement_bytes(folder: str) -> tuple[dict[str, Any], bytes] | None:
    """An output's manifest, parsed and as it is stored, or None when there is none. Raises DataError as `read_manifest`."""
    location = join(folder, MANIFEST)
    try:
        body = read_within(folder, MANIFEST, MOST_BYTES)
    except FileNotFoundError:
        return None
    try:
        statement = parse_strictly(body)
        predicate = statement["predicate"]
        kind, found = statement["predicateType"], predicate["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{location}: this is not a Gristmill manifest ({error}). Restore it, or repeat the run."
        ) from error
    if kind != PREDICATE or found != FORMAT_VERSION:
        raise DataError(
            f"{location}: format {found!r} of {kind!r}; this version reads format {FORMAT_VERSION} of {PREDICATE!r}. {OLDER}"
        )
    try:
        parse(Statement, statement)
    except ValidationError as error:
        raise DataError(
            f"{location}: this is not a manifest as a run writes it ({described(error)[0]}). Restore it, or repeat the run."
        ) from error
    return dict(statement), body


def manifest_digest(predicate: Mapping[str, Any]) -> str:
    """The manifest's own digest: over the predicate without `digest` and `varies`."""
    return digest("gristmill.manifest", {k: v for k, v in predicate.items() if k not in ("digest", "varies")})
