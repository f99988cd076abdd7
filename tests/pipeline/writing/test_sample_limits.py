"""Bounds on samples of dropped texts before the last pass: fewer candidates lie in the work folder, the sample is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.running import engine
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.writing import sample_limits, task_files
from gristmill.pipeline.writing.dropped_texts import RANKS, full_limits, limits_in, limits_table, rank_limits
from tests.pipeline.toy_runs import rows_of, run, shards, write_corpus

DROPS = """
name: drops
sources: {{s: {{format: parquet, paths: ["{root}/in/*.parquet"]}}}}
stages: {{length: {{least: 12}}, same: {{}}}}
outputs: {{corpus: {{path: "{out}", dropped_sample: 5}}}}
"""


@pytest.fixture
def candidates(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Node and rule of each text that tasks leave in the work folder for samples."""
    found: list[tuple[str, str]] = []
    sound = task_files.dropped_texts

    def seen(plan: Plan, slice_rows: SliceRows, *rest: Any) -> pa.Table:
        table = sound(plan, slice_rows, *rest)
        found.extend(zip(table["node"].to_pylist(), table["rule"].to_pylist(), strict=True))
        return table

    monkeypatch.setattr(task_files, "dropped_texts", seen)
    return found


def test_the_sample_is_the_same_and_fewer_candidates_are_kept(
    tmp_path: Path, candidates: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "in", files=4, rows=80)
    run(DROPS.format(root=tmp_path, out=tmp_path / "out"))
    few = candidates.count(("length", "too_short"))
    assert few == 5, (
        "each candidate of a node that decided before the last pass is in the sample, where all tasks were asked"
    )
    bounded = shards(tmp_path / "out")
    assert any(row["node"] == "length" for row in rows_of(tmp_path / "out", "dropped"))
    (tmp_path / "out").rename(tmp_path / "bounded")
    candidates.clear()
    monkeypatch.setattr(sample_limits, "MOST_TASKS", 1)
    run(DROPS.format(root=tmp_path, out=tmp_path / "out"))
    assert few < candidates.count(("length", "too_short")) < 20 and shards(tmp_path / "out") == bounded
    (tmp_path / "out").rename(tmp_path / "less")
    candidates.clear()
    monkeypatch.setattr(engine, "known_limits", lambda *_: ())
    run(DROPS.format(root=tmp_path, out=tmp_path / "out"))
    assert candidates.count(("length", "too_short")) == 20 and shards(tmp_path / "out") == bounded


def test_a_group_that_is_not_full_has_no_bound() -> None:
    ranks = np.array([5, 9, 7, 1, 2], np.uint64)
    languages = ["eng_Latn", "eng_Latn", "eng_Latn", None, None]
    table = pa.table([["n"] * 5, ["r"] * 5, languages, ranks], schema=RANKS)
    assert rank_limits([table], 3) == (("n", "r", "eng_Latn", 9), ("n", "r", None, 2))
    limits = full_limits([table], 3)
    assert limits == (("n", "r", "eng_Latn", 9),)
    assert limits_in(limits_table(limits)) == limits and limits_in(limits_table(())) == ()
