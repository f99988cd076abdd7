"""Texts and fates of crawled pages are those of datatrove's WARC reader and extractor; where not, the cause is known."""

from __future__ import annotations

import gzip
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

import pytest

from tests.benchmarks.datatrove_extraction import Page, differences, our_pages, their_pages
from tests.invariance_cases.extract import SENTENCE, page

TABLE = "<table><tr><th>Pier</th><th>Hour</th></tr><tr><td>North</td><td>seven</td></tr></table>"
UMLAUTS = "Die Fähre verlässt den Hafen um sieben, die Bäckerei öffnet früher, und die Züge fahren über die Brücke. "


@pytest.fixture(autouse=True)
def no_libmagic(monkeypatch: pytest.MonkeyPatch) -> None:
    """datatrove imports python-magic, which needs a library of the system, for records that do not state their type. Those of
    these tests state it, as Common Crawl's do: this module has nothing that could be called."""
    monkeypatch.setitem(sys.modules, "magic", module_from_spec(ModuleSpec("magic", None)))


def crawl(folder: Path, pages: list[bytes], kind: str = "text/html") -> list[Path]:
    path = folder / "pages.warc.gz"
    records = [
        (f"WARC-Type: response\r\nWARC-Identified-Payload-Type: {kind}", number, body)
        for number, body in enumerate(pages)
    ]
    with path.open("wb") as stream:
        for head, number, body in [("WARC-Type: request", 99, b""), *records]:
            answer = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode() + body
            more = f"WARC-Record-ID: <urn:page:{number}>\r\nWARC-Target-URI: https://example.org/{number}"
            more += f"\r\nWARC-Date: 2024-05-01T00:00:00Z\r\nContent-Length: {len(answer)}"
            more += "\r\nContent-Type: application/http;msgtype=response"
            stream.write(gzip.compress(f"WARC/1.0\r\n{head}\r\n{more}\r\n\r\n".encode() + answer + b"\r\n\r\n"))
    return [path]


def compared(folder: Path, pages: list[bytes], *, deduplicate: bool) -> tuple[dict[str, Page], dict[int, str]]:
    """Our pages, and the numbers of those of which datatrove has another text, with the cause."""
    ours = our_pages(crawl(folder, pages))
    found = differences(ours, their_pages(folder, "*.warc.gz", deduplicate=deduplicate))
    return ours, {int(record.strip("<>").rpartition(":")[2]): cause for record, cause in found.items()}


def test_texts_and_fates_are_datatroves(tmp_path: Path) -> None:
    pages = [
        *(page(f"Ferry {number}", number).encode() for number in range(7)),
        page("Timetable", 3).replace("</article>", f"{TABLE}</article>").encode(),
        page("Fähren", 3).encode(),
        page(UMLAUTS, 6).encode("latin-1"),
        page("Паромы", 5).encode(),
        "\ufeff".encode() + page("Marked", 3).encode(),
        b"",
        b"  ",
        b"<html><body><nav>Home</nav></body></html>",
        b"no markup at all",
        page("Not closed", 3).removesuffix("</article></body></html>").encode(),
    ]
    ours, differing = compared(tmp_path, pages, deduplicate=False)
    assert differing == {}
    kept = [one.text for one in ours.values() if one.text is not None]
    assert len(ours) == len(pages) and len(kept) >= 12
    assert {one.fate for one in ours.values()} == {"kept", "empty_text"}
    assert any("| North | seven |" in text for text in kept) and sum("Fähre verlässt" in text for text in kept) == 1


def test_what_is_no_page_is_kept_by_neither(tmp_path: Path) -> None:
    ours = our_pages(crawl(tmp_path, [page("Ferries", 3).encode()], "application/json"))
    theirs = their_pages(tmp_path, "*.warc.gz", deduplicate=False)
    assert [one.fate for one in ours.values()] == ["not_html"] and not theirs.decoded and not differences(ours, theirs)


def test_datatroves_default_makes_a_text_depend_on_the_pages_before_it(tmp_path: Path) -> None:
    shared = f"<p>Terms of use: {SENTENCE * 2}</p>"
    pages = [page(f"Page {n}", 2).replace("</article>", f"{shared}</article>").encode() for n in range(6)]
    assert compared(tmp_path, pages, deduplicate=False)[1] == {}
    ours, differing = compared(tmp_path, pages, deduplicate=True)
    assert set(differing) == {3, 4, 5}
    assert set(differing.values()) == {"paragraphs of earlier pages, left out there (one list for the whole process)"}
    assert all("Terms of use" in (one.text or "") for one in ours.values())


def test_differences_have_their_cause(tmp_path: Path) -> None:
    repeated = "".join(f"<p>{SENTENCE * 3}</p><p>Other {number}. {SENTENCE}</p>" for number in range(8))
    pages = [
        page(UMLAUTS, 6).encode("latin-1").replace(b"sieben", b"sieben \x81\xff\xfe\x00\x80"),  # valid in nothing
        f"<html><body><article>{repeated}</article></body></html>".encode(),
    ]
    _, differing = compared(tmp_path, pages, deduplicate=False)
    assert set(differing) == {0, 1}
    assert differing[0].startswith(("not read there: neither UTF-8", "read as "))
    assert differing[1].startswith("repeated paragraphs within the page")
