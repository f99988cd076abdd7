"""How fast `gristmill audit` reads an output: MB of text per second and core, and what a second reading process gains.

    GRISTMILL_DATA=… python -m tests.benchmarks.audit [--corpus FOLDER] [--times N] [--graph five|one] [--repeats N]
    python -m tests.benchmarks.audit --output OUTPUT

An output is made first, by the graph of preset `web` (five) or by exact deduplication alone (one); with `--times` of that many
copies of the corpus, each document of which begins with another word, so that all are different. Then each kind of audit
runs as a process of its own, in turn. Its CPU time, with its reading processes and less that of a fast audit, is set against
all text that it reads. Two readers are compared with one by wall time, which says something on an idle machine only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.plan import make_plan
from gristmill.pipeline.running.engine import Engine
from tests.benchmarks.figures import figure, sha256_speed
from tests.benchmarks.whole_run import CONFIG

ONE_STAGE = """
name: one-stage
sources: {{docs: {{format: parquet, paths: ["{source}"]}}}}
stages: {{exact: {{}}}}
outputs: {{corpus: {{from: exact, path: "{out}/corpus", dropped: none}}}}
"""
ONE, TWO = "full, one reading process", "full, two reading processes"
KINDS = {
    "fast": (),
    ONE: ("--full", "--jobs", "1"),
    TWO: ("--full", "--jobs", "2"),
    "full, with the input": ("--full", "--sources", "--jobs", "1"),
}


def audit_seconds(output: Path, *flags: str) -> tuple[float, float]:
    """CPU seconds of an audit with its reading processes, and wall seconds; ends the benchmark unless the audit is clean."""
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    # Python's compiled modules are on disk, as pip leaves them, whatever this environment says.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "gristmill.launch", "audit", str(output), "--json", *flags]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"the audit of {output} is not clean:\n{done.stdout.decode()}{done.stderr.decode()}")
    json.loads(done.stdout)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def text_of(files: Iterator[Path]) -> float:
    """Megabytes of text in Parquet files, as UTF-8."""
    total = 0
    for path in files:
        for batch in pq.ParquetFile(path).iter_batches(columns=["text"]):
            total += pc.sum(pc.binary_length(batch["text"])).as_py() or 0
    return total / 1e6


def audits(output: Path, repeats: int = 3) -> None:
    """Prints the speed of each kind of audit on an output."""
    kept, dropped = text_of(output.glob("data/*.parquet")), text_of(output.glob("dropped/*.parquet"))
    print(
        f"audit of {kept:.1f} MB of text in shards and {dropped:.1f} MB of dropped texts, seconds, median of {repeats}"
    )
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for _ in range(repeats):  # in turn, so that other work on the machine weighs on all alike
        for kind, flags in KINDS.items():
            found[kind].append(audit_seconds(output, *flags))
    speed, text = sha256_speed(), kept + dropped
    medians = {kind: [statistics.median(one) for one in zip(*times, strict=True)] for kind, times in found.items()}
    fast, fast_wall = medians["fast"]
    data = f"{kept:.0f} MB in shards, {dropped:.0f} MB dropped"
    for kind, (cpu, wall) in medians.items():
        print(f"    {kind:28s} {cpu:5.2f} s of CPU, {wall:5.2f} s of wall time", end="")
        if kind == "fast":
            print(", most of it starting up")
            figure("fast audit", cpu, "s of CPU", data=data)
            continue
        rate = text / (cpu - fast)
        print(f": {rate:.0f} MB/s of text per core beyond a fast audit, {rate / speed:.3f} of SHA-256")
        figure(f"audit: {kind}", rate, "MB/s", data=data, against="SHA-256", other=speed)
    whole, beyond = medians[ONE][1] / medians[TWO][1], (medians[ONE][1] - fast_wall) / (medians[TWO][1] - fast_wall)
    print(
        f"    two reading processes: {whole:.2f} times as fast as one, {beyond:.2f} times beyond a fast audit (wall time)"
    )
    figure("audit: two reading processes against one, beyond a fast audit", beyond, "times as fast", data=data)


def copies(corpus: Path, times: int, folder: Path) -> Path:
    """The corpus so many times, as different documents."""
    folder.mkdir()
    for path in sorted(corpus.glob("*.parquet")) if corpus.is_dir() else [corpus]:
        table = pq.read_table(path)
        place, texts = table.schema.get_field_index("text"), table["text"].cast(pa.large_string())
        for number in range(times):
            word = "".join(chr(ord("a") + int(digit)) for digit in str(number))  # `exact` looks past numbers
            head, space = (pa.scalar(text, pa.large_string()) for text in (word, " "))
            made = pc.binary_join_element_wise(head, texts, space)
            pq.write_table(table.set_column(place, "text", made), folder / f"{path.stem}-{number}.parquet")
    return folder


def made(corpus: Path, graph: str, folder: Path) -> Path:
    """The output of a run over a corpus."""
    text = (CONFIG if graph == "five" else ONE_STAGE).format(source=corpus, out=folder / "out", configs="")
    Engine(make_plan(load(text, "benchmark")), InlineExecutor()).run()
    return folder / "out/corpus"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--corpus", type=Path, help="Parquet shards (id, text) instead of documents.parquet")
    arguments.add_argument(
        "--times", type=int, default=1, help="how often the corpus is taken, each time as other documents"
    )
    arguments.add_argument("--graph", choices=("five", "one"), default="five", help="stages that make the output")
    arguments.add_argument("--repeats", type=int, default=3, help="audits of each kind")
    arguments.add_argument("--output", type=Path, help="only audit this output")
    chosen = arguments.parse_args()
    if chosen.output is not None:
        audits(chosen.output, chosen.repeats)
        return
    if chosen.corpus is None and "GRISTMILL_DATA" not in os.environ:
        sys.exit("GRISTMILL_DATA must name the folder with documents.parquet")
    corpus = chosen.corpus or Path(os.environ["GRISTMILL_DATA"]) / "documents.parquet"
    folder = Path(tempfile.mkdtemp(prefix="gristmill-bench-"))
    try:
        if chosen.times > 1:
            corpus = copies(corpus, chosen.times, folder / "copies")
        audits(made(corpus, chosen.graph, folder), chosen.repeats)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
