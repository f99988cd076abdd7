"""Scores that are facts on record: decisions follow from them exactly, and measured again they are nearly the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gristmill.pipeline.audit.same_values import unlike
from tests.pipeline.audit.conftest import run
from tests.pipeline.audit.tampering import Output
from tests.pipeline.toy_runs import write_corpus

SCORED = """
name: scored
seed: 5
sources:
  s: {{format: parquet, paths: ["{root}/in/*.parquet"]}}
stages:
  neural: {{least: 0.0501, wobble: "{root}/wobble"}}
  length: {{least: 2}}
outputs:
  corpus: {{path: "{root}/out", columns: [neural, length], dropped: all}}
{more}
"""
PLUGINS = ("toy_stages",)


@pytest.fixture
def scored(tmp_path: Path, copied: Callable[[Path], Output], in_process: None) -> Output:
    write_corpus(tmp_path / "in")
    (tmp_path / "wobble").write_text("0.0")
    run(SCORED.format(root=tmp_path, more=""))
    return copied(tmp_path / "out")


def test_another_machine_that_finds_nearly_the_same_scores_agrees(tmp_path: Path, scored: Output) -> None:
    (tmp_path / "wobble").write_text("-0.009")
    result = scored.audit(plugins=PLUGINS)
    # Two texts have scores of 1/19 = 0.0526: measured again they would be dropped, by the record they are kept.
    assert result.exit_code == 0, result.problems
    assert result["replay"].status == result["columns"].status == "pass" and result["columns"].looked_at > 50


def test_a_score_that_differs_by_more_than_is_stated_is_found(tmp_path: Path, scored: Output) -> None:
    (tmp_path / "wobble").write_text("0.011")
    result = scored.audit(plugins=PLUGINS)
    assert result.failed == {"columns"}
    message = result["columns"].findings[0].message
    assert (
        message.startswith("the signal `neural` is ") and "a difference of 0.01 · max(1, |value|) is allowed" in message
    )


def test_a_recorded_score_on_the_other_side_of_the_threshold_is_found_however_near_it_is(scored: Output) -> None:
    name = scored.named("signals:neural")[0]

    def nudged(table: pa.Table) -> pa.Table:
        score = np.asarray(table["neural"], np.float32).copy()
        near = np.flatnonzero((score > 0.0501) & (score < 0.06))
        assert len(near), "no score near the threshold"
        score[near] = np.float32(0.05)
        return table.set_column(table.column_names.index("neural"), "neural", pa.array(score))

    scored.rewrite(name, nudged, consistent=True)
    scored.seal(content=[name])
    assert "replay" in scored.audit(plugins=PLUGINS).failed


def test_where_there_is_no_accelerator_decisions_are_replayed_and_nothing_is_measured(
    tmp_path: Path, copied: Callable[[Path], Output], in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "in")
    (tmp_path / "wobble").write_text("0.0")
    monkeypatch.setattr("gristmill.pipeline.resources.visible_gpus", lambda: ["0"])
    run(SCORED.format(root=tmp_path, more="resources: {neural: {gpus: 1}}"))
    monkeypatch.undo()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "wobble").write_text("0.5")
    from gristmill.pipeline.audit.run import audit_output
    from tests.pipeline.audit.tampering import SameProcess

    monkeypatch.setattr("gristmill.pipeline.audit.run.ReaderProcess", SameProcess)
    result = audit_output(str(tmp_path / "out"), full=True, sources=(), plugins=PLUGINS)
    assert result.exit_code == 0, result.problems


def test_numbers_within_a_tolerance_are_alike_and_beyond_it_are_not() -> None:
    one, other = pa.array([0.0, 1.0, 100.0, 100.0, float("nan"), None]), pa.array([0.01, 1.0, 101.0, 101.2, None, None])
    assert unlike(one, other, within=0.0101).tolist() == [False, False, False, True, True, False]
    assert not unlike(one, other, within=float("inf")).any()
    lists = pa.array([[0.0, 5.0], [0.0]]), pa.array([[0.005, 5.0], [0.02]])
    assert unlike(*lists, within=0.01).tolist() == [False, True]
