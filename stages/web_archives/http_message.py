"""A server's answer as a crawl keeps it: status, headers, and the body with its transfer and content encodings undone."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

MAX_HEAD = 1 << 18
"""Bytes of an answer's headers."""
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})(?: [^\n]*)?\r?$")


@dataclass(frozen=True)
class Response:
    """An answer. `headers` has the first value of each name, `fields` all of them in order. `body` is None where its
    encodings cannot be undone within the limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None
    fields: Sequence[tuple[str, str]] = ()


def parsed_response(content: bytes, limit: int, plain: bool = False) -> Response | None:
    """The answer in a record's content, or None when there is none.

    Args:
        limit: bytes of a decoded body.
        plain: it is a plain text, of which a beginning is of use: a longer body is cut, and one that is text already is taken
            as it is, whatever encoding is stated.
    """
    head_end, begin = _head(content)
    lines = content[:head_end].split(b"\n")
    status = _STATUS.match(lines[0])
    if status is None:
        return None
    fields: list[tuple[str, str]] = []
    for line in lines[1:]:
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if colon:
            fields.append((name.strip().lower(), value.strip()))
    headers = dict(reversed(fields))
    body: bytes | None = content[begin:]
    # Common Crawl undoes the encodings and says so under other names.
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _dechunked(content[begin:])
    for coding in reversed([part.strip().lower() for part in headers.get("content-encoding", "").split(",")]):
        body = None if body is None else _decoded(body, coding, limit, plain)
    return Response(int(status[1]), headers, body, fields)


def body_of(content: bytes) -> bytes:
    """What follows the headers of an answer, as it was kept."""
    return content[_head(content)[1] :]


def _head(content: bytes) -> tuple[int, int]:
    """Where the headers end and where the body begins."""
    first = content.find(b"\r\n\r\n", 0, MAX_HEAD)
    bare = content.find(b"\n\n", 0, MAX_HEAD if first < 0 else first)  # only where it comes before
    if bare >= 0:
        return bare, bare + 2
    return (first, first + 4) if first >= 0 else (len(content), len(content))


def _dechunked(body: bytes) -> bytes:
    """The body without chunk lengths; as it is where it has none, since many crawlers undo the chunks and keep the header."""
    parts: list[bytes] = []
    place = 0
    while True:
        line_end = body.find(b"\n", place, place + 1024)
        size = body[place : max(line_end, place)].split(b";")[0].strip()
        if line_end < 0 or not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size):
            return b"".join(parts) if parts and place >= len(body) else body
        length = int(size, 16)
        if length == 0:
            return b"".join(parts)
        parts.append(body[line_end + 1 : line_end + 1 + length])
        place = line_end + 1 + length
        place += 2 if body[place : place + 2] == b"\r\n" else 1 if body[place : place + 1] == b"\n" else 0


def _decoded(body: bytes, coding: str, limit: int, plain: bool) -> bytes | None:
    """The body with one content encoding undone; as it is where it does not have it, None where that fails."""
    if coding in ("", "identity", "none") or not body:
        return body
    data = _inflated(body, coding, limit)
    if data is None:
        return body if plain and _is_text(body) else None
    return data if len(data) <= limit else data[:limit] if plain else None


def _inflated(body: bytes, coding: str, limit: int) -> bytes | None:
    """Up to `limit` + 1 bytes of the decoded body."""
    if coding in ("gzip", "x-gzip", "deflate"):
        if coding != "deflate" and not body.startswith(b"\x1f\x8b"):
            return body
        for wbits in (31,) if coding != "deflate" else (15, -15):
            inflater = zlib.decompressobj(wbits=wbits)
            try:
                return inflater.decompress(body, limit + 1)
            except zlib.error:
                continue
        return body if coding == "deflate" and body.lstrip()[:1] == b"<" else None
    if coding in ("br", "zstd"):
        if body.lstrip()[:1] == b"<":
            return body
        try:
            with pa.CompressedInputStream(io.BytesIO(body), "brotli" if coding == "br" else "zstd") as stream:
                return bytes(stream.read(limit + 1))
        except (OSError, pa.ArrowException):
            return None
    return None


def _is_text(body: bytes) -> bool:
    try:
        text = body[:4096].decode("utf-8")
    except UnicodeDecodeError as error:
        text = "" if error.start < min(len(body), 4096) - 3 else body[: error.start].decode("utf-8")
    return text != "" and "\0" not in text
