"""The keys at the top of a config and of an entry of `stages:`, with what each may hold, for the reader and the reference."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

EXCHANGE_BYTES = 384 << 20
"""Budget of one exchange operator's process, where a config names no other."""
SIDECAR_DOCUMENTS = 1_000_000
"""Documents that a file of the ledger or of signals is about, at most, where a config names no other number."""


def _key(default: Any, expected: str, example: Any, otherwise: str | None = None, **bounds: Any) -> Any:
    """A key, with what it expects in words, as messages and the reference have it, and a default that no value says."""
    extra: dict[str, Any] = {"expected": expected} | ({} if otherwise is None else {"otherwise": otherwise})
    return Field(default, examples=[example], json_schema_extra=extra, **bounds)


class TopLevel(BaseModel):
    """A config: a map with these keys. Sections are read entry by entry, each by the model of its kind."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    name: str = _key("", "text", "web", "the file's name", min_length=1)
    """What the run is called in its manifest and in dataset cards. Default: the file's without its ending."""
    description: Any = _key(None, "anything", "Web pages of 2026, German and English")
    """For readers of the config. Gristmill does not use it."""
    seed: int = _key(0, "an integer from 0 to 2^63 - 1", 17, ge=0, lt=1 << 63)
    """What is drawn (samples of files, the order of a shuffled output, the fraction of a repeat) is drawn by a hash of it."""
    sources: Any = _key(..., "a map of names to sources", {"crawl": {"format": "parquet", "paths": ["data/*.parquet"]}})
    """Where documents come from. A source's name enters the identity of its documents."""
    stages: Any = _key(
        None, "a map of names to stages", {"language": {"keep": ["de", "en"]}, "clean": {"use": "drop_marked"}}
    )
    """The nodes of the graph, in order: each reads the one before it, unless `from` says otherwise. Without any, documents
    go from the sources to the outputs."""
    outputs: Any = _key(..., "a map of names to outputs", {"corpus": {"path": "out/corpus"}})
    """The folders that are written, each from one port."""
    discard: Any = _key(None, "a name or a list of names", ["toxicity.toxic"])
    """Ports whose documents go nowhere. A port that leads nowhere and is not named here is an error."""
    expect: Any = _key(None, "a map of nodes to shares, each as [least, most]", {"language": {"emitted": [0.2, 0.9]}})
    """Shares of a node's documents, by port or as `emitted` and `dropped`; one outside these bounds stops the run with exit
    code 3."""
    revoked: Any = _key(
        None,
        "a file of a revocation list, or a list of them",
        ["private/withdrawn.jsonl", {"path": "private/domains.txt", "kind": "domain"}],
    )
    """Documents that never reach a node: lists of URLs, domains, ids and digests of contents ([rights.md](rights.md))."""
    resources: Any = _key(None, "a map of nodes to what they need", {"toxicity": {"gpus": 0.5}})
    """What tasks of a node get, where it differs from what its stage states."""
    work: str | None = _key(None, "a folder", "s3://bucket/work", min_length=1)
    """Where a run keeps what it has done so far: a folder that all nodes mount, or a place in a bucket. Default: beside the
    first output. Removed after success."""
    max_quarantined: float = _key(0.001, "a share from 0 to 1", 0.01, ge=0, le=1)
    """Share of the input's bytes that may be unreadable. More than that, and more than 10 records, fail the run."""
    exchange_bytes: int = _key(EXCHANGE_BYTES, f"bytes, at least {1 << 20}", 1 << 30, ge=1 << 20)
    """Memory for the rows that a process sorts or joins for stages that see the whole corpus. It cannot change a result."""
    sidecar_documents: int = _key(SIDECAR_DOCUMENTS, "a number of documents, at least 1", 100_000, ge=1)
    """Documents that a file of `ledger/` or `signals/` is about, at most, unless one task has more."""


class StageEntry(BaseModel):
    """Keys of every entry of `stages:`; beside them stand the stage's own settings (`gristmill stages NAME`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    use: str | None = Field(None, examples=["drop_marked"])
    """The stage. Default: the one that has the entry's name."""
    inputs: str | list[str] | None = Field(None, alias="from", examples=["toxicity.mild"])
    """What it reads: nodes, a node's port as `NODE.PORT`, or sources. Default: the entry before it; the first one reads all
    sources."""
