"""The rebalancer: repeats documents by how often they were found and how good documents found that often are.

The method is FineWeb2's rehydration (see `stages.rebalancing.rehydration`), with removal rates out of the run itself. Where the
quality filters mark and the deduplication comes after them, the survey attaches to the deduplication node and sees kept
and dropped members alike; a size's rate is the mean over its clusters of the share of members that are marked, so each
member weighs 1/size. A keeper drawn without looking at marks estimates the same rate, and a keeper that prefers
unmarked members does not bend it. Where documents are filtered after deduplication, the survey attaches to the filter
and a size's rate is the share of representatives that it drops.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
from pydantic import model_validator

from gristmill.pipeline.document import DOC_KEY, key_words, one_chunk
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.stage import (
    DROPPED,
    QUARANTINED,
    Cost,
    Decisions,
    Settled,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    signal,
    threshold,
)
from gristmill.stages.kernels.draws import draws
from gristmill.stages.labels.groups import Coded, coded_groups, group_columns, label
from gristmill.stages.marks.columns import marked_rows
from gristmill.stages.rebalancing.cell_curves import (
    CellCurves,
    FoundCells,
    cell_counts,
    counted_cells,
    merge_cells,
    quantile_bins,
)
from gristmill.stages.rebalancing.curves import (
    GroupCurves,
    counted_curves,
    fixed_curves,
    group_counts,
    merge_counts,
    size_counts,
)
from gristmill.stages.rebalancing.quality_curve import bin_of
from gristmill.stages.rebalancing.rehydration import FIRST_TABLE, read_weights, rehydration_repeats
from gristmill.stages.rebalancing.settings import Quality, Rates

if TYPE_CHECKING:
    from gristmill.pipeline.exchange import Exchange, Rows

__all__ = ["Rebalance", "RebalanceConfig", "rehydration_repeats"]

INVALID = "invalid_cluster_size"
REHYDRATED = "rehydrated"
NOT_READ = "not_read"
RULES = (INVALID, REHYDRATED, NOT_READ)
SHARE = r"[01]\.[0-9]{4}"
CELL = re.compile(
    rf": (?P<rate>{SHARE}) removed \((?P<low>{SHARE}) to (?P<high>{SHARE})\), of all (?P<overall>{SHARE});"
)
DEFAULT_GROUP = ("language", "language_script")


class RebalanceConfig(StageConfig):
    """Config of `rebalance`.

    Attributes:
        rates: where removal rates come from (see Rates).
        max_repeats: copies of a document in the cluster size with the lowest removal rate. Beyond about 4 passes over
            the same text, repeating brings less and less (Muennighoff et al. 2023, arXiv:2305.16264); FineWeb2 used 10.
        group: columns whose values have curves of their own; [] for one curve. Default: `language` and
            `language_script`, as far as they exist.
        min_cluster_count: bins of cluster sizes with fewer clusters merge with the next larger size.
        min_group_clusters: groups with fewer clusters use the curve of all groups that share the columns after the
            first (languages: their script), and in the end the curve of the whole.
        exact: switches both minima off, as FineWeb2 computes it.
        max_copies: `cluster_size`: never more copies than members were found.
        quality: a score that tilts the repeats, or a curve over quantiles that multiplies them (see Quality). Copies stay
            at most `max_repeats`.
        cluster_size: the column that holds the number of members of the document's duplicate cluster.
        seed: of the draws that settle fractional repeats, which only `quality` brings about.
        form: `rows` emits each copy as a row; `columns` emits each document once, with `repeats` (whole copies) and
            `weight` (copies before fractions are drawn), for loaders that sample and for a `mix` behind this node.
    """

    rates: Rates = signal()
    max_repeats: int = threshold(4, ge=1, le=1000)
    group: tuple[str, ...] | None = signal(None)
    min_cluster_count: int = threshold(30, ge=1)
    min_group_clusters: int = threshold(10_000, ge=0)
    exact: bool = threshold(False)
    max_copies: Literal["cluster_size"] | None = threshold(None)
    quality: Quality | None = threshold(None)
    cluster_size: str = signal("minhash_cluster_size")
    seed: int = threshold(0, ge=0, lt=1 << 63)
    form: Literal["rows", "columns"] = threshold("rows")

    @model_validator(mode="after")
    def _quality_counts_once(self) -> RebalanceConfig:
        if self.rates.quantile is not None and self.quality is not None:
            raise ValueError(
                "`rates.quantile` and `quality` would count quality twice; keep `rates.quantile` to let removal rates decide, "
                "or `quality` to say how often better documents are read"
            )
        if self.rates.quantile is not None and self.exact:
            raise ValueError(
                "`exact` computes rates by cluster size alone, as FineWeb2 does; take out `rates.quantile`"
            )
        return self


class Rebalance(Stage):
    """Emits every document on `kept`, as often as its cluster size earns in its group."""

    Config = RebalanceConfig
    version = 2
    summary = "repeats documents by duplication count and removal rate (FineWeb2's rehydration)"

    config: RebalanceConfig

    def __init__(self, config: RebalanceConfig) -> None:
        super().__init__(config)
        self._curves: tuple[pa.Table, GroupCurves | CellCurves] | None = None

    def declare(self) -> StageSpec:
        config, rates, file = self.config, self.config.rates, self.config.rates.file()
        group, in_columns = config.group or (), config.form == "columns"
        copies = [name for name in (rates.copies, rates.quantile) if name is not None]
        quality = [config.quality.column] if config.quality is not None else []
        quality += [rates.quantile] if rates.quantile is not None else []
        return StageSpec(
            cost=Cost(measure=0, survey=0.1, settle=0.2),
            survey_reads={config.cluster_size, *self._removal(), *copies, *group},
            decide_reads={config.cluster_size, *group, *quality},
            optional_reads=set(DEFAULT_GROUP) if config.group is None else set(),
            findings=pa.schema([("repeats", pa.int32()), ("weight", pa.float64())] if in_columns else []),
            rules=RULES,
            models={} if file is None else {"weights": file},
            observes=rates.observe,
            # Nodes behind this one may survey the corpus if there is one row per document.
            emits_copies=not in_columns,
        )

    def _removal(self) -> tuple[str, ...]:
        """Columns that say of the observed node's rows whether they are removed."""
        rates = self.config.rates
        return () if rates.observe is None else rates.mark_columns() or ("dropped",)

    def check_files(self) -> None:
        file = self.config.rates.file()
        if file is not None:
            read_weights(file)

    def _group(self) -> tuple[str, ...]:
        return DEFAULT_GROUP if self.config.group is None else self.config.group

    # What the stage does.

    def survey(self, batch: pa.Table, context: StageContext) -> pa.Table:
        """Counts by group and cluster size: rows, and those among them that the quality nodes remove."""
        group, rates = self._group(), self.config.rates
        marked = np.zeros(batch.num_rows, bool)
        for column in self._removal():
            marked |= marked_rows(batch[column], column)
        sizes = cluster_sizes(batch, self.config.cluster_size)
        copies = np.ones(batch.num_rows, np.int64)
        if rates.copies is not None:
            # As in the observed node, null stands for one document.
            copies = np.maximum(cluster_sizes(batch, rates.copies), 1)
        columns = group_columns(batch, group)
        if rates.quantile is None:
            return size_counts(columns, sizes, marked, copies)
        bins = quantile_bins(batch[rates.quantile], rates.quantile_bins)
        return cell_counts(columns, sizes, bins, marked, copies, rates.counts_members(), rates.quantile_bins)

    def settle(self, notes: Rows, exchange: Exchange, context: StageContext) -> Settled:
        """The curves of all groups that are large enough, and of those that smaller ones fall back to."""
        config, group = self.config, self._group()
        if config.rates.quantile is not None:
            cells = counted_cells(
                exchange.reduce(notes, merge_cells, {"width": len(group)}),
                group,
                bins=config.rates.quantile_bins,
                max_repeats=config.max_repeats,
                min_group_clusters=config.min_group_clusters,
            )
            return Settled(broadcast=cells.table(), report=cells.report())
        counts = exchange.reduce(notes, merge_counts, {"group": list(group)})
        if config.rates.observe is None:
            curves = self._fixed(counts)
            return Settled(broadcast=curves.table(), report=curves.report())
        curves = counted_curves(
            counts,
            group,
            members=config.rates.counts_members(),
            max_repeats=config.max_repeats,
            min_cluster_count=1 if config.exact else config.min_cluster_count,
            min_group_clusters=0 if config.exact else config.min_group_clusters,
        )
        return Settled(broadcast=curves.table(), report=curves.report())

    def _fixed(self, counts: pa.Table) -> GroupCurves:
        """The curves of a weights file, for the groups that occur.

        Raises DataError when the file has weights for none of them.
        """
        file, group = self.config.rates.file(), self._group()
        if file is None:
            return fixed_curves(group, {"": FIRST_TABLE}, ())
        weights = read_weights(file)
        present = {key: int(one.rows.sum()) for key, one in group_counts(counts, len(group), False).items()}
        curves = fixed_curves(group, weights, tuple(present))
        missing = {label(key): rows for key, rows in present.items() if curves.place(key) is None}
        if present and len(missing) == len(present):
            raise DataError(
                f"{file} has weights for {len(weights)} groups ({_some(weights)}), but for none of the "
                f"{len(present)} groups in the data ({_some(missing)}). Name a weights file for these, or set `group` to "
                "the columns whose values the file's labels join with `_`."
            )
        curves.notes["documents_without_weights"] = dict(sorted(missing.items()))
        return curves

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """Copies of each row. A document with several copies carries the rule `rehydrated`, with its bin's removal rate
        as value and the group's global rate as threshold; with rates by quantile the witness names the cell, its interval and
        the quantile. One without a copy carries `not_read`, with the copies expected as value and the draw as threshold."""
        config, rows = self.config, batch.num_rows
        curves = self._read_curves(None if settled is None else settled.table)
        sizes = cluster_sizes(batch, config.cluster_size)
        coded = coded_groups(group_columns(batch, self._group()), rows)
        valid = sizes >= 1
        cells = None
        if isinstance(curves, CellCurves):
            cells = curves.find(coded, sizes, batch[str(config.rates.quantile)])
            wanted, removal, overall = cells.copies, cells.rate, cells.overall
        else:
            found = curves.find(coded, sizes)
            wanted, removal, overall = found.repeats.astype(np.float64), found.removal_rate, found.global_rate
        if config.quality is not None:
            wanted = config.quality.apply(wanted, batch[config.quality.column], self._curve)
            wanted = np.minimum(wanted, config.max_repeats)
        if config.max_copies == "cluster_size":
            wanted = np.minimum(wanted, np.maximum(sizes, 1))
        in_columns = config.form == "columns"
        copies, drawn = self._whole(wanted, batch)
        copies = np.where(valid, copies, 1).astype(np.int32)
        repeated, unread = valid & (copies > 1), valid & (copies == 0)
        rule = np.full(rows, -1, np.int16)
        rule[repeated] = RULES.index(REHYDRATED)
        rule[unread] = RULES.index(NOT_READ)
        rule[~valid] = RULES.index(INVALID)
        columns = {}
        if in_columns:
            columns = {"repeats": pa.array(copies, mask=~valid), "weight": pa.array(wanted, mask=~valid)}
        stays = valid if in_columns else valid & ~unread
        nothing = np.full(rows, np.nan)
        return Decisions(
            port=np.where(stays, 0, np.where(valid, DROPPED, QUARANTINED)).astype(np.int16),
            copies=None if in_columns else np.maximum(copies, 1),
            rules=RULES,
            rule=rule,
            value=np.select([repeated, unread, ~valid], [removal, wanted, sizes.astype(np.float64)], nothing),
            threshold=np.select([repeated, unread, ~valid], [overall, drawn, np.ones(rows)], nothing),
            witness=self._witness(curves, cells, batch, repeated | unread),
            columns=columns,
            tallies=_tallies(coded, np.where(valid, copies, 0)),
        )

    def recheck(self, told: pa.Table) -> Iterator[tuple[int, str]]:
        """Repeats keep to `max_repeats` and, by quantile, to cells that are removed less than all; what is not read was not
        drawn."""
        names = ("rule", "value", "threshold", "copies", "witness")
        for row, (rule, value, limit, copies, witness) in enumerate(
            zip(*(told[name].to_pylist() for name in names), strict=True)
        ):
            if rule == REHYDRATED:
                if copies > self.config.max_repeats and self.config.rates.table is None:
                    yield row, f"{copies} copies; at most {self.config.max_repeats} (max_repeats) are made"
                if self.config.rates.quantile is not None and not _is_cell(witness, value, limit):
                    yield row, f"a removal rate of {value}, of all {limit}, with the witness {str(witness)[:200]!r}"
            elif rule == NOT_READ:
                sound = value is not None and limit is not None and value < 1 and (not value or limit >= value)
                if not sound:
                    yield row, f"not read, with {value} copies expected and the draw {limit}"

    @cached_property
    def _curve(self) -> np.ndarray | None:
        return None if self.config.quality is None else self.config.quality.curve()

    def _witness(
        self, curves: GroupCurves | CellCurves, cells: FoundCells | None, batch: pa.Table, chosen: np.ndarray
    ) -> pa.Array | None:
        """What speaks for the copies of the rows that are chosen, beyond a rate: the cell, or the curve's value."""
        rows = np.flatnonzero(chosen)
        if cells is not None and isinstance(curves, CellCurves):
            quantile = one_chunk(batch[str(self.config.rates.quantile)]).cast(pa.float64()).to_pylist()
            facts = {
                place: curves.cell_text(*place)
                for place in set(zip(cells.entry[rows].tolist(), cells.cell[rows].tolist(), strict=True))
            }
            texts = [
                f"{facts[int(cells.entry[row]), int(cells.cell[row])]}; quantile "
                + ("none" if quantile[row] is None else f"{quantile[row]:.6f}")
                for row in rows.tolist()
            ]
        elif self._curve is not None and self.config.quality is not None:
            quantile = one_chunk(batch[self.config.quality.column]).cast(pa.float64()).to_pylist()
            texts = [
                "no quantile, counted as the lowest" if quantile[row] is None else f"quantile {quantile[row]:.6f}"
                for row in rows.tolist()
            ]
            parts = bin_of(np.array([0.0 if quantile[row] is None else quantile[row] for row in rows.tolist()]))
            texts = [f"{text}, curve {self._curve[part]:.6g}" for text, part in zip(texts, parts.tolist(), strict=True)]
        else:
            return None
        places = np.full(batch.num_rows, -1, np.int64)
        places[rows] = np.arange(len(rows))
        return pa.array(texts, pa.string()).take(pa.array(places, mask=places < 0))

    def _read_curves(self, table: pa.Table | None) -> GroupCurves | CellCurves:
        width, bins = len(self._group()), self.config.rates.quantile_bins
        by_quantile = self.config.rates.quantile is not None
        if table is None:  # The observed node saw no document at all.
            return CellCurves(width, bins, {}) if by_quantile else GroupCurves(width, {})
        # The same table comes with every batch of a task.
        if self._curves is None or self._curves[0] is not table:
            read = CellCurves.from_table(table, width, bins) if by_quantile else GroupCurves.from_table(table, width)
            self._curves = (table, read)
        return self._curves[1]

    def _whole(self, wanted: np.ndarray, batch: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """(whole copies: the fraction is the probability of one more, by a draw on doc_key and seed, whatever the order; the
        draws)."""
        whole = np.floor(wanted)
        fraction = wanted - whole
        drawn = np.zeros(len(wanted))
        if fraction.any():
            draws(key_words(batch[DOC_KEY]), np.uint64(self.config.seed), drawn)
            whole += drawn < fraction
        # Whole numbers are drawn from by nobody, whatever else is in the batch.
        return np.asarray(whole, np.int64), np.where(fraction > 0, drawn, 0.0)


def _tallies(coded: Coded, copies: np.ndarray) -> dict[str, int]:
    """Documents and copies by group: shares before and after. Rows with 0 copies are not emitted."""
    documents = np.bincount(coded.codes[copies > 0], minlength=len(coded.keys))
    # Counts stay far below 2^53, so float64 weights add up exactly.
    emitted = np.bincount(coded.codes, weights=copies.astype(np.float64), minlength=len(coded.keys))
    tallies: dict[str, int] = {}
    for index in np.flatnonzero(documents).tolist():
        name = label(coded.keys[index])
        tallies[f"documents.{name}"] = tallies.get(f"documents.{name}", 0) + int(documents[index])
        tallies[f"copies.{name}"] = tallies.get(f"copies.{name}", 0) + int(emitted[index])
    return tallies


def _is_cell(witness: str | None, rate: float | None, overall: float | None) -> bool:
    """Whether a witness names a cell of that rate, whose interval lies below the rate of all."""
    cell = CELL.search(witness or "")
    if cell is None or rate is None or overall is None:
        return False
    low, mean, high, whole = (float(cell[name]) for name in ("low", "rate", "high", "overall"))
    return abs(mean - rate) < 1e-4 and abs(whole - overall) < 1e-4 and low <= mean <= high <= whole


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:5]) + (", …" if len(listed) > 5 else "")


def cluster_sizes(batch: pa.Table, column: str) -> np.ndarray:
    """Cluster sizes as int64; a document without one was found once."""
    array = one_chunk(batch[column]).cast(pa.int64())
    return np.asarray(array.fill_null(1).to_numpy(zero_copy_only=False), np.int64)
