"""A Ray cluster of several nodes on this machine, for tests: a head without cores, and nodes that may be killed and added."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gristmill.pipeline.executor.ray_guard import descendants, started

_START = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats",
          "--node-ip-address=127.0.0.1", "--object-store-memory=80000000"]  # fmt: skip


@dataclass
class RayCluster:
    """A head and its nodes, each `ray start --block` with what it has started.

    Attributes:
        folder: for logs; Ray's own lie in a short path, since sockets need one.
        environment: variables of all processes.
    """

    folder: Path
    environment: Mapping[str, str]
    port: int = 0
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _started: int = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start_head(self, temporary: str) -> subprocess.Popen[bytes]:
        self.port, client = free_port(), free_port()
        options = [f"--port={self.port}", "--head", "--num-cpus=0", "--include-dashboard=false"]
        return self._start([*options, f"--ray-client-server-port={client}", f"--temp-dir={temporary}"])

    def add_node(self, **environment: str) -> None:
        """One more node, with one core, and with variables of its own."""
        self.nodes.append(self._start([f"--address={self.address}", "--num-cpus=1"], environment))

    def replace_lost_nodes(self) -> None:
        """Adds a node for each that has ended by itself: without one, tasks would wait for ever."""
        for node in [node for node in self.nodes if node.poll() is not None]:
            self.nodes.remove(node)
            self.add_node()

    def _start(self, options: list[str], environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        self._started += 1
        log = self.folder / f"ray-{self._started}.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                [*_START, *options],
                env={**os.environ, **self.environment, **(environment or {})},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        give_up = time.monotonic() + 120
        while "Ray runtime started" not in log.read_text():
            if process.poll() is not None or time.monotonic() > give_up:
                end(process)
                raise RuntimeError(log.read_text()[-2000:])
            time.sleep(0.2)
        return process

    def workers(self) -> list[int]:
        """Process ids of workers that run a task just now, else of those that wait for one."""
        titles = {pid: title(pid) for node in self.nodes for pid in of(node)}
        # Raylets end with their agents (`ray::DashboardAgent`): those belong to a node, not to a task.
        return [pid for pid in titles if titles[pid].startswith("ray::call")] or [
            pid for pid in titles if titles[pid].startswith("ray::IDLE")
        ]

    def kill_node(self, index: int) -> None:
        """Kills a node's raylet, and what is left of the node; then adds another one."""
        node = self.nodes.pop(index)
        for pid in of(node):
            if title(pid).partition(" ")[0].endswith("/raylet"):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)  # its tasks are lost as on a machine that goes away
        end(node)
        self.add_node()


def free_port() -> int:
    """A port that nobody listens at just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def title(pid: int) -> str:
    """The command line of a process; nothing for one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def of(process: subprocess.Popen[bytes]) -> list[int]:
    """A process and all that it has started, and those have."""
    return [pid for pid, _ in descendants({(process.pid, started(process.pid)[1])})]


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and all that it has started."""
    known = descendants({(process.pid, started(process.pid)[1])})
    for pid, start in known:
        if started(pid)[1] == start:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait(30)


@contextlib.contextmanager
def running(folder: Path, nodes: int, environment: Mapping[str, str]) -> Iterator[RayCluster]:
    """A cluster with so many nodes of one core; it ends with the block."""
    # Recent versions of Ray ask for a token where none is switched off.
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    cluster = RayCluster(folder, {**token, **environment})
    with tempfile.TemporaryDirectory(prefix="gmray", dir="/tmp", ignore_cleanup_errors=True) as temporary:
        head = cluster.start_head(temporary)
        try:
            for _ in range(nodes):
                cluster.add_node()
            yield cluster
        finally:
            for process in (*cluster.nodes, head):
                end(process)
