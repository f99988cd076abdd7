"""What the config of `rebalance` says about rates, and about how quality tells how often a document is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from gristmill.pipeline.document import one_chunk
from gristmill.pipeline.errors import ConfigError
from gristmill.stages.marks.columns import mark_column
from gristmill.stages.rebalancing.curves import BUILT_IN
from gristmill.stages.rebalancing.quality_curve import (
    MOST_COPIES,
    PowerCurve,
    bin_of,
    bin_values,
    solve_dolma3,
    step_means,
)


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
        quantile: a column with quantiles, such as the `score_quantile` of a `quantiles` node before the observed one: rates
            are then by cluster size and quantile, with what few clusters do not tell borrowed from the rest (see
            `stages.rebalancing.evidence`).
        quantile_bins: how many equal parts of quantiles have rates of their own.
        table: a file in FineWeb2's `weights` format, or `fineweb2` for the weights of its first release.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    observe: str | None = None
    marked_by: tuple[str, ...] | str = ()
    count: Literal["members", "representatives"] | None = None
    copies: str | None = None
    quantile: str | None = None
    quantile_bins: int = Field(default=10, ge=2, le=50)
    # A path must not enter fingerprints; the file's digest does, through `Rebalance.models`.
    table: str | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _one_origin(self) -> Rates:
        if (self.observe is None) == (self.table is None):
            raise ValueError(
                "needs exactly one of `observe` (a node of this graph, such as `{observe: minhash, marked_by: quality}`) "
                "and `table` (a weights file, or `fineweb2`)"
            )
        if self.table is not None and (self.marked_by or self.count or self.copies or self.quantile):
            raise ValueError(
                "`marked_by`, `count`, `copies` and `quantile` go with `observe`; a `table` holds the repeats themselves"
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


class Power(BaseModel):
    """Copies by quantile x: scale · (x − from_quantile)^power · e^(rate · (x − from_quantile)), 0 below `from_quantile`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: float = Field(gt=0, le=MOST_COPIES)
    power: float = Field(default=1.0, ge=0, le=10)
    rate: float = Field(default=0.0, ge=0, le=10)
    from_quantile: float = Field(default=0.0, ge=0, lt=1)


class Dolma3(BaseModel):
    """Dolma 3's curve (see `stages.rebalancing.quality_curve`).

    Attributes:
        ratio: copies on average: the tokens that are wanted ÷ those that there are.
        max_upsample: copies on average among the best.
        top: the share of the best.
        throwaway: the share of the worst, which are not read at all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ratio: float = Field(gt=0, le=MOST_COPIES)
    max_upsample: float = Field(default=7.0, gt=0, le=MOST_COPIES)
    top: float = Field(default=0.05, gt=0, lt=1)
    throwaway: float = Field(default=0.4, ge=0, lt=1)

    @model_validator(mode="after")
    def _room(self) -> Dolma3:
        if self.top > 1 - self.throwaway:
            raise ValueError(f"`top` and `throwaway` add up to {self.top + self.throwaway:g}; expected at most 1")
        return self


class Quality(BaseModel):
    """How a score changes the copies. One of the four:

    `none_below` and `full_above`, of any score: at or below the first a document has one copy, from the second on what its
    cluster size earns, in between the additional copies grow linearly. It takes copies away and gives none.

    `power`, `dolma3` or `steps`, of quantiles: copies are multiplied by a curve, which may be 0 and may exceed 1.

    Attributes:
        column: the score, or the quantile such as `score_quantile`. A missing one counts as the lowest.
        steps: copies from each quantile on, never falling, such as `{0.1: 0.5, 0.5: 1, 0.9: 2}`; 0 below the first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    none_below: float | None = None
    full_above: float | None = None
    power: Power | None = None
    dolma3: Dolma3 | None = None
    steps: Mapping[float, float] | None = None

    @field_validator("steps", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        try:
            return {float(start): copies for start, copies in value.items()} if isinstance(value, Mapping) else value
        except (TypeError, ValueError):
            return value

    @model_validator(mode="after")
    def _one_form(self) -> Quality:
        tilts = self.none_below is not None or self.full_above is not None
        given = ["none_below, full_above"] * tilts
        given += [name for name in ("power", "dolma3", "steps") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "needs exactly one of `none_below` with `full_above`, `power`, `dolma3` and `steps`; found "
                + (" and ".join(f"`{name}`" for name in given) or "none")
            )
        if tilts and not (
            self.none_below is not None and self.full_above is not None and self.none_below < self.full_above
        ):
            raise ValueError(f"`none_below` must be below `full_above`; found {self.none_below} and {self.full_above}")
        before = 0.0
        for start, copies in sorted((self.steps or {}).items()):
            if not (0 <= start < 1 and 0 <= copies <= MOST_COPIES):
                raise ValueError(
                    f"steps.{start:g}: {copies:g}; expected a quantile from 0 to below 1, and 0 to {MOST_COPIES:g}"
                )
            if copies < before:
                raise ValueError(
                    f"steps.{start:g}: {copies:g} is below the {before:g} of lower quantiles, so that better documents would "
                    f"be read less. Nearest: {before:g}."
                )
            before = copies
        if self.steps is not None and not before > 0:
            raise ValueError("steps: all are 0, so that nothing would be left")
        self.curve()
        return self

    def curve(self) -> np.ndarray | None:
        """Copies by part of the quantiles, float64 of `quality_curve.BINS`; None for a tilt. Raises ValueError for settings of
        `dolma3` that no curve has."""
        if self.power is not None:
            return bin_values(PowerCurve(**self.power.model_dump()).mean)
        if self.steps is not None:
            return bin_values(step_means(self.steps))
        if self.dolma3 is None:
            return None
        try:
            some = self.dolma3
            return bin_values(solve_dolma3(some.ratio, some.max_upsample, some.top, some.throwaway).mean)
        except ConfigError as error:
            raise ValueError(str(error)) from error

    def apply(self, copies: np.ndarray, column: pa.Array | pa.ChunkedArray, curve: np.ndarray | None) -> np.ndarray:
        """Copies with this quality taken in: float64."""
        score = np.asarray(one_chunk(column).cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
        if curve is not None:
            changed: np.ndarray = copies * curve[bin_of(np.nan_to_num(score, nan=0.0, posinf=0.0, neginf=0.0))]
            return changed
        low, high = self.none_below or 0.0, self.full_above or 0.0  # where there is no curve, both are given
        share = (score - low) / (high - low)
        share = np.clip(np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
        changed = 1 + (copies - 1) * share
        return changed
