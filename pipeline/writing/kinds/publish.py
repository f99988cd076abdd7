"""Writing the kinds of an output: after its shards, one task for each shard and kind, committed one by one.

A task reads its shard back from where the run wrote it, so kinds follow from the published bytes, whatever wrote them: tasks
or, in a shuffled output, buckets. A killed run goes on with those that are not committed.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.document import TEXT, one_chunk
from gristmill.pipeline.errors import ConfigError, DataError, nearest
from gristmill.pipeline.executor import Executor, in_order
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.provenance.files import NO_TASK, file_row
from gristmill.pipeline.provenance.kinds import (
    INDEX,
    KindLog,
    KindSettings,
    KindShard,
    KindTotals,
    index_path,
    index_role,
    kind_role,
    stem_of,
    tokenizer_path,
)
from gristmill.pipeline.provenance.statement import FORMAT_VERSION
from gristmill.pipeline.provenance.task_record import Attempt, KindRecord, OutputFile, read_record, write_record
from gristmill.pipeline.provenance.values import to_json
from gristmill.pipeline.storage import exists, folders_synced_once, join, remove, write_checked
from gristmill.pipeline.tokenization.tokenizer_file import read_tokenizer
from gristmill.pipeline.work_files import open_checked
from gristmill.pipeline.work_folder import WorkFolder
from gristmill.pipeline.writing.attempt import attempt_folder, is_written
from gristmill.pipeline.writing.kinds.derive import derive
from gristmill.pipeline.writing.kinds.partitions import folder_hashes, partitionable
from gristmill.pipeline.writing.kinds.target import Written
from gristmill.pipeline.writing.parquet import write_parquet
from gristmill.pipeline.writing.task_files import data_columns

if TYPE_CHECKING:
    from gristmill.pipeline.planning.graph import Output
    from gristmill.pipeline.planning.plan import Plan

NOTHING_VARIES = Attempt(host="", started=0.0, seconds=0.0)
CHUNK = 64
"""Shards whose partitions one task counts."""


def check_kinds(plan: Plan) -> None:
    """Raises ConfigError for a kind that the columns of its output cannot be made into."""
    for output in plan.graph.outputs:
        columns = dict(data_columns(plan, output))
        for name, kind in output.config.kinds.items():
            if kind.tokens and TEXT not in columns:
                place = plan.config.where(f"outputs.{output.name}.kinds.{name}")
                raise ConfigError(f"{place}: the output has no column `text`, so there is nothing to tokenise.")
            where = plan.config.where(f"outputs.{output.name}.kinds.{name}.partition_by")
            for column in kind.partition_by:
                if column not in columns:
                    raise ConfigError(f"{where}: the output has no column `{column}`; {nearest(column, list(columns))}")
                if not partitionable(columns[column]) or not column.replace("_", "").replace("-", "").isalnum():
                    raise ConfigError(
                        f"{where}: `{column}` ({columns[column]}) cannot name folders. Partitions are by columns of text, "
                        "whole numbers, booleans or dates whose names have letters, digits, `_` and `-` alone."
                    )


@dataclass(frozen=True)
class KindJob:
    """One shard of one kind.

    Attributes:
        folder, attempt: the output's, and where the run writes it.
        task: of the shard in files.parquet.
        log: the index's log, but for what follows from what is written.
        record: where the record goes.
    """

    folder: str
    attempt: str
    run: str
    output: str
    kind: str
    settings: KindSettings
    shard: KindShard
    task: int
    key: str
    record: str


def publish_kinds(
    plan: Plan, work: WorkFolder, output: Output, shards: Sequence[Mapping[str, Any]], executor: Executor
) -> tuple[list[dict[str, Any]], dict[str, KindTotals]]:
    """Writes the kinds of an output; committed ones are not written again.

    Args:
        shards: the rows of files.parquet about the shards.

    Returns the rows of files.parquet about the kinds' files, and the kinds' totals. Raises DataError for too many partitions.
    """
    rows: list[dict[str, Any]] = []
    totals: dict[str, KindTotals] = {}
    made = [_shard(row) for row in shards]
    for name, settings in plan.kinds(output).items():
        if settings.tokenizer is not None:
            copied = _tokenizer(plan, output, name, settings)
            rows.append(file_row(copied, NO_TASK, None, NOTHING_VARIES, output.name))
        if settings.partition_by:
            _check_partitions(plan, output, name, settings, made, executor)
        jobs = (
            _job(plan, work, output, name, settings, shard, row["task"])
            for shard, row in zip(made, shards, strict=True)
        )
        records = list(in_order(executor, publish_kind, jobs))
        for record, row in zip(records, shards, strict=True):
            rows += [file_row(file, row["task"], None, record.varies, output.name) for file in record.files]
        own = [file for record in records for file in record.files if file.role == kind_role(name)]
        own += [] if settings.tokenizer is None else [copied]
        totals[name] = KindTotals(
            files=len(own),
            bytes=sum(file.size for file in own),
            documents=sum(shard.rows for shard in made),
            units=sum(record.units for record in records),
        )
    return rows, totals


def _tokenizer(plan: Plan, output: Output, name: str, settings: KindSettings) -> OutputFile:
    """Copies a kind's tokenizer into the output. Raises ConfigError when the file is no longer what was planned with."""
    path, source = tokenizer_path(name), output.config.kinds[name].tokenizer or ""
    data = read_tokenizer(source)
    found = hashlib.sha256(data).hexdigest()
    if found != settings.tokenizer:
        raise ConfigError(
            f"{source}: the tokenizer changed while the run was on (expected SHA-256 {settings.tokenizer}, found {found}). "
            "Restore it, and run the same command again."
        )
    attempt = attempt_folder(plan, output)
    if not is_written(output.config.path, attempt, path, found, len(data)):
        write_checked(join(attempt, path), lambda stream: stream.write(data))
    return OutputFile(
        path=path, role=kind_role(name), size=len(data), sha256=found, content_digest=found, rows=0, keys=0
    )


