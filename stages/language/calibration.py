"""Calibration of py3langid's answers: from evidence to the probability that an answer is right.

The probabilities of naive Bayes compare the model's languages with each other, so that text in none of them is answered
with confidence too. Calibrated scores also weigh how well the text fits the answer by itself (see
`stages.language.kernels.langid.LangidClassifier.examine`), by a logistic regression

    score = 1 / (1 + exp(-(intercept + Σ coefficient · evidence)))

A calibration belongs to one model file, known by its SHA-256. `tests/benchmarks/language_calibration.py` makes one from
any labelled texts, by `fit` below, and prints its figures on held-out languages.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.hashing import file_digest
from gristmill.stages.language.kernels.langid import EVIDENCE

COEFFICIENTS: Mapping[str, tuple[float, ...]] = {
    # py3langid 0.4.0
    "f4f4a2c3465ca1f081541037f9cac23021d68151c2f709c55ae5eedfca522963": (
        37.6583,
        0.304767,
        2.72604,
        -1.18502,
        2.40996,
        0.593212,
        -13.3916,
        10.4141,
        5.37138,
    ),
}
"""By SHA-256 of the model: the intercept, and one coefficient per EVIDENCE.

Made from 3,906 texts of the Universal Declaration of Human Rights in 441 languages, cut and joined to lengths of 60 to
20,000 characters, and weighted as if nine of ten texts were in a supported language. It is one text in all of them: where
supported and other languages come from different kinds of text, the fit takes genres for languages.
"""

SUPPORTED_SHARE = 0.9
"""What share of texts is taken to be in a supported language. Labelled files of many languages hold far more of the others
than a crawl does."""
PENALTY = 1e-7
"""Ridge penalty on standardised coefficients: it only keeps the solution finite."""
MAX_STEPS = 100


def coefficients_for(model: Path) -> np.ndarray | None:
    """The calibration of a model file, float64, or None when it has none."""
    found = COEFFICIENTS.get(file_digest(model))
    return None if found is None else np.array(found, np.float64)


def fit(evidence: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted logistic regression by Newton's method.

    Args:
        evidence: float64 of shape (answers, len(EVIDENCE)); right: bool, whether an answer is; weights: float64.

    Returns float64 of shape (1 + len(EVIDENCE),): intercept and coefficients. Raises ConfigError when the answers are all
    right or all wrong, which no curve fits.
    """
    if evidence.ndim != 2 or evidence.shape[1] != len(EVIDENCE):
        raise ConfigError(f"calibration: expected {len(EVIDENCE)} columns of evidence, found shape {evidence.shape}")
    return _regress(evidence, right, weights)


def fit_scores(scores: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Platt's scaling of any model's scores: `fit` with the score's logit as the only evidence (Platt, *Probabilistic
    Outputs for Support Vector Machines*, 1999).

    Args:
        scores: float64 in [0, 1]; right: bool; weights: float64.

    Returns float64 of shape (2,), for `apply_to_scores`. Raises ConfigError as `fit` does.
    """
    return _regress(_logit(scores)[:, None], right, weights)


def apply_to_scores(curve: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Scores as the curve of `fit_scores` sees them; 0, which is no answer, stays 0."""
    probabilities = _probability(curve[0] + curve[1] * _logit(scores))
    return np.asarray(np.where(scores > 0.0, probabilities, 0.0))


def document_weights(supported: np.ndarray) -> np.ndarray:
    """Weights (float64) by which documents in a supported language (bool) make SUPPORTED_SHARE of all; equal ones where
    all are, or none."""
    share = float(supported.mean()) if len(supported) else 0.0
    if share in (0.0, 1.0):
        return np.ones(len(supported))
    return np.where(supported, SUPPORTED_SHARE / share, (1.0 - SUPPORTED_SHARE) / (1.0 - share))


def held_out(labels: Sequence[str], supported: Collection[str]) -> np.ndarray:
    """Which documents (bool) to keep from a fit for its figures: every second of a supported language, and every second
    of the other languages as a whole, for texts in one language are alike."""
    seen: dict[str, int] = {}
    others = {label: number for number, label in enumerate(sorted(set(labels) - set(supported)))}
    marks = np.zeros(len(labels), bool)
    for row, label in enumerate(labels):
        number = others.get(label)
        if number is None:
            number = seen[label] = seen.get(label, -1) + 1
        marks[row] = number % 2 == 1
    return marks


def _logit(scores: np.ndarray) -> np.ndarray:
    """log p/(1 − p), within bounds that float32 scores can tell apart."""
    bounded = np.clip(scores, 1e-6, 1.0 - 1e-6)
    return np.asarray(np.log(bounded) - np.log1p(-bounded))


def _probability(logits: np.ndarray) -> np.ndarray:
    # Few answers that a line divides drive the steps far out, where exp would overflow.
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -700.0, 700.0))))


def _regress(evidence: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    if bool(right.all()) or not bool(right.any()):
        raise ConfigError(
            f"calibration: expected right and wrong answers, found {int(right.sum())} right of {len(right)}. Give "
            "labelled texts in languages that the model knows and in others."
        )
    centre, spread = evidence.mean(axis=0), evidence.std(axis=0) + 1e-12
    design = np.column_stack([np.ones(len(evidence)), (evidence - centre) / spread])
    share = weights / weights.sum()
    solution = np.zeros(design.shape[1])
    ridge = PENALTY * np.eye(len(solution))
    for _ in range(MAX_STEPS):
        predicted = _probability(design @ solution)
        gradient = design.T @ (share * (predicted - right)) + PENALTY * solution
        curvature = (design.T * (share * predicted * (1.0 - predicted))) @ design + ridge
        step = np.linalg.solve(curvature, gradient)
        solution = solution - step
        if float(np.abs(step).max()) < 1e-9:
            break
    factors = solution[1:] / spread
    return np.concatenate([[solution[0] - float(factors @ centre)], factors])
