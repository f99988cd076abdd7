"""A finished output as exports read it: its manifest, when its tasks ran, its shards, and licences as SPDX or as statements."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.licence import FACTS, License
from gristmill.pipeline.planning.prior_runs import finished_run
from gristmill.pipeline.provenance.files import FILES_TABLE
from gristmill.pipeline.provenance.statement import Predicate
from gristmill.pipeline.spdx import expression
from gristmill.pipeline.storage import open_within

PRODUCER = "https://gristmill.dev"
"""Who makes these documents, as their formats want it: an address that stands for the program."""


@dataclass(frozen=True)
class Finished:
    """A finished output.

    Attributes:
        folder: where it lies.
        manifest: what made it.
        started, ended: when the first of its tasks began and the last one ended, UTC.
        shards: the source of each data file by its path in the folder; empty where rows of several sources are in it.
        ledgers: rows of files.parquet about the run's ledgers, wherever they lie.
    """

    folder: str
    manifest: Predicate
    started: datetime
    ended: datetime
    shards: Mapping[str, str]
    ledgers: Sequence[Mapping[str, Any]]

    @property
    def config_digest(self) -> str:
        """SHA-256 of the config as it was written. The text itself is not exported: it names paths."""
        return hashlib.sha256(self.manifest.varies.config.encode("utf-8")).hexdigest()

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of the texts that it holds, copies counted."""
        return sum(tally.bytes for tally in self.manifest.accounts.outputs.get(self.manifest.output, {}).values())


def finished(folder: str) -> Finished:
    """Opens a finished output. Raises ConfigError for a folder without one, one of an older format and one that was changed."""
    manifest, listed = finished_run(folder, folder)
    ended = _moment(folder, manifest.varies.written)
    with open_within(folder, FILES_TABLE) as stream:
        table = pq.ParquetFile(stream).read(columns=["path", "role", "source", "started"], use_threads=False)
    starts, files = table["started"], table.select(["path", "role", "source"]).to_pylist()
    first = pc.min(starts).as_py() if len(starts) else None
    started = ended if not first or not 0 < first <= ended.timestamp() else datetime.fromtimestamp(first, UTC)
    shards = {item["path"]: item["source"] for item in files if item["role"] == "data"}
    return Finished(folder, manifest, started, ended, shards, [item for item in listed if item["role"] == "ledger"])


def _moment(folder: str, written: str) -> datetime:
    try:
        found = datetime.fromisoformat(written)
    except ValueError as error:
        raise ConfigError(
            f"{folder}: its manifest was written at {written!r:.60}, which is no time. `gristmill audit {folder}` shows what "
            "else differs."
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def timestamp(moment: datetime) -> str:
    """As ISO 8601 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def licence_facts(licence: License | None) -> dict[str, str]:
    """A source's licence as texts: `spdx` where it is an expression, `statement` where it is words; who states it, on what
    evidence; and what else is known of the rights (lists joined by semicolons)."""
    if licence is None:
        return {}
    found = expression(licence.spdx or "")
    words = licence.statement if licence.statement is not None or found else licence.spdx
    facts = ({"spdx": found} if found else {}) | ({} if words is None else {"statement": words})
    facts |= {"stated_by": licence.stated_by} | ({"evidence": licence.evidence} if licence.evidence else {})
    for name in FACTS:
        value = getattr(licence, name)
        if value is not None:
            facts[name] = value if isinstance(value, str) else "; ".join(value) or "none"
    return facts
