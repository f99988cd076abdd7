"""The data-curation rubric: its elements, grades that follow from evidence alone, ages of answers, and hostile texts."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gristmill.launch.exports import data_card_template
from gristmill.launch.exports.answers import Answers
from gristmill.launch.exports.finished import finished
from gristmill.launch.exports.rubric import Rubric, Scored, _Checks, score
from gristmill.launch.exports.rubric_elements import ELEMENTS, KEYS
from tests.launch.exports.conftest import WORDS
from tests.launch.running import Command

TODAY = date(2026, 11, 22)
DAY = date(2026, 11, 2)


def scored(folder: Path, values: dict[str, str], dates: dict[str, date] | None = None, **sources: Any) -> Rubric:
    return score(finished(str(folder)), Answers(values, None, sources, dates or {}), TODAY)


def element(rubric: Rubric, name: str) -> Scored:
    return next(one for one in rubric.elements if one.element.name == name)


def test_the_elements_are_those_of_the_published_rubric() -> None:
    assert [one.name for one in ELEMENTS] == [
        "Context, purpose, motivation", "Requirements", "Ethicality", "Domain knowledge & data practices", "Context awareness",
        "Environmental footprint", "Data collection", "Data processing", "Data annotation", "Suitability",
        "Representativeness", "Authenticity", "Reliability", "Structured documentation", "Findability", "Accessibility",
        "Interoperability", "Reusability",
    ]  # fmt: skip
    assert list(Counter(one.category for one in ELEMENTS).values()) == [2, 4, 3, 5, 4]
    assert {key for key in KEYS if not key.startswith("curation.")} <= data_card_template.KEYS
    checks = {name for one in ELEMENTS for c in (*one.minimum, *one.excellence) for name in (c.run, c.when) if name}
    assert all(hasattr(_Checks, f"_{name}") for name in checks)
    for one in ELEMENTS:
        assert one.minimum and one.excellence and all(c.key or c.run for c in (*one.minimum, *one.excellence))


def test_a_run_alone_documents_what_it_recorded_and_no_more(run_folder: Path) -> None:
    made = scored(run_folder / "corpus", {})
    passing = {one.element.name: one.excellence for one in made.elements if one.minimum == "pass"}
    assert passing == {"Data processing": "none", "Structured documentation": "none", "Interoperability": "none"}
    assert made.excellence() == {"full": 0, "partial": 0, "none": 3, "not assessed": 15}
    assert not made.stale and "answer `motivations.domains`" in made.owed
    missing = [met.missing for met in element(made, "Interoperability").met_excellence]
    assert "state licences as SPDX expressions" in str(missing[0])  # one source's licence is words
    assert "fields of the Data Card are owed" in str(
        element(made, "Structured documentation").met_excellence[0].missing
    )


def test_answers_raise_grades_one_by_one(run_folder: Path) -> None:
    name = "Context, purpose, motivation"
    values = {"motivations.domains": "mills", "motivations.factors": "grain"}
    assert element(scored(run_folder / "bare", values), name).minimum == "fail"
    values["curation.need"] = "none before it"
    assert element(scored(run_folder / "bare", values), name).excellence == "none"
    values["curation.reuse_context"] = "rivers"
    assert element(scored(run_folder / "bare", values), name).excellence == "partial"
    values["curation.social_context"] = "millers"
    assert element(scored(run_folder / "bare", values), name).excellence == "full"
    for nothing in ("none", " NO ", ""):
        assert element(scored(run_folder / "bare", {**values, "curation.need": nothing}), name).minimum == "fail"
    everything = scored(
        run_folder / "bare",
        dict.fromkeys(KEYS, "said") | {"curation.identifier": "doi:10.5555/x"},
        crawl={"link": "https://example.org", "from": "1", "until": "2"},
        shelf={"description": "a shelf", "from": "1", "until": "2"},
    )
    assert everything.passed == 18


@pytest.mark.parametrize(
    ("identifier", "grade"),
    [
        ("https://doi.org/10.5555/x", "pass"),
        ("ark:/12345/x", "pass"),
        ("https://example.org/doi:1", "fail"),
        ("x", "fail"),
    ],
)
def test_a_mere_url_is_no_persistent_identifier(run_folder: Path, identifier: str, grade: str) -> None:
    found = element(scored(run_folder / "bare", {"curation.identifier": identifier}), "Findability")
    assert found.minimum == grade
    if grade == "fail":
        assert "is no persistent identifier" in str(found.met_minimum[0].missing)


def test_every_source_must_be_told_of(run_folder: Path) -> None:
    values = {"curation.collector": "Acme"}
    dated = {"link": "https://example.org", "from": "01/2024", "until": "03/2024"}
    assert element(scored(run_folder / "bare", values, crawl=dated), "Reusability").minimum == "fail"
    made = scored(run_folder / "bare", values, {"sources.shelf": date(2020, 1, 1)}, crawl=dated, shelf=dated)
    assert element(made, "Reusability").minimum == "pass"
    assert list(made.stale) == ["curation.collector", "sources.crawl", "sources.shelf"]


def test_answers_count_whatever_their_age_which_is_told(run_folder: Path, gristmill: Command) -> None:
    made = scored(run_folder / "bare", {"use.suitable": "x"}, {"use.suitable": DAY})
    assert element(made, "Suitability").met_minimum[0].ages == {"use.suitable": 20} and not made.stale
    Path("a.yaml").write_text("use: {as_of: 2020-01-01, suitable: '<b>|x'}\ncuration: {need: y}\n")
    ran = gristmill("export", "rubric", str(run_folder / "bare"), "--answers", "a.yaml", "--output", "r.md")
    page = Path("r.md").read_text()
    assert ran.code == 0 and "answers are owed; 2 answers are stale" in ran.out
    assert "| 10 | Suitability | Data quality | pass | none |" in page
    assert r"&lt;b&gt;\|x (`--answers: use.suitable`, " in page and "days old, **stale**)" in page
    assert "It measures what is documented, not the quality of the data" in page and "<b>" not in page
    assert "(`--answers: curation.need`, no date, **stale**)" in page
    body = json.loads(gristmill("export", "rubric", str(run_folder / "bare"), "--answers", "a.yaml", "--json").out)
    assert (body["minimum_passed"], len(body["elements"])) == (4, 18)
    assert WORDS not in page and set(body["stale"]) == {"curation.need", "use.suitable"}


def test_labels_are_documented_by_the_run_or_denied(run_folder: Path) -> None:
    first = element(scored(run_folder / "corpus", {}), "Data annotation").met_minimum
    assert "models of language" in first[0].facts[0].text
    assert first[1].missing == "answer `annotations.tasks`"


def test_an_unknown_answer_is_told_with_the_nearest(run_folder: Path, gristmill: Command) -> None:
    Path("a.yaml").write_text("curation: {positionalty: x}")
    ran = gristmill("export", "rubric", str(run_folder / "bare"), "--answers", "a.yaml")
    assert (ran.code, "did you mean `curation.positionality`" in ran.err) == (2, True), ran.err
