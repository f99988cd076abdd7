"""Evaluation of toxicity scores on labelled files of several layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.toxicity.evaluation import (
    by_agreement,
    evaluate,
    evaluate_clean,
    evaluate_dataset,
    overall,
    quiet_score,
)
from gristmill.stages.toxicity.labelled_files import read_file
from gristmill.stages.toxicity.model import DIMENSIONS
from gristmill.stages.toxicity.stage import Toxicity, ToxicityConfig
from gristmill.stages.toxicity.training_texts import Clean

HATEFUL = "All women are worthless whores and deserve to be raped."
CLEAN = "The library opens again on Monday morning."
STAGE = Toxicity(ToxicityConfig())


def write_csv(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_a_file_with_levels_gets_figures_by_dimension_and_confusion_of_levels(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {"text": [HATEFUL, CLEAN, CLEAN, HATEFUL], "source": ["a", "a", "b", "b"]}
    columns |= {name: [0, 0, 0, 0] for name in DIMENSIONS}
    columns["gender_sex"] = [2, 0, 0, -1]
    pq.write_table(pa.table(columns), tmp_path / "levels.parquet")
    report = evaluate(tmp_path / "levels.parquet", STAGE)
    gender = report["dimensions"]["gender_sex"]
    assert (gender["texts"], gender["positives"], gender["auc"], gender["f1"]) == (3, 1, 1.0, 1.0)
    assert np.sum(gender["confusion"]) == 3 and gender["confusion"][0][0] == 2
    assert report["any"]["texts"] == 3
    assert report["any"]["recall"] == 1.0 and report["any"]["false_positive_rate"] == 0.0
    assert set(report["by_source"]) == {"a", "b"}
    json.dumps(report, allow_nan=False)


def test_shares_of_annotators_give_figures_by_agreement(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "shares.csv", "comment;isHate", f"{HATEFUL};1.0", f"{CLEAN};0.0", f"{CLEAN};0.33")
    report = evaluate(path, STAGE)
    assert report["any"]["auc"] == 1.0
    assert [report["by_agreement"][name]["texts"] for name in ("0.0-0.2", "0.2-0.4", "0.8-1.0")] == [1, 1, 1]
    assert [report["by_agreement"][name]["found"] for name in ("0.0-0.2", "0.8-1.0")] == [0.0, 1.0]
    assert "dimensions" in report and not report["dimensions"]


def test_functional_cases_give_figures_by_class_and_by_group(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "cases.csv",
        "test_case,label_gold,functionality,target_ident",
        f'"{HATEFUL}",hateful,threat,women',
        f'"{CLEAN}",non-hateful,neutral,women',
    )
    report = evaluate(path, STAGE)
    assert report["by_functionality"]["threat"]["recall"] == 1.0
    assert report["by_functionality"]["neutral"]["false_positive_rate"] == 0.0
    assert report["by_target_ident"]["women"]["auc"] == 1.0


def test_shares_by_kind_of_target_become_dimensions(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "kinds.csv",
        "comment;violence;directed_vs_generalized;gender;race;national_origin;disability;religion;sexual_orientation",
        f"{HATEFUL};0.8;0;1;0;0;0;0;0",
        f"{CLEAN};0;0;0;0;0.6;0;0.2;0",
    )
    levels = read_file(path).levels
    assert levels.tolist() == [[0, 1, 0, 0, 1, 1], [1, 0, 0, 0, 0, 1]]
    report = evaluate(path, STAGE)
    assert "confusion" not in report["dimensions"]["gender_sex"]
    assert report["dimensions"]["race_origin"]["by_agreement"]["0.6-0.8"]["texts"] == 1
    assert report["dimensions"]["gender_sex"]["by_agreement"]["0.8-1.0"]["found"] == 1.0


def test_a_share_on_a_border_is_counted_once() -> None:
    bands = by_agreement(np.array([0.2, 0.4, 0.6, 0.8, 1.0, np.nan]), np.zeros(6), np.zeros(6, bool))
    assert {name: one["texts"] for name, one in bands.items()} == {
        "0.2-0.4": 1, "0.4-0.6": 1, "0.6-0.8": 1, "0.8-1.0": 2
    }  # fmt: skip


def test_labels_that_are_missing_are_unknown_and_lines_end_only_where_a_file_says_so(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "gaps.csv", "text,label_gold", f"{CLEAN}\u2028{CLEAN},", f"{HATEFUL},hateful")
    read = read_file(path)
    assert read.levels[:, 5].tolist() == [-1, 1]
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"text": "one\u2028line", "toxic": 1}\n', encoding="utf-8")
    assert read_file(lines).text.to_pylist() == ["one\u2028line"]


def test_harmless_text_gives_false_positives_by_genre_of_sentences_and_of_documents() -> None:
    text = pa.array([f"{CLEAN} {CLEAN}", f"{CLEAN} {HATEFUL}", CLEAN], pa.large_string())
    genre = np.array(["letters", "letters", "songs"], object)
    report = evaluate_clean(Clean(text=text, genre=genre, language=np.full(3, "", object)), STAGE)
    assert report["letters"] == {"documents": 2, "sentences": 4, "sentence_rate": 0.25, "flagged": 0.5}
    assert report["songs"]["sentence_rate"] == 0.0
    language = np.array(["eng_Latn", "ita_Latn", "eng_Latn"], object)
    report = evaluate_clean(Clean(text=text, genre=genre, language=language), STAGE)
    assert report["letters ita_Latn"]["flagged"] == 0.0, "what is not covered is never flagged"


def test_texts_are_judged_in_their_own_language_where_a_file_names_it(tmp_path: Path) -> None:
    rows = [{"text": HATEFUL, "toxic": 1, "language": name} for name in ("eng_Latn", "ita_Latn")]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    report = evaluate(path, STAGE)["by_language"]
    assert [report[name]["recall"] for name in ("eng_Latn", "ita_Latn")] == [1.0, 0.0]
    path.write_text("\n".join(json.dumps({**row, "language": row["language"][:2]}) for row in rows))
    assert evaluate(path, STAGE)["by_language"]["it"]["recall"] == 1.0, "no label pair, so all is judged alike"


def test_recall_is_given_at_the_score_that_few_clean_sentences_reach(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "cases.csv", "text,label", f'"{HATEFUL}",1', f'"{CLEAN}",0', '"Women are stupid.",1')
    quiet = [f"The library number {n} opens again on Monday morning." for n in range(999)]
    # One sentence in a thousand may be as bad as it likes, three may not.
    lenient = quiet_score(STAGE, pa.array([" ".join([*quiet, HATEFUL])], pa.large_string()))
    report = evaluate(path, STAGE, lenient)
    assert (report["any"]["above_quiet_score_of_positives"], report["any"]["above_quiet_score_of_clean"]) == (1.0, 0.0)
    strict = quiet_score(STAGE, pa.array([" ".join([*quiet, *[HATEFUL] * 3])], pa.large_string()))
    assert 0.0 < lenient < strict
    assert evaluate(path, STAGE, strict)["any"]["above_quiet_score_of_positives"] == 0.0
    assert "above_quiet_score_of_clean" not in evaluate(path, STAGE)["any"]
    assert np.isnan(quiet_score(STAGE, pa.array([], pa.large_string())))


def test_a_named_data_set_is_read_by_its_parts(tmp_path: Path) -> None:
    write_csv(tmp_path / "Ethos_Dataset_Binary.csv", "comment;isHate", f"{HATEFUL};0.9", f"{CLEAN};0.1")
    with pytest.raises(ConfigError, match="no .*Ethos_Dataset_Multi_Label.csv"):
        evaluate_dataset("ethos", tmp_path, STAGE)
    write_csv(
        tmp_path / "Ethos_Dataset_Multi_Label.csv",
        "comment;violence;directed_vs_generalized;gender;race;national_origin;disability;religion;sexual_orientation",
        f"{HATEFUL};0.8;0;1;0;0;0;0;0",
        f"{CLEAN};0.1;0;0;0;0;0;0;0",
    )
    report = evaluate_dataset("ethos", tmp_path, STAGE)
    assert report["binary"]["any"]["auc"] == 1.0 and set(report["binary"]["by_agreement"]) == {"0.0-0.2", "0.8-1.0"}
    assert report["multi_label"]["dimensions"]["violence"]["positives"] == 1
    assert report["multi_label"]["any"]["texts"] == 1, "a text of no kind may be hateful all the same"
    with pytest.raises(ConfigError, match="did you mean `ethos`"):
        evaluate_dataset("etos", tmp_path, STAGE)


def test_json_lines_are_read_like_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(json.dumps({"text": t, "toxic": v}) for t, v in ((HATEFUL, True), (CLEAN, False))))
    assert read_file(path).levels[:, 5].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("words;isHate", "a;1", "no text column; expected one of text, comment"),
        ("text;grade", "a;1", "no known label columns"),
        ("text;isHate", "a;1.5", "`isHate` is '1.5' in row 0"),
        ("text;label", "a;perhaps", "'perhaps' in row 0"),
        ("text;label", "", "no rows"),
        ("text;race_origin;gender_sex;religion;ability;violence", "a;0;0;inf;0;0", "`religion` is 'inf' in row 0"),
        ("text;race_origin;gender_sex;religion;ability;violence", "a;0;1.5;0;0;0", "`gender_sex` is '1.5' in row 0"),
        ("text;race_origin;gender_sex;religion;ability;violence", "a;0;0;4;0;0", "`religion` is '4' in row 0"),
    ],
)
def test_a_file_that_is_not_understood_is_refused(tmp_path: Path, header: str, row: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_file(write_csv(tmp_path / "wrong.csv", header, row))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_file(tmp_path / "none.csv")


def test_halves_of_surrogate_pairs_and_empty_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labelled.jsonl"
    path.write_text('{"text": "gr\u00fcn", "toxic": 0}\n{"text": "half \\ud800 of it", "toxic": 1}\n', encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"labelled.jsonl: `text` in row 1 holds half of a surrogate pair \('.ud800'\)"
    ):
        read_file(path)
    path.write_text("")
    with pytest.raises(ConfigError, match="is empty. Give labelled texts"):
        read_file(path)


def test_precision_falls_with_prevalence_as_bayes_has_it() -> None:
    hit = np.array([True] * 8 + [False] * 2 + [True] + [False] * 99)
    positive = np.array([True] * 10 + [False] * 100)
    report = overall(hit * 0.9, hit, positive)
    assert report["recall"] == 0.8 and report["false_positive_rate"] == 0.01
    assert report["precision_at_prevalence"] == {"0.010": 0.4469, "0.001": 0.0741}
