"""Model-based quality: the score of a fastText classifier, kept from a threshold on or as the best fraction of the corpus.

The filters are those of DCLM (Li et al. 2024, https://arxiv.org/abs/2406.11794: a fastText classifier of instruction data
against web pages, the best 10 % kept) and of FineWeb-Edu (Penedo et al. 2024, https://arxiv.org/abs/2406.17557: an
expected grade). Any supervised model in fastText's format will do: any labels, hierarchical softmax, softmax, one-vs-all or
negative sampling, word n-grams, quantised or not; `gristmill train quality` makes one. Scores are the library's, from its
algorithm compiled (`stages.fasttext.predict`): probability + 1e-5, of the text with its newlines taken as spaces.

    NAME_score   the score (float32); null for text in which the model knows nothing

With `labels` the answer is a label in place of a score, see `stages.classifier.labels`.

What is kept is compared with a random baseline: the manifest's report and the dataset card show the same figures for all
documents, for those kept, and for a seeded random selection of as many. A filter whose selection looks like the random one
selects nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator, model_validator

from gristmill.pipeline.document import DOC_KEY, TEXT, one_chunk, text_buffers, text_bytes
from gristmill.pipeline.errors import ConfigError, nearest
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
    resource,
    signal,
)
from gristmill.pipeline.stage import threshold as threshold_field
from gristmill.stages.classifier import labels
from gristmill.stages.classifier.ranking import (
    NOTES,
    NOTHING,
    WHOLE,
    Cut,
    add_figures,
    add_scopes,
    cut_at,
    find_cuts,
    is_within,
    ranks,
    selection_figures,
)
from gristmill.stages.fasttext.model_file import LABEL_PREFIX, read_model
from gristmill.stages.fasttext.predict import FastTextClassifier
from gristmill.stages.labels.groups import group_columns

if TYPE_CHECKING:
    from gristmill.pipeline.exchange import Exchange, Rows

LANGUAGE = ("language", "language_script")
NO_SCORE = "no_score"
LOW_SCORE = "low_score"
CUTS = pa.schema([("scope", pa.string()), ("place", pa.binary(20))])
MAX_VALUE = 1000.0
"""Largest value of a label: the report's sums of scores, in 2^-20, then stay within 64 bits up to 8 · 10^9 documents."""
SEPARATOR = "\x1f"
"""Stands between the values of several columns `within`."""
REPORTED = 30
"""Languages and scopes that the report lists one by one, most frequent first."""
CHANCE = 0x6368616E6365
"""Keeps the random selection apart from other draws with the run's seed."""


