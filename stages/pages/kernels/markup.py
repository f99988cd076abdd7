"""A quick cut through HTML: the text outside tags, scripts and styles, and where the page says its language and charset.

This is no parser and needs none: it says nothing of what is content. One pass over bytes in any encoding that has ASCII's
characters as ASCII has them; work is linear in the bytes of the page whatever they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from gristmill.stages.kernels.pointers import pointer
from gristmill.stages.kernels.scalars import Bool, Int

HTML_LANG, CONTENT_LANGUAGE, OG_LOCALE, CHARSET, CONTENT_TYPE = 0, 1, 2, 3, 4
"""What a page may declare: rows of `declared` in `cut`; the first of each kind counts."""
DECLARED = 5

_NAMES = (
    # What ends a block of text is every tag but these.
    b"a abbr acronym b bdi bdo big cite code dfn em font i ins kbd mark q s samp small span strong sub sup tt u var wbr",
    # Their content is no text.
    b"script style noscript template svg math iframe object title select textarea button nav footer",
)
INLINE, SKIPPED, HTML, META = 1, 2, 3, 4


def _word(name: bytes) -> int:
    return int.from_bytes(name.ljust(8, b"\0")[:8], "little")


def tag_names() -> tuple[np.ndarray, np.ndarray]:
    """Names of tags as uint64 (their first eight letters), sorted, and what each is (uint8)."""
    kinds = {_word(name): kind for kind, names in zip((INLINE, SKIPPED), _NAMES, strict=True) for name in names.split()}
    kinds |= {_word(b"html"): HTML, _word(b"meta"): META}
    return np.array(sorted(kinds), np.uint64), np.array([kinds[name] for name in sorted(kinds)], np.uint8)


@njit(nogil=True)
def _lower(byte: np.uint8) -> np.uint8:
    return byte + np.uint8(32) if byte >= 65 and byte <= 90 else byte


@njit(nogil=True)
def _is_space(byte: np.uint8) -> Bool:
    return byte == 32 or (byte >= 9 and byte <= 13)


@njit(nogil=True)
def _is_letter(byte: np.uint8) -> Bool:
    return (byte | 32) >= 97 and (byte | 32) <= 122 and byte < 128


@njit(nogil=True)
def _name_end(data: Any, start: Int, end: Int) -> Int:
    i = start
    while i < end and not _is_space(data[i]) and data[i] != 62 and data[i] != 47:
        i += 1
    return i


@njit(nogil=True)
def _name_word(data: Any, start: Int, end: Int) -> np.uint64:
    word = np.uint64(0)
    for i in range(start, min(end, start + 8)):
        word |= np.uint64(_lower(data[i])) << np.uint64(8 * (i - start))
    return word


@njit(nogil=True)
def _equals(data: Any, start: Int, end: Int, name: Any) -> Bool:
    if end - start != len(name):
        return False
    for i in range(len(name)):
        if _lower(data[start + i]) != name[i]:
            return False
    return True


@njit(nogil=True)
def _closing(data: Any, start: Int, end: Int, name_at: Int, name_end: Int) -> Int:
    """The position of the next `</name`, or `end`."""
    length = name_end - name_at
    i = start
    while i + 2 + length <= end:
        if data[i] == 60 and data[i + 1] == 47:
            same = True
            for k in range(length):
                if _lower(data[i + 2 + k]) != _lower(data[name_at + k]):
                    same = False
                    break
            if same:
                return i
        i += 1
    return end


@njit(nogil=True)
def _attribute(data: Any, start: Int, end: Int) -> tuple[Int, Int, Int, Int, Int]:
    """The next attribute of a tag: (start of its name, its end, start of its value, its end, where to go on); a name without
    bytes at the tag's end, where `>` is."""
    i = start
    while i < end and (_is_space(data[i]) or data[i] == 47):
        i += 1
    name = i
    while i < end and not _is_space(data[i]) and data[i] != 61 and data[i] != 62 and (data[i] != 47 or i == name):
        i += 1
    name_end = i
    while i < end and _is_space(data[i]):
        i += 1
    if i >= end or data[i] != 61:
        return name, name_end, name_end, name_end, name_end if name_end > name else i
    if name == name_end:
        # A stray `=` is passed over.
        return i, i + 1, i + 1, i + 1, i + 1
    i += 1
    while i < end and _is_space(data[i]):
        i += 1
    if i < end and (data[i] == 34 or data[i] == 39):
        quote = data[i]
        value = i + 1
        i = value
        while i < end and data[i] != quote:
            i += 1
        return name, name_end, value, i, min(i + 1, end)
    value = i
    while i < end and not _is_space(data[i]) and data[i] != 62:
        i += 1
    return name, name_end, value, i, i


_LANG = np.frombuffer(b"lang", np.uint8)
_XML_LANG = np.frombuffer(b"xml:lang", np.uint8)
_HTTP_EQUIV = np.frombuffer(b"http-equiv", np.uint8)
_NAME = np.frombuffer(b"name", np.uint8)
_PROPERTY = np.frombuffer(b"property", np.uint8)
_CONTENT = np.frombuffer(b"content", np.uint8)
_CHARSET = np.frombuffer(b"charset", np.uint8)
_CONTENT_LANGUAGE = np.frombuffer(b"content-language", np.uint8)
_CONTENT_TYPE = np.frombuffer(b"content-type", np.uint8)
_OG_LOCALE = np.frombuffer(b"og:locale", np.uint8)


