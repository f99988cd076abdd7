"""Toxicity of each document in five dimensions, its tier, and what becomes of it.

Dimensions, levels (0–3) and the tiers `commons` are those of Celadon (Arnett, Jones, Yamshchikov and Langlais, *Toxicity
of the Commons: Curating Open-Source Pre-Training Data*, arXiv:2410.22587). What differs: sentences are scored, because
a toxic sentence vanishes in the score of a long text, and the model is the embedded one (see stages/toxicity/model.md).

From sentences to the document:

1. A window is a sentence (cut after 64 words). It has a level in each dimension and over all: the number of cuts of the
   document's language that its score reaches. It is a *hit* when a level is 1 or more.
2. A hit counts only if clean text would not have given as much by chance: `chance` is the share of clean sentences of the
   language that score as high, and the hits that count are those that the Benjamini-Yekutieli rule accepts among the
   document's n windows: the k most toxic ones, for the largest k with n · (1 + 1/2 + … + 1/n) · chance(k-th) ≤
   max_chance · k (the sum is because sentences of one text are alike). One sentence is enough in a short text, and in a
   long one if it is blatant; otherwise there must be several. And the share of windows that are hits must reach
   `min_hit_share`.
3. The document takes the levels of its worst window: the highest sum of levels, then the highest score, then the first.
   Levels are never summed over different sentences.
4. The tier comes from those levels. `max_level`: toxic with a 3, mild with a 2. `commons`: toxic when those of the five
   dimensions sum to 7 or more; mild when they sum to 4 or more, or one of them is 3; else none.

The embedded model's levels say how sure it is (`stages.toxicity.level_thresholds`). Where its figures do not support its
use in a document's language, the document is counted as `uncovered:LABEL` and gets level 0: it is never judged.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import field_validator, model_validator

from gristmill.pipeline.document import TEXT, one_chunk, text_buffers
from gristmill.pipeline.errors import ConfigError, nearest
from gristmill.pipeline.resources import Resources
from gristmill.pipeline.stage import (
    DROPPED,
    Cost,
    Decisions,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    resource,
    runtime,
    signal,
    threshold,
)
from gristmill.stages.labels.labels import row_labels
from gristmill.stages.networks.folder import libraries, resident_bytes
from gristmill.stages.toxicity import transformer as celadon
from gristmill.stages.toxicity.level_thresholds import UNREACHED
from gristmill.stages.toxicity.model import DIMENSIONS, EMBEDDED, HEAD_NAMES, ToxicityModel, model_at

NONE, MILD, TOXIC = range(3)
TIERS = ("none", "mild", "toxic")
TierRule = Literal["max_level", "commons"]
WINDOWS = "toxicity_windows"
CHECKPOINT_LISTED = 0.2
"""Score of a checkpoint from which windows are listed where `listed_from` says nothing."""
WINDOW_TYPE = pa.struct(
    [
        pa.field("offset", pa.int64()),
        pa.field("length", pa.int64()),
        pa.field("digest", pa.string()),
        *(pa.field(name, pa.float32()) for name in HEAD_NAMES),
    ]
)
"""A listed window: its bytes within the text, the first 16 hexadecimal digits of their SHA-256, and its scores."""


SCORES = pa.schema(
    [
        *(pa.field(f"toxicity_{name}_score", pa.float32()) for name in DIMENSIONS),
        pa.field("toxicity_score", pa.float32()),
        pa.field("toxicity_sentences", pa.int64()),
        pa.field(WINDOWS, pa.list_(WINDOW_TYPE)),
    ]
)
"""The stage's signals: the highest score of any window in each dimension and over all, their number, and those listed."""


