"""Figures of toxicity scores: ranking, agreement of levels, calibration, and what they mean on mostly clean text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import TEXT_TYPE, text_buffers
from gristmill.pipeline.errors import ConfigError, nearest
from gristmill.pipeline.stage import StageContext
from gristmill.stages.evaluation.metrics import (
    auc,
    calibration_error,
    confusion,
    f1,
    precision_at,
    quadratic_kappa,
    rounded,
)
from gristmill.stages.toxicity.identity_terms import group_table
from gristmill.stages.toxicity.kernels import scoring as kernel
from gristmill.stages.toxicity.kernels import words
from gristmill.stages.toxicity.labelled_files import DATASETS, LabelledFile, read_file
from gristmill.stages.toxicity.level_thresholds import UNREACHED
from gristmill.stages.toxicity.model import DIMENSIONS, EMBEDDED, HEAD_NAMES, ToxicityModel, model_at
from gristmill.stages.toxicity.training_texts import Clean, Labelled

if TYPE_CHECKING:
    from gristmill.stages.toxicity.stage import Toxicity


def mentions(text: pa.Array) -> np.ndarray:
    """bool[n, 4]: whether each text names a group of race_origin, gender_sex, religion, ability."""
    data, offsets = text_buffers(text)
    return np.asarray(words.mentioned(data, offsets, kernel.token_table(), group_table()))


def levels_of(scores: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """int8[n, HEADS]: how many cuts of its head each score reaches. Scores float32[n, HEADS], cuts [n or 1, HEADS, 3]."""
    reached: np.ndarray = scores[:, :, None] >= cuts
    return np.asarray(reached.sum(axis=2), np.int8)


def cuts_of(model: ToxicityModel, language: np.ndarray) -> np.ndarray:
    """float32[n, HEADS, 3]: the cuts of each text's language; no score reaches those of a language without any."""
    names = model.languages
    every = np.concatenate([model.cuts, np.full((1, *model.cuts.shape[1:]), UNREACHED, np.float32)])
    number = {name: at for at, name in enumerate(names)}
    return every[[number.get(name, len(names)) for name in language.tolist()]]


def figures(model: ToxicityModel, labelled: Labelled, clean: Clean) -> dict[str, Any]:
    """Figures of a model on labelled texts and clean texts that it never saw, as JSON values.

    A text's score is its worst sentence's. `english` leaves out `madlibs`, a templated source that would flatter.
    """
    scores = model.scores(model.windows(labelled.text).highest)
    whole = model.scores(model.windows(labelled.text, sentences=False).highest)
    english = (labelled.language == "eng_Latn") & (labelled.source != "madlibs")
    named = mentions(labelled.text)
    result: dict[str, Any] = {"texts": len(scores), "english": {}, "languages": {}, "clean": {}}
    for label, used in (("sentences", scores), ("whole", whole)):
        result["english"][label] = ranking(used[english], labelled.levels[english], named[english])
    found = levels_of(scores, cuts_of(model, labelled.language))
    result["english"]["levels"] = {
        name: agreement(found[english, head], scores[english, head], labelled.levels[english, head])
        for head, name in enumerate(HEAD_NAMES)
    }
    hit = found.max(axis=1) > 0
    for name in sorted(set(labelled.language.tolist())):
        rows = labelled.language == name
        result["languages"][name] = {
            **by_head(scores[rows], hit[rows], labelled.levels[rows]),
            "sources": {
                one: by_head(scores[mine], hit[mine], labelled.levels[mine])
                for one in sorted(set(labelled.source[rows].tolist()))
                if (mine := rows & (labelled.source == one)).any()
            },
        }
    result["english"]["recall"] = {
        str(level): rounded(float(hit[english & (labelled.levels[:, 5] >= level)].mean()))
        for level in (1, 2, 3)
        if (english & (labelled.levels[:, 5] >= level)).any()
    }
    pairs = sorted(set(zip(clean.language.tolist(), clean.genre.tolist(), strict=True)))
    for language, genre in pairs:
        rows = clean.rows((clean.language == language) & (clean.genre == genre))
        result["clean"][f"{genre} {language}".strip()] = clean_rates(model, rows)
    return result


PAIR = re.compile("[a-z]{3}_[A-Z][a-z]{3}")


