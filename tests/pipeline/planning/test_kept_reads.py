"""Slices that a run reads in several passes: decoded once where there is room, with the same result, and anew once touched."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning import foreign_files, kept_reads
from gristmill.pipeline.planning.foreign_files import read_each
from gristmill.pipeline.planning.kept_reads import reads_kept
from tests.pipeline.toy_runs import GRAPH, plan_of, run, shards, write_corpus


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the reading process is asked for what."""
    counts: Counter[str] = Counter()
    sound = foreign_files._asked

    def counted(source: Any, function: str, *rest: Any) -> Any:
        counts[function] += 1
        return sound(source, function, *rest)

    monkeypatch.setattr(foreign_files, "_asked", counted)
    return counts


def test_a_run_decodes_small_data_once_and_comes_to_the_same_result(
    tmp_path: Path, asked: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "in")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    plan = plan_of(GRAPH.format(root=tmp_path))
    assert len(plan.passes) > 1
    run(GRAPH.format(root=tmp_path))
    assert asked["read"] == len(plan.slices)
    assert not any((tmp_path / "tmp").iterdir()), "what was kept is gone when the run is over"
    first = shards(tmp_path / "out/corpus")
    os.rename(tmp_path / "out", tmp_path / "before")
    monkeypatch.setattr(kept_reads.KeptReads.__init__, "__defaults__", (0,))
    run(GRAPH.format(root=tmp_path))
    assert asked["read"] == (1 + len(plan.passes)) * len(plan.slices), "without room every pass reads"
    assert shards(tmp_path / "out/corpus") == first


def test_what_is_kept_serves_fewer_columns_and_no_others(tmp_path: Path, asked: Counter[str]) -> None:
    write_corpus(tmp_path / "in", files=1)
    plan = plan_of(GRAPH.format(root=tmp_path))
    source, one = plan.graph.sources["s"], plan.slices[0]

    def read(*columns: str, again: bool = True) -> Any:
        (data,) = read_each(source, one, frozenset(columns), again=again)
        return data.table

    alone = read("id", "text"), read("text")
    asked.clear()
    with reads_kept():
        assert read("id", "text") == alone[0] and read("text") == alone[1] and asked["read"] == 1
        assert "url" in read("text", "url").column_names and asked["read"] == 2
        last = read("text", again=False)
        assert asked["read"] == 2
        read("text")
        assert asked["read"] == 3, "what nobody reads again is not kept"
    assert last == alone[1], "what was taken out stays"
    read("text")
    assert asked["read"] == 4


def test_a_file_that_was_touched_is_read_again(tmp_path: Path, asked: Counter[str]) -> None:
    write_corpus(tmp_path / "in", files=1)
    plan = plan_of(GRAPH.format(root=tmp_path))
    source, one = plan.graph.sources["s"], plan.slices[0]
    with reads_kept():
        read_each(source, one, again=True)
        read_each(source, one, again=True)
        assert asked["read"] == 1
        state = os.stat(one.location)
        os.utime(one.location, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
        read_each(source, one, again=True)
        assert asked["read"] == 2


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Slices that are decoded in this process, which is taken for a worker that may die of them."""
    from gristmill.stages.sources.parquet import ParquetSource

    monkeypatch.setattr(foreign_files, "is_expendable", lambda: True)
    names: list[str] = []
    sound = ParquetSource.read

    def counted(self: Any, one: Any, columns: frozenset[str] | None = None) -> Any:
        names.append(one.path)
        return sound(self, one, columns)

    monkeypatch.setattr(ParquetSource, "read", counted)
    return names


class _Workers(InlineExecutor):
    workers = 2


def test_workers_keep_what_they_decode_for_each_other(
    tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "in")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    plan = plan_of(GRAPH.format(root=tmp_path))
    decoded.clear()
    run(GRAPH.format(root=tmp_path), _Workers(order=3))
    assert len(decoded) == len(plan.slices) == len(set(decoded))
    assert not any((tmp_path / "tmp").iterdir()), "what was kept is gone when the run is over"
    first = shards(tmp_path / "out/corpus")
    os.rename(tmp_path / "out", tmp_path / "before")
    monkeypatch.setattr(kept_reads.KeptReads.__init__, "__defaults__", (0,))
    run(GRAPH.format(root=tmp_path), _Workers())
    assert len(decoded) == (1 + len(plan.passes)) * len(plan.slices), "without room every pass decodes"
    assert shards(tmp_path / "out/corpus") == first


def test_what_workers_keep_is_theirs_whole_and_of_the_file_as_it_is(
    tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "in", files=1)
    plan = plan_of(GRAPH.format(root=tmp_path))
    source, one = plan.graph.sources["s"], plan.slices[0]
    whole = read_each(source, one)[0]

    def decodes(*columns: str, again: bool = True, shared: str | None = None) -> int:
        decoded.clear()
        wanted = frozenset(columns or plan.graph.source_schema["s"].names)
        (data,) = read_each(source, one, wanted, again=again, shared=shared or folder)
        for name in wanted:
            assert data.table[name] == whole.table[name], "the same values, whoever decoded them"
        assert data.rejects == whole.rejects and data.bytes_read > 0
        return len(decoded)

    with reads_kept() as kept:
        folder = kept.for_workers(plan.slices) or ""
        assert kept.for_workers(plan.slices) == folder and os.stat(folder).st_mode & 0o777 == 0o700
        assert [decodes("id", "text"), decodes("text"), decodes("id", "text")] == [1, 0, 0]
        assert [decodes(), decodes("text", "url")] == [1, 0], "more columns are decoded, and kept then"
        assert [decodes(again=False), decodes(again=False)] == [0, 1] and os.listdir(folder) == []
        assert [decodes(), decodes()] == [1, 0]
        state = os.stat(one.location)
        os.utime(one.location, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
        assert decodes() == 1, "the file was touched"
        os.chmod(folder, 0o755)
        assert decodes() == 1, "others could have written there"
        os.chmod(folder, 0o700)

        def full(*arguments: object) -> None:
            raise OSError(28, "full")

        os.utime(one.location, ns=(state.st_atime_ns, state.st_mtime_ns + 2))
        left = os.listdir(folder)
        with monkeypatch.context() as patched:
            patched.setattr(kept_reads, "write_tables", full)
            assert decodes() == 1 and os.listdir(folder) == left, "what has no room is not kept, nor half of it"
        assert decodes() == 1
    assert not os.path.exists(folder) and decodes() == 1, "another machine, or the run is over"
