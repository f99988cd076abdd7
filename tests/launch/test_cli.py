"""The command line: exit codes, one-line errors, help, and nothing heavy imported before it is needed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gristmill.launch import cli
from gristmill.pipeline.stopping import Stopped
from gristmill.pipeline.storage.store_errors import NoCredentialsError
from tests.launch.running import PLUGINS, Command
from tests.pipeline.toy_runs import write_corpus

GOOD = """
name: toys
sources:
  s: {format: parquet, paths: [in/*.parquet]}
stages:
  length: {least: 2}
  split: {at: 20}
outputs:
  low: {path: out/low, from: split.low}
  high: {path: out/high, from: split.high}
"""
TOYS = ("--plugin", "toy_stages")
INLINE = ("--executor", "inline")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "in")
    (tmp_path / "toys.yaml").write_text(GOOD)
    return tmp_path / "toys.yaml"


# Help and start


def imported_by(code: str) -> set[str]:
    probe = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_nothing_heavy() -> None:
    heavy = {
        "pyarrow",
        "numpy",
        "numba",
        "ray",
        "pydantic",
        "fsspec",
        "rich",
        "yaml",
        "datasketch",
        "gristmill.pipeline.planning.config",
    }
    code = (
        "import contextlib, io\nfrom launch.cli import run_command\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out:\n    assert run_command(['--help']) == 0\n"
        "assert 'quickstart' in out.getvalue()"
    )
    assert not imported_by(code) & heavy


def test_planning_a_run_does_not_import_ray() -> None:
    modules = imported_by(
        f"sys.path.append({PLUGINS!r})\nfrom gristmill.launch.commands.plan import plan_config\n"
        "import gristmill.pipeline.running.engine"
    )
    assert "ray" not in modules


LOST = "outputs={o: {path: out}}"


@pytest.mark.parametrize(
    "command",
    "run sample init plan audit explain report stages presets train evaluate keys version".split(),
)
def test_every_command_has_help(gristmill: Command, command: str) -> None:
    ran = gristmill(command, "--help")
    assert ran.code == 0
    assert f"Usage: gristmill {command}" in ran.out
    listed = gristmill("--help").out
    assert f"\n  {command} " in listed
    assert "..." not in listed.partition("Commands:")[2], "a summary is cut off"


@pytest.mark.parametrize(
    "command", ["run", "sample", "init", "plan", "audit", "explain", "report", "stages", "presets"]
)
def test_help_shows_examples(gristmill: Command, command: str) -> None:
    assert f"Examples:\n    gristmill {command}" in gristmill(command, "--help").out


def test_no_command_is_a_call_for_help(gristmill: Command) -> None:
    ran = gristmill()
    assert ran.code == 0
    assert "Start here:" in ran.out


def test_version(gristmill: Command) -> None:
    from gristmill.pipeline import __version__

    assert gristmill("version").out == f"gristmill {__version__}\n"


# Runs


def test_a_run_ends_with_code_0_and_the_funnel(gristmill: Command, config: Path) -> None:
    ran = gristmill("run", "toys.yaml", *TOYS, *INLINE)
    assert ran.code == 0
    assert Path("out/low/manifest.json").is_file()
    lines = ran.out.splitlines()
    row = next(line for line in lines if line.startswith("length"))
    assert row.split()[1] == "119"
    assert any("too_short" in line for line in lines)
    assert "gristmill audit out/low" in ran.out
    assert "pass 1 of 1: 3 of 3 tasks, 120 documents" in ran.err


def test_a_finished_run_is_not_computed_again_and_says_the_same(gristmill: Command, config: Path) -> None:
    first = gristmill("run", "toys.yaml", *TOYS, *INLINE)
    again = gristmill("run", "toys.yaml", *TOYS, *INLINE)
    assert again.code == 0
    assert "nothing was computed" in again.out.splitlines()[0]
    assert again.out.splitlines()[1:] == first.out.splitlines()[1:]


def test_json_is_one_value_on_stdout_with_every_figure(gristmill: Command, config: Path) -> None:
    ran = gristmill("run", "toys.yaml", *TOYS, *INLINE, "--json")
    made = json.loads(ran.out)
    assert made["already_done"] is False
    assert made["outputs"]["low"] == {"path": "out/low", "manifest": "out/low/manifest.json"}
    length = next(node for node in made["funnel"]["nodes"] if node["node"] == "length")
    assert length["entered"][0] == length["kept"][0] + length["dropped"][0]


def test_quiet_says_nothing(gristmill: Command, config: Path) -> None:
    ran = gristmill("run", "toys.yaml", *TOYS, *INLINE, "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_set_replaces_a_value_and_output_the_place(gristmill: Command, config: Path) -> None:
    ran = gristmill(
        "run", "toys.yaml", *TOYS, *INLINE, "--set", "stages.length.least=0", "--output", "elsewhere", "--json"
    )
    made = json.loads(ran.out)
    assert made["outputs"]["low"]["path"] == "elsewhere/low"
    length = next(node for node in made["funnel"]["nodes"] if node["node"] == "length")
    assert length["dropped"] == [0, 0]


def test_a_stopped_run_goes_on_and_says_what_was_there(
    gristmill: Command, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gristmill.pipeline.executor.inline import InlineExecutor

    def stop_after_two(self: object, function: object, payloads: object, resources: object = None) -> object:
        for index, payload in enumerate(payloads):  # type: ignore[arg-type,var-annotated]
            if index == 2:
                raise KeyboardInterrupt
            yield index, function(payload)  # type: ignore[operator]

    with monkeypatch.context() as patch:
        patch.setattr(InlineExecutor, "run_independent", stop_after_two)
        ran = gristmill("run", "toys.yaml", *TOYS, *INLINE)
    assert ran.code == 130
    assert ran.error.endswith("the same command goes on from there.")
    assert "Traceback" not in ran.err
    again = gristmill("run", "toys.yaml", *TOYS, *INLINE)
    assert again.code == 0
    assert "2 of 3 tasks were there from an interrupted attempt" in again.out


def test_workers_and_an_address_need_ray(gristmill: Command, config: Path) -> None:
    for option in (("--workers", "2"), ("--address", "auto")):
        ran = gristmill("run", "toys.yaml", *TOYS, *INLINE, *option)
        assert ran.code == 2
        assert "--executor inline is one process" in ran.error


# Errors


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run",), "Missing argument"),
        (("rnu", "x"), "Did you mean"),
        (("run", "x", "--wrokers", "2"), "--wrokers"),
        (("run", "toys.yaml", "--workers", "0"), "--workers"),
        (("run", "toys.yaml", "--executor", "spark"), "spark"),
        (("run", "nothing.yaml"), "nothing.yaml: there is no such file"),
        (("run", "quickstrat"), "did you mean `quickstart`?"),
        (("run", "in"), "in: this is a folder"),
        (("run", "in/part-000.parquet"), "gristmill init in/part-000.parquet"),
        (("run", "binary.yaml"), "byte 0 is not UTF-8"),
        (("run", "toys.yaml", *TOYS, "--set", "stages"), "expected KEY.PATH=VALUE"),
        (("run", "toys.yaml", *TOYS, "--set", "stages.length.leest=3"), "did you mean `least`?"),
        (("run", "toys.yaml", "--plugin", "no_such_module"), "--plugin no_such_module"),
        (("run", "toys.yaml", *TOYS, "--set", "sources.s.paths=[nowhere/*.parquet]", *INLINE), None),
        (("plan", "toys.yaml"), "there is no stage named `length`"),
        (("sample", "toys.yaml", "in/part-000.parquet"), "must be the only argument"),
        (("audit", "nowhere"), "nowhere: there is no such folder"),
        (("audit", "in", "--sample", "3/2", "--full"), "expected K/N"),
        (("audit", "in", "--sample", "1/2"), "add --full"),
        (("audit", "in", "--key", "nokey.pem"), "--key nokey.pem"),
        (("stages", "langauge"), "did you mean `language`?"),
        (("presets", "wbe"), "did you mean `web`?"),
        (("train", "toxicity", "--data", "none.parquet", "--out", "m.npz"), "none.parquet: there is no such file"),
        (("init", "none-*.parquet"), None),
        (("init", "nothing.parquet"), "nothing.parquet: no such file"),
        (("init", "notes.doc"), "notes.doc: no such file"),
        (("explain", "out"), "Missing argument"),
    ],
)
def test_what_a_user_gets_wrong_is_told_in_one_line_with_code_2_or_3(
    gristmill: Command, config: Path, arguments: tuple[str, ...], told: str | None
) -> None:
    Path("binary.yaml").write_bytes(b"\xff\xfe")
    ran = gristmill(*arguments)
    if told is None:  # the data are what is wrong
        assert ran.code == 3, ran.err
        assert "matches no file" in ran.error
    else:
        assert ran.code == 2, ran.err
        assert told in ran.err
    assert ran.error == next(line for line in ran.err.splitlines() if line.startswith("error: "))
    assert "Traceback" not in ran.err
    assert not Path("out").exists()


def test_a_failed_expectation_ends_with_code_3(gristmill: Command, config: Path) -> None:
    config.write_text(GOOD + "expect: {length: {dropped: [0.9, 1.0]}}\n")
    ran = gristmill("run", "toys.yaml", *TOYS, *INLINE)
    assert ran.code == 3
    assert "expect.length.dropped" in ran.error
    assert not Path("out/low/manifest.json").exists()


def test_an_output_of_another_run_is_refused_with_code_2(gristmill: Command, config: Path) -> None:
    assert gristmill("run", "toys.yaml", *TOYS, *INLINE).code == 0
    ran = gristmill("run", "toys.yaml", *TOYS, *INLINE, "--set", "stages.length.least=4")
    assert ran.code == 2
    assert "--output" in ran.error


def boom(*_: object) -> int:
    raise RuntimeError("a defect")


def test_a_defect_ends_with_code_1_and_says_how_to_see_more(
    gristmill: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gristmill.launch.commands.stages.show_stages", boom)
    ran = gristmill("stages")
    assert ran.code == 1
    assert ran.err.startswith("error: RuntimeError: a defect\n")
    assert "--debug" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("arguments", [("--debug", "stages"), ("stages", "--debug")])
def test_debug_shows_the_traceback_wherever_it_stands(
    gristmill: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr("gristmill.launch.commands.stages.show_stages", boom)
    ran = gristmill(*arguments)
    assert ran.code == 1
    assert "Traceback (most recent call last)" in ran.err
    assert "in boom" in ran.err


def test_ctrl_c_is_no_error_of_the_program(gristmill: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("gristmill.launch.commands.stages.show_stages", interrupted)
    ran = gristmill("stages")
    assert ran.code == 130
    assert ran.error == "error: stopped by Ctrl-C."


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [(Stopped("SIGTERM"), 75, "stopped by SIGTERM."), (KeyboardInterrupt(), 130, "by Ctrl-C")],
)
def test_a_signal_within_compiled_code_of_a_library_stops_as_well(
    gristmill: Command, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, says: str
) -> None:
    def waits(*_: object) -> None:
        raise SystemError("<cyfunction CoreWorker.wait> returned a result with an exception set") from raised

    monkeypatch.setattr(cli.typer, "echo", waits)
    ran = gristmill("version")
    assert ran.code == code and says in ran.error and "defect" not in ran.err


def test_main_exits_with_the_code_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "run_command", lambda arguments: 17)
    with pytest.raises(SystemExit) as ended:
        cli.main(["run"])
    assert ended.value.code == 17


def test_a_terminal_that_is_not_utf8_is_no_reason_to_fail(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from launch.cli import main; main(['presets', 'web'])"],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(cli.__file__).parents[1])},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b'evidence: "https://?"' in done.stdout


# After a run


def test_audit_and_explain_judge_and_tell(gristmill: Command, config: Path) -> None:
    assert gristmill("run", "toys.yaml", *TOYS, *INLINE).code == 0
    clean = gristmill("audit", "out/low", "--full")
    assert clean.code == 0
    assert clean.out.splitlines()[-1] == "out/low: clean."
    assert json.loads(gristmill("audit", "out/low", "--json").out)["exit_code"] == 0
    told = gristmill("explain", "out/low", "d0-0")
    assert told.code == 0
    assert "(id d0-0" in told.out
    assert isinstance(json.loads(gristmill("explain", "out/low", "d0-0", "--json").out), (dict, list))
    missing = gristmill("explain", "out/low", "no-such-document")
    assert missing.code == 3
    assert "no-such-document" in missing.error
    shard = next(Path("out/low/data").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    broken = gristmill("audit", "out/low")
    assert broken.code >= 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_stops_a_run_with_a_code_that_says_go_on(
    gristmill: Command,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    from gristmill.launch.cli import main
    from gristmill.pipeline.executor.inline import InlineExecutor

    def terminated(self: object, function: object, payloads: object, resources: object = None) -> object:
        os.kill(os.getpid(), number)
        yield from ()

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(InlineExecutor, "run_independent", terminated)
        with pytest.raises(SystemExit) as ended:
            main(["run", "toys.yaml", *TOYS, *INLINE])
    assert ended.value.code == 75
    assert f"stopped by {number.name}. What was committed is kept" in capsys.readouterr().err
    assert signal.getsignal(number) == before
    # The lease was given back: another run need not wait for it to grow old.
    assert gristmill("run", "toys.yaml", *TOYS, *INLINE).code == 0


def test_the_time_of_grace_is_the_users(gristmill: Command, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM in the middle of the second task: it is committed within the time of grace, and not without one."""
    from gristmill.pipeline.running import engine

    def signalled(ran: list[int]) -> object:
        def task(job: object) -> object:
            ran.append(1)
            if len(ran) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return run_task(job)

        return task

    run_task, committed = engine.run_task, []
    for number, grace in enumerate((["--grace", "0"], ["--grace", "600"], [])):
        with monkeypatch.context() as patch:
            patch.setattr(engine, "run_task", signalled([]))
            with pytest.raises(SystemExit) as ended:
                cli.main(["run", "toys.yaml", *TOYS, *INLINE, "--set", f"work=w{number}", *grace])
        assert ended.value.code == 75
        committed.append(len(list(Path(f"w{number}").rglob("pass-0-*.json"))))
    assert committed == [1, 2, 2]


@pytest.mark.parametrize("grace", ["-1", "86401", "soon"])
def test_a_time_of_grace_that_nobody_waits_for_is_refused(gristmill: Command, grace: str) -> None:
    for command in (["run", "toys.yaml"], ["submit", "toys.yaml", "--on", "ray"]):
        ran = gristmill(*command, "--grace", grace)
        assert ran.code == 2 and "--grace" in ran.err


# Blame


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (socket.gaierror(-2, "Name or service not known"), "HTTPS_PROXY"),
        (ConnectionRefusedError(111, "refused"), "check host and port"),
        (NoCredentialsError("none are set"), "AWS_ACCESS_KEY_ID"),
    ],
)
def test_what_lies_outside_is_no_defect(
    gristmill: Command, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fails(name: object) -> int:
        raise RuntimeError("while something was read") from error

    monkeypatch.setattr("gristmill.launch.presets.show_presets", fails)
    done = gristmill("presets")
    assert done.code == 1 and told in done.err and "defect" not in done.err


def test_a_store_where_nothing_listens_or_that_lacks_an_account_says_what_to_set(
    gristmill: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    closed = gristmill("audit", "s3://nowhere/out")
    assert closed.code == 1 and "check host and port" in closed.err and "defect" not in closed.err
    account = gristmill("audit", "az://nowhere/out")
    assert account.code == 1 and "AZURE_STORAGE_ACCOUNT_NAME" in account.err and "defect" not in account.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "gone.yaml"),
        ("init", "gone.jsonl"),
        ("audit", "gone"),
        ("explain", "gone", "x"),
        ("report", "gone"),
        ("run", "toys.yaml", *TOYS, "--key", "gone"),
        ("run", "toys.yaml", *TOYS, *INLINE, "--previous", "gone"),
        ("plan", "toys.yaml", *TOYS, "--set", "sources.s.paths=gone"),
        ("plan", "toys.yaml", *TOYS, "--set", "sources.s.path_lists=gone"),
        ("plan", "toys.yaml", *TOYS, "--set", "stages={language: {backend: fasttext, model: gone}}", "--set", LOST),
        ("plan", "toys.yaml", *TOYS, "--set", "stages={minhash: {against: gone}}", "--set", LOST),
    ],
    ids=lambda arguments: " ".join(arguments[:1] + arguments[-3:]),
)
def test_what_is_missing_at_a_relative_path_is_told_with_the_place_where_it_was_looked_for(
    gristmill: Command, config: Path, arguments: tuple[str, ...]
) -> None:
    ran = gristmill(*arguments)
    assert ran.code in (1, 2, 3)
    assert str(config.parent) in ran.error, ran.err
