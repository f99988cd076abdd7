"""Memory of map, merge and fold tasks at many partitions: each stays within its budget, in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gristmill.pipeline.document import keys_from_words
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.file_exchange import FileExchange
from gristmill.pipeline.exchange.row_files import RowsWriter
from gristmill.pipeline.exchange.shuffle_plan import Rounds
from gristmill.pipeline.executor.inline import InlineExecutor

ROOT = Path(__file__).resolve().parents[3]
BUDGET, PARTITIONS, ROWS, WIDTH = 128 << 20, 512, 4_400_000, 64


def table(rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 1 << 63, (rows, 2)).astype(np.uint64)
    payload = pa.FixedSizeBinaryArray.from_buffers(pa.binary(40), rows, [None, pa.py_buffer(rng.bytes(40 * rows))])
    return pa.table({"bucket": pa.array(words[:, 0]), "doc_key": keys_from_words(words), "payload": payload})


def count_rows(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield pa.table({"rows": [sum(table.num_rows for table in tables)]})


class Watched(InlineExecutor):
    """Notes the process's peak after each kind of task."""

    def __init__(self) -> None:
        super().__init__()
        self.peaks: dict[str, int] = {}

    def run(self, function: Any, payloads: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        yield from super().run(function, payloads)
        self.peaks[function.__name__] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def measured(folder: str) -> None:
    """Prints the peak before, and after the tasks of each kind. What the child process runs."""
    path = Path(folder) / "rows.arrow"
    writer = RowsWriter(path, table(1, 0).schema)
    for seed in range(ROWS // 100_000):
        writer.write(table(100_000, seed))
    writer.close()
    rows = Rows((str(path),), writer.schema, ROWS)
    small = Path(folder) / "small.arrow"
    first = RowsWriter(small, writer.schema)
    first.write(table(1000, 1))
    first.close()
    # Kernels and libraries are loaded by a small shuffle that goes the same ways.
    warm = FileExchange(
        InlineExecutor(), f"{folder}/first", budget_bytes=1 << 16, map_bytes=1 << 13, partition_bytes=1 << 10
    )
    warm.group(Rows((str(small),), writer.schema, 1000), ["bucket"], count_rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    executor = Watched()
    # Two rounds: files of 35 and 141 MB, in chunks of an eighth of the budget that are put in order on disk.
    exchange = FileExchange(
        executor,
        f"{folder}/work",
        budget_bytes=BUDGET,
        map_bytes=ROWS * WIDTH // 8,
        partition_bytes=ROWS * (WIDTH + 96) // PARTITIONS + 1,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gristmill.pipeline.exchange.shuffle_driver.rounds", lambda *_: Rounds(2, 1, 1))
        found = exchange.group(rows, ["bucket"], count_rows)
    print(json.dumps({"before": before, "files": found.count, **executor.peaks}))


def test_every_task_at_512_partitions_stays_within_the_budget(tmp_path: Path) -> None:
    code = f"from tests.pipeline.exchange.test_shuffle_memory import measured; measured({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout)
    assert found["files"] == PARTITIONS
    assert ROWS * WIDTH / 2 > BUDGET, "a task's output is larger than what it may hold"
    for kind in ("run_map", "run_merge", "run_index", "run_fold"):
        assert found[kind] - found["before"] <= BUDGET, kind
