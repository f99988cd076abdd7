"""Copies by group, cluster size and quantile out of a run's counts: which evidence decides for a group, and lookups for rows.

Levels are those of `stages.rebalancing.curves`: a group, then without its first columns, then the whole. The finest level that
has enough clusters decides; what it borrows comes from the levels above it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import one_chunk
from gristmill.stages.labels.groups import Coded, Key, label
from gristmill.stages.rebalancing.curves import place_label
from gristmill.stages.rebalancing.evidence import SIZE_FROM, CellCounts, Evidence, evidence, lifts, margins, size_bins

COUNTS = ("rows", "marked")
UNIT = 1 << 20
"""Clusters are added up in parts of 1/UNIT: a member of a cluster of s counts UNIT // s of them."""
SIZES = len(SIZE_FROM)
REPORTED = 20
"""Groups whose cells are written into the report in full, the largest first."""
NUMBERS = ("copies", "rate", "low", "high", "clusters", "overall")


def notes_schema(width: int) -> pa.Schema:
    """Columns of the survey's notes: group_0, …, cell (size bin × quantile bins + quantile bin), rows, marked."""
    return pa.schema(
        [(f"group_{index}", pa.string()) for index in range(width)]
        + [("cell", pa.int32())]
        + [(name, pa.int64()) for name in COUNTS]
    )


def quantile_bins(quantiles: pa.Array | pa.ChunkedArray, bins: int) -> np.ndarray:
    """The bin of each quantile: int64, `bins` for none."""
    array = one_chunk(quantiles).cast(pa.float64()).fill_null(np.nan)
    values = np.asarray(array.to_numpy(zero_copy_only=False), np.float64)
    known = (values >= 0) & (values <= 1)
    found: np.ndarray = np.where(known, np.minimum(np.floor(np.where(known, values, 0) * bins), bins - 1), bins)
    return found.astype(np.int64)


def cell_counts(
    columns: Sequence[pa.Array], sizes: np.ndarray, bins: np.ndarray, marked: np.ndarray, copies: np.ndarray, members: bool,
    quantile_bins: int,
) -> pa.Table:  # fmt: skip
    """Notes of a batch: clusters and marked ones by group and cell, in units; sizes below 1 are left out.

    Args:
        columns: of the group.
        sizes: int64 cluster sizes.
        bins: int64 quantile bins.
        marked: bool.
        copies: int64: as how many members a row counts.
        members: whether rows are members, of which each weighs 1/size, or representatives.
        quantile_bins: without the one for none.
    """
    valid = sizes >= 1
    size = sizes[valid]
    cell = size_bins(size) * (quantile_bins + 1) + bins[valid]
    clusters = UNIT * copies[valid] // size if members else np.full(len(size), UNIT)
    arrays = [column.filter(pa.array(valid)) for column in columns]
    arrays += [pa.array(cell.astype(np.int32)), pa.array(clusters), pa.array(np.where(marked[valid], clusters, 0))]
    return _added_up(pa.Table.from_arrays(arrays, schema=notes_schema(len(columns))), len(columns))


def merge_cells(tables: list[pa.Table], *, width: int) -> pa.Table:
    """Adds counts of equal group and cell: the associative step of the exchange's tree."""
    columns = notes_schema(width).names
    return _added_up(pa.concat_tables([table.select(columns) for table in tables]), width)


def _added_up(table: pa.Table, width: int) -> pa.Table:
    schema = notes_schema(width)
    keys = schema.names[: width + 1]
    summed = table.group_by(keys, use_threads=False).aggregate([(name, "sum") for name in COUNTS])
    summed = summed.select([*keys, *(f"{name}_sum" for name in COUNTS)]).rename_columns(schema.names)
    return summed.sort_by([(name, "ascending") for name in keys]).cast(schema).combine_chunks()


@dataclass(frozen=True)
class FoundCells:
    """What the cells say about rows; one entry per row. Rates are NaN where none is known.

    Attributes:
        entry: int64, which group's evidence decided; −1 for none.
        cell: int64, the cell within it.
        copies, rate, low, high, overall: float64.
    """

    entry: np.ndarray
    cell: np.ndarray
    copies: np.ndarray
    rate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    overall: np.ndarray


