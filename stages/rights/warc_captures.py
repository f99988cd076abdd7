"""Files that hosts were asked for, out of WARC files: robots.txt, ai.txt and tdmrep.json, with the answers' status and time.

Redirects are followed from capture to capture, at most five, as RFC 9309 (2.3.1.2) has it: the file that is reached counts for
the host that was asked. Nothing is fetched. What is no answer about one of these files is passed over, and so are damaged
records.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.reader_process import reading
from gristmill.pipeline.url import host_and_target
from gristmill.stages.rights.moments import moment_of
from gristmill.stages.web_archives.http_message import parsed_response
from gristmill.stages.web_archives.warc_members import (
    Stored,
    body_start,
    content_length,
    record_headers,
    stored_records,
)

ENDINGS = (".warc", ".warc.gz")
KINDS = {
    "/robots.txt": "robots_txt",
    "/ai.txt": "ai_txt",
    "/.well-known/tdmrep.json": "tdmrep",
}
"""Kinds of captured files by where they lie on a host."""
MAX_BODY = 1 << 20
"""Bytes of a file that are kept: more than any of the parsers reads."""
MAX_REDIRECTS = 5
_HEADER_ROOM = 1 << 20
_MOST_INFLATED = 256 << 20
"""Bytes to which a record may inflate before it is passed over."""
_MOST_TARGETS = 1_000_000
_ANSWER_BYTES = 256
"""What an answer takes besides its body."""
_SAID_EVERY = 256 << 20
_MOVED = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Found:
    """One capture: a kind of KINDS, host, time (ISO 8601), HTTP status, and the body of an answer that has one."""

    kind: str
    host: str
    observed: str
    status: int
    body: bytes


@dataclass(frozen=True, order=True)
class _Answer:
    observed: str
    status: int
    body: bytes
    location: str = ""


@dataclass
class _Archive:
    """Answers by URL: those of KINDS, and those that redirects led to.

    Attributes:
        targets: where redirects led to.
        passed: hashes of other URLs that were passed over, which a redirect that is read later may lead to.
        again: those of them that were read again.
    """

    answers: dict[str, list[_Answer]] = field(default_factory=dict)
    targets: set[str] = field(default_factory=set)
    passed: set[int] = field(default_factory=set)
    again: set[str] = field(default_factory=set)
    held: int = 0

    def passed_targets(self) -> set[str]:
        """URLs of answers that were passed over before a redirect to them was read; what is held of them is let go."""
        late = {url for url in self.targets - self.again if hash(url) in self.passed}
        self.again |= late
        for url in late:
            self.held -= sum(len(one.body) + _ANSWER_BYTES for one in self.answers.pop(url, ()))
        return late

    def add(self, record: Stored, most: int, only: Set[str] | None = None) -> None:
        """Keeps a record's answer where it is wanted: of KINDS and of targets; of an archive that is read again, of `only`."""
        head = record_headers(record.body)
        url = head.get("warc-target-uri", "").strip("<>")
        known = _key(url)
        if record.problem or head.get("warc-type") != "response" or not known:
            return
        if known not in only if only is not None else _kind(url) is None and known not in self.targets:
            if only is None and len(self.passed) < _MOST_TARGETS:
                self.passed.add(hash(known))
            return
        observed = moment_of(head.get("warc-date"))
        begin = body_start(record.body)
        if observed is None or begin is None:
            return
        answer = parsed_response(_content(record, begin), MAX_BODY, plain=True)
        if answer is None or (answer.body is None and answer.status < 300):
            return
        location = ""
        if answer.status in _MOVED:
            location = _joined(url, answer.headers.get("location", ""))
            if location and len(self.targets) < _MOST_TARGETS:
                self.targets.add(_key(location))
        body = (answer.body or b"")[:MAX_BODY] if answer.status < 300 else b""
        self.held += len(body) + _ANSWER_BYTES
        if self.held > most:
            raise ConfigError(
                f"the captured files take more than {most:,} bytes. Leave out hosts that the corpus does not have."
            )
        self.answers.setdefault(known, []).append(_Answer(observed, answer.status, body, location))

    def found(self) -> Iterator[Found]:
        for answers in self.answers.values():
            answers.sort()
        for url, answers in self.answers.items():
            kind = _kind(url)
            for answer in answers if kind else ():
                reached = self._reached(answer)
                if kind and reached is not None:
                    yield Found(kind, host_and_target(url)[0], answer.observed, reached.status, reached.body)

    def _reached(self, answer: _Answer) -> _Answer | None:
        """Where redirects lead to; None where that was not captured, and after too many."""
        at = answer
        for _ in range(MAX_REDIRECTS + 1):
            if at.status not in _MOVED:
                return at if not 300 <= at.status < 400 else None
            there = self.answers.get(_key(at.location)) if at.location else None
            if not there:
                return None
            # What a crawler fetched right after it, else the last one before.
            place = bisect_left(there, answer.observed, key=lambda one: one.observed)
            at = there[min(place, len(there) - 1)]
        return None


