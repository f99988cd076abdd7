"""docs/writing-a-stage.md does what it says: its files are written, its commands run, and their output is as it is printed.

A fenced block whose first line names a file is that file; `diff` blocks change it for the commands that follow. In the
output of a command, `…` stands for any text, lines included.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gristmill.launch.cli import run_command

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/writing-a-stage.md"
SCRIPTS = Path(sys.executable).parent
WIDTH = "120"
ENVIRONMENT = {**os.environ, "PYTHONPATH": f".{os.pathsep}site", "COLUMNS": WIDTH, "PYTHONDONTWRITEBYTECODE": "1"}
PIP = "-m pip --disable-pip-version-check install --no-deps --no-build-isolation --no-index --quiet --target site ."


def blocks() -> list[tuple[str, str, str]]:
    """(language, file name or nothing, body) of each fenced block."""
    return re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def sessions(body: str) -> list[tuple[str, str]]:
    """(command, what it prints) of each command of a console block."""
    parts = re.split(r"^\$ (.*)\n", body, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def run(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What a command prints: on stdout, and on stderr and stdout together."""
    words = shlex.split(command)
    if words[0] == "gristmill" and not (folder / "site").exists():
        for path in folder.glob("*.py"):  # they may have changed
            sys.modules.pop(path.stem, None)
        importlib.invalidate_caches()
        run_command(words[1:])
        printed = capsys.readouterr()
        return printed.out, printed.err + printed.out
    if words[0] == "pip":
        words = [sys.executable, *PIP.split()]
    else:
        words[0] = sys.executable if words[0] == "python" else str(SCRIPTS / words[0])
    ran = subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    return ran.stdout, ran.stderr + ran.stdout


def plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def is_as_printed(expected: str, printed: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in plain(expected).split("…"))
    return re.fullmatch(pattern, plain(printed), re.DOTALL) is not None


def changed(text: str, diff: str) -> str:
    lines = diff.splitlines()
    old = "\n".join(line[1:] for line in lines if line.startswith("-"))
    new = "\n".join(line[1:] for line in lines if line.startswith("+"))
    assert text.count(old) == 1, f"{old!r} stands in the file {text.count(old)} times"
    return text.replace(old, new)


def test_the_page_works_from_its_first_line_to_its_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", WIDTH)
    # Where the repository's root is on the path, its folders have the old names of the packages.
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(entry for entry in sys.path if Path(entry).resolve() != ROOT)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    files: dict[str, str] = {}
    ran = 0
    for language, name, body in blocks():
        if language == "console":
            for command, expected in sessions(body):
                found = run(command, tmp_path, capsys)
                assert any(is_as_printed(expected, text) for text in found), (
                    f"$ {command}\n{found[1]}\n--- the page has\n{expected}"
                )
                ran += 1
            for changed_name, text in files.items():
                (tmp_path / changed_name).write_text(text, encoding="utf-8")
        elif language == "diff":
            (tmp_path / name).write_text(changed(files[name], body), encoding="utf-8")
        else:
            assert name, f"a block without a file name: {body}"
            files[name] = body
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(body, encoding="utf-8")
    assert ran > 15
    for name in files:
        sys.modules.pop(Path(name).stem, None)


@pytest.mark.parametrize(("expected", "same"), [("a\n…\nd", True), ("a\nb", False), ("…c\nd", True), ("b…", False)])
def test_what_is_printed_is_compared_in_full(expected: str, same: bool) -> None:
    assert is_as_printed(expected, "a  \nb\nc\nd\n") is same


def test_a_filter_of_ones_own_is_about_fifteen_lines() -> None:
    (source,) = [body for language, name, body in blocks() if (language, name) == ("python", "line_filter.py")]
    stage = source[source.index("class MaxLines(Stage)") :]
    assert len([line for line in stage.splitlines() if line.strip()]) <= 15
