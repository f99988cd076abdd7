"""Accounts: where every row went at every node, as counts, bytes and doc_key sums, and the equations that must hold among them.

At each node every incoming row is exactly one of dropped, quarantined or emitted on one port with n ≥ 1 copies. So
in = dropped + quarantined + Σ over ports, and what enters over an edge is what left on its port: as numbers of rows and
as Σ n·doc_key mod 2^128, which a lost row beside a doubled one cannot satisfy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from pydantic import SerializerFunctionWrapHandler, model_serializer

from gristmill.pipeline.document import key_sum
from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.provenance.shares import Shares
from gristmill.pipeline.provenance.values import STORED, Complete, Count, KeySum, Pair, Whole

MODULUS = 1 << 128
SOURCE_PORT = "read"
"""The port of a source: what could be read and holds text."""


@dataclass
class Tally(Complete):
    """A number of rows with their UTF-8 bytes of text and the sum of their doc_keys, copies counted."""

    __pydantic_config__ = STORED
    rows: Count = 0
    bytes: Count = 0
    keys: KeySum = 0

    @classmethod
    def of(cls, keys: np.ndarray, sizes: np.ndarray, copies: np.ndarray | None = None) -> Tally:
        """Of rows with doc_keys (uint64, rows × 2), text bytes (int64) and numbers of copies (int64, default 1)."""
        if copies is None:
            return cls(len(keys), int(sizes.sum()), key_sum(keys))
        return cls(int(copies.sum()), int((sizes * copies).sum()), key_sum(keys, copies))

    def add(self, other: Tally) -> None:
        self.rows += other.rows
        self.bytes += other.bytes
        self.keys = (self.keys + other.keys) % MODULUS


@dataclass
class Hits(Complete):
    """How often a rule failed: as the first, at all, as the only one."""

    __pydantic_config__ = STORED
    first: Pair = field(default_factory=lambda: [0, 0])
    any: Pair = field(default_factory=lambda: [0, 0])
    sole: Pair = field(default_factory=lambda: [0, 0])

    def add(self, other: Hits) -> None:
        for mine, theirs in ((self.first, other.first), (self.any, other.any), (self.sole, other.sole)):
            mine[0] += theirs[0]
            mine[1] += theirs[1]


@dataclass
class NodeAccount(Complete):
    """What entered a node and where it went: entered = dropped + quarantined + kept."""

    # `kept` counts each emitted row as it came in, `ports` as it went out: a node that multiplies emits n copies of it.
    __pydantic_config__ = STORED
    entered: Tally = field(default_factory=Tally)
    edges: dict[str, Tally] = field(default_factory=dict)
    dropped: Tally = field(default_factory=Tally)
    quarantined: Tally = field(default_factory=Tally)
    kept: Tally = field(default_factory=Tally)
    ports: dict[str, Tally] = field(default_factory=dict)
    rules: dict[str, Hits] = field(default_factory=dict)
    tallies: dict[str, Whole] = field(default_factory=dict)

    def add(self, other: NodeAccount) -> None:
        self.entered.add(other.entered)
        self.dropped.add(other.dropped)
        self.quarantined.add(other.quarantined)
        self.kept.add(other.kept)
        for mine, theirs in ((self.edges, other.edges), (self.ports, other.ports)):
            for name, tally in theirs.items():
                mine.setdefault(name, Tally()).add(tally)
        for rule, hits in other.rules.items():
            self.rules.setdefault(rule, Hits()).add(hits)
        for name, count in other.tallies.items():
            self.tallies[name] = self.tallies.get(name, 0) + count


@dataclass
class Accounts(Complete):
    """The accounts of sources and nodes, of the edges into outputs, and of discarded ports; and what outputs hold by source,
    licence and creator, where licences are stated (left out otherwise)."""

    OPTIONAL: ClassVar[frozenset[str]] = frozenset({"shares"})
    __pydantic_config__ = STORED
    nodes: dict[str, NodeAccount] = field(default_factory=dict)
    outputs: dict[str, dict[str, Tally]] = field(default_factory=dict)
    discarded: dict[str, Tally] = field(default_factory=dict)
    shares: dict[str, Shares] = field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        made: dict[str, Any] = handler(self)
        return {name: value for name, value in made.items() if value or name not in self.OPTIONAL}

    def node(self, name: str) -> NodeAccount:
        return self.nodes.setdefault(name, NodeAccount())

    def add(self, other: Accounts) -> None:
        self._add_shares(other)
        for name, account in other.nodes.items():
            self.node(name).add(account)
        for name, edges in other.outputs.items():
            for edge, tally in edges.items():
                self.outputs.setdefault(name, {}).setdefault(edge, Tally()).add(tally)
        for edge, tally in other.discarded.items():
            self.discarded.setdefault(edge, Tally()).add(tally)

    def _add_shares(self, other: Accounts) -> None:
        """Of an output of whose rows some were not counted by licence, such as by an earlier version, nothing is stated."""
        for name in {*self.outputs, *other.outputs}:
            mine, theirs = self.shares.get(name), other.shares.get(name)
            if (mine is None and self.rows_into(name)) or (theirs is None and other.rows_into(name)):
                self.shares.pop(name, None)
            elif theirs is not None:
                self.shares.setdefault(name, Shares()).add(theirs)

    def rows_into(self, output: str) -> int:
        """Rows that went to an output, copies counted."""
        return sum(tally.rows for tally in self.outputs.get(output, {}).values())

    def check(self, where: str) -> None:
        """Raises ConservationError at the first equation that does not hold, with both sides of it."""
        for problem in self.problems():
            raise ConservationError(
                f"{where}: {problem} Nothing was published. This is a defect of a stage or of the storage, never of "
                "the documents: keep the work folder and report it."
            )

    def problems(self) -> list[str]:
        """Every equation that does not hold, in words."""
        found: list[str] = []
        for name, account in self.nodes.items():
            inward = Tally()
            for tally in account.edges.values():
                inward.add(tally)
            if account.edges and inward != account.entered:
                found.append(_differ(f"node `{name}`: what its edges brought", inward, "what entered", account.entered))
            outward = Tally()
            for tally in (account.dropped, account.quarantined, account.kept):
                outward.add(tally)
            if outward != account.entered:
                found.append(
                    _differ(f"node `{name}`: what entered", account.entered, "dropped + quarantined + emitted", outward)
                )
        consumers: list[tuple[str, str, Tally]] = [
            (f"node `{name}`", edge, tally)
            for name, account in self.nodes.items()
            for edge, tally in account.edges.items()
        ]
        consumers += [
            (f"output `{n}`", edge, tally) for n, edges in self.outputs.items() for edge, tally in edges.items()
        ]
        consumers += [("discard", edge, tally) for edge, tally in self.discarded.items()]
        for who, edge, tally in consumers:
            node, _, port = edge.partition(".")
            left = self.nodes[node].ports.get(port, Tally()) if node in self.nodes else Tally()
            if left != tally:
                found.append(_differ(f"{who}: what arrived from {edge}", tally, "what left there", left))
        return found + [problem for name, shares in self.shares.items() for problem in self._shares(name, shares)]

    def _shares(self, name: str, shares: Shares) -> Iterator[str]:
        """Where the shares of an output contradict each other or its rows."""
        rows, whole = self.rows_into(name), shares.whole
        held = [*shares.sources.values(), *(shares.licences or {}).values(), *(shares.creators or {}).values()]
        if any(part < 0 for amount in held for part in amount) or shares.uncounted < 0:
            yield f"output `{name}`: some of its shares are below nothing."
        if rows != whole[0]:
            yield f"output `{name}`: {rows} rows arrived, and its sources' shares have {whole[0]} documents."
        if shares.licences is not None and (found := Shares(shares.licences).whole) != whole:
            yield f"output `{name}`: the shares of its licences are {found} together, those of its sources {whole}."
        for creator, amount in (shares.creators or {}).items():
            if any(part > all_ for part, all_ in zip(amount, whole, strict=True)):
                yield f"output `{name}`: the creator {creator!r:.80} has {amount} of {whole}."
        if shares.uncounted > whole[0]:
            yield f"output `{name}`: {shares.uncounted} of {whole[0]} documents have no number of tokens."


def _differ(what: str, a: Tally, other: str, b: Tally) -> str:
    return (
        f"{what} ({a.rows} rows, {a.bytes} bytes, key sum {a.keys:032x}) differs from {other} ({b.rows} rows, {b.bytes} "
        f"bytes, key sum {b.keys:032x})."
    )


def count_rules(names: tuple[str, ...], rule: np.ndarray, failed: np.ndarray, sizes: np.ndarray) -> dict[str, Hits]:
    """First, any and sole hits of each rule.

    Args:
        names: rule names.
        rule: int16 index of the deciding rule per row, −1 for none.
        failed: uint64 mask of all failing rules per row.
        sizes: int64 UTF-8 bytes per row.
    """
    result: dict[str, Hits] = {}
    for index, name in enumerate(names):
        bit = np.uint64(1) << np.uint64(index)
        hit = (failed & bit) != 0
        if not hit.any():
            continue
        sole, first = failed == bit, rule == index
        result[name] = Hits(
            [int(first.sum()), int(sizes[first].sum())],
            [int(hit.sum()), int(sizes[hit].sum())],
            [int(sole.sum()), int(sizes[sole].sum())],
        )
    return result
