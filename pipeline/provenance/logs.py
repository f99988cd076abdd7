"""What the footers of shards and ledgers say: slices, nodes and licences that went in, accounts, digests of what came out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from gristmill.pipeline.licence import License
from gristmill.pipeline.provenance.accounts import Accounts
from gristmill.pipeline.provenance.values import STORED, Complete, Count, Digest, KeySum, Seed, Whole

LOG_KEY = "gristmill.log"
"""Key of the log in a file's footer."""
StatedLicense = Annotated[License, Complete]
"""A source's licence; the config may leave parts of it out."""


@dataclass(frozen=True, kw_only=True)
class FileRead:
    """One of several small files that a task read."""

    __pydantic_config__ = STORED
    path: str
    part: dict[str, Whole]
    file_bytes: Count
    rows: Count
    rejects: Count


@dataclass(frozen=True, kw_only=True)
class SliceRead:
    """What a task read: a file of a source, a part of one, or several small ones, which `files` then has in order (left out
    otherwise); `path` is then the first one's, and `part` their number and the digest of their names. `removed` of its rows
    were taken out of the output later (left out where none were): neither files nor accounts have them."""

    __pydantic_config__ = STORED
    source: str
    path: str
    part: dict[str, Whole]
    file_bytes: Count
    digest: Digest
    rows: Count
    rejects: Count
    files: list[FileRead] = field(default_factory=list)
    removed: Count = 0

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        made: dict[str, Any] = handler(self)
        return {name: value for name, value in made.items() if value or name not in ("files", "removed")}

    @property
    def each(self) -> list[SliceRead]:
        """What was read of each file, without a digest of its own where there are several."""
        return [
            SliceRead(
                source=self.source,
                path=file.path,
                part=file.part,
                file_bytes=file.file_bytes,
                digest=self.digest,
                rows=file.rows,
                rejects=file.rejects,
            )
            for file in self.files
        ] or [self]


@dataclass(frozen=True, kw_only=True)
class NodeLog:
    """A node of the chain, with the fingerprints of what it measures and of what it decides."""

    __pydantic_config__ = STORED
    name: str
    use: str
    version: Whole
    from_: Annotated[list[str], Field(alias="from")]
    signal_fingerprint: Digest
    fingerprint: Digest
    models: dict[str, Digest]


@dataclass(frozen=True, kw_only=True)
class TaskLog:
    """What the logs of a task's shards have in common: identity only, the same on every run."""

    __pydantic_config__ = STORED
    format: Literal[2]
    run: Digest
    seed: Whole
    task: Count
    slices: Annotated[list[SliceRead], Field(min_length=1, max_length=1)]
    slices_root: Digest
    nodes: list[NodeLog]
    settled: dict[str, Digest]
    accounts: Accounts
    licenses: dict[str, StatedLicense | None]
    snapshot: str | None


@dataclass(frozen=True, kw_only=True)
class ShardLog(TaskLog):
    """The log in the footer of a data shard."""

    output: str
    rows: Count
    content_digest: Digest
    shard: Count
    keys: KeySum


@dataclass(frozen=True, kw_only=True)
class TaskEntry:
    """A task in a ledger's log: what it read, its accounts, and how many rows of the ledger are its own."""

    __pydantic_config__ = STORED
    task: Count
    slices: Annotated[list[SliceRead], Field(min_length=1, max_length=1)]
    slices_root: Digest
    accounts: Accounts
    rows: Count


@dataclass(frozen=True, kw_only=True)
class LedgersLog:
    """What the logs of all ledgers have in common."""

    __pydantic_config__ = STORED
    format: Literal[2]
    run: Digest
    seed: Whole
    nodes: list[NodeLog]
    settled: dict[str, Digest]
    licenses: dict[str, StatedLicense | None]
    snapshots: dict[str, str | None]


@dataclass(frozen=True, kw_only=True)
class LedgerLog(LedgersLog):
    """The log in the footer of a ledger, which is that of consecutive tasks, for all outputs: licences and snapshots are
    those of their sources."""

    __pydantic_config__ = STORED
    tasks: Annotated[list[TaskEntry], Field(min_length=1)]
    rows: Count
    content_digest: Digest

    def of(self, task: int) -> TaskLog | None:
        """What the logs of a task's shards have in common; None for a task that is not among the ledger's."""
        entry = next((entry for entry in self.tasks if entry.task == task), None)
        if entry is None:
            return None
        source = entry.slices[0].source
        return TaskLog(
            format=self.format,
            run=self.run,
            seed=self.seed,
            task=task,
            slices=entry.slices,
            slices_root=entry.slices_root,
            nodes=self.nodes,
            settled=self.settled,
            accounts=entry.accounts,
            licenses={source: self.licenses.get(source)},
            snapshot=self.snapshots.get(source),
        )


@dataclass(frozen=True, kw_only=True)
class Shuffle:
    """A shuffle: its seed, and into how many ranges of hashes it divides the rows (a power of two)."""

    __pydantic_config__ = STORED
    seed: Seed
    buckets: Annotated[Count, Field(ge=1, le=1 << 24)]


@dataclass(frozen=True, kw_only=True)
class ShuffleLog:
    """What the logs of a shuffled output's shards have in common: identity only, and all slices together."""

    __pydantic_config__ = STORED
    format: Literal[2]
    run: Digest
    seed: Whole
    output: str
    tasks: Count
    slices_root: Digest
    nodes: list[NodeLog]
    settled: dict[str, Digest]
    licenses: dict[str, StatedLicense | None]
    snapshots: dict[str, str | None]
    shuffle: Shuffle


@dataclass(frozen=True, kw_only=True)
class ShuffledLog(ShuffleLog):
    """The log in the footer of a shuffled output's shard: its rows come from all tasks."""

    bucket: Count
    shard: Count
    rows: Count
    content_digest: Digest
    keys: KeySum