class ClassifierConfig(StageConfig):
    """Config of the stage `classifier`. It needs `labels`; or one of `label` and `values`, and one of `threshold` and
    `keep_fraction`.

    Attributes:
        model: a supervised model in fastText's format (.bin or .ftz), such as `gristmill train quality` writes.
        label: the label whose probability is the score, with or without `__label__`.
        values: numbers by label: the score is their expectation, Σ value · p / Σ p. Labels that are not named count as 0.
        labels: `all`, or those that documents may get, in place of a score: the top label is in `NAME_label`, its probability
            in `NAME_probability`. Such a node does not wait for the corpus.
        thresholds: the least probability of a label, by label, `"*"` for those that are not named: below it, `NAME_label` is
            null. It goes with `labels`, as do the next two.
        keep: labels of the documents that pass; others fail, those without a label too.
        drop: labels of the documents that fail.
        name: begins the names of the columns, `NAME_score` and `NAME_failed`; two classifiers need two.
        threshold: documents with a lower score fail.
        keep_fraction: the share of the documents with the highest scores that is kept, rounded up to whole documents;
            exactly that many, of equal scores those with the lowest doc_key.
        within: columns; the fraction is kept of the documents with equal values in them, such as `language`. None: of the
            whole corpus.
        on_fail: `drop` documents that fail, or `mark` them in `NAME_failed` and keep them.
    """

    model: Path = resource("signal")
    label: str | None = signal(None)
    values: Mapping[str, float] | None = signal(None)
    labels: Literal["all"] | tuple[str, ...] | None = signal(None)
    thresholds: Mapping[str, float] = threshold_field({})
    keep: tuple[str, ...] = threshold_field(())
    drop: tuple[str, ...] = threshold_field(())
    name: str = signal("classifier", pattern=r"^[a-z][a-z0-9_]*$")
    threshold: float | None = threshold_field(None, ge=-MAX_VALUE, le=MAX_VALUE)
    keep_fraction: float | None = threshold_field(None, gt=0.0, le=1.0)
    within: tuple[str, ...] = signal(())
    on_fail: Literal["drop", "mark"] = threshold_field("drop")

    @field_validator("within", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)

    @field_validator("values")
    @classmethod
    def _bounded(cls, value: Mapping[str, float] | None) -> Mapping[str, float] | None:
        for label, number in (value or {}).items():
            if not abs(number) <= MAX_VALUE:
                raise ValueError(f"values.{label}: expected a number between ±{MAX_VALUE:g}, found {number}")
        return value

    @field_validator("labels", "keep", "drop", mode="before")
    @classmethod
    def _one_label_or_several(cls, value: Any) -> Any:
        # `labels: []` would mean that nothing competes.
        if value == [] or value == "":
            raise ValueError("is empty; name at least one label, or leave it out")
        if isinstance(value, str):
            return value if value == "all" else (value,)
        return tuple(value) if isinstance(value, list) else value

    @field_validator("thresholds")
    @classmethod
    def _probabilities(cls, value: Mapping[str, float]) -> Mapping[str, float]:
        for label, number in value.items():
            if not 0.0 <= number <= 1.0:
                raise ValueError(f"{label}: expected a probability, found {number:g}")
        return value

    @model_validator(mode="after")
    def _labels_or_a_score(self) -> ClassifierConfig:
        of_labels = [name for name in ("thresholds", "keep", "drop") if getattr(self, name)]
        of_scores = [
            name for name in ("label", "values", "threshold", "keep_fraction", "within") if getattr(self, name)
        ]
        if self.labels is None and of_labels:
            raise ValueError(f"`{of_labels[0]}` goes with `labels`, such as `labels: all`")
        if self.labels is not None and of_scores:
            raise ValueError(
                f"`{of_scores[0]}` goes with a score, and `labels` gives labels. Keep one; two classifiers under two names "
                "give both"
            )
        if self.keep and self.drop:
            raise ValueError("found both `keep` and `drop`; one says what becomes of the others")
        return self

    @model_validator(mode="after")
    def _one_score_and_one_cut(self) -> ClassifierConfig:
        if self.labels is not None:
            return self
        if (self.label is None) == (not self.values):
            raise ValueError(
                "needs exactly one of `label` (the score is its probability, such as `label: hq`) and `values` (the score is "
                "an expectation, such as `values: {low: 0, high: 1}`), or `labels: all` for the label itself"
            )
        if (self.threshold is None) == (self.keep_fraction is None):
            raise ValueError(
                "needs exactly one of `threshold` (such as `threshold: 0.5`) and `keep_fraction` (such as "
                "`keep_fraction: 0.1`)"
            )
        if self.within and self.keep_fraction is None:
            raise ValueError("`within` goes with `keep_fraction`: a threshold is the same for all documents")
        return self


@cache
def _model(path: Path) -> FastTextClassifier:
    """One per process and file: models are read when first used, never while planning."""
    return FastTextClassifier(read_model(path))


