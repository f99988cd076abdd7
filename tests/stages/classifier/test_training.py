"""Training of quality classifiers: files that fastText and our kernel read alike, held-out figures, equal bytes again."""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import fasttext
import floret
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.launch.cli import run_command
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.stage import StageContext
from gristmill.pipeline.testing import doc_key_column
from gristmill.stages.classifier.stage import Classifier, ClassifierConfig
from gristmill.stages.classifier.training import Settings, held_out_figures, line_of, model_card, train
from gristmill.stages.fasttext.floret_file import write_as_fasttext
from gristmill.stages.fasttext.model_file import read_model

GOOD = "therefore theorem proof lemma we show that energy mass water light cell river".split()
BAD = "click buy cheap now free shipping the cart login subscribe water we that".split()
SMALL = Settings(dimensions=8, buckets=2000, min_count=1, held_out=0.25, learning_rate=0.5)


def write(folder: Path, name: str, words: list[str], seed: int, rows: int = 160) -> Path:
    draw = np.random.default_rng(seed)
    texts = [" ".join(draw.choice(words, draw.integers(5, 30))) for _ in range(rows)]
    pq.write_table(pa.table({"text": [*texts, None, " "]}), folder / name)
    return folder / name


@pytest.fixture
def collections(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path, "good.parquet", GOOD, 1), write(tmp_path, "bad.parquet", BAD, 2)


def test_it_learns_and_its_figures_are_of_texts_that_it_did_not_see(
    tmp_path: Path, collections: tuple[Path, Path]
) -> None:
    found = train([collections[0]], [collections[1]], tmp_path / "q.bin", SMALL)
    held_out = found["texts"]["held_out"]
    assert found["held_out"]["auc"] > 0.99
    assert sum(found["texts"]["train"].values()) + sum(held_out.values()) == 320
    assert 40 < sum(held_out.values()) < 120
    assert found["held_out"]["random"] == pytest.approx(held_out["hq"] / sum(held_out.values()), abs=1e-4)
    card = (tmp_path / "q.md").read_text()
    assert f"AUC {found['held_out']['auc']}" in card and "a random selection" in card
    for file in collections:
        assert hashlib.sha256(file.read_bytes()).hexdigest() in card
    assert hashlib.sha256((tmp_path / "q.bin").read_bytes()).hexdigest() == found["model"]["sha256"]


def test_equal_data_and_seed_give_equal_bytes_whatever_the_order_of_the_texts(
    tmp_path: Path, collections: tuple[Path, Path]
) -> None:
    train([collections[0]], [collections[1]], tmp_path / "one.bin", SMALL)
    table = pq.read_table(collections[0])
    pq.write_table(table.take(list(range(len(table) - 1, -1, -1))), tmp_path / "reversed.parquet")
    train([tmp_path / "reversed.parquet"], [collections[1]], tmp_path / "two.bin", SMALL)
    assert (tmp_path / "one.bin").read_bytes() == (tmp_path / "two.bin").read_bytes()


def test_the_stage_and_fasttext_and_floret_give_the_models_scores_alike(
    tmp_path: Path, collections: tuple[Path, Path]
) -> None:
    train([collections[0]], [collections[1]], tmp_path / "q.bin", SMALL)
    config = ClassifierConfig.model_validate_json(
        json.dumps({"model": str(tmp_path / "q.bin"), "label": "hq", "threshold": 0.5}), strict=True
    )
    texts = ["therefore the proof\nis cheap", "buy now", "light and water", "nothing of this is known"]
    table = pa.table({"doc_key": doc_key_column(len(texts)), "text": pa.array(texts, pa.large_string())})
    ours = Classifier(config).measure(table, StageContext())["classifier_score"].to_pylist()
    library = fasttext.load_model(str(tmp_path / "q.bin"))
    for text, score in zip(texts, ours, strict=True):
        answers = {name: value for value, name in library.f.predict(text.replace("\n", " ") + "\n", 2, 0.0, "strict")}
        assert score == pytest.approx(answers["__label__hq"], abs=1e-5)


@pytest.mark.parametrize("loss", ["softmax", "hs", "ova", "ns"])
def test_a_model_of_floret_becomes_the_same_model_of_fasttext(tmp_path: Path, loss: str) -> None:
    (tmp_path / "t.txt").write_text("__label__a one two three\n__label__b four five six\n__label__c seven one\n" * 9)
    model = floret.train_supervised(
        input=str(tmp_path / "t.txt"), mode="fasttext", loss=loss, dim=6, bucket=50, wordNgrams=2, minn=2, maxn=3,
        thread=1, verbose=0,
    )  # fmt: skip
    model.save_model(str(tmp_path / "floret.bin"))
    with (tmp_path / "fasttext.bin").open("wb") as stream:
        write_as_fasttext(tmp_path / "floret.bin", stream)
    read = read_model(tmp_path / "fasttext.bin")
    assert read.input.dense is not None and read.output.dense is not None
    assert (read.input.dense == model.get_input_matrix()).all()
    assert (read.output.dense == model.get_output_matrix()).all()
    assert [word.decode() for word in read.words] == model.get_words()
    library = fasttext.load_model(str(tmp_path / "fasttext.bin"))
    for text in ("one two\n", "seven eight\n", "six five four three\n"):
        assert library.f.predict(text, 3, 0.0, "strict") == model.f.predict(text, 3, 0.0, "strict")


