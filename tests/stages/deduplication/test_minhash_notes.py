"""MinHash settled from made notes: a cluster larger than memory, one very large bucket, and what is lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from gristmill.pipeline.document import DOC_KEY, keys_from_words
from gristmill.pipeline.errors import ConservationError, StorageError
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.file_exchange import FileExchange
from gristmill.pipeline.exchange.row_files import RowsWriter, read_batches
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.stage import Settled, StageContext
from gristmill.pipeline.testing import make_stage
from gristmill.stages.deduplication.minhash import MinHash

BUDGET = 8 << 20
"""Far less than the rows take, so that what meets in one partition is sorted in runs on disk."""


def notes_of(folder: Path, buckets: np.ndarray, sketch: np.ndarray, files: int = 3) -> Rows:
    """Notes as the survey leaves them: buckets uint64 of shape (documents, bands), one word of sketch each."""
    documents = len(buckets)
    folder.mkdir()
    draw = np.random.default_rng(8)
    table = pa.table(
        {
            DOC_KEY: keys_from_words(draw.integers(0, 2**64, (documents, 2), np.uint64)),
            "buckets": _fixed(buckets),
            "sketch": _fixed(sketch.reshape(-1, 1)),
            "task": pa.array(np.arange(documents) * files // documents, pa.int32()),
        }
    )
    paths = []
    for task in range(files):
        path = folder / f"{task}.arrow"
        writer = RowsWriter(path, table.schema)
        writer.write(table.filter(pc.equal(table["task"], task)))
        writer.close()
        paths.append(str(path))
    return Rows(tuple(paths), table.schema, documents)


def _fixed(words: np.ndarray) -> pa.Array:
    kind = pa.binary(8 * words.shape[1])
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(words), [None, pa.py_buffer(words.astype("<u8").tobytes())])


def settled(folder: Path, notes: Rows, config: dict[str, Any], exchange: FileExchange | None = None) -> Settled:
    stage = make_stage(MinHash, config)
    return stage.settle(
        notes, exchange or FileExchange(InlineExecutor(), folder / "exchange", budget_bytes=BUDGET), StageContext()
    )


def members(answer: Settled) -> Iterator[pa.RecordBatch]:
    assert answer.keyed is not None
    for path in answer.keyed.files:
        yield from read_batches(path, answer.keyed.schema)


@pytest.mark.parametrize("documents", [250_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_very_many_equal_documents_are_one_cluster(tmp_path: Path, documents: int) -> None:
    same = np.full((documents, 1), 7, np.uint64)
    answer = settled(tmp_path, notes_of(tmp_path / "in", same, same), {"bands": 1, "rows": 16})
    report = answer.report
    assert (report["clusters"], report["duplicates"], report["crowded"]["buckets"]) == (1, documents - 1, 0)
    labels, rows = set(), 0
    for batch in members(answer):
        rows += batch.num_rows
        labels |= set(batch["label"].unique().to_pylist())
        assert pc.min(batch["size"]).as_py() == documents
    assert rows == documents and len(labels) == 1


def test_a_very_large_bucket_of_strangers_costs_its_leaders_and_is_reported(tmp_path: Path) -> None:
    documents = 200_000
    draw = np.random.default_rng(2)
    sketch = draw.integers(0, 2**64, documents, np.uint64)
    buckets = np.stack([np.zeros(documents, np.uint64), np.arange(1, documents + 1, dtype=np.uint64)], axis=1)
    answer = settled(tmp_path, notes_of(tmp_path / "in", buckets, sketch), {"bands": 2, "rows": 8, "verify_min": 0.9})
    crowded = answer.report["crowded"]
    assert (crowded["buckets"], crowded["documents"]) == (1, documents)
    assert crowded["unmatched"] == documents - 64, "only the leaders are compared with, and nobody resembles one"
    assert answer.report["duplicates"] == 0


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"verify": "none"},
        {"similarity": False},
        {"keeper": "longest", "prefer_unmarked": ["quality"], "similarity": False},
        {
            "keeper": "longest",
            "prefer_unmarked": ["quality"],
            "copies": "n",
            "per_source": "source",
            "against": "before",
        },
        {"against": "before", "keep_earlier": False, "copies": "n"},
    ],
)
def test_whatever_the_exchange_leaves_out_the_answer_is_the_same(tmp_path: Path, config: dict[str, Any]) -> None:
    draw = np.random.default_rng(5)
    buckets = draw.integers(0, 12_000, (3000, 3)).astype(np.uint64)
    sketch = draw.integers(0, 4, 3000).astype(np.uint64)
    notes = with_attributes(notes_of(tmp_path / "in", buckets, sketch, files=3), draw)
    config = {"bands": 3, "rows": 5, "verify_min": 0.9, **config}
    usual, plain = (
        settled(tmp_path, notes, config, kind(InlineExecutor(), tmp_path / kind.__name__, budget_bytes=BUDGET))
        for kind in (FileExchange, Plain)
    )
    rows = [
        sorted(row for batch in members(answer) for row in map(str, batch.to_pylist())) for answer in (usual, plain)
    ]
    assert rows[0] == rows[1] and len(rows[0]) > 100
    assert usual.report == plain.report


def with_attributes(notes: Rows, draw: np.random.Generator) -> Rows:
    """Notes with all that a choice of keepers may use; a quarter of them from prior runs, some without hashes."""
    for path in notes.files:
        table = pa.concat_tables([pa.Table.from_batches([batch]) for batch in read_batches(path, notes.schema)])
        rows = table.num_rows
        earlier = pa.array(
            np.where(draw.random(rows) < 0.25, draw.choice([-1, -2, -3], rows), table["task"]), pa.int32()
        )
        gone = pa.array(draw.random(rows) < 0.1)
        columns = {
            **dict(zip(table.schema.names, table.columns, strict=True)),
            "buckets": pc.if_else(gone, pa.scalar(None, table.schema.field("buckets").type), table["buckets"]),
            "task": earlier,
            "marked": pa.array(draw.random(rows) < 0.5, mask=draw.random(rows) < 0.1),
            "rank": pa.array(draw.integers(0, 9, rows).astype(np.uint64)),
            "source": pa.array(draw.choice(["a", "b", "c"], rows).tolist()),
            "copies": pa.array(draw.integers(1, 9, rows)),
        }
        table = pa.table(columns)
        writer = RowsWriter(Path(path), table.schema)
        writer.write(table)
        writer.close()
    return Rows(notes.files, table.schema, notes.count)


class Plain(FileExchange):
    """An exchange that shuffles all rows and unites documents by key."""

    def recurring(self, rows: Rows, column: str) -> None:
        return None


class Losing(FileExchange):
    """An exchange that loses something of one partition after its rows were written."""

    def __init__(self, folder: Path, lose: str) -> None:
        super().__init__(InlineExecutor(), folder, budget_bytes=BUDGET)
        self.lose = lose

    def split(self, step: str, *args: Any, **options: Any) -> Any:
        result = super().split(step, *args, **options)
        piece = sorted((Path(step) / "pieces").glob("*.parts"))[0]
        if self.lose == "file":
            piece.unlink()
        elif self.lose == "end":
            piece.write_bytes(piece.read_bytes()[: piece.stat().st_size // 2])  # the index after the pieces was read
        else:
            data = bytearray(piece.read_bytes())
            data[len(data) // 3] ^= 1
            piece.write_bytes(bytes(data))
        return result


@pytest.mark.parametrize(
    ("lose", "error", "message"),
    [
        ("file", StorageError, "is missing"),
        ("end", StorageError, "truncated or damaged"),
        ("bit", ConservationError, "checksum differs"),
    ],
)
def test_a_partition_lost_or_damaged_while_settling_stops_the_run(
    tmp_path: Path, lose: str, error: type[Exception], message: str
) -> None:
    buckets = np.arange(2000, dtype=np.uint64).reshape(-1, 1) // np.uint64(2)
    notes = notes_of(tmp_path / "in", buckets, buckets[:, 0])
    with pytest.raises(error, match=message):
        settled(tmp_path, notes, {"bands": 1, "rows": 16}, Losing(tmp_path / "exchange", lose))


def test_a_note_file_lost_before_settling_stops_the_run(tmp_path: Path) -> None:
    buckets = np.arange(2000, dtype=np.uint64).reshape(-1, 1)
    notes = notes_of(tmp_path / "in", buckets, buckets[:, 0])
    Path(notes.files[1]).unlink()
    with pytest.raises(StorageError, match=r"1.arrow is missing"):
        settled(tmp_path, notes, {"bands": 1, "rows": 16})
