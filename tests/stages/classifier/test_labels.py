"""A classifier's labels: the library's answers, thresholds, what is kept, counts by label, models that cannot be used."""

from __future__ import annotations

import json
from collections import Counter
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
from gristmill.stages.classifier.label_report import WIDTH, label_lines
from gristmill.stages.classifier.stage import Classifier, ClassifierConfig
from tests.pipeline.toy_runs import rows_of, run
from tests.stages.fasttext.fasttext_files import TinyModel

WORDS = "the cat кот neko ネコ a ab catalogue cat\nthe кот\tneko".split(" ")
TOPICS = [f"__label__{name}".encode() for name in ("News", "Science_&_Tech", "Еда", "Adult", "Games")]


def texts(rows: int = 80, seed: int = 1) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, draw.integers(1, 20))) for _ in range(rows)]


def table(found: list[str], **columns: Any) -> pa.Table:
    return pa.table({"doc_key": doc_key_column(len(found)), "text": pa.array(found, pa.large_string()), **columns})


def make(**config: Any) -> Classifier:
    return Classifier(ClassifierConfig.model_validate_json(json.dumps(config), strict=True))


def tiny(folder: Path, **kind: Any) -> str:
    counts = (50, 40, 30, 20, 3)
    return str(TinyModel(**{"labels": TOPICS, "label_counts": counts, "seed": 3, **kind}).write(folder / "m.bin"))


def answers(model: str, found: list[str]) -> list[dict[str, float]]:
    """By text the library's probability of every label, best first."""
    library = fasttext.load_model(model)
    made = []
    for text in found:
        given = library.f.predict(text.replace("\n", " ") + "\n", -1, 0.0, "strict")
        made.append({label[9:]: score for score, label in given})
    return made


@pytest.mark.parametrize("chosen", ["all", ["News", "__label__Еда", "Adult"]])
@pytest.mark.parametrize(
    "kind", [{}, {"loss": "hs"}, {"loss": "ova"}, {"loss": "ns"}, {"quantised": True, "norms": True, "word_ngrams": 2}]
)
def test_the_top_label_and_its_probability_are_the_librarys(tmp_path: Path, kind: dict[str, Any], chosen: Any) -> None:
    model = tiny(tmp_path, **kind)
    found = texts()
    signals = make(model=model, labels=chosen).measure(table(found), StageContext())
    competing = {"News", "Еда", "Adult"} if chosen != "all" else {name.decode()[9:] for name in TOPICS}
    expected = [max(((s, n) for n, s in one.items() if n in competing)) for one in answers(model, found)]
    assert signals["classifier_top_label"].to_pylist() == [name for _, name in expected]
    assert signals["classifier_probability"].to_pylist() == pytest.approx([score for score, _ in expected], abs=1e-5)
    assert signals["classifier_bytes"].to_pylist() == [len(text.encode()) for text in found]
    assert len({name for _, name in expected}) > 1


def test_many_labels_and_documents_are_read_in_parts_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make(model=tiny(tmp_path), labels=["News", "Adult"])
    at_once = stage.measure(table(texts()), StageContext())
    monkeypatch.setattr("gristmill.stages.classifier.labels.MAX_ANSWERS", 7)
    assert stage.measure(table(texts()), StageContext()) == at_once


def test_each_label_has_its_threshold_and_below_it_documents_have_no_label(tmp_path: Path) -> None:
    model = tiny(tmp_path)
    found = texts()
    thresholds = {"News": 0.5, "__label__Games": 0.0, "*": 0.4}
    made = run_stage(make(model=model, labels="all", thresholds=thresholds, name="topic"), table(found), whole(80))
    for key, one in zip(table(found)["doc_key"].to_pylist(), answers(model, found), strict=True):
        name, score = max(one.items(), key=lambda item: item[1])
        least = {"News": 0.5, "Games": 0.0}.get(name, 0.4)
        assert made.decisions[key]["column topic_label"] == (name if score >= least else None)
        assert made.decisions[key]["port"] == 0 and made.decisions[key]["rule"] is None
    labels = Counter(row["column topic_label"] for row in made.decisions.values())
    assert labels[None] > 5 and len(labels) > 2
    assert {k: v for k, v in made.tallies.items() if k.startswith("documents.")} == {
        f"documents.{label or 'unknown'}": number for label, number in labels.items()
    }
    assert sum(v for k, v in made.tallies.items() if k.startswith("bytes.")) == sum(len(t.encode()) for t in found)


