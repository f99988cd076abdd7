"""The classifier stage against the fastText library and against sorting; its cuts, its report, its errors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from gristmill.launch.cli import run_command
from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.stage import StageContext
from gristmill.pipeline.testing import doc_key_column, run_stage, whole
from gristmill.stages.classifier.stage import Classifier, ClassifierConfig
from tests.pipeline.toy_runs import rows_of, run
from tests.stages.fasttext.fasttext_files import TinyModel

WORDS = "the cat кот neko ネコ a ab catalogue cat\nthe кот\tneko".split(" ")
LABELS = [b"__label__hq", b"__label__mid", b"__label__lq"]


def texts(rows: int = 80, seed: int = 1) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, draw.integers(1, 20))) for _ in range(rows)]


def table(found: list[str], **columns: Any) -> pa.Table:
    more = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    return pa.table({"doc_key": doc_key_column(len(found)), "text": pa.array(found, pa.large_string()), **more})


def make(**config: Any) -> Classifier:
    return Classifier(ClassifierConfig.model_validate_json(json.dumps(config), strict=True))


def library_scores(path: Path, found: list[str], values: dict[str, float] | None, label: str) -> list[float]:
    model = fasttext.load_model(str(path))
    scores = []
    for text in found:
        answers = {name: score for score, name in model.f.predict(text.replace("\n", " ") + "\n", -1, 0.0, "strict")}
        if values is None:
            scores.append(answers.get("__label__" + label, 0.0))
        else:
            total = sum(answers.values())
            scores.append(sum(values.get(name[9:], 0.0) * score for name, score in answers.items()) / total)
    return scores


@pytest.mark.parametrize("values", [None, {"hq": 2.0, "mid": 1.0}, {"hq": 5.0, "lq": -3.0}])
@pytest.mark.parametrize(
    ("loss", "ngrams", "kind"),
    [
        ("softmax", 2, {}),
        ("hs", 1, {}),
        ("ova", 3, {"minn": 0, "maxn": 0}),
        ("ns", 2, {}),
        ("softmax", 2, {"quantised": True, "norms": True, "quantised_output": True}),
        ("hs", 2, {"quantised": True, "pruned": [(5, 0), (11, 1), (30, 2)]}),
    ],
)
def test_scores_are_the_librarys(
    tmp_path: Path, loss: str, ngrams: int, kind: dict[str, Any], values: dict[str, float] | None
) -> None:
    path = TinyModel(labels=LABELS, loss=loss, word_ngrams=ngrams, **kind).write(tmp_path / "m.bin")
    chosen: dict[str, Any] = {"label": "hq"} if values is None else {"values": values}
    stage = make(model=str(path), threshold=0.5, **chosen)
    found = texts()
    score = stage.measure(table(found), StageContext())["classifier_score"].to_pylist()
    assert score == pytest.approx(library_scores(path, found, values, "hq"), abs=1e-5)


def test_many_labels_and_documents_are_scored_in_parts_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = TinyModel(labels=LABELS).write(tmp_path / "m.bin")
    stage = make(model=str(path), threshold=0.5, label="mid")
    at_once = stage.measure(table(texts()), StageContext())["classifier_score"]
    monkeypatch.setattr("gristmill.stages.classifier.labels.MAX_ANSWERS", 7)
    assert stage.measure(table(texts()), StageContext())["classifier_score"] == at_once


@pytest.mark.parametrize("within", [None, "language"])
def test_the_best_fraction_is_kept_exactly_and_ties_go_to_the_lowest_doc_key(
    tmp_path: Path, within: str | None
) -> None:
    path = TinyModel(labels=LABELS).write(tmp_path / "m.bin")
    found = [*texts(60), *texts(60), *texts(1) * 30]  # Every score at least twice, one of them 32 times.
    language = np.random.default_rng(3).choice(["por", "deu"], len(found)).tolist()
    batch = table(found, language=language)
    config: dict[str, Any] = {"model": str(path), "label": "hq", "keep_fraction": 0.1, "on_fail": "mark"}
    made = run_stage(make(**config, **({"within": within} if within else {})), batch, whole(len(batch)))
    kept = {key for key, decision in made.decisions.items() if not decision["failed"]}
    score = make(**config).measure(batch, StageContext())["classifier_score"].to_pylist()
    groups: dict[str, list[tuple[float, bytes]]] = {}
    for key, value, name in zip(batch["doc_key"].to_pylist(), score, language, strict=True):
        groups.setdefault(name if within else "", []).append((-value, key))
    expected = {key for rows in groups.values() for _, key in sorted(rows)[: math.ceil(len(rows) / 10)]}
    assert kept == expected
    figures = made.report["beside_chance"]
    assert figures["kept"]["documents"] == figures["random"]["documents"] == len(expected)
    assert figures["all"]["documents"] == len(batch)


def test_a_tie_at_the_cut_names_the_last_document_that_was_kept(tmp_path: Path) -> None:
    path = TinyModel(labels=LABELS).write(tmp_path / "m.bin")
    batch = table(["the cat"] * 10)
    made = run_stage(make(model=str(path), label="hq", keep_fraction=0.35), batch, whole(10))
    kept = sorted(key for key, decision in made.decisions.items() if decision["port"] == 0)
    dropped = [decision for decision in made.decisions.values() if decision["port"] < 0]
    assert kept == sorted(batch["doc_key"].to_pylist())[:4]
    for decision in dropped:
        assert decision["rule"] == "low_score" and decision["value"] == decision["threshold"]
        assert kept[-1].hex() <= decision["witness"] < min(k.hex() for k, d in made.decisions.items() if d["port"] < 0)


def test_text_that_the_model_knows_nothing_of_has_no_score_and_fails(tmp_path: Path) -> None:
    path = TinyModel(labels=LABELS, words=[b"the"], bucket=0, minn=0, maxn=0).write(tmp_path / "m.bin")
    batch = table(["the the", "unknown", "the"])
    stage = make(model=str(path), label="hq", keep_fraction=1.0)
    made = run_stage(stage, batch, whole(3))
    assert [made.decisions[key]["rule"] for key in batch["doc_key"].to_pylist()] == [None, "no_score", None]
    assert made.report["scopes"][""]["without_score"] == 1 and made.report["scopes"][""]["kept"] == 2


RUN = """
name: best
seed: 5
sources: {{s: {{format: parquet, paths: ["{root}/in/*.parquet"], license: {{spdx: CC0-1.0, stated_by: author}}}}}}
stages:
  classifier: {{model: "{root}/m.bin", label: hq, {cut}}}
