"""The exchange with its files in a bucket: results as on a file system, requests within their bounds and as predicted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gristmill.pipeline import storage
from gristmill.pipeline.document import keys_from_words
from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.file_exchange import FileExchange
from gristmill.pipeline.exchange.row_files import RowsWriter, read_batches, written_elsewhere
from gristmill.pipeline.exchange.union_find import EDGE_SCHEMA
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.storage import retries
from tests.cluster.s3_server import Faults, S3Server

pytestmark = pytest.mark.cluster

MIB = 1 << 20
SMALL = {"budget_bytes": 1 << 17, "map_bytes": 1 << 14, "partition_bytes": 1 << 12, "disk_bytes": 1 << 40}
"""Options with which a few thousand rows go through both rounds."""
SMALLEST = {"budget_bytes": 1 << 14, "map_bytes": 1 << 12, "partition_bytes": 1 << 13, "disk_bytes": 1 << 40}
"""Options with which the components of 300 documents take label rounds."""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waits between attempts."""
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(retries, "LONGEST_WAIT", 0.01)


def rows_in(folder: str, tables: list[pa.Table]) -> Rows:
    files = []
    for number, table in enumerate(tables):
        files.append(f"{folder}/rows-{number:05d}.arrow")
        with written_elsewhere(files[-1]) as temporary:
            writer = RowsWriter(temporary, table.schema, batch_rows=500 if table.num_rows < 10_000 else None)
            writer.write(table)
            writer.close()
    return Rows(tuple(files), tables[0].schema, sum(table.num_rows for table in tables))


