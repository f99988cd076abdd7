"""The public summary: what is taken from a run, what from answers, what is owed, and domains counted against a reference."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tldextract import TLDExtract

from gristmill.launch.exports import shard_totals
from gristmill.launch.exports.answers import Answers
from gristmill.launch.exports.eu_summary import _range, eu_summary
from gristmill.launch.exports.eu_template import FIELDS, SECTIONS
from gristmill.launch.exports.finished import finished
from tests.launch.exports.conftest import WORDS
from tests.launch.running import Command

ANSWERS = """
summary: {version: "1.0", last_update: 01/12/26}
provider: {name: "<b>Acme</b>", size: other}
content: {continuous: false}
user: {used: false, services_used: false}
sources:
  crawl: {category: crawled, description: Pages about mills, from: 01/2024, until: 03/2024}
  shelf: {category: public, link: "https://example.org/shelf"}
"""


def summary(gristmill: Command, folder: Path, answers: str = ANSWERS, *more: str) -> dict[str, Any]:
    """Fields by key."""
    Path("answers.yaml").write_text(answers)
    ran = gristmill("export", "eu-summary", str(folder), "--answers", "answers.yaml", "--json", *more)
    assert ran.code == 0, ran.err
    return {field["key"]: field for field in json.loads(ran.out)["fields"]}


def test_the_fields_are_those_of_the_template() -> None:
    """Numbers of sections and of the fields in each, as C(2025) 8311 has them (the header's three first)."""
    assert Counter(field.section for field in FIELDS) == {
        "0": 3, "1.1": 2, "1.2": 3, "1.3": 8, "2.1": 5, "2.2.1": 2, "2.2.2": 5, "2.3": 9, "2.4": 5, "2.5": 5, "2.6": 3,
        "3.1": 3, "3.2": 1, "3.3": 1,
    }  # fmt: skip
    assert {field.section for field in FIELDS} == set(SECTIONS)


def test_what_runs_tell_and_what_is_owed(run_folder: Path, gristmill: Command) -> None:
    found = summary(gristmill, run_folder / "corpus")
    table = pq.read_table(run_folder / "corpus/data")
    size = sum(len(text.encode()) for text in table["text"].to_pylist())
    assert found["content.size"]["from_run"] == [
        "Less than 1 billion tokens (fewer bytes than that)",
        f"{size:,} bytes of UTF-8 text in 50 documents, after processing",
    ]
    german = [
        len(t.encode())
        for t, name in zip(table["text"].to_pylist(), table["language"].to_pylist(), strict=True)
        if name == "deu"
    ]
    assert len(german) == 10
    assert f"deu_Latn: {sum(german) / size:.2%} of bytes, 10 documents" in found["content.languages"]["from_run"]
    assert found["crawled.used"]["from_run"] == ["yes"]
    assert found["crawled.period"]["from_run"] == ["01/2024 to 03/2024"]
    assert "snapshot CC-MAIN-2024-10" in found["crawled.description"]["from_run"][0]
    assert "licence CC-BY-4.0" in found["crawled.description"]["from_run"][0]
    assert f"licence as stated: {WORDS}" in found["public.large"]["from_run"][0]
    assert (found["provider.name"]["answer"], found["provider.name"]["owed"]) == ("<b>Acme</b>", None)
    owed = {key for key, field in found.items() if field["owed"]}
    assert {"provider.representative", "content.latest", "licensed.used", "rights.signatory", "rights.measures"} <= owed
    assert not owed & {"content.size", "content.languages", "crawled.domains", "crawled.description", "user.used"}
    # Neither optional fields nor those of data that were not used are owed.
    assert not owed & {"content.comments", "user.services", "user.modalities", "private.known"}
    assert found["user.services"]["asked"] is False
    assert found["crawled.names"]["owed"] == "answer `crawled.names`"


def test_domains_are_those_that_tldextract_finds_over_all_crawled_shards(
    run_folder: Path, gristmill: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_totals, "BATCH", 7)
    found = summary(gristmill, run_folder / "corpus", ANSWERS, "--domains", "domains.tsv")
    extract, expected = TLDExtract(suffix_list_urls=(), cache_dir=None), Counter[str]()
    for row in pq.read_table(run_folder / "corpus/data").to_pylist():
        if row["url"]:
            expected[extract(row["url"]).top_domain_under_public_suffix] += len(row["text"].encode())
    assert len(expected) == 8
    name, size = expected.most_common(1)[0]
    lines = Path("domains.tsv").read_text().splitlines()
    assert lines[0] == "domain\tdocuments\tbytes"
    assert [line.split("\t")[::2] for line in lines[1:]] == [[name, str(size)]]
    assert "the largest 1 of 8 registrable domains" in found["crawled.domains"]["from_run"][0]
    assert f"{size / expected.total():.1%} of the bytes; 0 documents" in found["crawled.domains"]["from_run"][0]


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("https://News.BBC.co.uk/x", "bbc.co.uk"),
        ("http://127.0.0.1/a", "127.0.0.1"),
        ("https://bücher.example.de/", "example.de"),
        ("https://sub.xn--bcher-kva.de", "xn--bcher-kva.de"),
        (None, ""),
        ("", ""),
        ("no url\n", ""),
    ],
)
def test_registrable_domains(url: str | None, domain: str) -> None:
    assert shard_totals.registrable(pa.array([url, "https://a.b.org"]).slice(0, 1)).to_pylist() == [domain]
    assert shard_totals.registrable(pa.array(["x.org", url]).slice(1)).to_pylist() == [domain]


