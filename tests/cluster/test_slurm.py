"""Runs as jobs of a real Slurm on this machine: submitted, queued again when the allocation ends early, and resumed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.jobs import command, digests, expected, gristmill, job_environment, tasks_done, until, write_job
from tests.cluster.local_slurm import LocalSlurm, slurm_running

pytestmark = pytest.mark.cluster

SUBMIT = ("submit", "slow.yaml", "--on", "slurm", "--plugin", "slow_stages", "--output", "out", "--nodes", "2",
          "--sbatch", "cpus-per-task=2", "--name", "slow")  # fmt: skip
TEST_SECONDS = 400


@pytest.fixture(scope="module")
def slurm() -> Iterator[LocalSlurm]:
    with slurm_running() as running:
        yield running


@pytest.fixture(autouse=True)
def in_time(slurm: LocalSlurm) -> Iterator[None]:
    """Fails a test that takes too long, wherever it waits."""

    def late(*_: object) -> None:
        raise AssertionError(f"the test took more than {TEST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(TEST_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job's folder whose name a shell and sbatch could misread."""
    made = tmp_path / 'it\'s "my" 100% $(touch pwned) job'
    made.mkdir()
    return made


def state(slurm: LocalSlurm, folder: Path, run: str = "slow") -> dict[str, Any]:
    said = gristmill("status", run, "--json", folder=folder, check=None, **slurm.environment)
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def log(folder: Path) -> str:
    file = folder / "gristmill-slow.log"
    return file.read_text(errors="replace") if file.exists() else ""


def restarts(folder: Path) -> list[str]:
    return re.findall(r"^gristmill: slow begins as job \d+ on n\[1-2\], restart (\d+)$", log(folder), re.MULTILINE)


def codes(folder: Path) -> list[str]:
    return re.findall(r"^gristmill: slow ended with exit code (\d+)$", log(folder), re.MULTILINE)


def assert_nothing_is_left(folder: Path, job: str) -> None:
    """No process of Ray's and no scratch folder of the job remain, and nothing in the folder was taken for a command."""

    def remains() -> list[str]:
        found = [str(path) for path in Path("/tmp").glob(f"gristmill-{job}-*")]
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            found += [line] if f"/tmp/gristmill-{job}-" in line else []
        return found

    until(lambda: not remains(), 120, f"the job left {remains()}")
    assert not list(folder.parent.rglob("pwned"))


def test_a_run_that_is_told_to_stop_is_queued_again_and_comes_to_equal_bytes(slurm: LocalSlurm, folder: Path) -> None:
    write_job(folder, seconds=1.0)
    wanted = expected(folder)
    said = gristmill(*SUBMIT, folder=folder, **slurm.environment).stdout
    assert said.startswith("submitted slow (slow.yaml on slurm, job ")
    job = str(state(slurm, folder)["job"])
    until(lambda: tasks_done(state(slurm, folder)) > 2, 120, "no task is done")
    # What Slurm sends before a time limit, by --signal=B:USR1@…: USR1 to the script alone.
    slurm.ask("scancel", "--batch", "--signal=USR1", job)
    until(lambda: codes(folder) == ["75"], 120, log(folder))
    done = gristmill("logs", "slow", "--follow", folder=folder, **slurm.environment)
    assert done.stdout.endswith("slow: done\n"), done.stdout
    assert restarts(folder) == ["0", "1"] and codes(folder) == ["75", "0"], log(folder)
    assert "tasks were there from an interrupted attempt" in done.stdout, done.stdout
    assert digests(folder / "out") == wanted
    assert state(slurm, folder)["state"] == "done"
    assert_nothing_is_left(folder, job)


def test_an_allocation_that_is_taken_away_comes_back(slurm: LocalSlurm, folder: Path) -> None:
    """As by preemption or by an administrator: Slurm itself ends the job and queues it again."""
    write_job(folder, seconds=1.0)
    wanted = expected(folder)
    gristmill(*SUBMIT, folder=folder, **slurm.environment)
    job = str(state(slurm, folder)["job"])
    until(lambda: tasks_done(state(slurm, folder)) > 2, 120, "no task is done")
    slurm.ask("scontrol", "requeue", job)
    done = gristmill("logs", "slow", "--follow", folder=folder, **slurm.environment)
    assert restarts(folder) == ["0", "1"] and codes(folder)[-1] == "0", done.stdout
    assert digests(folder / "out") == wanted
    assert_nothing_is_left(folder, job)