def test_a_model_in_florets_own_mode_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("__label__a one two three\n__label__b four five six\n" * 9)
    model = floret.train_supervised(
        input=str(tmp_path / "t.txt"), mode="floret", hashCount=2, dim=4, bucket=50, minn=2, maxn=3, thread=1, verbose=0
    )
    model.save_model(str(tmp_path / "floret.bin"))
    with (tmp_path / "out.bin").open("wb") as stream:
        with pytest.raises(ConfigError, match=r"in the mode `fasttext` .* found 793712314, 12, 2, 2"):
            write_as_fasttext(tmp_path / "floret.bin", stream)
        (tmp_path / "short.bin").write_bytes(b"123")
        with pytest.raises(ConfigError, match="found 3 bytes"):
            write_as_fasttext(tmp_path / "short.bin", stream)


def test_texts_cannot_bring_labels_of_their_own(tmp_path: Path) -> None:
    assert line_of("a\n__label__lq b </s> c\x00d\u00a0e") == "a \\__label__lq b \\</s> c d\u00a0e"
    assert line_of("x__label__lq </s>y") == "x__label__lq </s>y"
    words = [*GOOD, "__label__lq", "</s>", "__label__other"]
    good, bad = write(tmp_path, "g.parquet", words, 1), write(tmp_path, "b.parquet", BAD, 2)
    train([good], [bad], tmp_path / "q.bin", SMALL)
    model = read_model(tmp_path / "q.bin")
    texts = json.loads(json.dumps(train([good], [bad], tmp_path / "q.bin", SMALL)["texts"]["train"]))
    assert dict(zip(model.labels, model.label_counts.tolist(), strict=True)) == texts


def test_doubled_texts_count_once_and_those_on_both_sides_are_left_out(
    tmp_path: Path, collections: tuple[Path, Path]
) -> None:
    mixed = pa.concat_tables([pq.read_table(collections[0]), pq.read_table(collections[1]).slice(0, 5)])
    pq.write_table(pa.concat_tables([mixed, mixed.slice(0, 3)]), tmp_path / "mixed.parquet")
    found = train([tmp_path / "mixed.parquet"], [collections[1]], tmp_path / "q.bin", SMALL)["texts"]
    assert (found["left_out_doubled"], found["left_out_in_both"]) == (3, 5)
    assert found["train"]["lq"] + found["held_out"]["lq"] == 155


def test_held_out_figures_are_those_counted_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.6, 0.4, 0.1], np.float32)
    positive = np.array([True, False, True, False, False])
    found = held_out_figures(scores, positive)
    assert found["auc"] == pytest.approx(5 / 6, abs=1e-4) and found["random"] == 0.4
    at = {row["threshold"]: row for row in found["thresholds"]}
    assert at[0.5] == {"threshold": 0.5, "kept": 0.6, "precision": 0.6667, "recall": 1.0, "f1": 0.8}
    assert at[0.95]["precision"] is None and at[0.95]["recall"] == 0.0
    best = {row["fraction"]: row for row in found["best_fractions"]}
    assert best[0.2] == {"fraction": 0.2, "threshold": 0.9, "kept": 0.2, "precision": 1.0, "recall": 0.5, "f1": 0.6667}


def test_the_command_trains_and_prints_the_figures(
    tmp_path: Path, collections: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--dimensions", "8", "--buckets", "2000", "--min-count", "1", "--held-out", "0.25"]
    files = [
        "--positive",
        str(collections[0]),
        "--negative",
        str(collections[1]),
        "--out",
        str(tmp_path / "m" / "q.bin"),
    ]
    assert run_command(["train", "quality", *files, *sizes]) == 0
    figures: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert figures["settings"]["dimensions"] == 8
    assert (tmp_path / "m" / "q.md").read_text() == model_card(figures)


def test_too_few_texts_other_columns_and_missing_files_are_refused(
    tmp_path: Path, collections: tuple[Path, Path]
) -> None:
    good, bad = collections
    few = write(tmp_path, "few.parquet", GOOD, 3, rows=12)
    with pytest.raises(ConfigError, match=r"the held-out part needs at least 10 .* found \d positive"):
        train([few], [bad], tmp_path / "q.bin", SMALL)
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "other.parquet")
    with pytest.raises(ConfigError, match=r"other.parquet: expected the column text, found body"):
        train([good], [tmp_path / "other.parquet"], tmp_path / "q.bin", SMALL)
    pq.write_table(pa.table({"text": [1]}), tmp_path / "numbers.parquet")
    with pytest.raises(ConfigError, match=r"column text: expected text, found int64"):
        train([tmp_path / "numbers.parquet"], [bad], tmp_path / "q.bin", SMALL)
    with pytest.raises(ConfigError, match=r"none.parquet: there is no such file"):
        train([tmp_path / "none.parquet"], [bad], tmp_path / "q.bin", SMALL)
    assert not (tmp_path / "q.bin").exists()


def test_without_floret_the_extra_is_named(
    tmp_path: Path, collections: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install 'gristmill\[train\]'"):
        train([collections[0]], [collections[1]], tmp_path / "q.bin", SMALL)
