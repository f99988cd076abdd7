"""The rebalancer: repeats documents by how often they were found and how good documents found that often are.

The method is FineWeb2's rehydration (see `stages.rebalancing.rehydration`), with removal rates out of the run itself. Where the
quality filters mark and the deduplication comes after them, the survey attaches to the deduplication node and sees kept
and dropped members alike; a size's rate is the mean over its clusters of the share of members that are marked, so each
member weighs 1/size. A keeper drawn without looking at marks estimates the same rate, and a keeper that prefers
unmarked members does not bend it. Where documents are filtered after deduplication, the survey attaches to the filter
and a size's rate is the share of representatives that it drops.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gristmill.pipeline.document import DOC_KEY, key_words, one_chunk
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.stage import (
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
from gristmill.stages.marks.columns import mark_column, marked_rows
from gristmill.stages.rebalancing.curves import (
    BUILT_IN,
    GroupCurves,
    counted_curves,
    fixed_curves,
    group_counts,
    merge_counts,
    size_counts,
)
from gristmill.stages.rebalancing.rehydration import FIRST_TABLE, read_weights, rehydration_repeats

if TYPE_CHECKING:
    from gristmill.pipeline.exchange import Exchange, Rows

__all__ = ["Rebalance", "RebalanceConfig", "rehydration_repeats"]

INVALID = "invalid_cluster_size"
REHYDRATED = "rehydrated"
RULES = (INVALID, REHYDRATED)
DEFAULT_GROUP = ("language", "language_script")


class Rates(BaseModel):
    """Where removal rates, or the repeats themselves, come from. Either `observe` or `table`.

    Attributes:
        observe: the node whose incoming documents are counted: the deduplication, or a filter behind it.
        marked_by: the quality nodes, or columns of marks, whose marks count as removal. Left out: what the observed
            node drops counts.
        count: what one row of the observed node is: a cluster `members`, weighing 1/size, or the `representatives` of
            clusters, weighing 1. Default: members with `marked_by`, representatives without.
        copies: a column with how many documents each of these rows already stands for, such as the `exact_cluster_size`
            of an `exact` before the observed node. Give it where that node has it as its own `copies`: cluster sizes then
            count documents that are no longer there, and a row weighs as many members as it stands for.
        table: a file in FineWeb2's `weights` format, or `fineweb2` for the weights of its first release.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    observe: str | None = None
    marked_by: tuple[str, ...] | str = ()
    count: Literal["members", "representatives"] | None = None
    copies: str | None = None
    # A path must not enter fingerprints; the file's digest does, through `Rebalance.models`.
    table: str | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _one_origin(self) -> Rates:
        if (self.observe is None) == (self.table is None):
            raise ValueError(
                "needs exactly one of `observe` (a node of this graph, such as `{observe: minhash, marked_by: quality}`) "
                "and `table` (a weights file, or `fineweb2`)"
            )
        if self.table is not None and (self.marked_by or self.count or self.copies):
            raise ValueError(
                "`marked_by`, `count` and `copies` go with `observe`; a `table` holds the repeats themselves"
            )
        if self.copies is not None and not self.counts_members():
            raise ValueError(
                "`copies` goes with `count: members`; a representative stands for its whole cluster anyway"
            )
        return self

    def mark_columns(self) -> tuple[str, ...]:
        """Columns whose marks count as removal."""
        names = (self.marked_by,) if isinstance(self.marked_by, str) else self.marked_by
        return tuple(mark_column(name) for name in names)

    def counts_members(self) -> bool:
        """Whether a row of the observed node weighs 1/size."""
        return self.count == "members" if self.count else bool(self.mark_columns())

    def file(self) -> Path | None:
        """The weights file, if one is named."""
        return None if self.table is None or self.table == BUILT_IN else Path(self.table)


