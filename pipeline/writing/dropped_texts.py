"""Texts of dropped documents that an output keeps: each task's candidates, and of them the lowest ranks of the corpus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY, ID, one_chunk
from gristmill.pipeline.planning.graph import Edge
from gristmill.pipeline.planning.plan import Plan
from gristmill.pipeline.provenance.sidecar_tables import dropped_rank
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.stage import DROPPED
from gristmill.pipeline.stage_spec import REVOKED

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

Limits = tuple[tuple[str, str, str | None, int], ...]
"""Node, rule, language, and the highest rank that belongs to a sample."""
_ANY = (1 << 64) - 1
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


def dropped_texts(
    plan: Plan, slice_rows: SliceRows, order: Sequence[str], most: int | None, known: Limits = ()
) -> pa.Table:
    """The dropped rows of a task: all, or the `most` lowest ranks per node, rule and language. Their texts are as they
    were read or made, null for those that had none yet.

    Args:
        order: sources and nodes, as they are to stand.
        known: bounds on ranks of the sample, as far as there are any (`sample_limits`): what is above them is left out.
    """
    bounds = {(node, rule, language): limit for node, rule, language, limit in known}
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
        language, rules = language_of(plan, slice_rows, name, rows), state.outcome.rules
        rank = dropped_rank(slice_rows.keys[rows], plan.config.seed)
        if most is not None:
            labels = language.dictionary_encode(null_encoding="encode")
            names = labels.dictionary.to_pylist()
            group = rule.astype(np.int64) * len(names) + np.asarray(labels.indices)
            present, back = np.unique(group, return_inverse=True)
            pairs = [divmod(code, len(names)) for code in present.tolist()]
            highest = [bounds.get((name, rules[r], names[n]), _ANY) for r, n in pairs]
            inside = np.flatnonzero(rank <= np.array(highest, np.uint64)[back])
            chosen = inside[lowest_per_group(group[inside], rank[inside], most)]
            rows, rule, rank, language = rows[chosen], rule[chosen], rank[chosen], language.take(pa.array(chosen))
        parts.append(
            pa.table(
                [
                    pa.array([name] * len(rows), pa.string()),
                    pa.array(rules, pa.string()).take(pa.array(rule)),
                    language,
                    one_chunk(slice_rows.table[DOC_KEY]).take(pa.array(rows)),
                    one_chunk(slice_rows.table[ID]).take(pa.array(rows)).cast(pa.string()),
                    slice_rows.first_text(rows),
                    pa.array(rank, pa.uint64()),
                ],
                schema=DROPPED_TEXTS,
            )
        )
    return pa.concat_tables(parts) if parts else DROPPED_TEXTS.empty_table()


def language_of(plan: Plan, slice_rows: SliceRows, name: str, rows: np.ndarray) -> pa.Array:
    """The label of each row as far as its node knows it, else null."""
    node = plan.graph.by_name.get(name)
    inputs: tuple[Edge, ...] = () if node is None else node.inputs
    for place in [name, *(edge.node for edge in inputs)]:
        if {"language", "language_script"} <= set(plan.graph.columns_after(place)):
            language, script = (slice_rows.column(place, c, rows) for c in ("language", "language_script"))
            joined = pc.binary_join_element_wise(language.cast(pa.string()), script.cast(pa.string()), "_")
            empty = pc.or_(pc.equal(language, ""), pc.equal(script, ""))
            return pc.if_else(empty, pa.scalar(None, pa.string()), joined)
    return pa.nulls(len(rows), pa.string())


def rank_limits(tables: Iterable[pa.Table], most: int) -> Limits:
    """The highest rank of the `most` lowest, for each (node, rule, language) of all candidates. Bounded memory."""
    return tuple(limit for limit, _ in _highest(tables, most))


def full_limits(tables: Iterable[pa.Table], most: int) -> Limits:
    """Those limits that more documents can only lower: of every (node, rule, language) with `most` candidates."""
    return tuple(limit for limit, count in _highest(tables, most) if count == most)


def _highest(tables: Iterable[pa.Table], most: int) -> list[tuple[tuple[str, str, str | None, int], int]]:
    """Each limit, and how many ranks are not above it."""
    numbers, group, rank = _lowest(tables, most)
    highest, counts = np.zeros(len(numbers), np.uint64), np.bincount(group, minlength=len(numbers))
    np.maximum.at(highest, group, rank)
    ordered = sorted(numbers.items(), key=lambda item: item[1])
    return [((*name, int(highest[number])), int(counts[number])) for name, number in ordered]


def limits_table(limits: Limits) -> pa.Table:
    """Limits as a table, and back with `limits_in`."""
    columns = list(zip(*limits, strict=True)) or [()] * len(RANKS)
    return pa.table([pa.array(values, item.type) for values, item in zip(columns, RANKS, strict=True)], schema=RANKS)


def limits_in(table: pa.Table) -> Limits:
    """The limits in a table."""
    return tuple(zip(*(column.to_pylist() for column in table.columns), strict=True))


def lowest_ranks(tables: Iterable[pa.Table], most: int) -> pa.Table:
    """The `most` lowest ranks of each (node, rule, language) of some candidates: what `rank_limits` takes."""
    numbers, group, rank = _lowest(tables, most)
    names = sorted(numbers, key=lambda name: numbers[name])
    columns = [pa.array([name[part] for name in names], pa.string()).take(pa.array(group)) for part in range(3)]
    return pa.table([*columns, pa.array(rank)], schema=RANKS)


def ranks_of(candidates: pa.Table) -> pa.Table:
    """What the limits of a sample are found from, of its candidates."""
    return candidates.select(list(RANKS.names))


RANKS = pa.schema([("node", pa.string()), ("rule", pa.string()), ("language", pa.string()), ("rank", pa.uint64())])


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
    return table if keep.all() else table.filter(pa.array(keep))
