"""What a config may say of a source's licence, what is stored of it, and words where an SPDX expression is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.licence import License
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.plan import check_ready
from gristmill.pipeline.spdx import nearest_licences, refusal
from tests.pipeline.toy_runs import GRAPH, plan_of, run, write_corpus

SOURCE = "sources: {{s: {{format: parquet, paths: [a], license: {}}}}}\noutputs: {{o: {{path: x}}}}"


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("Creative Commons Attribution-NonCommercial 4.0 International", "CC-BY-NC-4.0"),
        ("CC BY", "CC-BY-4.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("GNU General Public License v3.0", "GPL-3.0-only"),
        ("the MIT license", "MIT"),
        ("CC0", "CC0-1.0"),
        ("all rights reserved", None),
        ("", None),
        ("x" * 10**6, None),
    ],
)
def test_words_are_answered_with_the_nearest_names(words: str, first: str | None) -> None:
    assert nearest_licences(words)[:1] == ([first] if first else [])
    assert len(refusal(words)) < 400


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ("{spd: MIT}", "sources.s.license.spd: unknown key; did you mean `spdx`?"),
        ("{spdx: MIT, conditions: [by]}", "license.conditions.0: Input should be 'attribution', 'share-alike'"),
        (f"{{creators: [{','.join(['x'] * 101)}]}}", "license.creators: Tuple should have at most 100 items"),
        (f"{{creators: [{'x' * 201}]}}", "license.creators.0: String should have at most 200 characters"),
        ("{language: [english language]}", "license.language.0: String should match pattern"),
        ("{model_generated: 3}", "license.model_generated: expected true, false or a list of names of models"),
        ("{statement: ''}", "license.statement: String should have at least 1 character"),
    ],
)
def test_facts_in_another_form_are_refused_with_their_place(stated: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(SOURCE.format(stated), "c.yaml")
    assert told in str(error.value) and len(str(error.value)) < 600


def test_only_what_is_given_is_stored() -> None:
    assert License(spdx="MIT").model_dump() == {"spdx": "MIT", "stated_by": "unknown", "evidence": None}
    given = License(statement="ask", conditions=(), model_generated=True).model_dump(mode="json")
    assert given == {
        "spdx": None, "stated_by": "unknown", "evidence": None, "statement": "ask", "conditions": [],
        "model_generated": ["unnamed model"],
    }  # fmt: skip
    assert (License().name, License(statement="ask").name) == ("unknown", "ask")


def test_words_as_a_licence_name_stop_a_run_before_it_begins(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=1)
    text = GRAPH.format(root=tmp_path)
    check_ready(plan_of(text))
    with pytest.raises(ConfigError) as error:
        run(text.replace("spdx: CC0-1.0", "spdx: CC-BY-SA"))
    assert "sources.s.license.spdx: 'CC-BY-SA' is no SPDX expression" in str(error.value)
    assert "Nearest: CC-BY-SA-4.0" in str(error.value) and "`statement`" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_facts_of_a_source_are_in_the_manifest_and_in_every_log_and_pass_the_audit(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=2)
    facts = "spdx: CC0-1.0, creators: [A, B], terms: t, language: [de], model_generated: false, conditions: []"
    run(GRAPH.format(root=tmp_path).replace("spdx: CC0-1.0", facts))
    stated = json.loads((tmp_path / "out/corpus/manifest.json").read_text())["predicate"]["sources"]["s"]["license"]
    assert (stated["creators"], stated["conditions"], stated["model_generated"]) == (["A", "B"], [], [])
    assert "attribution" not in stated
    result = audit_output(str(tmp_path / "out/corpus"), full=True, sources=(), plugins=("toy_stages",))
    assert result.exit_code == 0, result.problems
