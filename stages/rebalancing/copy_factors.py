"""Factors of a mix: for each group the one number at which the copies of its documents meet the group's amount.

Notes hold one row per document: doc_key, group, repeats, amount. Three reductions over them: what each group holds; what
it holds at the lower end of a narrow bracket around its factor, with the single steps within; the factor is then read
off. The bracket is six standard deviations wide on either side, which is some √n steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY, KEY_TYPE, key_words, one_chunk
from gristmill.stages.kernels.draws import draws
from gristmill.stages.rebalancing.kernels.steps import Steps, WeightedRows, list_steps

if TYPE_CHECKING:
    from gristmill.pipeline.exchange import Exchange, Rows

NOTES = pa.schema([(DOC_KEY, KEY_TYPE), ("group", pa.string()), ("repeats", pa.int64()), ("amount", pa.int64())])
SUMS = ("documents", "held", "base", "squares_high", "squares_low")
TOTALS = pa.schema([("group", pa.string()), *((name, pa.int64()) for name in (*SUMS, "largest"))])
"""By group: documents, Σ amount, Σ amount · repeats, Σ amount² in two halves of 32 bits, and the largest amount of a
document."""
STEPS = pa.schema([("group", pa.string()), ("position", pa.float64()), ("amount", pa.int64())])
"""By group: the amount at the lower end of the bracket (position null), and the steps within it."""
DEVIATIONS = 6
"""Half the width of a bracket. A factor that lies outside, once in 10^9 groups, is looked for in a wider one."""
LARGE = 1 << 31
"""Amounts above it count as this much in Σ amount²: a bracket may then be too narrow at first."""


def add_totals(tables: list[pa.Table]) -> pa.Table:
    """Combines notes, or totals, into totals."""
    return _summed(
        [_totals_of(table) if DOC_KEY in table.column_names else table.select(TOTALS.names) for table in tables]
    )


def _totals_of(notes: pa.Table) -> pa.Table:
    amount = one_chunk(notes["amount"]).to_numpy()
    squares = np.minimum(amount, LARGE).astype(np.uint64) ** np.uint64(2)
    columns = {
        "group": one_chunk(notes["group"]),
        "documents": pa.array(np.ones(notes.num_rows, np.int64)),
        "held": pa.array(amount),
        "base": one_chunk(pc.multiply_checked(notes["amount"], notes["repeats"])),
        "squares_high": pa.array((squares >> np.uint64(32)).astype(np.int64)),
        "squares_low": pa.array((squares & np.uint64(0xFFFFFFFF)).astype(np.int64)),
        "largest": pa.array(amount),
    }
    return pa.table(columns, schema=TOTALS)


def _summed(tables: Sequence[pa.Table]) -> pa.Table:
    grouped = pa.concat_tables(tables).group_by("group", use_threads=False)
    sums = grouped.aggregate([*((name, "sum") for name in SUMS), ("largest", "max")])
    sums = sums.select(["group", *(f"{name}_sum" for name in SUMS), "largest_max"]).rename_columns(TOTALS.names)
    return sums.cast(TOTALS).sort_by("group").combine_chunks()


def add_steps(
    tables: list[pa.Table], *, groups: Sequence[str], low: Sequence[float], high: Sequence[float], seed: int
) -> pa.Table:
    """Combines notes, or steps, into steps; groups that are not named are left out."""
    parts = [
        _steps_of(table, groups, low, high, seed) if DOC_KEY in table.column_names else table.select(STEPS.names)
        for table in tables
    ]
    every = pa.concat_tables(parts)
    base = every.filter(every["position"].is_null()).group_by("group", use_threads=False).aggregate([("amount", "sum")])
    held = pa.Table.from_arrays(
        [one_chunk(base["group"]), pa.nulls(base.num_rows, pa.float64()), one_chunk(base["amount_sum"])], schema=STEPS
    )
    steps = every.filter(every["position"].is_valid())
    keys = [("group", "ascending"), ("position", "ascending"), ("amount", "ascending")]
    return pa.concat_tables([held, steps]).sort_by(keys).combine_chunks()


def _steps_of(
    notes: pa.Table, groups: Sequence[str], low: Sequence[float], high: Sequence[float], seed: int
) -> pa.Table:
    names = pa.array(groups, pa.string())
    code = pc.index_in(notes["group"], value_set=names)
    chosen = notes.filter(code.is_valid())
    codes = one_chunk(code.drop_null()).to_numpy().astype(np.int64)
    drawn = np.empty(len(codes))
    draws(key_words(chosen[DOC_KEY]), np.uint64(seed), drawn)
    rows = WeightedRows(codes, drawn, *(one_chunk(chosen[name]).to_numpy() for name in ("repeats", "amount")))
    room = 1024
    while True:
        totals = np.zeros(len(groups), np.int64)
        steps = Steps(np.empty(room, np.int64), np.empty(room), np.empty(room, np.int64))
        bounds = np.asarray(low, np.float64), np.asarray(high, np.float64)
        found = list_steps(*bounds, rows, totals, steps)
        if found <= room:
            break
        room = found
    held = pa.Table.from_arrays([names, pa.nulls(len(groups), pa.float64()), pa.array(totals)], schema=STEPS)
    listed = [pa.array(column[:found]) for column in steps]
    return pa.concat_tables([held, pa.Table.from_arrays([names.take(listed[0]), *listed[1:]], schema=STEPS)])


def find_factors(
    notes: Rows, exchange: Exchange, totals: pa.Table, wanted: Mapping[str, int], seed: int
) -> dict[str, float]:
    """The factor of each group at which its documents' copies hold the wanted amount, to within half a document.

    Args:
        notes: rows of NOTES.
        totals: what `add_totals` made of them.
        wanted: amounts by group.
        seed: of the draws.
    """
    known = {row["group"]: row for row in totals.to_pylist() if row["base"] > 0}
    factors: dict[str, float] = {}
    open_groups = sorted(name for name in wanted if name in known)
    width = 1.0
    while open_groups:
        low, high = [], []
        for name in open_groups:
            row = known[name]
            # Each step happens or not, which deviates by half its amount at most.
            deviation = math.sqrt((row["squares_high"] << 32) + row["squares_low"]) / 2
            spread = width * (DEVIATIONS * deviation + 2 * row["largest"]) / row["base"]
            low.append(max(0.0, wanted[name] / row["base"] - spread))
            high.append(wanted[name] / row["base"] + spread)
        params = {"groups": open_groups, "low": low, "high": high, "seed": seed}
        found = exchange.reduce(notes, add_steps, params)
        parts = _runs(found)
        missed = []
        for name, begin, end in zip(open_groups, low, high, strict=True):
            factor = factor_for(parts[name], begin, end, wanted[name], known[name]["largest"])
            if factor is None:
                missed.append(name)
            else:
                factors[name] = factor
        open_groups, width = missed, width * 16
    return factors


def _runs(steps: pa.Table) -> dict[str, pa.Table]:
    """Each group's rows of a table sorted by group."""
    ends = pc.run_end_encode(one_chunk(steps["group"]))
    starts = [0, *ends.run_ends.to_pylist()]
    return {
        name: steps.slice(start, stop - start)
        for name, start, stop in zip(ends.values.to_pylist(), starts, starts[1:], strict=False)
    }


def factor_for(steps: pa.Table, low: float, high: float, wanted: int, largest: int) -> float | None:
    """The factor within a bracket whose amount is nearest to the wanted one; None when that lies outside.

    Of two that are equally near, the smaller amount.
    """
    listed = steps.filter(steps["position"].is_valid())
    positions = listed["position"].to_numpy()
    held = sum(steps.filter(steps["position"].is_null())["amount"].to_pylist())
    amounts = np.concatenate([[held], held + np.cumsum(listed["amount"].to_numpy())]).astype(np.int64)
    # Cutting at a step's position leaves that step out; between equal positions there is no cut.
    cuts = np.append(positions, high)
    possible = np.append(np.diff(positions, prepend=-1.0) > 0, True)
    if (amounts[0] > wanted + largest and low > 0) or amounts[-1] + largest < wanted:
        return None
    distance = np.where(possible, np.abs(amounts - wanted), np.iinfo(np.int64).max)
    return float(cuts[int(np.argmin(distance))])
