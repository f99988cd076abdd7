"""What an output holds by source, licence and creator: documents, bytes of text and tokens, copies counted as often as written.

The last pass counts them, task by task, with the accounts; an audit counts them again from the shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from gristmill.pipeline.licence import License
from gristmill.pipeline.provenance.values import STORED, Complete, Count

LICENCE, STATED_BY, CREATORS, TOKENS = "licence", "licence_stated_by", "licence_creators", "token_count"
COLUMNS = (LICENCE, STATED_BY, CREATORS, TOKENS)
"""Columns that shares are counted by, where rows have them."""
UNKNOWN = "unknown"
"""The licence, or the creator, of documents for which nobody states one."""
MOST_NAMES = 500
"""Licences, and creators, that are told apart: they stand in the footer of every shard."""
MAX_NAME = 200
"""Characters of a name; what is longer is cut."""
MOST_TOKENS = 1 << 40
"""Tokens of a document, at most; a greater number in the column is none."""

Amount = Annotated[
    list[Count], Field(min_length=3, max_length=3, description="[documents, UTF-8 bytes of text, tokens]")
]
Amounts = dict[str, Amount]


@dataclass
class Shares(Complete):
    """What an output holds: [documents, UTF-8 bytes of text, tokens] by source, licence and creator, copies counted.

    Attributes:
        sources, licences: every document counts once. Licences are as they are stated; `unknown` where nobody states one.
        creators: a document of several counts for each.
        uncounted: documents without a number of tokens: nobody counted them.

    Licences and creators are None where there are more than MOST_NAMES.
    """

    __pydantic_config__ = STORED
    sources: Amounts = field(default_factory=dict)
    licences: Amounts | None = field(default_factory=dict)
    creators: Amounts | None = field(default_factory=dict)
    uncounted: Count = 0

    def add(self, other: Shares) -> None:
        """Adds what another part of the output holds; in whatever order parts are added, the sums are the same."""
        self.sources = _sum(self.sources, other.sources)
        self.licences = _bounded(self.licences, other.licences)
        self.creators = _bounded(self.creators, other.creators)
        self.uncounted += other.uncounted

    def without(self, lost: Shares) -> Shares:
        """What is left when a part that was counted goes; names of which no document is left go too. What could not be told
        apart still cannot."""
        return Shares(
            _less(self.sources, lost.sources) or {},
            _less(self.licences, lost.licences),
            _less(self.creators, lost.creators),
            self.uncounted - lost.uncounted,
        )

    @property
    def whole(self) -> list[int]:
        """[documents, bytes, tokens] of the output."""
        return [sum(amount[place] for amount in self.sources.values()) for place in range(3)]


def _sum(mine: Amounts, theirs: Amounts) -> Amounts:
    made = {name: list(amount) for name, amount in mine.items()}
    for name, amount in theirs.items():
        held = made.setdefault(name, [0, 0, 0])
        for place, number in enumerate(amount):
            held[place] += number
    return made


def _less(mine: Amounts | None, lost: Amounts | None) -> Amounts | None:
    if mine is None or lost is None:
        return None
    left = _sum(mine, {name: [-number for number in amount] for name, amount in lost.items()})
    return {name: amount for name, amount in left.items() if amount[0] or name not in lost}


def _bounded(mine: Amounts | None, theirs: Amounts | None) -> Amounts | None:
    if mine is None or theirs is None:
        return None
    made = _sum(mine, theirs)
    return made if len(made) <= MOST_NAMES else None


def shares_of(
    source: str, stated: License | None, text_bytes: np.ndarray, copies: np.ndarray, columns: Mapping[str, pa.Array]
) -> Shares:
    """The shares of rows of one source.

    Args:
        stated: what the config says of the source's licence: that of rows for which nobody else states one.
        text_bytes, copies: int64, of each row.
        columns: those of COLUMNS that the rows have.

    A row's licence is that of the column `licence`, and `unknown` where that is null though `licence_stated_by` is not: then
    somebody stated what is no licence. Its creators are those of `licence_creators`.
    """
    tokens, counted = _tokens(columns.get(TOKENS), len(copies))
    amounts = np.stack([copies, text_bytes * copies, tokens * copies], axis=1)
    found = Shares(
        sources={source: amounts.sum(axis=0).tolist()}, uncounted=int(copies[~counted].sum()) if len(copies) else 0
    )
    named = _names(columns.get(LICENCE), pa.string())
    if named is None:
        found.licences = {_cut(stated.name if stated else UNKNOWN): found.sources[source]}
    else:
        others = _names(columns.get(STATED_BY), pa.string())
        silent = pc.is_null(named) if others is None else pc.and_(pc.is_null(named), pc.is_null(others))
        filled = pc.if_else(silent, stated.name if stated else UNKNOWN, pc.fill_null(named, UNKNOWN))
        found.licences = _by_name(filled, amounts)
    lists = _names(columns.get(CREATORS), pa.list_(pa.string()))
    own = list(dict.fromkeys(map(_cut, (stated.creators if stated else None) or [UNKNOWN])))
    if lists is None:
        found.creators = {name: list(found.sources[source]) for name in own}
    else:
        found.creators = _by_creator(lists, own, amounts)
    return found


def _names(column: pa.Array | None, kind: pa.DataType) -> pa.Array | None:
    """A column as texts, or lists of them; None where it holds anything else, as an input's may."""
    if column is None or pa.types.is_list(column.type) != pa.types.is_list(kind):
        return None
    inner = column.type.value_type if pa.types.is_list(kind) else column.type
    inner = inner.value_type if pa.types.is_dictionary(inner) else inner
    return column.cast(kind) if pa.types.is_string(inner) or pa.types.is_large_string(inner) else None


def _tokens(column: pa.Array | None, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of each row, int64, and whether anybody counted them."""
    if column is None or not pa.types.is_integer(column.type):
        return np.zeros(rows, np.int64), np.zeros(rows, bool)
    values = np.asarray(pc.fill_null(column.cast(pa.int64(), safe=False), -1))
    known = (values >= 0) & (values < MOST_TOKENS)
    return np.where(known, values, 0), known


def _cut(name: str) -> str:
    name = " ".join(name[: 4 * MAX_NAME].split())
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def _by_name(names: pa.Array, amounts: np.ndarray) -> Amounts | None:
    coded = names.dictionary_encode()
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    if len(coded.dictionary) > MOST_NAMES:
        return None
    sums = np.zeros((len(coded.dictionary), 3), np.int64)
    np.add.at(sums, np.asarray(coded.indices), amounts)
    made: Amounts = {}
    for name, amount in zip(coded.dictionary.to_pylist(), sums.tolist(), strict=True):
        made = _sum(made, {_cut(name) or UNKNOWN: amount})
    return made


def _by_creator(lists: pa.Array, own: list[str], amounts: np.ndarray) -> Amounts | None:
    rows = np.asarray(pc.list_parent_indices(lists))
    pairs = pa.table({"row": rows, "name": pc.list_flatten(lists)}).filter(pc.field("name").is_valid())
    pairs = pairs.group_by(["row", "name"]).aggregate([])  # who is named twice made the text once
    named = np.asarray(pairs["row"])
    made = _by_name(pairs["name"].combine_chunks(), amounts[named]) if len(named) else {}
    rest = np.ones(len(amounts), bool)
    rest[named] = False
    silent = np.asarray(lists.is_null()) & rest
    for rows_of, names in ((silent, own), (rest & ~silent, [UNKNOWN])):
        if rows_of.any() and made is not None:
            total = amounts[rows_of].sum(axis=0).tolist()
            made = _bounded(made, {name: total for name in names})
    return made
