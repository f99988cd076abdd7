"""Slurm on this machine: one controller, two nodes of two cores, and MUNGE; all of it in one folder, and gone at the end."""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel", "srun")
_START_SECONDS = 60.0
_END_SECONDS = 30.0

# No cgroups, so that it runs in a container. KillWait: from SIGTERM to SIGKILL when a job is ended. A job that is queued
# again begins only when its credentials have expired, after two minutes by default. Numbers of jobs are in the names of their
# scratch folders, which those of another run of the tests shall not meet.
_CONFIG = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SchedulerParameters=requeue_delay=1,batch_sched_delay=1
KillWait=30
FirstJobId={job}
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2 RealMemory=1000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2 RealMemory=1000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60 State=UP OverTimeLimit=0
"""


@dataclass(frozen=True)
class LocalSlurm:
    """A running Slurm.

    Attributes:
        environment: what its commands need.
    """

    folder: Path
    environment: dict[str, str]

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout


@contextlib.contextmanager
def slurm_running() -> Iterator[LocalSlurm]:
    """Starts Slurm and stops what it started. Fails where a program is missing."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    assert not missing, f"{', '.join(missing)} missing: .ci/install_cluster_packages installs Slurm and MUNGE"
    # A short path: sockets lie there.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    started: list[subprocess.Popen[bytes]] = []
    try:
        yield _start(folder, started)
    finally:
        _end_jobs(folder, started)
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, started: list[subprocess.Popen[bytes]]) -> LocalSlurm:
    controller, first, second = free_ports(3)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    for name in ("state", "spool.n1", "spool.n2"):
        (folder / name).mkdir()
    config = folder / "slurm.conf"
    config.write_text(
        _CONFIG.format(
            host=socket.gethostname().partition(".")[0], user=getpass.getuser(), folder=folder, port=controller,
            first=first, second=second, job=random.randint(1000, 60000),
        )
    )  # fmt: skip
    environment = {"SLURM_CONF": str(config), "PATH": _path()}

    def start(*command: str) -> None:
        with (folder / f"{len(started)}.out").open("w") as out:
            started.append(
                subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=subprocess.STDOUT)
            )

    start(
        "munged", "--force", "--foreground", f"--socket={folder}/munge.socket", f"--key-file={folder}/munge.key",
        f"--pid-file={folder}/munge.pid", f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed",
    )  # fmt: skip
    _until(lambda: (folder / "munge.socket").exists(), folder, started)
    start("slurmctld", "-D", "-f", str(config))
    for node in ("n1", "n2"):
        start("slurmd", "-D", "-N", node, "-f", str(config))
    slurm = LocalSlurm(folder, environment)

    def idle() -> bool:
        done = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%T"], env={**os.environ, **environment}, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout.split() == ["idle", "idle"]

    _until(idle, folder, started)
    return slurm


def _end_jobs(folder: Path, started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Cancels what a failed test left running, which would outlive its Slurm, and gives it time to clean up."""
    if len(started) < 4 or any(process.poll() is not None for process in started):
        return
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}

    def said(*command: str) -> str:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False).stdout

    said("scancel", "--quiet", f"--user={getpass.getuser()}")
    give_up = time.monotonic() + _END_SECONDS
    while said("squeue", "--noheader", "--format=%i").strip() and time.monotonic() < give_up:
        time.sleep(0.5)


def _until(ready: object, folder: Path, started: Sequence[subprocess.Popen[bytes]]) -> None:
    give_up = time.monotonic() + _START_SECONDS
    while not ready():  # type: ignore[operator]
        said = "\n".join(
            file.read_text(errors="replace")[-2000:] for file in [*folder.glob("*.out"), *folder.glob("*.log")]
        )
        assert all(process.poll() is None for process in started), f"a service of Slurm ended: {said}"
        assert time.monotonic() < give_up, f"Slurm did not start: {said}"
        time.sleep(0.2)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()