class ToxicityConfig(StageConfig):
    """Config of the stage `toxicity`.

    Attributes:
        backend: `embedded`, the linear model that ships with the package or one trained like it; `celadon`, a checkpoint
            in Celadon's layout; `hf`, any sequence classifier. The last two need the extra `transformers`, and no share
            of clean sentences is known for their scores: every hit counts, whatever `max_chance` says.
        model: the model file, or the checkpoint's folder; None is the embedded model.
        labels: for `hf`, the classifier's labels and the dimension that each stands for; the highest of a dimension's
            labels is its score.
        activation: for `hf`, what makes the logits probabilities.
        window_tokens: for `celadon` and `hf`, most tokens of a window of whole sentences.
        batch_size: for `celadon` and `hf`, windows that go through the model together.
        device: for `celadon` and `hf`, `cpu` or `cuda`.
        pickled_weights: for `celadon` and `hf`, read weights that are pickled (`pytorch_model.bin`), which may run code.
        listed_from: windows with a score from here on in some dimension or over all are kept beside the document, so that
            cuts at or above it can be changed without scoring again. None: from the model's own lowest cuts.
        language: label pair whose cuts judge documents where there are no language columns, as when the stage runs alone.
        cuts: for single dimensions and `overall`, the scores from which the level is 1, 2 and 3, ascending, in every
            language; the others keep the model's own.
        max_chance: the share of clean documents that may be flagged by chance, whatever their length, if their sentences are
            like those of the model's calibration set; on other text the share may be higher. None counts every hit.
        min_hit_share: share of a document's sentences that must be hits.
        tiers: `max_level` for scores of the embedded model, `commons` for Celadon's scale on public-domain text.
        tiers_by_source: for single sources, by their name in the config, the tiers that their documents get instead.
        policy: `route` emits mild and toxic documents on the ports of those names; `drop` drops both; `keep` emits all on
            the port `none`, with the findings as columns and in the ledger. To drop only toxic documents, route, and
            name the port under `discard`.
        witness_text: write the worst sentence itself into the ledger, after its place and digest. Off by default: a
            ledger is often passed on where the text must not be.
    """

    backend: Literal["embedded", "celadon", "hf"] = signal("embedded")
    model: Path | None = resource("signal", None)
    labels: Mapping[str, str] = signal({})
    activation: Literal["softmax", "sigmoid"] = signal("softmax")
    window_tokens: int = signal(256, ge=8)
    batch_size: int = signal(32, ge=1)
    device: Literal["cpu", "cuda"] = signal("cpu")
    pickled_weights: bool = runtime(False)
    listed_from: float | None = signal(None, gt=0.0, lt=1.0)
    language: str = threshold("eng_Latn")
    cuts: Mapping[str, tuple[float, float, float]] = threshold({})
    max_chance: float | None = threshold(0.01, gt=0.0, le=1.0)
    min_hit_share: float = threshold(0.0, ge=0.0, le=1.0)
    tiers: TierRule = threshold("max_level")
    tiers_by_source: Mapping[str, TierRule] = threshold({})
    policy: Literal["route", "drop", "keep"] = threshold("route")
    witness_text: bool = threshold(False)

    @field_validator("cuts")
    @classmethod
    def _cuts_ascend(cls, value: Mapping[str, tuple[float, float, float]]) -> Mapping[str, tuple[float, float, float]]:
        for name, cuts in value.items():
            if name not in HEAD_NAMES:
                raise ValueError(f"cuts: unknown dimension {name!r}: {nearest(name, HEAD_NAMES)}")
            if not 0.0 < cuts[0] <= cuts[1] <= cuts[2]:
                raise ValueError(f"cuts.{name}: three ascending scores above 0 expected, found {list(cuts)}")
        return value

    @model_validator(mode="after")
    def _backend_has_what_it_needs(self) -> ToxicityConfig:
        if self.backend != "embedded" and self.model is None:
            raise ValueError(f"model: `backend: {self.backend}` needs the folder of a checkpoint")
        if (self.backend == "hf") != bool(self.labels):
            raise ValueError(
                "labels: `backend: hf` needs the classifier's labels and their dimensions, no other takes any"
            )
        for label, dimension in self.labels.items():
            if dimension not in DIMENSIONS:
                raise ValueError(f"labels.{label}: unknown dimension {dimension!r}: {nearest(dimension, DIMENSIONS)}")
        return self


