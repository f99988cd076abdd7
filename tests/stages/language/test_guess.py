"""The language guess before extraction: sure cases go, doubtful ones stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.stage import Decisions, StageContext
from gristmill.stages.language.guess import LanguageGuess, LanguageGuessConfig
from tests.pipeline.toy_runs import rows_of, run

ENGLISH = (
    "The committee met on Thursday to hear what the engineers had found out about the old bridge, and whether it could "
    "still carry the lorries that cross it every night on their way to the harbour. "
)
GERMAN = (
    "Der Ausschuss traf sich am Donnerstag, um zu h\u00f6ren, was die Ingenieure \u00fcber die alte Br\u00fccke herausgefunden "
    "hatten und ob sie die Lastwagen noch tragen kann, die jede Nacht auf dem Weg zum Hafen \u00fcber sie fahren. "
)
RUSSIAN = (
    "\u041a\u043e\u043c\u0438\u0442\u0435\u0442 \u0441\u043e\u0431\u0440\u0430\u043b\u0441\u044f \u0432 "
    "\u0447\u0435\u0442\u0432\u0435\u0440\u0433, \u0447\u0442\u043e\u0431\u044b \u0443\u0437\u043d\u0430\u0442\u044c, "
    "\u0447\u0442\u043e \u0438\u043d\u0436\u0435\u043d\u0435\u0440\u044b \u0432\u044b\u044f\u0441\u043d\u0438\u043b\u0438 "
    "\u043e \u0441\u0442\u0430\u0440\u043e\u043c \u043c\u043e\u0441\u0442\u0443. "
)


def page(*texts: str, lang: str | None = None) -> str:
    head = f"<html lang={lang}>" if lang else "<html>"
    return f"{head}<head><script>var the, of, and;</script></head><body>{''.join(f'<p>{text}</p>' for text in texts)}</body>"


def decide(pages: list[Any], headers: list[str | None] | None = None, **config: Any) -> tuple[Decisions, pa.Table]:
    stage = LanguageGuess(LanguageGuessConfig(**{"keep": ("eng_Latn",), **config}))
    stage.check_files()
    columns = {"html": pa.array(pages)} | ({} if headers is None else {"http_content_type": pa.array(headers)})
    batch = pa.table(columns)
    measured = pa.table(dict(stage.measure(batch, StageContext())))
    return stage.decide(measured, None, StageContext()), measured


def rules(pages: list[Any], **config: Any) -> list[str | None]:
    found, _ = decide(pages, **config)
    assert found.rule is not None
    return [None if index < 0 else found.rules[index] for index in found.rule]


def test_pages_surely_in_another_language_go_and_the_ledger_says_why() -> None:
    pages = [page(GERMAN * 3), page(GERMAN * 3, lang="de-AT"), page(GERMAN * 6, lang="en"), page(ENGLISH * 3)]
    found, _ = decide(pages)
    assert rules(pages) == ["other_language", "other_language", "other_language_than_declared", None]
    assert found.witness is not None and found.value is not None and found.threshold is not None
    assert found.witness.to_pylist() == [
        "deu_Latn, declared nothing",
        "deu_Latn, declared de-at",
        "deu_Latn, declared en",
        None,
    ]
    assert found.threshold[:3].tolist() == [0.05, 0.05, 0.02] and (found.value[:3] < 0.02).all()


def test_what_a_page_declares_drops_nothing() -> None:
    assert rules([page(ENGLISH * 3, lang="de"), page(ENGLISH * 3, lang="ru"), page("", lang="de")]) == [None] * 3


@pytest.mark.parametrize(
    "doubtful",
    [
        page(GERMAN[:120]),
        page("12345 67890 " * 50),
        page(*[GERMAN] * 6, *[ENGLISH] * 3),
        page(*[ENGLISH] * 2, *[RUSSIAN] * 6),
        "",
        None,
    ],
    ids=["short", "no words", "half English", "English first", "empty", "null"],
)
def test_pages_in_doubt_stay(doubtful: str | None) -> None:
    assert rules([page(GERMAN * 3), doubtful]) == ["other_language", None]


def test_a_wanted_language_in_a_part_of_the_page_is_a_doubt() -> None:
    mixed = page(*[GERMAN] * 12, *[ENGLISH] * 3)
    assert rules([mixed]) == [None]
    assert rules([mixed], max_kept_score=1.0) == ["other_language"]


def test_thresholds_are_those_of_the_config() -> None:
    assert rules([page(GERMAN * 3)], keep=("deu_Latn",)) == [None]
    assert rules([page(GERMAN * 3)], min_bytes=5000) == [None]
    mixed = page(*[GERMAN] * 12, *[ENGLISH] * 3, lang="en")
    assert rules([mixed], max_kept_score=1.0) == [None]
    assert rules([mixed], max_kept_score_declared=1.0) == ["other_language_than_declared"]
    assert rules([page(GERMAN[:120])], min_bytes=50) == ["other_language"]


def test_charsets_of_headers_are_heeded() -> None:
    pages = [page(RUSSIAN * 6).encode("koi8-r"), page(RUSSIAN * 6).encode("cp1251")]
    _, measured = decide(pages, ["text/html; charset=koi8-r", "text/html; charset=windows-1251"])
    assert measured["guess_language"].to_pylist() == ["rus_Cyrl"] * 2


def test_labels_that_no_model_answers_are_refused() -> None:
    with pytest.raises(ValidationError, match="'englisch_' is no language"):
        LanguageGuessConfig(keep=("englisch_",))
    with pytest.raises(ConfigError, match="the model never answers 'aak_Latn', so that pages in it would be dropped"):
        LanguageGuess(LanguageGuessConfig(keep=("aak_Latn",))).check_files()


def test_a_payload_of_bytes_is_read_as_one_of_html(tmp_path: Path) -> None:
    pages = [page(GERMAN * 3).encode(), page(ENGLISH * 3).encode(), page(RUSSIAN * 4).encode("koi8-r")]
    headers = ["text/html", None, "text/html; charset=koi8-r"]
    stage = LanguageGuess(LanguageGuessConfig(keep=("eng_Latn",), column="bytes"))
    columns = {"bytes": pa.array(pages), "http_content_type": pa.array(headers)}
    measured = pa.table(dict(stage.measure(pa.table(columns), StageContext())))
    assert measured.equals(decide(pages, headers)[1])
    (tmp_path / "in").mkdir()
    table = pa.table({"id": ["a", "b", "c"], **columns})
    pq.write_table(table, tmp_path / "in/a.parquet")
    run(
        f"""
        name: guess
        sources:
          crawl: {{format: parquet, paths: ["{tmp_path}/in/*.parquet"]}}
        stages:
          language_guess: {{keep: [eng_Latn], column: bytes}}
          extract: {{with: resiliparse, column: bytes}}
        outputs:
          corpus: {{path: "{tmp_path}/out"}}
        """
    )
    assert [row["id"] for row in rows_of(tmp_path / "out")] == ["b"]
