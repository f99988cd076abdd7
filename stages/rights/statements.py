"""What a page or a table states of a document's licence.

A page states it by `rel=license` (link and a elements), by schema.org's `license` (JSON-LD and `itemprop`), and by links to
texts of Creative Commons. A table has rows by domain, which stands for the hosts under it, or by the beginning of a URL; they
may say more than the licence (see `facts`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.licence import FACTS, Condition
from gristmill.pipeline.spdx import expression, refusal
from gristmill.pipeline.table_rows import table_rows
from gristmill.pipeline.url import host_and_target
from gristmill.stages.rights.facts import LISTS, MAX_LIST, Facts, facts_in, shortened
from gristmill.stages.rights.licences import is_creative_commons, licence_of_address
from gristmill.stages.rights.markup import Element, elements

STATING = ("spdx", "statement", "stated_by", "evidence")
"""What a row of a table says of the licence."""
_NO_FACTS: Facts = {}
MAX_STATEMENTS = 20
MAX_ROWS = 5_000_000
_MAX_PREFIX = 2048
_MAX_DEPTH = 20
_MAX_JSON = 1 << 18


@dataclass(frozen=True)
class Statement:
    """`spdx` is None where the licence is not known, such as for terms in free text."""

    spdx: str | None
    stated_by: str
    evidence: str


def page_statements(page: bytes) -> list[Statement]:
    """What a page states, each once, at most MAX_STATEMENTS."""
    found: dict[Statement, None] = {}
    for element in elements(page):
        for kind, value in _values(element):
            spdx = licence_of_address(value) or expression(value)
            found[Statement(spdx, f"page ({kind})", shortened(value))] = None
            if len(found) == MAX_STATEMENTS:
                return list(found)
    return list(found)


def _values(element: Element) -> Iterator[tuple[str, str]]:
    if element.name == "script":
        if len(element.text) <= _MAX_JSON:
            try:
                read = json.loads(element.text)
            except (ValueError, RecursionError):
                return
            for value in _licences_in(read, 0):
                yield "schema.org", value
        return
    address = element.attributes.get("href") or element.attributes.get("content") or ""
    if "license" in element.attributes.get("rel", "").lower().split():
        yield "rel=license", address
    elif "license" in element.attributes.get("itemprop", "").lower().split():
        yield "schema.org", address
    elif element.name == "a" and is_creative_commons(address):
        yield "link", address


def _licences_in(value: Any, depth: int) -> Iterator[str]:
    """The values of `license` of the page itself: of objects at the top, in lists and in `@graph`, and of their main entities.
    What a part of the page is licensed under, such as an image, is not the page's."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for item in value:
            yield from _licences_in(item, depth + 1)
    elif isinstance(value, dict):
        if str(value.get("@type")).lower() not in ("imageobject", "videoobject", "audioobject", "softwareapplication"):
            stated = value.get("license")
            for one in stated if isinstance(stated, list) else [stated]:
                text = one.get("@id") or one.get("url") if isinstance(one, dict) else one
                if isinstance(text, str) and text.strip():
                    yield text
        for name in ("@graph", "mainEntity"):
            yield from _licences_in(value.get(name), depth + 1)


class TableRow(NamedTuple):
    """What a row of a table says: of the licence, None where it says nothing of it, and beside it."""

    stated: Statement | None
    facts: Facts


@cache
def read_table(files: tuple[Path, ...]) -> dict[str, TableRow]:
    """The rows of some tables by domain or URL prefix, without scheme. Raises ConfigError for what is none."""
    found: dict[str, TableRow] = {}
    for path in files:
        for where, row in table_rows(path, ("of",), (*STATING, *FACTS)):
            of = row.get("of")
            if not isinstance(of, str):
                raise ConfigError(f"{where}: expected a text `of`: a domain or the beginning of a URL.")
            host, target = host_and_target(of)
            key = (host + target)[:_MAX_PREFIX].rstrip("/")
            made = TableRow(_stated(where, row, path.name), _facts(where, row))
            if made.stated is None and not made.facts:
                raise ConfigError(
                    f"{where}: it says nothing of {of[:80]!r}; expected `spdx`, `statement` or one of {', '.join(FACTS)}."
                )
            if found.setdefault(key, made) != made:
                raise ConfigError(f"{where}: `{key[:80]}` is there twice with different licences or facts. Keep one.")
            if len(found) > MAX_ROWS:
                raise ConfigError(f"{where}: more than {MAX_ROWS:,} rows.")
    return found


def _stated(where: str, row: Mapping[str, Any], table: str) -> Statement | None:
    spdx, words, evidence = (row.get(name) or None for name in ("spdx", "statement", "evidence"))
    normal = None
    if spdx is not None:
        normal = expression(spdx) if isinstance(spdx, str) else None
        if normal is None:
            raise ConfigError(f"{where}: `spdx`: {refusal(str(spdx))}")
    elif words is None:
        return None
    told = str(evidence or table) if normal else "; ".join(str(one) for one in (words, evidence) if one)
    return Statement(normal, f"table ({shortened(str(row.get('stated_by') or 'unknown'))})", shortened(told))


def _facts(where: str, row: Mapping[str, Any]) -> Facts:
    facts = facts_in(row)
    for name in FACTS:
        given, read = row.get(name), facts.get(name)
        if given in (None, "") or (read is not None and (name not in LISTS or isinstance(given, (bool, str)))):
            continue
        if read is None or len(given) != len(read):
            expected = (
                f"some of {', '.join(get_args(Condition))}"
                if name == "conditions"
                else f"at most {MAX_LIST} different names" + (", such as de or deu_Latn" if name == "language" else "")
                if name in LISTS
                else "a text"
            )
            raise ConfigError(f"{where}: `{name}` is {str(given)[:80]!r}; expected {expected}.")
    return facts or _NO_FACTS


def of_url(table: Mapping[str, TableRow], url: str) -> TableRow | None:
    """The row of the longest beginning of a URL, else of its host, else of the nearest domain above."""
    host, target = host_and_target(url)
    if not host:
        return None
    path = target[:_MAX_PREFIX]
    ends = [len(path), *(place for place in range(len(path) - 1, -1, -1) if path[place] in "/?")]
    for end in ends:
        row = table.get(host + path[:end].rstrip("/")) if end else None
        if row is not None:
            return row
    while host:
        if host in table:
            return table[host]
        host = host.partition(".")[2]
    return None
