"""In which encoding a page is read, and which extractor's text is taken."""

from __future__ import annotations

import pytest

from gristmill.stages.extraction.parsers import chosen, decode

GERMAN = "Über die Brücke gehen größere Züge, schöne Grüße aus Köln und Düsseldorf. " * 4
RUSSIAN = "Паром отходит в семь, а пекарня на пристани открывается на полчаса раньше. " * 4


@pytest.mark.parametrize(
    ("body", "content_type", "text", "charset"),
    [
        ("\ufeffä".encode(), "text/html; charset=latin-1", "ä", "utf-8"),
        ("ä".encode("utf-16"), "", "ä", "utf-16"),
        (GERMAN.encode(), "text/html; charset=ISO-8859-1", GERMAN, "utf-8"),  # a server's default, and wrong
        (GERMAN.encode("latin-1"), "text/html; charset=ISO-8859-1", GERMAN, "cp1252"),
        (GERMAN.encode("latin-1"), 'text/html; charset="utf-8"', GERMAN, None),
        (RUSSIAN.encode("koi8-r"), "text/html; Charset=KOI8-R", RUSSIAN, "koi8-r"),
        (b"<meta charset=koi8-r>" + RUSSIAN.encode("koi8-r"), "text/html", "<meta charset=koi8-r>" + RUSSIAN, "koi8-r"),
        (
            b"<meta charset=koi8-r>" + RUSSIAN.encode("cp1251"),
            "text/html; charset=windows-1251",  # the header goes before the page
            "<meta charset=koi8-r>" + RUSSIAN,
            "cp1251",
        ),
        (RUSSIAN.encode("cp1251"), "", RUSSIAN, "cp1251"),
        (RUSSIAN.encode("cp1251"), "text/html; charset=no-such-thing", RUSSIAN, "cp1251"),
        ("渡轮七点离开港口".encode("gbk"), "text/html; charset=gb2312", "渡轮七点离开港口", "gbk"),
        (b"plain", "", "plain", "ascii"),
        (b"<meta charset='utf-16'>plain", "", "<meta charset='utf-16'>plain", "ascii"),
        (b"", "", "", "ascii"),
    ],
)
def test_encodings_in_their_order(body: bytes, content_type: str, text: str, charset: str | None) -> None:
    found = decode(body, content_type)
    assert found[0] == text
    assert charset is None or found[1] == charset


def test_bytes_that_are_no_text_are_read_all_the_same() -> None:
    text, charset = decode(bytes(range(256)) * 20, "text/html; charset=utf-8")
    assert text and charset


def test_a_broken_byte_costs_itself_and_not_the_page() -> None:
    body = GERMAN.encode() + b"K\xfcche, " + GERMAN.encode()
    for content_type in ("text/html", "text/html; charset=utf-8"):
        assert decode(body, content_type) == (f"{GERMAN}K\ufffdche, {GERMAN}", "utf-8")


SHORT, LONG = "a b" * 10, "word " * 100


@pytest.mark.parametrize(
    ("texts", "keep", "found"),
    [
        ({"a": SHORT}, "first", (SHORT, "a")),
        ({"a": None}, "first", (None, None)),
        ({"a": SHORT, "b": LONG}, "first", (LONG, "b")),
        ({"a": LONG, "b": LONG + "!"}, "first", (LONG, "a")),
        ({"a": LONG, "b": LONG + "!"}, "longest", (LONG + "!", "b")),
        ({"a": LONG + "!", "b": LONG + "?"}, "longest", (LONG + "!", "a")),
        ({"a": SHORT, "b": SHORT + "!"}, "first", (SHORT + "!", "b")),
        ({"a": None, "b": SHORT}, "longest", (SHORT, "b")),
        ({"a": " " * 999, "b": None}, "first", (" " * 999, "a")),
        ({"a": None, "b": None}, "longest", (None, None)),
    ],
)
def test_of_several_extractors_the_first_or_longest_text_that_is_long_enough_is_taken(
    texts: dict[str, str | None], keep: str, found: tuple[str | None, str | None]
) -> None:
    extractors = {name: (lambda page, text=text: text) for name, text in texts.items()}
    assert chosen("page", extractors, keep, 250) == found


def test_later_extractors_are_not_asked_once_there_is_a_text() -> None:
    asked: list[str] = []
    extractors = {name: (lambda page, name=name: asked.append(name) or LONG) for name in "ab"}
    chosen("page", extractors, "first", 250)
    assert asked == ["a"]
