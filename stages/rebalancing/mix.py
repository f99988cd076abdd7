"""Mixes groups of documents to wanted shares and a wanted size: temperature, bounds, fixed shares, caps on epochs.

Where the mix needs less of a group than there is, documents are left out, where it needs more, they are repeated; which
ones is drawn by doc_key and seed, whatever the order, and each group's amount is met to within one document. The solver
is `stages.rebalancing.mix_shares`. After a rebalancer with `form: columns`, a document's `repeats` count as that many
documents.

Several mixes of one corpus are several nodes that read the same port: a bulk and a last part in which some domains
weigh more (annealing), or phases with τ going from 5 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import field_validator, model_validator

from gristmill.pipeline.document import DOC_KEY, TEXT, key_words, one_chunk, text_bytes
from gristmill.pipeline.stage import (
    DROPPED,
    QUARANTINED,
    Decisions,
    Settled,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    resource,
    signal,
    threshold,
)
from gristmill.stages.kernels.draws import draws
from gristmill.stages.labels.groups import coded_groups, group_columns, label
from gristmill.stages.rebalancing.copy_factors import NOTES, add_totals, find_factors
from gristmill.stages.rebalancing.kernels.steps import count_copies
from gristmill.stages.rebalancing.mix_shares import Demands, MixSolution, solve
from gristmill.stages.rebalancing.tokens import check_tokenizer, count_tokens, estimate_tokens

if TYPE_CHECKING:
    from gristmill.pipeline.exchange import Exchange, Rows

DEFAULT_GROUP = ("language", "language_script")
NOT_DRAWN = "not_drawn"
REPEATED = "repeated"
INVALID_AMOUNT = "invalid_amount"
INVALID_REPEATS = "invalid_repeats"
RULES = (INVALID_AMOUNT, INVALID_REPEATS, NOT_DRAWN, REPEATED)
BYTES = "mix_bytes"


class MixConfig(StageConfig):
    """Config of `mix`.

    Attributes:
        by: columns whose values are the groups; [] mixes nothing and only meets the target. Default: `language` and
            `language_script`, as far as they exist.
        unit: what shares and the target count: documents, bytes of text, or tokens.
        amount: a column of whole numbers that holds each document's bytes or tokens, instead of counting them.
        tokenizer: a Hugging Face `tokenizer.json`; without it tokens are estimated from bytes by script.
        target: the size of the mix; None keeps the size of the input, repeats included.
        temperature: a group's share is proportional to n^(1/τ); 1 keeps the data's shares, `infinite` gives equal ones.
        fixed: shares of named groups, exactly. A group's name is its values joined by `_`, such as `por_Latn`.
        floors, ceilings: least and largest shares of named groups.
        max_epochs: bounds a group's amount to this many times its amount as it enters this node (UniMax's N). Documents that
            were repeated upstream count that often already. About 4 epochs over a whole corpus are worth nearly as much as
            new text (Muennighoff et al. 2023, arXiv:2305.16264).
        repeats: the column that says how many documents a row counts for, if it is there.
        seed: of the draws.
        form: `rows` emits each copy as a row; `columns` emits each document once, with `repeats` (whole copies) and
            `weight` (copies on average, whatever the draws), for loaders that sample.
    """

    by: tuple[str, ...] | None = signal(None)
    unit: Literal["documents", "bytes", "tokens"] = signal("documents")
    amount: str | None = signal(None)
    tokenizer: Path | None = resource("signal", None)
    target: int | None = threshold(None, ge=1)
    temperature: float | Literal["infinite"] = threshold(1.0)
    fixed: Mapping[str, float] = threshold({})
    floors: Mapping[str, float] = threshold({})
    ceilings: Mapping[str, float] = threshold({})
    max_epochs: float | None = threshold(4.0, gt=0)
    repeats: str = signal("repeats")
    seed: int = threshold(0, ge=0, lt=1 << 63)
    form: Literal["rows", "columns"] = threshold("rows")

    @field_validator("temperature")
    @classmethod
    def _above_zero(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and not value > 0:
            raise ValueError(f"must be above 0 (1 keeps the data's shares), found {value}")
        return value

    @model_validator(mode="after")
    def _one_origin_of_amounts(self) -> MixConfig:
        if self.unit == "documents" and (self.amount or self.tokenizer):
            given = "amount" if self.amount else "tokenizer"
            raise ValueError(f"`{given}` goes with `unit: tokens` or `unit: bytes`; found `unit: documents`")
        if self.tokenizer is not None and (self.unit != "tokens" or self.amount):
            raise ValueError("`tokenizer` goes with `unit: tokens` and without `amount`")
        return self


class Mix(Stage):
    """Emits each group's documents as often as the mix needs them."""

    Config = MixConfig
    version = 1
    summary = "Mixes groups to wanted shares and size: temperature, floors, ceilings, fixed shares, caps on epochs."

    config: MixConfig

    def declare(self) -> StageSpec:
        config, counted, measures = self.config, self._counted(), self._measures()
        reads = {*(config.by or ()), *([config.amount] if config.amount else [])}
        estimates = counted == "token_count_estimate"
        in_columns = config.form == "columns"
        estimated = (
            "mix: tokens are estimated from bytes by script (`token_count_estimate`). Set `tokenizer` to a "
            "tokenizer.json to count them."
        )
        return StageSpec(
            measure_reads={TEXT} if measures else set(),
            survey_reads=reads,
            decide_reads=reads,
            optional_reads={config.repeats, *(DEFAULT_GROUP if config.by is None or estimates else ())},
            signals=pa.schema([(counted, pa.int64())] if measures else []),
            hidden={BYTES} if measures and counted == BYTES else set(),
            findings=pa.schema([("repeats", pa.int32()), ("weight", pa.float64())] if in_columns else []),
            rules=RULES,
            models={} if config.tokenizer is None else {"tokenizer": config.tokenizer},
            # Nodes behind this one may survey the corpus if there is one row per document.
            emits_copies=not in_columns,
            notices=(estimated,) if estimates else (),
        )

    def _group(self) -> tuple[str, ...]:
        return DEFAULT_GROUP if self.config.by is None else self.config.by

    def _counted(self) -> str | None:
        """The column that holds amounts; None when documents are counted."""
        if self.config.unit == "documents" or self.config.amount:
            return self.config.amount
        if self.config.unit == "bytes":
            return BYTES
        return "token_count" if self.config.tokenizer is not None else "token_count_estimate"

    def _measures(self) -> bool:
        return self.config.unit != "documents" and self.config.amount is None

    def check_files(self) -> None:
        if self.config.tokenizer is not None:
            check_tokenizer(self.config.tokenizer)

    # What the stage does.

    def measure(self, batch: pa.Table, context: StageContext) -> Mapping[str, pa.Array]:
        if not self._measures():
            return {}
        (name,) = self.spec.signals.names
        if name == BYTES:
            return {name: pa.array(text_bytes(batch[TEXT]))}
        if self.config.tokenizer is not None:
            return {name: count_tokens(one_chunk(batch[TEXT]), self.config.tokenizer)}
        return {name: estimate_tokens(batch)}

    def survey(self, batch: pa.Table, context: StageContext) -> pa.Table:
        """One row per document: its group, repeats and amount. Rows that cannot be counted are left out."""
        names = self._labels(batch)[1]
        repeats, amounts = self._repeats(batch), self._amounts(batch)
        valid = pa.array((repeats >= 1) & (amounts >= 0))
        columns = [one_chunk(batch[DOC_KEY]), names, pa.array(repeats), pa.array(amounts)]
        return pa.Table.from_arrays(columns, schema=NOTES).filter(valid).combine_chunks()

    def _labels(self, batch: pa.Table) -> tuple[tuple[np.ndarray, list[str]], pa.Array]:
        """((group of each row as an index, the groups' names), group of each row as text)."""
        coded = coded_groups(group_columns(batch, self._group()), batch.num_rows)
        names = [label(key) for key in coded.keys]
        return (coded.codes, names), pa.array(names, pa.string()).take(pa.array(coded.codes))

    def _repeats(self, batch: pa.Table) -> np.ndarray:
        if self.config.repeats not in batch.column_names:
            return np.ones(batch.num_rows, np.int64)
        return _whole_numbers(batch[self.config.repeats], missing=1)

    def _amounts(self, batch: pa.Table) -> np.ndarray:
        column = self._counted()
        return np.ones(batch.num_rows, np.int64) if column is None else _whole_numbers(batch[column], missing=-1)

    def settle(self, notes: Rows, exchange: Exchange, context: StageContext) -> Settled:
        """The mix, and the factor of each group. Raises InfeasibleMix (a DataError) for what cannot be met."""
        config = self.config
        totals = exchange.reduce(notes, add_totals)
        base = dict(zip(totals["group"].to_pylist(), totals["base"].to_pylist(), strict=True))
        mix = solve(base, self._demands(sum(base.values())), config.unit)
        factors = find_factors(notes, exchange, totals, mix.amounts, config.seed)
        names = sorted(base)
        table = pa.table(
            {
                "group": pa.array(names, pa.string()),
                "factor": pa.array([factors.get(name, 0.0) for name in names], pa.float64()),
                # What the draws would give on average; the factor meets the amount with the draws as they are.
                "epochs": pa.array([mix.epochs.get(name, 0.0) for name in names], pa.float64()),
            }
        )
        return Settled(broadcast=table, report=self._report(totals, mix, factors))

    def _demands(self, size: int) -> Demands:
        config = self.config
        return Demands(
            target=size if config.target is None else config.target,
            temperature=math.inf if config.temperature == "infinite" else float(config.temperature),
            fixed=config.fixed,
            floors=config.floors,
            ceilings=config.ceilings,
            max_epochs=config.max_epochs,
        )

    def _report(self, totals: pa.Table, mix: MixSolution, factors: Mapping[str, float]) -> dict[str, Any]:
        size = sum(totals["base"].to_pylist())
        groups = {}
        for row in totals.to_pylist():
            name = row["group"]
            groups[name] = {
                "documents": row["documents"],
                "amount": row["held"],
                "amount_with_repeats": row["base"],
                "share_before": row["base"] / size if size else 0.0,
                "share_after": mix.shares.get(name, 0.0),
                "wanted": mix.amounts.get(name, 0),
                "epochs": mix.epochs.get(name, 0.0),
                "factor": factors.get(name, 0.0),
            }
        return {"unit": self._counted() or "documents", "target": sum(mix.amounts.values()), "groups": groups}

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """Copies of each row. value is the number of copies expected, threshold the draw: a row has
        ceil(value − threshold) copies, and is left out when that is 0."""
        (codes, names), _ = self._labels(batch)
        repeats, amounts = self._repeats(batch), self._amounts(batch)
        valid = (repeats >= 1) & (amounts >= 0)
        factors, epochs = _by_group(None if settled is None else settled.table, names)
        drawn = np.empty(batch.num_rows)
        draws(key_words(batch[DOC_KEY]), np.uint64(self.config.seed), drawn)
        copies = np.empty(batch.num_rows, np.int64)
        count_copies(factors, codes, drawn, np.maximum(repeats, 1), copies)
        expected = factors[codes] * np.maximum(repeats, 1)
        rule = np.select(
            [amounts < 0, repeats < 1, copies == 0, copies > 1],
            list(range(len(RULES))),
            -1,
        ).astype(np.int16)
        emitted = valid & (copies > 0)
        columns = {}
        if self.config.form == "columns":
            columns = {
                "repeats": pa.array(copies.astype(np.int32), mask=~emitted),
                "weight": pa.array(epochs[codes] * repeats, pa.float64(), mask=~emitted),
            }
        rows = (
            np.ones(len(copies), np.int32) if self.config.form == "columns" else np.maximum(copies, 1).astype(np.int32)
        )
        return Decisions(
            port=np.where(emitted, 0, np.where(valid, DROPPED, QUARANTINED)).astype(np.int16),
            copies=rows,
            rules=RULES,
            rule=rule,
            value=np.where(valid, expected, np.where(amounts < 0, amounts, repeats)),
            threshold=np.where(valid, drawn, np.where(amounts < 0, 0.0, 1.0)),
            columns=columns,
            tallies=_tallies(codes, names, np.where(emitted, copies, 0), amounts),
        )


