"""A Parquet file that makes Arrow abort ends no driver: it is refused by name, in every command that reads it."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.launch.cli import run_command
from gristmill.pipeline.reader_process import ReaderProcess, shared_reader

CONFIG = """
sources:
  s: {{format: {format}, paths: [{paths}]}}
outputs:
  corpus: {{path: "{root}/out"}}
"""
COMMANDS = {
    "plan": ["plan", "{config}"],
    "run": ["run", "{config}", "--executor", "inline", "--quiet"],
    "sample": ["sample", "{config}"],
}


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    code = run_command([*arguments])
    told = capsys.readouterr().err
    assert code == 3, told
    assert "defect" not in told
    return told


def aborting_footer() -> bytes:
    """A file on whose footer pyarrow 25 aborts: the byte that says how many values a histogram has is another."""
    buffer = io.BytesIO()
    table = pa.table({"id": ["a", "b"], "text": ["hello world"] * 2, "x": pa.array([[1], None])})
    pq.write_table(table, buffer)
    return buffer.getvalue()


def test_no_byte_of_a_footer_ends_the_driver(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = aborting_footer()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    (tmp_path / "in").mkdir()
    crashes = 0
    # The first bytes of the footer's first column have ended pyarrow; where another version is sound, it says so itself.
    for place in range(start + 4, start + 60, 2):
        damaged = bytearray(data)
        damaged[place] = 0
        (tmp_path / "in/damaged.parquet").write_bytes(damaged)
        code = run_command(["init", str(tmp_path / "in/damaged.parquet"), "--output", str(tmp_path / f"{place}.yaml")])
        told = capsys.readouterr().err
        assert "defect" not in told
        # 2: the damage gave a column a name that no config can hold.
        assert code in (0, 2) or (code == 3 and "damaged.parquet" in told)
        crashes += "SIGABRT" in told
    assert crashes


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("ending", ["slices", "read"])
def test_a_file_that_aborts_is_named(
    command: str, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG.format(format="crashing", paths=f"sound, deadly.{ending}", root=tmp_path))
    arguments = [argument.format(config=config) for argument in COMMANDS[command]]
    if command == "plan" and ending == "read":
        assert run_command([*arguments, "--plugin", "crashing_sources"]) == 0
        return
    told = refused([*arguments, "--plugin", "crashing_sources"], capsys)
    first = "sound" if ending == "read" else f"deadly.{ending}"  # every file of that source ends its reader
    aside = command == "run" and ending == "read"  # slices are read by tasks, which are set aside each by itself
    assert told.startswith("error: pass 1 of 1: 2 of 2 tasks set aside. " if aside else f"error: {first}: ")
    for file in ("sound", "deadly.read") if aside else (first,):
        assert f"{file}: the file cannot be read: the reader ended with signal 6 (SIGABRT)" in told


def test_a_reading_process_ends_with_its_parent() -> None:
    import subprocess
    import sys
    import time

    script = (
        "import sys; sys.path.append('tests/plugins'); from gristmill.pipeline.reader_process import ReaderProcess\n"
        "r = ReaderProcess('slow_requests'); p = r._started(); print(p.pid, flush=True)\n"
        "r.call('sleep', 60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(1)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"the reading process {child} is still there")


def test_a_reader_is_shared_and_survives_errors() -> None:
    reader = shared_reader("gristmill.pipeline.planning.foreign_files")
    assert isinstance(reader, ReaderProcess)
    assert reader is shared_reader("gristmill.pipeline.planning.foreign_files")
