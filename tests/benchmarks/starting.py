"""What a local Ray run of a small config costs beside the work itself, in seconds: what is Ray's, and what is ours.

    python -m tests.benchmarks.starting [--times 3] [--megabytes 4] [--workers 2]

Texts made here go through language, quality, MinHash and toxicity, in few small slices, with kernels cached by a first run.
Each row is the median of so many new processes:

- the work itself: the passes of the same run in one process, without each process's first task in a pass;
- Ray: import, a cluster without a dashboard, one empty task, shutdown, in a program that uses nothing of ours;
- ours: what is left of the Ray run's time;
- a worker: from nothing to having loaded the engine, the stages and their models (`running.worker_start`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = """
name: starting
seed: 1
sources: {{docs: {{format: parquet, paths: ["{root}/in/*.parquet"]}}}}
stages:
  language: {{}}
  quality: {{on_fail: mark}}
  minhash: {{}}
  toxicity: {{tiers: max_level}}
outputs:
  corpus: {{from: toxicity.none, path: "{root}/out"}}
discard: [toxicity.mild, toxicity.toxic]
"""

RAY = """
import logging, ray
ray.init(num_cpus={workers}, address="local", logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
ray.get(ray.remote(lambda: 1).remote())
ray.shutdown()
"""

WORK = """
import sys, time
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.plan import make_plan
from gristmill.pipeline.running.engine import Engine

spent = {}

class Timed(InlineExecutor):
    def run_independent(self, function, payloads, *resources):
        for index, payload in enumerate(payloads):
            begin = time.perf_counter()
            result = function(payload)
            spent.setdefault(payload.index, []).append(time.perf_counter() - begin)
            yield index, result

Engine(make_plan(load(open(sys.argv[1]).read(), "starting")), Timed()).run()
print(sum(len(seconds) * sum(seconds[1:]) / (len(seconds) - 1) for seconds in spent.values()))
"""

WORKER = """
import sys
from gristmill.pipeline.running.worker_start import Preparation, prepare
prepare(Preparation(open(sys.argv[1]).read(), "starting"))
"""


def write_texts(folder: Path, megabytes: int, slices: int) -> None:
    """Parquet files of made-up sentences."""
    import random

    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    draw = random.Random(7)
    words = "the of and to in that it is was for on are as with his they at be this have from or one had by".split()
    for number in range(slices):
        size, texts = 0, []
        while size < megabytes * 1_000_000 // slices:
            text = ". ".join(" ".join(draw.choices(words, k=12)).capitalize() for _ in range(40))
            size += len(text)
            texts.append(text)
        table = pa.table({"id": [f"{number}-{row}" for row in range(len(texts))], "text": texts})
        pq.write_table(table, folder / f"part-{number:03d}.parquet")


def seconds_of(command: list[str], root: Path) -> tuple[float, str]:
    """Wall time of a command in a new process, after removing the outputs, and what it printed."""
    for name in ("out", "out.work"):
        shutil.rmtree(root / name, ignore_errors=True)
    begin = time.perf_counter()
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # our modules are compiled once, as on a user's machine
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return time.perf_counter() - begin, done.stdout


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--times", type=int, default=3)
    arguments.add_argument("--megabytes", type=int, default=4)
    arguments.add_argument("--workers", type=int, default=2)
    chosen = arguments.parse_args()
    root = Path(tempfile.mkdtemp(prefix="gristmill-starting-"))
    try:
        write_texts(root / "in", chosen.megabytes, slices=8)
        config = root / "starting.yaml"
        config.write_text(CONFIG.format(root=root))
        python = [sys.executable, "-c"]
        run = [*python, "from gristmill.launch.cli import main; main()", "run", str(config), "--quiet", "--executor"]
        seconds_of([*run, "inline"], root)  # compiles kernels, where that was not done

        def median(command: list[str]) -> float:
            return statistics.median(seconds_of(command, root)[0] for _ in range(chosen.times))

        work = statistics.median(float(seconds_of([*python, WORK, str(config)], root)[1]) for _ in range(chosen.times))
        ray = median([*python, RAY.format(workers=chosen.workers)])
        on_ray = median([*run, "ray", "--workers", str(chosen.workers)])
        inline = median([*run, "inline"])
        worker = median([*python, WORKER, str(config)])
        print(f"{chosen.megabytes} MB of text, {chosen.workers} workers, median of {chosen.times}")
        print(f"  the run on Ray            {on_ray:6.2f} s")
        print(f"    the work itself         {work / chosen.workers:6.2f} s ({work:.2f} s of one core)")
        print(f"    Ray's                   {ray:6.2f} s")
        print(f"    ours                    {on_ray - ray - work / chosen.workers:6.2f} s")
        print(f"  the run in one process    {inline:6.2f} s, {inline - work:.2f} s beside the work")
        print(f"  a worker loads            {worker:6.2f} s")
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
