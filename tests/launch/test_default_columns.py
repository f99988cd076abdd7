"""Columns of shards: what a reader of the texts needs, or every signal by one line."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.stages.quality.signals import SIGNALS
from tests.launch.running import Command

CONFIG = """
name: columns
sources:
  s: {{format: parquet, paths: ["{root}/in.parquet"]}}
stages:
  language: {{}}
  quality: {{on_fail: mark}}
  toxicity: {{policy: keep}}
outputs:
  lean: {{path: "{root}/lean"}}
  whole: {{path: "{root}/whole", columns: all}}
  few: {{path: "{root}/few", columns: [quality_words, toxicity_religion_score]}}
"""
TEXT = "The people of the town would have to go to the market with all of their things and be there that day. " * 5


def test_shards_hold_findings_and_what_readers_need_and_every_signal_on_request(
    gristmill: Command, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"id": ["a"], "text": [TEXT], "topic": ["towns"]}), tmp_path / "in.parquet")
    (tmp_path / "c.yaml").write_text(CONFIG.format(root=tmp_path))
    ran = gristmill("run", str(tmp_path / "c.yaml"), "--executor", "inline")
    assert ran.code == 0, ran.err
    found = {name: pq.read_table(tmp_path / name / "data") for name in ("lean", "whole", "few")}
    lean, whole = (set(found[name].schema.names) for name in ("lean", "whole"))
    assert {"topic", "language", "language_script", "language_score", "quality_failed", "toxicity_tier"} <= lean
    assert not lean & set(SIGNALS.names) and "toxicity_religion_score" not in lean and len(lean) < 25
    assert lean | set(SIGNALS.names) <= whole and "toxicity_religion_score" in whole
    assert "toxicity_windows" not in whole
    assert found["few"].schema.names[-2:] == ["quality_words", "toxicity_religion_score"]
    kept = pq.read_table(tmp_path / "lean/signals/quality")
    assert set(SIGNALS.names) <= set(kept.schema.names) and kept["quality_words"] == found["whole"]["quality_words"]
    for name in found:
        assert gristmill("audit", str(tmp_path / name), "--full").code == 0
