"""The Data Card: the template's sections, evidence that is where the card says, answers with their age, and hostile texts."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.launch.exports import data_card_template, rubric_elements
from gristmill.launch.exports.answers import Answers, read_answers
from gristmill.launch.exports.blank import blank
from gristmill.launch.exports.data_card import data_card
from gristmill.launch.exports.data_card_template import FIELDS, FROM_RUN, GATES, HEADINGS, KEYS
from gristmill.launch.exports.finished import finished
from gristmill.launch.exports.forms import Form, code, evidence
from gristmill.pipeline.errors import ConfigError
from tests.launch.exports.conftest import WORDS
from tests.launch.running import Command

TODAY = date(2026, 11, 22)
ANSWERS = """
as_of: 2026-10-01
publisher: {organizations: "<b>Acme</b> | [x](y)", industry: null}
motivations:
  as_of: 2025-06-01
  purposes: production
  factors: {answer: mills, as_of: 2026-11-22}
  domains: {as_of: 2026-11-22}
human: {attributes: none}
sources:
  crawl: {as_of: 2020-01-01, description: Pages about mills, from: 01/2024, until: 03/2024}
  shelf: {description: A shelf}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def card(folder: Path, answers: str, max_age_days: int = 365) -> Form:
    Path("card.yaml").write_text(answers)
    return data_card(finished(str(folder)), read_answers("card.yaml", TODAY, KEYS), TODAY, max_age_days)


def test_the_sections_are_those_of_the_template() -> None:
    """Fields by top-level section, as DataCardsExtendedTemplate.md has them, without the repeated breakdown by kind."""
    assert Counter(field.section.split(", ")[0] for field in FIELDS if not field.section.startswith("Access")) == {
        "Summary": 3, "Authorship": 8, "Dataset Overview": 15, "Example of Data Points": 5, "Motivations & Intentions": 8,
        "Provenance": 17, "Human and Other Sensitive Attributes": 8, "Extended Use": 16, "Transformations": 8,
        "Annotations & Labeling": 10, "Validation Types": 8, "Sampling Methods": 3, "Known Applications & Benchmarks": 5,
        "Terms of Art": 1, "Reflections on Data": 1,
    }  # fmt: skip
    assert sum(field.section.startswith("Access") for field in FIELDS) == 15
    assert len(KEYS) == len(FIELDS) and {field.section for field in FIELDS} == set(HEADINGS)
    assert {*FROM_RUN, *GATES} <= KEYS


def resolved(folder: Path, pointer: str) -> Any:
    """What a piece of evidence points at; raises where there is nothing."""
    name, _, path = pointer.partition("#/")
    value = json.loads((folder / name).read_text())
    for part in path.split("/"):
        part = part.replace("~1", "/").replace("~0", "~")
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def test_what_the_run_tells_is_where_the_card_says(run_folder: Path) -> None:
    made = data_card(finished(str(run_folder / "corpus")), Answers({}, None, {}), TODAY)
    facts = {item.field.key: item.facts for item in made.fields}
    seen = Counter[str]()
    for fact in (fact for mine in facts.values() for fact in mine):
        file = fact.evidence.partition("#")[0]
        seen[file] += 1
        if file == "manifest.json":
            resolved(run_folder / "corpus", fact.evidence)
        else:
            assert (run_folder / "corpus" / file.partition(":")[0]).exists(), fact.evidence
    assert seen["manifest.json"] > 40 and seen["data/: column language"] == 4
    assert facts["dataset.summary"][0].text == "50 documents, made by Gristmill from 51 documents of 2 sources"
    assert facts["overview.statistics"][-1].text.startswith("deu_Latn: 10 documents, ")
    node = next(fact for fact in facts["collection.processing"] if fact.text.startswith("exact"))
    assert "51 documents in, 1 dropped, 0 quarantined, 50 kept" in node.text
    assert resolved(run_folder / "corpus", node.evidence)["dropped"]["rows"] == 1
    assert [fact.text for fact in facts["access.policies"]][0] == (
        "crawl: licence CC-BY-4.0, stated by author; evidence https://example.org/license"
    )
    assert "Machine: language" in facts["annotations.workforce"][0].text
    # What a run tells of a question for people is no answer to it; what nobody told of is owed, and no field is guessed.
    owed = {item.field.key for item in made.owed}
    assert {"dataset.summary", "examples.fields", "publisher.contact", "human.attributes", "sampling.methods"} <= owed
    assert not owed & {"overview.snapshot", "validation.methods", "annotations.workforce", "terms.definitions"}
    assert owed == {f.key for f in FIELDS if not f.optional and not (f.key in FROM_RUN and facts[f.key])}