def _shard(row: Mapping[str, Any]) -> KindShard:
    return KindShard(
        path=row["path"],
        sha256=row["sha256"],
        content_digest=row["content_digest"],
        rows=row["rows"],
        keys=int(row["keys"], 16),
    )


def _job(
    plan: Plan, work: WorkFolder, output: Output, name: str, settings: KindSettings, shard: KindShard, task: int
) -> KindJob:
    key = digest("gristmill.kind", [plan.key, output.config.path, name, to_json(settings), to_json(shard)])
    record = work.at("kinds", output.name, name, f"{stem_of(shard.path)}-{key[:32]}.json")
    place = output.config.path, attempt_folder(plan, output)
    return KindJob(*place, plan.key, output.name, name, settings, shard, task, key, record)


def publish_kind(job: KindJob) -> KindRecord:
    """Makes one kind of one shard, unless that is committed, and commits its record."""
    done = read_record(KindRecord, job.record)
    if done is not None:
        if all(is_written(job.folder, job.attempt, file.path, file.sha256, file.size) for file in done.files):
            return done
        remove(job.record)
    started, name = time.time(), f"{socket.gethostname()}-{job.key[:8]}"
    with folders_synced_once():
        files, units = _written(job, name)
    varies = Attempt(host=socket.gethostname(), started=started, seconds=time.time() - started)
    record = KindRecord(kind=job.kind, key=job.key, files=files, units=units, varies=varies)
    write_record(job.record, record)
    return record


