"""Losses that a person hears of at the end of a run."""

from __future__ import annotations

import json
from pathlib import Path

from tests.launch.running import Command

CONFIG = """
name: losing
sources:
  s: {{format: jsonl, paths: ["{root}/in.jsonl"]}}
stages:
  quality: {{language: eng_Latn, on_fail: {on_fail}, filters: [gopher_quality]}}
{more}
outputs:
  corpus: {{path: "{root}/out"}}
"""
GOOD = "The people of the town would have to go to the market with all of their things and be there that day. " * 5


def write(root: Path, short: int, good: int, on_fail: str = "drop", more: str = "") -> str:
    texts = [f"the tweet of {n}" for n in range(short)] + [f"{n} {GOOD}" for n in range(good)]
    lines = [json.dumps({"id": f"t{n}", "text": text}) + "\n" for n, text in enumerate(texts)]
    (root / "in.jsonl").write_text("".join(lines))
    (root / "c.yaml").write_text(CONFIG.format(root=root, on_fail=on_fail, more=more))
    return str(root / "c.yaml")


def test_a_rule_that_takes_more_than_half_is_told_with_its_setting_and_examples(
    gristmill: Command, tmp_path: Path
) -> None:
    ran = gristmill("run", write(tmp_path, short=6, good=5), "--executor", "inline")
    assert ran.code == 0
    said = ran.out[ran.out.index("look at this") :]
    assert "quality dropped 6 of 11 documents (54.5 %) by the rule too_few_words" in said
    assert "setting: stages.quality.thresholds.too_few_words" in said
    assert "such as t0  [4, limit 50] the tweet of 0" in said and "such as t1" in said and "such as t2" not in said
    assert "empty" not in said


def test_half_is_not_more_than_half(gristmill: Command, tmp_path: Path) -> None:
    ran = gristmill("run", write(tmp_path, short=5, good=5), "--executor", "inline")
    assert ran.code == 0 and "look at this" not in ran.out


def test_an_empty_output_names_the_rules_of_the_marks_that_emptied_it(gristmill: Command, tmp_path: Path) -> None:
    config = write(tmp_path, 4, 0, "mark", "  clean: {use: drop_marked, by: [quality]}")
    ran = gristmill("run", config, "--executor", "inline")
    assert ran.code == 0
    said = ran.out[ran.out.index("look at this") :]
    assert "corpus is empty: of 4 documents that came to clean none left on clean.kept" in said
    assert "clean dropped 4 of 4 documents (100.0 %) by the rule marked_by_quality" in said
    assert "marks by quality: too_few_words 4" in said and "stages.quality.thresholds.too_few_words" in said
    told = json.loads(gristmill("run", config, "--executor", "inline", "--json").out)
    assert told["empty_outputs"] == ["corpus"]
    assert [(one["node"], one["rule"], one["dropped"]) for one in told["losses"]] == [("clean", "marked_by_quality", 4)]
