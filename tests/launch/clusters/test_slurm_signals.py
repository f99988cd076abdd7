"""What the sbatch script does when it is told to stop: it runs as bash, with small programs in Slurm's, Ray's and our place."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gristmill.launch.clusters.slurm_script import SlurmOptions, script

# Some note how they are called. srun runs what comes after its options, and hands TERM on to every process of its step.
_PROGRAMS = {
    "srun": """
        while [[ $1 == --* ]]; do shift; done
        setsid "$@" &
        trap 'kill -TERM -- -$!' TERM
        while kill -0 $! 2>/dev/null; do wait $!; done""",
    "scontrol": 'if [ "$1" = show ]; then echo n1; else echo "scontrol $*" >> "$CALLS"; fi',
    "scancel": 'echo "scancel $*" >> "$CALLS"',
    "squeue": "echo RUNNING",
    "python": """
        case "$*" in
        -c*) [ -z "$SLOW_START" ] || { echo starting >> "$CALLS"; sleep 1; }; echo token ;;
        *free_ports*) echo 127.0.0.1 1 2 ;;
        *ray.scripts*)
            mkdir -p "$RAY_TMPDIR/session"
            trap 'mkdir -p "$RAY_TMPDIR/session/late"; exit' TERM
            while :; do sleep 0.1; done ;;
        *job_start*)
            code=75
            trap '[ -n "$DEAF" ] || exit $code' TERM
            echo driver >> "$CALLS"
            while :; do sleep 0.1; done ;;
        esac""",
}


@dataclass
class Job:
    """A script that runs.

    Attributes:
        calls: where its programs note how they are called.
        scratch: the folder of Ray's files.
    """

    process: subprocess.Popen[str]
    calls: Path
    scratch: Path

    def told(self, number: signal.Signals) -> tuple[int, list[str]]:
        """Sends the signal; the exit code and what was asked of Slurm."""
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode, [line for line in self.calls.read_text().splitlines() if line.startswith("sc")]

    def wait_for(self, line: str) -> None:
        """Until a program has noted that line."""
        give_up = time.monotonic() + 60
        while not self.calls.exists() or line not in self.calls.read_text().splitlines():
            assert time.monotonic() < give_up and self.process.poll() is None, self.process.communicate(timeout=9)
            time.sleep(0.02)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in _PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    text = script(
        "web", ["run"], folder=str(tmp_path), log=str(tmp_path / "log"), python=str(programs / "python"), package="ab" * 32,
        environment=(), options=SlurmOptions(grace=2),
    )  # fmt: skip
    (tmp_path / "script").write_text(text)
    started: list[Job] = []

    def start_one(**variables: str) -> Job:
        number = secrets.token_hex(8)
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), "SLOW_START": "", "DEAF": "",
            "SLURM_JOB_ID": number, "SLURM_JOB_NODELIST": "n1", "SLURM_CPUS_ON_NODE": "2", **variables,
        }  # fmt: skip
        process = subprocess.Popen(
            ["bash", str(tmp_path / "script")], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        started.append(Job(process, tmp_path / "calls", Path(f"/tmp/gristmill-{number}-0")))
        return started[-1]

    yield start_one
    for job in started:
        if job.process.poll() is None:
            os.killpg(job.process.pid, signal.SIGKILL)


def test_cancelled_the_run_and_ray_end_before_slurm_hears_of_it(start: Callable[..., Job]) -> None:
    job = start()
    job.wait_for("driver")
    assert job.told(signal.SIGUSR2) == (75, [f"scancel {job.scratch.name.split('-')[1]}"])
    assert not job.scratch.exists()


def test_cancelled_while_it_starts_it_runs_nothing_for_long(start: Callable[..., Job]) -> None:
    job = start(SLOW_START="yes")
    job.wait_for("starting")
    assert job.told(signal.SIGUSR2) == (75, [f"scancel {job.scratch.name.split('-')[1]}"])
    assert not job.scratch.exists()


def test_a_run_that_does_not_stop_is_killed_and_counts_as_stopped(start: Callable[..., Job]) -> None:
    job = start(DEAF="yes")
    job.wait_for("driver")
    assert job.told(signal.SIGUSR2) == (75, [f"scancel {job.scratch.name.split('-')[1]}"])
    assert not job.scratch.exists()


def test_before_its_time_limit_it_is_queued_again(start: Callable[..., Job]) -> None:
    job = start()
    job.wait_for("driver")
    assert job.told(signal.SIGUSR1) == (75, [f"scontrol requeue {job.scratch.name.split('-')[1]}"])
    assert not job.scratch.exists()


def test_ended_by_slurm_it_still_cleans_up(start: Callable[..., Job]) -> None:
    job = start()
    job.wait_for("driver")
    code, _ = job.told(signal.SIGTERM)
    assert code == 75 and not job.scratch.exists()
