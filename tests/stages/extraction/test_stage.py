"""`extract` in runs: texts as the library gives them in a fresh process, and pages that are nobody's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import ConfigError, DataError
from gristmill.pipeline.executor.ray import RayExecutor
from gristmill.pipeline.parser_process import ParserProcess
from gristmill.pipeline.stage import StageContext
from gristmill.stages.extraction import stage as extraction
from gristmill.stages.extraction.stage import Extract, ExtractConfig
from tests.invariance_cases.extract import SENTENCE, page
from tests.pipeline.audit.tampering import SameProcess
from tests.pipeline.toy_runs import PLUGINS, plan_of, rows_of, run, shards

ODD = str(Path(__file__).parents[2] / "plugins" / "odd_parsers.py")

CONFIG = """
name: pages
sources:
  crawl: {{format: parquet, paths: ["{root}/in/*.parquet"]}}
stages:
  extract: {settings}
  same: {{}}
outputs:
  corpus: {{path: "{root}/out", dropped: all}}
"""

FRESH = """
import json, sys
from trafilatura import extract
for page in json.load(sys.stdin):
    text = extract(page, favor_precision=True, include_comments=False, deduplicate=True)
    print(json.dumps(text))
"""


def crawl(folder: Path, pages: dict[str, bytes | None], content_type: str | None = "text/html") -> None:
    (folder / "in").mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "id": list(pages),
            "html": pa.array(list(pages.values()), pa.binary()),
            "http_content_type": pa.array([content_type] * len(pages), pa.string()),
        }
    )
    pq.write_table(table, folder / "in/pages.parquet")


def library(*pages: str) -> list[str | None]:
    """What the library gives of pages, one after another in one fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", FRESH], input=json.dumps(pages), capture_output=True, check=True, text=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def extracted(settings: dict[str, Any], *pages: bytes) -> list[str | None]:
    batch = pa.table({"html": pa.array(pages, pa.large_binary())})
    found: list[str | None] = Extract(ExtractConfig(**settings)).measure(batch, StageContext())["text"].to_pylist()
    return found


def test_texts_are_those_of_the_library_in_a_fresh_process_whatever_came_before() -> None:
    """The library drops a paragraph that it has seen three times in the process; pages would lose what others have."""
    shared = f"<p>Terms of use: {SENTENCE * 2}</p>"
    pages = [page(f"Page {n}", 2).replace("</article>", f"{shared}</article>") for n in range(6)]
    first, last = library(pages[0])[0], library(pages[5])[0]
    assert first is not None and "Terms of use" in first
    assert library(*pages)[5] != last  # why each page has a list of its own
    found = extracted({}, *(text.encode() for text in pages))
    assert found[0] == first and found[5] == last


def test_equal_pages_are_parsed_once_and_others_of_their_length_are_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    parse = ParserProcess.parse

    def watched(self: Any, pages: Any, seconds: float) -> Any:
        sent.append(len(pages))
        return parse(self, pages, seconds)

    monkeypatch.setattr(ParserProcess, "parse", watched)
    first, second = page("Page 1", 3).encode(), page("Page 2", 3).encode()
    assert len(first) == len(second)
    column = pa.chunked_array([pa.array([b"before", first, second, None], pa.large_binary()).slice(1), [first, b""]])
    batch = pa.table({"html": column, "http_content_type": pa.array(["text/html"] * 4 + [None])})
    found = Extract(ExtractConfig()).measure(batch, StageContext())["text"].to_pylist()
    assert sent == [2] and found[0] == found[3] == library(first.decode())[0]
    assert found[1] == library(second.decode())[0] != found[0] and found[2] is None and found[4] is None
    other_header = batch.set_column(
        1, "http_content_type", pa.array(["text/html"] * 3 + ["text/html; charset=utf-8", None])
    )
    Extract(ExtractConfig()).measure(other_header, StageContext())
    assert sent == [2, 3]


def test_each_extractor_finds_the_article_and_leaves_the_navigation() -> None:
    for name in ("trafilatura", "resiliparse"):
        (text,) = extracted({"with": name}, page("Ferries", 5).encode())
        assert text is not None and text.count("The ferry leaves") == 15 and "Home" not in text