def test_what_sources_state_of_rights_is_in_the_card(run_folder: Path) -> None:
    made = data_card(finished(str(run_folder / "corpus")), Answers({}, None, {}), TODAY)
    facts = {item.field.key: item.facts for item in made.fields}
    shelf = facts["access.policies"][1].text
    assert f"credit: {WORDS}; asks attribution; non-commercial; terms of service {WORDS}" in shelf
    assert f"made by {WORDS}; Shelf; collected by {WORDS}; in eng_Latn; de" in facts["collection.sources"][1].text
    shares = [fact.text for fact in facts["access.policies"][2:]]
    assert shares[0].startswith("Shares by licence, in bytes of text, since no tokens were counted")
    table = pq.read_table(run_folder / "corpus/data", columns=["id", "text"]).to_pylist()
    sizes = [len(row["text"].encode()) * (1 if row["id"].startswith("s") else -1) for row in table]
    share = sum(size for size in sizes if size > 0) / sum(map(abs, sizes))
    assert shares[1:] == [
        f"CC-BY-4.0: {1 - share:.2%}, 40 documents",
        f"{' '.join(WORDS.split())}: {share:.2%}, 10 documents",
    ]
    assert f"Shelf: {share:.2%}, 10 documents" in [fact.text for fact in facts["overview.statistics"]]
    assert facts["overview.subjects"][-1].text == f"Synthetically generated data: shelf, by {WORDS}"


def test_what_was_withdrawn_is_told(tmp_path: Path, gristmill: Command) -> None:
    rows = [
        {
            "id": f"{n}",
            "url": f"https://{'gone' if n < 2 else 'here'}.example.org/{n}",
            "text": f"The {word} of the people.",
        }
        for n, word in enumerate(["mill", "grain", "river", "stone", "corn"])
    ]
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("gone.txt").write_text("gone.example.org\n")
    Path("ids.txt").write_text("3\n")
    Path("c.yaml").write_text(
        "name: w\nsources: {pages: {format: jsonl, paths: [in.jsonl], sample: 1.0}}\nrevoked: {path: gone.txt, kind: domain}\n"
        "stages: {exact: {}}\noutputs: {corpus: {from: exact, path: out}}\n"
    )
    assert gristmill("run", "c.yaml", "--quiet", "--executor", "inline").code == 0
    ran = gristmill("remove", "out", "--ids", "ids.txt", "--reason", "<b>17</b>", "--output", "new", "--unsigned")
    assert ran.code == 0, ran.err
    facts = {item.field.key: item.facts for item in data_card(finished("new"), Answers({}, None, {}), TODAY).fields}
    first, second = facts["deletion.event"]
    assert first.text == "revocation list: 2 documents of source pages were left out"
    assert second.text.startswith("1 rows were removed on 20") and second.text.endswith("of 1 documents: <b>17</b>")
    assert resolved(tmp_path / "new", first.evidence)["first"][0] == 2
    assert resolved(tmp_path / "new", second.evidence)["documents"] == 1
    assert facts["criteria.exclusion"][0].text == "pages: revoked: 2 documents"
    (sample,) = facts["criteria.selection"]
    assert sample.text == "pages: a sample of its files, a share of 1"
    assert resolved(tmp_path / "new", sample.evidence)["sample"] == 1.0
    fields = json.loads(gristmill("export", "eu-summary", "new", "--json").out)["fields"]
    assert [f["from_run"] for f in fields if f["key"] == "rights.measures"] == [[first.text, second.text]]
    for form in ("prov", "openlineage", "rubric", "croissant", "dataset-card"):
        assert gristmill("export", form, "new").code == 0, form


