"""Payload columns of pages as buffers, their charsets, and their text by the quick cut of `kernels.markup`."""

from __future__ import annotations

import codecs
import html
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import TEXT_TYPE, one_chunk, text_buffers
from gristmill.pipeline.errors import ContractError
from gristmill.stages.pages.kernels.markup import (
    CHARSET,
    CONTENT_LANGUAGE,
    CONTENT_TYPE,
    DECLARED,
    HTML_LANG,
    OG_LOCALE,
    cut,
    tag_names,
)

CONTENT_TYPE_COLUMN = "http_content_type"
"""The column of a source with the Content-Type of the response, for the charset."""
_LONGEST = 100
"""Bytes of a declaration that are looked at."""
LONG_BLOCK = 60
"""Bytes from which a block of text is more likely content than a menu."""
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';,]{1,40})", re.IGNORECASE)
_NOT_TEXT = {
    "base64",
    "bz2",
    "hex",
    "quopri",
    "rot13",
    "uu",
    "zlib",
    "idna",
    "punycode",
    "undefined",
    "raw-unicode-escape",
}
_SUPERSETS = {"ascii": "cp1252", "iso8859-1": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "iso8859-9": "cp1254"}
"""What browsers read instead of a charset that is named (WHATWG's Encoding standard)."""
_WIDE = ("utf-16", "utf-32", "iso2022", "hz", "utf-7", "cp037", "cp500")
"""Charsets in which `<` is not the byte 0x3C, or that byte not always `<`."""


def header_charset(content_type: str | None) -> str | None:
    """The charset that a Content-Type names, in one spelling; None where it names none that is known.

    >>> header_charset('text/html; charset="UTF8"'), header_charset("text/html")
    ('utf-8', None)
    """
    found = _CHARSET.search(content_type or "")
    return None if found is None else known_charset(found.group(1))


def known_charset(name: str) -> str | None:
    """A charset's name in one spelling, and as browsers read it; None for what is none."""
    try:
        found = codecs.lookup(name.strip()).name
    except (LookupError, ValueError):
        return None
    return None if found in _NOT_TEXT or "escape" in found else _SUPERSETS.get(found, found)


@dataclass(frozen=True)
class Cut:
    """Pages by the quick cut.

    Attributes:
        texts: large_string: blocks of text, a line each.
        languages: string: the language that a page declares for itself (`<html lang>`, else `content-language`, else
            `og:locale`), in lower case with `-`; null for none.
    """

    texts: pa.Array
    languages: pa.Array


def payload_buffers(column: pa.ChunkedArray | pa.Array, name: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """(data, offsets, whether the column is text and so UTF-8): uint8 and int64[rows + 1]; null rows are empty.

    Raises ContractError for a column that is neither text nor bytes.
    """
    array = one_chunk(column)
    kind = array.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not is_text and not pa.types.is_binary(kind) and not pa.types.is_large_binary(kind):
        raise ContractError(f"the column `{name}` is {kind}; expected pages as text or bytes")
    wide = array.cast(TEXT_TYPE) if is_text else array.cast(pa.large_binary()).view(TEXT_TYPE)
    if wide.null_count:
        wide = wide.fill_null("")
    return (*text_buffers(wide), is_text)


def cut_pages(column: pa.ChunkedArray | pa.Array, name: str, content_types: list[str | None], most: int) -> Cut:
    """The text of pages, at most about `most` bytes of each, and the languages that they declare.

    `content_types` are the headers' Content-Type. The charset is that of a byte order mark, the header, the page, UTF-8 where
    the text is, else windows-1252.
    """
    data, offsets, is_text = payload_buffers(column, name)
    headers = [None if is_text else header_charset(value) for value in content_types]
    data, offsets, headers = _with_ascii(data, offsets, headers, is_text)
    rows = len(offsets) - 1
    room = np.minimum(2 * np.diff(offsets) + 2, 2 * (most + 1)).sum() if rows else 0
    out, out_offsets = np.empty(int(room) + 1, np.uint8), np.zeros(rows + 1, np.int64)
    declared = np.full((rows, DECLARED, 2), -1, np.int64)
    cut(data, offsets, *tag_names(), LONG_BLOCK, most, out, out_offsets, declared)

    places, ends = declared.tolist(), out_offsets.tolist()
    content = out[: out_offsets[-1]].tobytes()
    found: dict[bytes, str | None] = {}

    def said(row: int, what: int) -> bytes:
        start, end = places[row][what]
        return b"" if start < 0 else data[start : min(end, start + _LONGEST)].tobytes()

    texts, languages = [], []
    for row in range(rows):
        charset = "utf-8" if is_text else headers[row]
        if charset is None:
            key = said(row, CHARSET) + b";charset=" + said(row, CONTENT_TYPE)
            if key not in found:
                found[key] = _declared_charset(said(row, CHARSET), said(row, CONTENT_TYPE))
            charset = found[key]
        texts.append(_decoded(content[ends[row] : ends[row + 1]], charset))
        declarations = (said(row, what) for what in (HTML_LANG, CONTENT_LANGUAGE, OG_LOCALE))
        languages.append(next((tag for one in declarations if (tag := _language(one.decode("latin-1")))), None))
    return Cut(pa.array(texts, TEXT_TYPE), pa.array(languages, pa.string()))


def _declared_charset(charset: bytes, content_type: bytes) -> str | None:
    return known_charset(charset.decode("latin-1")) or header_charset(content_type.decode("latin-1"))


def _decoded(text: bytes, charset: str | None) -> str:
    if charset is None or charset.startswith(_WIDE):  # A wide one that the page itself names cannot be right.
        try:
            found = text.decode("utf-8")
        except UnicodeDecodeError as error:
            # The cut may have ended inside a character, before its newline.
            whole = error.start >= len(text.rstrip(b"\n")) - 3 and text[error.start] >= 0xC2 and error.start >= _LONGEST
            found = text.decode("utf-8" if whole else "cp1252", "ignore")
    else:
        found = text.decode(charset, "ignore")
    return html.unescape(found) if "&" in found else found


@lru_cache(4096)
def _language(declared: str) -> str | None:
    """A language tag in one spelling; None for what is none.

    >>> _language("pt_BR"), _language("en, fr"), _language("{{ lang }}")
    ('pt-br', 'en', None)
    """
    match = re.match(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8})*(?![A-Za-z0-9])", declared.strip())
    return match.group().lower().replace("_", "-") if match else None


def _with_ascii(
    data: np.ndarray, offsets: np.ndarray, headers: list[str | None], is_text: bool
) -> tuple[np.ndarray, np.ndarray, list[str | None]]:
    """Pages in charsets that have ASCII's characters as other bytes, in UTF-8; the others as they are."""
    if is_text:
        return data, offsets, headers
    pages: dict[int, bytes] = {}
    headers = list(headers)
    for row, header in enumerate(headers):
        start = data[offsets[row] : offsets[row] + 3].tobytes() if offsets[row + 1] > offsets[row] else b""
        marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
        charset = marked or header
        if charset is not None and charset.startswith(_WIDE):
            whole = data[offsets[row] : offsets[row + 1]].tobytes()
            pages[row] = whole.decode(charset, "ignore").encode("utf-8", "ignore")
            charset = "utf-8"
        headers[row] = charset
    if not pages:
        return data, offsets, headers
    every = [
        pages[row] if row in pages else data[offsets[row] : offsets[row + 1]].tobytes() for row in range(len(headers))
    ]
    joined = np.frombuffer(b"".join(every), np.uint8)
    return joined, np.concatenate([[0], np.cumsum([len(page) for page in every])]).astype(np.int64), headers
