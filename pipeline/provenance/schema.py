"""The form of footer logs and manifests in this format version, as pydantic models; `schema.json` is made from them.

`python -m gristmill.pipeline.provenance.schema` writes the JSON Schema anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

SCHEMA_FILE = Path(__file__).with_name("schema.json")
"""JSON Schema (2020-12) of a manifest and, under `$defs`, of the footer logs."""

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 in lower-case hexadecimal")]
KeySum = Annotated[str, Field(pattern="^[0-9a-f]{32}$", description="Σ doc_key mod 2^128 in lower-case hexadecimal")]
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]
Pair = Annotated[list[Count], Field(min_length=2, max_length=2, description="[rows, UTF-8 bytes]")]


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", populate_by_name=False)


class TallyForm(_Form):
    """A number of rows with their UTF-8 bytes of text and the sum of their doc_keys, copies counted."""

    rows: Count
    bytes: Count
    keys: KeySum


class HitsForm(_Form):
    """How often a rule failed: as the first, at all, as the only one."""

    first: Pair
    any: Pair
    sole: Pair


class NodeAccountForm(_Form):
    """What entered a node and where it went: entered = dropped + quarantined + kept."""

    entered: TallyForm
    edges: dict[str, TallyForm]
    dropped: TallyForm
    quarantined: TallyForm
    kept: TallyForm
    ports: dict[str, TallyForm]
    rules: dict[str, HitsForm]
    tallies: dict[str, int]


class AccountsForm(_Form):
    """The accounts of sources and nodes, of the edges into outputs, and of discarded ports."""

    nodes: dict[str, NodeAccountForm]
    outputs: dict[str, dict[str, TallyForm]]
    discarded: dict[str, TallyForm]


class SliceForm(_Form):
    """What a task read: a file of a source, or a part of one."""

    source: str
    path: str
    part: dict[str, int]
    file_bytes: Count
    digest: Digest
    rows: Count
    rejects: Count


class LinkForm(_Form):
    """A node of the chain, with the fingerprints of what it measures and of what it decides."""

    name: str
    use: str
    version: int
    from_: list[str] = Field(alias="from")
    signal_fingerprint: Digest
    fingerprint: Digest
    models: dict[str, Digest]


class LicenseForm(_Form):
    """What is known about a source's licence, and who says so."""

    spdx: str
    stated_by: Literal["author", "distributor", "collector", "unknown"]
    evidence: str | None


class LedgerLog(_Form):
    """The log in the footer of a task's ledger."""

    format: Literal[1]
    run: Digest
    seed: int
    task: Count
    slices: Annotated[list[SliceForm], Field(min_length=1, max_length=1)]
    slices_root: Digest
    nodes: list[LinkForm]
    settled: dict[str, Digest]
    accounts: AccountsForm
    licenses: dict[str, LicenseForm | None]
    snapshot: str | None
    output: str
    rows: Count
    content_digest: Digest


class ShardLog(LedgerLog):
    """The log in the footer of a data shard."""

    shard: Count
    keys: KeySum


class ShuffleForm(_Form):
    """A shuffle: its seed, and into how many ranges of hashes it divides the rows (a power of two)."""

    seed: Seed
    buckets: Annotated[int, Field(ge=1, le=1 << 24)]


class ShuffledLog(_Form):
    """The log in the footer of a shuffled output's shard: its rows come from all tasks."""

    format: Literal[1]
    run: Digest
    seed: int
    output: str
    tasks: Count
    slices_root: Digest
    nodes: list[LinkForm]
    settled: dict[str, Digest]
    licenses: dict[str, LicenseForm | None]
    snapshots: dict[str, str | None]
    shuffle: ShuffleForm
    bucket: Count
    shard: Count
    rows: Count
    content_digest: Digest
    keys: KeySum


class ManifestNode(LinkForm):
    """A node as the manifest states it: with ports (the default one first), rules, the columns that it adds (name →
    logical type), and the fields that fingerprints follow from."""

    ports: Annotated[list[str], Field(min_length=1)]
    rules: list[str]
    columns: dict[str, str]
    fields: FieldsForm


