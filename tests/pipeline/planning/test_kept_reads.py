"""Slices that a run reads in several passes: decoded once where there is room, with the same result, and anew once touched."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

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
