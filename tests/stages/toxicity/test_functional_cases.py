"""The functional cases: frozen, as varied and as spread as they say, never trained on, and read by the evaluation."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from gristmill.stages.toxicity.evaluation import evaluate
from gristmill.stages.toxicity.stage import Toxicity, ToxicityConfig
from gristmill.stages.toxicity.training_texts import framed_sentences
from tests.stages.toxicity.functional.cases import FILES, FOLDER, normalised, read_cases, repeated

ROOT = Path(__file__).parents[3]
HATEFUL, HARMLESS = "hateful", "non-hateful"


@pytest.mark.parametrize("name", FILES)
def test_the_cases_are_those_written_before_training(name: str) -> None:
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == FILES[name], (
        "The cases are frozen: what was trained since would no longer be judged by tests written before it. "
        "Write a new version under another name."
    )


@pytest.mark.parametrize(("name", "count", "language"), [
    ("functional_en.jsonl", 400, "eng_Latn"), ("functional_de.jsonl", 200, "deu_Latn"),
])  # fmt: skip
def test_the_cases_are_spread_over_functionalities_and_groups(name: str, count: int, language: str) -> None:
    cases = read_cases(name)
    assert len(cases) == count == len({normalised(case["text"]) for case in cases})
    assert {case["language"] for case in cases} == {language}
    labels = defaultdict(set)
    for case in cases:
        labels[case["functionality"]].add(case["label"])
    assert all(len(one) == 1 and one < {HATEFUL, HARMLESS} for one in labels.values())
    assert len(labels) == 29
    hateful = [case for case in cases if case["label"] == HATEFUL]
    assert len(hateful) / count == pytest.approx(0.68)
    groups = Counter(case["target_ident"] for case in hateful)
    assert len(groups) == 10 and "none" not in groups
    assert sum(number >= 0.05 * len(hateful) for number in groups.values()) >= 9


@pytest.mark.parametrize("name", FILES)
def test_the_cases_are_no_templates(name: str) -> None:
    """At least nine in ten share less than half of their pairs of words with every other case."""
    pairs = []
    for case in read_cases(name):
        words = normalised(case["text"]).split()
        pairs.append(set(zip(words, words[1:], strict=False)) or set(words))
    alike = 0
    for at, mine in enumerate(pairs):
        alike += any(len(mine & other) / len(mine | other) >= 0.5 for k, other in enumerate(pairs) if k != at)
    assert alike / len(pairs) < 0.1


def test_no_case_is_among_the_sentences_that_models_are_trained_on() -> None:
    assert repeated(framed_sentences().text.to_pylist()) == set()


def test_a_repeated_case_is_found_within_other_words_and_in_other_signs() -> None:
    case = read_cases("functional_de.jsonl")[3]["text"]
    assert repeated([f"Er schrieb: »{case.upper()}!« Und dann?", "Guten Tag."]) == {case}


def test_no_training_code_names_the_cases() -> None:
    for folder in ("stages", "launch", "pipeline"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "functional_en" not in (code := path.read_text(encoding="utf-8")), path
            assert "functional_de" not in code, path


def test_the_cases_are_not_in_the_package() -> None:
    """The wheel holds what lies below src/, and neither the cases nor a link to their folder do."""
    packaged = [(Path(folder), files) for folder, _, files in os.walk(ROOT / "src", followlinks=True)]
    assert any("contrast_sentences.py" in files for _, files in packaged)
    assert not [folder for folder, files in packaged if not FILES.keys().isdisjoint(files)]


def test_the_evaluation_reads_the_cases() -> None:
    report = evaluate(FOLDER / "functional_en.jsonl", Toxicity(ToxicityConfig()))
    assert (report["any"]["texts"], report["any"]["positives"]) == (400, 272)
    assert set(report["by_functionality"]) == {case["functionality"] for case in read_cases("functional_en.jsonl")}
    assert len(report["by_target_ident"]) == 11
    assert report["any"]["auc"] > 0.6
