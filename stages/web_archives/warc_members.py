"""Records of WARC files as they are stored: where each begins and ends, and what it holds, within bounds.

A `.warc.gz` has one gzip member per record. Where a member ends is known only by inflating it, so a file is walked from its
beginning, or from a place where an earlier walk found one to begin; bytes that look like a member's beginning prove nothing,
since pages hold gzip members too. Where a member is damaged, reading goes on at the first candidate whose sound members
follow each other without a gap to a place that the damaged one cannot reach (its header says how long it is), or to the end of
the file: members inside a page end within it. A plain `.warc` has no such places, so what follows damage is set aside with it.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

GZIP = b"\x1f\x8b\x08"
CHUNK = 1 << 18
MAX_HEADER = 1 << 18
"""Bytes of a record's WARC header."""
RESYNC_BYTES = 2 << 30
"""Bytes that are inflated at most in a file in order to find where reading may go on."""


@dataclass(frozen=True)
class Stored:
    """A stored record, or a stretch of a file that is none.

    Attributes:
        offset, length: where it lies in the file.
        body: header and content, uncompressed; at most the bytes that were asked for.
        size: how many there are; more than `body` has where it is too large.
        problem, detail: why this is no record; empty for one that is.
    """

    offset: int
    length: int
    body: bytes
    size: int
    problem: str = ""
    detail: str = ""


@dataclass(frozen=True)
class _Member:
    end: int
    body: bytes
    size: int
    problem: str = ""
    detail: str = ""


def stored_records(stream: Any, file_size: int, start: int, keep: int, most: int) -> Iterator[Stored]:
    """The records from `start` on, where one begins.

    Args:
        stream: the seekable file.
        keep: bytes of a record that are handed on.
        most: bytes to which a record may inflate; one that goes on is set aside.
    """
    stream.seek(0)
    if stream.read(5) == b"WARC/":
        yield from _plain(stream, file_size, start, keep)
    else:
        yield from _members(stream, file_size, start, keep, most)  # also where its very first bytes are damaged


def _members(stream: Any, file_size: int, start: int, keep: int, most: int) -> Iterator[Stored]:
    offset = start
    budget = [RESYNC_BYTES]
    while offset < file_size:
        member = inflated(stream, offset, keep, most)
        if not member.problem:
            yield Stored(offset, member.end - offset, member.body, member.size)
            offset = member.end
            continue
        stop = _next_sound(stream, offset, file_size, most, budget)
        yield Stored(offset, stop - offset, b"", 0, member.problem, member.detail)
        offset = stop


def inflated(stream: Any, offset: int, keep: int, most: int, step: int = CHUNK) -> _Member:
    """The member at an offset, inflated in pieces, so that no more is held than is kept."""
    stream.seek(offset)
    inflater = zlib.decompressobj(wbits=31)
    parts: list[bytes] = []
    held = size = read = 0
    piece = b""
    while not inflater.eof:
        if not piece:
            piece = stream.read(step)
            if not piece:
                return _Member(
                    offset + read, b"".join(parts), size, "truncated_record", "the file ends within a record"
                )
            if not read and not piece.startswith(GZIP[: len(piece)]):
                return _Member(offset, b"", 0, "no_gzip_member", f"expected a gzip member, found {piece[:4].hex()}")
            read += len(piece)
        try:
            data = inflater.decompress(piece, CHUNK)
        except zlib.error as error:
            return _Member(offset, b"".join(parts), size, "corrupt_gzip_member", str(error))
        piece = inflater.unconsumed_tail
        size += len(data)
        if held < keep:
            parts.append(data[: keep - held])
            held += len(parts[-1])
        if size > most:
            return _Member(offset, b"".join(parts), size, "gzip_bomb", f"a record of more than {most:,} bytes")
    return _Member(offset + read - len(inflater.unused_data), b"".join(parts), size)


def _next_sound(stream: Any, offset: int, file_size: int, most: int, budget: list[int]) -> int:
    """Where the next record begins beyond doubt after a damaged member, or the end of the file."""
    reach = _reach(stream, offset, file_size, most)
    ends: dict[int, bool] = {}
    for candidate in _candidates(stream, offset + 1, file_size):
        # What begins where the damaged member cannot lie may still be inside another damaged one.
        limit = reach if candidate < reach else file_size
        if _chained(stream, candidate, limit, file_size, most, ends, budget):
            return candidate
        if budget[0] <= 0:
            break
    return file_size


