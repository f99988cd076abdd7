"""`gristmill evaluate language`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gristmill.launch.commands.evaluate_language import calibration_figures, language_figures
from tests.launch.running import Command

ROWS = [
    ("The miller grinds the corn before the river freezes, and his daughter sells the flour.", "eng", "Latn"),
    ("Le meunier moud le grain avant que la rivière ne gèle, et sa fille vend la farine.", "fra", "Latn"),
    ("Мельник мелет зерно, пока река не замёрзла, а его дочь продаёт муку.", "rus", "Cyrl"),
    ("川が凍る前に、粉屋は穀物を挽き、娘は粉を売ります。", "jpn", "Jpan"),
    ("ᓄᓇᕗᑦ ᐃᓄᒃᑎᑐᑦ ᐅᖃᐅᓯᖅ ᐱᔪᓐᓇᐅᑎᖃᖅᑐᑦ", "ike", "Cans"),
    ("The miller grinds the corn before the river freezes.", "deu", "Latn"),
    ("xq zzt qqv wkkp trr zzt", "xqz", "Latn"),
]


@pytest.fixture
def labelled(tmp_path: Path) -> str:
    lines = [json.dumps(dict(zip(("text", "language", "script"), row, strict=True))) for row in ROWS]
    (tmp_path / "labelled.jsonl").write_text("\n".join(lines) + "\n")
    return "labelled.jsonl"


def test_json_has_the_figures(gristmill: Command, labelled: str) -> None:
    ran = gristmill("evaluate", "language", labelled, "--json", "--min-score", "0")
    assert ran.code == 0
    figures = json.loads(ran.out)
    assert figures["documents"] == 7 and figures["documents_supported"] == 5
    assert figures["languages_supported"] == 5
    assert figures["accuracy_supported"] == pytest.approx(4 / 5)
    # English: right once, answered twice. German: never answered.
    assert figures["macro_f1_supported"] == pytest.approx((2 * 1 / (1 + 2) + 1 + 1 + 1 + 0) / 5)
    assert figures["macro_f1_common"] == figures["macro_f1_supported"]
    assert figures["confusions"] == [["deu_Latn", "eng_Latn", 1]]
    assert set(figures["unknown_labels"]) == {"xqz_Latn"}
    assert "calibration" not in figures


def test_the_backends_own_threshold_is_used_and_said(gristmill: Command, labelled: str) -> None:
    figures = json.loads(gristmill("evaluate", "language", labelled, "--json").out)
    assert figures["min_score"] == 0.9 and figures["unsupported_accepted"] == 0.0
    other = json.loads(gristmill("evaluate", "language", labelled, "--json", "--backend", "fasttext").out)
    assert other["min_score"] == 0.7 and other["calibration_error"] == other["calibration_error_of_model"]


def test_people_get_a_table_with_confusions_thresholds_and_unknown_labels(gristmill: Command, labelled: str) -> None:
    ran = gristmill("evaluate", "language", labelled, "--calibrate")
    assert ran.code == 0
    for part in (
        "F1, 5 supported languages",
        "false labels per 10,000",
        "Confused most often",
        "xqz_Latn",
        "Thresholds",
    ):
        assert part in ran.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.parquet"], "there is no such file"),
        (["labelled.jsonl", "--backend", "glotlid"], "'glotlid' is none of langid, fasttext"),
        (["labelled.jsonl", "--model", "none.bin"], "none.bin: there is no such file"),
        (["labelled.jsonl", "--backend", "fasttext", "--model", "labelled.jsonl"], "labelled.jsonl"),
        (["labelled.jsonl", "--min-score", "2"], "min-score"),
    ],
)
def test_wrong_arguments_are_refused(gristmill: Command, labelled: str, arguments: list[str], message: str) -> None:
    ran = gristmill("evaluate", "language", *arguments)
    assert ran.code == 2 and message in ran.error


GIVEN = ["eng_Latn"] * 8 + ["xyz_Latn"] * 4 + ["zyx_Latn"] * 4
ANSWERS = ["eng_Latn"] * 7 + ["fra_Latn"] + ["eng_Latn"] * 8
SCORES = np.array([0.97] * 6 + [0.6, 0.4] + [0.3, 0.3, 0.55, 0.3] + [0.3, 0.3, 0.3, 0.82])
SUPPORTED = frozenset({"eng_Latn", "fra_Latn"})


def test_labels_are_judged_without_a_threshold_and_refusals_with_it() -> None:
    figures = language_figures(GIVEN, ANSWERS, SCORES, SCORES, SUPPORTED, 0.5)
    assert figures["label_accuracy_supported"] == pytest.approx(7 / 8)
    assert figures["macro_f1_supported"] == pytest.approx(2 * 7 / (8 + 7))
    assert figures["accuracy_supported"] == pytest.approx(7 / 8)
    assert figures["unsupported_accepted"] == pytest.approx(2 / 8)
    assert figures["false_per_10000"] == pytest.approx(10_000 * 2 / 16)


def test_the_proposed_threshold_is_the_least_that_refuses_nine_tenths_of_unsupported_text() -> None:
    found = calibration_figures(GIVEN, ANSWERS, SCORES, SUPPORTED)
    assert found["proposed_min_score"] == 0.85
    assert [row["accuracy_supported"] for row in found["thresholds"] if row["min_score"] == 0.85] == [6 / 8]
    assert found["documents_held_out"] == 4 + 4
    assert found["curve"]["slope"] > 0
