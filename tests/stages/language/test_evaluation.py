"""Figures of a language identifier, on lists small enough to count by hand."""

from __future__ import annotations

import pytest

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.labels.labels import canonical_labels
from gristmill.stages.language.evaluation import MOST_COMMON, evaluate, expected_calibration_error

GIVEN = ["eng_Latn"] * 4 + ["fra_Latn"] * 2 + ["xyz_Latn"] * 4
PREDICTED = ["eng_Latn", "eng_Latn", "fra_Latn", "und", "fra_Latn", "eng_Latn", "und_Latn", "und", "eng_Latn", "und"]
SUPPORTED = ["eng_Latn", "fra_Latn", "deu_Latn"]


def test_figures_are_those_counted_by_hand() -> None:
    report = evaluate(GIVEN, PREDICTED, SUPPORTED)
    assert report["documents"] == 10 and report["documents_supported"] == 6
    assert report["languages_supported"] == 2  # deu_Latn does not occur.
    assert report["f1"] == {"eng_Latn": 2 * 2 / (4 + 3), "fra_Latn": 2 * 1 / (2 + 2)}
    assert report["macro_f1_supported"] == pytest.approx((4 / 7 + 1 / 2) / 2)
    assert report["accuracy_supported"] == pytest.approx(3 / 6)
    assert report["unsupported_accepted"] == pytest.approx(1 / 4)
    assert report["false_per_10000"] == pytest.approx(3000.0)
    assert report["confusions"] == [["eng_Latn", "fra_Latn", 1], ["fra_Latn", "eng_Latn", 1]]
    assert report["confusions_unsupported"] == [["xyz_Latn", "eng_Latn", 1]]


def test_figures_can_be_restricted_to_some_languages() -> None:
    report = evaluate(GIVEN, PREDICTED, SUPPORTED, only=["fra_Latn"])
    assert report["languages_supported"] == 1 and report["documents_supported"] == 2
    assert report["f1"] == {"fra_Latn": 2 * 1 / (2 + 1)}
    assert report["unsupported_accepted"] == pytest.approx(1 / 4)


def test_the_most_common_languages_count_as_nothing_where_they_cannot_be_answered() -> None:
    report = evaluate([*GIVEN, "deu_Latn"], [*PREDICTED, "deu_Latn"], ["eng_Latn", "fra_Latn"])
    assert report["languages_common"] == 3
    assert report["macro_f1_common"] == pytest.approx((4 / 7 + 1 / 2 + 0) / 3)


def test_the_most_common_languages_are_eighty_two_of_them_in_two_scripts() -> None:
    assert len(MOST_COMMON) == 82 and len({label[:3] for label in MOST_COMMON}) == 80
    assert canonical_labels() >= MOST_COMMON


def test_shares_of_nothing_are_none_and_lists_must_match() -> None:
    report = evaluate([], [], SUPPORTED)
    assert report["macro_f1_supported"] is None and report["unsupported_accepted"] is None
    with pytest.raises(ConfigError, match="expected one prediction per document, found 1 for 0 documents"):
        evaluate([], ["und"], SUPPORTED)


def test_calibration_error_is_zero_for_honest_scores_and_the_gap_otherwise() -> None:
    assert expected_calibration_error([1.0, 1.0, 0.0], [True, True, False]) == 0.0
    assert expected_calibration_error([0.75] * 4, [True, True, True, False]) == pytest.approx(0.0)
    assert expected_calibration_error([0.9] * 10, [True] * 5 + [False] * 5) == pytest.approx(0.4)
    assert expected_calibration_error([1.00001], [True]) == 0.0
    assert expected_calibration_error([], []) is None
    weighted = expected_calibration_error([0.9, 0.9], [True, False], weights=[3.0, 1.0])
    assert weighted == pytest.approx(abs(3 * 0.1 - 0.9) / 4)
    with pytest.raises(ConfigError, match="found 1 scores, 0 answers"):
        expected_calibration_error([0.5], [])