def _reach(stream: Any, offset: int, file_size: int, most: int) -> int:
    """A place that a damaged member ends before: by the length that its header states, if that much can be read."""
    head = inflated(stream, offset, MAX_HEADER, min(most, MAX_HEADER), 64).body
    length, start = content_length(head), body_start(head)
    if length is None or start is None:
        return file_size
    size = start + length + 4
    return min(file_size, offset + size + size // 256 + (1 << 16))


def _candidates(stream: Any, start: int, file_size: int) -> Iterator[int]:
    while start < file_size:
        stream.seek(start)
        data = stream.read(CHUNK + len(GZIP) - 1)
        place = data.find(GZIP)
        while place >= 0:
            yield start + place
            place = data.find(GZIP, place + 1)
        start += CHUNK


def _chained(
    stream: Any, candidate: int, limit: int, file_size: int, most: int, ends: dict[int, bool], budget: list[int]
) -> bool:
    """Whether sound records follow each other from a candidate to `limit`."""
    place, seen = candidate, []
    while place < limit and budget[0] > 0:
        if place in ends:
            break
        seen.append(place)
        member = inflated(stream, place, len(b"WARC/1."), most)
        budget[0] -= member.size + CHUNK // 16
        if member.problem or member.body != b"WARC/1.":
            ends[place] = False
            break
        place = member.end
    sound = ends.get(place, place >= limit)
    if not sound:
        ends.update(dict.fromkeys(seen, False))
    return sound


def _plain(stream: Any, file_size: int, start: int, keep: int) -> Iterator[Stored]:
    offset = start
    while offset < file_size:
        stream.seek(offset)
        head = stream.read(4096)
        if body_start(head) is None:
            head += stream.read(MAX_HEADER - len(head))
        begin, length = body_start(head), content_length(head)
        problem = ""
        if not head.startswith(b"WARC/1.") or begin is None or length is None:
            problem, detail = "no_warc_header", f"expected a WARC record, found {head[:16]!r}"
        elif offset + begin + length > file_size:
            problem = "truncated_record"
            detail = f"the record states {length:,} bytes, the file ends after {max(0, file_size - offset - begin):,}"
        if problem or begin is None or length is None:
            yield Stored(
                offset, file_size - offset, b"", 0, problem, detail + "; a plain file has no place to go on from"
            )
            return
        size = begin + length
        stream.seek(offset)
        body = stream.read(min(size, keep))
        stream.seek(offset + size)
        gap = stream.read(64)
        end = offset + size + len(gap) - len(gap.lstrip(b"\r\n"))
        yield Stored(offset, end - offset, body, size)
        offset = end


def body_start(body: bytes) -> int | None:
    """Where a record's content begins, after its header."""
    first = body.find(b"\r\n\r\n", 0, MAX_HEADER)
    # The other mark counts where it comes before: what follows is content, and as long as it likes.
    bare = body.find(b"\n\n", 0, MAX_HEADER if first < 0 else first)
    return bare + 2 if bare >= 0 else first + 4 if first >= 0 else None


def content_length(body: bytes) -> int | None:
    """The bytes of content that a record's header states."""
    value = None
    for line in body[: body_start(body) or 0].splitlines():
        name, _, text = line.partition(b":")
        if name.strip().lower() == b"content-length":
            with contextlib.suppress(ValueError):
                value = int(text.strip()) if text.strip().isdigit() and len(text) < 20 else None
    return value


def record_headers(body: bytes) -> dict[str, str]:
    """The fields of a record's header, by lower-case name."""
    found: dict[str, str] = {}
    name = ""
    for line in body[: body_start(body) or 0].split(b"\n")[1:]:
        text = line.decode("utf-8", "replace").rstrip("\r")
        if text[:1] in (" ", "\t") and name:
            found[name] += " " + text.strip()
        elif ":" in text:
            name, _, value = text.partition(":")
            name = name.strip().lower()
            found[name] = value.strip()
    return found
