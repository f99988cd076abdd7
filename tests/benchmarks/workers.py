"""Two workers on Ray beside two inline processes that are started together, each on half of the input.

    python -m tests.benchmarks.workers --corpus FOLDER [--rounds 3] [--workers 2]

FOLDER holds 60 Parquet shards or more, with `id` and `text`; each is a slice. Both ways run the five stages with
provenance, in turn, with kernels compiled. What is compared is the time of the run itself: Ray has been started, and
imports, the plan and the loading of stages and models come before, on both sides. Printed are medians, their ratio (the aim is
0.92), and how much CPU time each kind of process took, which other work on the machine changes less than the time.
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
from collections import Counter
from pathlib import Path

from tests.benchmarks.whole_run import CONFIG

LEAST_SLICES = 60


def run_one(executor: str, config: str, workers: int) -> None:
    """In a process of its own: a run, and what it took, as a line of JSON."""
    from gristmill.pipeline.executor.inline import InlineExecutor
    from gristmill.pipeline.executor.ray import RayExecutor
    from gristmill.pipeline.planning.config import load
    from gristmill.pipeline.planning.plan import make_plan
    from gristmill.pipeline.running.engine import Engine
    from gristmill.pipeline.running.worker_start import Preparation, prepare

    text = Path(config).read_text()
    about = Preparation(text, "workers")
    plan = make_plan(load(text, "workers"))
    if executor == "inline":
        prepare(about)
        before = cpu_seconds()
        result = Engine(plan, InlineExecutor()).run()
        spent = cpu_seconds() - before
    else:
        with RayExecutor(workers) as ray:
            # More of them than workers, so that each has one.
            list(ray.run(prepare, [about] * (4 * workers)))
            before = cpu_seconds()
            result = Engine(plan, ray).run()
            spent = cpu_seconds() - before
    print(json.dumps({"seconds": result.seconds, "slices": len(plan.slices), "cpu": dict(spent)}))


def cpu_seconds() -> Counter[str]:
    """CPU time so far of this process and of each kind of process that it has started."""
    from gristmill.pipeline.executor.ray_guard import descendants, started

    ticks, found = os.sysconf("SC_CLK_TCK"), Counter[str]()
    for pid, _ in descendants({(os.getpid(), started(os.getpid())[1])}):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            title = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        own = pid == os.getpid()
        worker = title.startswith("ray::") and "Agent" not in title
        kind = "driver" if own else "workers" if worker else "others (Ray's own, readers)"
        found[kind] += (int(fields[11]) + int(fields[12])) / ticks
    return found


def started_run(executor: str, root: Path, sources: list[Path], name: str, workers: int) -> subprocess.Popen[str]:
    """A run of some shards, in a process of its own."""
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = folder / "run.yaml"
    paths = '", "'.join(str(source) for source in sources)
    # Each file a slice: two are larger than the largest.
    largest = max(source.stat().st_size for source in sources)
    text = CONFIG.format(source=paths, out=folder / "out", configs="")
    config.write_text(text.replace("format: parquet,", f"format: parquet, slice_bytes: {largest},"))
    command = [sys.executable, "-m", "tests.benchmarks.workers", "--run", executor, str(config), str(workers)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def told(process: subprocess.Popen[str]) -> dict[str, float | dict[str, float]]:
    """What a run printed."""
    out, _ = process.communicate()
    if process.returncode:
        sys.exit(process.returncode)
    found: dict[str, float | dict[str, float]] = json.loads(out.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    shards = sorted(asked.corpus.absolute().glob("*.parquet"))
    if len(shards) < LEAST_SLICES:
        parser.error(f"--corpus {asked.corpus}: expected {LEAST_SLICES} Parquet files or more, found {len(shards)}")
    root = Path(tempfile.mkdtemp(prefix="gristmill-workers-"))
    seconds: dict[str, list[float]] = {"inline": [], "ray": []}
    cpu: dict[str, list[Counter[str]]] = {"inline": [], "ray": []}
    try:
        for number in range(asked.rounds + 1):
            parts = [shards[part :: asked.workers] for part in range(asked.workers)]
            inline = [
                told(one)
                for one in [started_run("inline", root, part, f"part-{place}", 1) for place, part in enumerate(parts)]
            ]
            ray = [told(started_run("ray", root, shards, "whole", asked.workers))]
            if not number:
                continue  # compiles kernels, where that was not done
            for name, found in (("inline", inline), ("ray", ray)):
                seconds[name].append(max(one["seconds"] for one in found))
                cpu[name].append(sum((Counter(one["cpu"]) for one in found), Counter()))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{len(shards)} slices, {asked.workers} workers, median of {asked.rounds}")
    for name, label in (("inline", f"{asked.workers} inline processes"), ("ray", f"{asked.workers} workers on Ray")):
        kinds = {kind for one in cpu[name] for kind in one}
        of = ", ".join(f"{kind} {statistics.median(one[kind] for one in cpu[name]):.1f}" for kind in sorted(kinds))
        print(f"  {label:20s} {medians[name]:6.1f} s; CPU seconds: {of}")
    print(f"  ratio {medians['inline'] / medians['ray']:.3f} (0.92 wanted)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run_one(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