class Classifier(Stage):
    """Scores documents with a fastText model and keeps the best."""

    Config = ClassifierConfig
    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "a fastText classifier's score or label; keeps the best fraction, or the labels that you name"
    )

    config: ClassifierConfig

    @property
    def _score(self) -> str:
        return f"{self.config.name}_score"

    def declare(self) -> StageSpec:
        config = self.config
        if config.labels is not None:
            name = config.name
            return StageSpec(
                cost=Cost(measure=20),
                measure_reads={TEXT},
                optional_reads=set(labels.TOKENS),
                signals=labels.signal_schema(name),
                hidden={f"{name}_bytes"},
                findings=pa.schema([(f"{name}_label", pa.string()), (f"{name}_failed", pa.list_(pa.string()))]),
                rules=labels.RULES,
                models={"model": config.model},
                surveys=False,
            )
        return StageSpec(
            cost=Cost(measure=20, survey=0.1, settle=0.2),
            measure_reads={TEXT},
            survey_reads={TEXT, *self.config.within},
            decide_reads=set(self.config.within),
            optional_reads=set(LANGUAGE),
            signals=pa.schema([(self._score, pa.float32())]),
            findings=pa.schema([(f"{self.config.name}_failed", pa.list_(pa.string()))]),
            rules=(NO_SCORE, LOW_SCORE),
            models={"model": self.config.model},
            seeded=True,
        )

    def check_files(self) -> None:
        """Raises ConfigError when the model cannot be used or does not have a label that the config names."""
        if self.config.labels is not None:
            labels.competing(self.config, _model(self.config.model))
            return
        self._weights(_model(self.config.model))

    def _weights(self, model: FastTextClassifier) -> np.ndarray:
        """float64 by label number: what its probability counts."""
        given = self.config.values or {str(self.config.label): 1.0}
        place = {label: number for number, label in enumerate(model.labels)}
        weights = np.zeros(len(model.labels))
        for name, value in given.items():
            label = name.removeprefix(LABEL_PREFIX)
            if label not in place:
                where = f"values.{name}" if self.config.values else f"label: {name!r}"
                raise ConfigError(
                    f"stage classifier: {where}: the model {self.config.model} has no such label; "
                    f"{nearest(label, model.labels)}"
                )
            weights[place[label]] = value
        return weights

    def measure(self, batch: pa.Table, context: StageContext) -> Mapping[str, pa.Array]:
        data, offsets = text_buffers(batch[TEXT])
        model = _model(self.config.model)
        if self.config.labels is not None:
            chosen = labels.competing(self.config, model)
            return labels.label_signals(self.config.name, model, chosen, data, offsets)
        weights = self._weights(model)
        rows, step = batch.num_rows, max(1, labels.MAX_ANSWERS // len(weights))
        found = np.empty(rows, np.float32)
        known = np.zeros(rows, bool)
        for start in range(0, rows, step):
            stop = min(rows, start + step)
            numbers, scores = model.predict(data, offsets[start : stop + 1], top=len(weights))
            known[start:stop] = numbers[:, 0] >= 0
            # Labels that were not answered are −1 with the score 0.
            score = (weights[numbers] * scores).sum(axis=1)
            if self.config.values:
                score /= np.maximum(scores.sum(axis=1, dtype=np.float64), np.finfo(np.float32).tiny)
            found[start:stop] = score
        return {self._score: pa.array(found, mask=~known)}

    def _scopes(self, batch: pa.Table) -> pa.Array:
        return _joined(batch, self.config.within, SEPARATOR)

    def survey(self, batch: pa.Table, context: StageContext) -> pa.Table:
        """One row per document, see `stages.classifier.ranking`."""
        languages = [name for name in LANGUAGE if name in batch.column_names]
        columns = [
            one_chunk(batch[DOC_KEY]),
            self._scopes(batch),
            _joined(batch, languages, "_"),
            one_chunk(batch[self._score]),
            pa.array(text_bytes(batch[TEXT])),
        ]
        return pa.Table.from_arrays(columns, schema=NOTES)

    def settle(self, notes: Rows, exchange: Exchange, context: StageContext) -> Settled:
        """The cut of each scope, and what is kept beside a random selection of as many documents."""
        config = self.config
        counted = exchange.reduce(notes, add_scopes, {"least": config.threshold}).to_pylist()
        if config.keep_fraction is None:
            cut = cut_at(config.threshold if config.threshold is not None else 0.0)
            cuts = {row["scope"]: cut for row in counted}
            kept = {row["scope"]: row["reaching"] for row in counted}
        else:
            # As it is written: 0.1 of 30 documents are 3, where binary fractions make 4 of it.
            share = Fraction(str(config.keep_fraction))
            kept = {row["scope"]: min(math.ceil(row["documents"] * share), row["scored"]) for row in counted}
            cuts = find_cuts(notes, exchange, kept)
        chance = (context.seed ^ CHANCE) & ((1 << 64) - 1)
        drawn = find_cuts(notes, exchange, {WHOLE: sum(kept.values())}, seed=chance)[WHOLE]
        places = {scope: cut.place.hex() for scope, cut in cuts.items()}
        params = {"cuts": places, "chance": drawn.place.hex(), "seed": chance}
        figures = selection_figures(exchange.reduce(notes, add_figures, params), REPORTED)
        table = pa.table(
            {"scope": list(places), "place": [cut.place or None for cut in cuts.values()]}, schema=CUTS
        ).sort_by("scope")
        return Settled(broadcast=table, report=self._report(counted, kept, cuts, figures))

    def _report(
        self,
        counted: list[dict[str, Any]],
        kept: Mapping[str, int],
        cuts: Mapping[str, Cut],
        figures: Mapping[str, Any],
    ) -> dict[str, Any]:
        listed = sorted(counted, key=lambda row: (-row["documents"], row["scope"]))
        scopes = {
            row["scope"].replace(SEPARATOR, "_"): {
                "documents": row["documents"],
                "without_score": row["documents"] - row["scored"],
                "kept": kept[row["scope"]],
                "least_score": round(cuts[row["scope"]].score(), 9) if cuts[row["scope"]].place else None,
            }
            for row in listed[:REPORTED]
        }
        return {
            "scopes": scopes,
            "scopes_not_listed": max(0, len(listed) - REPORTED),
            "beside_chance": {"score": self._score, **figures},
        }

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """Fails documents beyond the cut of their scope; where the score alone does not decide, the witness is the doc_key
        of the last one kept. With `labels`, see `decide_labels`."""
        if self.config.labels is not None:
            return labels.decide_labels(batch, self.config)
        score = one_chunk(batch[self._score])
        known = score.is_valid().to_numpy(zero_copy_only=False)
        values = score.fill_null(0.0).to_numpy(zero_copy_only=False)
        table = None if settled is None else settled.table
        cuts, codes = self._cuts(table, batch)
        rank = ranks(values)
        within = is_within(rank, one_chunk(batch[DOC_KEY]), cuts, codes)
        failures = {NO_SCORE: ~known, LOW_SCORE: known & ~within}
        limits = np.array([cut.score() if cut.place else np.nan for cut in cuts])[codes]
        tied = failures[LOW_SCORE] & (rank == np.array([cut.rank for cut in cuts], np.uint32)[codes])
        witness = pa.array([cut.place[4:].hex() for cut in cuts], pa.string()).take(pa.array(codes))
        made = from_failures(
            failures,
            {LOW_SCORE: values.astype(np.float64)},
            {LOW_SCORE: limits},
            rows=batch.num_rows,
            mark=self.config.on_fail == "mark",
            columns={f"{self.config.name}_failed": labels.failed_rules(failures)},
        )
        return Decisions(
            port=made.port, rules=made.rules, rule=made.rule, failed=made.failed, value=made.value,
            threshold=made.threshold, columns=made.columns,
            witness=pc.if_else(pa.array(tied), witness, pa.scalar(None, pa.string())),
        )  # fmt: skip

    def _cuts(self, table: pa.Table | None, batch: pa.Table) -> tuple[list[Cut], np.ndarray]:
        """The settled cuts, and for each row which of them is its scope's; NOTHING is last."""
        if table is None:
            return [NOTHING], np.zeros(batch.num_rows, np.int64)
        codes = pc.index_in(self._scopes(batch), value_set=one_chunk(table["scope"])).fill_null(table.num_rows)
        cuts = [NOTHING if place is None else Cut(place) for place in table["place"].to_pylist()]
        return [*cuts, NOTHING], codes.to_numpy().astype(np.int64)


def _joined(batch: pa.Table, names: Sequence[str], separator: str) -> pa.Array:
    """The values of columns as one text per row; WHOLE for no columns."""
    if not names:
        return pa.array([WHOLE], pa.string()).take(pa.array(np.zeros(batch.num_rows, np.int64)))
    return pc.binary_join_element_wise(*group_columns(batch, names), pa.scalar(separator))