def by_head(scores: np.ndarray, hit: np.ndarray, levels: np.ndarray) -> dict[str, Any]:
    """Numbers of texts, AUC and recall at QUIET_RATE of each head with texts of both kinds, and what level 1 finds."""
    known = levels[:, 5] >= 0
    positive = levels[known, 5] > 0
    result: dict[str, Any] = {
        "texts": len(levels),
        "positives": int(positive.sum()),
        "harmless": int((~positive).sum()),
        "auc_overall": rounded(auc(scores[known, 5], positive)),
        "recall": rounded(float(hit[known][positive].mean()) if positive.any() else float("nan")),
        "false_positive_rate": rounded(float(hit[known][~positive].mean()) if not positive.all() else float("nan")),
        "calibration_error": rounded(calibration_error(scores[known, 5].astype(np.float64), positive)),
        "auc": {},
        "recall_when_quiet": {},
    }
    for head, name in enumerate(HEAD_NAMES):
        told = levels[:, head] >= 0
        toxic = levels[told, head] > 0
        if toxic.any() and not toxic.all():
            result["auc"][name] = rounded(auc(scores[told, head], toxic))
            result["recall_when_quiet"][name] = rounded(quiet_recall(scores[told, head], toxic))
    return result


def quiet_recall(scores: np.ndarray, positive: np.ndarray) -> float:
    """The share of positives above the score that at most QUIET_RATE of the others reach."""
    others = np.sort(scores[~positive])[::-1]
    return float((scores[positive] > others[int(QUIET_RATE * len(others))]).mean())


def ranking(scores: np.ndarray, levels: np.ndarray, named: np.ndarray) -> dict[str, Any]:
    """AUC per head, their macro mean over the dimensions, and the same among texts that name a group of it."""
    result: dict[str, Any] = {"auc": {}, "auc_named": {}}
    for head, name in enumerate(HEAD_NAMES):
        known = levels[:, head] >= 0
        result["auc"][name] = rounded(auc(scores[known, head], levels[known, head] > 0))
        among = known & (named[:, head] if head < 4 else named.any(axis=1))
        result["auc_named"][name] = rounded(auc(scores[among, head], levels[among, head] > 0))
    values = [result["auc"][name] for name in DIMENSIONS]
    result["macro_auc"] = rounded(float(np.mean([np.nan if value is None else value for value in values])))
    values = [result["auc_named"][name] for name in DIMENSIONS[:4]]
    result["macro_auc_named"] = rounded(float(np.mean([np.nan if value is None else value for value in values])))
    return result


def agreement(found: np.ndarray, scores: np.ndarray, levels: np.ndarray) -> dict[str, Any]:
    """How found levels agree with labelled ones (−1 left out), and how far scores are probabilities of level ≥ 1."""
    known = levels >= 0
    matrix = confusion(found[known], levels[known])
    return {
        "f1": rounded(f1(found[known] > 0, levels[known] > 0)),
        "kappa": rounded(quadratic_kappa(matrix)),
        "confusion": matrix.tolist(),
        "calibration_error": rounded(calibration_error(scores[known].astype(np.float64), levels[known] > 0)),
    }


def clean_rates(model: ToxicityModel, clean: Clean) -> dict[str, Any]:
    """Shares of clean sentences and of clean documents (any sentence) that reach level 1, 2 and 3."""
    windows = model.windows(clean.text, floor=np.zeros(kernel.HEADS, np.int16))
    cuts = cuts_of(model, clean.language)
    found = levels_of(model.scores(windows.steps), cuts[windows.owner]).max(axis=1, initial=0)
    worst = np.zeros(len(clean.text), np.int8)
    np.maximum.at(worst, windows.owner, found)
    return {
        "documents": len(worst),
        "sentences": len(found),
        "sentence_rate": {str(k): round(float((found >= k).mean()), 6) for k in (1, 2, 3)} if len(found) else {},
        "document_rate": {str(k): round(float((worst >= k).mean()), 4) for k in (1, 2, 3)} if len(worst) else {},
    }


PREVALENCES = (0.01, 0.001)
"""Shares of toxic text that precision is reported for: what labelled collections have is far from what the web has."""


@dataclass(frozen=True)
class Judgement:
    """What a configured stage says of texts.

    Attributes:
        scores: float32[n, 6], of the five dimensions and of any.
        levels: int8[n, 6] by the stage's rules. flagged: bool[n], whether the tier is mild or toxic.
        sentences: int64[n], windows of each text. hits: int64[n], those that reach level 1 in some dimension, whether
            or not the rule on chance lets them count.
    """

    scores: np.ndarray
    levels: np.ndarray
    flagged: np.ndarray
    sentences: np.ndarray
    hits: np.ndarray


