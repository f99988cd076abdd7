"""Curves of repeats by group: counts by group and cluster size, fallbacks for small groups, and lookups for rows.

A group is a tuple of texts, one per group column ("" for null). Level 0 is the group itself; level i leaves out the
first i columns, so that a language falls back to its script and then to the whole. The finest level that has a curve
decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import one_chunk
from gristmill.stages.kernels.draws import find_bins
from gristmill.stages.labels.groups import Coded, Key, label
from gristmill.stages.rebalancing.rehydration import Counts, Curve, curve, table_curve

BUILT_IN = "fineweb2"
"""The name under which `rates.table` finds the weights of FineWeb2's first release."""
COUNTS = ("rows", "marked")
REPORTED_BINS = 20
"""Curves whose bins are written into the report in full, largest first; of the others it has the weights."""


def notes_schema(width: int) -> pa.Schema:
    """Columns of the survey's notes: group_0, group_1, …, size, rows, marked."""
    return pa.schema(
        [(name, pa.string()) for name in _key_columns(width)]
        + [("size", pa.int64())]
        + [(name, pa.int64()) for name in COUNTS]
    )


def _key_columns(width: int) -> list[str]:
    # Not the columns' own names, which may be any.
    return [f"group_{index}" for index in range(width)]


def size_counts(columns: Sequence[pa.Array], sizes: np.ndarray, marked: np.ndarray, copies: np.ndarray) -> pa.Table:
    """Notes of a batch: rows and marked rows by group and cluster size, each as many as the documents that it stands for;
    sizes below 1 are left out."""
    valid = sizes >= 1
    arrays = [column.filter(pa.array(valid)) for column in columns]
    arrays += [pa.array(sizes[valid]), pa.array(copies[valid]), pa.array((marked * copies)[valid])]
    return _added_up(pa.Table.from_arrays(arrays, schema=notes_schema(len(columns))), len(columns))


def merge_counts(tables: list[pa.Table], *, group: Sequence[str]) -> pa.Table:
    """Adds counts of equal group and size: the associative step of the exchange's tree."""
    columns = notes_schema(len(group)).names
    return _added_up(pa.concat_tables([table.select(columns) for table in tables]), len(group))


def _added_up(table: pa.Table, width: int) -> pa.Table:
    keys = [*_key_columns(width), "size"]
    # One thread: the order of groups would otherwise depend on the machine; sorted, it depends on the rows alone.
    summed = table.group_by(keys, use_threads=False).aggregate([(name, "sum") for name in COUNTS])
    summed = summed.select([*keys, *(f"{name}_sum" for name in COUNTS)]).rename_columns([*keys, *COUNTS])
    return summed.sort_by([(name, "ascending") for name in keys]).cast(notes_schema(width)).combine_chunks()


@dataclass(frozen=True)
class Found:
    """What the curves say about rows; one entry per row. Rates are NaN where none is known."""

    repeats: np.ndarray
    removal_rate: np.ndarray
    global_rate: np.ndarray