def test_answers_have_ages(run_folder: Path) -> None:
    made = card(run_folder / "corpus", ANSWERS)
    found = {item.field.key: item for item in made.fields}
    assert found["motivations.factors"].as_of == TODAY
    assert found["motivations.domains"].answer is None  # a day without an answer is none
    assert set(made.stale) == {"motivations.purposes", "sources.crawl"}
    assert made.stale["motivations.purposes"].startswith("is of 2025-06-01, 539 days ago")
    assert set(card(run_folder / "corpus", ANSWERS, 52).stale) == set(made.stale)
    assert {"publisher.organizations", "human.attributes", "sources.shelf"} <= set(
        card(run_folder / "corpus", ANSWERS, 51).stale
    )
    undated = card(run_folder / "corpus", "publisher: {contact: x}\nowners: {as_of: 2026-11-01, contact: y}")
    assert undated.stale == {"publisher.contact": "has no date: confirm it and add `as_of`"}


def test_what_none_closes_is_not_owed(run_folder: Path) -> None:
    made = card(run_folder / "corpus", ANSWERS)
    owed = {item.field.key for item in made.owed}
    assert not {key for key in owed if key.startswith("human.")}
    assert "annotators.tasks" in owed and "collection.sources" not in owed
    more = card(run_folder / "corpus", "annotators: {descriptions: none}\nsampling: {methods: 'No'}")
    assert not {item.field.key for item in more.owed} & {"annotators.tasks", "sampling.criteria"}
    with pytest.raises(ConfigError, match=r"annotations\.workforce says none, but the run tells: Machine: language"):
        card(run_folder / "corpus", "annotations: {workforce: none}")


def test_the_page_shows_hostile_texts_as_texts(run_folder: Path, gristmill: Command) -> None:
    Path("card.yaml").write_text(ANSWERS)
    ran = gristmill(
        "export",
        "data-card",
        str(run_folder / "bare"),
        "--answers",
        "card.yaml",
        "--output",
        "c.md",
        "--max-age-days",
        "9999",
    )
    page = Path("c.md").read_text()
    assert (ran.code, "fields are owed" in ran.out, "stale" in ran.out) == (0, True, False), ran.err
    assert "<script>" not in page and "<b>" not in page and "\n---" not in page
    assert r"- &lt;b&gt;Acme&lt;/b&gt; \| \[x\](y) (as of 2026-10-01)" in page
    assert "## Stale" not in page and "arXiv 2204.01075" in page.splitlines()[2]
    assert "- 50 documents in " in page and "(`manifest.json#/predicate/data`)" in page


def test_a_place_that_could_end_its_code_is_shown_as_text() -> None:
    assert code(evidence("sources", "a/b~c")) == "`manifest.json#/predicate/sources/a~1b~0c`"
    assert code("`<b>|") == r"\`&lt;b&gt;\|"
    assert code("a\n# b") == r"a \# b"


def test_one_file_answers_every_form(run_folder: Path, gristmill: Command) -> None:
    Path("all.yaml").write_text(ANSWERS + "provider: {name: Acme}\n")
    for form, key in (("data-card", "motivations.purposes"), ("eu-summary", "provider.name")):
        ran = gristmill("export", form, str(run_folder / "bare"), "--answers", "all.yaml", "--json")
        assert ran.code == 0, ran.err
        fields = {field["key"]: field for field in json.loads(ran.out)["fields"]}
        assert fields[key]["answer"] and fields[key]["as_of"]
        assert "sources.crawl" in json.loads(ran.out)["stale"]


def test_a_blank_form_keeps_the_answers_there_are(run_folder: Path, gristmill: Command) -> None:
    Path("card.yaml").write_text(ANSWERS + "curation: {need: x}\nprovider: {size: sme}\n")
    for form, keys in (("data-card", data_card_template.KEYS), ("rubric", rubric_elements.KEYS)):
        ran = gristmill("export", form, str(run_folder / "bare"), "--answers", "card.yaml", "--blank", "new.yaml")
        assert ran.code == 0, ran.err
        every = data_card_template.KEYS | rubric_elements.KEYS
        assert read_answers("new.yaml", TODAY, every) == read_answers("card.yaml", TODAY, every)
        text = Path("new.yaml").read_text()
        assert (
            "  plan:\n" in text
            if form == "rubric"
            else "  # Provenance, Collection: Method(s) Used\n  methods:\n" in text
        )
        # It asks for what is owed, and an answer to it is read.
        key = next(key for key in sorted(keys) if f"\n  {key.partition('.')[2]}:\n" in text)
        name = key.partition(".")[2]
        Path("new.yaml").write_text(text.replace(f"\n  {name}:\n", f"\n  {name}: said\n", 1))
        assert "said" in read_answers("new.yaml", TODAY, every).values.values()


