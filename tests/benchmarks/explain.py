"""How long it takes to tell what happened to one document, among very many: CPU time, bytes read, files opened.

    python -m tests.benchmarks.explain [1e7] [--folder DIR]

A small run is made, and its output then filled up to that number of documents: sidecars of a million rows and shards of
100,000, with doc_keys of their own and the run's columns, listed in files.parquet. Measured is `gristmill explain`'s search in
this process, best of five: for a document by its doc_key and by its id, for one that only shards name, and for one that
nobody knows, which reads the most: without the start of Python and of the reading process. Then the whole command for each,
both processes together.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.audit.explain import DocumentNotFoundError, explain
from gristmill.pipeline.document import DOC_KEY, FROM_TASK, ID, KEY_TYPE
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.plan import make_plan
from gristmill.pipeline.provenance.files import FILES_TABLE
from gristmill.pipeline.running.engine import Engine
from tests.benchmarks.figures import figure

CONFIG = """
name: small
sources: {{in: {{format: parquet, paths: ["{folder}/in/*.parquet"], license: {{spdx: CC0-1.0, stated_by: author}}}}}}
stages:
  quality: {{language: eng_Latn, filters: [fineweb]}}
  exact: {{}}
outputs:
  corpus: {{path: "{folder}/out", from: exact}}
"""
SMALL = 2000
PER_SIDECAR, PER_SHARD = 1_000_000, 100_000
ROUNDS = 5
NOBODY = "7f" * 16
"""In the middle of all doc_keys, so that no statistics exclude it."""


def small_output(folder: Path) -> Path:
    """An output of a run over SMALL documents, half of them copies."""
    (folder / "in").mkdir()
    texts = [f"Page {n // 2} says that the bread of the house is good, and that is all of it." for n in range(SMALL)]
    ids = [f"page-{n:09d}" for n in range(SMALL)]
    pq.write_table(pa.table({ID: ids, "text": texts}), folder / "in/part.parquet")
    Engine(make_plan(load(CONFIG.format(folder=folder), "benchmark")), InlineExecutor()).run()
    return folder / "out"


def filled(table: pa.Table, rows: int, first: int, task: int, tasks: int, rng: np.random.Generator) -> pa.Table:
    """So many rows like those of a table, with identities of their own; a document's are the same in every file."""
    columns = table.take(pa.array(np.arange(rows) % table.num_rows))
    buffer = pa.py_buffer(rng.bytes(16 * rows))
    new = {DOC_KEY: pa.FixedSizeBinaryArray.from_buffers(KEY_TYPE, rows, [None, buffer])}
    new[ID] = (
        pa.array([f"page-{first + n:09d}" for n in range(rows)], table.schema.field(ID).type)
        if ID in table.schema.names
        else None
    )
    new[FROM_TASK] = pa.array(np.sort(task + rng.integers(0, tasks, rows)).astype(np.int32))
    for name, values in new.items():
        if name in columns.column_names and values is not None:
            columns = columns.set_column(columns.column_names.index(name), columns.schema.field(name), values)
    return columns


def fill(output: Path, documents: int) -> None:
    """Files of other documents beside those of the run, listed as its own are."""
    entries = pq.read_table(output / FILES_TABLE)
    rows = entries.to_pylist()
    for entry in entries.to_pylist():
        role, path = entry["role"], Path(entry["path"])
        if role == "dropped":
            continue
        per_file, tasks = (PER_SHARD, 1) if role == "data" else (PER_SIDECAR, PER_SIDECAR // PER_SHARD)
        file = pq.ParquetFile(output / path)
        table, log = file.read(), file.schema_arrow.metadata
        for number, first in enumerate(range(0, documents, per_file)):
            task = 1 + number * tasks
            rng = np.random.default_rng(first)
            made = filled(table, min(per_file, documents - first), SMALL + first, task, tasks, rng)
            name = str(path.with_name(f"part-{task:05d}{'-00' if role == 'data' else ''}.parquet"))
            group = PER_SHARD // 4 if role == "data" else PER_SHARD
            plain = [one for one in (DOC_KEY, ID) if one in made.column_names]
            dictionary = [one for one in made.column_names if one not in plain]
            pq.write_table(
                made.replace_schema_metadata(log),
                output / name,
                row_group_size=group,
                compression="zstd",
                use_dictionary=dictionary,
            )
            rows.append({**entry, "path": name, "task": task, "tasks": tasks})
    pq.write_table(pa.Table.from_pylist(rows, schema=entries.schema), output / FILES_TABLE)


def counted(work: Callable[[], Any]) -> dict[str, float]:
    """CPU seconds (all threads), wall seconds and megabytes read from files by some work, the best of ROUNDS."""
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        before = _read_bytes()
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        found = {"cpu_s": cpu, "wall_s": wall, "mb_read": (_read_bytes() - before) / 1e6}
        best = min(best or found, found, key=lambda one: one["cpu_s"])
    return best


def command(output: Path, ident: str) -> dict[str, float]:
    """CPU seconds and wall seconds of `gristmill explain` with both of its processes, medians of ROUNDS."""
    found = []
    # Python's compiled modules are on disk, as pip leaves them, whatever this environment says.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    line = [sys.executable, "-m", "gristmill.launch", "explain", str(output), ident]
    for _ in range(ROUNDS + 1):
        before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(line, env=environment, capture_output=True, check=False)
        wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall))
    cpu, seconds = (statistics.median(one) for one in zip(*found[1:], strict=True))
    return {"cpu_s": cpu, "wall_s": seconds}


def _read_bytes() -> int:
    lines = Path("/proc/self/io").read_text(encoding="ascii").split()
    return int(lines[lines.index("rchar:") + 1])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("documents", nargs="?", type=float, default=1e7)
    arguments.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the output is made")
    chosen = arguments.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gristmill-explain-", dir=chosen.folder))
    try:
        output = small_output(folder)
        ledger = pq.read_table(output / "ledger", columns=[DOC_KEY, ID, "decision"])
        dropped = next(row for row in ledger.to_pylist() if row["decision"] == "dropped")
        key = next(
            value
            for value in pq.read_table(output / "data", columns=[DOC_KEY])[DOC_KEY].to_pylist()
            if value not in set(ledger[DOC_KEY].to_pylist())
        )
        fill(output, int(chosen.documents))
        cases = {
            "dropped, by doc_key": dropped[DOC_KEY].hex(),
            "dropped, by id": dropped[ID],
            "kept, by doc_key": key.hex(),
            "nobody's doc_key": NOBODY,
        }
        for what, ident in cases.items():

            def told(ident: str = ident) -> None:
                try:
                    explain(str(output), ident)
                except DocumentNotFoundError:
                    assert ident == NOBODY

            spent = counted(told)
            print(json.dumps({"what": what, "documents": int(chosen.documents), **spent}), flush=True)
            data = f"{int(chosen.documents):,} made documents, {spent['mb_read']:.0f} MB read"
            figure(what, spent["cpu_s"], "s of CPU", data=data)
            whole = command(output, ident)
            print(json.dumps({"what": f"the command: {what}", **whole}), flush=True)
            figure(f"the command: {what}", whole["wall_s"], "s of wall time", data=data)
        files = sum(path.is_file() for path in output.rglob("*"))
        stored = sum(path.stat().st_size for path in output.rglob("*") if path.is_file()) / 1e6
        print(json.dumps({"files": files, "mb_stored": stored}))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
