"""The stage `rewrite`: runs against a real server, what is recorded, resuming, and audits that contact no model."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import ConfigError, DataError, GristmillError
from gristmill.pipeline.stage import DROPPED, QUARANTINED, StageContext
from gristmill.stages.rewriting.replies import Reply, understood
from gristmill.stages.rewriting.rewrite import FORM, PROMPT, Rewrite, RewriteConfig
from tests.endpoint_server import EndpointServer, Scripted
from tests.pipeline.audit.tampering import Output, SameProcess
from tests.pipeline.toy_runs import plan_of, rows_of, run, shards

RUN = """
name: annealing
max_quarantined: 1.0
sources:
  s: {{format: parquet, paths: ["{root}/in/*.parquet"]}}
stages:
  rewrite: {{base_url: "{url}", model: miller, key_variable: null, backoff: 0, max_text_bytes: 60{more}}}
outputs:
  corpus: {{from: rewrite.rewritten, path: "{root}/out/corpus"}}
  spared: {{from: rewrite.misclassified, path: "{root}/out/spared"}}
"""
TEXTS = {
    "bad": "All millers are thieves and liars.",
    "quoted": "The judge read out the insult and fined the man.",
    "odd": "The mill wheel wheel wheel wheel.",
    "down": "Nothing ever comes back from here.",
    "long": "A text that is longer than the sixty bytes that the model may be sent at once.",
}


def rewritten(text: str) -> Scripted:
    return Scripted(json.dumps({"verdict": "rewritten", "text": text}, ensure_ascii=False))


def reply(text: str, before: int) -> Scripted:
    if text == TEXTS["bad"]:
        return rewritten("Some say that millers take more than their share.")
    if text == TEXTS["quoted"]:
        return Scripted('```json\n{"verdict": "misclassified", "justification": "It reports an insult."}\n```')
    return Scripted("I would rather not.") if text == TEXTS["odd"] else Scripted(status=500)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number, (name, text) in enumerate(TEXTS.items()):
        pq.write_table(pa.table({"id": [name], "text": [text]}), tmp_path / "in" / f"{number}.parquet")
    return tmp_path


def config_of(root: Path, server: EndpointServer, **more: Any) -> str:
    written = "".join(f", {name}: {json.dumps(value)}" for name, value in {"attempts": 2, **more}.items())
    return RUN.format(root=root, url=server.url, more=written)


def test_a_run_rewrites_spares_quarantines_and_drops_on_record(corpus: Path) -> None:
    with EndpointServer(reply) as server:
        run(config_of(corpus, server))
        assert server.texts().count(TEXTS["odd"]) == server.texts().count(TEXTS["down"]) == 2
        assert TEXTS["long"] not in server.texts()
        assert server.seen[0]["messages"][0]["content"] == f"{PROMPT}\n\n{FORM}"
    (bad,) = rows_of(corpus / "out/corpus")
    assert bad["id"] == "bad" and bad["synthetic"] is True and bad["rewrite_justification"] is None
    assert bad["text"] == "Some say that millers take more than their share."
    (quoted,) = rows_of(corpus / "out/spared")
    assert quoted["text"] == TEXTS["quoted"] and quoted["synthetic"] is False
    assert quoted["rewrite_justification"] == "It reports an insult."
    ledger = {row["id"]: row for row in rows_of(corpus / "out/corpus", "ledger")}
    assert {name: (row["decision"], row["rule"]) for name, row in ledger.items()} == {
        "bad": ("marked", "rewritten"),
        "quoted": ("emitted", "misclassified"),
        "odd": ("quarantined", "answer_not_understood"),
        "down": ("quarantined", "endpoint_failed"),
        "long": ("dropped", "too_long_to_rewrite"),
    }
    assert (ledger["long"]["value"], ledger["long"]["threshold"]) == (len(TEXTS["long"]), 60)
    assert "I would rather not." in ledger["odd"]["witness"] and "HTTP 500" in ledger["down"]["witness"]


def test_prompt_model_and_answer_are_on_record_and_the_address_is_no_identity(corpus: Path) -> None:
    with EndpointServer(reply) as server:
        run(config_of(corpus, server))
        key = plan_of(config_of(corpus, server)).key
    (row,) = [row for row in rows_of(corpus / "out/corpus", "ledger") if row["id"] == "bad"]
    signals = {one["doc_key"]: one for one in rows_of(corpus / "out/corpus", "signals")}
    said = signals[row["doc_key"]]
    assert row["witness"] == f"answer:{hashlib.sha256(said['rewrite_reply'].encode()).hexdigest()}"
    assert said["rewrite_model"] == "miller-2026"
    manifest = json.loads((corpus / "out/corpus/manifest.json").read_text())["predicate"]
    (node,) = manifest["nodes"]
    assert node["fields"]["signal"]["prompt"] == PROMPT and node["fields"]["signal"]["model"] == "miller"
    assert not {"base_url", "timeout", "cache"} & {*node["fields"]["signal"], *node["fields"]["threshold"]}
    assert any("another run may get other answers" in notice for notice in manifest["notices"])
    with EndpointServer(reply) as elsewhere:
        assert plan_of(config_of(corpus, elsewhere, timeout=9.0)).key == key


def test_an_audit_replays_the_recorded_answers_and_contacts_no_model(corpus: Path) -> None:
    with EndpointServer(reply) as server:
        run(config_of(corpus, server))
    result = audit_output(str(corpus / "out/corpus"), full=True, sources=())  # the endpoint may be long gone
    assert result.exit_code == 0, result.problems
    assert result["replay"].status == "pass" and result["replay"].looked_at == 2 * len(TEXTS)


def test_another_rewrite_than_the_answer_on_record_is_found(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the shard, and in the recorded answer, with every digest made to fit."""
    monkeypatch.setattr("gristmill.pipeline.audit.run.ReaderProcess", SameProcess)
    with EndpointServer(reply) as server:
        run(config_of(corpus, server))
    for role, column in (("data", "text"), ("signals:rewrite", "rewrite_reply")):
        shutil.copytree(corpus / "out/corpus", corpus / f"copy-{column}")
        output = Output(corpus / f"copy-{column}")
        (name,) = output.named(role)

        def forged(table: pa.Table, column: str = column) -> pa.Table:
            index = table.column_names.index(column)
            values = [value and value.replace("more", "less") for value in table[column].to_pylist()]
            return table.set_column(
                index, table.schema.field(column), pa.array(values, table.schema.field(column).type)
            )

        output.rewrite(name, forged, consistent=True)
        output.seal(content=[name])
        # The ledger holds the digest of the answer that the run got.
        result = output.expect("text", *(["replay"] if role != "data" else []), sources=True)
        assert "differs from what the nodes in the ledger produce from its source's" in result.problems[0]


