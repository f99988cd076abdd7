"""Shuffled outputs: rows in the order of a seeded hash over the whole corpus, so that copies do not lie beside each other.

The last pass stages a task's rows in the work folder, sorted by that hash; then one task per bucket, a range of hashes,
gathers its rows from all staged files, sorts them and writes the shards. The order depends on (seed, doc_key, copy)
alone, and the number of buckets on the rows' bytes alone. Each row names the task that it came from, so that shards
still join exactly with the ledgers (see docs/decisions/0007).
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import COPY, DOC_KEY, FROM_TASK, TEXT, key_sum, key_words, one_chunk, take, text_bytes
from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.executor import Executor, in_order
from gristmill.pipeline.executor.payloads import ArrowSchema
from gristmill.pipeline.hashing import digest, merkle_root
from gristmill.pipeline.provenance.files import NO_TASK, file_row
from gristmill.pipeline.provenance.logs import NodeLog, Shuffle, ShuffledLog, ShuffleLog
from gristmill.pipeline.provenance.record_index import RecordIndex, RecordRef
from gristmill.pipeline.provenance.statement import FORMAT_VERSION
from gristmill.pipeline.provenance.task_record import (
    Attempt,
    BucketRecord,
    OutputFile,
    StagedFile,
    read_record,
    write_record,
)
from gristmill.pipeline.provenance.values import extend, to_json
from gristmill.pipeline.storage import (
    WrittenFile,
    exists,
    folders_synced_once,
    join,
    read_small,
    remove,
    sha256_of,
    write_checked,
)
from gristmill.pipeline.work_files import HERE, LZ4, open_part, write_work
from gristmill.pipeline.work_folder import WorkFolder
from gristmill.pipeline.writing.attempt import attempt_folder, is_written
from gristmill.pipeline.writing.parquet import Shard, cuts, pieces_of, row_bytes, write_parquet

if TYPE_CHECKING:
    from gristmill.pipeline.planning.graph import Output
    from gristmill.pipeline.planning.plan import Plan

FILL = 0.8
"""Mean fill of buckets in `shard_bytes` at most: random buckets differ a little, and few should need a second shard."""
PARTS = 1024
"""Ranges of hashes that a staged file can be read by, at most; a power of two. Only speed depends on it."""
PART_BYTES = 64 << 10
"""Rows of a range, at least: smaller record batches cost more than reading what another bucket needs."""
MAX_BUCKETS = 1 << 24
_MOST_LIST = 1 << 30

_GOLDEN = 0x9E3779B97F4A7C15
_INDEX = b"gristmill.staged"


def shuffle_hash(words: np.ndarray, copy: np.ndarray, seed: int) -> np.ndarray:
    """Where rows stand in a shuffled output: uint64, ascending.

    Args:
        words: doc_keys (uint64, rows × 2).
        copy: number of the copy (int, rows).
        seed: the shuffle's seed, 0 ≤ seed < 2^63.

    mix(mix(mix(high ⊕ mix(seed + g)) ⊕ low) + copy·g) mod 2^64, where mix is the finalizer of SplitMix64 (Steele, Lea &
    Flood 2014) and g = 9E3779B97F4A7C15 in hexadecimal. Copies of one document get unrelated places.
    """
    golden = np.uint64(_GOLDEN)
    with np.errstate(over="ignore"):
        salt = _mix(np.array([seed], np.uint64) + golden)
        x = _mix(_mix(words[:, 0] ^ salt) ^ words[:, 1])
        return _mix(x + copy.astype(np.uint64) * golden)


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def range_of(hashes: np.ndarray, ranges: int) -> np.ndarray:
    """Which of `ranges` equal ranges (a power of two) each hash lies in, int64."""
    if ranges == 1:
        return np.zeros(len(hashes), np.int64)
    return (hashes >> np.uint64(64 - (ranges - 1).bit_length())).astype(np.int64)


def shuffle_order(hashes: np.ndarray, words: np.ndarray, copy: np.ndarray) -> np.ndarray:
    """Rows in the order of a shuffled output: by hash, then doc_key and copy."""
    return np.lexsort((copy, words[:, 1], words[:, 0], hashes))


def seed_of(plan: Plan, output: Output) -> int:
    """The seed of an output's shuffle: its own, or the run's."""
    shuffle = output.config.shuffle
    return plan.config.seed if shuffle is None or shuffle.seed is None else shuffle.seed


def bucket_count(total_bytes: int, shard_bytes: int) -> int:
    """Buckets of an output: the least power of two that keeps their mean at FILL of a shard or below."""
    wanted = -(-total_bytes // max(1, int(shard_bytes * FILL)))
    return min(MAX_BUCKETS, 1 << max(0, wanted - 1).bit_length())


def sizes_of(table: pa.Table) -> np.ndarray:
    """Encoder-independent bytes of a shard's rows, int64; what the engine adds counts 24."""
    rest = table.drop_columns([DOC_KEY, COPY, FROM_TASK])
    total = np.full(table.num_rows, 24, np.int64)
    if TEXT in rest.schema.names:
        total += text_bytes(rest[TEXT])
        rest = rest.drop_columns([TEXT])
    return np.asarray(total + row_bytes(rest))