class Toxicity(Stage):
    """Scores each sentence in five dimensions, and routes, drops or marks documents by tier."""

    Config = ToxicityConfig
    version: ClassVar[int] = 3
    summary: ClassVar[str] = "toxicity in five dimensions by sentence; routes, drops or marks mild and toxic documents"
    ports: ClassVar[tuple[str, ...]] = TIERS

    config: ToxicityConfig

    def declare(self) -> StageSpec:
        config = self.config
        scale = (
            "toxicity: `tiers: commons` assumes Celadon's scale on public-domain text. On scores of the embedded "
            "model nearly every hateful web text comes out as `none`; `tiers: max_level` is made for them."
        )
        embedded = config.backend == "embedded"
        rules = (config.tiers, *config.tiers_by_source.values())
        return StageSpec(
            cost=Cost(measure=15 if embedded else 20_000, survey=0, settle=0),
            # Ports that no document can take need no place in the config.
            ports=TIERS if config.policy == "route" else TIERS[:1],
            measure_reads={TEXT},
            decide_reads={TEXT} if config.witness_text else set(),
            optional_reads={"language", "language_script"},
            signals=SCORES,
            # What a network found is a fact on record: decisions are replayed from it, and need all of it.
            hidden={WINDOWS} if embedded else set(),
            shown={"toxicity_score"},
            tolerances={} if embedded else self._tolerances(),
            libraries={} if embedded else libraries(),
            slow=not embedded,
            resources=Resources() if embedded else self._resources(),
            findings=pa.schema(
                [
                    *(pa.field(f"toxicity_{name}", pa.int8()) for name in HEAD_NAMES),
                    pa.field("toxicity_tier", pa.string()),
                    pa.field("toxicity_hits", pa.int64()),
                ]
            ),
            rules=("toxicity_toxic", "toxicity_mild"),
            settings=dict.fromkeys(("toxicity_toxic", "toxicity_mild"), "cuts"),
            models={"model": self._path()},
            names_sources={"tiers_by_source": tuple(config.tiers_by_source)},
            notices=(scale,) if "commons" in rules and config.backend == "embedded" else (),
        )

    def check_files(self) -> None:
        """Raises ConfigError when the model cannot be used, or windows at a cut would not have been listed."""
        if self.config.backend != "embedded":
            try:
                celadon.check_folder(
                    self._path(),
                    celadon=self.config.backend == "celadon",
                    labels=self.config.labels,
                    pickled=self.config.pickled_weights,
                )
            except ConfigError as error:
                raise ConfigError(f"stage toxicity: `backend: {self.config.backend}`: {error}") from error
        listed = self._listed_from()
        for at, name in enumerate(HEAD_NAMES):
            first = float(self.scale().cuts[:, at, 0].min())
            if first < listed[at]:
                raise ConfigError(
                    f"stage toxicity: level 1 of `{name}` begins at score {first:.4f}, below the {listed[at]:.4f} that windows "
                    f"are listed from, so some hits would not be seen. Raise `cuts.{name}`, or set `listed_from` lower (which "
                    "scores all texts again)."
                )

    def measure(self, batch: pa.Table, context: StageContext) -> Mapping[str, pa.Array]:
        config, text = self.config, one_chunk(batch[TEXT])
        if config.backend == "embedded":
            return score_texts(text, model_at(self._path()), self._listed_from())
        loaded = celadon.checkpoint(
            self._path(),
            config.backend == "celadon",
            tuple(sorted(config.labels.items())),
            config.activation,
            config.device,
            config.pickled_weights,
        )
        scored = loaded.score_texts(text, window_tokens=config.window_tokens, batch_size=config.batch_size)
        return checkpoint_columns(text, scored, CHECKPOINT_LISTED if config.listed_from is None else config.listed_from)

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        judged = judge(batch, self.scale(), self.rows_of(batch), self.config, context.source)
        tier = judged.tier
        flagged = tier > NONE
        rule = np.where(tier == TOXIC, 0, np.where(tier == MILD, 1, -1)).astype(np.int16)
        if self.config.policy == "route":
            port = tier.astype(np.int16)
        elif self.config.policy == "drop":
            port = np.where(flagged, DROPPED, NONE).astype(np.int16)
        else:
            port = np.zeros(len(tier), np.int16)
        names = pa.array(TIERS, pa.string())
        columns = {
            **{f"toxicity_{name}": pa.array(judged.levels[:, at]) for at, name in enumerate(HEAD_NAMES)},
            "toxicity_tier": names.take(pa.array(tier.astype(np.int64))),
            "toxicity_hits": pa.array(judged.hits),
        }
        return Decisions(
            port=port,
            rules=self.spec.rules,
            rule=rule,
            value=np.where(flagged, judged.score, np.nan),
            threshold=np.where(flagged, judged.cut, np.nan),
            witness=judged.witness(flagged, one_chunk(batch[TEXT]) if self.config.witness_text else None),
            columns=columns,
            tallies=uncovered(batch, model_at(self._path())) if self.config.backend == "embedded" else {},
        )

    def _tolerances(self) -> dict[str, float]:
        bound = celadon.LEVEL_TOLERANCE if self.config.backend == "celadon" else celadon.TOLERANCE
        # Windows near `listed_from` may be listed or not.
        return {WINDOWS: math.inf, **{name: bound for name in SCORES.names if name.endswith("_score")}}

    def _resources(self) -> Resources:
        config = self.config
        memory = resident_bytes(str(self._path()), config.batch_size * config.window_tokens)
        return Resources(gpus=1.0 if config.device == "cuda" else 0.0, memory_bytes=memory)

    def _path(self) -> Path:
        return self.config.model if self.config.model is not None else EMBEDDED

    def window_hits(self, batch: pa.Table) -> np.ndarray:
        """int64[rows]: windows of each text that reach level 1, whether or not `max_chance` lets them count. `batch`: what
        `measure` gave, with language columns where there are any."""
        owner, scores = listed_windows(batch)
        row = self.rows_of(batch)[owner]
        hit = (scores >= self.scale().cuts[row, :, 0]).any(axis=1) & (row >= 0)
        return np.bincount(owner[hit], minlength=batch.num_rows)

    def rows_of(self, batch: pa.Table) -> np.ndarray:
        """int64[rows]: the row of `scale` that judges each document, −1 for a language that is not covered."""
        if self.config.backend != "embedded":
            return np.zeros(batch.num_rows, np.int64)
        model = model_at(self._path())
        labels = row_labels(batch)
        if labels is None:
            # A model that was made of other languages is asked in its first one.
            at = model.languages.index(self.config.language) if self.config.language in model.languages else 0
            return np.full(batch.num_rows, at, np.int64)
        covered = model.covered_languages()
        number = {name: at for at, name in enumerate(model.languages) if name in covered}
        return np.array([number.get(label, -1) for label in labels], np.int64)

    def scale(self) -> Scale:
        """What judges scores."""
        if self.config.backend == "embedded":
            model = model_at(self._path())
            cuts = np.array(model.cuts)
            chance: Chance = model.chance_of_scores
        else:
            own = celadon.CELADON_CUTS if self.config.backend == "celadon" else celadon.HF_CUTS
            cuts = np.tile(np.array(own, np.float32), (1, len(HEAD_NAMES), 1))
            cuts[:, len(DIMENSIONS)] = UNREACHED
            chance = no_chance
        for name, three in self.config.cuts.items():
            cuts[:, HEAD_NAMES.index(name)] = three
        return Scale(cuts, chance)

    def cuts(self) -> np.ndarray:
        """float32[6, 3]: the cuts that judge documents where there are no language columns."""
        return np.asarray(self.scale().cuts[int(self.rows_of(pa.table({"row": [0]}))[0])])

    def _listed_from(self) -> np.ndarray:
        """float32[6]: the score of each head from which windows are listed."""
        if self.config.listed_from is not None:
            return np.full(len(HEAD_NAMES), self.config.listed_from, np.float32)
        if self.config.backend != "embedded":
            return np.full(len(HEAD_NAMES), CHECKPOINT_LISTED, np.float32)
        return np.asarray(model_at(self._path()).cuts[:, :, 0].min(axis=0), np.float32)


