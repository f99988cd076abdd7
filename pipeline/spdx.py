"""SPDX licence expressions: checked by the library license-expression, and the names nearest to what is none."""

from __future__ import annotations

import difflib
import re
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

from license_expression import ExpressionError, Licensing, get_spdx_licensing

MAX_EXPRESSION = 500
"""Characters of an expression; a longer one is free text."""
_OWN = re.compile(r"(?:DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+")
_SPOKEN = (
    (r"creative commons", "cc"),
    (r"\bpublic domain dedication\b|\bzero\b", "0"),
    (r"\battribution\b", "by"),
    (r"\bshare[- ]?alike\b", "sa"),
    (r"\bnon[- ]?commercial\b", "nc"),
    (r"\bno[- ]?deriv\w*", "nd"),
    (r"\bgeneral public\b", "gpl"),
    (r"\b(?:the|an?|gnu|licen[cs]ed?|version|public|international|unported|under)\b", " "),
    (r"\bv\.? ?(?=\d)", ""),
)
"""How people write what SPDX abbreviates, by pattern, in the order to replace it."""


def library_version() -> str:
    """The library's version, which carries SPDX's list."""
    return version("license-expression")


@cache
def _licensing() -> Licensing:
    return get_spdx_licensing()


@cache
def identifiers() -> dict[str, str]:
    """SPDX's names of licences by their lower case."""
    return {key: symbol.key for key, symbol in _symbols().items()}


@cache
def _symbols() -> dict[str, Any]:
    return {key.lower(): symbol for key, symbol in _licensing().known_symbols.items()}


@lru_cache(maxsize=4096)
def expression(text: str) -> str | None:
    """An SPDX expression in its normal spelling; None for what is none.

    >>> expression("mit or (apache-2.0)"), expression("LicenseRef-ours"), expression("all rights reserved")
    ('MIT OR Apache-2.0', 'LicenseRef-ours', None)
    """
    found = parsed(text)
    return None if found is None else str(found.render("{symbol.key}"))


def parsed(text: str) -> Any:
    """The library's tree of an expression; None for what is none."""
    text = text.strip()
    if not text or len(text) > MAX_EXPRESSION or not text.isascii():
        return None
    try:
        found = _licensing().parse(text, validate=False)
    except (
        ExpressionError,
        AttributeError,
        RecursionError,
    ):  # The library's own error for `MIT AND` is an AttributeError.
        return None
    if found is None or any(not _known(key) for key in _licensing().license_keys(found)):
        return None
    return found


def _known(key: str) -> bool:
    return key.lower() in identifiers() or _OWN.fullmatch(key) is not None


def nearest_licences(text: str) -> list[str]:
    """SPDX's names that are nearest to a licence in words, at most three, the nearest first.

    >>> nearest_licences("Creative Commons Attribution-ShareAlike 4.0 International")[0], nearest_licences("CC BY 4")[0]
    ('CC-BY-SA-4.0', 'CC-BY-4.0')
    """
    words = text[:MAX_EXPRESSION].lower()
    for pattern, short in _SPOKEN:
        words = re.sub(pattern, short, words)
    name = "-".join(re.findall(r"[a-z0-9.+]+", words))
    names = [key for key, symbol in _symbols().items() if not symbol.is_exception]
    longer = sorted((key for key in names if key.startswith((f"{name}-", f"{name}."))), reverse=True)
    found = [key for key in names if key == name] + sorted(longer, key=len)
    return [identifiers()[key] for key in dict.fromkeys([*found, *difflib.get_close_matches(name, names, 3, 0.7)])][:3]


def refusal(text: str) -> str:
    """What to say of a text that should be an SPDX expression and is none."""
    close = nearest_licences(text)
    hint = f" Nearest: {', '.join(close)}." if close else ""
    return (
        f"{text[:80]!r} is no SPDX expression; expected one such as CC-BY-4.0, or LicenseRef-… for what SPDX has no name "
        f"for.{hint} Put a licence in words under `statement`."
    )
