"""A run that takes its time, as a job of the tests: config, data, a plug-in; and the bytes that it must come to."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

FILES = 24
ROWS = 40

_PLUGIN = '''\
"""A stage that waits in every batch, and drops texts by what a module beside it says."""

import time

import numpy as np
import pyarrow.compute as pc
from slow_words import UNWANTED

from gristmill.pipeline.stage import Stage, StageConfig, StageSpec, from_failures, runtime


class SlowConfig(StageConfig):
    seconds: float = runtime(0.0)


class Slow(Stage):
    Config = SlowConfig
    version = 1
    summary = "waits, and drops unwanted texts"

    def declare(self):
        return StageSpec(decide_reads={"text"}, rules=("unwanted",))

    def decide(self, batch, settled, context):
        time.sleep(self.config.seconds)
        found = np.asarray(pc.match_substring(batch["text"], UNWANTED))
        return from_failures({"unwanted": found}, {}, {}, rows=len(found))
'''

_CONFIG = """\
name: slow
sources:
  crawl: {{format: parquet, paths: ["data/*.parquet"]}}
stages:
  slow: {{seconds: {seconds}}}
  exact: {{}}
outputs:
  corpus: {{from: exact, path: out}}
"""


def write_job(folder: Path, seconds: float) -> None:
    """Config `slow.yaml`, data, and the plug-in's two modules in `plugins/`.

    Args:
        folder: an empty folder.
        seconds: the time that one of the FILES slices takes in each pass.
    """
    (folder / "data").mkdir(parents=True)
    for file in range(FILES):
        # Letters alone: documents that differ in digits only are equal to `exact`. Two files share a third of theirs.
        names = [hashlib.sha256(f"{row} {file if row % 3 else file // 2}".encode()).hexdigest() for row in range(ROWS)]
        words = [name.translate(str.maketrans("0123456789", "ghijklmnop")) for name in names]
        texts = [f"{word}: {'rain' if row % 7 else 'snow'} all day." for row, word in enumerate(words)]
        pq.write_table(pa.table({"text": texts}), folder / "data" / f"{file:02d}.parquet")
    (folder / "slow.yaml").write_text(_CONFIG.format(seconds=seconds))
    (folder / "plugins").mkdir()
    (folder / "plugins" / "slow_stages.py").write_text(_PLUGIN)
    (folder / "plugins" / "slow_words.py").write_text('UNWANTED = "snow"\n')


def gristmill(
    *arguments: str, folder: Path, timeout: float = 300, check: int | None = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """One command line, in a process of its own, in the job's folder."""
    done = subprocess.run(
        command(*arguments), cwd=folder, env=job_environment(folder, **environment), capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip
    assert check is None or done.returncode == check, (arguments, done.returncode, done.stdout, done.stderr)
    return done


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gristmill.launch", *arguments]


def job_environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a user who submits: records of its own, the plug-in's folder on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_", "GRISTMILL_"))}
    return {
        **kept, "PYTHONPATH": str(folder / "plugins"), "XDG_STATE_HOME": str(folder / "state"), "COLUMNS": "100",
        "RAY_USAGE_STATS_ENABLED": "0", **more,
    }  # fmt: skip


def expected(folder: Path) -> dict[str, str]:
    """The digests of what the run writes in one process, without waiting and without interruption."""
    gristmill(
        "run", "slow.yaml", "--executor", "inline", "--plugin", "slow_stages", "--output", "expected", "--quiet",
        "--set", "stages.slow.seconds=0", folder=folder,
    )  # fmt: skip
    return digests(folder / "expected")


def digests(output: Path) -> dict[str, str]:
    """SHA-256 of each shard and of the ledger of an output."""
    files = [*sorted((output / "data").iterdir()), *sorted((output / "ledger").iterdir())]
    assert len(files) == FILES + 1, [file.name for file in files]
    return {f"{file.parent.name}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def tasks_done(state: dict[str, Any]) -> int:
    """Tasks of the first pass that have ended, by a `status --json`."""
    progress = state["progress"]
    return int(progress["done"]) + (FILES if progress["pass"] > 1 else 0) if progress else 0


def until(ready: Callable[[], object], seconds: float, what: str) -> None:
    """Waits until something is so, and fails when it is not after that time."""
    give_up = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < give_up, what
        time.sleep(0.3)
