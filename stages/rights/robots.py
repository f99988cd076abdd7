"""robots.txt as RFC 9309 says: groups, longest match, `*` and `$`, percent-encoding; and ai.txt, which is written the same way.

A file is read up to 500 KiB. URLs are matched by the first 8,192 bytes of their path and query, which bounds what a hostile
file may cost: a pattern is looked for once from left to right, and patterns without wildcards are looked up.

The RFC's table has `/foo/bar?baz=https://foo.bar` and its percent-encoded form match the same: behind the `?`, `%3A` and
`%2F` are therefore read as what they stand for, in rules and URLs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain

VERSION = "RFC 9309"
AI_TXT_VERSION = "Spawning 2023"
MAX_BYTES = 500 * 1024
"""Bytes of a file that are read: the least that RFC 9309 asks for."""
MAX_PATH = 8192
"""Bytes of a URL's path and query that are matched."""
USAGE_FIELDS = ("content-usage", "content-signal")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ESCAPED = re.compile(rb"%[0-9A-Fa-f]{2}|[^\x21-\x7e]")
_QUERY_ESCAPED = re.compile(rb"%3A|%2F")
_TOKEN = re.compile(rb"[A-Za-z_-]+")
_LINES = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True)
class Rule:
    """A line of a group. `kind`: `allow`, `disallow` or one of USAGE_FIELDS; `raw` the line, `value` what follows the path."""

    kind: str
    pattern: bytes
    raw: bytes
    value: bytes = b""


@dataclass(frozen=True)
class PathPattern:
    """A rule's path: parts with anything between them; `anchored`: the last one ends the path."""

    parts: tuple[bytes, ...]
    anchored: bool

    @classmethod
    def of(cls, value: bytes) -> PathPattern:
        """A path as it is written in a rule."""
        pattern = _pattern(value)
        anchored = pattern.endswith(b"$")
        return cls(tuple((pattern[:-1] if anchored else pattern).split(b"*")), anchored)

    def matches(self, path: bytes, cut: bool) -> bool:
        """Whether the parts begin a path, or are all of it. `cut`: the path goes on. Each part takes its leftmost place, so
        nothing is looked at twice."""
        first, last = self.parts[0], self.parts[-1]
        if not path.startswith(first) or (self.anchored and (cut or not path.endswith(last))):
            return False
        if len(self.parts) == 1:
            return not self.anchored or len(path) == len(first)
        place = len(first)
        for part in self.parts[1 : -1 if self.anchored else None]:
            place = path.find(part, place)
            if place < 0:
                return False
            place += len(part)
        return not self.anchored or len(path) - place >= len(last)


@dataclass
class RuleSet:
    """The rules that hold for one agent, ready to be matched."""

    plain: dict[bytes, list[Rule]] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)
    wild: list[tuple[PathPattern, list[Rule]]] = field(default_factory=list)
    last: tuple[bytes, bool, list[tuple[int, list[Rule]]]] | None = None
    """What was asked last, and answered: a page is asked about several times."""

    def matches(self, path: bytes, cut: bool) -> list[tuple[int, list[Rule]]]:
        """Rules whose pattern matches a path in its compared form, with the pattern's length. `cut`: the path went on."""
        if self.last is not None and self.last[:2] == (path, cut):
            return self.last[2]
        found = [
            (length, self.plain[path[:length]])
            for length in self.lengths
            if length <= len(path) and path[:length] in self.plain
        ]
        found += [(len(rules[0].pattern), rules) for pattern, rules in self.wild if pattern.matches(path, cut)]
        self.last = path, cut, found
        return found


@dataclass(frozen=True)
class Robots:
    """A file: its blocks of rules by product token in lower case, `*` for all others. Tokens that share a block share its
    rules: a small file can name thousands of both."""

    groups: dict[bytes, list[list[Rule]]]
    sets: dict[bytes, RuleSet] = field(default_factory=dict)

    def token_of(self, agent: str) -> bytes | None:
        """The group that an agent obeys: its own, else that of `*`, else none."""
        name = agent.encode("utf-8", "replace").lower()
        return name if name in self.groups else b"*" if b"*" in self.groups else None

    def rules_for(self, agent: str) -> RuleSet:
        token = self.token_of(agent)
        if token is None:
            return RuleSet()
        if token not in self.sets:
            self.sets[token] = _rule_set(chain.from_iterable(self.groups[token]))
        return self.sets[token]

    def crawling(self, agent: str, path: bytes) -> Rule | None:
        """The rule that decides whether an agent may fetch a path (`compared_path`'s): the longest match, `allow` of
        equal ones. None where no rule matches, which allows it."""
        best: tuple[int, bool, Rule] | None = None
        for length, rules in self.rules_for(agent).matches(*path_parts(path)):
            for rule in rules:
                if rule.kind not in USAGE_FIELDS and (best is None or (length, rule.kind == "allow") > best[:2]):
                    best = length, rule.kind == "allow", rule
        return best[2] if best else None

    def usage(self, agent: str, path: bytes, kind: str) -> list[Rule]:
        """The rules of `content-usage` or `content-signal` for a path that may be fetched: those with the longest match."""
        decided = self.crawling(agent, path)
        if decided is not None and decided.kind == "disallow":
            return []
        found = [
            (length, rule)
            for length, rules in self.rules_for(agent).matches(*path_parts(path))
            for rule in rules
            if rule.kind == kind
        ]
        longest = max((length for length, _ in found), default=0)
        return [rule for length, rule in found if length == longest]


