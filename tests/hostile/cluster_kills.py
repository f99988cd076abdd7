"""Drivers, workers and raylets of a cluster killed at random moments, with the work on a file system or in a bucket.

    python -m tests.hostile.cluster_kills [--kills 50] [--seed 1] [--s3]

Each run of a graph with three passes and two outputs is killed up to three times and then ends; its shards must have the
bytes of a run that nobody disturbed, and a full audit must call them clean. A line of JSON per output and one at the end;
exit code 1: something was lost, doubled or different.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.storage import join, list_files, sha256_of
from tests.cluster.ray_cluster import RayCluster, running
from tests.cluster.s3_server import serving
from tests.pipeline.toy_runs import GRAPH, PLUGINS, write_corpus

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from gristmill.launch.cli import main; main()", "run"]
VICTIMS = ("driver", "worker", "raylet")
OUTPUTS = ("corpus", "long")
MOST_KILLS = 3
"""Kills of one output."""
SECONDS = 600
"""A run that takes longer hangs."""


def digests(folder: str) -> dict[str, str]:
    """SHA-256 of every file of an output that must be the same on every run."""
    names = [name for name in list_files(folder) if name not in ("manifest.json", "files.parquet")]
    return {name: sha256_of(join(folder, name)) for name in names}


class Campaign:
    """Kills on one cluster.

    Args:
        root: a local folder, with the input.
        place: where outputs and their work folders lie: a folder or a bucket.
    """

    def __init__(self, root: Path, place: str, cluster: RayCluster, seed: int) -> None:
        self.root, self.place, self.cluster = root, place, cluster
        self.draw = random.Random(seed)
        self.killed: Counter[str] = Counter()
        self.wrong: list[str] = []
        write_corpus(root / "in", files=16)
        (root / "c.yaml").write_text(GRAPH.format(root=root))
        self.seconds = 0.0
        self.expected = self.whole()

    def started(self, output: str) -> subprocess.Popen[str]:
        options = [
            "--plugin",
            "toy_stages",
            "--executor",
            "ray",
            "--address",
            self.cluster.address,
            "--workers",
            "2",
            "-q",
        ]
        return subprocess.Popen(
            [*COMMAND, str(self.root / "c.yaml"), *options, "--output", output],
            env={
                **os.environ,
                **self.cluster.environment,
                "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{PLUGINS}",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def whole(self) -> dict[str, dict[str, str]]:
        """What a run writes that nobody disturbs."""
        begin, process = time.monotonic(), self.started(join(self.place, "whole"))
        _, told = process.communicate(timeout=SECONDS)
        if process.returncode:
            raise RuntimeError(told)
        self.seconds = time.monotonic() - begin
        return {name: digests(join(self.place, "whole", name)) for name in OUTPUTS}

    def output(self, number: int, most: int) -> None:
        """One output, disturbed and finished."""
        output, kills, attempts = join(self.place, f"out-{number}"), 0, 0
        while True:
            attempts += 1
            self.cluster.replace_lost_nodes()
            process, begin, before = self.started(output), time.monotonic(), kills
            while kills < min(most, MOST_KILLS):
                try:
                    _, told = process.communicate(timeout=self.draw.uniform(0.1, 0.8) * self.seconds)
                    break
                except subprocess.TimeoutExpired:
                    kills += self.kill(process)
                    if process.poll() is not None:
                        break
            try:
                _, told = process.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                self.wrong.append(f"{output}: hangs")
                return
            if process.returncode == 0:
                if kills == before and attempts == 1:
                    # Most runs are to be stopped, not to end before.
                    self.seconds = min(self.seconds, time.monotonic() - begin)
                break
            if process.returncode not in (-signal.SIGKILL, 1, 75) or "Traceback" in told or "defect" in told:
                self.wrong.append(f"{output}: exit code {process.returncode}: {told[-1000:]}")
            if attempts > 3 * MOST_KILLS:
                self.wrong.append(f"{output}: not finished after {attempts} attempts: {told[-1000:]}")
                return
        for name in OUTPUTS:
            folder = join(output, name)
            if digests(folder) != self.expected[name]:
                self.wrong.append(f"{folder}: other shards than those of a run that nobody disturbed")
            audit = audit_output(folder, full=True, plugins=("toy_stages",))
            if audit.exit_code:
                self.wrong.append(f"{folder}: {audit.problems[:3]}")
        print(
            json.dumps({"output": number, "attempts": attempts, "kills": kills, "wrong": len(self.wrong)}), flush=True
        )

    def kill(self, driver: subprocess.Popen[str]) -> int:
        """Kills one process. Returns whether there was one."""
        victim = self.draw.choice(VICTIMS)
        if victim == "driver":
            driver.kill()
        elif victim == "worker":
            workers = self.cluster.workers()
            if not workers:
                return 0
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.draw.choice(workers), signal.SIGKILL)
        else:
            self.cluster.kill_node(self.draw.randrange(len(self.cluster.nodes)))
        self.killed[victim] += 1
        return 1


@contextlib.contextmanager
def place(root: Path, s3: bool) -> Iterator[tuple[str, dict[str, str]]]:
    """Where outputs go, and the environment of whoever goes there."""
    if not s3:
        yield str(root / "out"), {}
        return
    with serving() as server:
        server.make_bucket("kills")
        os.environ.update(server.environment())
        yield "s3://kills/out", server.environment()


def campaign(root: Path, kills: int, seed: int, s3: bool) -> dict[str, Any]:
    """Kills until there were so many. Returns what was tried and what was wrong."""
    with place(root, s3) as (folder, environment):
        paths = {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{PLUGINS}"}
        with running(root, 2, {**environment, **paths}) as cluster:
            one, number = Campaign(root, folder, cluster, seed), 0
            while one.killed.total() < kills and len(one.wrong) < 5:
                number += 1
                one.output(number, kills - one.killed.total())
    return {
        "kills": dict(one.killed), "outputs": number, "storage": "s3" if s3 else "file system", "wrong": one.wrong
    }  # fmt: skip


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--s3", action="store_true")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="gristmill-kills-") as folder:
        found = campaign(Path(folder), chosen.kills, chosen.seed, chosen.s3)
    print(json.dumps(found, indent=1))
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
