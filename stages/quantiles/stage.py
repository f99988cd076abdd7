"""Each document's exact quantile of a score within its group, such as its language, for filters, buckets and mixing.

    NAME_quantile   the share of the group's documents (or of their `weigh_by`) with a lower score, half of the document's own
                    counted: in (0, 1), evenly spread over each group; null without a score
    NAME_bucket     with `buckets: n`, from 0 (the lowest) to n − 1

Of equal scores the lower doc_key comes first, so that quantiles are exact and each document has its own. What scores of two
languages mean is not comparable, what their quantiles mean is: FineWeb2's and DCLM's filters, Nemotron-CC's buckets (Su et
al. 2024, arXiv:2412.02595) and Dolma 3's upsampling by percentiles (allenai/dolma3) all rest on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import field_validator, model_validator

from gristmill.pipeline.document import DOC_KEY, one_chunk
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.stage import (
    Cost,
    Decisions,
    Settled,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    from_failures,
    one_or_several,
    signal,
    threshold,
)
from gristmill.stages.ordering.prefix_sums import prefix_sums
from gristmill.stages.quantiles.scores import (
    SEPARATOR,
    add_ranks,
    count_scores,
    groups_of,
    quantiles,
    rank_rows,
    score_notes,
    score_rows,
    score_values,
    weights_of,
)

if TYPE_CHECKING:
    from gristmill.pipeline.exchange import Exchange

DEFAULT_GROUP = ("language", "language_script")
NO_SCORE = "no_score"
LOW_QUANTILE = "low_quantile"
TOTALS = pa.schema([("group", pa.string()), ("weight", pa.int64())])
FEW = 100
"""A score that is equal for fewer documents than this is no mistake yet."""
REPORTED = 100
"""Groups that the report lists one by one, the largest first."""


class QuantilesConfig(StageConfig):
    """Config of `quantiles`.

    Attributes:
        score: a column, or numbers by column: the score is their weighted sum. Columns hold numbers, truth values, or lists,
            which count as their length: `{quality_failed: -1}` is better the fewer rules a document fails.
        combine: `values` adds up the columns' values; `ranks` adds up the documents' quantiles in each column, for columns
            that have nothing in common.
        within: columns; quantiles are within documents with equal values there. Default: `language` and `language_script`,
            as far as they exist. []: the whole corpus.
        weigh_by: a column of whole numbers, such as `token_count_estimate`: quantiles are then shares of its sum. Default:
            shares of documents.
        missing: whether documents without a score (null, not a number) have no quantile (`null`), or come first (`lowest`).
        name: begins the names of the columns.
        buckets: also write the bucket, of so many equal ones.
        keep_from: documents with a lower quantile fail, and those without one.
        on_fail: `drop` documents that fail, or `mark` them in `NAME_failed` and keep them.
    """

    score: Mapping[str, float] = signal()
    combine: Literal["values", "ranks"] = signal("values")
    within: tuple[str, ...] | None = signal(None)
    weigh_by: str | None = signal(None)
    missing: Literal["null", "lowest"] = signal("null")
    name: str = signal("score", pattern=r"^[a-z][a-z0-9_]*$")
    buckets: int | None = threshold(None, ge=2, le=10_000)
    keep_from: float | None = threshold(None, gt=0.0, lt=1.0)
    on_fail: Literal["drop", "mark"] = threshold("drop")

    @field_validator("score", mode="before")
    @classmethod
    def _one_column(cls, value: Any) -> Any:
        return {value: 1.0} if isinstance(value, str) else value

    @field_validator("within", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return None if value is None else one_or_several(value)

    @model_validator(mode="after")
    def _usable(self) -> QuantilesConfig:
        if not self.score:
            raise ValueError("score: name a column, such as `score: edu_score`")
        for column, factor in self.score.items():
            if not (factor == factor and 0 < abs(factor) <= 1e6):
                raise ValueError(f"score.{column}: expected a number other than 0 up to ±10^6, found {factor}")
        return self


class Quantiles(Stage):
    """Ranks documents by a score within their group."""

    Config = QuantilesConfig
    version = 1
    summary = "writes each document's exact quantile of a score within its language or any other group"

    config: QuantilesConfig

    def declare(self) -> StageSpec:
        config = self.config
        weigh = set() if config.weigh_by is None else {config.weigh_by}
        findings: list[tuple[str, pa.DataType]] = [(f"{config.name}_quantile", pa.float64())]
        if config.buckets is not None:
            findings.append((f"{config.name}_bucket", pa.int32()))
        if config.keep_from is not None and config.on_fail == "mark":
            findings.append((f"{config.name}_failed", pa.list_(pa.string())))
        return StageSpec(
            cost=Cost(measure=0, survey=0.1, settle=0.2, note_bytes=50, shuffled_rows=1, shuffled_bytes=60),
            survey_reads={*config.score, *(config.within or ()), *weigh},
            decide_reads={*(config.within or ()), *weigh},
            optional_reads=set(DEFAULT_GROUP) if config.within is None else set(),
            findings=pa.schema(findings),
            rules=() if config.keep_from is None else (NO_SCORE, LOW_QUANTILE),
            settings={} if config.keep_from is None else {LOW_QUANTILE: "keep_from"},
        )

    def _within(self) -> tuple[str, ...]:
        return DEFAULT_GROUP if self.config.within is None else self.config.within

    def check_survey_types(self, nothing: pa.Table) -> None:
        for name in self.config.score:
            score_values(nothing, name)
        weights_of(nothing, self.config.weigh_by)

    def survey(self, batch: pa.Table, context: StageContext) -> pa.Table:
        """One row per document: see `stages.quantiles.scores.score_notes`."""
        config = self.config
        return score_notes(batch, config.score, config.combine == "ranks", self._within(), config.weigh_by)

    def settle(self, notes: Rows, exchange: Exchange, context: StageContext) -> Settled:
        """The sum of the weights before each document, and each group's sum. Raises DataError for scores that order nothing."""
        counted = [exchange.reduce(notes, count_scores, {"number": number}) for number in range(self._orders())]
        self._check(counted)
        ordered = notes if self._orders() == 1 else self._added_ranks(notes, exchange)
        lowest = self.config.missing == "lowest" and self._orders() == 1
        params = {"number": 0, "missing_lowest": lowest, "falling": self._falls()}
        keyed, totals = prefix_sums(ordered, exchange, prepare=score_rows, params=params)
        if ordered is not notes:
            exchange.release(ordered)
        names = sorted(totals)
        table = pa.table([names, [totals[name].weight for name in names]], schema=TOTALS)
        return Settled(keyed=keyed, broadcast=table, report=self._report(counted))

    def _orders(self) -> int:
        """How many scores are ranked by themselves."""
        return len(self.config.score) if self.config.combine == "ranks" else 1

    def _falls(self) -> bool:
        """A single ranked column with a negative factor is ordered from the highest down."""
        return self.config.combine == "ranks" and self._orders() == 1 and next(iter(self.config.score.values())) < 0

    def _added_ranks(self, notes: Rows, exchange: Exchange) -> Rows:
        """Notes whose one score is the weighted sum of the quantiles in each column."""
        parts = []
        for number, (_, factor) in enumerate(sorted(self.config.score.items())):
            params = {"number": number, "missing_lowest": self.config.missing == "lowest"}
            found, totals = prefix_sums(notes, exchange, prepare=score_rows, params=params, carry=("group", "weight"))
            ranked = {"factor": factor, "totals": {name: total.weight for name, total in totals.items()}}
            parts.append(exchange.group(found, [DOC_KEY], pass_on, prepare=rank_rows, prepare_params=ranked))
            exchange.release(found)
        both = Rows(tuple(file for part in parts for file in part.files), parts[0].schema, sum(p.count for p in parts))
        added = exchange.group(both, [DOC_KEY], add_ranks, {"parts": len(parts)}, sort=[DOC_KEY, "rank"])
        for part in parts:
            exchange.release(part)
        return added

    def _check(self, counted: list[pa.Table]) -> None:
        constant = []
        for name, table in zip(self._order_names(), counted, strict=True):
            rows = table.to_pylist()
            documents, scored = (sum(row[column] for row in rows) for column in ("documents", "scored"))
            if documents and not scored:
                raise DataError(
                    f"none of {documents} documents has a number in the score {name}. Name a column that they have, or "
                    "look at the node that writes it: `gristmill sample` shows its values."
                )
            several = [row for row in rows if row["scored"] > 1]
            if scored >= FEW and several and all(row["lowest"] == row["highest"] for row in several):
                constant.append((name, several[0]))
        if len(constant) == len(counted):
            name, row = constant[0]
            raise DataError(
                f"the score {name} is {row['lowest']:g} for all documents of {_shown(row['group'])}, and constant in every "
                "other group: it orders nothing. Name a column that differs between documents."
            )

    def _order_names(self) -> list[str]:
        if self._orders() > 1:
            return [f"`{name}`" for name in sorted(self.config.score)]
        return [" + ".join(f"{factor:g} · `{name}`" for name, factor in self.config.score.items())]

    def _report(self, counted: list[pa.Table]) -> dict[str, Any]:
        report = {}
        for name, table in zip(self._order_names(), counted, strict=True):
            rows = sorted(table.to_pylist(), key=lambda row: (-row["documents"], row["group"]))
            report[name] = {
                "groups": {
                    _shown(row["group"]): {
                        "documents": row["documents"],
                        "without_score": row["documents"] - row["scored"],
                        "lowest": _finite(row["lowest"]),
                        "highest": _finite(row["highest"]),
                    }
                    for row in rows[:REPORTED]
                },
                "groups_not_listed": max(0, len(rows) - REPORTED),
                "constant": [
                    _shown(row["group"]) for row in rows if row["scored"] > 1 and row["lowest"] == row["highest"]
                ][:REPORTED],
            }
        return {"scores": report}

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """Everything is kept, unless `keep_from` says otherwise: the value is the quantile then."""
        config = self.config
        quantile, known = self._quantiles(batch, settled)
        columns = {f"{config.name}_quantile": pa.array(quantile, mask=~known)}
        if config.buckets is not None:
            bucket = np.minimum(np.floor(np.where(known, quantile, 0) * config.buckets), config.buckets - 1)
            columns[f"{config.name}_bucket"] = pa.array(bucket.astype(np.int32), mask=~known)
        if config.keep_from is None:
            return from_failures({}, rows=batch.num_rows, columns=columns)
        failures = {NO_SCORE: ~known, LOW_QUANTILE: known & (quantile < config.keep_from)}
        mark = config.on_fail == "mark"
        if mark:
            rules = np.select(list(failures.values()), [0, 1], 2)
            columns[f"{config.name}_failed"] = pa.array([[NO_SCORE], [LOW_QUANTILE], []]).take(pa.array(rules))
        return from_failures(
            failures,
            {LOW_QUANTILE: quantile},
            {LOW_QUANTILE: config.keep_from},
            rows=batch.num_rows,
            mark=mark,
            columns=columns,
        )

    def _quantiles(self, batch: pa.Table, settled: SettledView | None) -> tuple[np.ndarray, np.ndarray]:
        """(float64, whether there is one)."""
        if settled is None or settled.columns is None or settled.table is None:
            return np.full(batch.num_rows, np.nan), np.zeros(batch.num_rows, bool)
        before = one_chunk(settled.columns["before"])
        known = before.is_valid().to_numpy(zero_copy_only=False)
        totals = dict(zip(settled.table["group"].to_pylist(), settled.table["weight"].to_pylist(), strict=True))
        groups = groups_of(batch, self._within())
        rows = pa.table(
            {
                "group": groups,
                "weight": pa.array(weights_of(batch, self.config.weigh_by)),
                "before": before.fill_null(0),
            }
        ).filter(pa.array(known))
        found = np.full(batch.num_rows, np.nan)
        found[known] = quantiles(rows, totals)
        # A group whose documents all weigh nothing has no shares.
        return found, known & ~np.isnan(found)


def _shown(group: str) -> str:
    return "_".join(part or "unknown" for part in group.split(SEPARATOR)) if group.strip(SEPARATOR) else "unknown"


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


# Functions for the exchange.


def pass_on(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The rows as they are."""
    yield from tables