def judged(stage: Toxicity, text: pa.Array, language: np.ndarray | None = None) -> Judgement:
    """Score and judge a large_string column as a run would, with label pairs of languages where they are known."""
    context = StageContext()
    signals = pa.table(dict(stage.measure(pa.table({"text": text}), context)))
    if language is not None:
        signals = signals.append_column("language", pa.array(language.tolist(), pa.string()))
    decisions = stage.decide(signals, None, context)
    names = [*(f"toxicity_{name}_score" for name in DIMENSIONS), "toxicity_score"]
    return Judgement(
        scores=np.stack([signals[name].to_numpy() for name in names], axis=1),
        levels=np.stack([decisions.columns[f"toxicity_{name}"].to_numpy() for name in HEAD_NAMES], axis=1),
        flagged=decisions.columns["toxicity_tier"].to_numpy(zero_copy_only=False) != "none",
        sentences=signals["toxicity_sentences"].to_numpy(),
        hits=stage.window_hits(signals),
    )


def evaluate(path: Path, stage: Toxicity, quiet: float | None = None) -> dict[str, Any]:
    """Figures of a configured stage on any labelled file, as JSON values. See `stages.toxicity.labelled_files`.

    A text counts as found when the stage's rules give it a level of 1 or more, and as flagged when they put it on the
    tier mild or toxic. With `quiet` (see `quiet_score`) shares of texts at or above that score are given too. Raises
    ConfigError when the file or the model cannot be used.
    """
    stage.check_files()
    return evaluate_texts(read_file(path), stage, quiet)


QUIET_RATE = 0.002
"""Share of clean sentences above the score at which recall is compared between models."""


def quiet_score(stage: Toxicity, clean: pa.Array) -> float:
    """The score of any dimension that at most QUIET_RATE of the sentences of clean texts reach; NaN without sentences.

    Sentences are those of the embedded model, whatever scores them, so that models are compared on equal ones.
    """
    made = model_at(EMBEDDED).windows(clean, floor=np.zeros(kernel.HEADS, np.int16))
    whole = [text.encode("utf-8") for text in clean.to_pylist()]
    places = zip(made.owner.tolist(), made.span.tolist(), strict=True)
    sentences = pa.array([whole[row][first:end].decode("utf-8", "replace") for row, (first, end) in places], TEXT_TYPE)
    if not len(sentences):
        return float("nan")
    scores = np.sort(judged(stage, sentences).scores[:, -1])[::-1]
    return float(np.nextafter(scores[int(QUIET_RATE * len(scores))], np.float32(np.inf)))


def evaluate_dataset(name: str, folder: Path, stage: Toxicity, quiet: float | None = None) -> dict[str, Any]:
    """Figures on the parts of a named data set, by part; `folder` holds its files under their published names.

    Raises ConfigError for an unknown name, a missing file, and as `evaluate`.
    """
    if name not in DATASETS:
        raise ConfigError(f"there is no data set `{name}`; {nearest(name, DATASETS)}")
    stage.check_files()
    files = {part: folder / file for part, file in DATASETS[name].items()}
    missing = [str(file) for file in files.values() if not file.is_file()]
    if missing:
        raise ConfigError(
            f"{folder}: not the data set {name}: there is no {', no '.join(missing)}. Name the folder that its authors "
            "publish, with their file names."
        )
    return {part: evaluate_texts(read_file(file), stage, quiet) for part, file in files.items()}


