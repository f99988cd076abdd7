"""MinHash deduplication from Parquet to Parquet, end to end, beside text-dedup and datatrove in one session.

    python -m tests.benchmarks.dedup_run SHARDS [--workers 2] [--peers PYTHON] [--text-dedup PYTHON]

SHARDS is a folder of Parquet files with `id` and `text`; with `truth.parquet` beside it (id, cluster, kind) the share of
planted copies that was removed is told too. All use 14 bands of 8 permutations over 5-word shingles and 64-bit hashes, and take
candidates as duplicates. Gristmill writes shards, ledger, signals and manifest, runs on Ray with as many workers as the
others have processes, with kernels compiled and Ray started, its work folder empty. text-dedup and datatrove are timed
without the start of their interpreters; text-dedup writes an Arrow data set.

text-dedup 0.4 pins old packages that it does not need here: its environment is `pip install --no-deps text-dedup` with
click<9, click-option-group, datasets, tqdm, scipy, rich<14, xxhash<4, regex, ftfy, bitarray, zstandard and psutil.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from gristmill.pipeline.executor.ray import RayExecutor
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.plan import make_plan
from gristmill.pipeline.running.engine import Engine

CONFIG = """
name: dedup-run
sources: {{docs: {{format: parquet, paths: ["{shards}/*.parquet"], slice_bytes: {slice_bytes}}}}}
stages: {{minhash: {{verify: {verify}}}}}
outputs: {{corpus: {{path: "{out}", dropped: none}}}}
"""


def gristmill(shards: Path, workers: int, verify: str, folder: Path) -> float:
    """Seconds of a warm run; prints them."""
    slice_bytes = max(1 << 20, sum(path.stat().st_size for path in shards.glob("*.parquet")) // (4 * workers))
    with RayExecutor(workers=workers) as executor:
        for attempt in ("first", "warm"):
            out = folder / f"gristmill-{verify}-{attempt}"
            text = CONFIG.format(shards=shards, slice_bytes=slice_bytes, verify=verify, out=out)
            plan = make_plan(load(text, "benchmark"))
            begin = time.perf_counter()
            result = Engine(plan, executor).run()
            seconds = time.perf_counter() - begin
            account = result.accounts.nodes["minhash"]
            megabytes = account.entered.bytes / 1e6
            print(
                f"gristmill, verify: {verify}, {attempt}: {megabytes:.1f} MB, {account.entered.rows} documents in "
                f"{seconds:.2f} s ({megabytes / seconds:.1f} MB/s, {workers} workers), {account.kept.rows} documents kept",
                flush=True,
            )
    truth = shards.parent / "truth.parquet"
    if truth.is_file():
        recall(truth, out)
    return seconds


def recall(truth: Path, out: Path) -> None:
    """Prints the share of planted copies that are gone, by kind."""
    kept = set(pq.read_table(out / "data", columns=["id"])["id"].to_pylist())
    table = pq.read_table(truth).to_pylist()
    original = {row["cluster"]: row["id"] for row in table if row["kind"] == "original"}
    for kind in sorted({row["kind"] for row in table} - {"original"}):
        rows = [row for row in table if row["kind"] == kind]
        # Whichever of the two is kept: a copy is found when it and its original are not both left.
        gone = sum(not {row["id"], original.get(row["cluster"])} <= kept for row in rows)
        told = "taken for a copy though it is none" if kind == "unrelated" else "found"
        print(f"    {kind}: {gone} of {len(rows)} {told} ({gone / len(rows):.1%})", flush=True)


def text_dedup(python: Path, shards: Path, workers: int, folder: Path) -> None:
    """Prints text-dedup's own total, and the documents that it kept."""
    command = f"""{python} -m text_dedup.minhash --path parquet --data_files {shards}/*.parquet --split train --column text
        --ngram 5 --num_perm 112 --b 14 --r 8 --hash_func xxh3 --hash_bits 64 --min_length 0 --batch_size 10000
        --num_proc {workers} --cache_dir {folder}/cache --output {folder}/text-dedup""".split()
    begin = time.perf_counter()
    # Its log wraps its own figures in a narrow terminal.
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    told = done.stdout + done.stderr
    total = re.search(r"Total\s*:\s*([0-9.]+)s", told)
    after = re.search(r"After\s*:\s*([0-9]+)", told)
    print(
        f"text-dedup {total[1] if total else '?'} s by its own clock, {time.perf_counter() - begin:.1f} s with its start, "
        f"{after[1] if after else '?'} documents kept",
        flush=True,
    )


def main() -> None:
    """Measure all sides that are there."""
    parser = argparse.ArgumentParser(description="MinHash deduplication end to end, beside peers")
    parser.add_argument("shards", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--peers", type=Path, help="Python of an environment with datatrove")
    parser.add_argument("--text-dedup", type=Path, help="Python of an environment with text-dedup")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gristmill-dedup-"))
    try:
        for verify in ("none", "sketch"):
            gristmill(given.shards.absolute(), given.workers, verify, folder)
        if given.text_dedup is not None:
            text_dedup(given.text_dedup.absolute(), given.shards.absolute(), given.workers, folder)
        if given.peers is not None:
            script = Path(__file__).with_name("datatrove_dedup.py")
            command = [given.peers.absolute(), script, given.shards.absolute(), str(given.workers)]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
