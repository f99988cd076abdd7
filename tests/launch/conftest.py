"""Fixtures of the command line's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from gristmill.launch.cli import run_command
from tests.launch.running import Command, Ran


@pytest.fixture
def gristmill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs one command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str) -> Ran:
        code = run_command(list(arguments))
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return run
