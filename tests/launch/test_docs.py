"""What the docs tell people to type: the tutorial is run, and every other command is one that the command line takes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
from typer.main import get_command

from gristmill.launch.cli import app
from tests.launch.running import Command

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = {"NAME", "KEY", "CONFIG", "FILE", "FILE…", "FILE...", "CONFIG|FILE…", "DIR", "OUTPUT", "ID", "A", "B"}


def blocks(page: Path) -> Iterator[str]:
    """The lines of a page's code, as they would be typed: continued lines joined."""
    inside = False
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line.startswith("```"):
            inside = not inside
        elif inside or line.startswith("    "):
            yield line.strip()


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each `gristmill …` that a page has in its code."""
    for line in blocks(page):
        found = re.match(r"(?:\$ )?(?:[A-Z_]+=\S+ )*gristmill ([a-z-]+ .*|[a-z-]+)$", line)
        if found:
            lexer = shlex.shlex(found[1], posix=True, punctuation_chars="|&;<>")
            lexer.whitespace_split, lexer.commenters = True, "#"
            words = list(lexer)
            stop = next((at for at, word in enumerate(words) if set(word) <= set("|&;<>")), len(words))
            yield words[:stop]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_one_that_the_command_line_takes(page: Path) -> None:
    group = get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    for words in commands(page):
        with group.make_context("gristmill", list(words)) as context:
            name, command, rest = group.resolve_command(context, list(words))
            assert command is not None, f"{page.name}: gristmill {' '.join(words)}"
            try:
                command.make_context(name, [word for word in rest if word != "…"], parent=context)
            except Exception as error:  # whatever the parser raises, the page is wrong
                pytest.fail(f"{page.name}: gristmill {' '.join(words)}: {error}")


def test_every_make_target_that_the_docs_name_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        named = {target for line in blocks(page) for target in re.findall(r"^(?:\$ )?make ([a-z-]+)", line)}
        assert named <= targets, f"{page.name} names {sorted(named - targets)}"


def test_every_benchmark_that_the_docs_name_is_there() -> None:
    for page in PAGES:
        for module in re.findall(r"python -m (tests\.benchmarks\.\w+)", page.read_text(encoding="utf-8")):
            assert (ROOT / (module.replace(".", "/") + ".py")).is_file(), f"{page.name} names {module}"


def test_the_tutorial_prints_what_it_says(gristmill: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    config = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert config is not None
    (tmp_path / "tutorial.yaml").write_text(config[1], encoding="utf-8")
    assert run_as_shown(gristmill, page) == 9
    assert (tmp_path / "report.html").is_file()


def run_as_shown(gristmill: Command, page: str) -> int:
    """Runs the commands of a page, whose output must have the lines that follow them; returns their number."""
    shown, printed, count = "", [], 0
    for line in "".join(re.findall(r"```console\n(.*?)```", page, re.DOTALL)).splitlines():
        if line.startswith("$ gristmill "):
            extra = ["--executor", "inline"] if " run " in line else []
            ran = gristmill(*shlex.split(line.removeprefix("$ gristmill ")), *extra)
            assert ran.code == 0, f"{line}\n{ran.err}"
            shown, printed, count = line, [" ".join(found.split()) for found in ran.out.splitlines()], count + 1
        else:
            wanted = " ".join(line.split())
            assert any(wanted in found for found in printed), f"after `{shown}`: no line has {wanted!r}\n" + "\n".join(
                printed
            )
    return count


def test_five_commands_take_a_page_out_and_prove_it(
    gristmill: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/takedown.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    config = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert config is not None
    (tmp_path / "pages.yaml").write_text(config[1], encoding="utf-8")
    poem = "My father set his palm against the harbour wall, and the sea was quiet for an hour."
    rows = [
        (f"p{n}", f"example.org/{n}", f"Page {chr(97 + n)} speaks of {'rain ' * n}and of nothing else at all.")
        for n in range(12)
    ]
    rows = [*rows[:3], ("poem", "example.org/poem", poem), *rows[3:], ("copy", "mirror.example/poem", poem)]
    lines = [json.dumps({"id": ident, "url": f"https://{url}", "text": text}) for ident, url, text in rows]
    (tmp_path / "pages.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "takedown.txt").write_text("https://example.org/poem\n")
    assert gristmill("keys", "new", "corpus.key").code == 0
    assert gristmill("run", "pages.yaml", "--executor", "inline", "--key", "corpus.key").code == 0
    assert run_as_shown(gristmill, page) == 5
    new = [path for path in (tmp_path / "out/corpus-2").rglob("*") if path.is_file()]
    for trace in (b"example.org/poem", b"mirror.example", b"harbour wall"):
        stored = [path.read_bytes() for path in new]
        tables = [str(pq.ParquetFile(path).read().to_pylist()).encode() for path in new if path.suffix == ".parquet"]
        assert not any(trace in data for data in [*stored, *tables]), trace