def test_pages_that_nobody_can_use_are_dropped_with_their_rule_and_the_others_are_extracted(tmp_path: Path) -> None:
    good = page("Ferries", 4)
    pages: dict[str, bytes | None] = {
        "good": good.encode(),
        "deep": b"<div>" * 100_000 + b"text",
        "large": b"<p>" + b"word " * (10 << 20),
        "elements": b"<p>word" * 300_001,
        "binary": os.urandom(5000).replace(b"<", b""),
        "empty": b"",
        "null": None,
        "blank": b" \n ",
        "charset": page("Fähren nach Köln", 4).encode("latin-1"),
        "almost deep": b"<div>" * 2900 + good.encode(),
        "last": page("Last", 4).encode(),
    }
    crawl(tmp_path, pages, "text/html; charset=utf-8")
    text = CONFIG.format(root=tmp_path, settings="{max_page_bytes: 20000000}")
    run(text)
    rows = {row["id"]: row for row in rows_of(tmp_path / "out")}
    assert {"good", "charset", "last"} <= set(rows) <= {"good", "charset", "last", "almost deep"}
    assert rows["good"]["text"] == library(good)[0] and rows["good"]["extractor"] == "trafilatura"
    assert "Fähren nach Köln" in rows["charset"]["text"]
    assert "html" not in rows["good"]
    ledger = {row["id"]: row for row in rows_of(tmp_path / "out", "ledger")}
    found = {name: (row["decision"], row["rule"]) for name, row in ledger.items() if name != "almost deep"}
    assert found == {
        "deep": ("dropped", "page_too_deep"),
        "large": ("dropped", "page_too_large"),
        "elements": ("dropped", "page_has_too_many_elements"),
        "binary": ("dropped", "empty_text"),
        "empty": ("dropped", "empty_payload"),
        "null": ("dropped", "empty_payload"),
        "blank": ("dropped", "empty_text"),
    }
    assert (ledger["deep"]["value"], ledger["deep"]["threshold"]) == (100_000, 3000)
    result = audit_output(str(tmp_path / "out"), full=True, sources=(), plugins=("toy_stages",))
    assert result.exit_code == 0, result.problems
    assert result["replay"].status == "pass", result["replay"].skipped


def test_a_run_gives_the_same_again(tmp_path: Path) -> None:
    crawl(tmp_path, {f"p{n}": page(f"Page {n % 5}", 1 + n % 4).encode() for n in range(30)})
    text = CONFIG.format(root=tmp_path, settings="{with: [trafilatura, resiliparse], keep: longest}")
    run(text)
    run(text, output=str(tmp_path / "again"))
    assert shards(tmp_path / "out") == shards(tmp_path / "again")


