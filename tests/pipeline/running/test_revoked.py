"""Runs with a revocation list: what is on it reaches no node and leaves nothing but its doc_key."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.audit.explain import DocumentNotFoundError, explain
from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.provenance.statement import read_manifest
from gristmill.pipeline.running.engine import Engine
from gristmill.pipeline.running.reuse import reusable
from gristmill.pipeline.running.sample import take_sample
from tests.pipeline.payload_runs import PAGES, write_pages
from tests.pipeline.toy_runs import plan_of, rows_of, run, shards, write_corpus

GRAPH = """
name: toys
seed: 5
sources:
  s: {{format: parquet, paths: ["{root}/in/*.parquet"]}}
{revoked}
stages:
  length: {{least: 2}}
  same: {{}}
outputs:
  corpus: {{path: "{root}/{out}", dropped: all, kinds: {{lines: {{format: jsonl}}}}}}
"""


def config(root: Path, out: str, revoked: str = "") -> str:
    return GRAPH.format(root=root, out=out, revoked=revoked)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], list[dict[str, Any]]]:
    """(folder, all rows, those that are revoked): a run without a list in `old`, one with it in `new`."""
    root = tmp_path_factory.mktemp("revoked")
    rows = [row for row in write_corpus(root / "in") if row["text"]]
    gone = [rows[3], rows[50], *(row for row in rows if row["url"].startswith("https://example.org/2/3"))]
    gone[0]["text"] = "the only text of its kind"
    tables = [pq.read_table(path) for path in sorted((root / "in").iterdir())]
    first = tables[0].to_pylist()
    next(row for row in first if row["id"] == gone[0]["id"])["text"] = gone[0]["text"]
    pq.write_table(type(tables[0]).from_pylist(first), root / "in/part-000.parquet")
    (root / "digests.txt").write_text(hashlib.sha256(gone[0]["text"].encode()).hexdigest() + "\n")
    (root / "ids.txt").write_text(gone[1]["id"] + "\n")
    (root / "urls.txt").write_text("".join(row["url"].replace("https", "http") + "\n" for row in gone[2:]))
    run(config(root, "old"))
    run(config(root, "new", lists(root)))
    return root, rows, gone


def lists(root: Path) -> str:
    return (
        f'revoked: [{{path: "{root}/digests.txt", kind: sha256}}, {{path: "{root}/ids.txt", kind: id, source: s}}, '
        f'{{path: "{root}/urls.txt", kind: url}}]'
    )


def test_what_is_on_the_list_is_dropped_on_reading_and_nothing_else_is(corpus: Any) -> None:
    root, rows, gone = corpus
    manifest = read_manifest(str(root / "new"))
    assert manifest is not None and manifest.identity.revoked is not None
    assert manifest.identity.revoked.entries == {"sha256": 1, "source_id": 1, "url": len(gone) - 2}
    account = manifest.accounts.nodes["s"]
    assert account.rules["revoked"].first[0] == len(gone) == account.rules["revoked"].any[0]
    assert manifest.accounts.nodes["length"].entered.rows == len(rows) - len(gone)
    told = [row for row in rows_of(root / "new", "ledger") if row["rule"] == "revoked"]
    assert len(told) == len(gone)
    assert {(row["id"], row["url"], row["bytes"], row["witness"], row["decision"]) for row in told} == {
        (None, None, 0, None, "dropped")
    }


def test_the_output_is_that_of_an_input_in_which_their_texts_are_empty(corpus: Any, tmp_path: Path) -> None:
    root, _, gone = corpus
    names = {row["id"] for row in gone}
    (tmp_path / "in").mkdir()
    for path in sorted((root / "in").iterdir()):
        table = pq.read_table(path)
        rows = [{**row, "text": "" if row["id"] in names else row["text"]} for row in table.to_pylist()]
        pq.write_table(type(table).from_pylist(rows), tmp_path / "in" / path.name)
    run(config(tmp_path, "without"))
    assert rows_of(root / "new") == rows_of(tmp_path / "without")

    def told(folder: Path, part: str) -> list[dict[str, Any]]:
        return [row for row in rows_of(folder, part) if row["rule"] not in ("revoked", "empty_text")]

    assert told(root / "new", "dropped") == told(tmp_path / "without", "dropped") != []
    assert told(root / "new", "ledger") == told(tmp_path / "without", "ledger") != []


def test_nothing_of_a_revoked_document_is_kept_anywhere(corpus: Any) -> None:
    root, _, gone = corpus

    def there(folder: Path) -> set[str]:
        values = {
            value
            for part in ("data", "ledger", "dropped")
            for row in rows_of(folder, part)
            for value in row.values()
            if isinstance(value, str)
        }
        return values & {row[name] for row in gone for name in ("id", "url")}

    assert len(there(root / "old")) == 2 * len(gone) and not there(root / "new")
    text = gone[0]["text"].encode()
    lines = {
        folder: b"".join(
            pa.input_stream(str(path), compression="zstd").read() for path in (root / folder).rglob("*.zst")
        )
        for folder in ("old", "new")
    }
    assert text in lines["old"] and lines["new"] and text not in lines["new"]


def test_a_full_audit_beside_the_input_holds_the_list(corpus: Any, in_process: None) -> None:
    root, _, _ = corpus
    result = audit_output(str(root / "new"), full=True, sources=(), plugins=("toy_stages",))
    assert result.exit_code == 0, result.problems


def test_pages_are_found_by_the_bytes_of_the_payload_and_no_later_pass_brings_them_back(
    tmp_path: Path, in_process: None
) -> None:
    pages = [row for row in write_pages(tmp_path / "in") if row["html"] and b"word" in row["html"]]
    digest = hashlib.sha256(pages[0]["html"]).hexdigest()
    same = [row for row in pages if row["html"] == pages[0]["html"]]
    (tmp_path / "list.jsonl").write_text(f'{{"sha256": "{digest}"}}\n{{"url": "{pages[5]["url"]}"}}\n')
    text = PAGES.format(root=tmp_path) + f'revoked: "{tmp_path}/list.jsonl"\n'
    run(text, keep_work=True)
    told = [row for row in rows_of(tmp_path / "out", "ledger") if row["rule"] == "revoked"]
    assert len(told) == len(same) + 1 and {(row["id"], row["url"], row["bytes"]) for row in told} == {(None, None, 0)}
    names = {row["id"] for row in [*same, pages[5]]}
    assert not names & {row["id"] for part in ("data", "ledger", "dropped") for row in rows_of(tmp_path / "out", part)}
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*.arrow")}
    assert kept and not [path for path, data in kept.items() if pages[5]["url"].encode() in data]
    result = audit_output(str(tmp_path / "out"), full=True, sources=(), plugins=("toy_stages",))
    assert result.exit_code == 0, result.problems


def test_a_run_without_a_list_has_the_identity_that_it_had(corpus: Any) -> None:
    root, _, _ = corpus
    plan = plan_of(config(root, "x"))
    assert "revoked" not in plan.identity() and plan.revoked is None
    assert plan_of(config(root, "x", "revoked: []")).key == plan.key
    listed = plan_of(config(root, "x", lists(root)))
    assert listed.key != plan.key and listed.memory_bytes() > plan.memory_bytes()


def test_signals_of_a_run_before_the_takedown_are_reused_and_bring_nobody_back(corpus: Any) -> None:
    root, _, _ = corpus
    plan = plan_of(config(root, "reused", lists(root)))
    found = Engine(plan, InlineExecutor(), reuse=reusable(plan, str(root / "old"))).run()
    assert found.reused_signals["length"] == 3
    assert shards(root / "reused") == shards(root / "new")


def test_a_run_that_stopped_goes_on_with_its_list_and_another_list_begins_again(corpus: Any, tmp_path: Path) -> None:
    root, _, gone = corpus
    shutil.copytree(root / "in", tmp_path / "in")
    for name in ("digests.txt", "ids.txt", "urls.txt"):
        shutil.copy(root / name, tmp_path)
    work = f'\nwork: "{tmp_path}/work"\n'
    first = run(config(tmp_path, "a", lists(tmp_path)) + work, keep_work=True)
    shutil.rmtree(tmp_path / "a")
    again = run(config(tmp_path, "a", lists(tmp_path)) + work, keep_work=True)
    assert first.reused_tasks == 0 < again.reused_tasks and shards(tmp_path / "a") == shards(root / "new")
    (tmp_path / "ids.txt").write_text("")
    run(config(tmp_path, "b", lists(tmp_path)) + work)
    manifest = read_manifest(str(tmp_path / "b"))
    assert manifest is not None and manifest.accounts.nodes["s"].rules["revoked"].first[0] == len(gone) - 1


def test_a_sample_shows_nothing_of_them(corpus: Any) -> None:
    root, _, gone = corpus
    found = take_sample(plan_of(config(root, "x", lists(root))), 10_000, 100)
    examples = found.dropped["s", "revoked"].examples
    assert found.dropped["s", "revoked"].documents == len(gone) == len(examples)
    assert not {row["id"] for row in gone} & {one.id for one in examples} and not any(one.text for one in examples)


def test_explain_knows_them_by_their_key_alone(corpus: Any) -> None:
    root, _, gone = corpus
    with pytest.raises(DocumentNotFoundError, match="were on the run's revocation list"):
        explain(str(root / "new"), gone[1]["id"])
    key = next(row["doc_key"].hex() for row in rows_of(root / "new", "ledger") if row["rule"] == "revoked")
    (document,) = explain(str(root / "new"), key).documents
    assert "revoked" in str(document.steps)


def test_notices_tell_where_a_list_finds_nothing(corpus: Any, tmp_path: Path) -> None:
    root, _, _ = corpus
    (tmp_path / "none.txt").write_text("# nothing yet\n")
    (tmp_path / "urls.txt").write_text("https://example.org/1\n")
    (tmp_path / "in").mkdir()
    pq.write_table(pq.read_table(root / "in/part-000.parquet").drop(["url"]), tmp_path / "in/a.parquet")
    revoked = f'revoked: {{path: "{tmp_path}/none.txt", kind: id}}'
    assert any("no entries" in notice for notice in plan_of(config(root, "x", revoked)).graph.notices)
    revoked = f'revoked: {{path: "{tmp_path}/urls.txt", kind: url}}'
    told = plan_of(config(tmp_path, "x", revoked)).graph.notices
    assert "revoked: s has no column `url`, so entries by url find nothing there" in told


@pytest.mark.parametrize(
    ("revoked", "told"),
    [
        ("revoked: 5", "revoked: expected a file, or a map"),
        ("revoked: list.txt", "a text needs `kind`"),
        ("revoked: {path: list.jsonl, kind: url}", "leave `kind` out"),
        ("revoked: [{path: list.txt, kind: host}]", r"revoked\.0\.kind"),
        ("revoked: [{path: list.txt, kind: id, source: t}]", "no source `t`"),
        ("revoked: [{path: list.txt, kinds: id}]", "unknown key"),
        ("revoked: nowhere.jsonl", r"revoked: nowhere\.jsonl: it cannot be read"),
    ],
)
def test_a_config_without_a_proper_list_is_refused(corpus: Any, revoked: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        plan_of(config(corpus[0], "x", revoked))
