"""The quick cut through HTML, charsets, and what pages declare."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from gristmill.pipeline.errors import ContractError
from gristmill.stages.pages.text import Cut, cut_pages, header_charset, payload_buffers

LONG = "a sentence of more than sixty bytes, so that it is taken for content and not a menu"


def cut(pages: list[bytes | None], headers: list[str | None] | None = None, most: int = 4096) -> Cut:
    return cut_pages(pa.array(pages, pa.large_binary()), "html", headers or [None] * len(pages), most)


def text(page: str | bytes, header: str | None = None, most: int = 4096) -> str:
    found: str = cut([page.encode() if isinstance(page, str) else page], [header], most).texts[0].as_py()
    return found


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<p>one <b>t</b>wo&amp;\n three</p><p>four", "one two& three\nfour\n"),
        ("<style>p {}</style>a<script>if (1 < 2) '<p>x</p>'</SCRIPT >b<!-- <p>c -->d", "a\nbd\n"),
        ("<script>never closed <p>x", ""),
        ("<a title='x > y'>in</a><a href=x>side", "inside\n"),
        ("1 < 2 and 3 <> 4", "1 < 2 and 3 <> 4\n"),
        ("<!DOCTYPE html><?xml version='1.0'?>text<", "text<\n"),
        ("<nav>menu</nav><select><option>x</select>y<textareas>z</textareas>", "y\nz\n"),
        ("<", "<\n"),
        ("</", ""),
        ("<p", ""),
        ("", ""),
    ],
)
def test_text_is_what_stands_outside_tags_scripts_and_styles(page: str, expected: str) -> None:
    assert text(page) == expected


def test_long_blocks_are_taken_alone_where_there_are_enough() -> None:
    page = "<li>menu</li>" + f"<p>{LONG}</p><li>more</li>" * 4
    assert text(page) == f"{LONG}\n" * 4
    assert text("<li>menu</li>" + f"<p>{LONG}</p>").splitlines() == [LONG, "menu"]


def test_no_more_text_is_taken_than_asked_for_and_whole_characters_only() -> None:
    found = text("<p>" + "\u00fc\u20ac" * 5000, most=1000)
    assert 990 < len(found.encode()) <= 1001 and set(found) == {"\u00fc", "\u20ac", "\n"}


@pytest.mark.parametrize(
    ("page", "header", "expected"),
    [
        ("<p>sch\u00f6n".encode("latin-1"), "text/html; charset=ISO-8859-1", "sch\u00f6n\n"),
        ("<p>\u201esch\u00f6n\u201c".encode("cp1252"), "text/html; charset=ISO-8859-1", "\u201esch\u00f6n\u201c\n"),
        ("<p>sch\u00f6n".encode("latin-1"), None, "sch\u00f6n\n"),
        (b"<meta charset='windows-1251'><p>" + "\u043c\u0438\u0440".encode("cp1251"), None, "\u043c\u0438\u0440\n"),
        (b'<META content="text/html; charset=koi8-r" http-equiv=Content-Type><p>' + "\u043c\u0438\u0440".encode("koi8-r"),
         "text/html", "\u043c\u0438\u0440\n"),
        ("<p>sch\u00f6n".encode(), "text/html; charset=nonsense", "sch\u00f6n\n"),
        ("<p>\u65e5\u672c".encode("shift_jis"), "text/html; charset=Shift_JIS", "\u65e5\u672c\n"),
        ("<p>\u65e5\u672c</p>".encode("iso2022_jp"), "text/html; charset=iso-2022-jp", "\u65e5\u672c\n"),
        ("\ufeff<p>sch\u00f6n".encode("utf-16-le"), None, "\ufeff\nsch\u00f6n\n"),
        (b"<p>&uuml;&#252;&#xfc;", None, "\u00fc\u00fc\u00fc\n"),
    ],
)  # fmt: skip
def test_charsets_come_from_marks_headers_and_pages(page: bytes, header: str | None, expected: str) -> None:
    assert text(page, header) == expected


@pytest.mark.parametrize(
    ("page", "language"),
    [
        ('<html class=x lang="en-US">', "en-us"),
        ("<HTML XML:LANG=pt_BR >", "pt-br"),
        ("<html lang=''><meta http-equiv='Content-Language' content='de, fr'>", "de"),
        ("<meta content=fr_FR property=og:locale>", "fr-fr"),
        ("<meta name=description content=fr>", None),
        ("<html lang='{{ lang }}'>", None),
        ("<body lang=en>", None),
        ("<!-- <html lang=en> -->", None),
    ],
)
def test_a_page_declares_its_language(page: str, language: str | None) -> None:
    assert cut([page.encode()]).languages.to_pylist() == [language]


def test_pages_may_be_text_and_rows_may_be_null_or_sliced() -> None:
    column = pa.array(["<p>x", None, "<html lang=de><p>sch\u00f6n"])
    found = cut_pages(column.slice(1), "html", [None, "text/html; charset=koi8-r"], 4096)
    assert found.texts.to_pylist() == ["", "sch\u00f6n\n"] and found.languages.to_pylist() == [None, "de"]
    assert cut([]).texts.to_pylist() == []
    with pytest.raises(ContractError, match="the column `html` is int64; expected pages as text or bytes"):
        payload_buffers(pa.array([1]), "html")


def test_any_bytes_are_cut_within_their_bounds() -> None:
    draw = random.Random(3)
    parts = [b"<", b">", b"</", b"<!--", b"-->", b"<script", b"<html lang=", b"<meta content=x http-equiv=content-type",
             b"'", b'"', b"=", b"/", b" ", b"\xff", b"\xc3", b"text", b"<p>", b"&#", b"&amp", b"\n",
             b"\x00", b"<textarea>"]  # fmt: skip
    pages: list[bytes | None] = [b"".join(draw.choices(parts, k=draw.randrange(40))) for _ in range(5000)]
    headers = [draw.choice([None, "text/html; charset=utf-16", "text/html; charset=hz", "charset=big5"]) for _ in pages]
    found = cut(pages, headers, most=256)
    assert len(found.texts) == 5000 and all(len(one) <= 4 * 514 for one in found.texts.to_pylist())


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("text/html; charset=UTF8", "utf-8"),
        ('text/html;CHARSET = "utf-8"', "utf-8"),
        ("text/html; charset=latin1", "cp1252"),
        ("text/html; charset=base64", None),
        ("text/html; charset=unicode_escape", None),
        ("text/html; charset=\x00", None),
        ("text/html", None),
        (None, None),
    ],
)
def test_headers_name_charsets(header: str | None, expected: str | None) -> None:
    assert header_charset(header) == expected
