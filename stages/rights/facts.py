"""What is known of a document beside its licence (attribution, creators, …): from columns and tables, in one bounded form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from gristmill.pipeline.licence import FACTS, OF_THE_LICENCE, UNNAMED_MODEL, Condition, Language

LISTS = frozenset({"conditions", "creators", "language", "model_generated"})
"""Facts that are lists; the others are texts."""
COLUMNS = pa.schema(
    [pa.field(f"licence_{name}", pa.list_(pa.string()) if name in LISTS else pa.string()) for name in FACTS]
)
"""The columns of a document's facts."""
_MAY_BE_NONE = frozenset({"conditions", "model_generated"})
"""Lists that say something when they are empty: the licence asks nothing, no model made the text."""
MAX_TEXT = 200
"""Characters of a text, and of an entry of a list."""
MAX_LIST = 20
"""Entries of a document's list: a page may say it has a million authors."""
_CONDITIONS = frozenset(get_args(Condition))
_LANGUAGE: TypeAdapter[str] = TypeAdapter(Language)
Facts = Mapping[str, Any]


def shortened(text: str) -> str:
    """A text on one line, of at most MAX_TEXT characters."""
    text = " ".join(text[: 4 * MAX_TEXT].split())
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def facts_in(row: Mapping[str, Any]) -> dict[str, Any]:
    """The facts among the values of a row, by name: those that say something, with what cannot be one left out.

    >>> facts_in({"creators": "A. Author", "model_generated": False, "conditions": ["attribution", "?"], "terms": ""})
    {'conditions': ['attribution'], 'creators': ['A. Author'], 'model_generated': []}
    """
    found: dict[str, Any] = {}
    for name in FACTS:
        value = _plain(row.get(name))
        if value is None:
            continue
        if name in LISTS:
            entries = _entries(name, value)
            if entries is not None:
                found[name] = entries
        elif isinstance(value, str) and (text := shortened(value)):
            found[name] = text
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _entries(name: str, value: Any) -> list[str] | None:
    if isinstance(value, bool):
        return None if name != "model_generated" else [UNNAMED_MODEL] if value else []
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)):
        return None
    texts = (shortened(item) for item in values[: 4 * MAX_LIST] if isinstance(item, str))
    kept = list(dict.fromkeys(text for text in texts if text and _allowed(name, text)))[:MAX_LIST]
    return kept if kept or (not values and name in _MAY_BE_NONE) else None


def _allowed(name: str, text: str) -> bool:
    if name == "conditions":
        return text in _CONDITIONS
    if name == "language":
        try:
            _LANGUAGE.validate_python(text)
        except ValidationError:
            return False
    return True


def merged(levels: Iterable[tuple[str, Facts]], stating: str | None) -> dict[str, Any]:
    """The facts of a document.

    Args:
        levels: facts by level, in the order in which their word counts.
        stating: the level that states the licence; None where nobody does.

    What goes with a licence (attribution, conditions, terms) is that of the level that states it; all else is of the first
    level that knows it.
    """
    found: dict[str, Any] = {}
    for level, facts in levels:
        for name, value in facts.items():
            if name not in OF_THE_LICENCE or stating in (None, level):
                found.setdefault(name, value)
    return found
