"""A clean output is clean: as written, copied elsewhere, in samples, and in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gristmill.pipeline.audit.result import CHECKS
from gristmill.pipeline.audit.run import BACK, audit_output
from gristmill.pipeline.errors import ConfigError
from tests.pipeline.audit.tampering import Output


@pytest.mark.parametrize("name", ["corpus", "long"])
def test_both_outputs_of_a_run_are_clean(two_outputs: Path, name: str, in_process: None) -> None:
    result = audit_output(str(two_outputs / "out" / name), full=True)
    assert result.exit_code == 0 and result.problems == []
    assert {item.name for item in result.checks if item.status == "pass"} >= {
        check.name
        for check in CHECKS
        if check.name not in ("signature", "sequence", "drift", "revoked", "licences", "removal", *BACK)
    }


def test_copies_before_drops_rejects_and_edited_texts_are_accounted_for(output: Output) -> None:
    result = output.audit()
    assert result.exit_code == 0, result.problems
    accounts = output.manifest()["predicate"]["accounts"]["nodes"]
    assert accounts["again"]["dropped"]["rows"] and accounts["double"]["ports"]["kept"]["rows"]
    assert accounts["again"]["entered"]["rows"] > 0 and accounts["a"]["rules"]["too_large"]["first"][0] == 1
    assert accounts["b"]["quarantined"]["rows"] == 2
    assert len(output.named("data")) > 4


def test_a_copied_output_is_clean_and_a_fast_audit_reads_no_rows(output: Output, tmp_path: Path) -> None:
    moved = tmp_path / "somewhere else" / "öäü"
    moved.parent.mkdir()
    output.folder.rename(moved)
    (moved / ".gitattributes").write_text("*.parquet filter=lfs\n")
    assert audit_output(str(moved), full=True).exit_code == 0
    fast = audit_output(str(moved))
    assert fast.exit_code == 0 and fast.bytes_read == 0
    full_only = [check.name for check in CHECKS if check.full]
    assert fast.verdict() == f"clean as far as read: {len(full_only)} checks need --full."
    assert fast.to_json()["verdict"] == fast.verdict() and fast.to_json()["needs_full"] == full_only
    assert {item.name for item in fast.checks if item.status == "skipped"} > {c.name for c in CHECKS if c.full}


def test_samples_together_read_every_file_once(output: Output) -> None:
    results = [output.audit(full=False, sample=(i, 2)) for i in range(2)]
    assert [result.exit_code for result in results] == [0, 0]
    assert [result.verdict() for result in results] == [
        f"clean as far as read: share {i} of 2 of the files." for i in (1, 2)
    ]
    assert output.audit().verdict() == "clean." and output.audit().to_json()["needs_full"] == []
    total = sum(entry["size"] for entry in output.entries())
    assert sum(result.bytes_read for result in results) == total == output.audit().bytes_read


def test_the_reading_process_gives_the_same_result(wide_run: Path, output: Output) -> None:
    in_child = audit_output(str(wide_run / "out/corpus"), full=True)
    here = output.audit()
    assert in_child.exit_code == 0
    assert [item.to_json() for item in in_child.checks] == [item.to_json() for item in here.checks]


def test_two_audits_of_a_run_on_another_day_agree(
    copied: Callable[[Path], Output], wide_run: Path, in_process: None
) -> None:
    first, second = (copied(wide_run / "out/corpus").audit() for _ in range(2))
    assert [item.to_json() for item in first.checks] == [item.to_json() for item in second.checks]


def test_a_folder_that_is_not_there_and_a_sample_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such folder"):
        audit_output(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"expected \(i, n\)"):
        audit_output(str(tmp_path), sample=(2, 2))


def test_a_folder_that_is_no_output_is_told_what_to_give(two_outputs: Path, output: Output, in_process: None) -> None:
    def said(folder: Path) -> str:
        result = audit_output(str(folder), full=True)
        assert result.exit_code == 10 and len(result.problems) == 1
        return result.problems[0]

    assert "Give the folder that the config names as `path`" in said(two_outputs / "in"), "input"
    below = two_outputs / "out"
    assert f"give {below}/corpus or {below}/long." in said(below)
    assert f"a part of an output: give {below}/corpus." in said(below / "corpus/data")
    output.path("manifest.json").unlink()
    assert "has not finished, or the manifest was removed" in said(output.folder)
    with pytest.raises(ConfigError, match=r"manifest\.json: this is a file\. Give the folder"):
        audit_output(str(below / "corpus/manifest.json"))


def test_codes_and_names_of_checks_are_distinct() -> None:
    assert len({check.code for check in CHECKS}) == len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(10 <= check.code < 126 for check in CHECKS)
    assert [check.code for check in CHECKS] == sorted(check.code for check in CHECKS)
