"""Rows whose hashes recur, against brute force: whatever the budget, the files and the chunks, none is missed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gristmill.pipeline.document import KEY_TYPE, keys_from_bytes
from gristmill.pipeline.errors import ConservationError, ContractError, StorageError
from gristmill.pipeline.exchange import Rows, recurring
from gristmill.pipeline.exchange.file_exchange import FileExchange
from gristmill.pipeline.exchange.recurring import NUMBER, RECURS
from gristmill.pipeline.executor.inline import InlineExecutor
from tests.pipeline.exchange.test_exchange import exchange_in, in_files, read

WORDS = 11
SCHEMA = pa.schema([("doc_key", KEY_TYPE), ("buckets", pa.binary(8 * WORDS)), ("name", pa.string())])


def made(rows: int, values: int, seed: int) -> tuple[pa.Table, np.ndarray]:
    """Rows of hashes drawn from so many values, a seventh of them null; and the hashes."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, values, np.uint64)[rng.integers(0, values, (rows, WORDS))]
    there = rng.random(rows) >= 1 / 7
    buckets = [row.astype("<u8").tobytes() if one else None for row, one in zip(hashes, there, strict=True)]
    names = pa.array([None if i % 5 == 0 else f"{i}" for i in range(rows)])
    hashes[~there] = 0
    return pa.table([keys_from_bytes(rng.bytes(16 * rows)), buckets, names], schema=SCHEMA), hashes


def bits_of(table: pa.Table) -> np.ndarray:
    marks = np.frombuffer(b"".join(table[RECURS].to_pylist()), np.uint8).reshape(table.num_rows, -(-WORDS // 8))
    return np.unpackbits(marks, axis=1, bitorder="little")[:, :WORDS].astype(bool)


def found_in(exchange: FileExchange, rows: Rows) -> tuple[pa.Table, int]:
    found = exchange.recurring(rows, "buckets")
    assert found is not None
    table = read(found[0].files, found[0].schema)
    assert table.num_rows == found[0].count
    return table, found[1]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(0, 300),
    values=st.sampled_from([1, 50, 3000, 100_000]),
    seed=st.integers(0, 2**32),
    budget=st.sampled_from([1 << 13, 1 << 14, 1 << 20]),
    cuts=st.lists(st.integers(0, 300), max_size=3),
    batch=st.sampled_from([7, 1000]),
)
def test_rows_that_share_a_hash_are_found_on_every_path(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    values: int,
    seed: int,
    budget: int,
    cuts: list[int],
    batch: int,
) -> None:
    folder = tmp_path_factory.mktemp("recurring")
    table, hashes = made(rows, values, seed)
    usual, bits = found_in(exchange_in(folder / "usual"), in_files(table, folder / "one"))
    counts = Counter(hashes[hashes > 0].tolist())
    shared = np.array([[counts[int(one)] > 1 for one in row] for row in hashes], bool).reshape(rows, WORDS)
    place = {key: row for row, key in enumerate(table["doc_key"].to_pylist())}
    kept = [place[key] for key in usual["doc_key"].to_pylist()]
    marks = np.zeros((rows, WORDS), bool)
    marks[kept] = bits_of(usual)
    assert kept == sorted(kept) and marks[kept].any(axis=1).all()
    assert not (shared & ~marks).any(), "a hash that recurs has its bit"
    assert not marks[hashes == 0].any(), "a row without hashes has none"
    alone = (hashes > 0) & ~shared
    assert (marks & alone).sum() <= 5 + 0.1 * alone.sum(), "chance marks few"
    assert bits == int(marks.sum())
    assert usual[NUMBER].to_pylist() == kept, "numbers are places among all rows"
    assert usual.drop([NUMBER, RECURS]) == table.take(pa.array(kept, pa.int64())), "the columns are as they were"
    other = found_in(exchange_in(folder / "other", budget, order=seed), in_files(table, folder / "many", cuts, batch))
    assert other == (usual, bits), "budget, files and batches change nothing"


def test_more_rows_than_it_is_of_use_for_are_left_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = in_files(made(200, 1000, 1)[0], tmp_path / "in")
    monkeypatch.setattr(recurring, "MAX_RANGES", 8)
    assert exchange_in(tmp_path / "x", budget=1 << 20).recurring(rows, "buckets") is not None
    assert exchange_in(tmp_path / "y", budget=1 << 12).recurring(rows, "buckets") is None
    assert not (tmp_path / "y").exists()


def test_another_column_is_refused(tmp_path: Path) -> None:
    rows = in_files(made(10, 10, 1)[0], tmp_path / "in")
    with pytest.raises(ContractError, match="`name` has type string"):
        exchange_in(tmp_path / "x").recurring(rows, "name")


class Meddling(InlineExecutor):
    """Damages a file once all tasks of a kind have run."""

    def __init__(self, folder: Path, after: str, pattern: str, damage: str) -> None:
        super().__init__()
        self.folder, self.after, self.pattern, self.damage = folder, after, pattern, damage

    def run(self, function: Any, payloads: Any) -> Any:
        yield from super().run(function, payloads)
        if function.__name__ != self.after:
            return
        path = sorted(self.folder.rglob(self.pattern))[0]
        data = bytearray(path.read_bytes())
        if self.damage == "gone":
            path.unlink()
        elif self.damage == "end":
            path.write_bytes(data[: len(data) // 2])
        elif self.damage == "bit":
            data[-1] ^= 1
            path.write_bytes(data)
        else:  # notes that were exchanged for others of the same length
            with pa.ipc.new_file(str(path), SCHEMA) as writer:
                writer.write_table(made(300, 500, 99)[0])


@pytest.mark.parametrize(
    ("after", "pattern", "damage", "error", "message"),
    [
        ("run_split", "split-*", "bit", ConservationError, "not those that were written"),
        ("run_split", "split-*", "end", StorageError, "truncated"),
        ("run_split", "split-*", "gone", StorageError, "missing"),
        ("run_count", "bits-*", "bit", ConservationError, "not those that were written"),
        ("run_count", "bits-*", "end", StorageError, "truncated"),
        ("run_count", "rows-*", "other", ConservationError, "hashes of chunk 0 are not those"),
    ],
)
def test_what_was_damaged_between_tasks_is_found(
    tmp_path: Path, after: str, pattern: str, damage: str, error: type[Exception], message: str
) -> None:
    rows = in_files(made(300, 500, 3)[0], tmp_path / "in")
    meddling = Meddling(tmp_path, after, pattern, damage)
    with pytest.raises(error, match=message):
        FileExchange(meddling, tmp_path / "x", budget_bytes=1 << 13).recurring(rows, "buckets")
