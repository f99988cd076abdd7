"""A new version of one output, written beside its place: shards, sidecars and kinds without the documents, the rest copied."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.provenance.files import FILES, FILES_TABLE, NO_TASK, file_row
from gristmill.pipeline.provenance.kinds import (
    KindLog,
    KindShard,
    KindTotals,
    index_role,
    is_of_kind,
    kind_role,
    stem_of,
    tokenizer_path,
)
from gristmill.pipeline.provenance.logs import ShardLog, ShuffledLog, TaskEntry
from gristmill.pipeline.provenance.removal import REMOVED_ROLE, kept_rows
from gristmill.pipeline.provenance.task_record import Attempt, OutputFile
from gristmill.pipeline.provenance.values import extend, parse
from gristmill.pipeline.removal.old_run import OldOutput, OldRun, Row
from gristmill.pipeline.removal.shards import OF_BUCKET, OF_TASK, Shards
from gristmill.pipeline.removal.sidecars import names_any, removed_list, removed_path, rewritten
from gristmill.pipeline.storage import join, open_within, write_checked
from gristmill.pipeline.writing.file_totals import FileTotals
from gristmill.pipeline.writing.kinds.publish import KindJob, publish_kind
from gristmill.pipeline.writing.parquet import Shard, read_log, write_parquet
from gristmill.pipeline.writing.shuffle import bucket_count
from gristmill.pipeline.writing.sidecars import LEDGER_ROLE

_BLOCK = 4 << 20
NewRow = dict[str, Any]
"""A row of files.parquet that is to be."""


@dataclass(frozen=True)
class Change:
    """What is taken out of a run.

    Attributes:
        removed: doc_keys (uint64, documents × 2), ascending.
        entries: of tasks that lose some, what the ledger's log says from now on.
        digests: by task, the keyed digests of its documents that go.
        number: which of the manifest's removals this is.
    """

    run: OldRun
    removed: np.ndarray
    entries: Mapping[int, TaskEntry]
    digests: Mapping[int, list[bytes]]
    number: int


@dataclass(frozen=True)
class Version:
    """A version that is written, but for the manifest and what goes with it."""

    files: FileTotals
    table: Shard
    kinds: dict[str, KindTotals]


class SharedFiles:
    """The sidecars of the new versions, each written once into the attempt folder of the output that holds it."""

    def __init__(self, change: Change, attempts: Mapping[str, str]) -> None:
        self.change, self.attempts = change, attempts
        self._done: dict[tuple[str, str], NewRow | None] = {}

    def row(self, old: Row) -> NewRow | None:
        """The new row of files.parquet for a sidecar; None where nothing is left of it."""
        place = old["output"], old["path"]
        if place not in self._done:
            self._done[place] = self._written(old)
        return self._done[place]

    def _written(self, old: Row) -> NewRow | None:
        change, folder, began = self.change, self.attempts[old["output"]], time.time()
        tasks = range(old["task"], old["task"] + old["tasks"])
        concerned = any(task in change.entries for task in tasks)
        if old["role"] == LEDGER_ROLE and not concerned:
            concerned = names_any(change.run, old, change.removed)
        if not concerned:
            return copied(change.run, old, folder)
        file = rewritten(change.run, old, folder, change.removed, change.entries)
        return None if file is None else _again(old, file, began)

    def removed_of(self, ledger: Row) -> NewRow | None:
        """The row of the list of keyed digests beside a ledger; None where it has lost no documents."""
        place, began = (ledger["output"], removed_path(ledger)), time.time()
        if place not in self._done:
            change = self.change
            file = removed_list(change.run, ledger, self.attempts[ledger["output"]], change.digests, change.number)
            self._done[place] = None if file is None else _again(ledger, file, began)
        return self._done[place]


def write_version(change: Change, old: OldOutput, target: str, shared: SharedFiles) -> Version:
    """Writes an output's new version into its attempt folder. `target`: where it is to lie."""
    attempt = shared.attempts[old.name]
    data = (_shuffled if old.shuffled else _by_task)(change, old, attempt)
    rows: list[NewRow] = []
    for row in old.listed:
        if row["role"] == "data":
            rows += data.pop(row["path"], [])
        elif row["role"] != REMOVED_ROLE and not is_of_kind(row["role"]):
            made = shared.row(row)
            rows += [] if made is None else [made]
            lists = shared.removed_of(row) if row["role"] == LEDGER_ROLE else None
            rows += [] if lists is None else [lists]
    more, kinds = _kinds(change, old, target, attempt, [row for row in rows if row["role"] == "data"])
    files = FileTotals(old.name)
    listing = [pa.Table.from_pylist([*rows, *more], schema=FILES)]
    table = write_parquet(join(attempt, FILES_TABLE), FILES, files.counted(listing))
    return Version(files, table, kinds)


