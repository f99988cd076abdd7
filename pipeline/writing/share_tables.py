"""Shares by licence, creator and source as tables for people: in tokens where all were counted, else in bytes of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gristmill.pipeline.provenance.shares import MOST_NAMES, UNKNOWN, Amounts, Shares
from gristmill.pipeline.spdx import expression

MOST_ROWS = 50
"""Rows of a table; the manifest has all of them."""


@dataclass(frozen=True)
class ShareRow:
    """One name: documents, UTF-8 bytes of text and tokens (None where they were not counted), and its share of the output."""

    name: str
    documents: int
    bytes: int
    tokens: int | None
    share: float


@dataclass(frozen=True)
class ShareTable:
    """Shares by one thing (`licence`, `creator`, `source`), the largest first.

    Attributes:
        rows: at most MOST_ROWS.
        more: how many more names there are.
        note: what is to be said of it; empty for nothing.
    """

    by: str
    rows: Sequence[ShareRow]
    more: int = 0
    note: str = ""


def unit_of(shares: Shares) -> str:
    """In what shares are measured, and why: a clause for people."""
    documents, uncounted = shares.whole[0], shares.uncounted
    if not uncounted:
        return "in tokens, by the column `token_count`"
    if uncounted == documents:
        return "in bytes of text, since no tokens were counted (column `token_count`)"
    return f"in bytes of text, since {uncounted:,} of {documents:,} documents have no number of tokens"


def share_tables(shares: Shares) -> list[ShareTable]:
    """The tables that say something: by licence always, by creator where one is known, by source where there are several."""
    made = [_table("licence", _spelt(shares.licences), shares)]
    if shares.creators is None or set(shares.creators) - {UNKNOWN}:
        note = "A document of several creators counts for each of them."
        made.append(_table("creator", shares.creators, shares, note))
    if len(shares.sources) > 1:
        made.append(_table("source", shares.sources, shares))
    return made


def _spelt(licences: Amounts | None) -> Amounts | None:
    """Licences in SPDX's spelling, where they are expressions: `cc-by-4.0` and `CC-BY-4.0` are one."""
    if licences is None:
        return None
    made = Shares()
    for name, amount in licences.items():
        made.add(Shares(sources={expression(name) or name: amount}))
    return made.sources


def _table(by: str, amounts: Amounts | None, shares: Shares, note: str = "") -> ShareTable:
    if amounts is None:
        return ShareTable(by, (), note=f"There are more than {MOST_NAMES} {by}s, which are not told apart.")
    place = 1 if shares.uncounted else 2
    whole = shares.whole[place]
    ordered = sorted(amounts.items(), key=lambda item: (-item[1][place], item[0]))
    rows = [
        ShareRow(name, documents, size, None if shares.uncounted else tokens, amount[place] / whole if whole else 0.0)
        for name, amount in ordered[:MOST_ROWS]
        for documents, size, tokens in [amount]
    ]
    return ShareTable(by, rows, len(ordered) - len(rows), note)
