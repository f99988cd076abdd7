"""What a user reads about an address: nobody there, a dashboard, a cluster that asks for a token or has other versions."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gristmill.pipeline.errors import GristmillError
from gristmill.pipeline.executor.ray_connection import check_address, connection_failed, find_token
from tests.pipeline.executor.test_ray import ROOT

SECRET = "b7f3a4c9d1e25860b7f3a4c9d1e25860"
CONNECT = (
    "import sys\n"
    "from gristmill.pipeline.errors import GristmillError\n"
    "from gristmill.pipeline.executor.ray import RayExecutor\n"
    "try:\n"
    "    with RayExecutor(1, sys.argv[1]) as executor:\n"
    "        print(list(executor.run(abs, [-3])))\n"
    "except GristmillError as error:\n"
    "    print(error)\n"
)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """The address of a cluster that asks for SECRET."""
    # pytest's folders are too deep for Ray's sockets, whose paths may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="gm-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield from _guarded(Path(folder))


def _guarded(folder: Path) -> Iterator[str]:
    port = free_port()
    log = folder / "out"
    with log.open("w") as out:
        head = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}", "--num-cpus=1",
             "--node-ip-address=127.0.0.1", "--include-dashboard=false", "--object-store-memory=80000000",
             f"--ray-client-server-port={free_port()}", f"--temp-dir={folder}/ray", "--disable-usage-stats"],
            env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": SECRET},
            stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        give_up = time.monotonic() + 90
        while "Ray runtime started" not in log.read_text():
            assert head.poll() is None and time.monotonic() < give_up, log.read_text()
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait(60)


def connect(address: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    return subprocess.run(
        [sys.executable, "-c", CONNECT, address],
        cwd=ROOT, env={**clean, **environment}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.ray
def test_a_cluster_that_asks_for_a_token_is_told_apart_in_one_line(guarded: str, tmp_path: Path) -> None:
    for environment, words in [
        ({}, "a Ray cluster answers there, but it asks for a token, and none was sent"),
        ({"RAY_AUTH_TOKEN": SECRET}, "asks for a token, and none was sent. Set RAY_AUTH_MODE=token"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": SECRET[::-1]}, "but it refuses the token it was sent"),
        ({"RAY_AUTH_MODE": "token", "HOME": str(tmp_path)}, "RAY_AUTH_MODE is `token`, but there is no token"),
    ]:
        begin = time.monotonic()
        done = connect(guarded, **environment)
        assert words in done.stdout and done.stdout.count("\n") == 1, done
        assert done.stderr == "", done
        assert SECRET not in done.stdout and SECRET[::-1] not in done.stdout
        assert time.monotonic() - begin < 15, "Ray's own tries go on for 20 s"


@pytest.mark.ray
def test_the_right_token_connects(guarded: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET + "\n")
    done = connect(guarded, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"))
    assert done.stdout == "[(0, 3)]\n", done


@pytest.mark.parametrize(
    "address, words",
    [
        ("127.0.0.1:1", "--address 127.0.0.1:1: no Ray cluster answers there"),
        ("ray://127.0.0.1:1", "no Ray cluster answers there"),
        ("http://127.0.0.1:8265", "this is the address of a dashboard"),
        ("127.0.0.1:99999", "no Ray cluster answers there"),
        ("ray://me:hunter2@head:10001", "takes no user and no password"),
    ],
)
def test_addresses_that_cannot_be_are_refused_in_words(address: str, words: str) -> None:
    with pytest.raises(GristmillError, match=re.escape(words)) as caught:
        check_address(address)
    assert "hunter2" not in str(caught.value)


def test_other_versions_are_no_missing_cluster() -> None:
    ray_says = RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.9.18")
    message = str(connection_failed("head:6379", ray_says))
    assert "runs other versions than this process, which has Ray" in message
    assert "Ray: 2.9.0 Python: 3.9.18" in message and "no Ray cluster" not in message


def test_the_token_is_looked_for_where_ray_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("from home\n")
    assert find_token() == "from home"
    (tmp_path / "file").write_text("from file")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "file"))
    assert find_token() == "from file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "from variable")
    assert find_token() == "from variable"
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "missing"))
    assert find_token() is None