def test_a_stopped_run_goes_on_without_asking_twice(corpus: Path) -> None:
    def failing(text: str, before: int) -> Scripted:
        return Scripted(status=401) if text == TEXTS["down"] and not before else reply(text, before)

    with EndpointServer(failing) as server:
        with pytest.raises(ConfigError, match="refuses the key"):
            run(config_of(corpus, server, concurrency=1))
        assert not (corpus / "out/corpus/manifest.json").exists()
        answered = server.texts()
        run(config_of(corpus, server, concurrency=1))
        for name in ("bad", "quoted"):
            assert answered.count(TEXTS[name]) == server.texts().count(TEXTS[name]) == 1
    assert not (corpus / "out/corpus.work").exists()


def test_equal_answers_give_equal_bytes_and_a_cache_repeats_a_run(corpus: Path) -> None:
    def moody(text: str, before: int) -> Scripted:
        return rewritten(f"A kinder text, number {before}.") if text == TEXTS["bad"] else reply(text, before)

    with EndpointServer(moody) as server:
        options = {"cache": str(corpus / "cache"), "attempts": 1}
        run(config_of(corpus, server, **options), output=str(corpus / "first"))
        run(config_of(corpus, server, **options), output=str(corpus / "second"))
        assert shards(corpus / "first/corpus") == shards(corpus / "second/corpus")
        run(config_of(corpus, server), output=str(corpus / "third"), overrides=["outputs.corpus.signals=none"])
        assert shards(corpus / "first/corpus") != shards(corpus / "third/corpus"), (
            "a model's answers are not reproducible"
        )
    assert audit_output(str(corpus / "third/corpus"), full=True, sources=()).exit_code == 0, "even without signals"