def edges(documents: int, seed: int) -> pa.Table:
    """Chains of 8 documents, in any order."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 1 << 63, (documents, 2)).astype(np.uint64)
    first = rng.permutation(np.flatnonzero(np.arange(documents - 1) % 8 < 7))
    ends = (first, first + 1)
    columns = [column for end in ends for column in (keys_from_words(words[end]), pa.array((end % 5).astype(np.int32)))]
    return pa.table(columns, schema=EDGE_SCHEMA)


def unchanged(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield from tables


def counted(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield pa.table({"rows": pa.array([sum(table.num_rows for table in tables)], pa.int64())})


def summed(tables: list[pa.Table]) -> pa.Table:
    rows = sum(sum(table["rows"].to_pylist()) if "rows" in table.schema.names else table.num_rows for table in tables)
    return pa.table({"rows": pa.array([rows], pa.int64())})


def everything(folder: str, table: pa.Table) -> list[pa.Table]:
    """The results of each operator."""
    exchange = FileExchange(InlineExecutor(), f"{folder}/first", **SMALL)
    rows = rows_in(f"{folder}/in", [table.slice(start, 1100) for start in range(0, table.num_rows, 1100)])
    grouped = exchange.group(rows, ["other_key"], unchanged)
    found = [whole(list(grouped.files), grouped.schema), exchange.reduce(rows, summed)]
    exchange.release(grouped)
    assert storage.list_files(f"{folder}/first") == [], "what is not needed again is removed"
    exchange = FileExchange(InlineExecutor(), f"{folder}/second", **SMALLEST)
    components = exchange.components(rows_in(f"{folder}/few", [table.slice(0, 140), table.slice(140, 140)]))
    delivered = exchange.deliver(components, 5)
    found.append(whole(list(delivered.values()), components.schema))
    exchange.release(components)
    assert len(exchange.costs) > 4, "label rounds, one shuffle each"
    left = storage.list_files(f"{folder}/second")
    assert len(left) == 5 and all("deliver/task-" in name for name in left), "what is not needed again is removed"
    return found


def whole(files: list[str], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches([batch for path in files for batch in read_batches(path, schema)], schema)


@pytest.mark.parametrize(
    "faults",
    [Faults(), Faults(busy=0.03, broken=0.03, cut=0.03, lost=0.05, seed=5)],
    ids=["whole", "faulty"],
)
def test_every_operator_gives_what_it_gives_on_a_file_system(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path, quick: None, faults: Faults
) -> None:
    table = edges(2500, 1)
    expected = everything(str(tmp_path), table)
    s3_server.break_by(faults)
    found = everything(f"{s3_bucket}/exchange", table)
    assert all(one.equals(other) for one, other in zip(found, expected, strict=True))
    if faults.busy:
        assert min(s3_server.hurt[name] for name in ("busy", "broken", "cut", "lost")) > 5


def test_a_bucket_that_refuses_to_be_written_is_told(s3_server: S3Server, s3_bucket: str, quick: None) -> None:
    rows = rows_in(f"{s3_bucket}/in", [edges(500, 1)])
    s3_server.break_by(Faults(denied=frozenset({"PUT"})))
    with pytest.raises(StorageError, match=r"s3://.*map-00000.parts: cannot be written: .*HTTP 403"):
        FileExchange(InlineExecutor(), f"{s3_bucket}/exchange", **SMALL).group(rows, ["doc_key"], unchanged)


def test_a_piece_that_is_gone_is_named(s3_server: S3Server, s3_bucket: str, quick: None) -> None:
    class Removing(InlineExecutor):
        def run(self, function: Any, payloads: Any) -> Iterator[tuple[int, Any]]:
            payloads = list(payloads)
            if function.__name__ == "run_merge":
                storage.remove(f"{s3_bucket}/exchange/0000-group/pieces/map-00001.parts")
            yield from super().run(function, payloads)

    rows = rows_in(f"{s3_bucket}/in", [edges(3000, 1)])
    with pytest.raises(StorageError, match=r"map-00001.parts is missing; it held rows"):
        FileExchange(Removing(), f"{s3_bucket}/exchange", **SMALL).group(rows, ["doc_key"], unchanged)


@pytest.mark.parametrize(
    ("per_file", "faults"),
    [
        pytest.param(16_500, Faults(), id="whole"),
        # Faults on a smaller exchange are part of the test above; this one takes over a minute more.
        pytest.param(
            12_500, Faults(busy=0.01, broken=0.01, cut=0.01, lost=0.01, seed=2), id="faulty", marks=pytest.mark.long
        ),
    ],
)
def test_two_hundred_by_five_hundred_tasks_stay_within_the_bounds(
    s3_server: S3Server, s3_bucket: str, quick: None, per_file: int, faults: Faults
) -> None:
    """200 map tasks and 512 partitions at the default budget, with as little data as pieces of half their size allow."""
    maps, partitions = 200, 512
    rng = np.random.default_rng(1)

    def table() -> pa.Table:
        payload = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(40), per_file, [None, pa.py_buffer(rng.bytes(40 * per_file))]
        )
        words = rng.integers(0, 1 << 63, (per_file, 2)).astype(np.uint64)
        return pa.table({"bucket": pa.array(words[:, 0]), "doc_key": keys_from_words(words), "sketch": payload})

    rows = rows_in(f"{s3_bucket}/in", [table() for _ in range(maps)])
    size = storage.size_of(rows.files[0])
    assert size is not None
    exchange = FileExchange(
        InlineExecutor(),
        f"{s3_bucket}/exchange",
        map_bytes=size,
        partition_bytes=rows.count * (64 + 96) // partitions + 1,
        disk_bytes=1 << 40,
    )
    s3_server.reset()
    s3_server.break_by(faults)
    found = exchange.group(rows, ["bucket"], counted)
    (predicted,) = exchange.costs
    row_bytes = rows.count * 64
    made = s3_server.requests.copy()
    gets, puts = made["GET"] + made["HEAD"], made["PUT"] + made["POST"]
    assert predicted.tasks >= maps + partitions
    assert gets <= 2.5 * row_bytes / MIB + 4 * (maps + partitions)
    assert puts + made["LIST"] <= 2 * row_bytes / (8 * MIB) + 4 * (maps + partitions)
    one_round = maps * size + 2 * row_bytes
    assert s3_server.moved["in"] + s3_server.moved["out"] <= 2.1 * one_round
    # Each fold writes a file; the rest was predicted.
    assert gets == pytest.approx(predicted.gets, rel=0.1)
    assert puts - partitions == pytest.approx(predicted.puts, rel=0.1)
    moved = s3_server.moved.copy()
    assert moved["out"] == pytest.approx(predicted.read_bytes, rel=0.1)
    assert moved["in"] == pytest.approx(predicted.written_bytes, rel=0.1)
    s3_server.break_by(Faults())
    assert found.count == partitions
    assert sum(whole(list(found.files), found.schema)["rows"].to_pylist()) == rows.count
    assert bool(sum(s3_server.hurt.values()) > 30) == (faults.busy > 0)
