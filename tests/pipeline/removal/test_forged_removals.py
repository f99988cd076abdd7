"""Somebody who deletes rows and calls it a removal: what an audit finds, by how far the deletion was mended."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.provenance.removal import summed
from tests.pipeline.audit.tampering import Output
from tests.pipeline.removal.runs import KEY, STAGES, Web

BACK: dict[str, Any] = {"sources": True, "plugins": STAGES, "removal_keys": [KEY.text], "jobs": 1}


@pytest.fixture(scope="module")
def removed(old: Web, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("removed") / "new"
    old.remove(place, [row["url"] for row in old.documents()[3:6]], near_duplicates=False)
    return place


@pytest.fixture
def version(removed: Path, tmp_path: Path, here: None) -> Output:
    """A copy of a version from which documents were removed, the one that holds the ledger."""
    shutil.copytree(removed, tmp_path / "new")
    return Output(tmp_path / "new/corpus")


def _removal(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], None]:
    def changed(statement: dict[str, Any]) -> None:
        change(statement["predicate"]["removals"][0])

    return changed


def test_as_it_was_written_it_is_clean(version: Output) -> None:
    result = version.audit(**BACK)
    assert result.exit_code == 0, result.problems


def test_a_manifest_without_its_removal(version: Output) -> None:
    version.set_manifest(lambda statement: statement["predicate"].pop("removals"))
    assert {"accounts"} <= version.audit(full=False).failed


def test_a_removal_of_more_documents(version: Output) -> None:
    version.set_manifest(_removal(lambda one: one.update(documents=4)))
    assert {"accounts"} <= version.audit(full=False).failed


def test_a_removal_that_took_documents_from_another_version(version: Output) -> None:
    version.set_manifest(_removal(lambda one: one.update(taken_from={"corpus": "ab" * 32})))
    assert version.audit(full=False).failed == {"sequence"}


def _other_digest(version: Output) -> list[bytes]:
    """Replaces one of the keyed digests; returns all of them."""
    name = version.named("removed")[0]
    table = version.rows(name)
    digests = [b"\xff" * 32, *table["digest"].to_pylist()[1:]]
    column = pa.array(sorted(digests), pa.binary(32))
    version.rewrite(name, lambda rows: rows.set_column(1, rows.schema.field(1), column))
    version.seal(content=[name])
    return digests


def test_a_keyed_digest_of_something_else(version: Output) -> None:
    _other_digest(version)
    assert "ledger" in version.audit(jobs=1).failed


def test_all_mended_but_for_the_key(version: Output) -> None:
    digests = _other_digest(version)
    version.set_manifest(_removal(lambda one: one.update(digests=summed(digests))))
    assert version.audit(jobs=1).failed == set()  # unsigned, nothing else tells it from a removal
    result = version.audit(**BACK)
    assert result.failed == {"ledger"}, result.problems


def test_a_list_of_digests_that_is_gone(version: Output) -> None:
    name = version.named("removed")[0]
    version.path(name).unlink()
    assert "missing" in version.audit(full=False).failed
    version.seal(entries=[entry for entry in version.entries() if entry["path"] != name])
    assert "accounts" in version.audit(full=False).failed
    assert pq.read_metadata(version.path(version.named("ledger")[0])).num_rows
