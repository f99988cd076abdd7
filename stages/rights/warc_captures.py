"""Files that hosts were asked for, out of WARC files: robots.txt, ai.txt and tdmrep.json, with the answers' status and time.

Redirects are followed from capture to capture, at most five, as RFC 9309 (2.3.1.2) has it: the file that is reached counts for
the host that was asked. Nothing is fetched. What is no answer about one of these files is passed over, and so are damaged
records.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
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
    """Answers by URL: those of KINDS, and those that a redirect before them led to."""

    answers: dict[str, list[_Answer]] = field(default_factory=dict)
    targets: set[str] = field(default_factory=set)
    held: int = 0

    def add(self, record: Stored, most: int) -> None:
        head = record_headers(record.body)
        url = head.get("warc-target-uri", "").strip("<>")
        known = _key(url)
        if record.problem or head.get("warc-type") != "response" or not known:
            return
        if _kind(url) is None and known not in self.targets:
            return
        observed = moment_of(head.get("warc-date"))
        begin = body_start(record.body)
        if observed is None or begin is None:
            return
        answer = parsed_response(record.body[begin : begin + (content_length(record.body) or 0)], MAX_BODY)
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
        before, seen = sum(map(len, archive.answers.values())), 0
        try:
            if not path.is_file():
                raise ConfigError("expected a file. Name a WARC file, or a pattern that matches some")
            size = path.stat().st_size
            with path.open("rb") as stream:
                said = 0
                reading(str(path))
                for record in stored_records(stream, size, 0, MAX_BODY + _HEADER_ROOM, _MOST_INFLATED):
                    seen += 1
                    if record.offset > said + _SAID_EVERY:
                        said = record.offset
                        reading(str(path))
                    archive.add(record, most)
        except OSError as error:
            raise ConfigError(f"{path}: it cannot be read ({error}). Expected a WARC file.") from error
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
        if sum(map(len, archive.answers.values())) == before:
            raise ConfigError(
                f"{path}: none of its {seen:,} records is a server's answer about {', '.join(KINDS)}. Common Crawl has "
                "those in the files whose path has `/robotstxt/`."
            )
    yield from archive.found()


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