def evaluate_texts(labelled: LabelledFile, stage: Toxicity, quiet: float | None = None) -> dict[str, Any]:
    """As `evaluate`, of texts that have been read."""
    language = labelled.slices.get("language")
    # What is no label pair says nothing that cuts could be chosen by.
    pairs = language is not None and all(PAIR.fullmatch(name) for name in set(language.tolist()))
    made = judged(stage, labelled.text, language if pairs else None)
    hit = made.levels.max(axis=1) > 0
    result: dict[str, Any] = {"texts": len(hit), "thresholds": thresholds(stage), "dimensions": {}}
    for head, name in enumerate(DIMENSIONS):
        known = labelled.levels[:, head] >= 0
        if not known.any():
            continue
        found, score, level = made.levels[known, head], made.scores[known, head], labelled.levels[known, head]
        one = agreement(found, score, level)
        if not labelled.graded:
            del one["confusion"], one["kappa"]
        result["dimensions"][name] = {**overall(score, found > 0, level > 0), **one}
        if labelled.shares is not None:
            result["dimensions"][name]["by_agreement"] = by_agreement(
                labelled.shares[:, head], made.scores[:, head], made.levels[:, head] > 0
            )
    known = labelled.levels[:, 5] >= 0
    positive = labelled.levels[:, 5] > 0

    def of(rows: np.ndarray) -> dict[str, Any]:
        flagged = float(made.flagged[rows & positive].mean()) if (rows & positive).any() else float("nan")
        wrongly = float(made.flagged[rows & ~positive].mean()) if (rows & ~positive).any() else float("nan")
        found = {
            **overall(made.scores[rows, 5], hit[rows], positive[rows]),
            "flagged_of_positives": rounded(flagged),
            "flagged_of_clean": rounded(wrongly),
        }
        if quiet is not None:
            above = made.scores[:, 5] >= quiet
            for name, chosen in (("positives", rows & positive), ("clean", rows & ~positive)):
                share = float(above[chosen].mean()) if chosen.any() else float("nan")
                found[f"above_quiet_score_of_{name}"] = rounded(share)
        return found

    result["any"] = of(known)
    if labelled.share is not None:
        result["by_agreement"] = by_agreement(labelled.share, made.scores[:, 5], hit)
    for column, values in labelled.slices.items():
        result[f"by_{column}"] = {
            value: of(rows) for value in sorted(set(values.tolist())) if (rows := known & (values == value)).any()
        }
    return result


def thresholds(stage: Toxicity) -> dict[str, Any]:
    """The thresholds that the figures are for."""
    config = stage.config
    return {
        "cuts": {name: [round(float(c), 4) for c in row] for name, row in zip(HEAD_NAMES, stage.cuts(), strict=True)},
        "max_chance": config.max_chance,
        "min_hit_share": config.min_hit_share,
        "tiers": config.tiers,
    }


def by_agreement(share: np.ndarray, scores: np.ndarray, hit: np.ndarray) -> dict[str, Any]:
    """By fifths of the annotators that said yes: how many texts, how many are found, and their mean score."""
    # 0.6 is a little less than 3 · 0.2, yet belongs above it.
    band = np.where(np.isnan(share), -1, np.minimum(np.nan_to_num(share) * 5 + 1e-9, 4)).astype(np.int64)
    return {
        f"{at / 5:.1f}-{at / 5 + 0.2:.1f}": {
            "texts": int(rows.sum()),
            "found": rounded(float(hit[rows].mean())),
            "mean_score": rounded(float(scores[rows].mean(dtype=np.float64))),
        }
        for at in range(5)
        if (rows := band == at).any()
    }


def evaluate_clean(clean: Clean, stage: Toxicity) -> dict[str, Any]:
    """By genre of harmless text, and language where it is known: the share of sentences that are hits and of documents that
    are flagged. Texts of a file without languages are judged as the stage judges them without language columns."""
    told = bool((clean.language != "").any())
    made = judged(stage, clean.text, clean.language if told else None)
    label = np.array([f"{a} {b}".strip() for a, b in zip(clean.genre, clean.language, strict=True)], object)
    result = {}
    for name in sorted(set(label.tolist())):
        rows = label == name
        sentences = int(made.sentences[rows].sum())
        result[name] = {
            "documents": int(rows.sum()),
            "sentences": sentences,
            "sentence_rate": rounded(int(made.hits[rows].sum()) / sentences if sentences else float("nan"), 6),
            "flagged": rounded(float(made.flagged[rows].mean())),
        }
    return result


def overall(scores: np.ndarray, hit: np.ndarray, positive: np.ndarray) -> dict[str, Any]:
    """Figures of a yes-or-no question about texts: ranking, recall and false positives of hits, calibration, and
    precision where toxic text is rare."""
    clean = ~positive
    recall = float(hit[positive].mean()) if positive.any() else float("nan")
    false = float(hit[clean].mean()) if clean.any() else float("nan")
    return {
        "texts": len(positive),
        "positives": int(positive.sum()),
        "auc": rounded(auc(scores, positive)),
        "accuracy": rounded(float((hit == positive).mean()) if len(positive) else float("nan")),
        "f1": rounded(f1(hit, positive)),
        "recall": rounded(recall),
        "false_positive_rate": rounded(false),
        "calibration_error": rounded(calibration_error(scores.astype(np.float64), positive)),
        "precision_at_prevalence": {
            f"{share:.3f}": rounded(precision_at(recall, false, share)) for share in PREVALENCES
        },
    }
