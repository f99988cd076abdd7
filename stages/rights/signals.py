"""What is found of a document's rights, from its page, its headers and the files of its host, as plain values in order.

The order is that of PROTOCOLS; within a protocol the page, the headers, the files.
Of what a host's files say, both what held when the page was fetched and the last capture are found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from gristmill.pipeline.url import host_and_target
from gristmill.stages.rights import preferences, robots, tags, tdmrep
from gristmill.stages.rights.captures import Capture, Captures
from gristmill.stages.rights.markup import elements

PROTOCOLS = ("robots_tag", "tdmrep", "content_usage", "content_signal", "robots_txt", "ai_txt")
VERSIONS = {
    "robots_tag": tags.VERSION,
    "tdmrep": tdmrep.VERSION,
    "content_usage": preferences.USAGE_VERSION,
    "content_signal": preferences.SIGNAL_VERSION,
    "robots_txt": robots.VERSION,
    "ai_txt": robots.AI_TXT_VERSION,
}
HEADERS = ("x-robots-tag", "tdm-reservation", "content-usage", "content-signal")
MAX_EVIDENCE = 200
"""Characters of the line, header or element that is kept as evidence."""


@dataclass(frozen=True)
class Signal:
    """One statement.

    Attributes:
        protocol: one of PROTOCOLS.
        state: `reserved` or `allowed`; None where the protocol is used, but not understood or not for this use.
        evidence: the line, header or element, at most MAX_EVIDENCE characters.
        digest: SHA-256 of the raw signal: of the header's value, the element, or the whole captured file.
        agent: whom it is for; `*`: all.
        observed_at: when it was observed, ISO 8601; None where nobody says.
        capture: of a file: `crawl`, `latest`, or `both`; None for what the page itself says.
    """

    protocol: str
    state: str | None
    evidence: str
    digest: str
    agent: str = "*"
    observed_at: str | None = None
    capture: str | None = None

    def plain(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Files:
    """The tables of captured files."""

    robots_txt: Captures | None = None
    ai_txt: Captures | None = None
    tdmrep: Captures | None = None


@dataclass(frozen=True)
class Wanted:
    """Whose rules are read, which directives of pages count, and the use in question."""

    agents: tuple[str, ...]
    directives: frozenset[str]
    category: str
    use: str


def found_signals(
    page: bytes | None, headers: Mapping[str, str], url: str | None, moment: str | None, files: Files, wanted: Wanted
) -> tuple[list[Signal], bool]:
    """All signals of a document, and whether its page names a C2PA manifest."""
    found: list[Signal] = []
    claims = False
    if page:
        in_page, claims = _page_signals(page, moment, wanted)
        found += in_page
    found += _header_signals(headers, moment, wanted)
    host, target = host_and_target(url) if url else ("", "")
    if host:
        path = robots.compared_path(target.encode("utf-8", "replace"))
        for kind, table in (("tdmrep", files.tdmrep), ("robots_txt", files.robots_txt), ("ai_txt", files.ai_txt)):
            for file, capture in _captures(table, host, moment):
                found += _file_signals(kind, file, path, capture, wanted)
    stated = [one for one in found if one.protocol != "tdmrep"] + _most_specific(found)
    return sorted(stated, key=lambda one: PROTOCOLS.index(one.protocol)), claims


def _most_specific(found: Sequence[Signal]) -> list[Signal]:
    """Of TDMRep the page's element supersedes the header, and that the file."""
    of_page = [one for one in found if one.protocol == "tdmrep" and one.capture is None]
    return of_page[:1] or [one for one in found if one.protocol == "tdmrep"]


def _page_signals(page: bytes, moment: str | None, wanted: Wanted) -> tuple[list[Signal], bool]:
    found, claims = [], False
    names = {agent.lower() for agent in wanted.agents}
    for element in elements(page):
        if element.name == "link":
            claims |= "c2pa-manifest" in element.attributes.get("rel", "").lower().split()
        if element.name != "meta" or not element.in_head:
            continue
        name, content = (element.attributes.get(key, "") for key in ("name", "content"))
        name = name.strip().lower()
        evidence, digest = _shown(element.raw), hashlib.sha256(element.raw).hexdigest()
        if name == "tdm-reservation":
            found.append(Signal("tdmrep", tdmrep.reservation(content), evidence, digest, observed_at=moment))
        elif (name == "robots" or name in names) and wanted.directives & set(tags.directives(content)):
            agent = "*" if name == "robots" else name
            found.append(Signal("robots_tag", "reserved", evidence, digest, agent, moment))
    return found, claims


