"""Removals from runs that make, change and multiply texts, that revoke, and that later runs rest on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.provenance.accounts import NodeAccount
from gristmill.pipeline.removal.remove import Removed, Terms, remove_documents
from gristmill.pipeline.removal.selection import Request
from tests.pipeline.audit.conftest import write_wide
from tests.pipeline.payload_runs import PAGES, write_pages
from tests.pipeline.removal.runs import CONFIG, KEY, STAGES, Web, manifest, run
from tests.pipeline.toy_runs import rows_of


def _remove(folder: Path, target: Path, ids: list[str], **options: bool) -> Removed:
    request = Request("ids", tuple(ids), **options)
    return remove_documents([str(folder)], str(target), request, Terms("asked for", KEY, unsigned=True))


def _sound(folder: Path, **options: object) -> None:
    result = audit_output(
        str(folder), full=True, sources=(), plugins=STAGES, jobs=1, removal_keys=[KEY.text], **options
    )
    assert result.exit_code == 0, result.problems


def test_shards_and_counts_are_those_of_a_run_with_the_documents_revoked(old: Web, tmp_path: Path, here: None) -> None:
    urls = sorted(row["url"] for row in old.documents())[5:60:7]
    texts = {row["url"]: row["text"] for row in old.documents()}
    gone = {url for url in texts if texts[url] in {texts[one] for one in urls}}
    done = old.remove(tmp_path / "new", sorted(gone))
    assert done.record.documents == len(gone) and not done.record.answers
    (tmp_path / "gone.txt").write_text("\n".join(gone))
    text = CONFIG.format(root=old.root).replace(f"{old.root}/out", f"{tmp_path}/out")
    run(f'{text}revoked: [{{path: "{tmp_path}/gone.txt", kind: url}}]\n')
    for name in ("corpus", "long"):
        mine, theirs = manifest(tmp_path / "new" / name), manifest(tmp_path / "out" / name)
        assert mine.data.root == theirs.data.root
        assert mine.accounts.outputs == theirs.accounts.outputs
        for node in mine.nodes:
            found, wanted = (replace(one.accounts.nodes[node.name], tallies={}) for one in (mine, theirs))
            assert found == wanted, node.name
        for source in mine.sources:
            found, wanted = (one.accounts.nodes[source] for one in (mine, theirs))
            assert found.kept == wanted.kept and found.quarantined == wanted.quarantined


def test_changed_and_multiplied_texts_oversized_documents_and_branches(tmp_path: Path, here: None) -> None:
    write_wide(tmp_path)
    old = tmp_path / "out/corpus"
    shown = {row["id"] for row in rows_of(old)}
    listed = {(row["node"], row["rule"]): row["id"] for row in rows_of(old, "ledger") if row["id"] is not None}
    ids = sorted({*listed.values(), min(shown), max(shown)})
    done = _remove(old, tmp_path / "new", ids, near_duplicates=False)
    assert done.record.documents == len(ids) and "same" in done.record.answers
    left = {row["id"] for part in ("data", "ledger", "dropped") for row in rows_of(tmp_path / "new", part)}
    assert not left & set(ids) and len(rows_of(tmp_path / "new")) < len(rows_of(old))
    _sound(tmp_path / "new", previous=str(old))


def test_texts_that_a_node_made_and_sizes_that_are_on_no_record(tmp_path: Path, here: None) -> None:
    write_pages(tmp_path / "in")
    run(PAGES.format(root=tmp_path))
    kept = next(row["id"] for row in rows_of(tmp_path / "out"))
    lost = next(row["id"] for row in rows_of(tmp_path / "out", "ledger") if row["node"] == "crawl")
    done = _remove(tmp_path / "out", tmp_path / "new", [kept, lost])
    assert done.record.payloads == 1  # how large the page was whose text is in the shard
    before, after = manifest(tmp_path / "out").accounts.nodes, manifest(tmp_path / "new").accounts.nodes
    assert after["crawl"].entered.rows == before["crawl"].entered.rows - 2
    assert after["reader"].ports["kept"].bytes < before["reader"].ports["kept"].bytes
    _sound(tmp_path / "new")


def test_outputs_that_settled_against_this_one_are_named(old: Web, tmp_path: Path, here: None) -> None:
    second = CONFIG.replace("keep_notes: true", 'against: "{old}"').replace("name: web", "name: second")
    write = tmp_path / "in/a"
    write.mkdir(parents=True)
    (write / "new.jsonl").write_text((old.root / "in/a/part-0.jsonl").read_text())
    (tmp_path / "in/b").mkdir()
    (tmp_path / "in/b/new.jsonl").write_text((old.root / "in/b/part-0.jsonl").read_text())
    run(second.format(root=tmp_path, old=old.outputs[0]))
    url = old.documents()[3]["url"]
    assert old.remove(tmp_path / "one", [url]).dependents.found == []
    done = old.remove(tmp_path / "two", [url], later=(str(tmp_path / "out/long"),))
    assert done.dependents.found == [(str(tmp_path / "out/long"), "exact")]


def test_a_source_may_lose_all_of_its_documents(old: Web, tmp_path: Path, here: None) -> None:
    urls = [row["url"] for row in old.documents() if row["url"].startswith("https://a.")]
    old.remove(tmp_path / "new", urls, near_duplicates=False)
    found = manifest(tmp_path / "new/corpus")
    assert found.sources["a"].rows == found.sources["a"].text_bytes == 0
    assert found.accounts.nodes["a"].kept == NodeAccount().kept
    for name in ("corpus", "long"):
        result = audit_output(str(tmp_path / "new" / name), full=True, jobs=1)
        assert result.exit_code == 0, result.problems


REAL = """
name: small
seed: 5
sources:
  web: {{format: small_web, documents: 120, license: {{spdx: CC0-1.0, stated_by: author}}}}
stages:
  language: {{}}
  quality: {{segmenters: none}}
  exact: {{}}
outputs:
  corpus: {{path: "{out}", from: exact}}
"""


def test_what_stages_count_on_the_side_is_as_in_a_run_without_the_documents(tmp_path: Path, here: None) -> None:
    run(REAL.format(out=tmp_path / "out"))
    before = {row["id"] for part in ("data", "ledger") for row in rows_of(tmp_path / "out", part)}
    done = _remove(tmp_path / "out", tmp_path / "new", sorted(before)[::4])
    left = {row["id"] for part in ("data", "ledger") for row in rows_of(tmp_path / "new", part)}
    assert done.record.tallies == done.record.answers == [] and len(before - left) == done.record.documents
    (tmp_path / "gone.txt").write_text("\n".join(before - left))
    run(f'{REAL.format(out=tmp_path / "full")}revoked: [{{path: "{tmp_path}/gone.txt", kind: id}}]\n')
    old, mine, theirs = (manifest(tmp_path / name).accounts for name in ("out", "new", "full"))
    assert mine.nodes["quality"].tallies and mine.nodes["quality"].tallies != old.nodes["quality"].tallies
    for name in ("language", "quality", "exact"):
        assert mine.nodes[name] == theirs.nodes[name], name
    assert mine.outputs == theirs.outputs and mine.shares == theirs.shares
    assert manifest(tmp_path / "new").data.root == manifest(tmp_path / "full").data.root
