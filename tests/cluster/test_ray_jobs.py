"""Runs as Ray Jobs on a real cluster whose environment has no Gristmill: what is needed travels, and the client may go."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.jobs import command, digests, expected, gristmill, job_environment, tasks_done, until, write_job
from tests.cluster.local_ray import TOKEN, LocalRay, make_environment, ray_running

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRay]:
    with ray_running(tmp_path_factory.mktemp("ray")) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "my job"
    made.mkdir()
    return made


def submit(ray: LocalRay, folder: Path, name: str, *more: str) -> list[str]:
    return ["submit", "slow.yaml", "--on", "ray", "--address", ray.dashboard, "--plugin", "slow_stages",
            "--output", str(folder / "it's $(touch pwned) out"), "--name", name, *more]  # fmt: skip


def output(folder: Path) -> Path:
    return folder / "it's $(touch pwned) out"


def state(folder: Path, run: str, *more: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        gristmill("status", run, "--json", *more, folder=folder, check=None, RAY_AUTH_TOKEN=TOKEN).stdout
    )
    return found


def test_a_run_goes_on_without_its_client_and_comes_to_equal_bytes(ray: LocalRay, folder: Path) -> None:
    """The package, a plug-in of two modules and the data travel; the client is killed; another one comes back."""
    write_job(folder, seconds=1.0)
    wanted = expected(folder)
    with subprocess.Popen(
        command(*submit(ray, folder, "slow", "--follow")), cwd=folder, stdout=subprocess.PIPE, text=True,
        env=job_environment(folder, RAY_AUTH_TOKEN=TOKEN),
    ) as client:  # fmt: skip
        assert client.stdout is not None
        seen = next((line for line in client.stdout if "pass 1 of 2" in line), "")
        until(lambda: tasks_done(state(folder, "slow")) > 2, 120, "no task is done")
        client.send_signal(signal.SIGKILL)
    assert seen
    assert state(folder, "slow")["state"] == "running"
    elsewhere = ("--on", "ray", "--address", ray.dashboard)
    (folder / "elsewhere").mkdir()
    environment = {"XDG_STATE_HOME": str(folder / "elsewhere"), "RAY_AUTH_TOKEN": TOKEN}
    listed = gristmill("status", *elsewhere, folder=folder, **environment)
    assert "slow" in listed.stdout
    done = gristmill("logs", "slow", "--follow", *elsewhere, folder=folder, **environment)
    assert done.stdout.endswith("slow: done\n") and "publishing" in done.stdout
    assert digests(output(folder)) == wanted
    found = state(folder, "slow")
    progress = found.pop("progress")
    assert isinstance(progress, dict) and progress["state"] == "done"
    assert found | {"submitted": ""} == {
        "run": "slow", "on": "ray", "job": "slow", "address": ray.dashboard, "config": "slow.yaml", "submitted": "",
        "outputs": [str(output(folder))], "state": "done", "detail": "", "exit_code": 0,
    }  # fmt: skip
    assert gristmill("logs", "slow", "--tail", "1", folder=folder, RAY_AUTH_TOKEN=TOKEN).stdout.startswith(
        "Follow one:"
    )
    assert not list(folder.rglob("pwned"))


def test_a_cancelled_run_goes_on_when_it_is_submitted_again(ray: LocalRay, folder: Path) -> None:
    write_job(folder, seconds=1.0)
    wanted = expected(folder)
    gristmill(*submit(ray, folder, "cancelled"), folder=folder, RAY_AUTH_TOKEN=TOKEN)
    until(lambda: tasks_done(state(folder, "cancelled")) > 2, 120, "no task is done")
    said = gristmill("cancel", "cancelled", folder=folder, RAY_AUTH_TOKEN=TOKEN)
    assert said.stdout.startswith("cancelled: asked to stop")
    until(lambda: state(folder, "cancelled")["state"] == "stopped", 130, str(state(folder, "cancelled")))
    assert "already" in gristmill("cancel", "cancelled", folder=folder, RAY_AUTH_TOKEN=TOKEN).stdout
    again = gristmill(*submit(ray, folder, "again", "--follow"), folder=folder, RAY_AUTH_TOKEN=TOKEN)
    assert "tasks were there from an interrupted attempt" in again.stdout, again.stdout
    assert digests(output(folder)) == wanted


def test_the_runs_exit_code_is_the_clients(ray: LocalRay, folder: Path) -> None:
    write_job(folder, seconds=0.0)
    failing = "expect={slow: {emitted: [0.99, 1.0]}}"
    done = gristmill(
        *submit(ray, folder, "three", "--set", failing, "--follow"), folder=folder, check=3, RAY_AUTH_TOKEN=TOKEN
    )
    assert done.stdout.endswith("three: failed: exit code 3; the data stopped the run\n")


def test_a_node_that_lacks_a_package_is_named_with_it(ray: LocalRay, folder: Path, tmp_path: Path) -> None:
    write_job(folder, seconds=0.0)
    lacking = make_environment(tmp_path / "lacking", without=("numba", "xxhash"))
    with ray.node(lacking, tmp_path):
        done = gristmill(*submit(ray, folder, "lacking", "--follow"), folder=folder, check=2, RAY_AUTH_TOKEN=TOKEN)
    assert "error: this cluster cannot run the job.\n" in done.stdout
    for package, least in (("numba", r">=0\.62"), ("xxhash", r">=3\.4")):
        where = rf"node [0-9.]+ \(.*\) \({re.escape(str(lacking))}\): "
        what = rf"the package {package} is missing \(needed: {package}{least}\)"
        assert re.search(where + what, done.stdout), done.stdout
    assert "Traceback" not in done.stdout and not output(folder).exists()


def test_the_token_is_asked_for_in_words_and_shown_nowhere(ray: LocalRay, folder: Path) -> None:
    write_job(folder, seconds=0.0)
    for environment, words in (
        ({"HOME": str(folder)}, "it asks for a token, and there is none here"),
        ({"RAY_AUTH_TOKEN": TOKEN[::-1]}, "it refuses the token that was found here"),
    ):
        done = gristmill(*submit(ray, folder, "token"), folder=folder, check=1, **environment)
        assert words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
        assert done.stdout == "" and TOKEN[::-1] not in done.stderr
    gristmill(*submit(ray, folder, "token", "--follow"), folder=folder, RAY_AUTH_TOKEN=TOKEN)
    shown = [
        gristmill(*what, folder=folder, RAY_AUTH_TOKEN=TOKEN).stdout
        for what in (("logs", "token"), ("status", "token", "--json"))
    ]
    kept = [file.read_text() for file in (folder / "state").rglob("*.json")]
    assert kept and TOKEN not in "".join(shown + kept)


def test_a_name_that_is_taken_is_refused(ray: LocalRay, folder: Path) -> None:
    write_job(folder, seconds=0.0)
    gristmill(*submit(ray, folder, "taken", "--follow"), folder=folder, RAY_AUTH_TOKEN=TOKEN)
    done = gristmill(*submit(ray, folder, "taken"), folder=folder, check=1, RAY_AUTH_TOKEN=TOKEN)
    assert "taken" in done.stderr and "Traceback" not in done.stderr