def _by_group(table: pa.Table | None, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(factors, epochs) of the groups; 0 for a group that no survey saw."""
    rows = [] if table is None else table.to_pylist()
    known = {row["group"]: (row["factor"], row["epochs"]) for row in rows}
    both = np.array([known.get(name, (0.0, 0.0)) for name in names], np.float64).reshape(-1, 2)
    return both[:, 0].copy(), both[:, 1].copy()


def _whole_numbers(column: pa.Array | pa.ChunkedArray, missing: int) -> np.ndarray:
    array = one_chunk(column).cast(pa.int64())
    return np.asarray(array.fill_null(missing).to_numpy(zero_copy_only=False), np.int64)


def _tallies(codes: np.ndarray, names: list[str], copies: np.ndarray, amounts: np.ndarray) -> dict[str, int]:
    """Documents, copies and their amount by group."""
    tallies: dict[str, int] = {}
    for what, numbers in (("documents", copies > 0), ("copies", copies), ("amount", copies * amounts)):
        total = np.zeros(len(names), np.int64)
        np.add.at(total, codes, numbers.astype(np.int64))
        for name, number in zip(names, total.tolist(), strict=True):
            if number:
                tallies[f"{what}.{name}"] = tallies.get(f"{what}.{name}", 0) + number
    return tallies
