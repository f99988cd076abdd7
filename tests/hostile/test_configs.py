"""A config that means harm ends in a message within seconds: no traceback, no hang, nothing of ours called at fault."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gristmill.launch.cli import run_command
from tests.hostile.configs import BASE, QUICK, mutations
from tests.pipeline.toy_runs import write_corpus

SECONDS = 20
"""Wall clock on a busy machine; alone, the slowest takes three."""
VALID = {"stages_250", "diamonds", "many_keys", "many_stars_excluded"}
UNCONDITIONAL = {
    "unknown_remote_work", "work_on_a_web_server", "work_on_a_hub", "unknown_remote_output", "output_on_a_web_server",
}  # fmt: skip
"""Places without writes on a condition, where two runs could write one output."""


@contextmanager
def _no_longer_than(seconds: int) -> Iterator[None]:
    def over(*_: object) -> None:
        raise TimeoutError(f"still busy after {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _planned(name: str, text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    write_corpus(folder / "in", files=1, rows=3)
    config = folder / "config.yaml"
    config.write_text(text.replace("{root}", str(folder)), encoding="utf-8", errors="surrogatepass")
    start = time.monotonic()
    with _no_longer_than(SECONDS):
        code = run_command(["plan", str(config), "--plugin", "toy_stages"])
    told = capsys.readouterr().err
    assert "defect" not in told, f"{name}: {told[:500]}"
    assert "Traceback" not in told
    assert len(told) < 6000, f"{name}: a message of {len(told)} characters"
    assert time.monotonic() - start < SECONDS
    return code, told


@pytest.mark.parametrize("name", QUICK)
def test_refuses(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = _planned(name, QUICK[name], tmp_path, capsys)
    assert code == 0 if name in VALID else code in (2, 3), told
    assert code == 0 or re.match(r"error: \S.*\S", told)
    if name in UNCONDITIONAL:
        key = "outputs.corpus.path" if name.startswith(("output", "unknown_remote_output")) else "work"
        assert code == 2 and f"{key}: `" in told and "where files can be written on a condition" in told, told


@pytest.mark.parametrize("changed", [("work: s3://{0}/work", ""), ("", "s3://{0}/out")], ids=["work", "output"])
def test_a_bucket_is_taken_and_told_when_it_cannot_be_reached(
    changed: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    top, output = (text.format("bucket") for text in changed)
    code, told = _planned(
        "bucket", top + BASE.replace("{root}/out/corpus", output or "{root}/out/corpus"), tmp_path, capsys
    )
    assert code == 1, told  # the config is right: the store is what fails
    assert re.match(r"error: s3://bucket/\S+: .*AWS_ACCESS_KEY_ID", told, re.DOTALL), told


@pytest.mark.long
def test_hundreds_of_mutations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in mutations(300):
        folder = tmp_path / name
        folder.mkdir()
        code, told = _planned(name, text, folder, capsys)
        assert code in (0, 2, 3), f"{name}: {code} {told}"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["plan", "x" * 5000], "no path of a file"),
        (["plan", "x" * 5000 + ".yaml"], "no path of a file"),
        (["plan", "{config}", "--plugin", ".."], "no name of a module"),
        (["plan", "{config}", "--plugin", ""], "no name of a module"),
        (["plan", "{config}", "--plugin", "toy_stages "], "no name of a module"),
        (["plan", "{config}", "--set", "a." * 5000 + "b=1"], "keys within each other"),
        (["plan", "{config}", "--set", "seed=" + "9" * 5000], "a number of 5,000 characters"),
        (["plan", "{config}", "--set", "seed=&a [*a]"], "stands within what it names"),
        (["plan", "{config}", "--output", ""], "--output"),
        (["plan", "{config}", "--output", "x" * 5000], "too long"),
        (["keys", "new", ""], "no name of a file"),
        (["keys", "new", "/"], "no name of a file"),
        (["keys", "new", "x" * 5000], "cannot be written"),
        (["keys", "show", "/dev/null"], "key"),
        (["keys", "show", ""], ""),
    ],
)
def test_refuses_arguments(arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_corpus(tmp_path / "in", files=1, rows=3)
    config = tmp_path / "config.yaml"
    text = (
        "name: good\nsources:\n  s: {format: parquet, paths: ['{root}/in']}\n"
        "outputs:\n  corpus: {path: '{root}/out/corpus'}\n"
    )
    config.write_text(text.replace("{root}", str(tmp_path)), encoding="utf-8")
    with _no_longer_than(SECONDS):
        code = run_command([argument.replace("{config}", str(config)) for argument in arguments])
    found = capsys.readouterr().err
    assert code in (1, 2, 3), found
    assert "defect" not in found
    assert told in found
