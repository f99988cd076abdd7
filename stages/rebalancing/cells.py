"""Documents that a budget cannot tell apart, by group: equal weight, equally often seen; counted, and lifted together.

A document's copies are, on average, E = min(cap, λ · weight): `weight` is what upstream nodes say that it earns, `cap` what is
left of `max_epochs` after earlier phases, and λ the one factor of its group at which Σ amount · E is the group's budget.
That sum is piecewise linear in λ and the same for all documents of a cell, so λ is found exactly, from counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY
from gristmill.pipeline.errors import DataError
from gristmill.stages.kernels.elementary import exp

MOST_CELLS = 1 << 20
"""Distinct (group, weight, seen): their table goes through one process. Weights of a `rebalance` are a few thousand."""
CELLS = pa.schema(
    [
        ("group", pa.string()),
        ("weight", pa.float64()),
        ("seen", pa.int64()),
        ("documents", pa.int64()),
        ("amount", pa.int64()),
        ("largest", pa.int64()),
    ]
)
"""By group, weight and times seen: documents, Σ amount, and the largest amount of one."""
ONE = 1 << 32
"""Copies are counted in units of 2^-32."""
HALF_LIFE = 15.387756
"""R*, the repeats at which new tokens are worth 1/e of fresh ones, for data (Muennighoff et al. 2023, arXiv:2305.16264,
section 5: R_D* = 15.387756)."""


def count_cells(tables: list[pa.Table]) -> pa.Table:
    """Combines notes, or cells, into cells. Raises DataError when there are more than MOST_CELLS."""
    parts = [_cells_of(table) if DOC_KEY in table.column_names else table.select(CELLS.names) for table in tables]
    keys = CELLS.names[:3]
    grouped = pa.concat_tables(parts).group_by(keys, use_threads=False)
    found = grouped.aggregate([("documents", "sum"), ("amount", "sum"), ("largest", "max")])
    if found.num_rows > MOST_CELLS:
        raise DataError(
            f"the documents have more than {MOST_CELLS} different combinations of group and weight, too many to find budgets "
            "for. Round the column of weights, or use buckets of a `quantiles` node."
        )
    found = found.select([*keys, "documents_sum", "amount_sum", "largest_max"]).rename_columns(CELLS.names)
    return found.cast(CELLS).sort_by([(name, "ascending") for name in keys]).combine_chunks()


def _cells_of(notes: pa.Table) -> pa.Table:
    columns = [notes["group"], notes["weight"], notes["seen"], np.ones(notes.num_rows, np.int64)]
    return pa.table([*columns, notes["amount"], notes["amount"]], schema=CELLS)


@dataclass(frozen=True)
class Cells:
    """The cells of one group, in order of weight and times seen.

    Attributes:
        weight: float64, ≥ 0.
        seen: int64, ≥ 0: copies in earlier phases.
        documents, amount: int64 sums.
        largest: the largest amount of a document.
    """

    weight: np.ndarray
    seen: np.ndarray
    documents: np.ndarray
    amount: np.ndarray
    largest: int

    def left(self, max_epochs: float | None) -> np.ndarray:
        """What is left of `max_epochs`: float64, infinite without a limit, 0 where nothing earns a copy."""
        if max_epochs is None:
            return np.where(self.weight > 0, math.inf, 0.0)
        return np.where(self.weight > 0, np.maximum(0.0, max_epochs - self.seen), 0.0)

    def base(self, max_epochs: float | None) -> int:
        """Σ amount · min(weight, what is left), to a whole number: the group's size before any budget."""
        return expected_amount(np.minimum(self.weight, self.left(max_epochs)), self.amount)

    def once(self, max_epochs: float | None) -> int:
        """Σ amount of the documents that may be read at all, each counted once."""
        return int(self.amount[self.left(max_epochs) > 0].sum())

    def spent(self, max_epochs: float | None) -> int:
        """Σ amount · seen over the same documents."""
        some = self.left(max_epochs) > 0
        return sum(int(a) * int(s) for a, s in zip(self.amount[some], self.seen[some], strict=True))


def cells_by_group(table: pa.Table) -> dict[str, Cells]:
    """Rows of CELLS, sorted, by group."""
    names = table["group"].to_pylist()
    columns = [table[name].to_numpy() for name in CELLS.names[1:]]
    starts = [row for row in range(len(names)) if row == 0 or names[row] != names[row - 1]]
    found = {}
    for start, stop in zip(starts, [*starts[1:], len(names)], strict=True):
        weight, seen, documents, amount, largest = (column[start:stop] for column in columns)
        found[names[start]] = Cells(weight, seen, documents, amount, int(largest.max()))
    return found