class GroupCurves:
    """Curves by level and group.

    Args:
        width: number of group columns.
        curves: by (level, the group's last `width - level` texts).
        notes: what the report says beyond the curves.
    """

    def __init__(self, width: int, curves: Mapping[tuple[int, Key], Curve], notes: Mapping[str, Any] | None = None):
        self.width = width
        self.curves = dict(sorted(curves.items()))
        self.notes = dict(notes or {})
        places = list(self.curves.values())
        self._entry = {place: index for index, place in enumerate(self.curves)}
        lengths = np.array([len(one.size_from) for one in places], np.int64)
        # The last entry is empty: for groups without any curve.
        self._stops = np.append(np.cumsum(lengths), lengths.sum()).astype(np.int64)
        self._starts = np.append(self._stops[:-1] - lengths, lengths.sum()).astype(np.int64)
        self._size_from = _joined([one.size_from for one in places], np.int64)
        # One more element answers rows without a bin, whose position is −1.
        self._repeats = np.append(_joined([one.repeats for one in places], np.int64), 1)
        self._rates = np.append(_joined([one.removal_rate for one in places], np.float64), np.nan)
        overall = np.array([one.global_rate for one in places], np.float64)
        self._overall = np.append(np.repeat(overall, lengths), np.nan)

    def place(self, key: Key) -> tuple[int, Key] | None:
        """Level and group whose curve decides for a group; None when there is none at all."""
        for level in range(self.width + 1):
            if (level, key[level:]) in self._entry:
                return level, key[level:]
        return None

    def find(self, coded: Coded, sizes: np.ndarray) -> Found:
        """Repeats and rates of rows with the given groups and int64 cluster sizes."""
        none = len(self._starts) - 1
        places = [self.place(key) for key in coded.keys]
        entry = np.array([none if p is None else self._entry[p] for p in places], np.int64)
        position = np.empty(len(sizes), np.int64)
        find_bins(sizes, coded.codes, self._starts[entry], self._stops[entry], self._size_from, position)
        return Found(self._repeats[position], self._rates[position], self._overall[position])

    def table(self) -> pa.Table:
        """The curves as a table that every task gets, one row per bin, ordered by level, group and size."""
        keys = _key_columns(self.width)
        columns: dict[str, list[Any]] = {name: [] for name in ("level", *keys)}
        for (level, key), one in self.curves.items():
            columns["level"] += [level] * len(one.size_from)
            for name, value in zip(keys, [""] * level + list(key), strict=True):
                columns[name] += [value] * len(one.size_from)
        lengths = [len(one.size_from) for one in self.curves.values()]
        places = list(self.curves.values())
        arrays = [pa.array(columns["level"], pa.int32()), *(pa.array(columns[name], pa.string()) for name in keys)]
        arrays += [
            pa.array(_joined([one.size_from for one in places], np.int64)),
            pa.array(_joined([one.repeats for one in places], np.int64)),
            pa.array(_joined([one.removal_rate for one in places], np.float64)),
            pa.array(_joined([one.clusters for one in places], np.float64)),
            pa.array(np.repeat(np.array([one.global_rate for one in places], np.float64), lengths)),
        ]
        names = ["level", *keys, "size_from", "repeats", "removal_rate", "clusters", "global_rate"]
        return pa.Table.from_arrays(arrays, names=names)

    @classmethod
    def from_table(cls, table: pa.Table, width: int) -> GroupCurves:
        """The inverse of `table` (without the report's notes)."""
        place_columns = [one_chunk(table[name]).to_pylist() for name in ("level", *_key_columns(width))]
        numbers = {
            name: np.asarray(one_chunk(table[name]).to_numpy(zero_copy_only=False))
            for name in ("size_from", "repeats", "removal_rate", "clusters", "global_rate")
        }
        curves: dict[tuple[int, Key], Curve] = {}
        places = list(zip(*place_columns, strict=True))
        bounds = [i for i in range(len(places)) if i == 0 or places[i] != places[i - 1]] + [len(places)]
        for start, stop in zip(bounds, bounds[1:], strict=False):
            level = int(places[start][0])
            part = {name: values[start:stop] for name, values in numbers.items()}
            curves[level, tuple(places[start][1 + level :])] = Curve(
                part["size_from"],
                part["removal_rate"],
                part["clusters"],
                part["repeats"],
                float(part["global_rate"][0]),
            )
        return cls(width, curves)

    def report(self) -> dict[str, Any]:
        """What the manifest says: every curve's weights and rate, the largest curves bin by bin, and the fallbacks."""
        named = {place_label(self.width, *place): one for place, one in self.curves.items()}
        largest = sorted(named, key=lambda name: (-np.nan_to_num(named[name].clusters).sum(), name))[:REPORTED_BINS]
        return {
            "curves": {
                name: {"weights": one.weights(), "global_removal_rate": _number(one.global_rate)}
                for name, one in named.items()
            },
            "bins": {
                name: [
                    {"size_from": int(a), "clusters": _number(b), "removal_rate": _number(c), "repeats": int(d)}
                    for a, b, c, d in zip(*_bins(named[name]), strict=True)
                ]
                for name in sorted(largest)
            },
            **self.notes,
        }


