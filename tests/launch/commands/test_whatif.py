"""`gristmill whatif`: another threshold on a finished run, in a terminal and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gristmill.launch.cli import run_command
from tests.launch.running import Command

CONFIG = """
name: small
sources:
  web: {{format: small_web, documents: 300, shards_per_dump: 2}}
stages:
  language: {{min_score: 0.3}}
  quality: {{thresholds: {{too_few_words: {words}}}}}
outputs:
  corpus: {{path: {out}, dropped: all}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output of the small web, and one with a higher limit."""
    root = tmp_path_factory.mktemp("small")
    for words, name in ((50, "old"), (90, "new")):
        (root / f"{name}.yaml").write_text(CONFIG.format(words=words, out=root / name))
        assert run_command(["run", str(root / f"{name}.yaml"), "--quiet", "--executor", "inline"]) == 0
    return root


def test_counts_of_quality_are_those_of_a_real_run(gristmill: Command, folder: Path) -> None:
    ran = gristmill("whatif", str(folder / "old"), "--set", "stages.quality.thresholds.too_few_words=90", "--json")
    told = json.loads(ran.out)
    quality = told["nodes"]["quality"]
    assert ran.code == 0 and quality["exact"] and told["outputs"]["corpus"]["exact"]
    for side, name in (("before", "old"), ("after", "new")):
        account = json.loads((folder / name / "manifest.json").read_text())["predicate"]["accounts"]["nodes"]["quality"]
        assert {one["rule"]: one["documents"] for one in quality[side] if one["rule"]} == {
            rule: hits["first"][0] for rule, hits in account["rules"].items() if hits["first"][0]
        }
        assert told["outputs"]["corpus"][side] == account["kept"]["rows"]
    assert quality["before"] != quality["after"]


def test_a_person_sees_counts_excerpts_and_the_command_to_run(gristmill: Command, folder: Path) -> None:
    ran = gristmill("whatif", str(folder / "old"), "--set", "stages.quality.thresholds.too_few_words=90")
    assert ran.code == 0 and "nothing was measured or written" in ran.out
    assert 'stages.quality.thresholds: {"too_few_words": 50.0} → {"too_few_words": 90.0}' in ran.out
    row = next(line for line in ran.out.splitlines() if "dropped: too_few_words" in line)
    assert row.split()[-1].startswith("+")
    move = next(
        at for at, line in enumerate(ran.out.splitlines()) if line.startswith("quality: kept → dropped: too_few_words")
    )
    example = ran.out.splitlines()[move + 1]
    assert example.startswith("  sw-") and "[" in example and len(example) <= 100
    assert f"--reuse {folder / 'old'} --output NEW" in ran.out
    lower = gristmill("whatif", str(folder / "old"), "--set", "stages.language.min_score=0.1")
    assert "quality *" in lower.out and "unknown:" in lower.out and "→ corpus *" in lower.out


def test_what_cannot_be_told_ends_with_one_message(gristmill: Command, folder: Path) -> None:
    ran = gristmill("whatif", str(folder / "old"), "--set", "stages.quality.short_line_length=20")
    assert ran.code == 2 and "stages.quality.short_line_length decides what the node measures" in ran.error
    ran = gristmill("whatif", str(folder / "old"), "--set", "stages.quality.thresholds.nope=3")
    assert ran.code == 2 and ran.error.startswith(f"error: --set on the config of {folder / 'old'}:")
    assert gristmill("whatif", str(folder), "--set", "stages.quality.on_fail=mark").code == 2


def test_what_follows_a_node_that_would_make_other_texts_is_not_called_exact(
    gristmill: Command, tmp_path: Path
) -> None:
    text = "Write to anna.berg@mill.example or to the host 81.2.69.142 about the flour that the mill ground today. "
    rows = [{"id": f"d{number}", "text": text * (number + 1)} for number in range(6)]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mail.yaml").write_text(
        f"name: mail\nsources: {{docs: {{format: jsonl, paths: [{tmp_path}/docs.jsonl]}}}}\n"
        "stages: {fix_text: {}, redact: {}, quality: {on_fail: mark, language: eng_Latn}}\n"
        f"outputs: {{corpus: {{path: {tmp_path}/corpus}}}}\n"
    )
    assert gristmill("run", str(tmp_path / "mail.yaml"), "--quiet", "--executor", "inline").code == 0
    ran = gristmill("whatif", str(tmp_path / "corpus"), "--set", "stages.redact.kinds=[ip]", "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert (
        not told["nodes"]["quality"]["exact"] and "texts that come from `redact`" in told["nodes"]["quality"]["why_not"]
    )
    assert not told["outputs"]["corpus"]["exact"]