@pytest.mark.parametrize(
    ("count", "size", "wanted"),
    [(0, "sme", 0), (1, "other", 1), (100, "other", 10), (101, "other", 11), (100, "sme", 5), (10**6, "sme", 1000),
     (10**6, "other", 10**5)],
)  # fmt: skip
def test_the_share_of_domains_follows_from_the_size_of_provider(count: int, size: str, wanted: int) -> None:
    assert shard_totals.asked_for(count, size) == wanted


@pytest.mark.parametrize(
    ("tokens", "name"),
    [(0, "Less"), (10**9 - 1, "Less"), (10**9, "1 billion to"), (10**13, "1 billion to"), (10**13 + 1, "More")],
)
def test_ranges_of_tokens(tokens: int, name: str) -> None:
    assert _range(tokens).startswith(name)


def test_no_category_is_guessed_and_no_is_never_inferred(run_folder: Path) -> None:
    made = eu_summary([finished(str(run_folder / "corpus"))], Answers({}, None, {}), date(2026, 11, 22))
    found = {item.field.key: item for item in made.fields}
    for key in ("public.used", "licensed.used", "crawled.used", "other.used"):
        assert "sources.crawl.category" in (found[key].owed or ""), key
        assert found[key].facts == ()
    assert found["crawled.domains"].facts == ()
    assert [fact.text for fact in found["summary.last_update"].facts] == ["22/11/26"]


def test_an_output_without_urls_owes_its_domains(run_folder: Path, gristmill: Command) -> None:
    found = summary(gristmill, run_folder / "bare")
    assert "no column `url`" in found["crawled.domains"]["owed"]
    assert found["crawled.domains"]["from_run"] == []
    assert found["content.languages"]["owed"]