def test_a_time_limit_that_is_too_short_is_met_in_pieces(slurm: LocalSlurm, folder: Path) -> None:
    """The signal before the limit is Slurm's own, up to a minute early: before the first start is done."""
    write_job(folder, seconds=10.0)
    wanted = expected(folder)
    gristmill(*SUBMIT, "--time", "2", "--grace", "60", folder=folder, **slurm.environment)
    job = str(state(slurm, folder)["job"])
    until(lambda: codes(folder) == ["75"], 200, log(folder))
    # What is left need not wait as long: how long a batch takes is no part of what the run is.
    config = folder / "slow.yaml"
    config.write_text(config.read_text().replace("seconds: 10.0", "seconds: 0.0"))
    done = gristmill("logs", "slow", "--follow", folder=folder, check=None, **slurm.environment)
    assert done.returncode == 0, done.stdout
    assert "tasks were there from an interrupted attempt" in done.stdout, done.stdout
    assert len(restarts(folder)) >= 2 and set(codes(folder)[:-1]) == {"75"} and codes(folder)[-1] == "0", done.stdout
    assert digests(folder / "out") == wanted
    assert_nothing_is_left(folder, job)


def test_a_cancelled_run_is_not_queued_again_and_can_be_submitted_again(slurm: LocalSlurm, folder: Path) -> None:
    write_job(folder, seconds=1.0)
    wanted = expected(folder)
    gristmill(*SUBMIT, folder=folder, **slurm.environment)
    first = state(slurm, folder)
    assert first["state"] in ("waiting", "running")
    until(lambda: tasks_done(state(slurm, folder)) > 2, 120, "no task is done")
    # From another machine, which knows the run by its name alone.
    there = job_environment(folder, XDG_STATE_HOME=str(folder / "elsewhere"), **slurm.environment)
    listed = subprocess.run(
        command("status", "--on", "slurm"), cwd="/", env=there, capture_output=True, text=True, check=True
    )
    assert "slow" in listed.stdout
    said = subprocess.run(
        command("cancel", "slow", "--on", "slurm"), cwd="/", env=there, capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith("slow: asked to stop")
    until(lambda: state(slurm, folder)["state"] == "stopped", 120, str(state(slurm, folder)))
    assert restarts(folder) == ["0"]
    assert_nothing_is_left(folder, str(first["job"]))
    again = gristmill(*SUBMIT[:-1], "again", "--follow", folder=folder, **slurm.environment)
    assert again.stdout.endswith("again: done\n")
    assert digests(folder / "out") == wanted


def test_the_runs_exit_code_is_the_clients(slurm: LocalSlurm, folder: Path) -> None:
    write_job(folder, seconds=0.0)
    failing = "expect={slow: {emitted: [0.99, 1.0]}}"
    done = gristmill(*SUBMIT, "--set", failing, "--follow", folder=folder, check=3, **slurm.environment)
    assert "slow: failed: exit code 3; the data stopped the run" in done.stdout
    assert state(slurm, folder)["exit_code"] == 3


def test_a_refused_script_says_what_slurm_says(slurm: LocalSlurm, folder: Path) -> None:
    write_job(folder, seconds=0.0)
    done = gristmill(*SUBMIT, "--sbatch", "partition=nowhere", folder=folder, check=1, **slurm.environment)
    assert "`sbatch` failed with exit code 1" in done.stderr and "invalid partition" in done.stderr
    assert not (folder / "state").exists()


def test_only_named_variables_reach_the_job(slurm: LocalSlurm, folder: Path) -> None:
    write_job(folder, seconds=0.0)
    secrets = {"NAMED_SECRET": "hunter2-named", "OTHER_SECRET": "hunter2-other", "GRISTMILL_SIGNING_KEY": "hunter2-key"}
    gristmill(*SUBMIT, "--env", "NAMED_SECRET", folder=folder, **slurm.environment, **secrets)
    job = str(state(slurm, folder)["job"])

    def environments() -> dict[str, str]:
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                text = (process / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if f"SLURM_JOB_ID={job}\0" in text and "RAY_AUTH_TOKEN=" in text:
                found[process.name] = text
        return found

    until(environments, 120, log(folder))
    for text in environments().values():
        assert "hunter2-named" in text and "hunter2-other" not in text and "hunter2-key" not in text
    gristmill("logs", "slow", "--follow", folder=folder, **slurm.environment)
    token = re.search(r"RAY_AUTH_TOKEN=([0-9a-f]{64})", text)
    assert token is not None
    for file in [*folder.glob("gristmill-slow.*"), *(folder / "state").rglob("*.json")]:
        content = file.read_text(errors="replace")
        assert "hunter2" not in content and token[1] not in content, file
    assert "hunter2" not in slurm.ask("scontrol", "show", "job", job)
    assert os.environ.get("NAMED_SECRET") is None
