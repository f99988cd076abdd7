"""The whole five-stage run with provenance, in MB/s per core, and the same steps in datatrove, in one session.

    GRISTMILL_DATA=… python -m tests.benchmarks.whole_run [--peers .venv-peers/bin/python] [--corpus FOLDER]

`GRISTMILL_DATA` holds `documents.parquet` and `fineweb2-configs/`. `--corpus` names a folder of Parquet shards to run
Gristmill on instead. Gristmill runs the preset `web`'s graph in one process on one core, warm (kernels compiled), work
folder empty, Parquet in, Parquet out. datatrove runs language ID by the fastText library, its three quality filters in
one pipeline, and MinHash (signatures, buckets, clusters, filter) on the first `--peer-megabytes` of the same documents;
it has no toxicity stage and no rebalancer, so the ratio flatters it.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.figures import figure

CONFIG = """
name: whole-run
seed: 17
sources: {{docs: {{format: parquet, paths: ["{source}"]}}}}
stages:
  language: {{}}
  quality: {{on_fail: mark{configs}}}
  minhash: {{within: [language, language_script]}}
  clean: {{use: drop_marked, by: [quality]}}
  toxicity: {{tiers: max_level}}
  rebalance: {{from: toxicity.none, max_repeats: 4, rates: {{observe: minhash, marked_by: quality}}}}
outputs:
  corpus: {{from: rebalance, path: "{out}/corpus"}}
  annealing: {{from: toxicity.mild, path: "{out}/annealing"}}
discard: [toxicity.toxic]
"""


def gristmill(source: str, configs: Path | None) -> None:
    """Runs once to warm up and once for the clock; prints both."""
    from gristmill.pipeline.executor.inline import InlineExecutor
    from gristmill.pipeline.planning.config import load
    from gristmill.pipeline.planning.plan import make_plan
    from gristmill.pipeline.running.engine import Engine, Progress

    folder = Path(tempfile.mkdtemp(prefix="gristmill-bench-"))
    clock: dict[str, float] = {}
    try:
        for attempt in ("cold or first", "warm"):
            given = f', language_configs: "{configs}"' if configs is not None else ""
            text = CONFIG.format(source=source, out=folder / attempt.replace(" ", "-"), configs=given)
            plan = make_plan(load(text, "benchmark"))
            clock.clear()
            last = [time.perf_counter(), "start"]

            def told(progress: Progress, last: list[float | str] = last) -> None:
                if progress.stage != last[1]:
                    now = time.perf_counter()
                    clock[str(last[1])] = clock.get(str(last[1]), 0.0) + now - float(last[0])
                    last[:] = [now, progress.stage]

            begin = time.perf_counter()
            cpu = time.process_time()
            result = Engine(plan, InlineExecutor(), listener=told).run()
            seconds = time.perf_counter() - begin
            megabytes = result.accounts.nodes["docs"].entered.bytes / 1e6
            print(
                f"gristmill, {attempt}: {megabytes:.1f} MB in {seconds:.2f} s wall, {time.process_time() - cpu:.2f} s CPU: "
                f"{megabytes / seconds:.2f} MB/s per core"
            )
            nodes = result.accounts.nodes
            reach = ", ".join(
                f"{node} {nodes[node].entered.bytes / 1e6 / megabytes:.0%}" for node in nodes if node != "docs"
            )
            figure(f"five stages, {attempt}", megabytes / seconds, "MB/s", data=f"{megabytes:.0f} MB", reach=reach)
        for stage, spent in clock.items():
            print(f"    {stage:24s} {spent:6.2f} s")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"    peak resident memory {peak:.0f} MiB, {len(plan.slices)} slices")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--peers", type=Path, help="Python of an environment with datatrove")
    arguments.add_argument("--corpus", type=Path, help="folder of Parquet shards (id, text) for Gristmill's side")
    arguments.add_argument("--peer-megabytes", type=float, default=3.0, help="how much datatrove gets")
    chosen = arguments.parse_args()
    data = os.environ.get("GRISTMILL_DATA")
    if data is None:
        sys.exit("GRISTMILL_DATA must name the folder with documents.parquet")
    documents = Path(data) / "documents.parquet"
    configs = Path(data) / "fineweb2-configs"
    gristmill(str(chosen.corpus or documents), configs if configs.is_dir() else None)
    if chosen.peers is not None:
        script = Path(__file__).with_name("datatrove_run.py")
        subprocess.run([chosen.peers, script, documents, str(chosen.peer_megabytes)], check=True)


if __name__ == "__main__":
    main()