def test_the_page_shows_hostile_texts_as_texts(run_folder: Path, gristmill: Command) -> None:
    Path("answers.yaml").write_text(ANSWERS)
    ran = gristmill("export", "eu-summary", str(run_folder / "corpus"), "--answers", "answers.yaml", "--output", "s.md")
    page = Path("s.md").read_text()
    assert ran.code == 0 and " fields are owed" in ran.out
    assert "C(2025) 8311 final, 5 December 2025" in page
    assert "<script>" not in page and "<b>" not in page
    assert "\n---" not in page and "&lt;b&gt;Acme&lt;/b&gt;" in page
    assert "- 1.1: Authorised representative" in page[page.index("## Owed") :]


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ("provider: {nmae: x}", "did you mean `provider.name`"),
        ("sources: {crawl: {category: web}}", "Allowed: crawled"),
        ("sources: {crawlx: {category: public}}", "did you mean `crawl`"),
        ("provider: {size: big}", "provider.size"),
        ("provider: [1]", "expected keys, found list"),
        ("provider: {name: {a: b}}", "Allowed: answer, as_of"),
        ("provider: {name: {answer: [[1]]}}", "expected a text"),
        ("- 1", "groups of answers"),
        ("provider: {name: x", "answers.yaml:1"),
        ("crawled: {used: false}\nsources: {crawl: {category: crawled}}", "Correct one"),
        (
            "crawled: {used: 'Yes, since 2024'}",
            "answers.yaml:1: crawled.used: expected yes or no, found 'Yes, since 2024'",
        ),
        ("user: {services_used: some}", "expected yes or no"),
    ],
)
def test_wrong_answers_are_told_with_their_place(run_folder: Path, gristmill: Command, answers: str, told: str) -> None:
    Path("answers.yaml").write_text(answers)
    ran = gristmill("export", "eu-summary", str(run_folder / "bare"), "--answers", "answers.yaml")
    assert (ran.code, told in ran.err) == (2, True), ran.err


def test_options_of_other_formats_and_missing_files_are_refused(run_folder: Path, gristmill: Command) -> None:
    folder = str(run_folder / "corpus")
    assert (
        "--answers belongs to eu-summary, data-card, rubric, croissant"
        in gristmill("export", "prov", folder, "--answers", "x").error
    )
    assert "no such file" in gristmill("export", "eu-summary", folder, "--answers", "none.yaml").error


def test_sources_of_one_run_count_once_and_documents_of_each_output(run_folder: Path, gristmill: Command) -> None:
    folders = [str(run_folder / name) for name in ("corpus", "bare")]
    Path("answers.yaml").write_text("sources: {crawl: {category: public}, shelf: {category: public}}")
    ran = gristmill("export", "eu-summary", *folders, "--answers", "answers.yaml", "--json")
    found = {field["key"]: field["from_run"] for field in json.loads(ran.out)["fields"]}
    assert "in 100 documents" in found["content.size"][1]
    assert len(found["public.large"]) == 2


def test_shares_by_licence_are_an_annex_over_all_outputs(run_folder: Path, gristmill: Command) -> None:
    folders = [str(run_folder / name) for name in ("corpus", "bare")]
    rows, sizes = Counter[str](), Counter[str]()
    for folder in folders:
        for row in pq.read_table(f"{folder}/data", columns=["id", "text"]).to_pylist():
            licence = "CC-BY-4.0" if row["id"].startswith(("c", "twin")) else WORDS
            rows[licence] += 1
            sizes[licence] += len(row["text"].encode())
    told = json.loads(gristmill("export", "eu-summary", *folders, "--json").out)["annex"]
    (lines,) = told.values()
    assert "Shares are in bytes of text" in lines[0]
    name = "CC-BY-4.0"
    share = f"{sizes[name] / sizes.total():.2%}"
    assert f"licence {name}: {share}, {rows[name]} documents, {sizes[name]:,} bytes of text" in lines
    # Words of a licence are shown as words.
    page = gristmill("export", "eu-summary", *folders).out
    annex = page[page.index("## Annex: shares by licence") : page.index("## Owed")]
    assert "not part of the template" in annex and "<script>" not in annex and f"licence {name}: {share}" in annex


@pytest.mark.parametrize(("damage", "code"), [("cut", 3), ("gone", 3), ("linked", 1)])
def test_damaged_shards_end_an_export(
    run_folder: Path, gristmill: Command, tmp_path: Path, damage: str, code: int
) -> None:
    shutil.copytree(run_folder / "corpus", tmp_path / "corpus")
    shard = next((tmp_path / "corpus/data").iterdir())
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:500])
    else:
        shard.unlink()
    if damage == "linked":
        shard.symlink_to("/dev/zero")
    ran = gristmill("export", "eu-summary", "corpus")
    assert ran.code == code, ran.err
    assert "part-" in ran.error and "Traceback" not in ran.err
