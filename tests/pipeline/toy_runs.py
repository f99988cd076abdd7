"""How the engine's tests run something: a corpus in a folder, a config as text, the toy stages as a plugin."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.executor import Executor
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.foreign_files import Workers
from gristmill.pipeline.planning.plan import Plan, make_plan
from gristmill.pipeline.running.engine import Engine, RunResult

PLUGINS = str(Path(__file__).parents[1] / "plugins")
if PLUGINS not in sys.path:
    sys.path.append(PLUGINS)


def write_corpus(folder: Path, files: int = 3, rows: int = 40) -> list[dict[str, Any]]:
    """Parquet files of short texts with repeats, a few of them empty. Returns the rows."""
    folder.mkdir(parents=True, exist_ok=True)
    everything = []
    for file in range(files):
        records = []
        for row in range(rows):
            number = (file * rows + row) * 7919 % 97
            text = "" if number == 13 else "ab " * (number % 11) + chr(0x3B1 + number % 23)
            records.append({"id": f"d{file}-{row}", "text": text, "url": f"https://example.org/{file}/{row}"})
        pq.write_table(pa.Table.from_pylist(records), folder / f"part-{file:03d}.parquet")
        everything += records
    return everything


GRAPH = """
name: toys
sidecar_documents: 1
seed: 5
sources:
  s: {{format: parquet, paths: ["{root}/in/*.parquet"], license: {{spdx: CC0-1.0, stated_by: author}}}}
stages:
  length: {{least: 2, mark: true}}
  same: {{}}
  split: {{at: 20}}
  repeat: {{from: split.low, times: 3, observe: same}}
outputs:
  corpus: {{path: "{root}/out/corpus", from: repeat}}
  long: {{path: "{root}/out/long", from: split.high}}
"""


def plan_of(text: str, workers: Workers | None = None, **options: Any) -> Plan:
    return make_plan(load(text, "test.yaml", plugins=("toy_stages",), **options), workers)


def run(text: str, executor: Executor | None = None, **options: Any) -> RunResult:
    engine_options = {k: options.pop(k) for k in ("rehash", "keep_work", "listener") if k in options}
    return Engine(plan_of(text, **options), executor or InlineExecutor(), **engine_options).run()


def shards(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of an output that must be the same on every run."""
    same = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in ("manifest.json", "files.parquet"):
            same[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return same


def rows_of(folder: Path, part: str = "data") -> list[dict[str, Any]]:
    files = sorted((folder / part).rglob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]
