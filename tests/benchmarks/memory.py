"""Whether a worker stays within the memory that `gristmill plan` states, over inputs that are hard on it.

    python -m tests.benchmarks.memory [NAME …]

Each input is made, planned and run by a worker's code in a process of its own, whose peak resident memory is read from the
operating system. Figures are valid on a busy machine. Exit code 1: a bound was broken.
"""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

CONFIG = """
max_quarantined: 1
sources:
  s: {{format: {format}, paths: ["{root}/in"]}}
stages:
  exact: {{}}
  language: {{}}
outputs:
  corpus: {{path: "{root}/out"}}
"""
SENTENCE = "The quick brown fox jumps over the lazy dog while seven wizards look on and say nothing at all. "


def _line(text: str, **more: object) -> bytes:
    return json.dumps({"text": text, **more}).encode() + b"\n"


def _documents(count: int, repeat: int) -> list[str]:
    return [f"{number} {SENTENCE * repeat}" for number in range(count)]


def _parquet(texts: list[str], **options: object) -> Callable[[Path], None]:
    return lambda folder: pq.write_table(pa.table({"text": pa.array(texts)}), folder / "a.parquet", **options)


def _lines(texts: list[str], ending: str = "") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        data = b"".join(_line(text) for text in texts)
        made = {
            "": lambda: data,
            ".gz": lambda: gzip.compress(data, 9),
            ".zst": lambda: zstandard.ZstdCompressor(19).compress(data),
        }[ending]()
        (folder / f"a.jsonl{ending}").write_bytes(made)

    return write


INPUTS: dict[str, Callable[[], Callable[[Path], None]]] = {
    "ordinary Parquet, 30 MB of text": lambda: _parquet(_documents(10_000, 30)),
    "ordinary JSON lines, 30 MB": lambda: _lines(_documents(10_000, 30)),
    "Parquet of 100 MB in zstd 19": lambda: _parquet(
        _documents(1000, 1000), compression="zstd", compression_level=19, row_group_size=100
    ),
    "JSON lines of 100 MB in zstd 19": lambda: _lines(_documents(1000, 1000), ".zst"),
    "JSON lines of 50 MB in gzip 9": lambda: _lines(_documents(500, 1000), ".gz"),
    "a million tiny documents in Parquet": lambda: _parquet(
        [f"{i:x}" for i in range(1_000_000)], row_group_size=50_000
    ),
    "a million tiny documents in one row group": lambda: _parquet([f"{i:x}" for i in range(1_000_000)]),
    "500,000 tiny documents in JSON lines": lambda: _lines([f"{i:x}" for i in range(500_000)]),
    "one document of 100 MB in Parquet": lambda: _parquet(_documents(1, 1_000_000)),
    "one document of 100 MB in JSON lines": lambda: _lines(_documents(1, 1_000_000)),
    "one document of 200 MB in Parquet": lambda: _parquet(_documents(1, 2_080_000)),
    "one document of 200 MB in JSON lines": lambda: _lines(_documents(1, 2_080_000)),
    "two million tiny documents in one row group": lambda: _parquet(
        [f"{i:x}" for i in range(2_000_000)], row_group_size=2_000_000
    ),
    "two million tiny documents in JSON lines": lambda: _lines([f"{i:x}" for i in range(2_000_000)]),
}


def _measure(name: str) -> None:
    """One input, in this process: prints stored bytes, the stated bound and the peak."""
    from gristmill.pipeline.executor.inline import InlineExecutor
    from gristmill.pipeline.planning.config import load
    from gristmill.pipeline.planning.plan import make_plan
    from gristmill.pipeline.reader_process import set_expendable
    from gristmill.pipeline.running.engine import Engine

    set_expendable()  # as a worker is, which reads in its own process
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "in").mkdir()
        subprocess.run([sys.executable, "-m", "tests.benchmarks.memory", "--make", name, folder], check=True)
        format_ = "parquet" if any((root / "in").glob("*.parquet")) else "jsonl"
        plan = make_plan(load(CONFIG.format(root=root, format=format_), "memory.yaml"))
        Engine(plan, InlineExecutor()).run()
        stored = sum(one.bytes for one in plan.slices)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps([stored, plan.memory_bytes(), peak]))


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--make"]:
        INPUTS[arguments[1]]()(Path(arguments[2]) / "in")
        return 0
    if arguments[:1] == ["--measure"]:
        _measure(arguments[1])
        return 0
    broken = 0
    print("| input | stored MB | stated MB | peak MB |\n|---|---|---|---|")
    for name in arguments or INPUTS:
        command = [sys.executable, "-m", "tests.benchmarks.memory", "--measure", name]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            broken += 1
            print(f"| {name} | failed: {result.stderr.strip().splitlines()[-1]:.200} | | |", flush=True)
            continue
        stored, stated, peak = json.loads(result.stdout.splitlines()[-1])
        broken += peak > stated
        print(f"| {name} | {stored / 1e6:.2f} | {stated / 1e6:.0f} | {peak / 1e6:.0f} |", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