def copied(run: OldRun, row: Row, folder: str) -> NewRow:
    """Copies a file as it is. Raises DataError for one that is not what was listed."""
    where = run.outputs[row["output"]].folder

    def write(stream: Any) -> None:
        with open_within(where, row["path"]) as source:
            while block := source.read(_BLOCK):
                stream.write(block)

    written = write_checked(join(folder, row["path"]), write)
    if written.sha256 != row["sha256"]:
        raise DataError(
            f"{run.place(row)}: expected the SHA-256 {row['sha256']}, found {written.sha256}. Restore it first."
        )
    return dict(row)


def _attempt(began: float) -> Attempt:
    return Attempt(host=socket.gethostname(), started=began, seconds=time.time() - began)


def _again(old: Row, file: OutputFile, began: float) -> NewRow:
    """The row of a sidecar in place of an old one, or beside it."""
    made = file_row(file, old["task"], None, _attempt(began), old["output"], old["tasks"])
    return {**made, **{name: old[name] for name in ("source", "slice_path", "slice_part", "slice_digest")}}


# Shards: by the path of an old one, the rows that stand in its place


def _by_task(change: Change, old: OldOutput, attempt: str) -> dict[str, list[NewRow]]:
    found: dict[str, list[NewRow]] = {}
    of_task: dict[int, list[Row]] = {}
    for row in old.shards:
        of_task.setdefault(row["task"], []).append(row)
    for task, rows in of_task.items():
        if task not in change.entries:
            found |= {row["path"]: [copied(change.run, row, attempt)] for row in rows}
            continue
        one = change.entries[task].slices[0]
        began = time.time()
        files = _of_task(change, old, task, rows, attempt)
        found[rows[0]["path"]] = [file_row(file, task, one, _attempt(began), old.name) for file in files]
    return found


def _of_task(change: Change, old: OldOutput, task: int, rows: Sequence[Row], attempt: str) -> list[OutputFile]:
    entry = change.entries[task]
    before = next(found for log in change.run.logs.values() if (found := log.of(task)) is not None)
    common = replace(before, slices=entry.slices, accounts=entry.accounts)

    def log(number: int, count: int, content: str, keys: int) -> ShardLog:
        own = {"output": old.name, "shard": number, "rows": count, "content_digest": content, "keys": keys}
        return extend(ShardLog, common, **own)

    shards = Shards(change.run, rows, change.removed, OF_TASK, _shard_bytes(old))
    return shards.write(attempt, lambda number: f"data/part-{task:05d}-{number:02d}.parquet", log)