Chance = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Scale(NamedTuple):
    """What judges scores: `cuts` float32[languages, 6, 3], and the function that gives, for int64[n] rows of `cuts` and
    float32[n, 6] scores, the share of clean sentences that score as high."""

    cuts: np.ndarray
    chance: Chance


def no_chance(row: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """For a checkpoint: no share is known, so that every hit counts."""
    return np.zeros(len(scores))


def score_texts(text: pa.Array, model: ToxicityModel, listed_from: np.ndarray) -> dict[str, pa.Array]:
    """The stage's signals for a large_string column; `listed_from`: float32[6] scores from which windows are listed. A text
    without words scores 0 and has no sentence."""
    floor = np.array([model.step_at(head, float(score)) for head, score in enumerate(listed_from)], np.int16)
    windows = model.windows(text, floor=floor)
    highest = model.scores(windows.highest)
    highest[windows.counts == 0] = 0.0
    return _columns(text, windows.counts, highest, windows.owner, windows.span, model.scores(windows.steps))


def checkpoint_columns(text: pa.Array, scored: celadon.Scored, listed_from: float) -> dict[str, pa.Array]:
    """The stage's signals from the windows of a checkpoint; the score over all is the highest of the dimensions."""
    highest = np.zeros((len(text), len(DIMENSIONS) + 1), np.float32)
    np.maximum.at(highest[:, :-1], scored.owner, scored.scores)
    highest[:, -1] = highest[:, :-1].max(axis=1, initial=0.0)
    counts = np.bincount(scored.owner, minlength=len(text)).astype(np.int64)
    listed = np.flatnonzero(scored.scores.max(axis=1, initial=0.0) >= np.float32(listed_from))
    scores = np.concatenate([scored.scores[listed], scored.scores[listed].max(axis=1, initial=0)[:, None]], axis=1)
    return _columns(text, counts, highest, scored.owner[listed], scored.span[listed], scores)


def _columns(
    text: pa.Array,
    counts: np.ndarray,
    highest: np.ndarray,
    owner: np.ndarray,
    span: np.ndarray,
    scores: np.ndarray,
) -> dict[str, pa.Array]:
    """Signals from each text's count and highest scores [rows, 6], and the listed windows."""
    dims = len(DIMENSIONS)
    data, offsets = text_buffers(text)
    begin = offsets[:-1][owner] + span[:, 0]
    end = offsets[:-1][owner] + span[:, 1]
    listed = pa.StructArray.from_arrays(
        [
            pa.array(span[:, 0]),
            pa.array(span[:, 1] - span[:, 0]),
            _digests(data, begin, end),
            *(pa.array(np.ascontiguousarray(scores[:, at])) for at in range(len(HEAD_NAMES))),
        ],
        fields=list(WINDOW_TYPE),
    )
    starts = np.searchsorted(owner, np.arange(len(text) + 1)).astype(np.int32)
    return {
        **{
            f"toxicity_{name}_score": pa.array(np.ascontiguousarray(highest[:, at]))
            for at, name in enumerate(DIMENSIONS)
        },
        "toxicity_score": pa.array(np.ascontiguousarray(highest[:, dims])),
        "toxicity_sentences": pa.array(counts),
        WINDOWS: pa.ListArray.from_arrays(pa.array(starts), listed),
    }


DIGEST_BLOCK = 1 << 14
"""Windows whose digests are Python's strings at one time, which take several times a short sentence's bytes."""


def _digests(data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> pa.Array:
    """The first 16 hexadecimal digits of the SHA-256 of each window, data[begin:end]."""
    blocks = [pa.array([], pa.string())]
    for at in range(0, len(begin), DIGEST_BLOCK):
        places = zip(begin[at : at + DIGEST_BLOCK].tolist(), end[at : at + DIGEST_BLOCK].tolist(), strict=True)
        found = [hashlib.sha256(data[a:b].tobytes()).hexdigest()[:16] for a, b in places]
        blocks.append(pa.array(found, pa.string()))
    return pa.concat_arrays(blocks)


class Judged:
    """What the cuts make of each document.

    Attributes:
        levels: int8[rows, 6] of the worst window. hits: int64[rows], hits that count. tier: int64[rows].
        score, cut: float64[rows], the worst window's score in its highest dimension and the cut that it reached there.
        worst: int64[rows], index of the worst window among all listed ones, −1 for none.
    """

    def __init__(self, rows: int) -> None:
        self.levels = np.zeros((rows, len(HEAD_NAMES)), np.int8)
        self.hits = np.zeros(rows, np.int64)
        self.tier = np.zeros(rows, np.int64)
        self.score = np.full(rows, np.nan)
        self.cut = np.full(rows, np.nan)
        self.worst = np.full(rows, -1, np.int64)
        self.listed: pa.StructArray = pa.array([], WINDOW_TYPE)

    def witness(self, chosen: np.ndarray, texts: pa.Array | None) -> pa.Array:
        """`offset:length:digest` of the worst window of the chosen rows, null elsewhere; with `texts`, also `:` and the
        window itself. Offset and length count UTF-8 bytes."""
        out: list[str | None] = [None] * len(self.worst)
        for row in np.flatnonzero(chosen & (self.worst >= 0)).tolist():
            window = self.listed[int(self.worst[row])].as_py()
            place = f"{window['offset']}:{window['length']}:{window['digest']}"
            if texts is not None:
                start = window["offset"]
                shown = texts[row].as_py().encode("utf-8")[start : start + window["length"]]
                place = f"{place}:{shown.decode('utf-8', 'replace')}"
            out[row] = place
        return pa.array(out, pa.string())


def listed_windows(batch: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """(int64 document, float32[n, 6] scores) of the listed windows of signals."""
    column = one_chunk(batch[WINDOWS])
    listed = column.flatten()
    owner = np.repeat(np.arange(batch.num_rows), np.diff(column.offsets.to_numpy()))
    return owner, np.stack([listed.field(name).to_numpy(zero_copy_only=False) for name in HEAD_NAMES], axis=1)


def judge(batch: pa.Table, scale: Scale, row: np.ndarray, config: ToxicityConfig, source: str | None = None) -> Judged:
    """Apply the module's four steps to the signals of a batch, the last by the rule for `source`.

    Args:
        row: int64[rows] of `scale`, −1 for documents that are not judged.
    """
    rows = batch.num_rows
    judged = Judged(rows)
    judged.listed = one_chunk(batch[WINDOWS]).flatten()
    if rows == 0 or len(judged.listed) == 0:
        return judged
    owner, scores = listed_windows(batch)
    language = row[owner]
    cuts = scale.cuts[language]
    levels = (scores[:, :, None] >= cuts).sum(axis=2).astype(np.int8)
    levels[language < 0] = 0
    sentences = batch["toxicity_sentences"].to_numpy()
    hit = np.flatnonzero(levels.max(axis=1) > 0)
    chance = scale.chance(language[hit], scores[hit])
    counted = hit[accepted(owner[hit], chance, sentences, config.max_chance)]
    judged.hits = np.bincount(owner[counted], minlength=rows)
    counted = counted[judged.hits[owner[counted]] >= config.min_hit_share * sentences[owner[counted]]]
    top = scores[counted].max(axis=1, initial=0.0)
    order = np.lexsort((counted, -top, -levels[counted].sum(axis=1, dtype=np.int64), owner[counted]))
    ranked = counted[order]
    flagged, first = np.unique(owner[ranked], return_index=True)
    worst = ranked[first]
    judged.worst[flagged] = worst
    judged.levels[flagged] = levels[worst]
    # The dimension shown is the one with the highest level, and among those the highest score.
    shown = np.argmax(levels[worst].astype(np.float64) * 2.0 + scores[worst], axis=1)
    judged.score[flagged] = scores[worst, shown]
    judged.cut[flagged] = cuts[worst, shown, levels[worst, shown].astype(np.int64) - 1]
    rule = config.tiers if source is None else config.tiers_by_source.get(source, config.tiers)
    judged.tier = tiers(judged.levels, rule)
    return judged


def accepted(owner: np.ndarray, chance: np.ndarray, sentences: np.ndarray, max_chance: float | None) -> np.ndarray:
    """bool per hit: whether the Benjamini-Yekutieli rule at level `max_chance` accepts it in its document.

    Args:
        owner: the document of each hit. chance: share of clean sentences that score as high.
        sentences: int64 per document.

    Source: Benjamini and Yekutieli, "The control of the false discovery rate in multiple testing under dependency",
    Annals of Statistics 29 (2001), theorem 1.3, which holds whatever the dependence.
    """
    if max_chance is None or len(owner) == 0:
        return np.ones(len(owner), bool)
    order = np.lexsort((chance, owner))
    documents = owner[order]
    start = np.searchsorted(documents, documents, side="left")
    rank = np.arange(len(order)) - start + 1
    tests = sentences[documents]
    harmonic = np.cumsum(1.0 / np.arange(1, int(tests.max()) + 1))[tests - 1]
    passes = chance[order] * tests * harmonic <= max_chance * rank
    last = np.zeros(len(sentences), np.int64)
    np.maximum.at(last, documents[passes], rank[passes])
    result = np.empty(len(owner), bool)
    result[order] = rank <= last[documents]
    return result


def tiers(levels: np.ndarray, rule: str) -> np.ndarray:
    """int64[rows]: NONE, MILD or TOXIC of int8[rows, 6] levels."""
    highest = levels.max(axis=1, initial=0).astype(np.int64)
    if rule == "max_level":
        return np.where(highest >= 3, TOXIC, np.where(highest == 2, MILD, NONE))
    five = levels[:, : len(DIMENSIONS)]
    total, highest = five.sum(axis=1, dtype=np.int64), five.max(axis=1, initial=0).astype(np.int64)
    return np.where(total >= 7, TOXIC, np.where((total >= 4) | (highest >= 3), MILD, NONE))


def uncovered(batch: pa.Table, model: ToxicityModel) -> dict[str, int]:
    """`uncovered:LABEL` counts of documents in languages that the model's figures do not support.

    Empty when the batch has no language columns. A `language` that is a label pair already (`por_Latn`) is taken as it
    is; text of unknown language counts as `und`.
    """
    labels = row_labels(batch)
    if labels is None:
        return {}
    covered = model.covered_languages()
    counts = Counter(label for label in labels if label not in covered)
    return {f"uncovered:{label}": count for label, count in sorted(counts.items())}
