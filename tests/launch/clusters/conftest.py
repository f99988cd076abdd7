"""A config with data beside it, in an empty folder, and records in a folder of the test's own."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.launch.cli import run_command
from tests.launch.running import Command, Ran

CONFIG = """\
name: web
sources:
  crawl: {format: parquet, paths: ["data/*.parquet"]}
stages:
  toxicity: {}
outputs:
  corpus: {from: toxicity.none, path: /shared/corpus}
discard: [toxicity.toxic, toxicity.mild]
"""


def write_data(folder: Path, files: int = 2, rows: int = 5) -> None:
    (folder / "data").mkdir()
    for file in range(files):
        texts = [f"Document {row} of file {file} talks about the weather." for row in range(rows)]
        pq.write_table(pa.table({"text": texts}), folder / "data" / f"{file}.parquet")


@pytest.fixture
def job_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: web.yaml, and data that it names by a relative path."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "here" / "web.yaml").write_text(CONFIG)
    write_data(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def gristmill(job_folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs one command line in that folder."""

    def run(*arguments: str) -> Ran:
        code = run_command(list(arguments))
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return run