def parsed_robots(body: bytes) -> Robots:
    """A file's groups. Lines that are none of a group's are passed over, as the RFC asks; groups of a token are joined."""
    if len(body) > MAX_BYTES:
        body = body[:MAX_BYTES]
        body = body[: max(body.rfind(b"\n"), body.rfind(b"\r"), 0)]
    groups: dict[bytes, list[list[Rule]]] = {}
    block: list[Rule] = []
    in_rules = False
    for line in _LINES.split(body.removeprefix(b"\xef\xbb\xbf")):
        key, colon, value = line.partition(b"#")[0].partition(b":")
        name, value = key.strip().lower(), value.strip()
        if not colon:
            continue
        if name == b"user-agent":
            if in_rules:
                block, in_rules = [], False
            token = _TOKEN.match(value)
            blocks = groups.setdefault(b"*" if value[:1] == b"*" else token[0].lower() if token else b"", [])
            if not blocks or blocks[-1] is not block:
                blocks.append(block)
            continue
        rule = _rule(name.decode("latin-1"), value, line)
        if rule is None:
            continue
        in_rules = True
        if rule.pattern:
            block.append(rule)
    groups.pop(b"", None)
    return Robots(groups)


@lru_cache(maxsize=16)
def known_robots(body: bytes) -> Robots:
    """`parsed_robots`, of the files that came last: pages of a host lie together."""
    return parsed_robots(body)


def unfetched(status: int) -> tuple[str, bytes] | None:
    """Of an answer that brought no file: `allow` or `disallow` for everything, and why (RFC 9309, 2.3.1); None for one that
    brought a file.

    >>> unfetched(200), unfetched(404)[0], unfetched(503)[0]
    (None, 'allow', 'disallow')
    """
    if status < 400:
        return None
    if status < 500:
        return "allow", b"HTTP %d: unavailable, so everything may be fetched (RFC 9309, 2.3.1.3)" % status
    return "disallow", b"HTTP %d: unreachable, so nothing may be fetched (RFC 9309, 2.3.1.4)" % status


def compared_path(target: bytes) -> bytes:
    """A URL's path and query in the form in which they are compared: unreserved characters as they are, all others that are
    not printable ASCII percent-encoded, `*` and `$` too, which stand for themselves in a URL."""
    return _canonical(target[: MAX_PATH + 1] or b"/").replace(b"*", b"%2A").replace(b"$", b"%24")


def path_parts(path: bytes) -> tuple[bytes, bool]:
    """The part of a path that is matched, and whether it goes on."""
    return path[:MAX_PATH], len(path) > MAX_PATH


def _rule(name: str, value: bytes, line: bytes) -> Rule | None:
    if name in ("allow", "disallow"):
        return Rule(name, _pattern(value), line)
    if name in USAGE_FIELDS:
        path, preference = b"/", value
        if value.startswith(b"/"):
            path, _, preference = value.replace(b"\t", b" ").partition(b" ")
        return Rule(name, _pattern(path), line, preference.strip())
    return None


def _pattern(value: bytes) -> bytes:
    """A rule's path as it is compared. `$` stands for the end only there."""
    anchored = value.endswith(b"$")
    return _canonical(value[:-1] if anchored else value).replace(b"$", b"%24") + (b"$" if anchored else b"")


def _canonical(text: bytes) -> bytes:
    text = _ESCAPED.sub(_one, text)
    path, mark, query = text.partition(b"?")
    return path + mark + _QUERY_ESCAPED.sub(lambda m: b":" if m[0] == b"%3A" else b"/", query) if mark else text


def _one(match: re.Match[bytes]) -> bytes:
    found = match[0]
    code = int(found[1:], 16) if len(found) == 3 else found[0]
    return bytes([code]) if code in _UNRESERVED else b"%%%02X" % code


def _rule_set(rules: Iterable[Rule]) -> RuleSet:
    made = RuleSet()
    wild: dict[bytes, list[Rule]] = {}
    for rule in rules:
        is_wild = b"*" in rule.pattern or rule.pattern.endswith(b"$")
        (wild if is_wild else made.plain).setdefault(rule.pattern, []).append(rule)
    made.lengths = sorted({len(pattern) for pattern in made.plain})
    made.wild = [(PathPattern.of(pattern), found) for pattern, found in wild.items()]
    return made