def test_equal_texts_in_different_tasks_get_one_answer(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        pq.write_table(pa.table({"id": [name], "text": [TEXTS["bad"]]}), tmp_path / "in" / f"{name}.parquet")
    with EndpointServer(lambda text, before: rewritten(f"A kinder text, number {before}.")) as server:
        run(config_of(tmp_path, server))
        assert len(server.seen) == 1
    assert {row["text"] for row in rows_of(tmp_path / "out/corpus")} == {"A kinder text, number 0."}


def test_what_got_no_answer_can_be_asked_about_again(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    texts = [f"All millers of the village of number {number} are thieves." for number in range(12)]
    pq.write_table(pa.table({"id": [str(n) for n in range(12)], "text": texts}), tmp_path / "in" / "a.parquet")
    up: list[bool] = []

    def reply(text: str, before: int) -> Scripted:
        return rewritten(f"Kinder: {text}") if up or text == texts[0] else Scripted(status=500)

    with EndpointServer(reply) as server:
        strict = config_of(tmp_path, server, attempts=1).replace("max_quarantined: 1.0", "")
        with pytest.raises(DataError, match="11 records .*rewrite: endpoint_failed 11"):
            run(strict)
        up.append(True)
        run(strict.replace("model: miller", "model: miller, ask_again: 1"))
        assert server.texts().count(texts[0]) == 1
    assert len(rows_of(tmp_path / "out/corpus")) == 12


def test_without_an_endpoint_the_graph_says_so_before_it_runs(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EndpointServer(reply, key="sesame") as server:
        text = config_of(corpus, server)
        with pytest.raises(ConfigError, match="stages.rewrite: stage rewrite: no `model`"):
            run(text.replace("model: miller, ", ""))
        with pytest.raises(
            ConfigError, match="stages.rewrite: stage rewrite: the endpoint .* refuses the key .none was sent"
        ):
            run(text)
        monkeypatch.delenv("MILL_KEY", raising=False)
        with pytest.raises(ConfigError, match="stages.rewrite: stage rewrite: the environment variable MILL_KEY"):
            run(text.replace("key_variable: null", "key_variable: MILL_KEY"))
        assert not server.seen
    with pytest.raises(ConfigError, match="stages.rewrite: stage rewrite: no endpoint answers at"):
        run(text)
    assert not (corpus / "out").exists()


def test_a_spent_budget_is_said_and_nothing_is_published(corpus: Path) -> None:
    with EndpointServer(reply) as server:
        with pytest.raises(GristmillError, match="`budget_requests: 2` is spent"):
            run(config_of(corpus, server, budget_requests=2, concurrency=1))
        assert len(server.seen) == 2
        assert not (corpus / "out/corpus/manifest.json").exists()
        run(config_of(corpus, server, budget_requests=50))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"text": "x"}', "verdict None"),
        ('{"verdict": ["rewritten"], "text": "x"}', "verdict"),
        ('{"verdict": "rewritten", "text": " "}', "without `text`"),
        ('{"verdict": "misclassified", "text": "x"}', "without `justification`"),
        ('{"verdict": "rewritten", "text": "\\ud800"}', "half a surrogate pair"),
    ],
)
def test_answers_that_are_not_what_was_asked_for_are_not_understood(content: str, problem: str) -> None:
    found = understood(content, "rewritten")
    assert isinstance(found, str) and problem in found


def test_answers_are_understood_with_and_without_a_fence() -> None:
    body = '{"verdict": "rewritten", "text": "``` ä"}'
    assert understood(body, "rewritten") == understood(f"```json\n{body}\n```", "rewritten") == Reply(text="``` ä")


def test_a_rewrite_must_differ_and_keep_about_the_length() -> None:
    stage = Rewrite(RewriteConfig(base_url="http://localhost/v1", model="m", length_shares=(0.5, 2.0)))

    def problem(text: str) -> str | None:
        return stage.problem("abcdefgh", json.dumps({"verdict": "rewritten", "text": text}))

    assert problem("hgfedcba") is None
    assert problem(" abcdefgh\n") == "the text came back as it was"
    assert "0.25 times the length; expected 0.5 to 2" in str(problem("ab"))
    assert "2.12 times" in str(problem("a" * 17))
    with pytest.raises(ValidationError, match="two ascending shares"):
        RewriteConfig(length_shares=(2.0, 1.0))


def test_decisions_follow_from_the_answers_alone() -> None:
    stage = Rewrite(RewriteConfig(max_text_bytes=30))
    nothing = pa.nulls(3, pa.string())
    batch = pa.table(
        {
            "text": pa.array(["a text", "a text", "a text that is too long to be sent"], pa.large_string()),
            "rewrite_reply": pa.array(
                ['{"verdict": "rewritten", "text": "b"}', "gibberish", None], pa.large_string()
            ),
            "rewrite_model": nothing, "rewrite_failure": nothing, "rewrite_detail": nothing,
        }
    )  # fmt: skip
    decisions = stage.decide(batch, None, StageContext())
    assert decisions.port.tolist() == [0, QUARANTINED, DROPPED]
    assert decisions.columns["text"].to_pylist() == ["b", None, None]
