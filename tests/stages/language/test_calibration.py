"""Calibration of language scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.language.calibration import (
    SUPPORTED_SHARE,
    apply_to_scores,
    coefficients_for,
    document_weights,
    fit,
    fit_scores,
    held_out,
)
from gristmill.stages.language.identify import default_model
from gristmill.stages.language.kernels.langid import EVIDENCE, LangidClassifier
from gristmill.stages.language.langid_format import read_model
from tests.stages.fasttext.test_predict import SENTENCES, buffers
from tests.stages.language.langid_files import write


def test_the_default_model_has_a_calibration_and_another_file_has_none(tmp_path: Path) -> None:
    found = coefficients_for(default_model("langid"))
    assert found is not None and found.shape == (1 + len(EVIDENCE),)
    assert coefficients_for(write(tmp_path / "model.npz.xz")) is None


def test_calibration_changes_the_best_score_and_keeps_order_and_proportions() -> None:
    classifier = LangidClassifier(read_model(default_model("langid")))
    coefficients = coefficients_for(default_model("langid"))
    assert coefficients is not None
    labels, scores, evidence = classifier.examine(*buffers(SENTENCES), top=3)
    same, calibrated = classifier.predict(*buffers(SENTENCES), top=3, coefficients=coefficients)
    assert same.tolist() == labels.tolist()
    known = labels[:, 0] >= 0
    best = 1 / (1 + np.exp(-(coefficients[0] + evidence[known, 0] @ coefficients[1:])))
    assert calibrated[known, 0] == pytest.approx(best, abs=1e-6)
    assert calibrated[known] == pytest.approx(scores[known] * (best / scores[known, 0])[:, None], abs=1e-6)
    assert (calibrated[~known] == 0.0).all()


def test_fit_finds_the_curve_that_answers_were_drawn_from() -> None:
    draw = np.random.default_rng(3)
    truth = np.array([0.5, 1.0, -2.0, 0.0, 0.7, 0.3, -0.5, 0.2, 1.5])
    spread, centre = [1, 2, 0.5, 3, 1, 1, 2, 0.3], [0, 1, 0, -1, 0, 0.5, 0, 0]
    evidence = draw.normal(size=(60_000, len(EVIDENCE))) * spread + centre
    right = draw.random(len(evidence)) < 1 / (1 + np.exp(-(truth[0] + evidence @ truth[1:])))
    assert fit(evidence, right, np.ones(len(evidence))) == pytest.approx(truth, abs=0.1)


def test_weights_count_as_repetitions() -> None:
    draw = np.random.default_rng(4)
    evidence = draw.normal(size=(300, len(EVIDENCE)))
    right = evidence[:, 0] + draw.normal(size=300) > 0
    repeated = np.where(right, 3, 1)
    weighted = fit(evidence, right, repeated.astype(float))
    assert weighted == pytest.approx(
        fit(np.repeat(evidence, repeated, axis=0), np.repeat(right, repeated), np.ones(repeated.sum())), abs=1e-2
    )


def test_answers_that_no_curve_fits_are_refused() -> None:
    evidence = np.zeros((4, len(EVIDENCE)))
    with pytest.raises(ConfigError, match="expected right and wrong answers, found 4 right of 4"):
        fit(evidence, np.ones(4, bool), np.ones(4))
    with pytest.raises(ConfigError, match="expected 8 columns of evidence"):
        fit(evidence[:, :2], np.array([True, False] * 2), np.ones(4))


def test_answers_that_a_line_divides_are_fitted_without_overflow() -> None:
    evidence = np.zeros((6, len(EVIDENCE)))
    evidence[:, 0] = [-9.0, -8.0, -7.0, 7.0, 8.0, 900.0]
    found = fit(evidence, evidence[:, 0] > 0, np.ones(6))
    assert np.isfinite(found).all() and found[1] > 0


def test_evidence_is_what_it_says() -> None:
    """Against naive Bayes written out in NumPy, on text that needs no lowering and no normal form."""
    model = read_model(default_model("langid"))
    classifier = LangidClassifier(model)
    text = SENTENCES[4].encode()
    labels, scores, evidence = classifier.examine(*buffers([text]), top=2)
    state, counts = 0, np.zeros(len(model.likelihoods))
    for byte in text:
        state = model.transitions[model.state_rows[state], byte]
        if model.state_features[state] >= 0:
            counts[model.state_features[state]] += 1
    weights = np.log1p(counts)
    for rank in range(2):
        column = model.classes.index(classifier.labels[labels[0, rank]])
        expected = {
            "logit": np.log(scores[0, rank] / (1.0 - scores[0, rank])),
            "likelihood": weights @ model.likelihoods[:, column] / weights.sum(),
            "best_likelihood": weights @ model.likelihoods.max(axis=1) / weights.sum(),
            "mean_likelihood": weights @ model.likelihoods.mean(axis=1) / weights.sum(),
            "log_bytes": np.log(len(text)),
            "weight_per_byte": weights.sum() / len(text),
            "distinct_share": (counts > 0).sum() / counts.sum(),
            "features_per_byte": counts.sum() / len(text),
        }
        assert dict(zip(EVIDENCE, evidence[0, rank].tolist(), strict=True)) == pytest.approx(expected, abs=1e-3)


def test_a_curve_for_scores_makes_them_probabilities_and_leaves_no_answer_at_zero() -> None:
    draw = np.random.default_rng(5)
    truth = draw.random(40_000) * 0.98 + 0.01
    right = draw.random(len(truth)) < truth
    logit = np.log(truth / (1 - truth))
    too_sure = 1 / (1 + np.exp(-(2 * logit + 1)))
    curve = fit_scores(too_sure, right, np.ones(len(truth)))
    assert curve == pytest.approx([-0.5, 0.5], abs=0.05)
    assert apply_to_scores(curve, too_sure) == pytest.approx(truth, abs=0.03)
    assert apply_to_scores(curve, np.array([0.0, 1.0]))[0] == 0.0


def test_weights_give_supported_languages_their_share() -> None:
    supported = np.array([True, False, False, False])
    weights = document_weights(supported)
    assert weights[supported].sum() / weights.sum() == pytest.approx(SUPPORTED_SHARE)
    assert document_weights(np.ones(3, bool)).tolist() == [1.0] * 3


def test_half_of_each_supported_language_and_whole_other_languages_are_held_out() -> None:
    labels = ["a", "a", "x", "a", "y", "x", "a", "y", "b"]
    assert held_out(labels, {"a", "b"}).tolist() == [False, True, False, False, True, False, True, True, False]
