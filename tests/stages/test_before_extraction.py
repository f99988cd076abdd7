"""What goes before extraction: listed addresses, other languages and equal pages, each on record; the rest is extracted."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.audit.run import audit_output
from tests.pipeline.toy_runs import rows_of, run
from tests.stages.language.test_guess import ENGLISH, GERMAN, page

CONFIG = """
sources:
  crawl: {{format: parquet, paths: ["{root}/in/*.parquet"]}}
stages:
  url_filter: {{domains: {root}/blocked}}
  language_guess: {{keep: [eng_Latn]}}
  payload_digest: {{}}
  exact: {{on: payload_sha256}}
  extract: {{}}
outputs:
  corpus: {{from: extract, path: {root}/out}}
"""


def test_only_pages_that_may_stay_are_extracted_and_each_copy_once_per_corpus(tmp_path: Path) -> None:
    english = page(*[ENGLISH * 3] * 3, lang="de")
    pages = {
        "listed": ("https://www.blocked.org/x", english, "utf-8"),
        "german": ("https://a.org/1", page(*[GERMAN * 3] * 3), "utf-8"),
        "says english": ("https://a.org/2", page(*[GERMAN * 6] * 3, lang="en"), "utf-8"),
        "one": ("https://a.org/3", english, "utf-8"),
        "two": ("https://a.org/4", english, "UTF8"),
        "other charset": ("https://a.org/5", english, "koi8-r"),
        "no address": (None, page(*[ENGLISH * 4] * 3), "utf-8"),
    }
    (tmp_path / "in").mkdir()
    (tmp_path / "blocked").write_text("blocked.org\n", encoding="utf-8")
    for name, (url, body, charset) in pages.items():  # A file, and so a slice, for each.
        table = pa.table(
            {
                "id": [name],
                "url": pa.array([url], pa.string()),
                "html": pa.array([body.encode()], pa.binary()),
                "http_content_type": [f"text/html; charset={charset}"],
            }
        )
        pq.write_table(table, tmp_path / f"in/{name}.parquet")
    run(CONFIG.format(root=tmp_path))
    ledger = {row["id"]: (row["node"], row["rule"], row["witness"]) for row in rows_of(tmp_path / "out", "ledger")}
    kept = {row["id"]: row["text"] for row in rows_of(tmp_path / "out")}
    copies = {"one", "two"} - set(kept)
    assert len(copies) == 1 and set(kept) == {"one", "two", "other charset", "no address"} - copies
    assert all(ENGLISH.strip() in text for text in kept.values())
    assert {name: ledger[name] for name in ("listed", "german", "says english")} == {
        "listed": ("url_filter", "blocked_domain", "blocked.org"),
        "german": ("language_guess", "other_language", "deu_Latn, declared nothing"),
        "says english": ("language_guess", "other_language_than_declared", "deu_Latn, declared en"),
    }
    assert ledger[copies.pop()][:2] == ("exact", "exact_duplicate")
    assert len(rows_of(tmp_path / "out", "signals/extract")) == 3
    result = audit_output(str(tmp_path / "out"), full=True, sources=(), plugins=("toy_stages",))
    assert result.exit_code == 0, result.problems
    assert result["replay"].status == "pass", result["replay"].skipped
