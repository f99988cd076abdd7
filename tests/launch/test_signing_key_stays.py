"""The signing key stays with the driver: no process of a run has it in its environment, and nothing that is kept or printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.key_variable import KEY_VARIABLE
from gristmill.pipeline.provenance.key_files import write_key_pair
from gristmill.pipeline.provenance.signing import SigningKey
from tests.launch.running import Command
from tests.pipeline.toy_runs import PLUGINS
from tests.plugins.environment_stages import MARK
from tests.stages.sources.test_warc import packed, page, record

CONFIG = """
name: keys
sources:
  pages: {{format: warc, paths: ["{root}/pages/"], license: {{spdx: CC0-1.0, stated_by: author}}}}
stages:
  extract: {{}}
  c4: {{use: datatrove, block: datatrove.pipeline.filters.C4QualityFilter, args: {{min_num_sentences: 1}}}}
  environment: {{folder: "{root}/seen"}}
outputs:
  corpus: {{from: environment, path: "{root}/out"}}
"""
PAGE = (
    "<html><body><article>"
    + "<p>A miller keeps the key of his mill in his pocket, day and night.</p>" * 9
    + "</article></body></html>"
)
CHILDREN = ["reader_process", "extraction/parsers.py", "datatrove/block_process.py"]
PROCESSES = {"inline": CHILDREN, "ray": [*CHILDREN, "raylet", "gcs_server", "ray::call"]}
"""What must have been looked at besides the driver, for the test to mean something."""


@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.cluster])])
def test_no_process_of_a_run_has_the_key_in_its_environment_and_nothing_that_is_kept_holds_it(
    tmp_path: Path, executor: str
) -> None:
    for number in range(3):
        (tmp_path / "pages").mkdir(exist_ok=True)
        (tmp_path / "pages" / f"{number}.warc.gz").write_bytes(b"".join(packed([record(number, page(PAGE.encode()))])))
    (tmp_path / "seen").mkdir()
    (tmp_path / "run.yaml").write_text(CONFIG.format(root=tmp_path))
    key = SigningKey.generate()
    secret = key.private_pem().decode().splitlines()[1]
    mark = uuid.uuid4().hex
    path = os.pathsep.join(filter(None, [PLUGINS, os.environ.get("PYTHONPATH")]))
    ran = subprocess.run(
        [sys.executable, "-c", "from gristmill.launch.cli import main; main()", "run", str(tmp_path / "run.yaml"),
         "--plugin", "environment_stages", "--executor", executor, *(["--workers", "2"] if executor == "ray" else [])],
        env={**os.environ, "PYTHONPATH": path, MARK: mark, KEY_VARIABLE: key.private_pem().decode()},
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert f"signed by {key.key_id}" in ran.stdout and secret not in ran.stdout + ran.stderr
    looks = [json.loads(file.read_text()) for file in (tmp_path / "seen").iterdir()]
    processes = {number: process for look in looks for number, process in look["processes"].items()}
    told = [process["command"].replace("\0", " ") for process in processes.values()]
    for wanted in ["run.yaml", *PROCESSES[executor]]:
        assert any(wanted in command for command in told), (wanted, told)
    for look in looks:
        assert KEY_VARIABLE not in look["here"] and secret not in str(look["here"])
    for process in processes.values():
        assert secret not in process["environ"] + process["command"], process["command"]
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes(), file


@pytest.mark.cluster
def test_a_cluster_whose_workers_were_started_with_a_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gristmill.pipeline.executor.ray import RayExecutor
    from tests.cluster.ray_cluster import running

    with running(tmp_path, 1, {KEY_VARIABLE: "/etc/key"}) as cluster:
        for name, value in cluster.environment.items():
            if name != KEY_VARIABLE:
                monkeypatch.setenv(name, value)
        with pytest.raises(ConfigError, match="were started with") as told, RayExecutor(address=cluster.address):
            pass
    assert "/etc/key" not in str(told.value)


@pytest.mark.parametrize("where", ["--key", "nowhere"])
def test_a_key_given_as_an_argument_is_refused_and_not_repeated(gristmill: Command, where: str) -> None:
    pem = SigningKey.generate().private_pem().decode()
    for text in (pem, pem.splitlines()[1]):
        arguments = ("run", "web.yaml", "--key", text) if where == "--key" else ("keys", "show", text)
        ran = gristmill(*arguments)
        assert ran.code == 2 and "an argument is the text of a private key" in ran.err
        assert pem.splitlines()[1][20:] not in ran.out + ran.err


@pytest.mark.parametrize(
    "spoilt", ["{body}", "PRIVATE KEY\n{body}", "-----BEGIN PRIVATE KEY-----\\n{body}\\n", "x{body}"]
)
def test_a_spoilt_key_in_the_environment_is_not_repeated(
    gristmill: Command, monkeypatch: pytest.MonkeyPatch, spoilt: str
) -> None:
    body = SigningKey.generate().private_pem().decode().splitlines()[1]
    monkeypatch.setenv(KEY_VARIABLE, spoilt.format(body=body))
    Path("web.yaml").write_text("name: web\n")
    for flags in ((), ("--debug",)):
        monkeypatch.setenv(KEY_VARIABLE, spoilt.format(body=body))
        ran = gristmill("run", "web.yaml", *flags)
        assert ran.code == 2 and f"${KEY_VARIABLE}" in ran.error
        assert body[20:] not in ran.out + ran.err


def test_a_process_that_holds_a_key_leaves_no_core_dump(tmp_path: Path) -> None:
    write_key_pair(tmp_path / "key")
    code = (
        "import ctypes, sys; from gristmill.pipeline.provenance.key_files import find_signing_key\n"
        "dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)\n"
        "print(dumpable()); find_signing_key(sys.argv[1]); print(dumpable())"
    )
    for environment, argument in (({}, str(tmp_path / "key")), ({KEY_VARIABLE: str(tmp_path / "key")}, None)):
        given = code if argument else code.replace("sys.argv[1]", "None")
        printed = subprocess.run(
            [sys.executable, "-c", given, *filter(None, [argument])],
            env={**os.environ, **environment}, capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        assert printed == ["1", "0"]