outputs: {{corpus: {{path: "{root}/out/{name}"}}}}
"""


@pytest.mark.parametrize("cut", ["keep_fraction: 0.25", "threshold: 0.3"])
def test_a_run_keeps_the_best_and_shows_them_beside_a_random_selection(
    tmp_path: Path, cut: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = TinyModel(labels=LABELS).write(tmp_path / "m.bin")
    (tmp_path / "in").mkdir()
    for file in range(3):
        rows = [{"id": f"{file}-{row}", "text": text} for row, text in enumerate(texts(40, file))]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in" / f"{file}.parquet")
    run(RUN.format(root=tmp_path, cut=cut, name="one"))
    out = tmp_path / "out" / "one"
    audit = audit_output(str(out), full=True, sources=())
    assert audit.exit_code == 0, audit.problems
    manifest = json.loads((out / "manifest.json").read_text())["predicate"]
    figures = manifest["reports"]["classifier"]["beside_chance"]
    every = [text for file in range(3) for text in texts(40, file)]
    scores = library_scores(path, every, None, "hq")
    wanted = 30 if "fraction" in cut else sum(score >= 0.3 for score in scores)
    kept = [row["classifier_score"] for row in rows_of(out)]
    assert len(kept) == wanted == figures["kept"]["documents"] == figures["random"]["documents"]
    assert sorted(kept) == pytest.approx(sorted(scores)[-wanted:], abs=1e-5)
    assert figures["kept"]["mean_score"] > figures["random"]["mean_score"]
    assert figures["all"]["mean_score"] == pytest.approx(np.mean(scores), abs=1e-5)
    card = (out / "README.md").read_text()
    assert "## Filters against a random baseline" in card and f"| documents | 120 | {wanted} | {wanted} |" in card
    assert run_command(["report", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "classifier: what it kept, against a random baseline" in printed
    assert [line.split() for line in printed.splitlines() if line.startswith("documents ")] == [
        ["documents", "120", str(wanted), str(wanted)]
    ]
    assert run_command(["report", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["beside_chance"]["classifier"] == figures


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"threshold": 0.5}, "exactly one of `label`"),
        ({"label": "hq", "values": {"hq": 1.0}, "threshold": 0.5}, "exactly one of `label`"),
        ({"label": "hq"}, "exactly one of `threshold`"),
        ({"label": "hq", "threshold": 0.5, "keep_fraction": 0.1}, "exactly one of `threshold`"),
        ({"label": "hq", "threshold": 0.5, "within": "language"}, "`within` goes with `keep_fraction`"),
        ({"label": "hq", "keep_fraction": 0.0}, "greater than 0"),
        ({"values": {"hq": 1e9}, "keep_fraction": 0.1}, "values.hq: expected a number between"),
    ],
)
def test_contradicting_settings_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(model="m.bin", **config)


def test_a_label_that_the_model_does_not_have_is_refused_with_those_it_has(tmp_path: Path) -> None:
    path = str(TinyModel(labels=LABELS).write(tmp_path / "m.bin"))
    make(model=path, label="__label__hq", threshold=0.5).check_files()
    with pytest.raises(ConfigError, match=r"label: 'hg': the model .*m.bin has no such label; Allowed: hq, lq, mid"):
        make(model=path, label="hg", threshold=0.5).check_files()
    with pytest.raises(ConfigError, match=r"values.max: the model .* has no such label"):
        make(model=path, values={"max": 1.0}, threshold=0.5).check_files()


def test_a_missing_or_damaged_model_is_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "cut.bin").write_bytes(TinyModel(labels=LABELS).to_bytes()[:100])
    with pytest.raises(ConfigError, match=r"cut.bin: not a usable fastText model"):
        make(model=str(tmp_path / "cut.bin"), label="hq", threshold=0.5).check_files()
    with pytest.raises(ConfigError, match=r"none.bin: cannot read the fastText model"):
        make(model=str(tmp_path / "none.bin"), label="hq", threshold=0.5).check_files()
