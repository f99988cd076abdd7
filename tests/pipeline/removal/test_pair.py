"""Audits of a new version beside the old one: what was removed was there, is gone, and all the rest is as it was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.launch.commands.audit import AuditOptions, audit
from gristmill.pipeline.audit.result import AuditResult
from gristmill.pipeline.comparison.compare import compare
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.provenance.removal import REMOVED_ROLE, summed
from tests.pipeline.audit.tampering import Output
from tests.pipeline.removal.runs import CONFIG, KEY, Web, manifest, run
from tests.pipeline.toy_runs import rows_of

Versions = tuple[Web, Path]


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory, old: Web) -> Versions:
    """A run, and new versions of its outputs without three documents and their duplicates."""
    new = tmp_path_factory.mktemp("pair") / "new"
    picked = [row["url"] for row in old.documents()[3:60:20]]
    old.remove(new, picked)
    return old, new


@pytest.fixture
def new(versions: Versions, tmp_path: Path, here: None) -> Output:
    """A copy of the new version of `corpus`, which holds the ledger of both outputs."""
    shutil.copytree(versions[1], tmp_path / "copy")
    return Output(tmp_path / "copy/corpus")


def audited(versions: Versions, output: Output, name: str = "corpus", **options: Any) -> AuditResult:
    previous = str(versions[0].root / "out" / name)
    return output.audit(jobs=1, previous=previous, **{"removal_keys": [KEY.text], **options})


def messages(result: AuditResult) -> str:
    return "\n".join(finding.line() for finding in result["removal"].findings)


@pytest.mark.parametrize("name", ["corpus", "long"])
def test_a_pair_that_a_removal_made_passes_with_its_key_and_without(versions: Versions, name: str, here: None) -> None:
    output = Output(versions[1] / name)
    for keys in ([KEY.text], []):
        result = audited(versions, output, name, removal_keys=keys)
        assert result.exit_code == 0 and result["removal"].status == "pass", result.problems
        assert result["removal"].looked_at > 50
    alone = output.audit(jobs=1)
    assert alone["removal"].status == "skipped" and "--previous" in str(alone["removal"].skipped)


def test_a_row_put_back(versions: Versions, new: Output) -> None:
    kept = {row["doc_key"] for name in new.named("data") for row in new.rows(name).to_pylist()}
    for path in sorted((versions[0].root / "out/corpus/data").iterdir()):
        table = pq.ParquetFile(path).read()
        back = [row for row, key in enumerate(table["doc_key"].to_pylist()) if key not in kept]
        name = f"data/{path.name}"
        if back and name in new.named("data"):
            break
    new.rewrite(name, lambda rows: pa.concat_tables([rows, table.take(back[:1]).cast(rows.schema)]), consistent=True)
    new.seal(content=[name])
    result = audited(versions, new)
    assert "removal" in result.failed
    assert f"document {table['doc_key'][back[0]].as_py().hex()}: was removed, and is here" in messages(result)


def test_one_more_row_deleted(versions: Versions, new: Output) -> None:
    name = new.named("data")[0]
    key = new.rows(name)["doc_key"][0].as_py()
    for path in new.named("data"):  # all copies of it
        new.rewrite(
            path, lambda rows: rows.filter([one != key for one in rows["doc_key"].to_pylist()]), consistent=True
        )
    new.seal(content=new.named("data"))
    result = audited(versions, new)
    assert "removal" in result.failed and "rows of shards, but" in messages(result)


def test_a_text_changed_on_the_way(versions: Versions, new: Output) -> None:
    name = new.named("data")[0]

    def change(rows: pa.Table) -> pa.Table:
        place = rows.column_names.index("text")
        texts = [text.upper() for text in rows["text"].to_pylist()]
        return rows.set_column(place, rows.schema.field(place), pa.array(texts, rows.schema.field(place).type))

    new.rewrite(name, change, consistent=True)
    new.seal(content=[name])
    result = audited(versions, new)
    assert "other rows than in the previous version: `text` differ" in messages(result)


def test_another_digest_in_the_list(versions: Versions, new: Output) -> None:
    name = new.named(REMOVED_ROLE)[0]
    digests: list[bytes] = []

    def change(rows: pa.Table) -> pa.Table:
        place = rows.column_names.index("digest")
        found = [bytes(32), *rows["digest"].to_pylist()[1:]]
        return rows.set_column(place, rows.schema.field(place), pa.array(found, pa.binary(32)))

    new.rewrite(name, change, consistent=True)
    for path in new.named(REMOVED_ROLE):
        digests += new.rows(path)["digest"].to_pylist()
    new.set_manifest(lambda statement: statement["predicate"]["removals"][0].update(digests=summed(digests)))
    new.seal(content=[name])
    assert "removal" not in audited(versions, new, removal_keys=[]).failed, "without the key nobody can tell"
    result = audited(versions, new)
    assert "is gone, and no keyed digest of the last removal is its own" in messages(result)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"documents": 1}, "states 1 documents, but"),
        ({"rows": {"corpus": 0, "long": 0}}, "states 0 rows of shards, but"),
        ({"taken_from": {"corpus": "0" * 64, "long": "0" * 64}}, "which none of the outputs given is"),
        ({"key": "0" * 64}, "none of the keys given is that of the last removal"),
    ],
)
def test_a_forged_record(versions: Versions, new: Output, record: dict[str, Any], told: str) -> None:
    new.set_manifest(lambda statement: statement["predicate"]["removals"][0].update(record))
    result = audited(versions, new)
    assert result["removal"].status in ("fail", "unread") and told in messages(result)
    assert result.exit_code != 0


def test_a_manifest_that_says_something_else_than_before(versions: Versions, new: Output) -> None:
    new.set_manifest(lambda statement: statement["predicate"].update(notices=["all is well"]))
    assert "`notices` is not that of the previous version" in messages(audited(versions, new))


def test_a_previous_version_that_was_changed_itself(versions: Versions, new: Output, tmp_path: Path) -> None:
    shutil.copytree(versions[0].root / "out", tmp_path / "old")
    changed = next((tmp_path / "old/corpus/data").iterdir())
    data = bytearray(changed.read_bytes())
    data[len(data) // 2] ^= 1
    changed.write_bytes(bytes(data))
    result = new.audit(jobs=1, previous=str(tmp_path / "old/corpus"), removal_keys=[KEY.text])
    assert "the previous version's file is not what its manifest lists" in messages(result)


def test_shards_are_those_of_a_run_with_the_documents_on_its_revocation_list(
    versions: Versions, tmp_path: Path
) -> None:
    old, new = versions

    def urls(root: Path) -> set[str]:
        parts = [(name, part) for name in ("corpus", "long") for part in ("data", "ledger")]
        return {row["url"] for name, part in parts for row in rows_of(root / name, part) if row["url"]}

    gone = urls(old.root / "out") - urls(new)
    assert len(gone) == manifest(new / "corpus").removals[0].documents
    shutil.copytree(old.root / "in", tmp_path / "in")
    (tmp_path / "list.txt").write_text("\n".join(sorted(gone)) + "\n")
    run(CONFIG.format(root=tmp_path) + f'revoked: {{path: "{tmp_path}/list.txt", kind: url}}\n')
    for name in ("corpus", "long"):
        theirs = tmp_path / "out" / name
        mine, run_with_it = manifest(new / name).data, manifest(theirs).data
        assert (mine.root, mine.rows, mine.files) == (run_with_it.root, run_with_it.rows, run_with_it.files)
        for part in ("ledger", "notes", "dropped", "signals"):
            rows = [row for row in rows_of(theirs, part) if row.get("rule") != "revoked"]
            assert rows_of(new / name, part) == rows, part


def test_a_removals_key_is_for_an_audit_that_can_use_it(versions: Versions, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY.text)
    options = AuditOptions(str(versions[1] / "corpus"), full=True, removal_keys=[str(tmp_path / "key")])
    with pytest.raises(ConfigError, match="add --full and --sources or --previous"):
        audit(options)


@pytest.mark.parametrize("rows", [False, True])
def test_a_comparison_of_two_versions_is_put_down_to_the_removal(versions: Versions, here: None, rows: bool) -> None:
    old, new = versions
    (one,) = manifest(new / "corpus").removals
    found = compare(str(old.root / "out/corpus"), str(new / "corpus"), rows=rows)
    told = f"{one.documents} documents: {one.reason}"
    assert found["differences"]["removals"] == [{"key": "removals.0", "a": None, "b": told}]
    assert found["differences"]["inputs"] == []
    assert {change["b"]["fate"] for change in found["changes"]} == {"removed"}
    assert all(change["causes"] == ["removals.0"] for change in found["changes"])
    left = sum(change["documents"] for change in found["changes"] if change["kind"] == "left")
    keys = [{row["doc_key"] for row in rows_of(place / "corpus")} for place in (old.root / "out", new)]
    assert left == len(keys[0] - keys[1]) > 0
    if not rows:
        assert sum(change["documents"] for change in found["changes"]) == one.documents
