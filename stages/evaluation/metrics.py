"""Figures of classifiers, for the evaluations of several stages: ranking, agreement of levels, calibration, precision."""

from __future__ import annotations

import numpy as np


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: the share of (positive, negative) pairs in order, ties one half. NaN without both."""
    positive = np.asarray(positive, bool)
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((rank[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def f1(found: np.ndarray, positive: np.ndarray) -> float:
    """Harmonic mean of precision and recall; 0 when nothing is both found and positive."""
    both = int((found & positive).sum())
    total = int(found.sum()) + int(positive.sum())
    return 2 * both / total if total else 0.0


def confusion(found: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """int64[4, 4]: texts by labelled level (row) and found level (column)."""
    return np.bincount(4 * levels.astype(np.int64) + found.astype(np.int64), minlength=16).reshape(4, 4)


def quadratic_kappa(matrix: np.ndarray) -> float:
    """Cohen's kappa of ordinal levels with quadratic weights, of a confusion matrix. NaN when nothing can disagree.

    Source: Cohen, "Weighted kappa" (1968).
    """
    counts = matrix.astype(np.float64)
    total = counts.sum()
    at = np.arange(len(counts))
    distance = (at[:, None] - at[None, :]) ** 2
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / total if total else counts
    worst = float((distance * expected).sum())
    return 1.0 - float((distance * counts).sum()) / worst if worst else float("nan")


def calibration_error(scores: np.ndarray, positive: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error over bins of equal width (Naeini et al., 2015); NaN without texts."""
    if len(scores) == 0:
        return float("nan")
    index = np.minimum((scores * bins).astype(np.int64), bins - 1)
    counts = np.bincount(index, minlength=bins)
    gaps = np.abs(np.bincount(index, scores, bins) - np.bincount(index, positive.astype(np.float64), bins))
    return float(gaps[counts > 0].sum() / len(scores))


def precision_at(recall: float, false_rate: float, prevalence: float) -> float:
    """Precision of a rule with this recall and false-positive rate where `prevalence` of all texts are positive."""
    hits = recall * prevalence
    alarms = false_rate * (1.0 - prevalence)
    return hits / (hits + alarms) if hits + alarms else float("nan")


def rounded(value: float, digits: int = 4) -> float | None:
    """Four digits; None for NaN, which JSON cannot say."""
    return None if np.isnan(value) else round(float(value), digits)