@pytest.mark.ray
def test_ray_s_workers_have_parsers_of_their_own_and_find_the_same(tmp_path: Path) -> None:
    for part in range(4):
        crawl(tmp_path, {f"p{part}-{n}": page(f"Page {n}", 1 + part).encode() for n in range(5)})
        (tmp_path / "in/pages.parquet").rename(tmp_path / f"in/pages-{part}.parquet")
    text = CONFIG.format(root=tmp_path, settings="{}")
    with RayExecutor(workers=2, plugin_folders=[PLUGINS]) as executor:
        run(text, executor, output=str(tmp_path / "ray"))
    run(text)
    assert shards(tmp_path / "ray") == shards(tmp_path / "out") and rows_of(tmp_path / "out")


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that a page can hang or kill; see tests/plugins/odd_parsers.py."""
    monkeypatch.setattr(extraction, "PARSERS", ODD)


def test_pages_that_hang_or_kill_the_parser_are_facts_on_record(tmp_path: Path, odd: None) -> None:
    bodies = [b"fine one", b"hang", b"fine two", b"kill", b"raise odd", b"fine three"]
    crawl(tmp_path, {f"p{n}": body for n, body in enumerate(bodies)})
    text = CONFIG.format(root=tmp_path, settings="{seconds: 0.1}")
    run(text)
    assert {row["text"] for row in rows_of(tmp_path / "out")} == {
        "text/htmlfine one",
        "text/htmlfine two",
        "text/htmlfine three",
    }
    ledger = {row["id"]: (row["decision"], row["rule"]) for row in rows_of(tmp_path / "out", "ledger")}
    assert ledger == {
        "p1": ("dropped", "parser_timeout"),
        "p3": ("dropped", "parser_crash"),
        "p4": ("dropped", "parser_error"),
    }
    predicate = json.loads((tmp_path / "out/manifest.json").read_bytes())["predicate"]
    node = next(node for node in predicate["nodes"] if node["name"] == "extract")
    assert node["irreproducible"] == ["parser_timeout", "parser_crash"] and node["text"] == "made"
    assert predicate["accounts"]["nodes"]["extract"]["rules"]["parser_timeout"]["first"][0] == 1


def test_an_audit_takes_them_as_recorded_and_does_not_try_them_again(
    tmp_path: Path, odd: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    crawl(tmp_path, {"a": b"fine one", "b": b"hang", "c": b"kill", "d": b"raise odd"})
    run(CONFIG.format(root=tmp_path, settings="{seconds: 0.1}"))
    seen: list[bytes] = []
    parse = ParserProcess.parse

    def watched(self: Any, pages: Any, seconds: float) -> Any:
        seen.extend(bytes(body) for _, body in pages)
        return parse(self, pages, seconds)

    monkeypatch.setattr(ParserProcess, "parse", watched)
    monkeypatch.setattr("gristmill.pipeline.audit.run.ReaderProcess", SameProcess)
    result = audit_output(str(tmp_path / "out"), full=True, sources=(), plugins=("toy_stages",))
    assert result.exit_code == 0, result.problems
    assert result["replay"].status == "pass" and set(seen) == {b"fine one", b"raise odd"}


def test_too_many_of_them_end_the_run(tmp_path: Path, odd: None) -> None:
    crawl(tmp_path, {f"p{n}": b"kill" if n < 11 else b"fine %d" % n for n in range(20)})
    with pytest.raises(
        DataError, match=r"stages.extract: \d+ of 20 documents have the rule `parser_crash`, which depends"
    ):
        run(CONFIG.format(root=tmp_path, settings="{}"))
    run(CONFIG.format(root=tmp_path, settings="{max_lost: 0.6}"))
    assert len(rows_of(tmp_path / "out")) == 9


def test_what_decides_the_text_is_in_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crawl(tmp_path, {"a": b"<p>"})

    def signal_of(settings: str) -> tuple[str, dict[str, Any]]:
        found = plan_of(CONFIG.format(root=tmp_path, settings=settings)).fingerprints["extract"]
        return found.signal, dict(found.fields["signal"])

    first, fields = signal_of("{}")
    for name in ("trafilatura", "lxml", "libxml2", "resiliparse", "justext"):
        assert fields[f"library:{name}"][0].isdigit()
    assert signal_of("{seconds: 3, max_lost: 0.5}")[0] == first
    assert signal_of("{max_depth: 4}")[0] != first
    other, fields = signal_of("{with: resiliparse}")
    assert other != first and "library:lxml" not in fields
    monkeypatch.setattr(extraction, "version", lambda name: "0.1")
    assert signal_of("{}")[0] != first


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ("{with: boilerpipe}", "stages.extract.with"),
        ("{with: [resiliparse, resiliparse]}", "named twice"),
        ("{with: []}", "at least 1"),
        ("{using: resiliparse}", "unknown key"),
    ],
)
def test_settings_that_cannot_be_meant(tmp_path: Path, settings: str, complaint: str) -> None:
    crawl(tmp_path, {"a": b"<p>"})
    with pytest.raises(ConfigError, match=complaint):
        plan_of(CONFIG.format(root=tmp_path, settings=settings))


def test_a_missing_library_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crawl(tmp_path, {"a": b"<p>"})
    monkeypatch.setattr(extraction, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"it needs resiliparse and trafilatura and lxml, .*'gristmill\[web\]'"):
        plan_of(CONFIG.format(root=tmp_path, settings="{}"))
