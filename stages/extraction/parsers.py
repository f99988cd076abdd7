"""The extractors, as they run in a parser process: bytes are decoded, and one or several libraries look for the main text.

Loaded by its path in a process that has nothing of Gristmill (see pipeline.parser_child): it imports the parsers alone.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

Extractor = Callable[[str], "str | None"]

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_META = re.compile(rb"""<meta[^>]{0,400}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_HEADER = re.compile(r"""charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
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


def make(settings: Mapping[str, Any]) -> Callable[[bytes, bytes], bytes]:
    """The function that a parser process answers pages with: a line of JSON (`charset`, `extractor`), then the text."""
    extractors = {name: EXTRACTORS[name]() for name in settings["extractors"]}
    keep, least = settings["keep"], settings["least_characters"]

    def parse(note: bytes, body: bytes) -> bytes:
        page, charset = decode(body, note.decode("utf-8", "replace"))
        text, name = chosen(page, extractors, keep, least)
        head = json.dumps({"charset": charset, "extractor": name}).encode()
        return head + b"\n" + ("" if text is None else text).encode("utf-8", "replace")

    return parse
