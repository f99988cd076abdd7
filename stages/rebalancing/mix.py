"""Mixes groups of documents to wanted shares and a wanted size: temperature, bounds, fixed shares, margins, caps on epochs.

Of each document E = min(cap, λ · weight) copies are expected: its weight says what it earns (a `rebalance` with `form: columns`
writes it; without such a column all weigh 1), λ is the one factor of its group that meets the group's budget, and the cap is
what earlier phases left of `max_epochs`. Whole copies come by systematic rounding, so that each group's amount lies within its
largest document of its budget. The shares are solved in `stages.rebalancing.mix_shares` and, with margins, in
`stages.rebalancing.margins`; λ in `stages.rebalancing.cells`; the rounding is `stages.rebalancing.rounding`.

Several mixes of one corpus are several nodes that read the same port: a bulk and a last part in which some domains
weigh more (annealing), or phases with τ going from 5 to 1. Where a document may be read `max_epochs` times over all of them,
the later node names the columns of the earlier ones in `seen`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import field_validator, model_validator

from gristmill.pipeline.document import DOC_KEY, TEXT, one_chunk, text_bytes
from gristmill.pipeline.errors import ContractError
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
    one_or_several,
    resource,
    signal,
    threshold,
)
from gristmill.stages.labels.groups import coded_groups, group_columns, label
from gristmill.stages.ordering.prefix_sums import prefix_sums
from gristmill.stages.rebalancing.budgets import (
    SEPARATOR,
    Budgets,
    budget_report,
    read_ratios,
    shown,
    solve_budgets,
)
from gristmill.stages.rebalancing.cell_records import cell_record
from gristmill.stages.rebalancing.cells import ONE, cells_by_group, count_cells, expected_copies, factor, units
from gristmill.stages.rebalancing.rounding import NOTES, fraction_rows, offset, positions, whole_copies
from gristmill.stages.rebalancing.tokens import check_tokenizer, count_tokens, estimate_tokens

if TYPE_CHECKING:
    from gristmill.pipeline.exchange import Exchange, Rows

DEFAULT_GROUP = ("language", "language_script")
NOT_DRAWN = "not_drawn"
REPEATED = "repeated"
FILLED = "repeated_for_budget"
INVALID_AMOUNT = "invalid_amount"
INVALID_WEIGHT = "invalid_weight"
INVALID_SEEN = "invalid_seen"
RULES = (INVALID_AMOUNT, INVALID_WEIGHT, INVALID_SEEN, NOT_DRAWN, REPEATED, FILLED)
BYTES = "mix_bytes"
MOST_WEIGHT = 1e6


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
        margins: shares by column, over all groups with that value, such as `{language: {eng: 0.5}, domain: {news: 0.2}}`; the
            columns are among `by`. Values that are not named keep their proportions. With it, no other shares.
        ratios: a file with the ratios of a mixture search (JSON or YAML: a number by group), met as far as `max_epochs`
            allows; what is missing is reported and not made up for by other groups. With it, no other shares.
        max_epochs: how often any document may be read, at most: upstream repeats count, and so does `seen`. About 4 epochs over
            a whole corpus are worth nearly as much as new text (Muennighoff et al. 2023, arXiv:2305.16264).
        weight: the column that says how many copies a document earns, if it is there; 0 earns none, null 1.
        seen: columns of whole numbers: copies in earlier phases or outputs, which count against `max_epochs`.
        keep_undrawn: whether `form: columns` emits documents without a copy too, with `repeats` 0, for a later phase.
        name: begins the columns of `form: columns`: `bulk` gives `bulk_repeats` and `bulk_weight`.
        seed: of the rounding.
        form: `rows` emits each copy as a row; `columns` emits each document once, with `repeats` (whole copies) and
            `weight` (copies expected), for loaders that sample.
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
    max_epochs: float | None = threshold(4.0, gt=0, le=1e6)
    margins: Mapping[str, Mapping[str, float]] = threshold({})
    ratios: Path | None = resource("threshold", None)
    weight: str = signal("weight")
    seen: tuple[str, ...] = signal(())
    keep_undrawn: bool = threshold(False)
    name: str | None = threshold(None, pattern=r"^[a-z][a-z0-9_]*$")
    seed: int = threshold(0, ge=0, lt=1 << 63)
    form: Literal["rows", "columns"] = threshold("rows")

    @field_validator("temperature")
    @classmethod
    def _above_zero(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and not value > 0:
            raise ValueError(f"must be above 0 (1 keeps the data's shares), found {value}")
        return value

    @field_validator("seen", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)

    @model_validator(mode="after")
    def _one_origin_of_shares(self) -> MixConfig:
        shares = [name for name in ("fixed", "floors", "ceilings") if getattr(self, name)]
        shares += ["temperature"] if self.temperature != 1.0 else []
        for name in ("margins", "ratios"):
            if getattr(self, name) and (shares or (self.margins and self.ratios)):
                other = shares[0] if shares else "ratios"
                raise ValueError(f"`{name}` says what shares there are; take out `{other}`, or `{name}`")
        columns = DEFAULT_GROUP if self.by is None else self.by
        for column in self.margins:
            if column not in columns:
                raise ValueError(f"margins.{column}: it is not among the columns `by` ({', '.join(columns) or 'none'})")
        if self.keep_undrawn and self.form == "rows":
            raise ValueError("`keep_undrawn` goes with `form: columns`: a document without a copy is no row")
        return self

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
    version = 2
    summary = (
        "mixes groups to wanted shares and size: budgets, temperature, bounds, margins, a cap on how often text is seen"
    )

    config: MixConfig

    def declare(self) -> StageSpec:
        config, counted, measures = self.config, self._counted(), self._measures()
        reads = {*(config.by or ()), *config.seen, *([config.amount] if config.amount else [])}
        estimates = counted == "token_count_estimate"
        in_columns = config.form == "columns"
        estimated = (
            "mix: tokens are estimated from bytes by script (`token_count_estimate`). Set `tokenizer` to a "
            "tokenizer.json to count them."
        )
        models = {"tokenizer": config.tokenizer, "ratios": config.ratios}
        return StageSpec(
            cost=Cost(measure=0, survey=0.1, settle=0.2, note_bytes=50, shuffled_rows=1, shuffled_bytes=60),
            measure_reads={TEXT} if measures else set(),
            survey_reads=reads,
            decide_reads=reads,
            optional_reads={config.weight, *(DEFAULT_GROUP if config.by is None or estimates else ())},
            signals=pa.schema([(counted, pa.int64())] if measures else []),
            hidden={BYTES} if measures and counted == BYTES else set(),
            findings=pa.schema([(self._column(name), kind) for name, kind in COLUMNS] if in_columns else []),
            rules=RULES,
            models={name: path for name, path in models.items() if path is not None},
            # Nodes behind this one may survey the corpus if there is one row per document.
            emits_copies=not in_columns,
            notices=(estimated,) if estimates else (),
        )

    def _column(self, name: str) -> str:
        return name if self.config.name is None else f"{self.config.name}_{name}"

    def groups_by(self) -> tuple[str, ...]:
        """The columns whose values are the groups."""
        return DEFAULT_GROUP if self.config.by is None else self.config.by

    def counts(self) -> str:
        """What amounts count: `documents`, or the column that holds them."""
        return self._counted() or "documents"

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
        if self.config.ratios is not None:
            read_ratios(self.config.ratios)

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
        """One row per document: its group, weight, times seen and amount. Rows that cannot be counted are left out."""
        codes, names = self._groups(batch)
        rows = self._rows(batch)
        columns = [
            one_chunk(batch[DOC_KEY]),
            pa.array(names, pa.string()).take(pa.array(codes)),
            pa.array(rows.weight),
            pa.array(rows.seen),
            pa.array(rows.amount),
        ]
        return pa.Table.from_arrays(columns, schema=NOTES).filter(pa.array(rows.valid)).combine_chunks()

    def _groups(self, batch: pa.Table) -> tuple[np.ndarray, list[str]]:
        """The group of each row as an index, and the groups' names."""
        coded = coded_groups(group_columns(batch, self.groups_by()), batch.num_rows)
        return coded.codes, [SEPARATOR.join(key) if self.config.margins else label(key) for key in coded.keys]

    def _rows(self, batch: pa.Table) -> CountedRows:
        rows, column = batch.num_rows, self._counted()
        amount = np.ones(rows, np.int64) if column is None else _whole_numbers(batch[column], missing=-1)
        weight = np.ones(rows)
        if self.config.weight in batch.column_names:
            array = one_chunk(batch[self.config.weight])
            if not (
                pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_null(array.type)
            ):
                raise ContractError(
                    f"weight: the column `{self.config.weight}` is {array.type}; expected numbers. Name another column, or one "
                    "that is not there: all documents weigh 1 then."
                )
            array = array.cast(pa.float64()).fill_null(1.0)
            weight = np.asarray(array.to_numpy(zero_copy_only=False), np.float64)
        seen = np.zeros(rows, np.int64)
        for name in self.config.seen:
            more = _whole_numbers(batch[name], missing=0)
            seen = np.where((more < 0) | (seen < 0), -1, seen + more)
        return CountedRows(amount, weight, seen)

    def settle(self, notes: Rows, exchange: Exchange, context: StageContext) -> Settled:
        """The mix, the factor of each group, and where each document lies between two whole copies. Raises InfeasibleMix (a
        DataError) for what cannot be met."""
        config = self.config
        groups = cells_by_group(exchange.reduce(notes, count_cells))
        solution = solve_budgets(groups, self.budgets(), config.unit, self.groups_by())
        factors = {name: factor(groups[name], config.max_epochs, amount) for name, amount in solution.amounts.items()}
        params = {"factors": factors, "max_epochs": config.max_epochs, "seed": config.seed}
        keyed, _ = prefix_sums(notes, exchange, prepare=fraction_rows, params=params)
        names = sorted(factors)
        table = pa.table(
            {
                "group": pa.array(names, pa.string()),
                "factor": pa.array([factors[name] for name in names], pa.float64()),
                "offset": pa.array([offset(config.seed, name) for name in names], pa.int64()),
            }
        )
        report = budget_report(groups, solution, factors, config.max_epochs, self.counts())
        report["cells"] = cell_record(groups, self.groups_by(), self.counts())
        return Settled(keyed=keyed, broadcast=table, report=report)

    def budgets(self) -> Budgets:
        """What the mix shall look like."""
        config = self.config
        return Budgets(
            target=config.target,
            temperature=math.inf if config.temperature == "infinite" else float(config.temperature),
            fixed=config.fixed,
            floors=config.floors,
            ceilings=config.ceilings,
            margins=config.margins,
            ratios=None if config.ratios is None else read_ratios(config.ratios),
            max_epochs=config.max_epochs,
        )

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """Copies of each row. value is the number of copies expected, threshold where the document lies between two whole
        copies: a row has ⌊value + threshold⌋ copies, and is left out when that is 0. The witness says why so many are
        expected."""
        codes, names = self._groups(batch)
        rows = self._rows(batch)
        factors, offsets = _by_group(None if settled is None else settled.table, names)
        weight = np.where(rows.valid, rows.weight, 0.0)
        expected = expected_copies(weight, rows.seen, factors[codes], self.config.max_epochs)
        before = np.zeros(batch.num_rows, np.int64)
        if settled is not None and settled.columns is not None:
            before = one_chunk(settled.columns["before"]).fill_null(0).to_numpy(zero_copy_only=False)
        place = positions(before, offsets[codes])
        copies = whole_copies(expected, place)
        in_columns = self.config.form == "columns"
        rule = np.select(
            [
                rows.amount < 0,
                ~rows.sound_weight,
                rows.seen < 0,
                copies == 0,
                (copies > 1) & (weight > 1),
                copies > 1,
            ],
            list(range(len(RULES))),
            -1,
        ).astype(np.int16)
        drawn = rows.valid & (copies > 0)
        emitted = rows.valid if self.config.keep_undrawn else drawn
        columns = {}
        if in_columns:
            values = {"repeats": copies.astype(np.int32), "weight": units(expected) / ONE}
            columns = {self._column(name): pa.array(value, mask=~emitted) for name, value in values.items()}
        given = np.ones(len(copies), np.int32) if in_columns else np.maximum(copies, 1).astype(np.int32)
        wrong = np.select([rows.amount < 0, ~rows.sound_weight], [rows.amount, rows.weight], rows.seen)
        return Decisions(
            port=np.where(emitted, 0, np.where(rows.valid, DROPPED, QUARANTINED)).astype(np.int16),
            copies=given,
            rules=RULES,
            rule=rule,
            value=np.where(rows.valid, units(expected) / ONE, wrong),
            threshold=np.where(rows.valid, place, 0.0),
            witness=_reasons(rule >= RULES.index(NOT_DRAWN), codes, names, factors, weight, rows.seen),
            columns=columns,
            tallies=_tallies(codes, names, np.where(drawn, copies, 0), rows.amount),
        )

    def recheck(self, told: pa.Table) -> Iterator[tuple[int, str]]:
        """Copies follow from what was expected and where the document lay, that from factor, weight and cap."""
        in_columns, most = self.config.form == "columns", self.config.max_epochs
        names = ("decision", "rule", "value", "threshold", "copies", "witness")
        for row, (decision, rule, value, place, copies, witness) in enumerate(
            zip(*(told[name].to_pylist() for name in names), strict=True)
        ):
            if rule in (None, INVALID_AMOUNT, INVALID_WEIGHT, INVALID_SEEN):
                continue
            if value is None or place is None or not (0 <= value <= MOST_COPIES and 0 <= place < 1):
                yield row, f"{value} copies expected and the place {place}; expected numbers"
                continue
            made = math.floor(value + place)
            emitted = 0 if decision == "dropped" else copies
            if not in_columns and emitted != made:
                yield row, f"{emitted} copies; {value:.6f} expected and the place {place:.6f} make {made}"
            reason = REASON.fullmatch(witness or "")
            if reason is None:
                yield row, f"its witness is {str(witness)[:120]!r}; expected group, factor and weight"
                continue
            left = math.inf if most is None else max(0.0, most - int(reason["seen"] or 0))
            wanted = min(left, float(reason["factor"]) * float(reason["weight"]))
            if abs(wanted - value) > 2e-5 * max(1.0, value):
                yield row, f"{value:.6f} copies expected; factor, weight and cap of its witness make {wanted:.6f}"


