"""Where `gristmill run` runs tasks: `auto` takes this process for little work, and results are equal wherever they are made."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from gristmill.launch.commands.run import RunOptions, _chosen
from gristmill.launch.commands.run import run as run_config
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.executor.ray import RayExecutor
from gristmill.pipeline.kernel_cache import cache_root
from gristmill.pipeline.running.costs import RAY_SECONDS, core_seconds
from tests.launch.running import Command
from tests.pipeline.toy_runs import GRAPH, PLUGINS, plan_of, shards, write_corpus


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "in")
    path = tmp_path / "toys.yaml"
    path.write_text(GRAPH.format(root=tmp_path))
    return path


def test_little_work_is_done_in_this_process(gristmill: Command, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RayExecutor, "_start", lambda self: pytest.fail("Ray was started"))
    ran = gristmill("run", str(config), "--plugin", "toy_stages")
    assert ran.code == 0, ran.err
    assert re.search(r"starting in this process \(about 0\.\d s of work, less than Ray's start\)", ran.err)


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        ({}, "inline"),
        ({"executor": "inline"}, "inline"),
        ({"executor": "ray"}, "ray"),
        ({"workers": 2}, "ray"),
        ({"address": "auto"}, "ray"),
        ({"executor": "auto", "address": "10.0.0.1:6379"}, "ray"),
    ],
)
def test_arguments_that_speak_of_a_cluster_mean_ray(tmp_path: Path, arguments: dict[str, Any], chosen: str) -> None:
    write_corpus(tmp_path / "in")
    plan = plan_of(GRAPH.format(root=tmp_path))
    assert _chosen(RunOptions("toys.yaml", **arguments), plan)[0] == chosen


def test_work_that_takes_one_process_longer_than_rays_start_goes_to_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "in")
    plan = plan_of(GRAPH.format(root=tmp_path))
    assert 0 < core_seconds(plan) < RAY_SECONDS
    monkeypatch.setattr("gristmill.pipeline.running.costs.RAY_SECONDS", core_seconds(plan) * 0.99)
    chosen, why = _chosen(RunOptions("toys.yaml"), plan)
    assert chosen == "ray"
    assert re.fullmatch(r"Ray on this machine \(about 0\.\d s of work for one core\)", why)


def test_ray_is_given_up_when_the_plan_cannot_be_made(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []

    monkeypatch.setattr(RayExecutor, "_start", lambda self: None)
    monkeypatch.setattr(RayExecutor, "__exit__", lambda self, *exception: ended.append(True))
    for file in (config.parent / "in").iterdir():
        file.write_bytes(b"no parquet")
    with pytest.raises(Exception, match="part-000"):
        run_config(RunOptions(str(config), executor="ray", plugins=("toy_stages",), quiet=True))
    assert ended == [True]


def test_a_wrong_config_is_told_before_ray_has_started_and_ends_it(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_start, ended, at_exit = threading.Event(), threading.Event(), []
    monkeypatch.setattr(RayExecutor, "_start", lambda self: may_start.wait())
    monkeypatch.setattr(RayExecutor, "__exit__", lambda self, *exception: ended.set())
    monkeypatch.setattr("atexit.register", at_exit.append)
    with pytest.raises(ConfigError, match="there is no stage named `length`"):
        run_config(RunOptions(str(config), executor="ray", quiet=True))
    assert not ended.is_set()
    may_start.set()
    (abandon,) = at_exit
    abandon()
    assert ended.is_set()


def test_a_ray_that_does_not_start_is_told_when_it_is_wanted(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: RayExecutor) -> None:
        raise OSError("no room for sockets")

    monkeypatch.setattr(RayExecutor, "_start", fail)
    with pytest.raises(OSError, match="no room for sockets"):
        run_config(RunOptions(str(config), executor="ray", plugins=("toy_stages",), quiet=True))


@pytest.mark.ray
def test_results_are_equal_wherever_they_are_made(gristmill: Command, config: Path, tmp_path: Path) -> None:
    made = {}
    for name in ("auto", "inline", "ray"):
        more = ("--workers", "2") if name == "ray" else ()
        where = tmp_path / name
        text = config.read_text().replace(f"{tmp_path}/out", str(where))
        (tmp_path / f"{name}.yaml").write_text(text)
        ran = gristmill("run", str(tmp_path / f"{name}.yaml"), "--plugin", "toy_stages", "--executor", name, *more)
        assert ran.code == 0, ran.err
        assert ("Ray" in ran.err.splitlines()[1].partition(" (")[0]) == (name == "ray")
        made[name] = {output: shards(where / output) for output in ("corpus", "long")}
    assert made["auto"] == made["inline"] == made["ray"]
    assert made["auto"]["corpus"]


PLUGIN = """
import numpy as np
from numba import njit
import toy_stages


@njit(cache=True)
def doubled(values):
    return values * 2


class Doubling(toy_stages.Length):
    def measure(self, batch, context):
        doubled(np.arange(batch.num_rows))
        return super().measure(batch, context)
"""
TOLD = "compiling kernels, once on this machine: about "


@pytest.mark.parametrize(
    "executor", [("--executor", "inline"), pytest.param(("--executor", "ray", "--workers", "1"), marks=pytest.mark.ray)]
)
def test_compiling_is_told_whenever_it_happens(config: Path, tmp_path: Path, executor: tuple[str, ...]) -> None:
    (tmp_path / "doubling.py").write_text(PLUGIN)
    own = tmp_path / "cache"  # with all kernels that are cached, but for the plug-in's
    own.mkdir()
    for folder in cache_root().iterdir():
        if not folder.name.startswith("doubling-"):
            (own / folder.name).symlink_to(folder)
    config.write_text(config.read_text().replace("length: {", "length: {use: doubling, "))
    for number, told in enumerate([True, False]):
        command = [sys.executable, "-c", "from gristmill.launch.cli import main; main()", "run", str(config)]
        ran = subprocess.run(
            [
                *command,
                "--plugin",
                "toy_stages",
                "--plugin",
                "doubling",
                "--output",
                str(tmp_path / str(number)),
                *executor,
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), PLUGINS]), "NUMBA_CACHE_DIR": str(own)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr.count(TOLD) == told
