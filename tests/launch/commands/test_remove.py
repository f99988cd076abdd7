"""`gristmill remove` on the command line: what it is asked for, the removal's key, and what it says it has done."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from gristmill.pipeline.stopping import Stopped
from tests.launch.running import Command
from tests.pipeline.removal.conftest import here

assert here

CONFIG = """
name: pages
sources:
  crawl: {format: jsonl, paths: ["pages.jsonl"]}
stages:
  exact: {}
outputs:
  corpus: {path: out}
"""


@pytest.fixture
def pages(gristmill: Command, tmp_path: Path, here: None) -> Path:
    """A folder with a finished output `out` of twelve pages."""
    words = "rain wind snow hail frost sun cloud storm mist dew ice heat".split()
    lines = [
        json.dumps({"id": word, "url": f"https://example.org/{word}", "text": f"A page about {word}."})
        for word in words
    ]
    (tmp_path / "pages.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "pages.yaml").write_text(CONFIG)
    assert gristmill("run", "pages.yaml", "--executor", "inline").code == 0
    return tmp_path


REST = ("--reason", "asked for", "--output", "new", "--unsigned")


def test_what_is_asked_for_must_be_one_list_that_holds_something(gristmill: Command, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "latin.txt").write_bytes("schön\n".encode("latin-1"))
    for arguments, told in (
        ([], "say what to remove by one of --ids, --urls and --where; found none of them"),
        (["--ids", "a", "--urls", "b"], "found --ids and --urls"),
        (["--ids", "nowhere.txt"], "--ids nowhere.txt: cannot be read: No such file or directory"),
        (["--ids", "empty.txt"], "holds nothing"),
        (["--urls", "latin.txt"], "is not UTF-8 (byte 3)"),
    ):
        ran = gristmill("remove", "out", *arguments, *REST)
        assert ran.code == 2 and told in ran.err, ran.err
    assert not (tmp_path / "new.removal-key").exists()


def test_a_removal_that_a_signal_stops_goes_on_with_its_key(
    gristmill: Command, pages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise Stopped("SIGTERM")

    (pages / "ids.txt").write_text("rain\n")
    with monkeypatch.context() as patch:
        patch.setattr("gristmill.pipeline.removal.remove.publish_last", stopped)
        assert gristmill("remove", "out", "--ids", "ids.txt", *REST).code == 75
    key = (pages / "new.removal-key").read_text()
    ran = gristmill("remove", "out", "--ids", "ids.txt", *REST)
    assert ran.code == 0 and "made now" not in ran.out, ran.err
    assert (pages / "new.removal-key").read_text() == key and (pages / "new/manifest.json").exists()


def test_a_removal_says_what_went_and_keeps_its_key(gristmill: Command, pages: Path) -> None:
    (pages / "ids.txt").write_text("rain\nnowhere\n")
    refused = gristmill("remove", "out", "--ids", "ids.txt", *REST)
    assert refused.code == 2 and "1 of 2 ids are in no output of the run: 'nowhere'" in refused.err
    assert not (pages / "new.removal-key").exists() and not (pages / "new/manifest.json").exists()
    ran = gristmill("remove", "out", "--ids", "ids.txt", "--allow-missing", *REST)
    assert ran.code == 0, ran.err
    assert "removed        1 documents" in ran.out and "in no output   1 entries" in ran.out
    key = pages / "new.removal-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and len(bytes.fromhex(key.read_text())) == 32
    gone = gristmill("explain", "new", "rain")
    assert gone.code == 3 and "Documents were taken out of this version: with the removal's key" in gone.err
    (pages / "new.work").mkdir()
    again = gristmill(
        "remove", "new", "--where", "url like '%/snow'", "--reason", "asked for", "--output", "newer", "--unsigned",
        "--removal-key", str(key), "--json",
    )  # fmt: skip
    told = json.loads(again.out)
    assert (
        told["removal"]["documents"] == 1
        and told["folders"] == {"corpus": "newer"}
        and told["untouched"] == ["new", "new.work"]
    )
    assert json.loads((pages / "newer/manifest.json").read_text())["predicate"]["data"]["rows"] == 10


def test_conditions_reasons_and_keys_that_cannot_be_followed(gristmill: Command, pages: Path) -> None:
    (pages / "ids.txt").write_text("https://example.org/rain\n")
    (pages / "key").write_text("no key")
    for arguments, told in (
        (["--where", "url = 'x' from"], "--where: this condition cannot be evaluated"),
        (["--where", "id in (select id from read_json('pages.jsonl'))"], "--where: this condition cannot be evaluated"),
        (["--where", "id = 'nobody'"], "no document is meant"),
        (["--urls", "ids.txt", "--reason", "https://example.org/rain is withdrawn"], "would stay in the manifest"),
        (["--urls", "ids.txt", "--removal-key", "key"], "this is no key of a removal"),
        (["--urls", "ids.txt", "--output", "out/new"], "lies in out"),
    ):
        ran = gristmill("remove", "out", *REST, *arguments)
        assert ran.code == 2 and told in ran.err, ran.err
        assert "Traceback" not in ran.err and not (pages / "new").exists()


def test_of_a_removals_key_no_more_is_read_than_a_key_has(gristmill: Command, tmp_path: Path) -> None:
    with (tmp_path / "huge.key").open("wb") as stream:
        stream.truncate(1 << 40)
    ran = gristmill("audit", "x", "--full", "--previous", "y", "--removal-key", str(tmp_path / "huge.key"))
    assert ran.code == 2 and "this is no key of a removal" in ran.error
