"""Texts of dropped documents that an output keeps: each task's candidates, and of them the lowest ranks of the corpus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, ID, one_chunk
from gristmill.pipeline.planning.graph import Edge
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.planning.revoked import RULE as REVOKED
from gristmill.pipeline.provenance.sidecar_tables import dropped_rank
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.stage import DROPPED

DROPPED_TEXTS = pa.schema(
    [
        pa.field("node", pa.string()),
        pa.field("rule", pa.string()),
        pa.field("language", pa.string()),
        pa.field("doc_key", pa.binary(16)),
        pa.field("id", pa.string()),
        pa.field("text", pa.large_string()),
        pa.field("rank", pa.uint64()),
    ]
)
"""Texts of dropped documents. `rank` is the seeded hash of doc_key by which a sample is chosen: lowest first."""

_HELD = 1 << 22
"""Ranks that are held while limits are sought; beyond that many they are cut to the lowest of each group."""


def lowest_per_group(group: np.ndarray, rank: np.ndarray, most: int) -> np.ndarray:
    """Positions of the `most` lowest ranks of each group, ascending."""
    if not len(group):
        return np.empty(0, np.int64)
    order = np.lexsort((rank, group))
    ordered = group[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    start = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    return np.sort(order[np.arange(len(order)) - start < most])


def dropped_texts(plan: Plan, slice_rows: SliceRows, order: Sequence[str], most: int | None) -> pa.Table:
    """The dropped rows of a task: all, or the `most` lowest ranks per node, rule and language. Their texts are as they
    were read or made, null for those that had none yet. `order`: sources and nodes, as they are to stand."""
    parts = []
    for name in order:
        state = slice_rows.states.get(name)
        if state is None or state.outcome is None:
            continue
        is_revoked = np.array([*(rule == REVOKED for rule in state.outcome.rules), False])[state.outcome.rule]
        gone = np.flatnonzero((state.outcome.port == DROPPED) & ~is_revoked)
        if not len(gone):
            continue
        rows, rule = state.rows[gone], state.outcome.rule[gone]
        language = _language(plan, slice_rows, name, rows)
        rank = dropped_rank(slice_rows.keys[rows], plan.config.seed)
        if most is not None:
            labels, codes = np.unique(np.array([str(item) for item in language], object), return_inverse=True)
            chosen = lowest_per_group(rule.astype(np.int64) * len(labels) + codes, rank, most)
            rows, rule, rank = rows[chosen], rule[chosen], rank[chosen]
            language = [language[int(c)] for c in chosen]
        parts.append(
            pa.table(
                [
                    pa.array([name] * len(rows), pa.string()),
                    pa.array([state.outcome.rules[r] for r in rule.tolist()], pa.string()),
                    pa.array(language, pa.string()),
                    one_chunk(slice_rows.table[DOC_KEY]).take(pa.array(rows)),
                    one_chunk(slice_rows.table[ID]).take(pa.array(rows)).cast(pa.string()),
                    slice_rows.first_text(rows),
                    pa.array(rank, pa.uint64()),
                ],
                schema=DROPPED_TEXTS,
            )
        )
    return pa.concat_tables(parts) if parts else DROPPED_TEXTS.empty_table()


def _language(plan: Plan, slice_rows: SliceRows, name: str, rows: np.ndarray) -> list[str | None]:
    """The label of each row as far as its node knows it."""
    node = plan.graph.by_name.get(name)
    inputs: tuple[Edge, ...] = () if node is None else node.inputs
    for place in [name, *(edge.node for edge in inputs)]:
        if {"language", "language_script"} <= set(plan.graph.columns_after(place)):
            language, script = (slice_rows.column(place, c, rows).to_pylist() for c in ("language", "language_script"))
            return [f"{a}_{b}" if a and b else None for a, b in zip(language, script, strict=True)]
    return [None] * len(rows)


Limits = tuple[tuple[str, str, str | None, int], ...]
"""Node, rule, language, and the highest rank that belongs to a sample."""


def rank_limits(tables: Iterable[pa.Table], most: int) -> Limits:
    """The highest rank of the `most` lowest, for each (node, rule, language) of all candidates. Bounded memory."""
    numbers, group, rank = _lowest(tables, most)
    highest = np.zeros(len(numbers), np.uint64)
    np.maximum.at(highest, group, rank)
    return tuple((*name, int(highest[number])) for name, number in sorted(numbers.items(), key=lambda item: item[1]))


def lowest_ranks(tables: Iterable[pa.Table], most: int) -> pa.Table:
    """The `most` lowest ranks of each (node, rule, language) of some candidates: what `rank_limits` takes."""
    numbers, group, rank = _lowest(tables, most)
    names = sorted(numbers, key=lambda name: numbers[name])
    columns = [pa.array([name[part] for name in names], pa.string()).take(pa.array(group)) for part in range(3)]
    return pa.table([*columns, pa.array(rank)], schema=_RANKS)


def ranks_of(candidates: pa.Table) -> pa.Table:
    """What the limits of a sample are found from, of its candidates."""
    return candidates.select(list(_RANKS.names))


_RANKS = pa.schema([("node", pa.string()), ("rule", pa.string()), ("language", pa.string()), ("rank", pa.uint64())])


def _lowest(
    tables: Iterable[pa.Table], most: int
) -> tuple[dict[tuple[str, str, str | None], int], np.ndarray, np.ndarray]:
    """The number of each (node, rule, language), and the number and rank of each row that is among its lowest."""
    numbers: dict[tuple[str, str, str | None], int] = {}
    held = [(np.empty(0, np.int64), np.empty(0, np.uint64))]

    def cut() -> None:
        group, rank = (np.concatenate(parts) for parts in zip(*held, strict=True))
        lowest = lowest_per_group(group, rank, most)
        held[:] = [(group[lowest], rank[lowest])]

    for table in tables:
        held.append((_groups(table, numbers), np.asarray(one_chunk(table["rank"]), np.uint64).copy()))
        if sum(len(rank) for _, rank in held) > _HELD:
            cut()
    cut()
    return numbers, *held[0]


def _groups(table: pa.Table, numbers: dict[tuple[str, str, str | None], int]) -> np.ndarray:
    """The number of each row's (node, rule, language); new ones are added to `numbers`."""
    codes = np.zeros(table.num_rows, np.int64)
    names: list[list[Any]] = []
    for column in ("node", "rule", "language"):
        encoded = one_chunk(table[column]).dictionary_encode(null_encoding="encode")
        names.append(encoded.dictionary.to_pylist())
        codes = codes * max(1, len(names[-1])) + np.asarray(encoded.indices, np.int64)
    present, back = np.unique(codes, return_inverse=True)
    mine = np.empty(len(present), np.int64)
    for index, code in enumerate(present.tolist()):
        rest, language = divmod(code, len(names[2]))
        node, rule = divmod(rest, len(names[1]))
        name = (names[0][node], names[1][rule], names[2][language])
        mine[index] = numbers.setdefault(name, len(numbers))
    return mine[back]


def within_limits(table: pa.Table, found: Limits) -> pa.Table:
    """The candidates whose rank is not above the limit of their (node, rule, language)."""
    numbers = {(node, rule, language): index for index, (node, rule, language, _) in enumerate(found)}
    limits = np.array([limit for *_, limit in found], np.uint64)
    keep = np.asarray(one_chunk(table["rank"]), np.uint64) <= limits[_groups(table, numbers)]
    return table.filter(pa.array(keep)).combine_chunks()
