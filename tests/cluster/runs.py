"""A run as a user has it, with inputs, work folder and output in places to choose: languages, quality, MinHash, rebalancing."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.launch.quickstart.small_web.generator import documents
from gristmill.pipeline import storage

ROOT = Path(__file__).parents[2]

CONFIG = """
name: bucket
seed: 17
sources:
  web: {{format: parquet, paths: ["{inputs}/*.parquet"], license: {{spdx: Apache-2.0, stated_by: author}}}}
stages:
  language: {{min_score: 0.3}}
  quality: {{on_fail: mark}}
  minhash: {{within: [language, language_script], prefer_unmarked: true}}
  clean: {{use: drop_marked, by: [quality]}}
  rebalance:
    max_repeats: 4
    rates: {{observe: minhash, marked_by: quality}}
    max_copies: cluster_size
    group: []
    min_cluster_count: 20
    min_group_clusters: 100
outputs:
  corpus: {{path: "{output}", {options}}}
work: "{work}"
"""

VARIES = ("manifest.json", "files.parquet")
"""Files of an output that also say when and where it was made."""


def write_web(inputs: str, files: int = 5, count: int = 600) -> int:
    """Writes the small web as Parquet files. Returns their bytes."""
    table = documents(count=count)
    size = 0
    for number in range(files):
        rows = table.slice(number * len(table) // files, -(-len(table) // files))
        buffer = io.BytesIO()
        pq.write_table(pa.table(rows.to_pydict()), buffer)
        storage.put(f"{inputs}/part-{number}.parquet", buffer.getvalue())
        size += len(buffer.getvalue())
    return size


def config(inputs: str, output: str, work: str, options: str = "dropped: sample, shuffle: true") -> str:
    """A run's config."""
    return CONFIG.format(inputs=inputs, output=output, work=work, options=options)


def gristmill(text: str, folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Starts the command on a config."""
    file = folder / "run.yaml"
    file.write_text(text)
    code = "from gristmill.launch.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "run", str(file), *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(text: str, folder: Path, *arguments: str, **environment: str) -> str:
    """Runs the command to its end, which must be a good one. Returns what it printed."""
    process = gristmill(text, folder, *arguments, **environment)
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0, told
    return told


def contents(output: str) -> dict[str, str]:
    """SHA-256 of every file of an output that must be the same on every run, and everywhere."""
    return {
        path: hashlib.sha256(storage.read_small(f"{output}/{path}", 1 << 30) or b"").hexdigest()
        for path in storage.list_files(output)
        if path not in VARIES
    }
