"""What many small files cost: CPU time, tasks, files opened and flushes, with files that share tasks and one by one.

python -m tests.benchmarks.small_files --files 10000 --kilobytes 100
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning import small_files
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.plan import make_plan
from gristmill.pipeline.running.engine import Engine

CONFIG = """
name: small
sources:
  s: {{format: jsonl, paths: ["{folder}/in/*"]}}
stages:
  exact: {{}}
outputs:
  corpus: {{path: "{folder}/out"}}
"""


def write(folder: Path, files: int, size: int) -> None:
    """Files of about `size` bytes with documents of 2 kB that all differ."""
    (folder / "in").mkdir()
    for file in range(files):
        with (folder / f"in/{file:06d}.jsonl").open("w") as stream:
            for row in range(max(1, size // 2000)):
                stream.write(json.dumps({"id": f"{file}-{row}", "text": f"{file} {row} " + "some words " * 180}) + "\n")


def measured(folder: Path) -> dict[str, float]:
    """A run in this process: CPU seconds, tasks, openings and flushes."""
    opened, flushed, counting = [0], [0], [True]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        opened[0] += counting[0] and event == "open"

    sys.addaudithook(hook)
    real = os.fsync

    def fsync(handle: int) -> None:
        flushed[0] += 1
        real(handle)

    os.fsync = fsync
    begin = time.process_time()
    try:
        result = Engine(make_plan(load(CONFIG.format(folder=folder), "small.yaml")), InlineExecutor()).run()
    finally:
        os.fsync, counting[0] = real, False
    seconds = time.process_time() - begin
    return {"cpu_seconds": seconds, "tasks": len(result.plan.slices), "opened": opened[0], "flushed": flushed[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--kilobytes", type=int, default=100)
    parser.add_argument("--per-file", action="store_true", help="a task for each file")
    given = parser.parse_args()
    if given.per_file:
        small_files.FILES_ALONE = given.files
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), given.files, 1000 * given.kilobytes)
        print(json.dumps(measured(Path(name))))


if __name__ == "__main__":
    main()
