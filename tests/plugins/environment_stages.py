"""A stage that looks for a word wherever code that a run starts can look: in the environment of every process of the run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from gristmill.pipeline.stage import (
    Decisions,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    keep_all,
    runtime,
)

MARK = "GRISTMILL_TEST_RUN"
"""An environment variable by which the processes of one run know each other."""


class EnvironmentConfig(StageConfig):
    folder: str = runtime("")


class Environment(Stage):
    """Keeps every row, and writes down what processes there are and what stands in their environments."""

    Config = EnvironmentConfig
    version = 1
    summary = "writes down environments"

    def declare(self) -> StageSpec:
        return StageSpec(measure_reads={"text"}, signals=pa.schema([("seen", pa.int64())]))

    def measure(self, batch: pa.Table, context: StageContext) -> dict[str, pa.Array]:
        processes = seen()
        file = Path(self.config.folder, f"{os.getpid()}-{batch['text'][0]}"[:100].replace("\n", " "))
        file.write_text(json.dumps({"here": dict(os.environ), "processes": processes}))
        return {"seen": pa.array([1] * batch.num_rows, pa.int64())}

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        return keep_all(batch.num_rows)


def seen() -> dict[str, dict[str, Any]]:
    """Command line and environment, as the system keeps them, of every process of this run, by process id."""
    found = {}
    mark = f"{MARK}={os.environ[MARK]}\0".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended, or is not ours to read
        if mark in environment:
            found[process.name] = {
                "command": command.decode(errors="replace"),
                "environ": environment.decode("latin-1"),
            }
    return found
