"""The extractors, as they run in a parser process: bytes are decoded, and one or several libraries look for the main text.

Loaded by its path in a process that has nothing of Gristmill (see pipeline.parser_child): it imports the parsers alone.
"""

from __future__ import annotations

import codecs
import html
import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

Extractor = Callable[[str], "str | None"]

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_META = re.compile(rb"""<meta[^>]{0,400}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_HEADER = re.compile(r"""charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_BLOCK = re.compile(r"<(/?)([Tt][Rr]|[Tt][Aa][Bb][Ll][Ee]|[Pp][Rr][Ee]|[Mm][Aa][Tt][Hh])(?=[\s/>])[^<>]*>")
_CELL = re.compile(r"<t[dh](?=[\s/>])[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_RULED = re.compile(r"\|[-| ]*\|\s*")
_DELIMITERS = (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"))
_LOOKED_AT = 10_000
_MISSED = 100
"""Formulas that are looked for in a text, and those that are not found there before the others are left: a bound on time."""
_META_BYTES = 4096
"""How far into a page a `meta` is looked for."""


def decode(body: bytes, content_type: str) -> tuple[str, str]:
    """A page's text, and the name of the encoding that it was read in, which is the first of these that fits:

    1. that of a byte-order mark;
    2. UTF-8, where all bytes are valid UTF-8 and not all are ASCII: other encodings do not look like it;
    3. that of the HTTP header (`content_type`), then that of the page's `meta`, as the WHATWG maps their names, where all
       bytes are valid in it;
    4. ASCII;
    5. what resiliparse (uchardet) detects; bytes that are not valid in it become U+FFFD.
    """
    for mark, name in _MARKS:
        if body.startswith(mark):
            return body.decode(name, "replace"), name.removesuffix("-sig")
    try:
        text: str | None = body.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    if text is not None and not text.isascii():
        return text, "utf-8"
    header = _HEADER.search(content_type)
    meta = _META.search(body, 0, _META_BYTES)
    for label in (header and header[1], meta and meta[1].decode("ascii")):
        stated = map_encoding_to_html5(label, fallback_utf8=False) if label else None
        # A meta that could be read as ASCII is no UTF-16, whatever it says.
        if stated and not stated.lower().startswith("utf-16"):
            try:
                return body.decode(stated), stated.lower()
            except (UnicodeDecodeError, LookupError):
                continue
    if text is not None:
        return text, "ascii"
    found = str(detect_encoding(body))
    try:
        # Not resiliparse's bytes_to_str: for one broken byte in UTF-8 that reads the whole page as Windows-1252.
        return body.decode(found, "replace"), found.lower()
    except LookupError:  # a name that Python does not have
        return bytes_to_str(body, found, errors="replace"), found.lower()


def trafilatura() -> Extractor:
    """trafilatura as FineWeb uses it: precision first, tables, no comments, repeated paragraphs left out. The library keeps
    one list of paragraphs for all pages of a process; here each page has its own, as in a process of its own."""
    from trafilatura import extract
    from trafilatura.deduplication import LRUCache
    from trafilatura.settings import LRU_SIZE

    def extracted(page: str) -> str | None:
        found: str | None = extract(
            page,
            favor_precision=True,
            include_comments=False,
            include_tables=True,
            deduplicate=LRUCache(maxsize=LRU_SIZE),
        )
        return found

    return extracted


def resiliparse() -> Extractor:
    """resiliparse's main content, with paragraphs and lists, without comments and alternative texts."""
    from resiliparse.extract.html2text import extract_plain_text

    def extracted(page: str) -> str | None:
        found: str = extract_plain_text(
            page, main_content=True, preserve_formatting=True, alt_texts=False, comments=False
        )
        return found

    return extracted


EXTRACTORS: Mapping[str, Callable[[], Extractor]] = {"trafilatura": trafilatura, "resiliparse": resiliparse}


def characters(text: str) -> int:
    """Characters of a text without white space."""
    return len("".join(text.split()))


def chosen(page: str, extractors: Mapping[str, Extractor], keep: str, least: int) -> tuple[str | None, str | None]:
    """A page's text and the name of the extractor that found it.

    Of one extractor: what it finds. Of several: `first` takes the first text with at least `least` characters, and asks the
    next only where there is none yet; `longest` asks all and takes the longest of those, of equally long ones the first.
    Where no text has as many, the longest is taken, so that later nodes judge it.
    """
    found: list[tuple[int, str, str]] = []
    for name, extract in extractors.items():
        text = extract(page)
        if text is None:
            continue
        size = characters(text) if len(extractors) > 1 else 0
        if keep == "first" and size >= least and size:
            return text, name
        found.append((size, text, name))
    best = max(found, key=lambda one: one[0], default=None)
    return (None, None) if best is None else (best[1], best[2])


def visible(text: str) -> str:
    """The characters of a text, without white space and the bars that rows of tables get."""
    return "".join(text.split()).replace("|", "")


def plain(text: str) -> str:
    """The same in the one form (NFC) in which texts are compared with pages."""
    return composed(visible(text))


def composed(text: str) -> str:
    """A text in NFC."""
    return text if text.isascii() or unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def without_tags(markup: str) -> str:
    """The characters of a piece of a page, as of a text."""
    text = _TAG.sub(" ", markup) if "<" in markup else markup
    return plain(html.unescape(text) if "&" in text else text)


class Blocks:
    """What stands in a page's tables, code and formulas (see `plain`).

    Attributes:
        rows: innermost rows of two cells or more, and their cells; `row_characters` of the rows.
        code: lines of `pre`; `code_characters` of all.
        formulas: `math` elements, in the order of the page.
    """

    def __init__(self) -> None:
        self.rows: set[str] = set()
        self.code: set[str] = set()
        self.formulas: list[str] = []
        self.row_characters = self.code_characters = 0

    def add(self, name: str, markup: str) -> None:
        """Takes the markup within an element."""
        if name == "tr":
            pieces = _CELL.split(markup)[1:]
            if len(pieces) > 1:
                cells = list(map(without_tags, pieces))
                row = "".join(cells)
                self.rows.update((row, *cells))
                self.row_characters += len(row)
        elif name == "pre":
            lines = [without_tags(line) for line in markup.splitlines()]
            self.code.update(lines)
            self.code_characters += sum(map(len, lines))
        elif formula := without_tags(markup):
            self.formulas.append(formula)


def blocks_of(page: str) -> Blocks:
    """The tables, code and formulas of a page, in one pass over its markup: no text is looked at twice, however tags nest."""
    found = Blocks()
    name, start, formula = "", 0, -1
    for match in _BLOCK.finditer(page):
        closes, tag = bool(match[1]), match[2].lower()
        if name == "pre" and not (closes and tag == "pre"):
            continue  # code may hold what looks like a table
        if tag == "math":
            if closes and formula >= 0:
                found.add("math", page[formula : match.start()])
            formula = -1 if closes else match.end()
            continue
        if name:
            found.add(name, page[start : match.start()])
        name, start = ("" if closes or tag == "table" else tag), match.end()
    return found


def markup_of_blocks(page: str, body: bytes, charset: str, begin: int, end: int) -> str:
    """The part of a page in which its blocks are: of its text, the bytes from `begin` to `end`; all of it where an encoding
    does not let a part be read alone."""
    if begin == end:
        return ""
    if len(page) == len(body):  # a byte for each character
        return page[begin:end]
    return body[begin:end].decode("utf-8", "replace") if charset == "utf-8" else page


def kinds_of_characters(markup: str, text: str) -> list[int]:
    """Characters, white space and bars not counted: of a text's tables, code and formulas; of the page's, whatever became of
    them; and of lines that the extractor put under the heads of tables. `markup`: the part of the page with its blocks.

    A line is of a table or of code when it has the characters of a row, a cell or a line of code of the page: what an
    extractor put together otherwise counts as prose. Formulas are what stands between TeX's delimiters within 1,000
    characters, and the texts of `math` elements, in their order.
    """
    found = blocks_of(markup)
    found.rows.discard("")
    found.code.discard("")
    tables = code = own = 0
    for line in text.splitlines() if found.rows or found.code else ():
        characters = visible(line)
        compared = composed(characters)
        if compared in found.rows:
            tables += len(characters)
        elif compared in found.code:
            code += len(characters)
        elif line[:1] == "|" and _RULED.fullmatch(line):
            own += len(characters)
    formulas = _between_delimiters(text)
    if found.formulas:
        formulas += _in_order(plain(text), found.formulas)
    in_page = sum(map(len, found.formulas))
    return [tables, code, formulas, found.row_characters, found.code_characters, in_page, own]


def _between_delimiters(text: str) -> int:
    characters = 0
    if "\\" not in text and "$$" not in text:  # several times as fast as to look for each
        return characters
    for opening, closing in _DELIMITERS:
        place, left = text.find(opening), _LOOKED_AT
        while place >= 0 and left:
            begin = place + len(opening)
            end = text.find(closing, begin, begin + 1000)
            characters += len(visible(text[begin:end])) if end >= 0 else 0
            place, left = text.find(opening, begin if end < 0 else end + len(closing)), left - 1
    return characters


def _in_order(text: str, pieces: Sequence[str]) -> int:
    """Characters of the pieces that stand in a text one after another."""
    characters = place = missed = 0
    for piece in pieces:
        here = text.find(piece, place)
        if here >= 0:
            characters, place = characters + len(piece), here + len(piece)
        elif (missed := missed + 1) == _MISSED:
            break
    return characters


def make(settings: Mapping[str, Any]) -> Callable[[bytes, bytes], bytes]:
    """The function that a parser process answers pages with: a line of JSON (`charset`, `extractor`, `kinds` as of
    `kinds_of_characters`), then the text. A page's note is a line with the places between which its blocks lie, then the
    value of its HTTP header."""
    extractors = {name: EXTRACTORS[name]() for name in settings["extractors"]}
    keep, least, counts = settings["keep"], settings["least_characters"], settings["kinds"]

    def parse(note: bytes, body: bytes) -> bytes:
        span, _, header = note.partition(b"\n")
        begin, end = map(int, span.split())
        page, charset = decode(body, header.decode("utf-8", "replace"))
        text, name = chosen(page, extractors, keep, least)
        kinds = None
        if text is not None and counts:
            kinds = kinds_of_characters(markup_of_blocks(page, body, charset, begin, end), text)
        head = json.dumps({"charset": charset, "extractor": name, "kinds": kinds}).encode()
        return head + b"\n" + ("" if text is None else text).encode("utf-8", "replace")

    return parse
