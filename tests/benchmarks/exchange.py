"""The exchange on synthetic MinHash notes with a Zipf tail of clusters: time and memory per document, by size.

    python -m tests.benchmarks.exchange 1e5 1e6 1e7 [--budget-mib 512] [--folder DIR]

Each size runs in a process of its own, so that its peak memory is its own; another makes the notes. Notes have 14 rows
a document, (band, bucket, doc_key, task); documents of a cluster share about three buckets in four. Steps: group by
(band, bucket) into edges from a bucket's lowest document to its others; components of the edges; delivery of the labels
to 64 tasks. One core.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import KEY_TYPE, key_words, keys_from_bytes, keys_from_words, one_chunk
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.file_exchange import FileExchange
from gristmill.pipeline.exchange.union_find import EDGE_SCHEMA
from gristmill.pipeline.executor.inline import InlineExecutor

BANDS = 14
TASKS = 64
NOTES = pa.schema([("band", pa.int16()), ("bucket", pa.uint64()), ("doc_key", KEY_TYPE), ("task", pa.int32())])
ROOT = Path(__file__).resolve().parents[2]
CHUNK = 1 << 17
"""Documents made at once."""


def make_notes(documents: int, folder: Path, seed: int = 1) -> Rows:
    """Notes in files of 2^20 documents. Four documents in ten are in clusters whose sizes have a Zipf tail of exponent
    2, the largest a hundredth of the corpus."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    clustered = int(documents * 0.4)
    sizes = np.minimum(rng.zipf(2.0, clustered) + 1, max(2, documents // 100))
    ends = np.cumsum(sizes)
    ends = ends[: np.searchsorted(ends, clustered) + 1]
    # An odd multiplier and a power of two make a permutation, which spreads every cluster over all files.
    spread = 1 << (documents - 1).bit_length()
    files: list[str] = []
    writer = None
    written = 0
    for start in range(0, spread, CHUNK):
        if start % (1 << 20) == 0:
            if writer is not None:
                writer.close()
            files.append(str(folder / f"notes-{len(files):05d}.arrow"))
            writer = pa.ipc.new_file(files[-1], NOTES, options=pa.ipc.IpcWriteOptions(compression="lz4"))
        place = np.arange(start, min(start + CHUNK, spread), dtype=np.int64) * 2654435761 % spread
        place = place[place < documents]
        cluster = np.searchsorted(ends, place, side="right")
        alone = cluster >= len(ends)
        keys = rng.bytes(16 * len(place))
        name = np.where(alone, -place - 1, cluster).astype(np.uint64)
        bands = np.arange(BANDS, dtype=np.uint64)
        shared = rng.random((len(place), BANDS)) < 0.75
        own = place[:, None].astype(np.uint64) * np.uint64(2) + np.uint64(1)
        seeds = np.where(shared, name[:, None] * np.uint64(2), own) * np.uint64(BANDS) + bands
        buckets = (seeds * np.uint64(0x9E3779B97F4A7C15)) ^ (seeds >> np.uint64(7))
        doc = np.frombuffer(keys, np.uint8).reshape(-1, 16).repeat(BANDS, axis=0)
        rows = pa.record_batch(
            [
                pa.array(np.tile(np.arange(BANDS, dtype=np.int16), len(place))),
                pa.array(buckets.reshape(-1)),
                keys_from_bytes(doc.tobytes()),
                pa.array(np.repeat((place % TASKS).astype(np.int32), BANDS)),
            ],
            schema=NOTES,
        )
        for first in range(0, rows.num_rows, 65536):
            writer.write_batch(rows.slice(first, 65536))
        written += rows.num_rows
    writer.close()
    return Rows(tuple(files), NOTES, written)


@numba.njit(cache=True, nogil=True)
def _bucket_edges(
    band: np.ndarray, bucket: np.ndarray, state: np.ndarray, words: np.ndarray, tasks: np.ndarray, out: np.ndarray
) -> int:
    """Rows that are not the first of their bucket; `out` gets row, leader's key and task."""
    made = 0
    for row in range(len(band)):
        if state[0] and state[1] == np.uint64(band[row]) and state[2] == bucket[row]:
            out[made, 0] = np.uint64(row)
            out[made, 1] = state[3]
            out[made, 2] = state[4]
            out[made, 3] = state[5]
            made += 1
        else:
            state[0] = np.uint64(1)
            state[1] = np.uint64(band[row])
            state[2] = bucket[row]
            state[3] = words[row, 0]
            state[4] = words[row, 1]
            state[5] = np.uint64(tasks[row])
    return made


def bucket_edges(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Fold: an edge from the first document of a bucket to each other one."""
    state = np.zeros(6, np.uint64)
    for table in tables:
        words = key_words(table.column("doc_key"))
        tasks = one_chunk(table.column("task")).to_numpy()
        out = np.empty((len(tasks), 4), np.uint64)
        made = _bucket_edges(
            one_chunk(table.column("band")).to_numpy(),
            one_chunk(table.column("bucket")).to_numpy(),
            state,
            words,
            tasks,
            out,
        )
        rows = out[:made, 0].astype(np.int64)
        yield pa.table(
            [
                keys_from_words(words[rows]),
                pa.array(tasks[rows]),
                keys_from_words(out[:made, 1:3]),
                pa.array(out[:made, 3].astype(np.int32)),
            ],
            schema=EDGE_SCHEMA,
        )


class DiskWatch(threading.Thread):
    """The most bytes that lay in a folder, looked at twice a second."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.peak = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.5):
            self.peak = max(self.peak, folder_bytes(self.folder))


def folder_bytes(folder: Path) -> int:
    """Bytes in a folder; files and folders that vanish meanwhile do not count."""
    total = 0
    for parent, _, names in os.walk(folder):  # which, unlike rglob, leaves out a folder that is gone
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total


def measure(notes: Rows, budget: int, folder: Path) -> dict[str, float]:
    """Group, components and delivery of the notes, in this process."""
    watch = DiskWatch(folder)
    exchange = FileExchange(InlineExecutor(), folder, budget_bytes=budget)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watch.start()
    start = time.perf_counter()
    edges = exchange.group(notes, ["band", "bucket"], bucket_edges)
    grouped = time.perf_counter()
    found = exchange.components(edges)
    labelled = time.perf_counter()
    exchange.release(edges)
    delivered = exchange.deliver(found, TASKS)
    end = time.perf_counter()
    watch.stopped.set()
    documents = notes.count // BANDS
    return {
        "documents": documents,
        "rows": notes.count,
        "edges": edges.count,
        "clustered": found.count,
        "files": len(delivered),
        "notes_mb": sum(Path(path).stat().st_size for path in notes.files) / 1e6,
        "exchange_disk_mb": watch.peak / 1e6,
        "group_s": grouped - start,
        "components_s": labelled - grouped,
        "deliver_s": end - labelled,
        "us_per_document": (end - start) / documents * 1e6,
        "million_rows_per_s": notes.count / (grouped - start) / 1e6,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "peak_before_mb": before / 1e3,
    }


def run_one(documents: int, budget_mib: int, folder: Path) -> dict[str, float]:
    """One size, in processes of its own: one makes the notes, the other is measured."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        for step in ("make", "measure"):
            # Imported, not run as a script: folds travel by their module's name.
            code = (
                f"from tests.benchmarks.exchange import reader; reader({step!r}, {documents}, {budget_mib}, {work!r})"
            )
            done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def reader(step: str, documents: int, budget_mib: int, work: str) -> None:
    """What `run_one` runs: make the notes, or measure the exchange on them."""
    folder = Path(work)
    if step == "make":
        make_notes(documents, folder / "notes")
        return
    # A small run first, so that compiling is not measured.
    measure(make_notes(2000, folder / "warm-notes"), budget_mib << 20, folder / "warm")
    files = tuple(str(path) for path in sorted((folder / "notes").iterdir()))
    notes = Rows(files, NOTES, documents * BANDS)
    print(json.dumps(measure(notes, budget_mib << 20, folder / "exchange")))


def main() -> None:
    """Measure each size given and print a line for it."""
    parser = argparse.ArgumentParser(description="time and memory of the exchange by number of documents")
    parser.add_argument("documents", nargs="*", type=float, default=[1e5, 1e6])
    parser.add_argument("--budget-mib", type=int, default=512)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="where notes and work files go"
    )
    given = parser.parse_args()
    for documents in given.documents:
        found = run_one(int(documents), given.budget_mib, given.folder)
        values = (f"{value:,.3g}" if isinstance(value, float) else f"{value:,}" for value in found.values())
        print("  ".join(f"{name} {value}" for name, value in zip(found, values, strict=True)), flush=True)


if __name__ == "__main__":
    main()