def _written(job: KindJob, attempt: str) -> tuple[list[OutputFile], int]:
    stem = stem_of(job.shard.path)
    with opened_shard(job.folder, job.attempt, job.shard) as pieces:
        made = derive(job.kind, job.settings, stem, pieces, Written(job.attempt, attempt), _copied_tokenizer(job))

    def log(rows: int, content: str) -> KindLog:
        return KindLog(
            format=FORMAT_VERSION,
            run=job.run,
            output=job.output,
            kind=job.kind,
            settings=job.settings,
            shard=job.shard,
            files=list(made.files),
            rows=rows,
            content_digest=content,
            units=made.units,
        )

    path = index_path(job.kind, stem)
    index = write_parquet(join(job.attempt, path), INDEX, iter([made.index]), log, attempt=attempt)
    files = [
        OutputFile(
            path=file.path,
            role=kind_role(job.kind),
            size=file.size,
            sha256=file.sha256,
            content_digest=file.content_digest,
            rows=file.rows,
            keys=0,
        )
        for file in made.files
    ]
    own = OutputFile(
        path=path,
        role=index_role(job.kind),
        size=index.file.size,
        sha256=index.file.sha256,
        content_digest=index.content_digest,
        rows=index.rows,
        keys=job.shard.keys,
    )
    return [*files, own], made.units


def _copied_tokenizer(job: KindJob) -> bytes | None:
    """The tokenizer of a job's kind, as the run copied it into the output, where all workers reach it."""
    if job.settings.tokenizer is None:
        return None
    path = tokenizer_path(job.kind)
    place = join(job.attempt, path)
    place = place if exists(place) else join(job.folder, path)
    with open_checked(place, job.settings.tokenizer, f"{place}: the tokenizer is not what was copied there") as stream:
        return bytes(stream.read())


@contextmanager
def opened_shard(
    folder: str, attempt: str, shard: KindShard, columns: Sequence[str] | None = None
) -> Iterator[Iterator[pa.Table]]:
    """A shard's row groups, from where the run wrote it or has moved it. Raises ConservationError for another file."""
    place = join(attempt, shard.path)
    place = place if exists(place) else join(folder, shard.path)
    with open_checked(place, shard.sha256, f"{place}: the shard is not what was written") as stream:
        file = pq.ParquetFile(stream)
        groups = range(file.metadata.num_row_groups)
        yield (file.read_row_group(group, columns=columns, use_threads=False) for group in groups)


# Partitions


@dataclass(frozen=True)
class CountJob:
    """The partitions of some shards."""

    folder: str
    attempt: str
    shards: tuple[KindShard, ...]
    columns: tuple[str, ...]


def count_partitions(job: CountJob) -> pa.Table:
    """The hashes of the partitions that some shards have rows for, each once."""
    found = np.empty(0, np.uint64)
    for shard in job.shards:
        with opened_shard(job.folder, job.attempt, shard, job.columns) as pieces:
            table = pa.concat_tables(pieces).combine_chunks()
        found = np.union1d(found, folder_hashes(table, job.columns))
    return pa.table({"hash": pa.array(found, pa.uint64())})


def _check_partitions(
    plan: Plan, output: Output, name: str, settings: KindSettings, shards: Sequence[KindShard], executor: Executor
) -> None:
    """Raises DataError when the corpus has more partitions than the config allows: each would be a file in every shard."""
    place, columns = (output.config.path, attempt_folder(plan, output)), tuple(settings.partition_by)
    chunks = (tuple(shards[start : start + CHUNK]) for start in range(0, len(shards), CHUNK))
    found = np.empty(0, np.uint64)
    for table in in_order(executor, count_partitions, (CountJob(*place, some, columns) for some in chunks)):
        found = np.union1d(found, one_chunk(table["hash"]).to_numpy())
    if len(found) > settings.most_partitions:
        where = plan.config.where(f"outputs.{output.name}.kinds.{name}.partition_by")
        raise DataError(
            f"{where}: the corpus has {len(found):,} partitions by "
            f"{', '.join(f'`{column}`' for column in columns)}; at most {settings.most_partitions:,} are made "
            "(`most_partitions`). Partition by columns of few values, or raise the bound. Nothing was published."
        )
