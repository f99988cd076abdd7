"""The stage `content_warning`: templates by language, warnings by a model, and what is recorded of either."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.stage import Decisions, StageContext
from gristmill.stages.labels.labels import canonical_labels
from gristmill.stages.rewriting.content_warning import (
    ContentWarning,
    ContentWarningConfig,
    beginning,
    shipped_templates,
)
from tests.endpoint_server import EndpointServer, Scripted
from tests.pipeline.toy_runs import rows_of, run

RUN = """
name: annealing
max_quarantined: 1.0
sources:
  s: {{format: parquet, paths: ["{root}/in.parquet"]}}
stages:
  warning: {{use: content_warning{more}}}
outputs:
  corpus: {{path: "{root}/out"}}
"""


def decided(texts: list[str], languages: list[str | None] | None = None, **config: Any) -> Decisions:
    batch = pa.table({"text": pa.array(texts, pa.large_string())})
    if languages is not None:
        pairs = [(None, None) if one is None else one.split("_") for one in languages]
        batch = batch.append_column("language", pa.array([pair[0] for pair in pairs], pa.string()))
        batch = batch.append_column("language_script", pa.array([pair[1] for pair in pairs], pa.string()))
    return ContentWarning(ContentWarningConfig(**config)).decide(batch, None, StageContext())


def test_each_document_gets_the_template_of_its_language_before_its_own_text() -> None:
    decisions = decided(["Ein Text.", "Текст."], ["deu_Latn", "rus_Cyrl"])
    templates = shipped_templates()
    assert decisions.columns["text"].to_pylist() == [
        f"{templates['deu_Latn']}\n\nEin Text.", f"{templates['rus_Cyrl']}\n\nТекст."
    ]  # fmt: skip
    assert decisions.columns["content_warning"].to_pylist() == [templates["deu_Latn"], templates["rus_Cyrl"]]
    assert decisions.witness.to_pylist() == ["template:deu_Latn", "template:rus_Cyrl"]
    assert [decisions.rules[rule] for rule in decisions.rule] == ["warned_by_template"] * 2
    assert not decisions.tallies


def test_a_language_without_a_template_gets_the_default_and_is_counted() -> None:
    decisions = decided(["a", "b", "c"], ["zul_Latn", None, "zul_Latn"], default_language="fra_Latn")
    assert decisions.witness.to_pylist() == ["template:fra_Latn"] * 3
    assert dict(decisions.tallies) == {"no_template:und": 1, "no_template:zul_Latn": 2}
    assert decided(["a"]).witness.to_pylist() == ["template:eng_Latn"], "nothing is known of the language"


def test_templates_of_ones_own_come_first() -> None:
    decisions = decided(
        ["a", "b"], ["zul_Latn", "eng_Latn"], templates={"zul_Latn": "Z", "eng_Latn": "E"}, separator="|"
    )
    assert decisions.columns["text"].to_pylist() == ["Z|a", "E|b"]


def test_shipped_templates_are_of_known_languages() -> None:
    assert set(shipped_templates()) <= set(canonical_labels())
    assert all(template.strip() == template and len(template) > 10 for template in shipped_templates().values())


def test_a_run_with_templates_names_them_on_record(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "text": ["A text."]}), tmp_path / "in.parquet")
    run(RUN.format(root=tmp_path, more=""))
    (row,) = rows_of(tmp_path / "out")
    assert row["text"] == f"{row['content_warning']}\n\nA text."
    (entry,) = rows_of(tmp_path / "out", "ledger")
    assert (entry["decision"], entry["rule"], entry["witness"]) == ("marked", "warned_by_template", "template:eng_Latn")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())["predicate"]
    assert manifest["accounts"]["nodes"]["warning"]["tallies"] == {"no_template:und": 1}


def test_a_model_writes_warnings_and_what_fails_is_quarantined(tmp_path: Path) -> None:
    texts = ["One text.", "A refused text.", "An endless text."]

    def reply(text: str, before: int) -> Scripted:
        if text == texts[1]:
            return Scripted(status=400)
        return Scripted("  Beware. \n" if text == texts[0] else "Beware! " * 1000)

    pq.write_table(pa.table({"id": ["a", "b", "c"], "text": texts}), tmp_path / "in.parquet")
    with EndpointServer(reply) as server:
        more = f', by: endpoint, base_url: "{server.url}", model: miller, key_variable: null, backoff: 0, attempts: 2'
        run(RUN.format(root=tmp_path, more=more))
        assert server.texts().count(texts[2]) == 2
    (row,) = rows_of(tmp_path / "out")
    assert row["text"] == "Beware.\n\nOne text." and row["content_warning"] == "Beware."
    ledger = {row["id"]: row for row in rows_of(tmp_path / "out", "ledger")}
    assert [ledger[name]["rule"] for name in "abc"] == ["warned_by_model", "endpoint_refused", "answer_not_understood"]
    assert ledger["a"]["witness"].startswith("answer:") and "8000 bytes" not in ledger["a"]["witness"]
    assert "a warning of 7999 bytes" in ledger["c"]["witness"]


def test_a_model_may_dispute_that_a_text_needs_a_warning(tmp_path: Path) -> None:
    said = {
        "One text.": '{"verdict": "warning", "text": " Beware. "}',
        "A report.": '{"verdict": "misclassified", "justification": "It reports an insult."}',
        "A puzzle.": "Beware.",
        "A sermon.": json.dumps({"verdict": "warning", "text": "Beware! " * 1000}),
    }
    pq.write_table(pa.table({"id": list(said), "text": list(said)}), tmp_path / "in.parquet")
    config = RUN.format(
        root=tmp_path, more=", by: endpoint, dispute: true, base_url: {url}, model: m, key_variable: null"
    )
    config = config.replace("outputs:", "outputs:\n  spared: {{from: warning.misclassified, path: {root}/spared}}")
    with EndpointServer(lambda text, before: Scripted(said[text])) as server:
        run(
            config.replace("{url}", f'"{server.url}"')
            .replace("{{", "{")
            .replace("}}", "}")
            .replace("{root}", str(tmp_path))
        )
        assert '"verdict": "misclassified"' in server.seen[0]["messages"][0]["content"]
    (warned,) = rows_of(tmp_path / "out")
    assert (warned["text"], warned["content_warning"]) == ("Beware.\n\nOne text.", "Beware.")
    assert warned["content_warning_justification"] is None
    (spared,) = rows_of(tmp_path / "spared")
    assert (spared["text"], spared["content_warning"]) == ("A report.", None)
    assert spared["content_warning_justification"] == "It reports an insult."
    ledger = {row["id"]: row for row in rows_of(tmp_path / "spared", "ledger")}  # the first output, for both
    assert {name: row["rule"] for name, row in ledger.items()} == {
        "One text.": "warned_by_model",
        "A report.": "misclassified",
        "A puzzle.": "answer_not_understood",
        "A sermon.": "answer_not_understood",
    }
    assert "a warning of 7999 bytes" in ledger["A sermon."]["witness"]


def test_a_model_sees_only_the_beginning_of_a_long_text() -> None:
    with EndpointServer(lambda text, before: Scripted("Beware.")) as server:
        stage = ContentWarning(
            ContentWarningConfig(by="endpoint", base_url=server.url, model="m", key_variable=None, sent_bytes=64)
        )
        made = stage.measure(pa.table({"text": pa.array(["ä" * 1000], pa.large_string())}), StageContext())
        assert server.texts() == ["ä" * 32] and made["content_warning_model"].to_pylist() == ["m-2026"]
    assert beginning("aä", 2) == "a"


def test_a_model_without_an_endpoint_is_refused_before_the_run(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "text": ["A text."]}), tmp_path / "in.parquet")
    with pytest.raises(ConfigError, match="stages.warning: stage content_warning: no `base_url` and no `model`"):
        run(RUN.format(root=tmp_path, more=", by: endpoint"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"default_language": "zul_Latn"}, "there is no template for 'zul_Latn'"),
        ({"templates": {"eng_Latn": " "}}, "templates.eng_Latn: an empty warning"),
        ({"model": "m"}, "set `by: endpoint`"),
        ({"dispute": True}, "only a model can say .* set `by: endpoint`"),
        ({"by": "hand"}, "template"),
    ],
)
def test_wrong_settings_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ContentWarningConfig(**config)
