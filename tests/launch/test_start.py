"""The command begins with a reading process, where one is needed, that does not know the signing key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gristmill.launch import cli, start
from gristmill.pipeline import reader_process
from gristmill.pipeline.key_variable import KEY_VARIABLE, key_from_environment

MODULE = start.READERS["explain"]


def begun_by(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, str] | None:
    """The environment of the reading process that is there when the command line begins; None when there is none."""
    found: list[dict[str, str] | None] = []

    def main() -> None:
        process = reader_process.shared_reader(MODULE)._process
        text = ""
        while process is not None and not text and process.poll() is None:  # it is empty until the program is loaded
            text = Path(f"/proc/{process.pid}/environ").read_bytes().decode()
        found.append(None if process is None else dict(item.split("=", 1) for item in text.split("\0") if item))

    monkeypatch.setattr(reader_process, "_shared", {})
    monkeypatch.setattr(cli, "main", main)
    monkeypatch.setattr(sys, "argv", ["gristmill", *arguments])
    try:
        start.main()
    finally:
        reader_process.shared_reader(MODULE).end()
    return found[0]


def test_explain_has_its_reader_load_at_once_and_without_the_signing_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    environment = begun_by(monkeypatch, "explain", "out", "page-1")
    assert environment is not None and "PATH" in environment
    assert KEY_VARIABLE not in environment
    assert key_from_environment() == "secret"


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["explain", "--help"], ["audit", "--help"], ["run", "quickstart"]]
)
def test_other_commands_and_help_start_no_process(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    assert begun_by(monkeypatch, *arguments) is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is forked")
@pytest.mark.parametrize(
    ("arguments", "module"), [(["audit", "out", "--full"], "rows"), (["audit", "out", "--sources"], "sources")]
)
def test_audit_forks_its_readers_from_what_it_has_loaded_itself(arguments: list[str], module: str) -> None:
    code = (
        "import os, sys\nfrom gristmill.launch import cli, start\nfrom gristmill.pipeline.reader_template import *\n"
        "def main():\n    from gristmill.pipeline.audit.run import READERS\n"
        f"    with template_for(READERS[{module!r}], several=False) as made, made.fork().stdin: print(made._child.wait)\n"
        f"cli.main = main\nsys.argv = ['gristmill', *{arguments!r}]\nstart.main()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "_Here.wait" in ran.stdout