@pytest.mark.parametrize("how", ["keep", "drop"])
@pytest.mark.parametrize("on_fail", ["drop", "mark"])
def test_labels_decide_what_passes(tmp_path: Path, how: str, on_fail: str) -> None:
    model = tiny(tmp_path, words=[b"the", b"cat", b"neko"], bucket=0, minn=0, maxn=0, seed=4)
    found = [*texts(60), "nothing", "of", "this"]
    batch = table(found, token_count=pa.array(range(63), pa.int32()))
    config = {"model": model, "labels": "all", "thresholds": {"*": 0.6}, how: ["Еда", "Games"]}
    made = run_stage(make(on_fail=on_fail, **config), batch, whole(63))
    rules = Counter()
    passed = tokens = 0
    for number, (key, one) in enumerate(zip(batch["doc_key"].to_pylist(), answers(model, found), strict=True)):
        decision = made.decisions[key]
        name, score = max(one.items(), key=lambda item: item[1], default=(None, 0.0))
        listed = name in ("Еда", "Games") and score >= 0.6
        if how == "keep":
            rule = (
                None
                if listed
                else "no_label"
                if name is None
                else "low_probability"
                if score < 0.6
                else "unwanted_label"
            )
        else:
            rule = "unwanted_label" if listed else None
        assert decision["rule"] == rule
        assert decision["port"] == (-1 if rule and on_fail == "drop" else 0)
        if rule in ("low_probability", "unwanted_label"):
            assert decision["witness"] == name and float.fromhex(decision["threshold"]) == 0.6
            assert float.fromhex(decision["value"]) == pytest.approx(score, abs=1e-5)
        if on_fail == "mark":
            assert made.decisions[key]["column classifier_failed"] == ([rule] if rule else [])
        rules[rule] += 1
        passed += rule is None
        tokens += number if name == "Еда" and score >= 0.6 else 0
    assert rules[None] > 0 and rules["unwanted_label"] > 0 and (how == "drop" or len(rules) == 4)
    assert sum(v for k, v in made.tallies.items() if k.startswith("passed.")) == passed
    assert made.tallies.get("tokens.Еда", 0) == tokens


RUN = """
name: topics
seed: 5
sources: {{s: {{format: parquet, paths: ["{root}/in/*.parquet"], license: {{spdx: CC0-1.0, stated_by: author}}}}}}
stages:
  topics: {{use: classifier, model: "{root}/m.bin", labels: all, thresholds: {{"*": 0.4}}, name: topic}}
  quantiles: {{score: {{size: 1}}, within: topic_label, name: size}}
  mix: {{by: [topic_label], fixed: {{Games: 0.25}}, target: 100}}
outputs: {{corpus: {{path: "{root}/out"}}}}
"""


