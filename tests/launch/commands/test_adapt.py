"""`gristmill adapt`."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.stages.quality.stage import Quality, QualityConfig
from tests.launch.running import Command

NORWEGIAN = "mølleren og datteren gikk til byen med korn som de hadde malt på den gamle møllen ved elven".split()


def text(draw: random.Random, words: list[str]) -> str:
    lines = [" ".join(draw.choices(words, k=draw.randint(4, 14))).capitalize() for _ in range(draw.randint(4, 12))]
    return "\n".join(line + draw.choice([".", "!", "."]) for line in lines)


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """60 documents in Norwegian and 60 in English."""
    draw = random.Random(4)
    english = "the miller and his daughter went to the town with corn that they had ground in the old mill".split()
    rows = [{"body": text(draw, NORWEGIAN), "lang": "no"} for _ in range(60)]
    rows += [{"body": text(draw, english), "lang": "en"} for _ in range(60)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return "corpus.jsonl"


ROWS = ("--column", "body", "--where", "lang=no")


def test_it_writes_a_config_that_the_stage_reads_and_shows_each_threshold(
    gristmill: Command, corpus: str, tmp_path: Path
) -> None:
    ran = gristmill("adapt", "nob_Latn", "--reference", corpus, *ROWS, "--output", "configs")
    assert ran.code == 0, ran.err
    for part in ("60 documents", "line_punct_thr = ", "tail; English 0.12", "% below", "█", "▲", "stop words", "og"):
        assert part in ran.out
    assert "wrote configs/nob_Latn.yml" in ran.out and "Only 60 documents" in ran.out
    stage = Quality(QualityConfig(language_configs=tmp_path / "configs"))
    stage.check_files()
    assert stage._thresholds("nob_Latn")["top_2_gram"] == 0.2  # repetition as in English, without text in English
    config = stage._config_of("nob_Latn")
    assert config is not None and {"og", "til"} <= set(config.stop_words)


def test_with_english_text_repetition_goes_by_mean_and_deviation_and_methods_can_be_named(
    gristmill: Command, corpus: str
) -> None:
    english = ("--english", corpus, "--english-where", "lang=en")
    given = (
        "--method",
        "new_line_ratio=quantile",
        "--method",
        "top_n_grams=median-ratio",
        "--method",
        "top_n_grams.3=tail",
    )
    ran = gristmill("adapt", "nob_Latn", "--reference", corpus, *ROWS, *english, *given, "--json")
    assert ran.code == 0, ran.err
    figures = json.loads(ran.out)
    methods = {name: one["method"] for name, one in figures["thresholds"].items()}
    assert methods["line_punct_thr"] == "tail" and methods["new_line_ratio"] == "quantile"
    assert methods["top_n_grams.2"] == methods["top_n_grams.4"] == "median-ratio"
    assert methods["top_n_grams.3"] == "tail"
    assert figures["documents"] == 60 and len(figures["stop_words"]) >= 8
    for name, one in figures["thresholds"].items():
        assert one["note"] or one["method"] != "english", name


def test_an_existing_config_is_left_unless_forced(gristmill: Command, corpus: str, tmp_path: Path) -> None:
    (tmp_path / "nob_Latn.yml").write_text("mine")
    ran = gristmill("adapt", "nob_Latn", "--reference", corpus, *ROWS)
    assert ran.code == 2 and "already exists and was not changed" in ran.err
    assert (tmp_path / "nob_Latn.yml").read_text() == "mine"
    assert gristmill("adapt", "nob_Latn", "--reference", corpus, *ROWS, "--force").code == 0
    assert "stopwords:" in (tmp_path / "nob_Latn.yml").read_text()


def test_stop_words_may_be_given_which_scripts_without_spaces_need(
    gristmill: Command, corpus: str, tmp_path: Path
) -> None:
    ran = gristmill("adapt", "tha_Thai", "--reference", corpus, *ROWS)
    assert ran.code == 2 and "without spaces" in ran.err and "--stop-words FILE" in ran.err
    (tmp_path / "words.txt").write_text("ใน\nที่\n\nที่\n", encoding="utf-8")
    ran = gristmill("adapt", "tha_Thai", "--reference", corpus, *ROWS, "--stop-words", "words.txt", "--json")
    assert json.loads(ran.out)["stop_words"] == ["ใน", "ที่"]


@pytest.mark.parametrize(
    ("language", "arguments", "message"),
    [
        ("nob_Latm", (), "'nob_Latm' does not name one of FineWeb2's language labels.*did you mean nob_Latn"),
        ("zzzzzzzz", (), "write a language as eng_Latn"),
        ("nob_Latn", ("--where", "lang=xx"), "no texts for which lang=xx"),
        ("nob_Latn", ("--where", "lang"), "expected COLUMN=VALUE"),
        ("nob_Latn", ("--column", "text"), "expected the column text, found body, lang"),
        ("nob_Latn", ("--method", "tails"), "did you mean `tail`"),
        ("nob_Latn", ("--method", "new_line=tail"), "did you mean `new_line_ratio`"),
        ("nob_Latn", ("--method", "quantile"), "--english FILE"),
        ("nob_Latn", ("--reference", "missing.parquet"), "missing.parquet: there is no such file"),
        ("nob_Latn", ("--output", "norsk.yml"), "Name the file nob_Latn.yml"),
        ("nob_Latn", ("--stop-words", "corpus.csv"), "corpus.csv: cannot be read"),
    ],
)
def test_wrong_arguments_are_refused(
    gristmill: Command, corpus: str, language: str, arguments: tuple[str, ...], message: str
) -> None:
    given = () if "--column" in arguments else ("--column", "body")
    ran = gristmill("adapt", language, "--reference", corpus, *given, *arguments)
    assert ran.code == 2
    assert re.search(message, ran.err.replace("\n", " ")), ran.err


def test_reference_that_is_not_utf8_is_refused_by_file_and_column(gristmill: Command, tmp_path: Path) -> None:
    broken = pa.array([b"gode ord", b"en halv \xed\xa0\x80"], pa.large_binary()).view(pa.large_string())
    pq.write_table(pa.table({"text": broken}), tmp_path / "broken.parquet")
    ran = gristmill("adapt", "nob_Latn", "--reference", "broken.parquet")
    assert ran.code == 3 and "broken.parquet: column text: a text in it is not UTF-8" in ran.err


def test_too_little_reference_is_refused(gristmill: Command, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("Bare ett dokument.", encoding="utf-8")
    ran = gristmill("adapt", "nob_Latn", "--reference", "one.txt")
    assert ran.code == 2 and "1 document with words" in ran.err and "20 at least" in ran.err
