"""Checks of a shuffled output's shards: each row stands where its hash says, and goes back to the task that it names.

A shard has rows of many tasks, and a task rows in many shards. So each shard is read once, whole, and leaves a small
file of its rows' identities, sorted by task; the checks that join a task's rows with its ledger read them from there.
Runs in the reading process (pipeline.audit.child). Memory: the rows of some tasks, 44 bytes each.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.audit.documents import sound_log
from gristmill.pipeline.audit.key_order import name_of
from gristmill.pipeline.audit.messages import Answer, Entry, TaskJob
from gristmill.pipeline.audit.scan_file import scanned
from gristmill.pipeline.audit.shares import SeenRows, shares_of_shard
from gristmill.pipeline.document import COPY, DOC_KEY, FROM_TASK, TEXT, key_words, keys_from_words, one_chunk
from gristmill.pipeline.exchange.hash_kernels import hash_rows
from gristmill.pipeline.provenance.logs import ShuffledLog
from gristmill.pipeline.provenance.values import to_json
from gristmill.pipeline.writing.shuffle import range_of, shuffle_hash, shuffle_order

ROW = np.dtype(
    [
        ("high", np.uint64),
        ("low", np.uint64),
        ("copy", np.int64),
        ("task", np.int32),
        ("row", np.int64),
        ("text", np.uint64),
    ]
)
"""A row of a shard: doc_key, copy, the task it names, its number in the shard, a hash of its text."""


def check_shard(argument: Mapping[str, Any]) -> dict[str, Any]:
    """All checks of one shuffled shard by itself; leaves its rows' identities in the folder `spill`.

    `argument`: folder, entry (an Entry), seed (of the shuffle), tasks (of the run), spill, number (of the shard), sources and
    licenses (see `shares_of_shard`; no sources where no shares are stated). The answer is an Answer as JSON, with `left`:
    whether the identities were written, and `shares`.
    """
    answer = Answer()
    entry = Entry(**argument["entry"])
    texts: list[np.ndarray] = []

    seen = SeenRows()

    def each(group: int, piece: pa.Table) -> None:
        if argument["sources"]:
            seen.add(group, piece)
        if TEXT in piece.schema.names:
            texts.append(text_hashes(piece[TEXT]))

    table, found = scanned(entry.folder, entry, [DOC_KEY, COPY, FROM_TASK], answer, each)
    log = sound_log(ShuffledLog, found)
    left = table is not None and log is not None and _left(table, log, texts, entry.path, argument, answer)
    shares = None
    if left and argument["sources"]:
        shares = shares_of_shard(seen, argument["sources"], argument["licenses"])
    return {**answer.to_json(), "left": left, "shares": None if shares is None else to_json(shares)}


def text_hashes(column: pa.ChunkedArray) -> np.ndarray:
    """64-bit hashes of texts, whatever the width of their offsets."""
    return np.asarray(hash_rows([one_chunk(column).cast(pa.large_string())], len(column)))


def _left(
    table: pa.Table,
    log: ShuffledLog,
    texts: list[np.ndarray],
    path: str,
    argument: Mapping[str, Any],
    answer: Answer,
) -> bool:
    answer.saw("join")
    for name in (COPY, FROM_TASK):
        if name not in table.schema.names or table.schema.field(name).type != pa.int32() or table[name].null_count:
            answer.fail("join", f"has no column `{name}` of 32-bit integers without nulls", path)
            return False
    rows = np.empty(table.num_rows, ROW)
    words = key_words(table[DOC_KEY])
    rows["high"], rows["low"] = words[:, 0], words[:, 1]
    rows["copy"], rows["task"] = (one_chunk(table[name]).to_numpy() for name in (COPY, FROM_TASK))
    rows["row"] = np.arange(len(rows))
    rows["text"] = np.concatenate(texts) if texts else 0
    hashes = shuffle_hash(words, rows["copy"], argument["seed"])
    wrong = np.flatnonzero(shuffle_order(hashes, words, rows["copy"]) != rows["row"])
    outside = np.flatnonzero(range_of(hashes, log.shuffle.buckets) != log.bucket)
    stray = np.flatnonzero((rows["task"] < 0) | (rows["task"] >= argument["tasks"]))
    for found, message in (
        (wrong, "is not where the shuffle's seed puts it"),
        (outside, "belongs in another bucket of the shuffle"),
        (stray, f"names a task that does not exist; tasks of the run: {argument['tasks']}"),
    ):
        if len(found):
            row = int(found[0])
            more = f" (and {len(found) - 1} more rows)" if len(found) > 1 else ""
            answer.fail("join", message + more, path, row=row, document=name_of(words[row]))
    rows = rows[np.argsort(rows["task"], kind="stable")]
    np.save(spilled(argument["spill"], argument["number"]), rows, allow_pickle=False)
    return True


def spilled(folder: str, number: int) -> Path:
    """Where the identities of a shard's rows lie."""
    return Path(folder) / f"shard-{number:08d}.npy"


@lru_cache(maxsize=1)
def _group(spill: str, paths: tuple[str, ...], first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the tasks from `first` to before `stop`, sorted by task, and the number of the shard of each."""
    parts, files = [np.empty(0, ROW)], [np.empty(0, np.int64)]
    for number in range(len(paths)):
        rows = np.load(spilled(spill, number), mmap_mode="r", allow_pickle=False)
        begin, end = np.searchsorted(rows["task"], [first, stop])
        parts.append(np.array(rows[begin:end]))
        files.append(np.full(end - begin, number, np.int64))
    rows, shard = np.concatenate(parts), np.concatenate(files)
    order = np.argsort(rows["task"], kind="stable")
    return rows[order], shard[order]


def rows_of_task(job: TaskJob) -> list[tuple[str, pa.Table | None]]:
    """A task's rows by shard: `doc_key`, `copy`, `row` (its number in the shard), `text_hash`."""
    if job.spill is None:
        return []
    first = job.task // job.span * job.span
    rows, shard = _group(job.spill, job.shards, first, first + job.span)
    begin, end = np.searchsorted(rows["task"], [job.task, job.task + 1])
    rows, shard = rows[begin:end], shard[begin:end]
    found: list[tuple[str, pa.Table | None]] = []
    for number in np.unique(shard).tolist():
        some = rows[shard == number]
        table = pa.table(
            {
                DOC_KEY: keys_from_words(np.stack([some["high"], some["low"]], axis=1)),
                COPY: pa.array(np.ascontiguousarray(some["copy"])),
                "row": pa.array(np.ascontiguousarray(some["row"])),
                "text_hash": pa.array(np.ascontiguousarray(some["text"])),
            }
        )
        found.append((job.shards[number], table))
    return found
