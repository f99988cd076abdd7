"""Drops pages that are surely in no wanted language before their text is extracted; what is in doubt goes on.

The page's text is cut out roughly (see `stages.pages`): no scripts, styles and menus, long blocks first, a few kilobytes. The
language stage's own model names the language of the whole cut and of its quarters. A page is dropped when

- the cut is long enough,
- the answer for the whole is a language, and not a wanted one, and
- no wanted language has a score of `max_kept_score` in the whole or in any quarter: a page in two languages is in doubt. For a
  page that declares a wanted language the limit is `max_kept_score_declared`.

Which other language it is does not matter, and models are least sure of that where languages are small: that nothing in the
page looks like a wanted one is the evidence.

What a page declares (`<html lang>`, else `content-language`, else `og:locale`) only raises the bar: templates declare what
their makers left in them. The language stage judges the extracted text of what goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import model_validator

from gristmill.pipeline.document import one_chunk, text_buffers
from gristmill.pipeline.errors import ConfigError
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
    signal,
    threshold,
)
from gristmill.stages.labels.labels import UNDETERMINED, codes
from gristmill.stages.labels.names import suggestions
from gristmill.stages.language.identify import classifier_of, default_model, identify, label_numbers
from gristmill.stages.language.stage import label_pairs
from gristmill.stages.pages.text import CONTENT_TYPE_COLUMN, cut_pages

PARTS = 4
"""Parts of a cut that are asked about besides the whole."""
FLOOR = 0.01
"""Least score that is noted."""


class LanguageGuessConfig(StageConfig):
    """Config of `language_guess`.

    Attributes:
        keep: languages that may stay, as the language stage writes them (`eng_Latn`, `en`, `English`): those that it keeps.
        backend: as in the language stage.
        model: the model file; None is the backend's default.
        max_kept_score: from this score of a wanted language on, anywhere in the cut, a page is in doubt.
        max_kept_score_declared: the same for a page that declares a wanted language.
        min_bytes: bytes of text below which a page is in doubt.
        max_bytes: bytes of text that are cut from a page.
        column: the payload with the page: `html` or `bytes`.
    """

    keep: tuple[str, ...] = threshold(min_length=1)
    backend: Literal["langid", "fasttext"] = signal("langid")
    model: Path | None = resource("signal", None)
    max_kept_score: float = threshold(0.05, ge=FLOOR, le=1.0)
    max_kept_score_declared: float = threshold(0.02, ge=FLOOR, le=1.0)
    min_bytes: int = threshold(200, ge=1)
    max_bytes: int = signal(4096, ge=256, le=1 << 20)
    column: Literal["html", "bytes"] = signal("html")

    @model_validator(mode="after")
    def _labels_are_pairs(self) -> LanguageGuessConfig:
        # Frozen is for those who use a config; here it is still being made.
        self.__dict__["keep"] = label_pairs(self.keep, "keep", self.model is not None)
        return self


class LanguageGuess(Stage):
    """Drops pages whose rough text is surely in a language that is not wanted."""

    Config = LanguageGuessConfig
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "drops pages that are surely in no wanted language, before their text is extracted"

    config: LanguageGuessConfig

    def declare(self) -> StageSpec:
        return StageSpec(
            cost=Cost(measure=2.5, survey=0, settle=0),
            payload={self.config.column},
            optional_reads={CONTENT_TYPE_COLUMN},
            signals=pa.schema(
                [
                    pa.field("guess_language", pa.string()),
                    pa.field("guess_score", pa.float64()),
                    pa.field("guess_langs", pa.string()),
                    pa.field("guess_bytes", pa.int64()),
                    pa.field("declared_language", pa.string()),
                ]
            ),
            shown=set(),
            rules=("other_language", "other_language_than_declared"),
            settings=dict.fromkeys(("other_language", "other_language_than_declared"), "keep"),
            models={"model": self._path()},
        )

    def check_files(self) -> None:
        """Raises ConfigError when the model cannot be used, or does not know a label that the config names."""
        known = set(classifier_of(self.config.backend, self._path()).pairs) | {UNDETERMINED}
        for label in self.config.keep:
            if label not in known:
                raise ConfigError(
                    f"stage language_guess: keep: the model never answers {label!r}, so that pages in it would be dropped "
                    f"as something else: {suggestions(label, known)}"
                )

    def measure(self, batch: pa.Table, context: StageContext) -> Mapping[str, pa.Array]:
        """The label of the rough text (`und` for none) and its score; the highest score of every label in the whole and in its
        quarters (JSON, from FLOOR on); bytes of the rough text; the language that the page declares."""
        rows = batch.num_rows
        headers: list[str | None] = [None] * rows
        if CONTENT_TYPE_COLUMN in batch.column_names:
            headers = one_chunk(batch[CONTENT_TYPE_COLUMN]).cast(pa.string()).to_pylist()
        cut = cut_pages(batch[self.config.column], self.config.column, headers, self.config.max_bytes)
        data, offsets = text_buffers(cut.texts)
        found = identify(data, offsets, self.config.backend, self._path(), floor=FLOOR)
        labels, numbers = label_numbers(pa.table({name: found[name] for name in ("language", "language_script")}))
        parts = identify(data, _quarters(data, offsets), self.config.backend, self._path(), floor=FLOOR)
        listed, of_parts = found["top_langs"].to_pylist(), parts["top_langs"].to_pylist()
        scores = [_highest([listed[row], *of_parts[PARTS * row : PARTS * (row + 1)]]) for row in range(rows)]
        return {
            "guess_language": pa.array([labels[number] for number in numbers.tolist()], pa.string()),
            "guess_score": found["language_score"],
            "guess_langs": pa.array(scores, pa.string()),
            "guess_bytes": pa.array(np.diff(offsets), pa.int64()),
            "declared_language": cut.languages,
        }

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        config, keep = self.config, frozenset(self.config.keep)
        labels = one_chunk(batch["guess_language"]).to_pylist()
        declared = one_chunk(batch["declared_language"]).to_pylist()
        listed = one_chunk(batch["guess_langs"]).to_pylist()
        enough = batch["guess_bytes"].to_numpy() >= config.min_bytes
        other = np.array([label not in keep and label != UNDETERMINED for label in labels], bool)
        wanted = np.array([_names_any(tag, keep) for tag in declared], bool)
        score = np.array([_kept_score(one, keep) for one in listed], np.float64)
        limit = np.where(wanted, config.max_kept_score_declared, config.max_kept_score)
        drops = other & enough & (score < limit)
        rules = self.spec.rules
        decisions = from_failures(
            {rules[0]: drops & ~wanted, rules[1]: drops & wanted},
            {rule: score for rule in rules},
            {rule: limit for rule in rules},
            rows=batch.num_rows,
        )
        witness = [
            f"{label}, declared {tag or 'nothing'}" if drop else None
            for label, tag, drop in zip(labels, declared, drops.tolist(), strict=True)
        ]
        return replace(decisions, witness=pa.array(witness, pa.string()))

    def _path(self) -> Path:
        return self.config.model if self.config.model is not None else default_model(self.config.backend)


def _quarters(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Offsets of PARTS parts of each text, whole characters: int64[PARTS * rows + 1]."""
    starts, lengths = offsets[:-1, None], np.diff(offsets)[:, None]
    cuts = np.append((starts + lengths * np.arange(PARTS) // PARTS).ravel(), offsets[-1]).astype(np.int64)
    for _ in range(3):  # A character has at most three bytes that start none.
        inside = np.flatnonzero(cuts < offsets[-1])
        cuts[inside] += (data[cuts[inside]] & 0xC0) == 0x80
    return cuts


def _highest(parts: list[str]) -> str:
    """The highest score of every label in some `top_langs`, as one such object."""
    scores: dict[str, float] = {}
    for part in parts:
        for name, score in json.loads(part).items():
            scores[name] = max(score, scores.get(name, 0.0))
    return json.dumps(dict(sorted(scores.items(), key=lambda item: (-item[1], item[0]))))


def _kept_score(listed: str, keep: frozenset[str]) -> float:
    scores = json.loads(listed)
    return max((scores.get(f"{label}_score", 0.0) for label in keep), default=0.0)


def _names_any(tag: str | None, keep: frozenset[str]) -> bool:
    """Whether a language tag (`en-us`) names the language of one of the labels."""
    if tag is None:
        return False
    code = tag.partition("-")[0]
    named = {pair.partition("_")[0] for pair in codes().get(code, ())} | {code}
    return any(label.partition("_")[0] in named for label in keep)
