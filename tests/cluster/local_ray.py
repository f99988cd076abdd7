"""A Ray cluster of one machine, as somebody else runs it: in environments of its own, without Gristmill, asking for a token."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.local_slurm import free_ports

TOKEN = "5ad1c6c0e4fb4f5f8a3d1d2b9c7e6f10"


def make_environment(folder: Path, without: tuple[str, ...] = ()) -> Path:
    """A virtual environment with this one's packages but Gristmill and some others; returns its interpreter."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    theirs = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True,
            check=True,
        ).stdout.strip()
    )  # fmt: skip
    left_out = ("gristmill", "__editable__", *without)
    ours = Path(next(path for path in sys.path if path.endswith("site-packages")))
    for item in ours.iterdir():
        if not item.name.lower().startswith(left_out):
            (theirs / item.name).symlink_to(item)
    return python


@dataclass
class LocalRay:
    """A running cluster: its dashboard's URL, and the address at which nodes join."""

    dashboard: str
    address: str
    environment: dict[str, str]
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @contextlib.contextmanager
    def node(self, python: Path, folder: Path) -> Iterator[None]:
        """One more node, by another interpreter."""
        process = _start(python, self.environment, folder / "node.out", f"--address={self.address}", "--num-cpus=1")
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


@contextlib.contextmanager
def ray_running(folder: Path) -> Iterator[LocalRay]:
    """Starts a head with a dashboard, and stops it."""
    python = make_environment(folder / "venv")
    port, dashboard, client = free_ports(3)
    # A user's PATH, not ours: `python` is the cluster's own there.
    environment = {
        "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0", "LANG": "C.UTF-8",
        # Kernels that are compiled already: compiling them is not what is tested.
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="ray-") as scratch:
        head = _start(
            python, environment, folder / "head.out", "--head", f"--port={port}", f"--dashboard-port={dashboard}",
            f"--ray-client-server-port={client}", "--num-cpus=2", f"--temp-dir={scratch}",
            "--object-store-memory=100000000",
        )  # fmt: skip
        try:
            yield LocalRay(f"http://127.0.0.1:{dashboard}", f"{_own_address(python)}:{port}", environment)
        finally:
            head.terminate()
            head.wait(60)


def _own_address(python: Path) -> str:
    """The address by which Ray knows this machine."""
    code = "from ray.util import get_node_ip_address; print(get_node_ip_address())"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _start(python: Path, environment: dict[str, str], log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with log.open("w") as out:
        process = subprocess.Popen(
            [python, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats",
             "--dashboard-agent-listen-port=0", *arguments],
            env=environment, cwd=log.parent, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    give_up = time.monotonic() + 120
    while "Ray runtime started" not in log.read_text():
        assert process.poll() is None and time.monotonic() < give_up, log.read_text()
        time.sleep(0.2)
    return process
