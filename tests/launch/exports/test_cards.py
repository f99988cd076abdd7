"""The dataset card as the hub's parser reads it, and Croissant held against its context (test_croissant.py validates it)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard

from gristmill.launch.exports import data_card_template, rubric_elements
from gristmill.launch.exports.cards import _size
from gristmill.launch.exports.croissant import ANSWERS as TAKEN
from gristmill.pipeline.writing.card import one_licence
from tests.launch.exports.conftest import WORDS
from tests.launch.running import Command

# What Croissant documents take from schema.org, their vocabulary, without a line of their own in the context.
SCHEMA_ORG = {
    "name", "description", "version", "license", "distribution", "encodingFormat", "datePublished", "creator", "url",
    "identifier", "creditText", "usageInfo", "contributor", "inLanguage",
}  # fmt: skip
RAI_TERMS = {
    "dataCollection",
    "dataCollectionRawData",
    "dataCollectionMissingData",
    "dataPreprocessingProtocol",
    "machineAnnotationTools",
}


def test_the_hubs_parser_accepts_the_card(run_folder: Path, gristmill: Command) -> None:
    assert gristmill("export", "dataset-card", str(run_folder / "corpus"), "--output", "README.md").code == 0
    card = DatasetCard.load(Path("README.md"))
    data = card.data.to_dict()
    assert data["license"] == "other"  # one source's licence is words
    assert data["license_name"] == "by-source"
    assert data["language"] == ["eng", "deu"]
    assert data["multilinguality"] == "multilingual"
    assert data["size_categories"] == ["n<1K"]
    assert data["configs"][0]["data_files"] == [{"split": "train", "path": "data/**/*.parquet"}]
    assert "| crawl | CC-BY-4.0 | – | author | https://example.org/license |" in card.text
    assert "| deu_Latn | 10 | " in card.text
    assert "| bare |" not in card.text


@pytest.mark.parametrize("made_by", ["the run", "the export"])
def test_a_licence_in_words_cannot_write_metadata_or_markup(run_folder: Path, gristmill: Command, made_by: str) -> None:
    if made_by == "the run":
        text = (run_folder / "bare/README.md").read_text()
    else:
        text = gristmill("export", "dataset-card", str(run_folder / "bare")).out
    assert text.startswith("---\n")
    front, body = text[4:].split("\n---\n", 1)
    assert yaml.safe_load(front)["license"] == "other"
    assert "license: mit" not in front and "<script>" not in body
    assert "\n---\n" not in body
    rows = [line for line in body.splitlines() if line.startswith("| shelf |")]
    assert 'ask "us" --- license: mit &lt;script>alert(1)&lt;/script> \\| {"a": 1}' in rows[0]
    assert "language" not in yaml.safe_load(front)
    told = [line for line in body.splitlines() if line.startswith("- to be credited as:")]
    assert len(told) == (made_by == "the export")
    assert all('ask "us" --- license: mit &lt;script>' in line for line in told)


@pytest.mark.parametrize(
    ("stated", "licence"),
    [(["CC-BY-4.0"], "cc-by-4.0"), ([WORDS], "other"), (["x: y"], "other"), ([], "other"), (["MIT", "0BSD"], "other")],
)
def test_a_cards_licence_is_one_identifier(stated: list[str], licence: str) -> None:
    assert one_licence(stated) == licence


@pytest.mark.parametrize(
    ("rows", "category"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**11, "100B<n<1T"), (10**15, "n>1T")],
)
def test_size_categories(rows: int, category: str) -> None:
    assert _size(rows) == category


def terms(value: Any) -> set[str]:
    """All keys of a JSON-LD value, outside of its context."""
    if isinstance(value, list):
        return set().union(*map(terms, value))
    if not isinstance(value, dict):
        return set()
    return set(value).union(*map(terms, value.values()))


def test_croissant_uses_what_its_context_defines(run_folder: Path, gristmill: Command) -> None:
    ran = gristmill("export", "croissant", str(run_folder / "corpus"))
    body = json.loads(ran.out)
    context = body.pop("@context")
    prefixes = {name for name, value in context.items() if isinstance(value, str) and value.endswith(("/", "#"))}
    for term in terms(body):
        prefix, colon, rest = term.partition(":")
        if term.startswith("@"):
            assert term in {"@type", "@id"}, term
        elif colon:
            assert prefix in prefixes, term
            assert prefix != "rai" or rest in RAI_TERMS, term
        else:
            assert term in context or term in SCHEMA_ORG, term
    assert context["rai"] == "http://mlcommons.org/croissant/RAI/"
    assert body["conformsTo"] == ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
    assert body["license"] == ["CC-BY-4.0", WORDS]
    assert body["contributor"] == [{"@type": "sc:Organization", "name": name} for name in (WORDS, "Shelf")]
    assert body["inLanguage"] == ["eng-Latn", "de"] and body["creditText"] == [f"shelf: {WORDS}"]
    assert body["usageInfo"][0] == "shelf: conditions of the licence: attribution; non-commercial"
    assert body["rai:dataCollection"] == f"shelf: collected by {WORDS}; shelf: made by models: {WORDS}"


def test_croissant_describes_the_shards_and_the_run(run_folder: Path, gristmill: Command) -> None:
    body = json.loads(gristmill("export", "croissant", str(run_folder / "corpus")).out)
    manifest = json.loads((run_folder / "corpus/manifest.json").read_text())["predicate"]
    (files,), (records,) = body["distribution"], body["recordSet"]
    assert {field["source"]["fileSet"]["@id"] for field in records["field"]} == {files["@id"]}
    assert {field["source"]["extract"]["column"] for field in records["field"]} == set(manifest["data"]["columns"])
    assert body["identifier"] == f"sha256:{manifest['digest']}"
    assert body["rai:dataPreprocessingProtocol"][1].startswith(
        "exact (stage exact, version 1): 51 documents in, 1 dropped"
    )
    stored = json.loads((run_folder / "corpus/croissant.json").read_text())
    assert {**stored["@context"], "prov": "http://www.w3.org/ns/prov#"} == body["@context"]


def test_croissant_names_the_run_and_sources_as_prov_does(run_folder: Path, gristmill: Command) -> None:
    body = json.loads(gristmill("export", "croissant", str(run_folder / "corpus")).out)
    prov = json.loads(gristmill("export", "prov", str(run_folder / "corpus")).out)
    full = {name.replace("gm:", prov["prefix"]["gm"]): entity for name, entity in prov["entity"].items()}
    for source in body["prov:wasDerivedFrom"]:
        entity = full[source["@id"]]
        assert entity["prov:label"] == source["prov:label"] and entity["gm:slicesRoot"] in source["prov:value"]
    assert len(body["prov:wasDerivedFrom"]) == 2
    (run,) = (one for name, one in prov["activity"].items() if name.startswith("gm:run/"))
    made = body["prov:wasGeneratedBy"]
    assert [run["prov:startTime"], run["prov:endTime"]] == [made["prov:startedAtTime"], made["prov:endedAtTime"]]
    by = {f["name"]: f.get("prov:wasGeneratedBy", {}).get("prov:label") for f in body["recordSet"][0]["field"]}
    assert str(by["language"]).startswith("language (stage language, version ") and by["text"] is None


ANSWERS = """
as_of: 2020-01-01
dataset: {link: "https://example.org/data"}
owners: {teams: "<b>Mills</b>"}
publisher: {organizations: none}
collection: {methodology: by mill}
use: {suitable: [milling, baking], citation: Mills 2026}
"""


def test_answers_are_properties_of_croissant(run_folder: Path, gristmill: Command) -> None:
    Path("a.yaml").write_text(ANSWERS)
    options = ("--answers", "a.yaml", "--output", "c.json")
    ran = gristmill("export", "croissant", str(run_folder / "corpus"), *options)
    assert (ran.code, ran.out) == (0, "export: c.json (croissant); 6 answers are stale\n"), ran.err
    made = json.loads(Path("c.json").read_text())
    plain = json.loads(gristmill("export", "croissant", str(run_folder / "corpus")).out)
    said = {name: value for name, value in made.items() if plain.get(name) != value}
    assert said == {
        "url": "https://example.org/data",
        "creator": {"@type": "sc:Organization", "name": "<b>Mills</b>"},
        "rai:dataCollection": plain["rai:dataCollection"] + "; by mill",
        "rai:dataUseCases": "milling; baking",
        "citeAs": "Mills 2026",
    }
    Path("a.yaml").write_text("dataset: {link: 'javascript:alert(1)'}")
    assert "url" not in json.loads(gristmill("export", "croissant", str(run_folder / "bare"), *options[:2]).out)


def test_croissant_takes_only_answers_that_a_form_asks_for() -> None:
    assert set(TAKEN) <= data_card_template.KEYS | rubric_elements.KEYS


def test_a_card_is_of_one_output(run_folder: Path, gristmill: Command) -> None:
    ran = gristmill("export", "croissant", str(run_folder / "corpus"), str(run_folder / "bare"))
    assert (ran.code, "describes one output" in ran.error) == (2, True)