def _shuffled(change: Change, old: OldOutput, attempt: str) -> dict[str, list[NewRow]]:
    rows = old.shards
    if not rows:
        return {}
    with change.run.opened(rows[0]) as file:
        common = parse(ShuffledLog, read_log(file.metadata.metadata) or {})
    whole = Shards(change.run, rows, change.removed, OF_BUCKET, _shard_bytes(old))
    # What tasks stage, by which a run finds the number of buckets, counts 4 bytes a row less than what buckets cut.
    buckets = min(common.shuffle.buckets, bucket_count(int(whole.sizes(OF_TASK).sum()), _shard_bytes(old)))
    together = common.shuffle.buckets // buckets
    of_bucket: dict[int, list[Row]] = {}
    for row in rows:
        of_bucket.setdefault(int(stem_of(row["path"]).split("-")[1]) // together, []).append(row)
    found: dict[str, list[NewRow]] = {}
    for bucket, some in of_bucket.items():
        if together == 1 and not _loses(change, some):
            found |= {row["path"]: [copied(change.run, row, attempt)] for row in some}
            continue
        began = time.time()
        shuffle = replace(common.shuffle, buckets=buckets)
        log = partial(_bucket_log, replace(common, bucket=bucket, shuffle=shuffle))
        files = replace(whole, rows=some).write(attempt, partial(_bucket_path, bucket), log)
        found[some[0]["path"]] = [file_row(file, NO_TASK, None, _attempt(began), old.name) for file in files]
    return found


def _bucket_log(common: ShuffledLog, number: int, count: int, content: str, keys: int) -> ShuffledLog:
    return replace(common, shard=number, rows=count, content_digest=content, keys=keys)


def _bucket_path(bucket: int, number: int) -> str:
    return f"data/part-{bucket:05d}-{number:02d}.parquet"


def _loses(change: Change, rows: Sequence[Row]) -> bool:
    pieces = (piece for row in rows for piece in change.run.pieces(row, (DOC_KEY,)))
    return any(not kept_rows(piece[DOC_KEY], change.removed).all() for piece in pieces)


def _shard_bytes(old: OldOutput) -> int:
    found = (old.manifest.identity.outputs[old.name].model_extra or {}).get("shard_bytes")
    if not isinstance(found, int):
        raise DataError(f"{old.folder}: its manifest does not say how large shards are. Audit the output first.")
    return found


# Kinds


def _kinds(
    change: Change, old: OldOutput, target: str, attempt: str, shards: Sequence[NewRow]
) -> tuple[list[NewRow], dict[str, KindTotals]]:
    """The kinds of the new shards: made again from those that changed, and copied of the others."""
    same = {row["path"]: row["sha256"] for row in old.shards}
    rows: list[NewRow] = []
    totals: dict[str, KindTotals] = {}
    for name in old.manifest.identity.outputs[old.name].kinds:
        began = len(rows)
        files = [row for row in old.listed if row["role"] in (kind_role(name), index_role(name))]
        rows += [copied(change.run, row, attempt) for row in files if row["path"] == tokenizer_path(name)]
        units = 0
        for shard in shards:
            stem = stem_of(shard["path"])
            if same.get(shard["path"]) == shard["sha256"]:
                mine = [row for row in files if row["path"].rpartition("/")[2].partition(".")[0] == stem]
                rows += [copied(change.run, row, attempt) for row in mine]
                units += sum(_units(change.run, row) for row in mine if row["role"] == index_role(name))
            else:
                record = publish_kind(_kind_job(old, name, shard, target, attempt))
                rows += [file_row(file, shard["task"], None, record.varies, old.name) for file in record.files]
                units += record.units
        own = [row for row in rows[began:] if row["role"] == kind_role(name)]
        totals[name] = KindTotals(
            files=len(own),
            bytes=sum(row["size"] for row in own),
            documents=sum(row["rows"] for row in shards),
            units=units,
        )
    return rows, totals


def _units(run: OldRun, index: Row) -> int:
    with run.opened(index) as file:
        return parse(KindLog, read_log(file.metadata.metadata) or {}).units


def _kind_job(old: OldOutput, name: str, row: NewRow, target: str, attempt: str) -> KindJob:
    shard = KindShard(
        path=row["path"], sha256=row["sha256"], content_digest=row["content_digest"], rows=row["rows"],
        keys=int(row["keys"], 16),
    )  # fmt: skip
    settings = old.manifest.identity.outputs[old.name].kinds[name]
    key = digest("gristmill.kind", [old.manifest.run, name, shard.sha256])
    record = join(attempt, "kinds-done", name, f"{stem_of(shard.path)}.json")
    return KindJob(target, attempt, old.manifest.run, old.name, name, settings, shard, row["task"], key, record)