@njit(nogil=True)
def _tag(data: Any, start: Int, end: Int, kind: np.uint8, declared: Any, row: Int) -> Int:
    """Reads a tag's attributes and returns the position behind it; what `html` and `meta` declare goes into `declared`."""
    which = -1
    content: Int = np.int64(-1)
    content_end: Int = np.int64(-1)
    i: Int = start
    while i < end and data[i] != 62:
        name, name_end, value, value_end, after = _attribute(data, i, end)
        if kind == HTML and (_equals(data, name, name_end, _LANG) or _equals(data, name, name_end, _XML_LANG)):
            if declared[row, HTML_LANG, 0] < 0 and value_end > value:
                declared[row, HTML_LANG, 0], declared[row, HTML_LANG, 1] = value, value_end
        if kind == META:
            if _equals(data, name, name_end, _CHARSET) and declared[row, CHARSET, 0] < 0:
                declared[row, CHARSET, 0], declared[row, CHARSET, 1] = value, value_end
            elif _equals(data, name, name_end, _CONTENT):
                content, content_end = value, value_end
            elif (
                _equals(data, name, name_end, _HTTP_EQUIV)
                or _equals(data, name, name_end, _PROPERTY)
                or _equals(data, name, name_end, _NAME)
            ):
                if _equals(data, value, value_end, _CONTENT_LANGUAGE):
                    which = CONTENT_LANGUAGE
                elif _equals(data, value, value_end, _OG_LOCALE):
                    which = OG_LOCALE
                elif _equals(data, value, value_end, _CONTENT_TYPE):
                    which = CONTENT_TYPE
        i = max(after, i + 1)
    if which >= 0 and content_end > content and declared[row, which, 0] < 0:
        declared[row, which, 0], declared[row, which, 1] = content, content_end
    return min(i + 1, end)


@njit(cache=True, nogil=True)
def cut(
    data: np.ndarray,
    offsets: np.ndarray,
    names: np.ndarray,
    kinds: np.ndarray,
    least: int,
    most: int,
    out: np.ndarray,
    out_offsets: np.ndarray,
    declared: np.ndarray,
) -> None:
    """The text of pages, its long blocks first of all, and what the pages declare.

    Args:
        data, offsets: the pages: uint8, int64[rows + 1]. names, kinds: see `tag_names`.
        least, most: a block of text is long from `least` bytes on; of each page at most `most` bytes of text are taken. Where
            there are fewer than `4 * least` in long blocks, short ones are taken as well.
        out: uint8, for each page twice its bytes and 2, or 2 * (most + 1) where that is less; out_offsets: int64[rows + 1].
            Written here: the blocks, each ended by a newline.
        declared: int64 of shape (rows, DECLARED, 2), written here: start and end in `data` of what is declared; −1 for none.
    """
    short = np.empty(most + 1, np.uint8)
    at = np.int64(0)
    out_offsets[0] = 0
    for row in range(len(offsets) - 1):
        text, target, buffer = pointer(data), pointer(out), pointer(short)
        declared[row, :, :] = -1
        i, end = offsets[row], offsets[row + 1]
        begin, limit, kept = at, at + most, np.int64(0)
        block = at
        while i <= end:
            breaks = i == end
            if i < end and text[i] == 60 and i + 1 < end:
                follows = text[i + 1]
                if follows == 33 or follows == 63:
                    breaks = False
                    if i + 3 < end and text[i + 2] == 45 and text[i + 3] == 45:
                        i += 4
                        while i < end and not (text[i] == 62 and text[i - 1] == 45 and text[i - 2] == 45):
                            i += 1
                    while i < end and text[i] != 62:
                        i += 1
                    i = min(i + 1, end)
                elif follows == 47 or _is_letter(follows):
                    name = i + 2 if follows == 47 else i + 1
                    name_end = _name_end(text, name, end)
                    word = _name_word(text, name, name_end)
                    place = np.searchsorted(names, word)
                    kind = np.uint8(0)
                    if name_end - name <= 8 and place < len(names) and names[place] == word:
                        kind = kinds[place]
                    i = _tag(text, name_end, end, kind if follows != 47 else np.uint8(0), declared, row)
                    breaks = kind != INLINE
                    if kind == SKIPPED and follows != 47:
                        i = _closing(text, i, end, name, name_end)
                else:
                    if at < limit:
                        target[at] = text[i]
                        at += 1
                    i += 1
            elif i < end:
                byte = text[i]
                space = _is_space(byte)
                if at < limit and not (space and (at == block or target[at - 1] == 32)):
                    target[at] = np.uint8(32) if space else byte
                    at += 1
                i += 1
            if breaks:
                if at - block >= least:
                    target[at] = 10
                    at += 1
                    block = at
                else:
                    for k in range(block, at):
                        if kept < most:
                            buffer[kept] = target[k]
                            kept += 1
                    if at > block and kept < most:
                        buffer[kept] = 10
                        kept += 1
                    at = block
                if at >= limit:
                    # Enough text; the head, which declares, is behind.
                    break
                if i >= end:
                    break
        if at - begin < 4 * least:
            for k in range(kept):
                target[at] = buffer[k]
                at += 1
        out_offsets[row + 1] = at
