"""What small files cost: the same text once in files of 100 kB and once in files of 32 MB.

    python -m tests.benchmarks.small_files [--corpus FOLDER] [--megabytes 100] [--kilobytes 100] [--format jsonl] [--rounds 3]

Runs take turns, each in a process of its own, one task at a time: CPU seconds of the run (imports, kernels and models
apart), tasks, files opened and flushes, and the ratio of speeds by CPU time, median of the rounds (the aim is 0.70). FOLDER
holds Parquet shards with `id` and `text`; default: `documents.parquet` in GRISTMILL_DATA. The graph is the five stages, or
with `--graph exact` deduplication alone, where nearly all that is left is reading and writing. `--per-file` gives each file a
task of its own, as it was before small files shared tasks.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.figures import figure, sha256_speed
from tests.benchmarks.whole_run import CONFIG

EXACT = """
name: small-files
seed: 17
sources: {{docs: {{format: {format}, paths: ["{source}"]}}}}
stages:
  exact: {{}}
outputs:
  corpus: {{path: "{out}/corpus"}}
"""
LARGE = 32 << 20


def documents(source: Path, most: int) -> Iterator[tuple[str, str]]:
    """(id, text) of a corpus until there are so many bytes of text."""
    for path in sorted(source.glob("*.parquet")) if source.is_dir() else [source]:
        for batch in pq.ParquetFile(path).iter_batches(1000, columns=["id", "text"]):
            for ident, text in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True):
                most -= len(text.encode())
                if most < 0:
                    return
                yield ident, text


def write(folder: Path, format_: str, rows: list[tuple[str, str]], size: int) -> int:
    """Writes files of about `size` bytes of text each; how many."""
    folder.mkdir()
    files, begin, filled = 0, 0, 0
    for end, (_, text) in enumerate(rows, 1):
        filled += len(text.encode())
        if filled >= size or end == len(rows):
            part = [{"id": ident, "text": text} for ident, text in rows[begin:end]]
            if format_ == "parquet":
                pq.write_table(pa.Table.from_pylist(part), folder / f"{files:06d}.parquet", compression="zstd")
            else:
                lines = (json.dumps(row, ensure_ascii=False) for row in part)
                (folder / f"{files:06d}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            files, begin, filled = files + 1, end, 0
    return files


def run_one(config: str, per_file: bool) -> None:
    """In a process of its own: a run, and what it took, as a line of JSON."""
    from gristmill.pipeline.executor.inline import InlineExecutor
    from gristmill.pipeline.planning import small_files
    from gristmill.pipeline.planning.config import load
    from gristmill.pipeline.planning.plan import make_plan
    from gristmill.pipeline.running.engine import Engine
    from gristmill.pipeline.running.worker_start import Preparation, prepare

    if per_file:
        small_files.FILES_ALONE = 1 << 30
    prepare(Preparation(config, "small files"))
    opened, flushed, counting = [0], [0], [True]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        opened[0] += counting[0] and event == "open"

    sys.addaudithook(hook)
    real = os.fsync

    def fsync(handle: int) -> None:
        flushed[0] += 1
        real(handle)

    os.fsync = fsync
    wall, begin = time.perf_counter(), time.process_time()
    try:
        plan = make_plan(load(config, "small files"))
        planned = time.process_time() - begin
        Engine(plan, InlineExecutor()).run()
    finally:
        os.fsync, counting[0] = real, False
    spent = {
        "cpu_seconds": time.process_time() - begin,
        "planning": planned,
        "wall_seconds": time.perf_counter() - wall,
    }
    print(json.dumps({**spent, "tasks": len(plan.slices), "opened": opened[0], "flushed": flushed[0]}))


def measured(folder: Path, config: str, flags: list[str]) -> dict[str, float]:
    """A run in a process of its own; its outputs are removed."""
    place = folder / "config.yaml"
    place.write_text(config)
    command = [sys.executable, "-m", "tests.benchmarks.small_files", "--run", str(place), *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    shutil.rmtree(folder / "out")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="a folder of Parquet shards (id, text), or one such file")
    parser.add_argument("--megabytes", type=float, default=100, help="of text")
    parser.add_argument("--kilobytes", type=int, default=100, help="of text in a small file")
    parser.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl")
    parser.add_argument("--graph", choices=("five", "exact"), default="five")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--per-file", action="store_true", help="a task for each file")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run is not None:
        run_one(given.run.read_text(), given.per_file)
        return
    data = os.environ.get("GRISTMILL_DATA")
    if given.corpus is None and data is None:
        sys.exit("GRISTMILL_DATA must name the folder with documents.parquet, or --corpus other documents")
    rows = list(documents(given.corpus or Path(str(data)) / "documents.parquet", int(given.megabytes * 1e6)))
    text = sum(len(text.encode()) for _, text in rows) / 1e6
    configs = Path(data or ".") / "fineweb2-configs"
    language_configs = f', language_configs: "{configs}"' if configs.is_dir() else ""
    graph = EXACT if given.graph == "exact" else CONFIG.replace("format: parquet", "format: {format}")
    flags = ["--per-file"] if given.per_file else []
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as name:
        folder = Path(name)
        found: dict[str, list[dict[str, float]]] = {}
        for kind, size in (("small", given.kilobytes * 1000), ("large", LARGE)):
            files = write(folder / kind, given.format, rows, size)
            print(f"{kind}: {text:.1f} MB of text in {files} files; SHA-256 at {sha256_speed():.0f} MB/s", flush=True)
        for number in range(given.rounds):
            for kind in ("small", "large") if number % 2 else ("large", "small"):
                out, source = folder / "out", folder / kind / "*"
                config = graph.format(format=given.format, source=source, out=out, configs=language_configs)
                found.setdefault(kind, []).append(measured(folder, config, flags))
                print(f"    {kind}: {json.dumps(found[kind][-1])}", flush=True)
    pairs = zip(found["large"], found["small"], strict=True)
    ratio = statistics.median(large["cpu_seconds"] / small["cpu_seconds"] for large, small in pairs)
    print(f"speed with small files: {ratio:.2f} of that with large ones, by CPU time (median of {given.rounds})")
    label = f"{text:.0f} MB in files of {given.kilobytes} kB beside files of 32 MB, {given.format}, {given.graph}"
    figure("small files", ratio, "× the speed of large ones", data=label)


if __name__ == "__main__":
    main()