class FieldsForm(_Form):
    """Config fields by kind; a field that holds a path has its file's or folder's digest here."""

    signal: dict[str, Any]
    threshold: dict[str, Any]


class ShuffleSettingForm(_Form):
    """The shuffle that the config asks for; without a seed the run's is taken."""

    seed: Seed | None


class OutputForm(_Form):
    """What enters an output, and how it is written: the config's fields, but for the path."""

    model_config = ConfigDict(extra="allow")

    from_: list[str] = Field(alias="from")
    shuffle: ShuffleSettingForm | None = None


class IdentityForm(_Form):
    """What may change a result, apart from the input's content."""

    format: Literal[1]
    seed: Seed
    sources: dict[str, dict[str, Any]]
    nodes: list[list[Any]]
    outputs: dict[str, OutputForm]
    discard: list[str]


class SourceForm(_Form):
    """A source and what was read of it."""

    format: str
    snapshot: str | None
    license: LicenseForm | None
    slices: Count
    files: Count
    rows: Count
    text_bytes: Count
    rejects: Count


class DataForm(_Form):
    """The shards together: `root` is the Merkle root of their content digests."""

    files: Count
    rows: Count
    bytes: Count
    root: Digest
    columns: dict[str, str]


class FilesForm(_Form):
    """All files together: Merkle roots of their SHA-256 and of their content digests, in files.parquet's order."""

    count: Count
    root: Digest
    content_root: Digest


class ChainForm(_Form):
    """The manifest's place among its dataset's runs: a number from 1, and the earlier manifest's statement digest."""

    sequence: Annotated[int, Field(ge=1)]
    previous: Digest | None


class VariesForm(_Form):
    """What may differ between two runs of the same thing (the config as written names paths), and the digest of the whole
    statement."""

    command: list[str]
    config: Annotated[str, Field(description="the config with overrides, as YAML")]
    stamps: Annotated[Digest, Field(description="digest of the input files' modification times or ETags")]
    written: str
    python: str
    platform: str
    machine: str
    packages: dict[str, str]
    executable: str
    chain: ChainForm
    statement: Digest


class PredicateForm(_Form):
    """What made a run."""

    format: Literal[1]
    name: str
    output: str
    run: Digest
    identity: IdentityForm
    nodes: list[ManifestNode]
    sources: dict[str, SourceForm]
    accounts: AccountsForm
    settled: dict[str, Digest]
    reports: dict[str, dict[str, Any]]
    notices: list[str]
    data: DataForm
    files: FilesForm
    slices_root: Digest
    tasks: Count
    digest: Digest
    varies: VariesForm

    @model_validator(mode="after")
    def _names_its_output(self) -> PredicateForm:
        if self.output not in self.identity.outputs:
            raise ValueError(
                f"output: {self.output!r} is not an output of the run ({', '.join(self.identity.outputs)})"
            )
        return self


class SubjectForm(_Form):
    """Something that the statement is about."""

    name: str
    digest: dict[str, Digest]


class Statement(_Form):
    """A manifest: an in-toto Statement v1."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: list[SubjectForm]
    predicateType: Literal["https://gristmill.dev/provenance/run/v1"]
    predicate: PredicateForm


ManifestNode.model_rebuild()


def json_schema() -> dict[str, Any]:
    """JSON Schema of a manifest; the logs' are under `$defs`."""
    definitions: dict[str, Any] = {}
    for model in (LedgerLog, ShardLog, ShuffledLog):
        made = TypeAdapter(model).json_schema()
        definitions |= {**made.pop("$defs"), model.__name__: made}
    schema = TypeAdapter(Statement).json_schema()
    schema["$defs"] = dict(sorted({**definitions, **schema["$defs"]}.items()))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


if __name__ == "__main__":
    SCHEMA_FILE.write_text(json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