# The last pass: a task's rows.


def write_staged(
    location: str,
    schema: pa.Schema,
    hashes: np.ndarray,
    words: np.ndarray,
    lengths: Sequence[int],
    pieces: Iterable[pa.Table],
    total_bytes: int,
    attempt: str,
) -> WrittenFile:
    """Writes a task's rows, sorted as `shuffle_order` says, in record batches that each lie in one range of hashes.

    Args:
        schema: of the shards.
        hashes, words: of all rows, in order.
        lengths: rows of each piece.
        pieces: the rows, in order; each is held in memory once.
        total_bytes: of all rows.

    The schema's metadata holds the number of ranges, and the record batches as [range, rows, key sum in hexadecimal].
    """
    parts = min(PARTS, 1 << (max(1, total_bytes // PART_BYTES).bit_length() - 1))
    part = range_of(hashes, parts)
    ends = np.cumsum(lengths)
    begins = np.union1d(np.flatnonzero(np.r_[True, part[1:] != part[:-1]]), ends[:-1])
    batches = list(zip(begins.tolist(), [*begins[1:].tolist(), len(part)], strict=True))
    index = [[int(part[start]), stop - start, f"{key_sum(words[start:stop]):032x}"] for start, stop in batches]
    schema = schema.with_metadata({_INDEX: json.dumps([parts, index])})

    def write(stream: Any) -> None:
        waiting = iter(batches)
        with pa.ipc.new_file(stream, schema, options=LZ4) as writer:
            for end, piece in zip(ends.tolist(), pieces, strict=True):
                first, stop = end - piece.num_rows, -1
                while stop != end:
                    start, stop = next(waiting)
                    writer.write_table(piece.slice(start - first, stop - start).combine_chunks())

    return write_work(location, write, attempt)


# After the last pass: buckets.


@dataclass(frozen=True)
class BucketJob:
    """One bucket of a shuffled output.

    Attributes:
        buckets: their number, a power of two.
        files: a JSON list of the staged files, each with its SHA-256.
        log: the footer log, but for what is about one shard.
        record: where the bucket's record goes.
    """

    bucket: int
    buckets: int
    files: str
    schema: ArrowSchema
    seed: int
    shard_bytes: int
    folder: str
    log: ShuffleLog
    key: str
    record: str


@dataclass(frozen=True)
class StagedJob:
    """The staged files of some tasks for an output."""

    work: str
    refs: tuple[RecordRef, ...]
    output: str


def staged_files(job: StagedJob) -> list[StagedFile]:
    """The staged files of some tasks. Raises ConservationError for one that is not as it was committed."""
    work = WorkFolder(job.work)
    found = []
    for ref in job.refs:
        for item in ref.read(work).outputs[job.output]:
            if not isinstance(item, StagedFile):
                continue
            path = work.at(item.candidate)
            sha256 = sha256_of(path) if exists(path) else None
            if sha256 != item.sha256:
                raise ConservationError(
                    f"{path}: the staged rows are not what was committed (expected SHA-256 {item.sha256}, found {sha256}). "
                    "Remove the work folder and run again."
                )
            found.append(item)
    return found


def publish_shuffled(
    plan: Plan,
    work: WorkFolder,
    output: Output,
    schema: pa.Schema,
    records: RecordIndex,
    nodes: Sequence[NodeLog],
    settled: Mapping[str, str],
    executor: Executor,
) -> list[dict[str, Any]]:
    """Writes the shards of a shuffled output from what the tasks staged; committed buckets are not written again.

    Args:
        records: of all tasks.
        nodes, settled: the run's nodes and the digests of its settled answers, for the shards' footer logs.

    Returns the rows of files.parquet. Raises ConservationError when staged rows were changed or lost.
    """
    jobs_of_tasks = (StagedJob(work.place, refs, output.name) for refs in records.chunks(len(plan.passes) - 1))
    items = [item for found in in_order(executor, staged_files, jobs_of_tasks) for item in found]
    paths = [work.at(item.candidate) for item in items]
    config = output.config
    buckets = bucket_count(sum(item.bytes for item in items), config.shard_bytes)
    seed = seed_of(plan, output)
    log = _common_log(plan, output, nodes, records, settled, Shuffle(seed=seed, buckets=buckets))
    key = digest("gristmill.buckets", [to_json(log), config.path, config.shard_bytes, [item.sha256 for item in items]])
    folder, attempt = work.at("shuffled", output.name), attempt_folder(plan, output)
    files = join(folder, f"staged-{key[:32]}.json")
    staged = [[path, item.sha256] for path, item in zip(paths, items, strict=True)]
    write_checked(files, lambda stream: stream.write(json.dumps(staged).encode()))
    done: list[BucketRecord] = []
    jobs = []
    for bucket in range(buckets if items else 0):
        place = join(folder, f"bucket-{bucket:05d}-{key[:32]}.json")
        record = _committed(place, config.path, attempt)
        if record is not None:
            done.append(record)
            continue
        own = bucket, buckets, files, schema, seed, config.shard_bytes, attempt, log, key, place
        jobs.append(BucketJob(*own))
    done += [record for _, record in executor.run(publish_bucket, jobs)]
    done.sort(key=lambda record: record.bucket)
    _conserved(output.name, items, [item for record in done for item in record.files])
    return [file_row(item, NO_TASK, None, record.varies, output.name) for record in done for item in record.files]


def _committed(place: str, folder: str, attempt: str) -> BucketRecord | None:
    """A bucket's record, if its shards are there as they were written."""
    record = read_record(BucketRecord, place)
    if record is None:
        return None
    for item in record.files:
        if not is_written(folder, attempt, item.path, item.sha256, item.size):
            remove(place)
            return None
    return record


def publish_bucket(job: BucketJob) -> BucketRecord:
    """Gathers a bucket's rows from the staged files, sorts them, writes its shards and commits its record."""
    started = time.time()
    with folders_synced_once():
        files = _bucket_files(job)
    varies = Attempt(host=socket.gethostname(), started=started, seconds=time.time() - started)
    record = BucketRecord(bucket=job.bucket, key=job.key, files=files, varies=varies)
    write_record(job.record, record)
    return record


def _bucket_files(job: BucketJob) -> list[OutputFile]:
    """Writes a bucket's shards."""
    table, hashes = _gathered(job)
    order = shuffle_order(hashes, key_words(table[DOC_KEY]), one_chunk(table[COPY]).to_numpy())
    sizes = sizes_of(table)[order]
    files = []
    for number, (start, stop) in enumerate(cuts(sizes, job.shard_bytes)):
        rows = order[start:stop]
        keys = key_sum(key_words(one_chunk(table[DOC_KEY]).take(pa.array(rows))))
        path = f"data/part-{job.bucket:05d}-{number:02d}.parquet"

        def footer(n: int, content: str, number: int = number, keys: int = keys) -> ShuffledLog:
            own = {"bucket": job.bucket, "shard": number, "rows": n, "content_digest": content, "keys": keys}
            return extend(ShuffledLog, job.log, **own)

        pieces = (take(table, piece) for piece in pieces_of(rows, sizes[start:stop]))
        attempt = f"{socket.gethostname()}-{job.key[:8]}"
        shard: Shard = write_parquet(join(job.folder, path), job.schema, pieces, footer, attempt=attempt)
        files.append(
            OutputFile(
                path=path,
                role="data",
                size=shard.file.size,
                sha256=shard.file.sha256,
                content_digest=shard.content_digest,
                rows=shard.rows,
                keys=keys,
            )
        )
    return files


def _gathered(job: BucketJob) -> tuple[pa.Table, np.ndarray]:
    """The rows of a bucket, as they lie in the staged files, with their hashes."""
    tables, hashes = [job.schema.empty_table()], [np.empty(0, np.uint64)]
    for path, sha256 in json.loads(read_small(job.files, _MOST_LIST) or b"[]"):
        with open_part(path, sha256) as stream:
            reader = pa.ipc.open_file(stream, options=HERE)
            parts, index = json.loads(reader.schema.metadata[_INDEX])
            for number, (part, count, keys) in enumerate(index):
                # Both numbers are powers of two: a range lies in a bucket, or a bucket in a range.
                if job.bucket * parts // job.buckets != part and part * job.buckets // parts != job.bucket:
                    continue
                rows = pa.Table.from_batches([reader.get_batch(number)]).replace_schema_metadata(None)
                words = key_words(rows[DOC_KEY])
                if rows.num_rows != count or f"{key_sum(words):032x}" != keys:
                    raise ConservationError(
                        f"{path}: record batch {number} does not have the {count} rows that were staged. Remove the work "
                        "folder and run again."
                    )
                found = shuffle_hash(words, one_chunk(rows[COPY]).to_numpy(), job.seed)
                mine = range_of(found, job.buckets) == job.bucket
                tables.append(rows if mine.all() else rows.filter(pa.array(mine)))
                hashes.append(found[mine])
    return pa.concat_tables(tables).combine_chunks(), np.concatenate(hashes)


def _conserved(name: str, items: Sequence[StagedFile], files: Sequence[OutputFile]) -> None:
    """Rows and key sums of the shards are those of the staged files."""
    staged, found = (
        (sum(item.rows for item in some), sum(item.keys for item in some) % (1 << 128)) for some in (items, files)
    )
    if staged != found:
        raise ConservationError(
            f"output `{name}`: {staged[0]} rows with the key sum {staged[1]:032x} were staged, {found[0]} with {found[1]:032x} "
            "are in its shards. This is a defect: please report it, with the work folder."
        )


def _common_log(
    plan: Plan,
    output: Output,
    nodes: Sequence[NodeLog],
    records: RecordIndex,
    settled: Mapping[str, str],
    shuffle: Shuffle,
) -> ShuffleLog:
    return ShuffleLog(
        format=FORMAT_VERSION,
        run=plan.key,
        seed=plan.config.seed,
        output=output.name,
        tasks=records.tasks,
        slices_root=merkle_root(records.slice_digests()),
        nodes=list(nodes),
        settled=dict(settled),
        licenses={spec.name: spec.config.license for spec in plan.config.sources},
        snapshots={spec.name: spec.config.snapshot for spec in plan.config.sources},
        shuffle=shuffle,
    )
