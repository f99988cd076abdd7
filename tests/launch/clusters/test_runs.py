"""Records of runs: kept for a user, found by name, read with care."""

from __future__ import annotations

from pathlib import Path

import pytest

from gristmill.launch.clusters.runs import NAME, RunFolder, RunRecord, new_name
from gristmill.pipeline.errors import ConfigError


def record(run: str, submitted: str = "2026-11-21T10:00:00Z") -> RunRecord:
    return RunRecord(run=run, on="ray", job=run, address="http://head:8265", outputs=("/out",), submitted=submitted)


def test_records_are_found_by_name_and_listed_latest_first(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "gristmill" / "runs")
    assert folder.all() == []
    assert folder.save(record("one")) is None and folder.save(record("two", "2026-11-22T10:00:00Z")) is None
    assert folder.find("one") == record("one")
    assert [one.run for one in folder.all()] == ["two", "one"]
    with pytest.raises(ConfigError, match="did you mean `two`"):
        folder.find("tw")


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert RunFolder.of_user().path == tmp_path / "gristmill" / "runs"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunFolder.of_user().path == tmp_path / ".local" / "state" / "gristmill" / "runs"


def test_files_that_are_no_records_are_left_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save(record("one"))
    good = (tmp_path / "one.json").read_text()
    (tmp_path / "two.json").write_text(good)  # says that it is another
    (tmp_path / "three.json").write_text("{" * 100_000)
    (tmp_path / "four.json").write_text(good.replace('"on"', '"off"'))
    (tmp_path / "five.json").mkdir()
    (tmp_path / "six.json").symlink_to("/dev/zero")
    assert [one.run for one in folder.all()] == ["one"]
    for name in ("two", "three", "four", "five", "six", "../one", "one.json"):
        with pytest.raises(ConfigError, match="no run of that name"):
            folder.find(name)


def test_a_state_folder_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    problem = RunFolder(tmp_path / "file" / "runs").save(record("one"))
    assert problem is not None and str(tmp_path) in problem


@pytest.mark.parametrize("config", ["web", "Web & more", "42", "-", "ü", "a" * 200, "../../etc", "x\n"])
def test_names_of_runs_can_be_names_everywhere(config: str) -> None:
    name = new_name(config)
    assert NAME.fullmatch(name) and len(name) <= 47
