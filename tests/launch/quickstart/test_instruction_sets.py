"""Kernels compiled without any extension of the processor's instructions give the bytes that native ones give."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from tests.pipeline.toy_runs import shards

ARGUMENTS = (
    "run", "quickstart", "--executor", "inline", "--quiet",
    "--set", "sources.web.documents=300",
    # Few documents: without these the rebalancer would learn no rates from them.
    "--set", "stages.rebalance.min_group_clusters=5",
    "--set", "stages.rebalance.min_cluster_count=3",
)  # fmt: skip
GENERIC = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}


def curate(folder: Path, output: str, **environment: str) -> dict[str, str]:
    """Runs the five stages in a process of its own. Returns the SHA-256 of all files that must be the same on every run."""
    others = {name: value for name, value in os.environ.items() if name not in GENERIC}
    done = subprocess.run(
        [sys.executable, "-c", "from gristmill.launch.cli import main; main()", *ARGUMENTS, "--output", output],
        cwd=folder, env=others | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {
        f"{part}/{name}": sha
        for part in ("corpus", "annealing")
        for name, sha in shards(folder / output / part).items()
    }


def test_generic_and_native_instructions_give_the_same_bytes(tmp_path: Path) -> None:
    native = curate(tmp_path, "native")
    # The kernels are compiled in a cache of their own, which takes half a minute.
    generic = curate(tmp_path, "generic", NUMBA_CACHE_DIR=str(tmp_path / "cache"), **GENERIC)
    indices = list((tmp_path / "cache").rglob("*.nbi"))
    assert len(indices) > 30
    assert all(b"generic" in index.read_bytes() for index in indices)
    rows = [pq.read_metadata(path).num_rows for path in (tmp_path / "generic/corpus/data").iterdir()]
    assert sum(rows) > 50
    assert len(native) > 40
    assert generic == native
