"""Outputs whose texts a node made from pages: clean as they are, and every change is found; `explain` knows who made them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gristmill.pipeline.audit.explain import explain
from tests.pipeline.audit.tampering import Output
from tests.pipeline.audit.test_changed_texts import edit
from tests.pipeline.payload_runs import PAGES, write_pages
from tests.pipeline.toy_runs import run

PLUGINS = ("toy_stages",)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    write_pages(root / "in", rows=12)
    run(PAGES.format(root=root))
    return root


@pytest.fixture
def output(made: Path, copied: Callable[[Path], Output], in_process: None) -> Output:
    return copied(made / "out")


def test_it_is_clean_as_it_is(output: Output) -> None:
    result = output.audit(plugins=PLUGINS)
    assert result.exit_code == 0, result.problems
    checks = ("source", "text", "replay", "signals", "dropped", "join", "ledger")
    assert {result[name].status for name in checks} == {"pass"}


def test_a_text_that_the_node_does_not_make_of_its_page(output: Output) -> None:
    for name in output.named("data"):
        edit(output, name, "text", lambda n, old: old["text"].replace("word", "sword") + "!")
    result = output.expect("text", plugins=PLUGINS)
    assert "differs from what the nodes in the ledger produce from its source's" in result.problems[0]


def test_a_reason_that_the_page_does_not_give(output: Output) -> None:
    name = next(n for n in output.named("ledger") if "no_page" in output.rows(n)["rule"].to_pylist())
    edit(output, name, "rule", lambda n, old: "empty_text" if old["rule"] == "no_page" else old["rule"])
    edit(output, name, "failed", lambda n, old: ["empty_text"] if old["failed"] == ["no_page"] else old["failed"])
    result = output.audit(plugins=PLUGINS)
    assert "replay" in result.failed and "ledger" in result.failed


def test_a_signal_of_another_document(output: Output) -> None:
    name = output.named("signals:reader")[0]
    assert output.rows(name).column_names == ["doc_key", "tags", "from_task"]  # the text is in the shards alone
    edit(output, name, "doc_key", lambda n, old: b"\x01" * 16 if n == 0 else old["doc_key"])
    output.expect("signals", plugins=PLUGINS)


def test_explain_says_where_the_text_was_made(made: Path) -> None:
    folder = str(made / "out")
    told = "\n".join(explain(folder, "p1").lines())
    assert "the text was made here" in told
    steps = {step.node: step for step in explain(folder, "p1").documents[0].steps}
    assert (steps["crawl"].text, steps["reader"].text, steps["length"].text) == (None, "made", None)
    blank = {step.node: step for step in explain(folder, "p5").documents[0].steps}
    assert (blank["reader"].rule, blank["reader"].text) == ("empty_text", None)


def test_the_manifest_names_who_makes_texts(output: Output) -> None:
    nodes = {node["name"]: node.get("text") for node in output.manifest()["predicate"]["nodes"]}
    assert nodes == {"reader": "made", "same": None, "length": None}
    assert "text" not in next(n for n in output.manifest()["predicate"]["nodes"] if n["name"] == "same")
