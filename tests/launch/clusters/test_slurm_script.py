"""The sbatch script: its text is bash, and hostile names and paths stay what they are."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest

from gristmill.launch.clusters.slurm import _copy, _exit_code
from gristmill.launch.clusters.slurm_script import SlurmOptions, script

HOSTILE = [
    "$(touch pwned)", "`touch pwned`", "a b", "it's", 'say "x"', "back\\slash", "--wrap=evil", "; touch pwned", "100%j", "*",
    "ü\u202e", "# SBATCH", "${HOME}", "&& true", "{restart}", "%%",
]  # fmt: skip


def make(command: list[str], folder: str = "/shared/me", **more: object) -> str:
    given = {
        "log": f"{folder}/log",
        "python": "/venv/bin/python",
        "package": "ab" * 32,
        "environment": (),
        "options": SlurmOptions(),
    }
    return script("web-1", command, folder=folder, **{**given, **more})  # type: ignore[arg-type]


def test_it_is_bash_and_says_what_it_asks_for() -> None:
    text = make(["run", "--", "web.yaml"], options=SlurmOptions(8, "12:00:00", 120, 5, ("partition=cpu", "exclusive")))
    assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=True).stderr == ""
    directives = re.findall(r"^#SBATCH (.*)$", text, re.MULTILINE)
    assert directives == [
        "--job-name=gristmill-web-1", "--nodes=8", "--ntasks-per-node=1", '--chdir="/shared/me"', '--output="/shared/me/log"',
        "--open-mode=append", "--requeue", "--signal=B:USR1@120", "--export=HOME,LANG,LC_ALL,LOGNAME,PATH,TZ,USER",
        "--time=12:00:00", "--partition=cpu", "--exclusive",
    ]  # fmt: skip
    assert '"$restart" -lt 5' in text


def test_a_start_removes_what_earlier_starts_of_its_job_left_and_nothing_else() -> None:
    job = secrets.token_hex(8)
    own = [Path(f"/tmp/gristmill-{job}-{restart}") for restart in (0, 1, 12)]
    other = Path(f"/tmp/gristmill-{job}1-0")
    function = re.search(r"^remove_scratch\(\) \{\n.*?^\}\n", make(["run"]), re.MULTILINE | re.DOTALL)
    assert function is not None
    # srun's part here: the command after its options.
    srun = 'srun() { while [[ $1 == --* ]]; do shift; done; "$@"; }\n'
    try:
        for folder in (*own, other):
            (folder / "session").mkdir(parents=True)
        subprocess.run(
            ["bash", "-uc", f"{srun}{function[0]}nodes=(n1 n2) id={job}; remove_scratch"], check=True, timeout=30
        )
        assert not any(folder.exists() for folder in own) and other.exists()
    finally:
        for folder in (*own, other):
            shutil.rmtree(folder, ignore_errors=True)


def test_hostile_arguments_arrive_as_they_are() -> None:
    text = make([*HOSTILE])
    command = text.split(f"--package={'ab' * 32} -- \\\n", 1)[1].split(" &\n", 1)[0]
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {command.strip()}"], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == HOSTILE
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_folders_stay_within_their_quotes(name: str) -> None:
    folder = f"/shared/{name}"
    text = make(["run"], folder, python=f"{folder}/python")
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    (chdir,) = re.findall(r'^#SBATCH --chdir="((?:[^"\\]|\\.)*)"$', text, re.MULTILINE)
    assert re.sub(r"\\(.)", r"\1", chdir) == folder
    (output,) = re.findall(r'^#SBATCH --output="((?:[^"\\]|\\.)*)"$', text, re.MULTILINE)
    assert re.sub(r"\\(.)", r"\1", output).replace("%%", "%") == f"{folder}/log"
    line = next(line for line in text.splitlines() if line.startswith("python="))
    said = subprocess.run(
        ["bash", "-c", f'{line}; printf %s "$python"'], capture_output=True, check=True
    ).stdout.decode()
    assert said == f"{folder}/python"


def test_variables_travel_by_name() -> None:
    assert "--export=AWS_PROFILE,HOME,LANG," in make(["run"], environment=("AWS_PROFILE", "HOME"))


def test_a_log_is_handed_on_by_whole_lines(tmp_path) -> None:  # type: ignore[no-untyped-def]
    log = tmp_path / "log"
    pieces: list[str] = []
    log.write_bytes("one\ntwö".encode()[:-1])
    position = _copy(str(log), 0, pieces.append)
    assert pieces == ["one\n"] and position == 4
    log.write_bytes("one\ntwö\n\x1b[31mred\n".encode())
    assert _copy(str(log), position, pieces.append) == log.stat().st_size
    assert "".join(pieces) == "one\ntwö\n[31mred\n"


def test_the_exit_code_is_the_last_one_in_the_log(tmp_path) -> None:  # type: ignore[no-untyped-def]
    log = tmp_path / "log"
    assert _exit_code(str(log)) is None
    log.write_text("gristmill: web-1 ended with exit code 75\nmore\ngristmill: web-1 ended with exit code 0\n")
    assert _exit_code(str(log)) == 0
    log.write_text("text that says gristmill: web-1 ended with exit code 0\n")
    assert _exit_code(str(log)) is None
