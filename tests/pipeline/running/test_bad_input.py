"""Bad documents and bad disks: each is told in words, nothing is lost, nothing is left half-written."""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gristmill.pipeline.storage as storage
import gristmill.pipeline.storage.streams as streams
from gristmill.pipeline.errors import DataError, StorageError
from gristmill.pipeline.provenance.statement import read_manifest
from tests.pipeline.toy_runs import GRAPH, rows_of, run, shards, write_corpus

SIMPLE = """
sources: {{s: {{format: {format}, paths: ["{root}/in"]}}}}
stages: {{length: {{least: 0}}}}
outputs: {{corpus: {{path: "{root}/out"}}}}
"""


def write(tmp_path: Path, texts: list[str | None]) -> None:
    (tmp_path / "in").mkdir()
    ids = [f"d{i}" for i in range(len(texts))]
    pq.write_table(pa.table({"id": ids, "text": pa.array(texts, pa.large_string())}), tmp_path / "in/a.parquet")


def test_null_empty_and_blank_texts_are_dropped_and_counted(tmp_path: Path) -> None:
    blanks = [None, "", " ", "\n\t \r\n", "   　", " " * 5000]
    write(tmp_path, ["real", *blanks, " leading space is fine", "​"])
    result = run(SIMPLE.format(root=tmp_path, format="parquet"))
    ledger = rows_of(tmp_path / "out", "ledger")
    assert {row["id"] for row in ledger if row["rule"] == "empty_text"} == {f"d{i}" for i in range(1, 7)}
    assert {row["text"] for row in rows_of(tmp_path / "out")} == {"real", " leading space is fine", "​"}
    assert result.accounts.nodes["s"].dropped.rows == 6


def test_a_document_of_100_mb_passes_and_one_of_300_mb_is_quarantined(tmp_path: Path) -> None:
    small, large = "word " * (20 << 20), "more " * (60 << 20)
    write(tmp_path, ["short", small, large])
    run(SIMPLE.format(root=tmp_path, format="parquet"), overrides=["outputs.corpus.dropped=none"])
    data = pq.read_table(tmp_path / "out/data", columns=["id"])["id"].to_pylist()
    assert data == ["d0", "d1"]
    (row,) = rows_of(tmp_path / "out", "ledger")
    assert (row["id"], row["decision"], row["rule"]) == ("d2", "quarantined", "too_large")
    assert (row["value"], row["threshold"]) == (len(large), 256 << 20)


def test_duplicate_ids_are_two_documents(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"id": ["x", "x"], "text": ["one", "two"]}), tmp_path / "in/a.parquet")
    run(SIMPLE.format(root=tmp_path, format="parquet"))
    rows = rows_of(tmp_path / "out")
    assert [row["id"] for row in rows] == ["x", "x"]
    assert len({row["doc_key"] for row in rows}) == 2


def jsonl(tmp_path: Path, good: int, bad: int) -> None:
    (tmp_path / "in").mkdir()
    lines = [json.dumps({"text": f"text number {i}"}) for i in range(good)] + ["{broken"] * bad
    (tmp_path / "in/a.jsonl").write_text("\n".join(lines) + "\n")


def test_ten_bad_lines_are_quarantined_with_their_reason(tmp_path: Path) -> None:
    jsonl(tmp_path, 100, 10)
    run(SIMPLE.format(root=tmp_path, format="jsonl"))
    ledger = rows_of(tmp_path / "out", "ledger")
    assert Counter((row["decision"], row["rule"]) for row in ledger) == {("quarantined", "not_json"): 10}
    assert all(row["witness"].startswith("byte ") for row in ledger)
    manifest = read_manifest(str(tmp_path / "out"))
    assert manifest is not None
    accounts = manifest.accounts
    assert accounts.nodes["s"].quarantined.rows == 10 and accounts.nodes["s"].kept.rows == 100
    assert accounts.problems() == []


def test_eleven_bad_lines_above_the_share_stop_the_run(tmp_path: Path) -> None:
    jsonl(tmp_path, 100, 11)
    with pytest.raises(
        DataError, match=r"11 records .* are in quarantine, more than max_quarantined: 0.10%"
    ) as stopped:
        run(SIMPLE.format(root=tmp_path, format="jsonl"))
    assert "s: not_json 11" in str(stopped.value) and stopped.value.exit_code == 3
    assert not (tmp_path / "out/manifest.json").exists()
    run(SIMPLE.format(root=tmp_path, format="jsonl") + "max_quarantined: 0.5\n")
    assert (tmp_path / "out/manifest.json").exists()


def test_an_empty_input_gives_an_empty_output_that_says_so(tmp_path: Path) -> None:
    write(tmp_path, [])
    run(SIMPLE.format(root=tmp_path, format="parquet"))
    manifest = read_manifest(str(tmp_path / "out"))
    assert manifest is not None and manifest.data.rows == 0
    assert not list((tmp_path / "out").glob("data/*"))


def test_everything_dropped_gives_an_output_with_a_full_ledger(tmp_path: Path) -> None:
    write(tmp_path, ["a", "b"])
    run(SIMPLE.format(root=tmp_path, format="parquet"), overrides=["stages.length.least=100"])
    assert len(rows_of(tmp_path / "out", "ledger")) == 2


@pytest.mark.parametrize("at", [1, 4, 9, 14])
def test_a_full_disk_stops_the_run_in_words_and_it_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    write_corpus(tmp_path / "in")
    run(GRAPH.format(root=tmp_path), output=str(tmp_path / "expected"))
    calls = 0
    honest = streams.Tee.write

    def full(self: Any, data: Any) -> int:
        nonlocal calls
        calls += 1
        if calls >= at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return honest(self, data)

    with monkeypatch.context() as patched:
        patched.setattr(streams.Tee, "write", full)
        with pytest.raises(StorageError, match="no space left on the device. Free some") as stopped:
            run(GRAPH.format(root=tmp_path))
        # In a pass, storage sets tasks aside; elsewhere it ends the run.
        assert stopped.value.exit_code == (75 if "set aside" in str(stopped.value) else 1)
    assert not (tmp_path / "out/corpus/manifest.json").exists()
    assert [p.name for p in (tmp_path / "out").rglob(".*") if not p.name.startswith(".gristmill-")] == []
    run(GRAPH.format(root=tmp_path))
    assert shards(tmp_path / "out/corpus") == shards(tmp_path / "expected/corpus")


def test_bytes_that_change_on_storage_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out/a.bin"
    honest = os.fsync

    def rot(handle: int) -> None:
        honest(handle)
        for partial in target.parent.glob(".a.bin.*"):
            partial.write_bytes(b"rotten")

    monkeypatch.setattr(os, "fsync", rot)
    with pytest.raises(StorageError, match="the bytes on storage differ from those written"):
        storage.write_checked(str(target), lambda stream: stream.write(b"sound!"))
    assert list(target.parent.iterdir()) == []


def test_an_object_store_is_written_and_read_back_too() -> None:
    written = storage.write_checked("memory://bucket/a.bin", lambda stream: stream.write(b"sound"))
    assert written.sha256 == storage.sha256_of("memory://bucket/a.bin") and written.size == 5
    assert storage.list_files("memory://bucket") == ["a.bin"]
    storage.remove("memory://bucket")
    assert not storage.exists("memory://bucket/a.bin")
