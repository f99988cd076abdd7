"""Licences of documents: in the addresses of licence texts, and held against a list of those that are allowed.

The addresses of Creative Commons, of SPDX and of the Open Source Initiative are known. One of Creative Commons without a
version, or of a country's version that SPDX has no name for, is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from gristmill.pipeline.spdx import MAX_EXPRESSION, identifiers, parsed

_CC = re.compile(
    r"(?:https?:)?//(?:www\.)?creativecommons\.org/(licen[sc]es|publicdomain)/([a-z-]+)(?:/([0-9.]+))?(?:/([a-z-]+))?",
    re.I,
)
_ID = re.compile(
    r"https?://(?:www\.)?(?:spdx\.org/licenses|opensource\.org/licenses?)/([A-Za-z0-9.+-]+?)(?:\.html|\.json|\.txt)?/?",
    re.I,
)
_CC_TEXTS = ("deed", "legalcode", "rdf")
_PUBLIC_DOMAIN = {"zero": "CC0-{}", "mark": "CC-PDM-{}"}


@lru_cache(maxsize=4096)
def is_allowed(text: str, allowed: tuple[str, ...]) -> bool:
    """Whether an expression can be met by licences of a list: of `OR` one side, of `AND` all. Entries may have a `*`.

    >>> is_allowed("MIT OR GPL-3.0-only", ("MIT",)), is_allowed("MIT AND GPL-3.0-only", ("MIT",))
    (True, False)
    """
    found = parsed(text)
    return found is not None and _met(found, lambda key: any(fnmatchcase(key, entry) for entry in allowed))


def licence_of_address(address: str) -> str | None:
    """The licence whose text has an address.

    >>> licence_of_address("http://creativecommons.org/licenses/by-sa/4.0/deed.de"), licence_of_address("https://a.org/terms")
    ('CC-BY-SA-4.0', None)
    """
    address = address.strip()[:MAX_EXPRESSION]
    found = _CC.match(address)
    if found is None:
        named = _ID.fullmatch(address)
        return identifiers().get(named[1].lower()) if named else None
    kind, name, number, country = (part.lower() if part else "" for part in found.groups())
    if not number:
        return None
    key = f"CC-{name}-{number}" if kind != "publicdomain" else _PUBLIC_DOMAIN.get(name, "").format(number)
    if country and not country.startswith(_CC_TEXTS):
        key = f"{key}-{country}"
    return identifiers().get(key.lower())


def is_creative_commons(address: str) -> bool:
    """Whether an address is one of a licence of Creative Commons, known or not."""
    return _CC.match(address.strip()[:MAX_EXPRESSION]) is not None


def _met(tree: Any, holds: Callable[[str], bool]) -> bool:
    operator = getattr(tree, "operator", None)
    if operator is None:
        return holds(tree.render("{symbol.key}"))
    sides = [_met(side, holds) for side in tree.args]
    return any(sides) if "OR" in operator else all(sides)
