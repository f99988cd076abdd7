"""FineWeb2's rehydration: how often to repeat a document, from the size of its duplicate cluster.

Source: FineWeb2, `misc/rehydration` (huggingface/fineweb-2; Penedo et al. 2025, arXiv:2506.20920, section 5). The rate at
which quality filters remove the clusters of a size, set against the rate over all clusters, says whether documents
that were found that often are better than usual; the better, the more repeats.

Everything here is a pure function of integer counts, so that the result is the same however the counts were gathered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from gristmill.pipeline.errors import ConfigError

WINDOW = 5
"""Neighbouring sizes in the centred moving average (FineWeb2's value)."""
TAIL_SHARE = (1, 1000)
"""The tail bin holds the largest sizes: as few of them as reach this share of all clusters. FineWeb2's published
distributions show it: their tail bins hold 0.1001 % to 0.1005 % of the clusters in large languages."""
FIXED_POINT_BITS = 32
"""Cluster counts that decide about bins are sums of `members · 2^32 // size`: exact where all members of a cluster are
in the group, and the same in every order of summation."""

FIRST_TABLE: Mapping[int, int] = {1: 1, 2: 2, 3: 3, 5: 5, 100: 8, 1000: 1}
"""The weights that FineWeb2's first release proposed for every language: size from which on, repeats."""


def rehydration_repeats(
    sizes: np.ndarray | Sequence[int],
    removal_rates: np.ndarray | Sequence[float],
    global_rate: float,
    max_repeats: int,
    *,
    few_as_published: bool = True,
) -> np.ndarray:
    """How often FineWeb2 repeats a document of each cluster size.

    Sizes whose removal rate is at or above the global rate get 1, the size with the lowest rate gets `max_repeats`,
    linear in between; then a centred moving average over 5 neighbouring sizes, where the two sizes at each end keep
    their own value (see `moving_average` for fewer than 5 sizes); then rounding, halves to even.

    Args:
        sizes: distinct cluster sizes in any order; the last bin, of all larger sizes, by its lowest size.
        removal_rates: share (or per cent) of the clusters of each size that the quality filters remove.
        global_rate: the same over all clusters, in the same unit.
        max_repeats: at least 1.
        few_as_published: whether three and four sizes come out as the published code has them, which smooths them in a way
            that nobody would choose; else they keep their own values.

    Returns int64 of shape (len(sizes),), in the order of `sizes`.

    The operations and their order are those of the published code (numpy.convolve with a kernel of fifths adds the
    five products from left to right), written without a fused multiply-add, so that values next to a half round the
    same way on every machine.

    Raises ValueError for arrays that do not match, doubled sizes, rates that are no finite numbers, max_repeats < 1.
    """
    size = np.asarray(sizes)
    rate = np.asarray(removal_rates, np.float64)
    if size.ndim != 1 or rate.shape != size.shape:
        raise ValueError(f"sizes and removal_rates must be of one length, found shapes {size.shape} and {rate.shape}")
    if isinstance(max_repeats, bool) or int(max_repeats) != max_repeats or max_repeats < 1:
        raise ValueError(f"max_repeats must be an integer of at least 1, found {max_repeats!r}")
    if len(size) == 0:
        return np.empty(0, np.int64)
    if not np.isfinite(global_rate):
        raise ValueError(f"global_rate must be a finite number, found {global_rate}")
    if not np.isfinite(rate).all():
        worst = int(np.flatnonzero(~np.isfinite(rate))[0])
        raise ValueError(
            f"removal_rates[{worst}] (size {size[worst]}) is {rate[worst]}: a size without clusters has no rate, leave it out"
        )
    order = np.argsort(size, kind="stable")
    if (np.diff(size[order]) == 0).any():
        raise ValueError("sizes holds a size twice; add up its clusters first")
    smooth = interpolated_repeats(rate[order], float(global_rate), int(max_repeats))
    if few_as_published or len(smooth) >= WINDOW:
        smooth = moving_average(smooth)
    repeats = np.empty(len(size), np.int64)
    repeats[order] = np.round(smooth).astype(np.int64)
    return repeats


def interpolated_repeats(rates: np.ndarray, global_rate: float, max_repeats: int) -> np.ndarray:
    """Repeats before smoothing and rounding: float64 from 1 (rate ≥ global) to max_repeats (the lowest rate)."""
    repeats = np.ones(len(rates))
    below = rates < global_rate
    if below.any():
        lowest = rates.min()
        repeats[below] = 1 + (max_repeats - 1) * ((rates[below] - global_rate) / (lowest - global_rate))
    return repeats


def moving_average(values: np.ndarray) -> np.ndarray:
    """Centred mean over WINDOW values; the WINDOW // 2 values at each end stay.

    Fewer values than WINDOW come out as they do in the published code, whose `numpy.convolve(…, mode="same")` then returns
    as many values as its kernel has: one and two stay, the third becomes a fifth of the sum of all, and the fourth takes
    the value of the third.
    """
    weight = 1.0 / WINDOW
    result = values.copy()
    if len(values) < WINDOW:
        if len(values) > WINDOW // 2:
            total = values[-1] * weight
            for value in values[-2::-1]:
                total = total + value * weight
            result[2] = total
            result[3:] = values[2 : len(values) - 1]
        return result
    inner = len(values) - WINDOW + 1
    total = values[:inner] * weight
    for shift in range(1, WINDOW):
        total = total + values[shift : shift + inner] * weight
    result[WINDOW // 2 : WINDOW // 2 + inner] = total
    return result


@dataclass(frozen=True)
class Counts:
    """What was counted in one group, by cluster size.

    Attributes:
        sizes: int64, ascending and distinct.
        rows: int64, rows seen of each size: cluster members, or one representative per cluster.
        marked: int64, those among them that quality filters marked (or dropped).
        members: whether rows are members, of which each weighs 1/size, or representatives, which weigh 1.
    """

    sizes: np.ndarray
    rows: np.ndarray
    marked: np.ndarray
    members: bool

    def clusters(self) -> np.ndarray:
        """Clusters of each size in fixed point: Python integers in units of 2^-FIXED_POINT_BITS, as objects."""
        rows = self.rows.astype(object) * (1 << FIXED_POINT_BITS)
        return rows // self.sizes if self.members else rows

    def cluster_count(self) -> float:
        """Clusters in the group."""
        return float(sum(self.clusters().tolist()) / (1 << FIXED_POINT_BITS))

    def removal_rate(self, part: slice = slice(None)) -> float:
        """Mean over the clusters of the share of rows that are marked: Σ marked/size ÷ Σ rows/size, the exact quotient
        rounded once, so that equal rates are equal numbers. NaN without rows."""
        if not self.rows[part].any():
            return float("nan")
        if not self.members:
            return int(self.marked[part].sum()) / int(self.rows[part].sum())
        marked, marked_by = _fraction_sum(self.marked[part], self.sizes[part])
        rows, rows_by = _fraction_sum(self.rows[part], self.sizes[part])
        return (marked * rows_by) / (marked_by * rows)


def _fraction_sum(numerators: np.ndarray, denominators: np.ndarray) -> tuple[int, int]:
    """Σ n/d as one fraction (not in lowest terms). Halving keeps the products small for as long as possible."""
    whole = int((numerators // denominators).sum())
    rest = numerators % denominators
    kept = np.flatnonzero(rest)
    terms = [(int(n), int(d)) for n, d in zip(rest[kept].tolist(), denominators[kept].tolist(), strict=True)]
    while len(terms) > 1:
        paired = [(a * d + c * b, b * d) for (a, b), (c, d) in zip(terms[0::2], terms[1::2], strict=False)]
        terms = paired + ([terms[-1]] if len(terms) % 2 else [])
    top, bottom = terms[0] if terms else (0, 1)
    return whole * bottom + top, bottom


@dataclass(frozen=True)
class Curve:
    """Repeats of one group by cluster size, one entry per bin; a bin reaches up to the next bin's `size_from`.

    Attributes:
        size_from: int64, ascending.
        removal_rate: float64, share of the bin's clusters that quality filters remove.
        clusters: float64, clusters in the bin; NaN when the curve comes out of a file.
        repeats: int64.
        global_rate: the removal rate over all clusters of the group; NaN when the curve comes out of a file.
    """

    size_from: np.ndarray
    removal_rate: np.ndarray
    clusters: np.ndarray
    repeats: np.ndarray
    global_rate: float

    def weights(self) -> dict[str, int]:
        """The curve in FineWeb2's `weights` form: {size from which on: repeats}, sizes as text."""
        change = np.flatnonzero(np.diff(self.repeats, prepend=-1))
        return {str(int(self.size_from[i])): int(self.repeats[i]) for i in change}


def curve(counts: Counts, max_repeats: int, min_cluster_count: int) -> Curve:
    """The repeats of a group, with sizes merged into bins.

    Bins: the tail first; then, from small sizes to large, a bin with fewer than `min_cluster_count` clusters takes in
    the next larger size. The largest bin, which has none to grow into, joins the one below it. `min_cluster_count` of
    1 or less leaves every size by itself and smooths fewer than five as FineWeb2 does.
    """
    starts = bin_starts(counts, min_cluster_count)
    ends = [*starts[1:], len(counts.sizes)]
    parts = [slice(a, b) for a, b in zip(starts, ends, strict=True)]
    clusters = counts.clusters()
    rates = np.array([counts.removal_rate(part) for part in parts], np.float64)
    size_from = counts.sizes[starts]
    overall = counts.removal_rate()
    return Curve(
        size_from=size_from,
        removal_rate=rates,
        clusters=np.array([sum(clusters[part]) / (1 << FIXED_POINT_BITS) for part in parts], np.float64),
        repeats=rehydration_repeats(size_from, rates, overall, max_repeats, few_as_published=min_cluster_count <= 1),
        global_rate=overall,
    )


def bin_starts(counts: Counts, min_cluster_count: int) -> list[int]:
    """Positions in `counts.sizes` at which bins begin (see `curve`)."""
    clusters = counts.clusters()
    if len(clusters) == 0:
        return []
    total = sum(clusters)
    tail = len(clusters) - 1
    held = clusters[tail]
    while tail > 0 and held * TAIL_SHARE[1] < total * TAIL_SHARE[0]:
        tail -= 1
        held += clusters[tail]
    least = min_cluster_count << FIXED_POINT_BITS if min_cluster_count > 1 else 0
    starts: list[int] = []
    held = least
    for position in range(tail):
        if held >= least:
            starts.append(position)
            held = 0
        held += clusters[position]
    if not starts or held >= least:
        starts.append(tail)
    if len(starts) > 1 and sum(clusters[starts[-1] :]) < least:
        starts.pop()
    return starts


def table_curve(weights: Mapping[int, int]) -> Curve:
    """A curve out of a fixed table {size from which on: repeats}; its rates are not known (NaN)."""
    sizes = np.array(sorted(weights), np.int64)
    unknown = np.full(len(sizes), np.nan)
    repeats = np.array([weights[size] for size in sizes.tolist()], np.int64)
    return Curve(sizes, unknown, unknown, repeats, float("nan"))


def read_weights(path: Path) -> dict[str, dict[int, int]]:
    """A file in FineWeb2's `weights` format: JSON {"por_Latn": {"1": 1, "2": 3, …}, …}.

    Raises ConfigError naming the file, what was expected and found, and what to do.
    """
    expected = 'expected JSON like {"por_Latn": {"1": 1, "2": 3}}: repeats from a cluster size on, by language'
    try:
        data = json.loads(path.read_bytes(), object_pairs_hook=partial(_without_doubles, path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Name a weights file that exists.") from error
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{path}: is not JSON ({error}); {expected}.") from error
    if not isinstance(data, dict) or not data:
        raise ConfigError(f"{path}: {expected}; found {type(data).__name__} with nothing in it that could be used.")
    return {label: _checked_weights(path, label, table, expected) for label, table in data.items()}


def _without_doubles(path: Path, pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        double = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        raise ConfigError(f"{path}: duplicate key `{double}`. Keep one entry.")
    return found


def _checked_weights(path: Path, label: str, table: object, expected: str) -> dict[int, int]:
    if not isinstance(table, dict) or not table:
        raise ConfigError(f"{path}: `{label}` holds {table!r:.60}; {expected}.")
    checked: dict[int, int] = {}
    for size, repeats in table.items():
        if not (isinstance(size, str) and size.isascii() and size.isdigit() and int(size) >= 1):
            raise ConfigError(f"{path}: `{label}` has the cluster size {size!r}; expected a whole number from 1 on.")
        if isinstance(repeats, bool) or not isinstance(repeats, int) or not 1 <= repeats < 1 << 20:
            raise ConfigError(f"{path}: `{label}.{size}` is {repeats!r}; expected a whole number from 1 to 2^20 - 1.")
        if int(size) in checked:
            raise ConfigError(f"{path}: `{label}` lists the cluster size {int(size)} twice. Keep one entry.")
        checked[int(size)] = repeats
    return checked
