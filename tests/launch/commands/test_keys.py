"""Signing on the command line: key pairs, signed runs, runs that follow each other, and what an audit says of them."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest

from gristmill.pipeline.key_variable import KEY_VARIABLE
from tests.launch.running import Command
from tests.pipeline.toy_runs import write_corpus

CONFIG = """
name: toys
sources:
  s: {format: parquet, paths: [in/*.parquet]}
stages:
  length: {least: 2}
outputs:
  corpus: {path: out, from: length}
"""
RUN = ("run", "toys.yaml", "--plugin", "toy_stages", "--executor", "inline", "-q")


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    write_corpus(tmp_path / "in")
    (tmp_path / "toys.yaml").write_text(CONFIG)


def chain(folder: str) -> dict[str, object]:
    manifest = json.loads(Path(folder, "manifest.json").read_text())
    found = manifest["predicate"]["varies"]["chain"]
    assert isinstance(found, dict)
    return found


def test_a_key_pair_is_made_once_and_the_private_half_is_private(gristmill: Command) -> None:
    made = gristmill("keys", "new", "keys/corpus")
    assert made.code == 0
    assert stat.S_IMODE(Path("keys/corpus").stat().st_mode) == 0o600
    identifier = gristmill("keys", "show", "keys/corpus.pub").out.strip()
    assert len(identifier) == 64
    assert gristmill("keys", "show", "keys/corpus").out.strip() == identifier
    assert identifier in made.out
    before = Path("keys/corpus").read_bytes()
    again = gristmill("keys", "new", "keys/corpus")
    assert again.code == 2
    assert "not overwritten" in again.err
    assert Path("keys/corpus").read_bytes() == before


def test_a_signed_run_is_clean_for_its_key_and_for_no_other(gristmill: Command) -> None:
    gristmill("keys", "new", "mine")
    gristmill("keys", "new", "other")
    assert gristmill(*RUN, "--key", "mine").code == 0
    assert gristmill("audit", "out", "--full", "--plugin", "toy_stages", "--key", "mine.pub").code == 0
    wrong = gristmill("audit", "out", "--key", "other.pub")
    assert wrong.code == 11
    assert "not by the given key" in wrong.out


def test_a_key_from_the_environment_signs_too(gristmill: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    gristmill("keys", "new", "mine")
    monkeypatch.setenv(KEY_VARIABLE, "mine")
    assert gristmill(*RUN).code == 0
    assert gristmill("audit", "out", "--key", "mine.pub").code == 0


@pytest.mark.parametrize("command", [RUN, ("audit", "out"), ("run", "nowhere.yaml")])
def test_what_a_command_starts_does_not_inherit_the_key(
    gristmill: Command, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    gristmill("keys", "new", "mine")
    monkeypatch.setenv(KEY_VARIABLE, "mine")
    gristmill(*command)
    child = subprocess.run(["env"], capture_output=True, text=True, check=True)
    assert KEY_VARIABLE not in child.stdout


def test_a_finished_output_can_be_signed_later_in_both_ways(gristmill: Command) -> None:
    gristmill("keys", "new", "mine")
    gristmill("keys", "new", "other")
    assert gristmill(*RUN).code == 0
    assert gristmill("audit", "out", "--key", "mine.pub").code == 11
    assert gristmill("keys", "sign", "out", "--key", "mine").code == 0
    assert gristmill("audit", "out", "--key", "mine.pub").code == 0
    # The same command again computes nothing, but signs.
    assert gristmill(*RUN, "--key", "other").code == 0
    assert gristmill("audit", "out", "--key", "other.pub").code == 0
    unsigned = gristmill("keys", "sign", "out")
    assert unsigned.code == 2
    assert KEY_VARIABLE in unsigned.err


def test_a_changed_manifest_is_not_signed(gristmill: Command) -> None:
    gristmill("keys", "new", "mine")
    assert gristmill(*RUN).code == 0
    path = Path("out/manifest.json")
    text = path.read_text()
    path.write_text(text.replace('"name": "toys"', '"name": "toyz"'))
    assert path.read_text() != text
    refused = gristmill("keys", "sign", "out", "--key", "mine")
    assert refused.code == 3
    assert "was changed" in refused.err
    assert not Path("out/manifest.dsse.json").exists()


def test_runs_follow_each_other_and_a_rollback_shows(gristmill: Command) -> None:
    assert gristmill(*RUN, "--output", "one").code == 0
    assert gristmill(*RUN, "--output", "two", "--previous", "one", "--set", "stages.length.least=3").code == 0
    assert [chain("one")["sequence"], chain("two")["sequence"]] == [1, 2]
    assert chain("two")["previous"] is not None
    assert gristmill("audit", "two", "--previous", "one").code in (0, 4)  # 4: the drop rate moved, as it should
    rolled_back = gristmill("audit", "one", "--previous", "two")
    assert rolled_back.code == 24
    assert "rolled back" in rolled_back.out


def test_a_finished_run_is_not_made_to_follow_another(gristmill: Command) -> None:
    assert gristmill(*RUN, "--output", "one").code == 0
    assert gristmill(*RUN, "--output", "two", "--set", "stages.length.least=3").code == 0
    before = Path("two/manifest.json").read_bytes()
    refused = gristmill(*RUN, "--output", "two", "--set", "stages.length.least=3", "--previous", "one")
    assert refused.code == 2
    assert "finished before, as number 1" in refused.err
    assert Path("two/manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"nonsense", "not an unencrypted private key in PEM format"), (None, "cannot be read")],
    ids=["nonsense", "missing"],
)
def test_a_key_that_cannot_be_used_stops_a_run_before_it_starts(
    gristmill: Command, content: bytes | None, says: str
) -> None:
    if content is not None:
        Path("key").touch(0o600)
        Path("key").write_bytes(content)
    ran = gristmill(*RUN, "--key", "key")
    assert ran.code == 2
    assert says in ran.err
    assert not Path("out").exists()


def test_the_input_is_left_alone_when_asked(gristmill: Command) -> None:
    assert gristmill(*RUN).code == 0
    Path("in").rename("elsewhere")
    for flags in (("--no-sources",), ()):
        found = gristmill("audit", "out", "--full", "--json", "--plugin", "toy_stages", *flags)
        checks = {check["name"]: check for check in json.loads(found.out)["checks"]}
        assert found.code == 0
        assert checks["replay"]["status"] == "skipped"
        assert checks["replay"]["why"].startswith("not requested")
    found = gristmill("audit", "out", "--full", "--json", "--plugin", "toy_stages", "--sources")
    checks = {check["name"]: check for check in json.loads(found.out)["checks"]}
    assert found.code == 3, "what was asked for and cannot be done is not verified"
    assert checks["replay"]["status"] == "unread"


def test_a_key_is_changed_by_a_second_signature_and_a_trust_file(gristmill: Command) -> None:
    for name in ("old", "new"):
        gristmill("keys", "new", name)
    assert gristmill(*RUN, "--output", "one", "--key", "old").code == 0
    assert gristmill(*RUN, "--output", "two", "--previous", "one", "--key", "old").code == 0
    assert gristmill("keys", "sign", "one", "two", "--key", "new").out.count("signed by") == 2
    for name in ("old.pub", "new.pub"):
        assert gristmill("audit", "two", "--key", name).code == 0
    Path("trust.yaml").write_text("keys: {old: {public: old.pub, until: 2020-01-01}, new: {public: new.pub}}")
    assert gristmill("audit", "two", "--trust", "trust.yaml", "--previous", "one").code == 0
    Path("trust.yaml").write_text("keys: {old: {public: old.pub, revoked: {on: 2020-01-01, reason: lost}}}")
    refused = gristmill("audit", "two", "--trust", "trust.yaml")
    assert refused.code == 11 and "old was revoked on 2020-01-01 (lost)" in refused.out
    both = gristmill("audit", "two", "--trust", "trust.yaml", "--key", "old.pub")
    assert both.code == 2 and "--key and --trust" in both.err
