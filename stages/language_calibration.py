"""Calibration of py3langid's answers: from evidence to the probability that an answer is right.

The probabilities of naive Bayes compare the model's languages with each other, so that text in none of them is answered
with confidence too. Calibrated scores also weigh how well the text fits the answer by itself (see
`stages.kernels.langid.LangidClassifier.examine`), by a logistic regression

    score = 1 / (1 + exp(-(intercept + Σ coefficient · evidence)))

A calibration belongs to one model file, known by its SHA-256. `tests/benchmarks/language_calibration.py` makes one from
any labelled texts, by `fit` below, and prints its figures on held-out languages.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.errors import ConfigError
from pipeline.hashing import file_digest
from stages.kernels.langid import EVIDENCE

COEFFICIENTS: Mapping[str, tuple[float, ...]] = {
    # py3langid 0.4.0
    "f4f4a2c3465ca1f081541037f9cac23021d68151c2f709c55ae5eedfca522963": (
        51.1868,
        0.31163,
        2.66786,
        -1.64114,
        2.94286,
        -0.177144,
    ),
}
"""By SHA-256 of the model: the intercept, and one coefficient per EVIDENCE.

Made from 6,521 labelled texts in about 500 languages (Universal Declaration of Human Rights, NTREX, African Storybook,
Bible, Leipzig sentences, MasakhaNEWS), cut and joined to lengths of 60 to 20,000 characters, and weighted as if nine of
ten texts were in a supported language.
"""

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
        predicted = 1.0 / (1.0 + np.exp(-(design @ solution)))
        gradient = design.T @ (share * (predicted - right)) + PENALTY * solution
        curvature = (design.T * (share * predicted * (1.0 - predicted))) @ design + ridge
        step = np.linalg.solve(curvature, gradient)
        solution = solution - step
        if float(np.abs(step).max()) < 1e-9:
            break
    factors = solution[1:] / spread
    return np.concatenate([[solution[0] - float(factors @ centre)], factors])