def units(copies: np.ndarray) -> np.ndarray:
    """Expected copies in units of 2^-32, as int64: rounded once, so that everybody has the same."""
    found: np.ndarray = np.rint(copies * ONE).astype(np.int64)
    return found


def expected_amount(copies: np.ndarray, amount: np.ndarray) -> int:
    """Σ amount · copies, to the nearest whole number, added up exactly."""
    total = sum(int(a) * int(c) for a, c in zip(amount.tolist(), units(copies).tolist(), strict=True))
    return (total + ONE // 2) // ONE


def factor(cells: Cells, max_epochs: float | None, budget: int) -> float:
    """λ: the factor at which Σ amount · min(left, λ · weight) is the budget.

    The budget must lie between 0 and what is reached when all that is left is read; infinite factors do not occur.
    """
    left = cells.left(max_epochs)
    some = (left > 0) & (cells.amount > 0)
    weight, most, amount = cells.weight[some], left[some], cells.amount[some].astype(np.float64)
    if budget <= 0 or not len(weight):
        return 0.0
    # A cell is read to its cap from this factor on. Between two of these the sum is linear.
    full = most / weight
    order = np.argsort(full, kind="stable")
    full, rising = full[order], (amount * weight)[order]
    capped = np.where(np.isfinite(most), amount * np.where(np.isfinite(most), most, 0.0), 0.0)[order]
    reached = np.concatenate(([0.0], np.cumsum(capped)))  # before cell k is full: of the k that are
    slope = np.cumsum(rising[::-1])[::-1]
    for k in range(len(full)):
        level = (budget - reached[k]) / slope[k]
        if level <= full[k]:
            return float(max(level, full[k - 1] if k else 0.0))
    return float(full[-1])


def expected_copies(weight: np.ndarray, seen: np.ndarray, factors: np.ndarray, max_epochs: float | None) -> np.ndarray:
    """min(left, λ · weight) for each document, its group's λ given row by row: float64."""
    wanted: np.ndarray = factors * weight
    if max_epochs is None:
        return wanted
    found: np.ndarray = np.minimum(wanted, np.maximum(0.0, max_epochs - seen))
    return found


def effective_amount(cells: Cells, copies: np.ndarray) -> float:
    """What the copies are worth in tokens that are read for the first time, after what was seen before.

    U (1 + R* (1 − e^(−R/R*))) for U tokens that are repeated R times beyond the first (Muennighoff et al. 2023); of documents
    that are read less than once on average, as many as are drawn.
    """
    total = 0.0
    for amount, before, more in zip(cells.amount.tolist(), cells.seen.tolist(), copies.tolist(), strict=True):
        total += amount * (_worth(before + more) - _worth(float(before)))
    return total


def marginal_worth(cells: Cells, copies: np.ndarray) -> float:
    """What one more token of the group is worth, as a share of a fresh one: the mean of e^(−R/R*) over its tokens."""
    worth = [exp(-max(0.0, s + c - 1.0) / HALF_LIFE) for s, c in zip(cells.seen.tolist(), copies.tolist(), strict=True)]
    whole = float(cells.amount.sum())
    return math.fsum(a * w for a, w in zip(cells.amount.tolist(), worth, strict=True)) / whole if whole else 0.0


def _worth(epochs: float) -> float:
    if epochs <= 1:
        return epochs
    return 1.0 + HALF_LIFE * (1.0 - float(exp(-(epochs - 1.0) / HALF_LIFE)))


def exposure(cells: Sequence[Cells], copies: Sequence[np.ndarray]) -> dict[str, dict[str, int]]:
    """How often content is seen: documents and amount by passes, earlier phases included, rounded up to whole passes."""
    counted: dict[int, list[int]] = {}
    for some, more in zip(cells, copies, strict=True):
        passes = some.seen - (-units(more) // ONE)
        for number in np.unique(passes).tolist():
            rows = passes == number
            entry = counted.setdefault(number, [0, 0])
            entry[0] += int(some.documents[rows].sum())
            entry[1] += int(some.amount[rows].sum())
    return {str(number): {"documents": d, "amount": a} for number, (d, a) in sorted(counted.items())}