class CellCurves:
    """Copies and rates by level, group and cell.

    Args:
        width: number of group columns.
        bins: quantile bins, without the one for documents that have none.
        numbers: by (level, the group's last `width − level` texts): float64 of shape (len(NUMBERS), cells).
        notes: what the report says beyond the cells.
    """

    def __init__(
        self,
        width: int,
        bins: int,
        numbers: Mapping[tuple[int, Key], np.ndarray],
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self.width, self.bins = width, bins
        self.numbers = dict(sorted(numbers.items()))
        self.notes = dict(notes or {})
        self._entry = {place: index for index, place in enumerate(self.numbers)}
        nothing = np.full((len(NUMBERS), SIZES * (bins + 1)), np.nan)
        nothing[0] = 1.0
        self._stacked = np.stack([*self.numbers.values(), nothing])

    def place(self, key: Key) -> tuple[int, Key] | None:
        """Level and group whose evidence decides for a group; None when there is none at all."""
        for level in range(self.width + 1):
            if (level, key[level:]) in self._entry:
                return level, key[level:]
        return None

    def find(self, coded: Coded, sizes: np.ndarray, quantiles: pa.Array | pa.ChunkedArray) -> FoundCells:
        """Copies and rates of rows with the given groups, int64 cluster sizes and quantiles."""
        places = [self.place(key) for key in coded.keys]
        entry = np.array([-1 if place is None else self._entry[place] for place in places], np.int64)[coded.codes]
        cell = size_bins(np.maximum(sizes, 1)) * (self.bins + 1) + quantile_bins(quantiles, self.bins)
        found = self._stacked[entry, :, cell]
        return FoundCells(
            entry, cell, *(found[:, NUMBERS.index(name)] for name in ("copies", "rate", "low", "high", "overall"))
        )

    def cell_text(self, entry: int, cell: int) -> str:
        """A cell in words: group, cluster sizes, quantiles, rate with its interval, and the rate that it is compared with."""
        name = place_label(self.width, *list(self.numbers)[entry]) if entry >= 0 else "no group"
        size, bin_ = divmod(cell, self.bins + 1)
        last = "on" if size == SIZES - 1 else f"to {SIZE_FROM[size + 1] - 1}"
        _, rate, low, high, _, overall = self._stacked[entry, :, cell].tolist()
        where = "no quantile" if bin_ == self.bins else f"quantiles {bin_ / self.bins:g} to {(bin_ + 1) / self.bins:g}"
        return (
            f"{name}, cluster sizes {SIZE_FROM[size]} {last}, {where}: {rate:.4f} removed ({low:.4f} to {high:.4f}), of all "
            f"{overall:.4f}"
        )

    def table(self) -> pa.Table:
        """The cells as a table that every task gets, one row per group and cell."""
        cells = SIZES * (self.bins + 1)
        places = list(self.numbers)
        keys = [[key[at - level] if at >= level else "" for level, key in places] for at in range(self.width)]
        columns: dict[str, Any] = {"level": np.repeat(np.array([level for level, _ in places], np.int32), cells)}
        for at in range(self.width):
            columns[f"group_{at}"] = pa.array([key for key in keys[at] for _ in range(cells)], pa.string())
        columns["cell"] = np.tile(np.arange(cells, dtype=np.int32), len(places))
        for at, name in enumerate(NUMBERS):
            columns[name] = np.concatenate([np.empty(0), *(numbers[at] for numbers in self.numbers.values())])
        return pa.table(columns)

    @classmethod
    def from_table(cls, table: pa.Table, width: int, bins: int) -> CellCurves:
        """The inverse of `table` (without the report's notes)."""
        cells = SIZES * (bins + 1)
        level = table["level"].to_pylist()[::cells]
        keys = [table[f"group_{at}"].to_pylist()[::cells] for at in range(width)]
        numbers = np.stack(
            [np.asarray(table[name].to_numpy(), np.float64).reshape(-1, cells) for name in NUMBERS], axis=1
        )
        places = [(int(at), tuple(column[row] for column in keys)[int(at) :]) for row, at in enumerate(level)]
        return cls(width, bins, dict(zip(places, numbers, strict=True)))

    def report(self) -> dict[str, Any]:
        """What the manifest says: the cells of the largest groups, and which group's evidence each group uses."""
        clusters = {place: float(numbers[NUMBERS.index("clusters")].sum()) for place, numbers in self.numbers.items()}
        largest = sorted(clusters, key=lambda place: (-clusters[place], place))[:REPORTED]
        return {
            "sizes_from": SIZE_FROM.tolist(),
            "quantile_bins": self.bins,
            "evidence": {place_label(self.width, *place): self._cells(place) for place in sorted(largest)},
            **self.notes,
        }

    def _cells(self, place: tuple[int, Key]) -> dict[str, Any]:
        shaped = {
            name: one.reshape(SIZES, self.bins + 1) for name, one in zip(NUMBERS, self.numbers[place], strict=True)
        }
        return {
            "global_removal_rate": round(float(shaped["overall"][0, 0]), 9),
            **{name: np.round(shaped[name], 6).tolist() for name in ("copies", "rate", "low", "high", "clusters")},
        }


def counted_cells(
    counts: pa.Table, group: Sequence[str], *, bins: int, max_repeats: float, min_group_clusters: int
) -> CellCurves:
    """Evidence out of the run's own counts, for groups with `min_group_clusters` clusters and for the whole."""
    width = len(group)
    finest = _by_group(counts, width, bins)
    levels: list[dict[Key, CellCounts]] = []
    for level in range(width + 1):
        together: dict[Key, CellCounts] = {}
        for key, one in finest.items():
            held = together.get(key[level:])
            together[key[level:]] = one if held is None else _plus(held, one)
        levels.append(together)
    found: dict[tuple[int, Key], Evidence] = {}
    for level, together in enumerate(levels):
        for key, one in together.items():
            if level == width or one.clusters.sum() >= min_group_clusters:
                above = None
                for higher in range(width, level, -1):
                    whole = levels[higher][key[higher - level :]]
                    # Without what the next level down holds of it, so that no cluster speaks twice.
                    within = levels[higher - 1][key[higher - 1 - level :]] if higher - 1 > level else one
                    above = margins(_minus(whole, within), above)
                found[level, key] = evidence(one, above)
    numbers = {place: _numbers(one, max_repeats) for place, one in found.items()}
    made = CellCurves(width, bins, numbers)
    for key, one in sorted(finest.items()):
        place = made.place(key)
        total = float(one.clusters.sum())
        made.notes.setdefault("groups", {})[label(key)] = {
            "clusters": total,
            "removal_rate": float(one.removed.sum()) / total if total else None,
            "curve": None if place is None else place_label(width, *place),
        }
    return made


def _by_group(counts: pa.Table, width: int, bins: int) -> dict[Key, CellCounts]:
    keys = list(zip(*(counts[f"group_{at}"].to_pylist() for at in range(width)), strict=True)) or [()] * counts.num_rows
    cell, rows, marked = (counts[name].to_numpy() for name in ("cell", *COUNTS))
    found: dict[Key, CellCounts] = {}
    for row, key in enumerate(keys):
        if key not in found:
            found[key] = CellCounts(np.zeros((SIZES, bins + 1)), np.zeros((SIZES, bins + 1)))
        place = divmod(int(cell[row]), bins + 1)
        found[key].clusters[place] = rows[row] / UNIT
        found[key].removed[place] = marked[row] / UNIT
    return found


def _plus(one: CellCounts, other: CellCounts) -> CellCounts:
    return CellCounts(one.clusters + other.clusters, one.removed + other.removed)


def _minus(whole: CellCounts, part: CellCounts) -> CellCounts:
    return CellCounts(np.maximum(0.0, whole.clusters - part.clusters), np.maximum(0.0, whole.removed - part.removed))


def _numbers(found: Evidence, max_repeats: float) -> np.ndarray:
    every = [lifts(found, max_repeats), found.rate, found.low, found.high, found.clusters]
    return np.stack([*(values.ravel() for values in every), np.full(found.rate.size, found.overall)])
