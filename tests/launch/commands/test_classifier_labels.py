"""Training and evaluation of classifiers with several labels, by hand-made figures and by the fastText library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.errors import ConfigError
from gristmill.stages.classifier.label_evaluation import figures_text, label_figures, least_threshold
from gristmill.stages.classifier.labels_training import label_names, train_labels
from gristmill.stages.classifier.training import Settings
from tests.launch.running import Command

KINDS = {
    "Science & Tech": "theorem proof lemma energy mass light cell we the".split(),
    "Food": "butter flour oven salt pepper dish we the".split(),
    "Games": "level boss player score quest loot we the".split(),
}
SMALL = Settings(dimensions=8, buckets=2000, min_count=1, held_out=0.25, learning_rate=0.5)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(1)
    rows: list[dict[str, Any]] = [{"text": None, "topic": "Food"}, {"text": "we", "topic": None}]
    for label, words in KINDS.items():
        rows += [{"text": " ".join(draw.choice(words, draw.integers(5, 30))), "topic": label} for _ in range(120)]
    rows += [{"text": rows[2]["text"], "topic": "Food"}, rows[5]]  # one with two labels, one doubled
    path = tmp_path_factory.mktemp("labelled") / "topics.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="module")
def trained(labelled: Path) -> tuple[Path, dict[str, Any]]:
    out = labelled.parent / "topics.bin"
    return out, train_labels([labelled], out, SMALL, "topic")


def test_it_learns_and_its_card_says_how_well(trained: tuple[Path, dict[str, Any]]) -> None:
    out, figures = trained
    assert figures["held_out"]["accuracy"] > 0.95
    assert sorted(figures["held_out"]["labels"]) == ["Food", "Games", "Science_&_Tech"]
    texts = figures["texts"]
    assert sum(texts["train"].values()) + texts["held_out"] == 359
    assert (texts["left_out_doubled"], texts["left_out_in_both"], texts["left_out_without_label_or_text"]) == (1, 1, 2)
    card = out.with_suffix(".md").read_text()
    assert "labels: all" in card and "Science_&_Tech" in card and figures["model"]["sha256"] in card


def test_figures_are_those_of_the_librarys_answers(
    gristmill: Command, labelled: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    ran = gristmill(
        "evaluate", "classifier", str(labelled), "--model", str(trained[0]), "--label-column", "topic", "--json",
        "--precision", "0.9",
    )  # fmt: skip
    figures = json.loads(ran.out)
    library = fasttext.load_model(str(trained[0]))
    rows = [row for row in pq.read_table(labelled).to_pylist() if row["text"] and row["topic"]]
    given = [row["topic"].replace(" ", "_") for row in rows]
    found = [library.f.predict(row["text"] + "\n", 1, 0.0, "strict")[0][1][9:] for row in rows]
    assert figures["documents"] == len(rows) and figures["without_label_or_text"] == 2
    assert figures["accuracy"] == pytest.approx(
        sum(a == b for a, b in zip(given, found, strict=True)) / len(rows), abs=1e-4
    )
    for label, entry in figures["labels"].items():
        both = sum(a == b == label for a, b in zip(given, found, strict=True))
        assert entry["documents"] == given.count(label) and entry["found"] == found.count(label)
        assert entry["precision"] == pytest.approx(both / found.count(label), abs=1e-4)
        assert entry["recall"] == pytest.approx(both / given.count(label), abs=1e-4)
        assert 0 <= entry["threshold"] <= 1.0
    shown = gristmill(
        "evaluate", "classifier", str(labelled), "--model", str(trained[0]), "--label-column", "topic"
    ).out
    assert "macro F1" in shown and shown.count("Science_&_Tech") >= 1 and max(map(len, shown.splitlines())) <= 100


def test_figures_by_hand() -> None:
    given = np.array([0, 0, 0, 1, 1, 2], np.int32)
    found = np.array([0, 0, 1, 1, -1, 0], np.int32)
    scores = np.array([0.95, 0.55, 0.52, 0.85, 0.0, 0.91], np.float32)
    figures = label_figures(given, found, scores, ["a", "b", "c"], precision=0.6)
    assert figures["accuracy"] == 0.5
    assert figures["labels"]["a"] == {
        "documents": 3, "found": 3, "precision": 0.6667, "recall": 0.6667, "f1": 0.6667, "threshold": pytest.approx(0.55),
    }  # fmt: skip
    assert figures["labels"]["c"]["precision"] is None and figures["labels"]["c"]["threshold"] is None
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 0.5 + 0) / 3, abs=1e-4)
    assert figures["confusions"] == [
        {"given": "a", "found": "b", "documents": 1},
        {"given": "b", "found": None, "documents": 1},
        {"given": "c", "found": "a", "documents": 1},
    ]
    bins = {one["from"]: one for one in figures["calibration"]["bins"]}
    assert bins[0.9]["documents"] == 2 and bins[0.9]["right"] == 0.5 and bins[0.9]["probability"] == pytest.approx(0.93)
    # By hand: |0.535 - 0.5| · 2 + |0.85 - 1| + |0.93 - 0.5| · 2, over five answers.
    assert figures["calibration"]["error"] == pytest.approx((0.07 + 0.15 + 0.86) / 5, abs=1e-3)
    at = {row["threshold"]: row for row in figures["thresholds"]}
    assert at[0.8]["answered"] == 0.5 and at[0.8]["right"] == pytest.approx(2 / 3, abs=1e-4)
    assert "(none)" in "\n".join(figures_text(figures))


def test_equal_scores_are_cut_together() -> None:
    scores, right = np.array([0.9, 0.5, 0.5], np.float32), np.array([True, True, False])
    assert least_threshold(scores, right, 0.9) == pytest.approx(0.9)
    assert least_threshold(scores, right, 0.6) == pytest.approx(0.5)
    assert least_threshold(scores, ~right, 0.9) is None


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"a b", "a_b"}, "'a b' and 'a_b' would both be 'a_b'"),
        ({"a", "__label__"}, "'__label__' cannot be the name"),
        ({"a", "*"}, "cannot be the name"),
        ({"a", "b\x1bc"}, "cannot be the name"),
        ({"a"}, "expected 2 to 4096 different labels, found 1"),
        ({f"t{n}" for n in range(5000)}, "found 5000"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(labels: set[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        label_names(labels)


@pytest.mark.parametrize(
    ("rows", "column", "message"),
    [
        ([{"text": "a", "label": None}] * 30, "label", "none of its 30 rows has both"),
        ([{"text": "a", "label": 0.5}] * 30, "label", "column label: expected text, found double"),
        ([{"text": "a", "label": "x"}] * 30, "topic", "Add topic"),
        (
            [{"text": f"{n} text", "label": "xy"[n % 20 == 0]} for n in range(99)],
            "label",
            "needs at least 10 .*; y [0-9]",
        ),
    ],
)
def test_files_without_enough_labels_are_refused(
    tmp_path: Path, gristmill: Command, rows: list[dict[str, Any]], column: str, message: str
) -> None:
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match=message):
        train_labels([tmp_path / "x.parquet"], tmp_path / "x.bin", SMALL, column)
    assert not (tmp_path / "x.bin").exists()


def test_labels_that_the_model_lacks_are_left_out_and_named(
    tmp_path: Path, gristmill: Command, trained: tuple[Path, dict[str, Any]]
) -> None:
    rows = [
        {"text": "butter flour", "label": "Food"},
        {"text": "rain", "label": "Weather"},
        {"text": "x", "label": "Weather"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    ran = gristmill("evaluate", "classifier", str(tmp_path / "x.parquet"), "--model", str(trained[0]))
    assert ran.code == 0 and "1 documents, accuracy 1" in ran.out and "left out: Weather 2" in ran.out
    pq.write_table(pa.Table.from_pylist(rows[1:]), tmp_path / "x.parquet")
    ran = gristmill("evaluate", "classifier", str(tmp_path / "x.parquet"), "--model", str(trained[0]))
    assert ran.code == 2 and "has none of the labels of the texts, such as 'Weather'" in ran.err