def test_labels_go_into_quantiles_budgets_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny(tmp_path)
    (tmp_path / "in").mkdir()
    found = texts(120)
    for file in range(3):
        rows = [{"text": text, "size": len(text)} for text in found[file::3]]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in" / f"{file}.parquet")
    made = run(RUN.format(root=tmp_path))
    best = [max(one.items(), key=lambda item: item[1]) for one in answers(model, found)]
    labels = Counter(name if score >= 0.4 else "unknown" for name, score in best)
    groups = made.reports["mix"]["groups"]
    assert {name: group["documents"] for name, group in groups.items()} == dict(labels)
    assert groups["Games"]["wanted"] == 25
    rows = rows_of(tmp_path / "out")
    assert sum(row["topic_label"] == "Games" for row in rows) == 25 and len(rows) == 100
    assert "topic_bytes" not in rows[0] and rows[0]["topic_probability"] > 0
    audit = audit_output(str(tmp_path / "out"), full=True, sources=())
    assert audit.exit_code == 0, audit.problems
    assert run_command(["report", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "topics: documents by label" in printed
    line = next(line for line in printed.splitlines() if line.startswith("Games"))
    assert line.split()[1] == str(labels["Games"])
    assert run_command(["report", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["labels"]["topics"]
    assert {name: row["documents"] for name, row in told.items()} == dict(labels)


def test_a_report_fits_and_takes_rare_labels_together() -> None:
    rows = {
        f"長い-{n}-" + "x" * 200: {"documents": 10**8 - n, "bytes": 10**10, "tokens": 10**9, "passed": 10**7}
        for n in range(70)
    }
    lines = label_lines(rows)
    assert max(len(line) for line in lines) <= WIDTH and len(lines) == 1 + 50 + 1
    assert lines[-2].startswith("21 more") and lines[-1].startswith("all")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"labels": "all", "label": "News"}, "`label` goes with a score"),
        ({"labels": "all", "keep_fraction": 0.1}, "`keep_fraction` goes with a score"),
        ({"labels": "all", "keep": ["a"], "drop": ["b"]}, "found both `keep` and `drop`"),
        ({"labels": []}, "is empty"),
        ({"labels": "all", "keep": []}, "is empty"),
        ({"labels": "all", "thresholds": {"News": 1.5}}, "News: expected a probability, found 1.5"),
        ({"label": "News", "threshold": 0.5, "thresholds": {"News": 0.5}}, "`thresholds` goes with `labels`"),
        ({"label": "News", "threshold": 0.5, "keep": ["News"]}, "`keep` goes with `labels`"),
        ({}, "or `labels: all` for the label itself"),
    ],
)
def test_contradicting_settings_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(model="m.bin", **config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"labels": ["Newz"]}, r"labels: 'Newz': the model .*m.bin has no such label; did you mean `?News"),
        ({"labels": "all", "keep": ["Science & Tech"]}, r"keep: 'Science & Tech': .* did you mean Science_&_Tech\?"),
        ({"labels": "all", "thresholds": {"Sports": 0.3}}, r"thresholds: 'Sports': the model .* no such label"),
        ({"labels": "all", "drop": ["*"]}, r"drop: '\*': the model .* no such label"),
    ],
)
def test_labels_that_the_model_does_not_have_are_refused_before_the_run(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(model=tiny(tmp_path), **config).check_files()


def test_models_whose_labels_are_no_names_or_too_many_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for label in (b"__label__", b"__label__a\x1bb", b"__label__ "):
        model = tiny(tmp_path, labels=[label, *TOPICS[1:]])
        with pytest.raises(ConfigError, match="which cannot be a name"):
            make(model=model, labels="all").check_files()
        make(model=model, labels=["Еда", "Adult"]).check_files()
    monkeypatch.setattr("gristmill.stages.classifier.labels.MAX_LABELS", 3)
    with pytest.raises(ConfigError, match=r"has 5 labels, and at most 3 are counted"):
        make(model=tiny(tmp_path), labels="all").check_files()


def test_a_model_whose_numbers_overflow_gives_no_label(tmp_path: Path) -> None:
    output = np.full((5, 5), 3e38, np.float32)  # finite, and so read; sums of them are not
    model = tiny(tmp_path, output=output, words=[b"the", b"cat", b"neko"], bucket=0, minn=0, maxn=0)
    found = make(model=model, labels="all").measure(table(["the", "cat", "neko"]), StageContext())
    labels, scores = (found[name].to_pylist() for name in ("classifier_top_label", "classifier_probability"))
    assert None in labels
    assert [score is None for score in scores] == [label is None for label in labels]
    assert all(np.isfinite(score) for score in scores if score is not None)