NUMBER = r"[0-9]{1,20}(?:\.[0-9]{1,20})?(?:e[+-]?[0-9]{1,3})?"
REASON = re.compile(
    rf"group .*, factor (?P<factor>{NUMBER}), weight (?P<weight>{NUMBER})(?:, seen (?P<seen>[0-9]{{1,15}}))?", re.DOTALL
)
MOST_COPIES = 1e9
COLUMNS = (("repeats", pa.int32()), ("weight", pa.float64()))


class CountedRows(NamedTuple):
    """What is counted of documents: `amount` (int64, −1 where there is none), `weight` (float64) and `seen` (int64, −1 where
    that is no count)."""

    amount: np.ndarray
    weight: np.ndarray
    seen: np.ndarray

    @property
    def sound_weight(self) -> np.ndarray:
        """Which weights are numbers from 0 to MOST_WEIGHT."""
        sound: np.ndarray = (self.weight >= 0) & (self.weight <= MOST_WEIGHT)
        return sound

    @property
    def valid(self) -> np.ndarray:
        """Which rows can be counted."""
        valid: np.ndarray = (self.amount >= 0) & self.sound_weight & (self.seen >= 0)
        return valid


def _by_group(table: pa.Table | None, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(factors, offsets) of the groups; 0 for a group that no survey saw."""
    rows = [] if table is None else table.to_pylist()
    known = {row["group"]: (row["factor"], row["offset"]) for row in rows}
    factors = np.array([known.get(name, (0.0, 0))[0] for name in names], np.float64)
    return factors, np.array([known.get(name, (0.0, 0))[1] for name in names], np.int64)


def _reasons(
    chosen: np.ndarray, codes: np.ndarray, names: list[str], factors: np.ndarray, weight: np.ndarray, seen: np.ndarray
) -> pa.Array:
    """Group, factor, weight and times seen as text, for the rows that are chosen."""
    rows = np.flatnonzero(chosen)
    values, value = np.unique(weight[rows], return_inverse=True)
    times, time = np.unique(seen[rows], return_inverse=True)
    together = (codes[rows] * len(values) + value) * len(times) + time
    distinct, which = np.unique(together, return_inverse=True)
    texts = []
    for one in distinct.tolist():
        rest, at = divmod(one, len(times))
        code, place = divmod(rest, len(values))
        text = f"group {shown(names[code])}, factor {factors[code]:.6g}, weight {values[place]:.6g}"
        texts.append(text + (f", seen {times[at]}" if times[at] else ""))
    places = np.full(len(chosen), -1, np.int64)
    places[rows] = which
    return pa.array(texts, pa.string()).take(pa.array(places, mask=places < 0))


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
                tallies[f"{what}.{shown(name)}"] = tallies.get(f"{what}.{shown(name)}", 0) + number
    return tallies
