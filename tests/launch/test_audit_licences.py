"""The audit's list of sources whose licence cannot be checked."""

from __future__ import annotations

import json

import pytest

from gristmill.pipeline.audit.run import audit_output
from tests.launch.running import Command
from tests.pipeline.toy_runs import run, write_corpus

HOSTILE = "ask \x1b[31mus\n" + "x" * 500
CONFIG = """
name: licences
sources:
  whole: {{format: parquet, paths: ["{root}/in/part-000.parquet"],
           license: {{spdx: CC0-1.0, stated_by: author, evidence: LICENSE}}}}
  bare: {{format: parquet, paths: ["{root}/in/part-001.parquet"], license: {{spdx: MIT, stated_by: author}}}}
  words: {{format: parquet, paths: ["{root}/in/part-002.parquet"], license: {{statement: {hostile}, evidence: mail}}}}
  silent: {{format: parquet, paths: ["{root}/in/part-003.parquet"], license: {{creators: [A]}}}}
stages:
  same: {{from: [whole, bare, words, silent]}}
outputs:
  corpus: {{path: "{root}/out"}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("licences")
    write_corpus(root / "in", files=4)
    run(CONFIG.format(root=root, hostile=json.dumps(HOSTILE)))
    return str(root / "out")


def test_sources_whose_licence_cannot_be_checked_are_listed_with_what_they_lack(made: str) -> None:
    result = audit_output(made)
    assert result.exit_code == 0 and result["licences"].status == "skipped"
    listed = json.loads(json.dumps(result.to_json()))["licences"]
    assert (listed["sources"], {gap["source"]: gap["lacks"] for gap in listed["gaps"]}) == (
        4,
        {"bare": ["evidence"], "words": ["spdx", "stated_by"], "silent": ["licence"]},
    )
    lines = result.lines()
    at = lines.index("licences: 3 of 4 sources state none, or none that can be checked")
    assert lines[at + 1].startswith("  bare: stated is 'MIT', without evidence; ")
    assert lines[at + 3].startswith("  words: stated is 'ask \\x1b[31mus") and len(lines[at + 3]) < 250
    assert lines[at + 2].startswith("  silent: no licence is stated; ")
    unknown = next(gap["documents"] for gap in listed["gaps"] if gap["source"] == "silent")
    assert listed["unknown"][0] == unknown > 0
    assert lines[at + 4] == f"  {unknown:,} of {listed['unknown'][1]:,} documents are under no licence that is known"


def test_gaps_fail_where_that_is_asked(made: str, gristmill: Command) -> None:
    strict = audit_output(made, require_licences=True)
    assert (strict.exit_code, strict.failed, strict["licences"].failed) == (47, {"licences"}, 3)
    ran = gristmill("audit", made, "--require-licences")
    assert ran.code == 47 and "\x1b" not in ran.out and "bare: stated is 'MIT', without evidence" in ran.out
    assert gristmill("audit", made).code == 0
    assert len(json.loads(gristmill("audit", made, "--json").out)["licences"]["gaps"]) == 3