class Tilt(BaseModel):
    """How a score bends the repeats: at or below `none_below` one copy, from `full_above` on the full number.

    In between the additional copies grow linearly with the score. A missing score counts as the lowest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    none_below: float
    full_above: float

    @model_validator(mode="after")
    def _ordered(self) -> Tilt:
        if not self.none_below < self.full_above:
            raise ValueError(f"`none_below` must be below `full_above`; found {self.none_below} and {self.full_above}")
        return self


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
        quality: a score column that tilts the repeats (see Tilt).
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
    quality: Tilt | None = threshold(None)
    cluster_size: str = signal("minhash_cluster_size")
    seed: int = threshold(0, ge=0, lt=1 << 63)
    form: Literal["rows", "columns"] = threshold("rows")


class Rebalance(Stage):
    """Emits every document on `kept`, as often as its cluster size earns in its group."""

    Config = RebalanceConfig
    version = 1
    summary = "Repeats documents by duplication count and removal rate (FineWeb2's rehydration)."

    config: RebalanceConfig

    def __init__(self, config: RebalanceConfig) -> None:
        super().__init__(config)
        self._curves: tuple[pa.Table, GroupCurves] | None = None

    def declare(self) -> StageSpec:
        config, rates, file = self.config, self.config.rates, self.config.rates.file()
        group, in_columns = config.group or (), config.form == "columns"
        copies = () if rates.copies is None else (rates.copies,)
        return StageSpec(
            cost=Cost(measure=0, survey=0.1, settle=0.2),
            survey_reads={config.cluster_size, *self._removal(), *copies, *group},
            decide_reads={config.cluster_size, *group, *([config.quality.column] if config.quality else [])},
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
        return size_counts(group_columns(batch, group), sizes, marked, copies)

    def settle(self, notes: Rows, exchange: Exchange, context: StageContext) -> Settled:
        """The curves of all groups that are large enough, and of those that smaller ones fall back to."""
        config, group = self.config, self._group()
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
        as value and the group's global rate as threshold."""
        curves = self._read_curves(None if settled is None else settled.table)
        sizes = cluster_sizes(batch, self.config.cluster_size)
        coded = coded_groups(group_columns(batch, self._group()), batch.num_rows)
        found = curves.find(coded, sizes)
        valid = sizes >= 1
        wanted = found.repeats.astype(np.float64)
        if self.config.quality is not None:
            wanted = 1 + (wanted - 1) * tilt_share(batch[self.config.quality.column], self.config.quality)
        if self.config.max_copies == "cluster_size":
            wanted = np.minimum(wanted, np.maximum(sizes, 1))
        copies = np.where(valid, self._whole(wanted, batch), 1).astype(np.int32)
        repeated = valid & (copies > 1)
        rule = np.full(batch.num_rows, -1, np.int16)
        rule[repeated] = RULES.index(REHYDRATED)
        rule[~valid] = RULES.index(INVALID)
        columns = {}
        if self.config.form == "columns":
            columns = {"repeats": pa.array(copies, mask=~valid), "weight": pa.array(wanted, mask=~valid)}
        return Decisions(
            port=np.where(valid, 0, QUARANTINED).astype(np.int16),
            copies=None if self.config.form == "columns" else copies,
            rules=RULES,
            rule=rule,
            value=np.where(repeated, found.removal_rate, np.where(valid, np.nan, sizes.astype(np.float64))),
            threshold=np.where(repeated, found.global_rate, np.where(valid, np.nan, 1.0)),
            columns=columns,
            tallies=_tallies(coded, np.where(valid, copies, 0)),
        )

    def _read_curves(self, table: pa.Table | None) -> GroupCurves:
        if table is None:  # The observed node saw no document at all.
            return GroupCurves(len(self._group()), {})
        # The same table comes with every batch of a task.
        if self._curves is None or self._curves[0] is not table:
            self._curves = (table, GroupCurves.from_table(table, len(self._group())))
        return self._curves[1]

    def _whole(self, wanted: np.ndarray, batch: pa.Table) -> np.ndarray:
        """Whole copies: the fraction is the probability of one more, drawn by doc_key and seed, whatever the order."""
        whole = np.floor(wanted)
        fraction = wanted - whole
        if fraction.any():
            drawn = np.empty(len(wanted))
            draws(key_words(batch[DOC_KEY]), np.uint64(self.config.seed), drawn)
            whole += drawn < fraction
        return np.asarray(whole, np.int64)


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


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:5]) + (", …" if len(listed) > 5 else "")


def cluster_sizes(batch: pa.Table, column: str) -> np.ndarray:
    """Cluster sizes as int64; a document without one was found once."""
    array = one_chunk(batch[column]).cast(pa.int64())
    return np.asarray(array.fill_null(1).to_numpy(zero_copy_only=False), np.int64)


def tilt_share(column: pa.Array | pa.ChunkedArray, tilt: Tilt) -> np.ndarray:
    """Share of the additional copies that each row's score earns: float64 from 0 to 1; 0 without a score."""
    score = one_chunk(column).cast(pa.float64()).to_numpy(zero_copy_only=False)
    share: np.ndarray = (score - tilt.none_below) / (tilt.full_above - tilt.none_below)
    return np.asarray(np.clip(np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0), np.float64)
