"""Equal pages are parsed once, however a slice is cut into batches, within a bound on memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from gristmill.pipeline.parser_process import Failed, ParserProcess
from gristmill.pipeline.stage import StageContext
from gristmill.stages.extraction.lately_parsed import ENTRY_BYTES, LatelyParsed, PageKey, page_key
from gristmill.stages.extraction.stage import Extract, ExtractConfig
from tests.invariance_cases.extract import page

LATIN = page("Fähren", 3).encode("latin-1")


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The pages that went to a parser, and none known before."""
    seen: list[bytes] = []
    real = ParserProcess.parse

    def parse(self: ParserProcess, pages: Sequence[Any], seconds: float) -> Any:
        seen.extend(bytes(body) for _, body in pages)
        return real(self, pages, seconds)

    monkeypatch.setattr(ParserProcess, "parse", parse)
    return seen


def texts(
    pages: Sequence[bytes], types: Sequence[str | None] | None = None, of_slice: StageContext | None = None
) -> list[Any]:
    batch = pa.table(
        {
            "html": pa.array(pages, pa.large_binary()),
            "http_content_type": pa.array(types or [None] * len(pages), pa.string()),
        }
    )
    stage = Extract(ExtractConfig(**{"with": "resiliparse"}))
    found: list[Any] = stage.measure(batch, of_slice or StageContext())["text"].to_pylist()
    return found


def test_equal_pages_are_parsed_once_however_batches_are_cut(parsed: list[bytes]) -> None:
    pages = [page(f"Page {n % 5}", 3).encode() for n in range(20)]
    whole = texts(pages)
    assert parsed == pages[:5]
    parsed.clear()
    context = StageContext()
    assert [text for start in range(0, 20, 3) for text in texts(pages[start : start + 3], None, context)] == whole
    assert parsed == pages[:5]


def test_pages_with_another_charset_are_not_equal(parsed: list[bytes]) -> None:
    types = ["text/html; charset=iso-8859-1", "text/html; charset=windows-1251"]
    context = StageContext()
    western, cyrillic = texts([LATIN, LATIN], types, context)
    assert "Fähren" in western and "Fдhren" in cyrillic
    types = ["TEXT/HTML;charset=ISO-8859-1", types[1], 'text/plain; x=y; charset="iso-8859-1"']
    assert texts([LATIN] * 3, types, context) == [western, cyrillic, western]
    assert len(parsed) == 2


def test_what_depends_on_the_machine_is_tried_again(parsed: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    good = page("Ferries", 3).encode()
    real = ParserProcess.parse
    failed = [Failed("timeout", "20 s"), Failed("crash", "signal 9"), Failed("error", "ValueError: odd")]
    monkeypatch.setattr(ParserProcess, "parse", lambda self, pages, seconds: failed[: len(pages)])
    pages = [good, good + b" ", good + b"  "]
    context = StageContext()
    assert texts(pages, None, context) == [None] * 3
    monkeypatch.setattr(ParserProcess, "parse", real)
    first, second, third = texts(pages, None, context)
    assert "Ferries" in first and first == second and third is None and parsed == pages[:2]


def test_no_more_is_kept_than_the_bound() -> None:
    def key(number: int) -> PageKey:
        return b"utf-8", b"%d" % number

    kept = LatelyParsed(10 * (ENTRY_BYTES + 400))
    for number in range(30):
        kept.add(key(number), ("x" * 100, None, None, None, ()))
        assert kept._held <= kept._most
        assert kept.get(key(0)) is not None  # asked for all the time
    assert len(kept._answers) == 10 and kept.get(key(29)) is not None and kept.get(key(20)) is None
    kept.add(key(99), ("x" * 10_000, None, None, None, ()))
    assert kept.get(key(99)) is None


def test_a_page_is_known_by_all_that_decides_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gristmill.stages.extraction.lately_parsed._MOST_AT_ONCE", 100)
    page = bytes(range(256)) * 4
    changed = [page[:place] + bytes([page[place] ^ 1]) + page[place + 1 :] for place in range(len(page))]
    others = [page[:-1], page + b"\0", page[100:200] + page[:100] + page[200:], b"", b"\0", b"abc", b"bc", b"c"]
    keys = {page_key(charset, one) for charset in (b"", b"a", b"ab") for one in [page, *changed, *others]}
    assert len(keys) == 3 * (1 + len(changed) + len(others))
    assert page_key(b"a", page) == page_key(b"a", memoryview(bytearray(page)))