def is_warc(path: Path) -> bool:
    """Whether a file of captures is a WARC file, by its name."""
    return path.name.lower().endswith(ENDINGS)


def warc_captures(files: Sequence[Path], most: int) -> Iterator[Found]:
    """All captures of KINDS in some WARC files, whose redirects may lead from one file to the next.

    Args:
        most: bytes of all bodies.

    Raises ConfigError for a file that cannot be read or has no such capture, and for too many bytes.
    """
    archive = _Archive()
    for path in files:
        before = sum(map(len, archive.answers.values()))
        seen = _read(archive, path, most)
        if sum(map(len, archive.answers.values())) == before:
            raise ConfigError(
                f"{path}: none of its {seen:,} records is a server's answer about {', '.join(KINDS)}. Common Crawl has "
                "those in the files whose path has `/robotstxt/`."
            )
    for _ in range(MAX_REDIRECTS):
        late = archive.passed_targets()
        for path in files if late else ():
            _read(archive, path, most, late)
    yield from archive.found()


def _read(archive: _Archive, path: Path, most: int, only: Set[str] | None = None) -> int:
    """Reads a file into an archive; returns how many records it has."""
    seen = said = 0
    try:
        if not path.is_file():
            raise ConfigError("expected a file. Name a WARC file, or a pattern that matches some")
        size = path.stat().st_size
        with path.open("rb") as stream:
            reading(str(path))
            for record in stored_records(stream, size, 0, MAX_BODY + _HEADER_ROOM, _MOST_INFLATED):
                seen += 1
                if record.offset > said + _SAID_EVERY:
                    said = record.offset
                    reading(str(path))
                _refuse_lost(stream, record, size)
                archive.add(record, most, only)
    except OSError as error:
        raise ConfigError(f"{path}: it cannot be read ({error}). Expected a WARC file.") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return seen


def _content(record: Stored, begin: int) -> bytes:
    """A record's content: by the length that its header states, or all that a member has where that is not its length."""
    length = content_length(record.body)
    if length is not None and record.size - 4 <= begin + length <= record.size:
        return record.body[begin : begin + length]
    return record.body[begin:].removesuffix(b"\r\n\r\n")


def _refuse_lost(stream: Any, record: Stored, size: int) -> None:
    """Raises ConfigError for a damaged stretch that may hold more than one record: opt-outs would be lost unseen."""
    if not record.problem or record.offset + record.length < size:
        return
    if record.problem == "truncated_record":
        stream.seek(record.offset + 1)
        if not _holds(stream, b"\nWARC/1."):
            return
    raise ConfigError(
        f"at byte {record.offset:,}: {record.detail}. The {record.length:,} bytes up to the file's end cannot be read, and "
        "captures in them would be left out. Fetch the file again, or cut it there"
    )


def _holds(stream: Any, mark: bytes) -> bool:
    rest = b""
    while chunk := stream.read(1 << 20):
        if mark in rest + chunk:
            return True
        rest = chunk[-len(mark) :]
    return False


def _kind(url: str) -> str | None:
    return KINDS.get(host_and_target(url)[1])


def _key(url: str) -> str:
    """A URL as redirects are followed: with its scheme, since many hosts lead from http to https."""
    host, target = host_and_target(url)
    scheme = url.partition("://")[0].lower() if "://" in url[:9] else ""
    return f"{scheme}://{host}{target or '/'}" if host and scheme in ("http", "https") else ""


def _joined(url: str, location: str) -> str:
    """The URL that an answer leads to; empty for none."""
    try:
        joined = urljoin(url, location[:8192].strip())
        return joined if location and urlsplit(joined).scheme in ("http", "https") else ""
    except ValueError:  # no address, such as http://[
        return ""
