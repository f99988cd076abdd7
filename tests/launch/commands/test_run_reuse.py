"""`gristmill run --reuse`: what it says of the signals that it took."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.launch.running import Command
from tests.pipeline.running.test_reuse import config
from tests.pipeline.toy_runs import run, write_corpus


def test_the_command_says_what_it_took(gristmill: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "in")
    run(config(tmp_path, "old"))
    (tmp_path / "c.yaml").write_text(config(tmp_path, "new", first=1, unit="words"))
    monkeypatch.chdir(tmp_path)
    arguments = ("run", "c.yaml", "--plugin", "toy_stages", "--executor", "inline", "--reuse", "old/corpus")
    said = gristmill(*arguments).out
    assert "signals from " in said and "old/corpus: first (3 of 3 slices)" in said
    assert "measured here: second, since `unit` is 'characters' there and 'words' here" in said
    shutil.rmtree("new")
    assert json.loads(gristmill(*arguments, "--json").out)["reused_signals"] == {"first": 3}
