"""Audits of runs with a revocation list: with the list, with another one, without, and of outputs that hold what it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gristmill.pipeline.audit.allowed_sources import allowed_config
from gristmill.pipeline.audit.revoked import runs_of, with_lists
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.planning.revoked import Revoked
from tests.pipeline.audit.conftest import GONE, LISTED, list_files, run
from tests.pipeline.audit.tampering import Output

Listed = tuple[Output, list[str]]


@pytest.fixture(params=["in order", "shuffled"])
def listed(
    request: pytest.FixtureRequest, listed_runs: Path, copied: Callable[[Path], Output], in_process: None
) -> Listed:
    """A copy of the output of either run, and the files of its list."""
    return copied(listed_runs / request.param.replace(" ", "")), list_files(listed_runs)


def with_value(output: Output, name: str, column: str, value: str, row: int = 1) -> None:
    """Writes a value into a row of a file, and mends every digest."""

    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[row] = value
        place = table.column_names.index(column)
        return table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))

    output.rewrite(name, change, consistent=True)
    output.seal(content=[name])


def test_a_clean_output_passes_with_the_list_and_says_so_without(listed: Listed) -> None:
    output, files = listed
    result = output.audit(revoked=files)
    assert result.exit_code == 0 and result["revoked"].status == "pass", result.problems
    assert result["revoked"].looked_at > 100
    alone = output.audit()
    assert alone.exit_code == 0 and alone["revoked"].status == "skipped"
    assert "--revoked" in str(alone["revoked"].skipped)
    assert output.audit(revoked=files, plugins=("toy_stages",)).exit_code == 0


def test_a_shard_with_what_the_list_names(listed: Listed) -> None:
    output, files = listed
    name = output.named("data")[0]
    with_value(output, name, "url", GONE.upper().replace("HTTPS://EXAMPLE.ORG", "http://EXAMPLE.org"))
    result = output.expect("revoked", revoked=files)
    (finding,) = result["revoked"].findings
    assert (finding.file, finding.row) == (name, 1) and "is on the run's revocation list" in finding.message
    assert GONE not in "".join(result.problems), "the audit names nobody"


def test_an_id_counts_in_its_source_alone(listed: Listed) -> None:
    output, files = listed
    kept = {row["id"] for name in output.named("data") for row in output.rows(name).to_pylist()}
    assert "d1-1" in kept and "d0-1" not in kept
    name = output.named("dropped")[0]
    rows = output.rows(name).to_pylist()
    row = next(at for at, one in enumerate(rows) if one["from_task"] == 0)
    with_value(output, name, "id", "d0-1", row)
    result = output.audit(revoked=files)
    assert {(one.file, one.row) for one in result["revoked"].findings} == {(name, row)}


def test_a_ledger_row_that_tells_more_of_a_revoked_document(listed: Listed) -> None:
    output, files = listed
    (name,) = output.named("ledger")
    row = output.rows(name)["rule"].to_pylist().index("revoked")
    with_value(output, name, "id", "somebody", row)
    result = output.audit(revoked=files)
    assert "its row says more than that" in result["revoked"].findings[0].message


def test_another_list_is_not_the_runs(listed: Listed, tmp_path: Path) -> None:
    output, files = listed
    (tmp_path / "other.jsonl").write_text('{"url": "https://example.org/1/6"}\n')
    result = output.audit(revoked=[str(tmp_path / "other.jsonl"), files[1]])
    assert result.failed == {"revoked"} and "are not the run's list: expected" in result["revoked"].findings[0].message
    (tmp_path / "same.jsonl").write_text(f'{{"url": "{GONE}", "id": null}}\n\n')
    assert output.audit(revoked=[str(tmp_path / "same.jsonl"), files[1]]).exit_code == 0
    with pytest.raises(ConfigError, match="found 1 files, but the run's config names 2"):
        output.audit(revoked=files[:1])


def test_no_documents_are_revoked_without_a_list(output: Output) -> None:
    def forged(statement: dict) -> None:  # type: ignore[type-arg]
        rules = statement["predicate"]["accounts"]["nodes"]["a"]["rules"]
        rules["revoked"] = rules.pop("empty_text")

    output.set_manifest(forged)
    result = output.audit()
    assert "the run had no revocation list" in result["revoked"].findings[0].message
    with pytest.raises(ConfigError, match="this run had no revocation list"):
        output.audit(revoked=["list.txt"])


def test_going_back_to_the_input_finds_who_was_left_out_without_being_on_the_list(
    listed_runs: Path, listed: Listed, tmp_path: Path
) -> None:
    output, files = listed
    (tmp_path / "fewer.txt").write_text("# nobody\n")
    result = output.audit(revoked=[files[0], str(tmp_path / "fewer.txt")], plugins=("toy_stages",))
    assert result["revoked"].status == "fail" and result["replay"].status == "unread"
    (listed_runs / "ids.txt").rename(tmp_path / "ids.txt")
    try:
        gone = output.audit(plugins=("toy_stages",))
        assert "ids.txt: it cannot be read" in gone["replay"].findings[0].message
        moved = output.audit(plugins=("toy_stages",), revoked=[files[0], str(tmp_path / "ids.txt")])
        assert moved.exit_code == 0, moved.problems
    finally:
        (tmp_path / "ids.txt").rename(listed_runs / "ids.txt")


@pytest.mark.parametrize(("wrong", "failed"), [(3, {"replay"}), (None, {"revoked", "replay", "text"})])
def test_a_run_that_left_out_another_document_or_nobody(
    wrong: int | None, failed: set[str], listed_runs: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Revoked.documents

    def lying(self: Revoked, source: str, table: pa.Table, payloads: frozenset[str]) -> np.ndarray:
        chosen = honest(self, source, table, payloads)
        return np.zeros_like(chosen) if wrong is None else chosen | (np.arange(len(chosen)) == wrong)

    out = f"lying-{wrong}"
    with monkeypatch.context() as patch:
        patch.setattr(Revoked, "documents", lying)
        run(LISTED.format(root=listed_runs, out=out, shuffle="false"))
    output = Output(listed_runs / out)
    result = output.audit(revoked=list_files(listed_runs), plugins=("toy_stages",))
    assert result.failed == failed, result.problems
    assert output.audit(revoked=list_files(listed_runs)).failed == failed - {"replay", "text"}


def test_lists_of_a_config_lie_below_the_folders_that_are_allowed(tmp_path: Path) -> None:
    config = LISTED.format(root=tmp_path / "here", out="out", shuffle="false")
    assert "list.jsonl" in allowed_config(config, [str(tmp_path / "here")])
    moved = with_lists(config, [str(tmp_path / "x.jsonl"), str(tmp_path / "y.txt")])
    with pytest.raises(ConfigError, match="which is not below"):
        allowed_config(moved, [str(tmp_path / "here")])
    assert allowed_config(moved, [str(tmp_path / "here"), str(tmp_path / "x.jsonl"), str(tmp_path / "y.txt")])
    assert runs_of({0: "a", 1: "a", 2: "b", 3: "a"}) == [(0, "a"), (2, "b"), (3, "a")]
