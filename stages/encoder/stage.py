"""Scores of texts by a neural network, and what becomes of texts whose scores are outside limits.

The network is a folder: a sequence classifier or regressor (FineWeb-Edu's classifier is a BERT with one output), or an
encoder with several heads (Celadon). A text is tokenised once and goes through the encoder once, whatever number of scores
is made of it. Texts of similar length share a batch; which ones is a matter of the slice alone.

A text that is longer than `max_tokens` is cut off there, as the library does: the network sees the first `max_tokens` tokens
of the first CHARACTERS_PER_TOKEN · `max_tokens` characters. How many were cut stands among the counts of the manifest.

Scores are facts on record (see `StageSpec.tolerances`): device, number format and versions enter the node's fingerprint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from gristmill.pipeline.document import TEXT, one_chunk
from gristmill.pipeline.errors import ConfigError, nearest
from gristmill.pipeline.resources import Resources
from gristmill.pipeline.stage import (
    Cost,
    Decisions,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    from_failures,
    resource,
    runtime,
    signal,
    threshold,
)
from gristmill.stages.networks.folder import NetworkFolder, libraries, located, read_folder, require, resident_bytes
from gristmill.stages.networks.network import Network, network

CHARACTERS_PER_TOKEN = 100
"""Characters of a text that are tokenised for each token that the network may see: words are shorter."""
TOLERANCES = {"float32": 1e-3, "bfloat16": 0.05}
"""Difference of a score between machines and batches: float32 adds in another order, bfloat16 has eight bits."""
MAX_ROWS = 1024
"""Texts of a batch, however short."""
MAX_SCORES = 20
"""Three rules each must fit into the 64 of a stage."""


class Score(BaseModel):
    """One score: what is made of the network's outputs. Of a regressor nothing is said: its output is the score."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    head: int = 0
    """Number of the head, in a network with several; its labels are "0", "1" …"""
    label: str | None = None
    """The label whose probability is the score."""
    values: Mapping[str, float] | None = None
    """Numbers by label: the score is their expectation, Σ value · p / Σ p. Labels that are not named count as 0."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Score:
        if self.label is not None and self.values is not None:
            raise ValueError("takes `label` or `values`, not both")
        if self.head < 0 or not all(math.isfinite(value) for value in (self.values or {}).values()):
            raise ValueError("`head` is a number from 0 on, and `values` are finite numbers")
        return self


class EncoderConfig(StageConfig):
    """Config of the stage `encoder`.

    Attributes:
        model: the network's folder, or `hf://OWNER/NAME@COMMIT`: nothing else is ever fetched.
        scores: by name, what is made of the network's outputs; the column is NAME_score.
        name: begins the names of the columns `NAME_failed` and `NAME_truncated`; two encoders need two.
        activation: what makes logits probabilities; None: sigmoid where the network says that its labels may hold together.
        max_tokens: tokens of a text that the network sees, special ones among them; None: as many as it can.
        device: `cpu` or `cuda`.
        dtype: the number format of the network.
        threads: cores that a worker uses; 1 suits machines with a worker per core.
        batch_tokens: tokens of a batch, with padding.
        pickled_weights: read weights that are pickled (`pytorch_model.bin`), which may run code.
        thresholds: by score, the least value; documents with a lower one fail.
        at_most: by score, the largest value; documents with a higher one fail.
        on_fail: `drop` documents that fail, or `mark` them in `NAME_failed` and keep them.
    """

    model: str = resource("signal", min_length=1)
    scores: Mapping[str, Score] = signal(min_length=1, max_length=MAX_SCORES)
    name: str = signal("encoder", pattern=r"^[a-z][a-z0-9_]*$")
    activation: Literal["softmax", "sigmoid"] | None = signal(None)
    max_tokens: int | None = signal(None, ge=8)
    device: Literal["cpu", "cuda"] = signal("cpu")
    dtype: Literal["float32", "bfloat16"] = signal("float32")
    threads: int = signal(1, ge=1, le=1024)
    batch_tokens: int = signal(8192, ge=64, le=1 << 22)
    pickled_weights: bool = runtime(False)
    thresholds: Mapping[str, float] = threshold({})
    at_most: Mapping[str, float] = threshold({})
    on_fail: Literal["drop", "mark"] = threshold("drop")

    @field_validator("scores")
    @classmethod
    def _names(cls, value: Mapping[str, Score]) -> Mapping[str, Score]:
        for name in value:
            if not name.isascii() or not name.isidentifier() or name != name.lower():
                raise ValueError(f"scores.{name}: a name is lower-case letters, digits and underscores")
        return value

    @model_validator(mode="after")
    def _limits_are_of_scores(self) -> EncoderConfig:
        for key, limits in (("thresholds", self.thresholds), ("at_most", self.at_most)):
            for name, limit in limits.items():
                if name not in self.scores:
                    raise ValueError(f"{key}.{name}: there is no such score; {nearest(name, self.scores)}")
                if not math.isfinite(limit):
                    raise ValueError(f"{key}.{name}: expected a finite number, found {limit}")
        for name in set(self.thresholds) & set(self.at_most):
            if self.thresholds[name] > self.at_most[name]:
                raise ValueError(f"thresholds.{name} is above at_most.{name}, so that every document would fail")
        return self


class Encoder(Stage):
    """Scores documents with a neural network; drops or marks those outside limits."""

    Config = EncoderConfig
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "scores by a sequence classifier or regressor (transformers); limits drop or mark"

    config: EncoderConfig

    def declare(self) -> StageSpec:
        config = self.config
        columns = [_column(name) for name in config.scores]
        return StageSpec(
            cost=Cost(measure=20_000, survey=0, settle=0),
            measure_reads={TEXT},
            signals=pa.schema(
                [*((column, pa.float32()) for column in columns), (f"{config.name}_truncated", pa.bool_())]
            ),
            shown=set(columns),
            findings=pa.schema([(f"{config.name}_failed", pa.list_(pa.string()))]),
            rules=self._rules(),
            models={"model": located(config.model)},
            libraries=libraries(),
            tolerances=dict.fromkeys(columns, TOLERANCES[config.dtype]),
            slow=True,
            resources=Resources(
                cpus=float(config.threads),
                gpus=1.0 if config.device == "cuda" else 0.0,
                memory_bytes=resident_bytes(config.model, config.batch_tokens),
            ),
        )

    def check_files(self) -> None:
        """Raises ConfigError when the network cannot be used, or has no output that a score names."""
        require()
        folder = read_folder(self.config.model, pickled=self.config.pickled_weights)
        if not folder.pickled:
            self._weights(folder, folder.heads or (len(folder.labels),))

    def _weights(self, folder: NetworkFolder, heads: tuple[int, ...]) -> dict[str, np.ndarray | None]:
        """By score, what the probability of each output of its head counts; None for the output itself."""
        return {name: _weights_of(name, score, folder, heads) for name, score in self.config.scores.items()}

    def measure(self, batch: pa.Table, context: StageContext) -> Mapping[str, pa.Array]:
        config = self.config
        loaded = network(config.model, config.device, config.dtype, config.threads, config.pickled_weights)
        folder = read_folder(config.model, pickled=config.pickled_weights)
        weights = self._weights(folder, loaded.heads)
        most = min(config.max_tokens or loaded.positions, loaded.positions)
        texts = one_chunk(batch[TEXT])
        tokens, cut = _tokens(loaded, texts, most)
        known = np.array([len(ids) > 0 for ids in tokens], bool)
        chosen = np.flatnonzero(known)
        logits = loaded.logits(
            [tokens[at] for at in chosen.tolist()], most_rows=MAX_ROWS, most_tokens=config.batch_tokens
        ).astype(np.float64)
        sigmoid = (config.activation or _activation(folder)) == "sigmoid"
        bounds = np.concatenate(([0], np.cumsum(loaded.heads)))
        columns: dict[str, pa.Array] = {}
        for name, score in config.scores.items():
            head = logits[:, bounds[score.head] : bounds[score.head + 1]]
            values = _values(head, weights[name], sigmoid=sigmoid, expected=score.values is not None)
            found = np.full(len(tokens), np.nan, np.float32)
            found[chosen] = values
            columns[_column(name)] = pa.array(found, mask=~np.isfinite(found))
        return {**columns, f"{config.name}_truncated": pa.array(cut)}

    def _rules(self) -> tuple[str, ...]:
        config = self.config
        limited = [name for name in config.scores if name in config.thresholds or name in config.at_most]
        rules = [f"no_{_column(name)}" for name in limited]
        rules += [f"low_{_column(name)}" for name in config.scores if name in config.thresholds]
        return (*rules, *(f"high_{_column(name)}" for name in config.scores if name in config.at_most))

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """Fails documents without a score that a limit is about, and those outside a limit."""
        config = self.config
        failures: dict[str, np.ndarray] = dict.fromkeys(self._rules(), np.zeros(batch.num_rows, bool))
        values: dict[str, np.ndarray] = {}
        limits: dict[str, float] = {}
        tallies = {"truncated": int(np.count_nonzero(np.asarray(one_chunk(batch[f"{config.name}_truncated"]))))}
        for name in config.scores:
            column = one_chunk(batch[_column(name)])
            known = column.is_valid().to_numpy(zero_copy_only=False)
            score = column.fill_null(0.0).to_numpy(zero_copy_only=False).astype(np.float64)
            tallies[f"no_{_column(name)}"] = int(np.count_nonzero(~known))
            for kind, chosen, outside in (
                ("no", name in config.thresholds or name in config.at_most, ~known),
                ("low", name in config.thresholds, known & (score < config.thresholds.get(name, 0.0))),
                ("high", name in config.at_most, known & (score > config.at_most.get(name, 0.0))),
            ):
                rule = f"{kind}_{_column(name)}"
                if chosen:
                    failures[rule] = outside
                    if kind != "no":
                        values[rule] = score
                        limits[rule] = (config.thresholds if kind == "low" else config.at_most)[name]
        return from_failures(
            failures,
            values,
            limits,
            rows=batch.num_rows,
            mark=config.on_fail == "mark",
            columns={f"{config.name}_failed": _named(failures, batch.num_rows)},
            tallies={name: count for name, count in tallies.items() if count},
        )


def _column(name: str) -> str:
    return f"{name}_score"


def _weights_of(name: str, score: Score, folder: NetworkFolder, heads: tuple[int, ...]) -> np.ndarray | None:
    where = f"scores.{name}"
    if score.head >= len(heads):
        raise ConfigError(
            f"{where}.head: {score.head}: the network in {folder.path} has {len(heads)} head(s), from 0 on"
        )
    size = heads[score.head]
    several = len(heads) > 1 or len(folder.labels) != size
    labels = [str(number) for number in range(size)] if several else list(folder.labels)
    if score.label is None and score.values is None:
        if size != 1:
            raise ConfigError(
                f"{where}: the network in {folder.path} has {size} outputs; say which makes the score, by "
                f"`label: {labels[0]}` or `values: {{LABEL: NUMBER, …}}`"
            )
        return None
    if size == 1 and score.values is not None:
        raise ConfigError(f"{where}.values: the network in {folder.path} has one output, whose value is the score")
    weights = np.zeros(size)
    for label, value in (score.values or {str(score.label): 1.0}).items():
        if label not in labels:
            key = f"{where}.label" if score.label is not None else f"{where}.values.{label}"
            raise ConfigError(f"{key}: the network in {folder.path} has no label {label!r}; {nearest(label, labels)}")
        weights[labels.index(label)] = value
    return weights


def _activation(folder: NetworkFolder) -> str:
    many = folder.config.get("problem_type") == "multi_label_classification" or len(folder.labels) == 1
    return "sigmoid" if many else "softmax"


def _tokens(loaded: Network, texts: pa.Array, most: int) -> tuple[list[list[int]], np.ndarray]:
    """Token ids of each text, none for one that has nothing beside special tokens, and which texts were cut off."""
    plain = set(loaded.tokenizer("")["input_ids"])
    found: list[list[int]] = []
    cut = np.zeros(len(texts), bool)
    longest = CHARACTERS_PER_TOKEN * most
    for start in range(0, len(texts), MAX_ROWS):
        part = [str(text.as_py() or "") for text in texts.slice(start, MAX_ROWS)]
        ids, full = loaded.tokens([text[:longest] for text in part], most)
        found += [[] if plain.issuperset(one) else one for one in ids]
        cut[start : start + len(part)] = [full[row] or len(text) > longest for row, text in enumerate(part)]
    return found, cut


def _values(logits: np.ndarray, weights: np.ndarray | None, *, sigmoid: bool, expected: bool) -> np.ndarray:
    """float64 score of each row of logits; NaN where the network gave no number."""
    if weights is None:
        return logits[:, 0]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if sigmoid:
            chance = 1.0 / (1.0 + np.exp(-logits))
        else:
            chance = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
            chance /= chance.sum(axis=1, keepdims=True)
        return np.asarray((chance * weights).sum(axis=1) / (chance.sum(axis=1) if expected else 1.0))


def _named(failures: Mapping[str, np.ndarray], rows: int) -> pa.Array:
    """Names of the failing rules of each row, as list<string>."""
    if not failures:
        return pa.array([[]] * rows, pa.list_(pa.string()))
    matrix = np.stack(list(failures.values()), axis=1)
    offsets = np.concatenate(([0], np.cumsum(matrix.sum(axis=1)))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(list(failures)).take(pa.array(np.nonzero(matrix)[1])))
