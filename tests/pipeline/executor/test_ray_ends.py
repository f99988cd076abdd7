"""However a driver on Ray ends, it says so in the right words and code, and nothing that it started outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gristmill.pipeline import lease
from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.executor.ray import RayExecutor
from gristmill.pipeline.executor.ray_guard import descendants, started
from gristmill.pipeline.storage import read_with_etag
from tests.pipeline.toy_runs import PLUGINS, run, shards, write_corpus

pytestmark = [pytest.mark.ray, pytest.mark.cluster]  # some twenty seconds each: `make test-cluster` runs them
ROOT = Path(__file__).parents[3]
CONFIG = """
name: x
sources: {{s: {{format: parquet, paths: ["{root}/in/*.parquet"]}}}}
stages: {{length: {{}}, same: {{}}}}
outputs: {{corpus: {{path: "{out}"}}}}
"""


def started_run(root: Path) -> subprocess.Popen[str]:
    """A run on Ray that has committed something and has much left to do."""
    write_corpus(root / "in", files=300, rows=10)
    (root / "c.yaml").write_text(CONFIG.format(root=root, out=root / "out"))
    command = [sys.executable, "-c", "from gristmill.launch.cli import main; main()", "run", str(root / "c.yaml")]
    process = subprocess.Popen(
        [*command, "--plugin", "toy_stages", "--workers", "1", "-q"],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{PLUGINS}"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 120
    while not list((root / "out.work").rglob("pass-0-*.json")):
        assert process.poll() is None and time.monotonic() < end, process.communicate()[1]
        time.sleep(0.05)
    return process


def assert_all_gone(processes: set[tuple[int, str]], seconds: float) -> None:
    end = time.monotonic() + seconds
    while left := [pid for pid, start in processes if started(pid)[1] == start and not is_zombie(pid)]:
        assert time.monotonic() < end, [Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in left]
        time.sleep(0.2)


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_driver_that_is_stopped_or_killed(tmp_path: Path, number: signal.Signals) -> None:
    process = started_run(tmp_path)
    processes = descendants({(process.pid, started(process.pid)[1])})
    assert len(processes) > 6
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert_all_gone(processes, 10)
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 75, told
        assert told.startswith(f"error: stopped by {number.name}.") and "***" not in told
        folders = {path.parent for path in tmp_path.rglob(f"{lease.NAME}.*")}
        records = [read_with_etag(str(folder / lease.NAME)) for folder in folders]
        assert len(records) == 2 and all(one is not None and json.loads(one[0])["released"] for one in records)
    text = CONFIG.format(root=tmp_path, out=tmp_path / "out")
    assert run(text).reused_tasks >= 1
    run(text, output=str(tmp_path / "whole"))
    assert shards(tmp_path / "out") == shards(tmp_path / "whole")


def test_a_raylet_that_dies_is_told_as_that_and_not_as_a_defect(tmp_path: Path) -> None:
    process = started_run(tmp_path)
    processes = descendants({(process.pid, started(process.pid)[1])})
    raylets = [pid for pid, _ in processes if os.readlink(f"/proc/{pid}/exe").endswith("/raylet")]
    os.kill(raylets[0], signal.SIGKILL)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Ray stopped working in the middle of the run" in told and "defect" not in told
    assert_all_gone(processes, 10)


def test_a_ray_that_cannot_start_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def init(**options: object) -> None:
        raise RuntimeError("Failed to start the GCS server.\nmore lines")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    told = r"Ray could not be started on this machine \(Failed to start the GCS server\.\)\. .* `--executor inline`"
    with pytest.raises(GristmillError, match=told), RayExecutor(workers=1):
        pass
