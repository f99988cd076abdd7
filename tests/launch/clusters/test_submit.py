"""`gristmill submit` before anything leaves this machine: what it refuses, and what `--dry-run` prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launch.running import Command

RAY = ("submit", "web.yaml", "--on", "ray", "--address", "http://head:8265", "--dry-run")
SLURM = ("submit", "web.yaml", "--on", "slurm", "--dry-run")
KUBERNETES = ("submit", "web.yaml", "--on", "kubernetes", "--image", "registry/gristmill:1", "--dry-run")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("submit", "web.yaml"), "Missing option '--on'"),
        ((*RAY, "--output", "out"), "outputs.corpus.path: `out` is a relative path"),
        ((*KUBERNETES, "--output", "out"), "outputs.corpus.path: `out` is a relative path"),
        ((*RAY, "--set", "work=scratch"), "work: `scratch` is a relative path"),
        ((*RAY, "--key", "my.key"), "--key my.key: this is a relative path"),
        ((*RAY, "--previous", "out/before"), "--previous out/before: this is a relative path"),
        ((*RAY, "--set", "stages.toxicty={}"), "did you mean `toxicity`?"),
        ((*RAY, "--env", "AWS_PROFILE"), "--env: this belongs to --on slurm, and does nothing on ray. What travels"),
        ((*KUBERNETES, "--env", "AWS_PROFILE"), "put it into a secret, and give --secret NAME"),
        ((*SLURM, "--env", "TOKEN=hunter2"), "expected the name of an environment variable"),
        ((*SLURM, "--env", "GRISTMILL_SIGNING_KEY"), "a signing key does not travel with a job"),
        ((*SLURM, "--image", "x"), "--image: this belongs to --on kubernetes"),
        ((*SLURM, "--address", "http://head:8265"), "--address: this belongs to --on ray"),
        ((*RAY, "--nodes", "2"), "--nodes: this belongs to --on slurm and --on kubernetes"),
        ((*SLURM, "--name", "Web"), "at most 47 lower-case letters"),
        ((*SLURM, "--name", "-rf"), "at most 47 lower-case letters"),
        ((*SLURM, "--name", "a" * 48), "at most 47 lower-case letters"),
        ((*SLURM, "--name", "../../evil"), "at most 47 lower-case letters"),
        ((*SLURM, "--output", "out\n#SBATCH --wrap=evil"), "no line ends and no control characters"),
        ((*SLURM, "--time", "1:00 --wrap=evil"), "--time '1:00 --wrap=evil': expected letters"),
        ((*SLURM, "--sbatch", "partition=a\nb"), "--sbatch partition 'a\\nb': expected letters"),
        ((*SLURM, "--sbatch", "par tition=cpu"), "expected the name of an option of sbatch"),
        ((*SLURM, "--sbatch", "export=AWS_SECRET_ACCESS_KEY=hunter2"), "variables are named with --env NAME"),
        ((*KUBERNETES, "--time", "soon"), "--time 'soon': expected minutes"),
        ((*KUBERNETES, "--memory", "16 gigabytes"), "limits.memory: Kubernetes does not take '16 gigabytes' there"),
        ((*KUBERNETES, "--volume", "shared"), "expected CLAIM:/path"),
        ((*KUBERNETES, "--secret", "Upper"), "Kubernetes does not take 'Upper' there"),
        (("submit", "web.yaml", "--on", "kubernetes", "--dry-run"), "expected --image"),
        (("submit", "web.yaml", "--on", "ray", "--dry-run"), "--on ray: expected --address"),
        (("submit", "nothing.yaml", "--on", "slurm"), "there is no such file"),
        (("status", "nothing"), "no run of that name was submitted from here"),
        (("status", "../../etc/passwd"), "there is no run, finished or not"),
        (("logs", "../../etc/passwd"), "no run of that name was submitted from here"),
        (("cancel", "nothing", "--address", "http://head:8265"), "go with --on"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_code_2(
    gristmill: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    ran = gristmill(*arguments)
    assert ran.code == 2, ran
    assert words in ran.err and "Traceback" not in ran.err
    assert "hunter2" not in ran.err
    assert ran.out == ""


@pytest.mark.parametrize(
    "address, words",
    [
        ("ray://head:10001", "Jobs are submitted to the dashboard, usually http://head:8265"),
        ("http://me:hunter2@head:8265", "takes no user and no password"),
        ("ftp://head", "expected the dashboard's address"),
        ("http://head:99999", "Port out of range"),
        ("http://head:8265/path", "expected the dashboard's address"),
        ("http://", "expected the dashboard's address"),
    ],
)
def test_addresses_of_dashboards(gristmill: Command, address: str, words: str) -> None:
    ran = gristmill("submit", "web.yaml", "--on", "ray", "--address", address, "--dry-run")
    assert ran.code == 2 and words in ran.err and "hunter2" not in ran.err


@pytest.mark.parametrize(
    "address, url",
    [
        ("head", "http://head:8265"),
        ("head:80", "http://head:80"),
        ("auto", "http://127.0.0.1:8265"),
        ("https://head", "https://head"),
        ("http://[::1]:8265/", "http://[::1]:8265"),
    ],
)
def test_an_address_may_be_short(gristmill: Command, address: str, url: str) -> None:
    ran = gristmill("submit", "web.yaml", "--on", "ray", "--address", address, "--dry-run")
    assert ran.code == 0 and ran.out.startswith(f"# to {url}, as web-")


def test_a_dry_run_for_ray_shows_what_travels_and_the_command(gristmill: Command) -> None:
    ran = gristmill(*RAY, "--name", "one", "--workers", "3", "--set", "seed=2", "--rehash", "--keep-work")
    lines = ran.out.splitlines()
    assert lines[0] == "# to http://head:8265, as one"
    assert lines[2:5] == ["# data/0.parquet", "# data/1.parquet", "# web.yaml"]
    assert lines[5].startswith("python -m gristmill.launch.clusters.job_start --package=")
    assert lines[5].endswith(
        " -- run --executor=ray --address=auto --workers=3 --set=seed=2 --rehash --keep-work -- web.yaml"
    )


def test_the_time_of_grace_goes_to_the_run_and_the_cluster(gristmill: Command) -> None:
    assert " --grace=600 -- web.yaml" in gristmill(*RAY, "--grace", "600").out
    manifest = gristmill(*KUBERNETES, "--grace", "600").out
    assert '"--grace=600"' in manifest and "RAY_JOB_STOP_WAIT_TIME_S: '700'" in manifest
    assert "RAY_JOB_STOP_WAIT_TIME_S: '120'" in gristmill(*KUBERNETES).out
    for grace, signal, run in (((), 300, 270), (("--grace", "40"), 40, 20), (("--grace", "1"), 1, 0)):
        script = gristmill(*SLURM, *grace).out
        assert f"#SBATCH --signal=B:USR1@{signal}\n" in script and f" --grace={run} -- " in script


def test_a_dry_run_leaves_nothing_behind(gristmill: Command, job_folder: Path) -> None:
    for command in (RAY, SLURM, KUBERNETES):
        assert gristmill(*command).code == 0
    assert sorted(item.name for item in job_folder.iterdir()) == ["data", "web.yaml"]
    assert gristmill("status").out == "no run is known here\n"


def test_a_preset_travels_in_the_package(gristmill: Command) -> None:
    ran = gristmill("submit", "quickstart", "--on", "ray", "--address", "head", "--output", "/shared/q", "--dry-run")
    assert ran.out.splitlines()[-1].endswith("--output=/shared/q -- quickstart")
    assert "quickstart.yaml" not in ran.out


def test_slurm_takes_relative_outputs_for_its_folder_is_shared(gristmill: Command) -> None:
    assert "--output=out --grace=270 -- web.yaml" in gristmill(*SLURM, "--output", "out").out


def test_without_the_clusters_programs_it_says_so(
    gristmill: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job_folder: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for on, program in (("slurm", "sbatch"), ("kubernetes", "kubectl")):
        more = ("--image", "x") if on == "kubernetes" else ()
        ran = gristmill("submit", "web.yaml", "--on", on, *more)
        assert ran.code == 2 and f"--on {on}: there is no program `{program}` here" in ran.err


def test_no_environment_variables_value_reaches_a_script_or_a_manifest(
    gristmill: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN", "GRISTMILL_SIGNING_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "hunter2")
    for command in (RAY, (*SLURM, "--env", "AWS_SECRET_ACCESS_KEY"), (*KUBERNETES, "--secret", "s3")):
        ran = gristmill(*command)
        assert ran.code == 0 and "hunter2" not in ran.out + ran.err
        monkeypatch.setenv("GRISTMILL_SIGNING_KEY", "hunter2")
    assert "AWS_SECRET_ACCESS_KEY" in gristmill(*SLURM, "--env", "AWS_SECRET_ACCESS_KEY").out