@given(
    text=st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1).filter(str.strip),
    name=st.from_regex(r"[a-z_]{1,9}", fullmatch=True),
)
def test_a_blank_form_holds_any_text(text: str, name: str) -> None:
    answers = Answers({"use.uses": text}, None, {name: {"link": text}}, {"use.uses": TODAY, f"sources.{name}": TODAY})
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(blank([("use.uses", "?"), ("use.suitable", "?")], [], answers))
        file.flush()
        assert read_answers(file.name, TODAY, KEYS) == answers


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ("publisher: {organisations: x}", "card.yaml:1: publisher.organisations: 'publisher.organisations' is not"),
        ("publisher: {organisations: x}", "did you mean `publisher.organizations`"),
        ("publishers: {contact: x}", "did you mean `publisher`"),
        ("motivations:\n  factors: {answr: x}", "card.yaml:2: motivations.factors.answr: 'answr' is not"),
        ("as_of: 2099-01-01", "2099-01-01 is still to come"),
        ("as_of: last week", "expected a day such as 2026-11-01, found 'last week'"),
        ("as_of: 2026-02-30", "expected a day"),
        ("as_of: 20260101", "expected a day"),
        ("as_of: [2026-01-01]", "expected a day"),
        ("sources: {crawl: {owner: x}}", "'owner' is not one of the forms'"),
        ("sources: {crwl: {name: x}}", "did you mean `crawl`"),
        ("sources: {as_of: 2026-01-01}", "expected keys, found str"),
        (
            "sources: {crawl: {from: soon}}",
            "card.yaml:1: sources.crawl.from: expected a month such as 01/2024, found 'soon'",
        ),
        ("sources: {crawl: {until: 13/2024}}", "expected a month"),
        ("sources: {crawl: {until: 12/2098}}", "12/2098 is still to come"),
        ("sources: {crawl: {from: 2024-03-01, until: 01/2024}}", "01/2024 is before `from`, 2024-03-01"),
        ("publisher: {contact: .nan}", "publisher.contact: expected a text, a number"),
    ],
)
def test_wrong_answers_are_told_with_their_place(run_folder: Path, gristmill: Command, answers: str, told: str) -> None:
    Path("card.yaml").write_text(answers)
    ran = gristmill("export", "data-card", str(run_folder / "bare"), "--answers", "card.yaml")
    assert (ran.code, told in ran.err) == (2, True), ran.err


@pytest.mark.parametrize("made", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_answers_that_are_no_file_are_refused_and_not_waited_for(
    run_folder: Path, gristmill: Command, made: Callable[[str], None]
) -> None:
    made("card.yaml")
    ran = gristmill("export", "data-card", str(run_folder / "bare"), "--answers", "card.yaml")
    assert ran.code == 2 and "--answers: card.yaml is a" in ran.error and "expected a file" in ran.error


def test_blank_texts_are_no_answers(run_folder: Path, gristmill: Command) -> None:
    Path("card.yaml").write_text(
        "as_of: 2026-01-01\nmotivations: {purposes: '  ', factors: ['', ' '], domains: [a, '', b]}\n"
    )
    ran = gristmill("export", "data-card", str(run_folder / "bare"), "--answers", "card.yaml", "--json")
    found = {item["key"]: item for item in json.loads(ran.out)["fields"]}
    for key in ("motivations.purposes", "motivations.factors"):
        assert found[key]["answer"] is None and found[key]["owed"], key
    assert found["motivations.domains"]["answer"] == "a; b"


def test_a_page_holds_nothing_that_steers_a_terminal_or_turns_a_line(run_folder: Path, gristmill: Command) -> None:
    Path("card.yaml").write_text(r'publisher: {contact: "a\e[31mb \u202Egnp.exe\u2066 \u009Bx \u200Fا"}')
    page = gristmill("export", "data-card", str(run_folder / "bare"), "--answers", "card.yaml").out
    assert "a\ufffd\\[31mb \ufffdgnp.exe\ufffd \ufffdx \u200fا" in page