def _header_signals(headers: Mapping[str, str], moment: str | None, wanted: Wanted) -> Iterator[Signal]:
    names = {agent.lower() for agent in wanted.agents}
    for header, value in headers.items():
        evidence, digest = _shown(f"{header}: {value}".encode()), hashlib.sha256(value.encode()).hexdigest()
        if header == "x-robots-tag":
            for field in value.split("\n"):
                agent, stated = tags.header_directives(field, names)
                if wanted.directives & set(stated):
                    evidence = _shown(f"{header}: {field}".encode())
                    yield Signal("robots_tag", "reserved", evidence, digest, agent, moment)
                    break
            continue
        joined = value.replace("\n", ", ")
        if header == "tdm-reservation":
            yield Signal("tdmrep", tdmrep.reservation(joined), evidence, digest, observed_at=moment)
        elif header == "content-usage":
            usage = preferences.usage_state(joined.encode(), wanted.category)
            yield Signal("content_usage", usage, evidence, digest, observed_at=moment)
        elif header == "content-signal":
            signal = preferences.signal_state(joined.encode(), wanted.use)
            yield Signal("content_signal", signal, evidence, digest, observed_at=moment)


def _captures(table: Captures | None, host: str, moment: str | None) -> Iterator[tuple[Capture, str]]:
    """A host's capture as of a page, and its last one."""
    latest = table.at(host, None) if table else None
    if table is None or latest is None:
        return
    then = table.at(host, moment) if moment else latest
    if then is None or then == latest:
        yield latest, "both" if moment else "latest"
        return
    yield then, "crawl"
    yield latest, "latest"


def _file_signals(kind: str, found: Capture, path: bytes, capture: str, wanted: Wanted) -> Iterator[Signal]:
    observed, body, status = found
    digest = _digest(body)
    unfetched = robots.unfetched(status)
    if unfetched is not None:
        if kind == "robots_txt":  # the other files are no standard's: without one, nothing was said
            yield Signal(
                kind,
                "reserved" if unfetched[0] == "disallow" else "allowed",
                _shown(unfetched[1]),
                digest,
                "*",
                observed,
                capture,
            )
        return
    if kind == "tdmrep":
        stated_rule = tdmrep.file_rule(body, path)
        if stated_rule is not None:
            yield Signal(kind, stated_rule[0], _shown(stated_rule[1].encode()), digest, "*", observed, capture)
        return
    file = robots.known_robots(body)
    agents = {file.token_of(agent): agent for agent in reversed(wanted.agents)}
    # Of agents that obey one group the first stands for all; in the order of the config.
    order = [agent for agent in wanted.agents if agents[file.token_of(agent)] == agent]
    decided = [(agent, file.crawling(agent, path)) for agent in order]
    refused = next(((agent, rule) for agent, rule in decided if rule is not None and rule.kind == "disallow"), None)
    agent, rule = refused or next(((a, r) for a, r in decided if r is not None), (order[0] if order else "*", None))
    evidence = _shown(rule.raw) if rule is not None else ""
    yield Signal(kind, "reserved" if refused else "allowed", evidence, digest, agent, observed, capture)
    if kind == "ai_txt":
        return
    for protocol, field in (("content_usage", "content-usage"), ("content_signal", "content-signal")):
        stated: list[tuple[str, str, bytes]] = []
        for agent in order:
            for line in file.usage(agent, path, field):
                state = (
                    preferences.usage_state(line.value, wanted.category)
                    if protocol == "content_usage"
                    else preferences.signal_state(line.value, wanted.use)
                )
                if state is not None:
                    stated.append((state, agent, line.raw))
        if stated:
            said, agent, raw = next((one for one in stated if one[0] == "reserved"), stated[0])
            yield Signal(protocol, said, _shown(raw), digest, agent, observed, capture)


@lru_cache(maxsize=1024)
def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _shown(raw: bytes) -> str:
    text = " ".join(raw[: 4 * MAX_EVIDENCE].decode("utf-8", "replace").split())
    return text if len(text) <= MAX_EVIDENCE else text[: MAX_EVIDENCE - 1] + "…"
