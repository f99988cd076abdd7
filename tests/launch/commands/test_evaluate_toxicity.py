"""`gristmill evaluate toxicity`."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.launch.running import Command

HATEFUL = "All women are worthless whores and deserve to be raped."
CLEAN = "The library opens again on Monday morning."
CONFIG = """
sources:
  crawl: {format: parquet, paths: ["none/*.parquet"]}
stages:
  one: {use: toxicity, policy: keep}
  two: {use: toxicity, policy: keep, tiers: commons, cuts: {gender_sex: [0.999, 0.9995, 0.9999]}}
outputs:
  corpus: {path: out}
"""


@pytest.fixture
def cases(tmp_path: Path) -> str:
    """A functional test's layout: a class, a target group and the label of each case."""
    lines = [
        "test_case,label_gold,functionality,target_ident",
        f'"{HATEFUL}",hateful,threat,women',
        f'"{CLEAN}",non-hateful,neutral,women',
    ]
    (tmp_path / "cases.csv").write_text("\n".join(lines) + "\n")
    return "cases.csv"


def test_json_has_the_figures_and_the_thresholds_that_they_are_for(gristmill: Command, cases: str) -> None:
    ran = gristmill("evaluate", "toxicity", cases, "--json")
    assert ran.code == 0
    found = json.loads(ran.out)
    assert found["stage"] == {"backend": "embedded", "model": None}
    assert found["file"]["any"]["recall"] == 1.0 and found["file"]["any"]["false_positive_rate"] == 0.0
    assert found["file"]["by_functionality"]["threat"]["accuracy"] == 1.0
    assert found["file"]["thresholds"]["tiers"] == "max_level"


def test_the_stage_is_the_configs(gristmill: Command, cases: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(CONFIG)
    ran = gristmill("evaluate", "toxicity", cases, "--json", "--config", "run.yaml", "--node", "two")
    found = json.loads(ran.out)
    assert found["file"]["thresholds"]["cuts"]["gender_sex"] == [0.999, 0.9995, 0.9999]
    assert found["file"]["thresholds"]["tiers"] == "commons"
    other = gristmill(
        "evaluate", "toxicity", cases, "--json", "--config", "run.yaml", "--node", "one",
        "--set", "stages.one.min_hit_share=0.9",
    )  # fmt: skip
    assert json.loads(other.out)["file"]["thresholds"]["min_hit_share"] == 0.9


def test_people_get_tables(gristmill: Command, cases: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [CLEAN, CLEAN], "source": ["letters", "songs"]}), tmp_path / "clean.parquet")
    levels = {name: [0, 0] for name in ("race_origin", "religion", "ability", "violence")}
    pq.write_table(pa.table({"text": [HATEFUL, CLEAN], "gender_sex": [2, 0], **levels}), tmp_path / "levels.parquet")
    ran = gristmill("evaluate", "toxicity", "levels.parquet", "--clean", "clean.parquet")
    assert ran.code == 0
    for part in ("precision where 0.1% is toxic", "By dimension", "Levels of gender_sex", "False positives", "songs"):
        assert part in ran.out
    ran = gristmill("evaluate", "toxicity", cases)
    assert "By functionality" in ran.out and "By target_ident" in ran.out


def test_a_data_set_is_found_by_name(gristmill: Command, tmp_path: Path) -> None:
    ran = gristmill("evaluate", "toxicity", ".", "--dataset", "ethos")
    assert ran.code == 2 and "not the data set ethos: there is no Ethos_Dataset_Binary.csv" in ran.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv"], "there is no such file"),
        (["cases.csv", "--model", "none.npz"], "no such toxicity model"),
        (["cases.csv", "--backend", "hf"], "name it with --config"),
        (["cases.csv", "--backend", "celadon"], "needs --model"),
        (["cases.csv", "--node", "two"], "--node goes with --config"),
        (["cases.csv", "--config", "web", "--model", "x"], "leave --model and --backend out"),
        (["cases.csv", "--config", "quickstart", "--node", "toxicty"], "did you mean `toxicity`"),
        (["cases.csv", "--config", "run.yaml"], "several nodes use `toxicity`: one, two"),
        (["cases.csv", "--clean", "none.parquet"], "--clean: none.parquet: there is no such file"),
        ([".", "--dataset", "etos"], "did you mean `ethos`"),
    ],
)
def test_wrong_arguments_are_refused(
    gristmill: Command, cases: str, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "run.yaml").write_text(CONFIG)
    ran = gristmill("evaluate", "toxicity", *arguments)
    assert ran.code == 2 and message in ran.error, ran.err


def test_a_label_out_of_range_is_refused_with_its_row(gristmill: Command, tmp_path: Path) -> None:
    (tmp_path / "wrong.csv").write_text("text;isHate\na;1\nb;1.5\n")
    ran = gristmill("evaluate", "toxicity", "wrong.csv")
    assert ran.code == 2 and "`isHate` is '1.5' in row 1" in ran.error