def _bins(one: Curve) -> tuple[list[Any], ...]:
    return one.size_from.tolist(), one.clusters.tolist(), one.removal_rate.tolist(), one.repeats.tolist()


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _joined(arrays: Sequence[np.ndarray], kind: Any) -> np.ndarray:
    return np.concatenate([np.empty(0, kind), *arrays]).astype(kind)


def place_label(width: int, level: int, key: Key) -> str:
    """A curve's name: the group's label, `*_Latn` for a script, `*` for the whole."""
    if level == 0 and width:
        return label(key)
    return "_".join(["*", *(part or "unknown" for part in key)])


def group_counts(counts: pa.Table, width: int, members: bool) -> dict[Key, Counts]:
    """Counts by group out of the reduced notes, which are sorted by group and size."""
    keys = list(zip(*(counts[name].to_pylist() for name in _key_columns(width)), strict=True))
    keys = keys or [()] * counts.num_rows
    size, rows, marked = (counts[name].to_numpy() for name in ("size", *COUNTS))
    bounds = [i for i in range(len(keys)) if i == 0 or keys[i] != keys[i - 1]] + [len(keys)]
    return {
        keys[a]: Counts(size[a:b], rows[a:b], marked[a:b], members) for a, b in zip(bounds, bounds[1:], strict=False)
    }


def merged(parts: Sequence[Counts]) -> Counts:
    """The counts of several groups together."""
    every = np.concatenate([part.sizes for part in parts])
    sizes, place = np.unique(every, return_inverse=True)
    sums = []
    for name in COUNTS:
        total = np.zeros(len(sizes), np.int64)
        np.add.at(total, place, np.concatenate([getattr(part, name) for part in parts]))
        sums.append(total)
    return Counts(sizes, sums[0], sums[1], parts[0].members)


def counted_curves(
    counts: pa.Table,
    group: Sequence[str],
    *,
    members: bool,
    max_repeats: int,
    min_cluster_count: int,
    min_group_clusters: int,
) -> GroupCurves:
    """Curves out of the run's own counts.

    A level below the whole has a curve for a group only if the group holds `min_group_clusters` clusters there; the
    whole has one in any case, so that every document finds some curve.
    """
    width = len(group)
    finest = group_counts(counts, width, members)
    curves: dict[tuple[int, Key], Curve] = {}
    for level in range(width + 1):
        together: dict[Key, list[Counts]] = {}
        for key, one in finest.items():
            together.setdefault(key[level:], []).append(one)
        for key, parts in together.items():
            every = parts[0] if len(parts) == 1 else merged(parts)
            if level == width or every.cluster_count() >= min_group_clusters:
                curves[level, key] = curve(every, max_repeats, min_cluster_count)
    made = GroupCurves(width, curves)
    for key, one in sorted(finest.items()):
        place = made.place(key)
        made.notes.setdefault("groups", {})[label(key)] = {
            "clusters": one.cluster_count(),
            "removal_rate": _number(one.removal_rate()),
            "curve": None if place is None else place_label(width, *place),
        }
    return made


def fixed_curves(group: Sequence[str], tables: Mapping[str, Mapping[int, int]], keys: Sequence[Key]) -> GroupCurves:
    """Curves out of fixed tables by label, for the groups that occur; the label "" is the whole."""
    curves: dict[tuple[int, Key], Curve] = {}
    for key in keys:
        if label(key) in tables:
            curves[0, key] = table_curve(tables[label(key)])
    if "" in tables:
        curves[len(group), ()] = table_curve(tables[""])
    return GroupCurves(len(group), curves)
