"""A removal from an output in a bucket: the same files as from one on a file system, an audited pair, nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gristmill.launch.cli import run_command
from gristmill.pipeline import storage
from tests.cluster.runs import contents
from tests.cluster.s3_server import Faults, S3Server

pytestmark = pytest.mark.cluster

CONFIG = """
name: pages
sources:
  crawl: {{format: jsonl, paths: ["{folder}/pages.jsonl"], license: {{spdx: CC-BY-4.0, stated_by: author}}}}
stages:
  exact: {{}}
outputs:
  corpus: {{path: "{output}", dropped: all, kinds: {{lines: {{format: jsonl}}}}}}
"""
GONE = "https://example.org/rain"


def run_and_remove(folder: Path, place: str) -> tuple[str, str]:
    """A signed output in a place, and its version without one page and that page's copy."""
    old, new = f"{place}/corpus", f"{place}/corpus-2"
    (folder / "pages.yaml").write_text(CONFIG.format(folder=folder, output=old))
    key = str(folder / "corpus.key")
    assert run_command(["run", str(folder / "pages.yaml"), "--executor", "inline", "--quiet", "--key", key]) == 0
    arguments = ["--urls", str(folder / "gone.txt"), "--reason", "notice 17", "--output", new, "--key", key]
    assert run_command(["remove", old, *arguments, "--removal-key", str(folder / "removal.key")]) == 0
    return old, new


def test_a_removal_in_a_bucket_is_the_one_on_a_file_system(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "rain wind snow hail frost sun cloud storm mist dew ice heat".split()
    pages = [{"id": word, "url": f"https://example.org/{word}", "text": f"A page about {word}."} for word in words]
    pages.append({"id": "copy", "url": "https://mirror.example/rain", "text": pages[0]["text"]})
    (tmp_path / "pages.jsonl").write_text("".join(json.dumps(page) + "\n" for page in pages))
    (tmp_path / "gone.txt").write_text(GONE + "\n")
    assert run_command(["keys", "new", str(tmp_path / "corpus.key")]) == 0
    _, local = run_and_remove(tmp_path, str(tmp_path / "out"))
    s3_server.break_by(Faults(busy=0.05, cut=0.05, lost=0.05, seed=7))  # what passes is tried again
    old, new = run_and_remove(tmp_path, s3_bucket)
    s3_server.reset()
    told = capsys.readouterr().out
    assert told.count("removed        2 documents, 1 of them as near-duplicates") == 2
    assert f"new version    {new} (1 rows fewer)" in told and f"untouched      {old}" in told
    # Names of files, shards, ledgers, kinds and the list of keyed digests: all but what says where and when.
    varies = {"manifest.dsse.json", "README.md"}
    there, here = (
        {path: digest for path, digest in contents(place).items() if path not in varies} for place in (new, local)
    )
    assert there == here and any(path.startswith("removed/") for path in there)
    assert storage.names_in(s3_bucket) == ["corpus", "corpus-2"]
    for path in storage.list_files(new):
        data = storage.read_small(f"{new}/{path}", 1 << 24) or b""
        assert GONE.encode() not in data and b"mirror.example" not in data, path
    pair = ["--key", str(tmp_path / "corpus.key.pub"), "--removal-key", str(tmp_path / "removal.key"), "--sources"]
    assert run_command(["audit", new, "--full", "--previous", old, *pair]) == 0
    told = capsys.readouterr().out
    assert "ok        removal" in told and "ok        source" in told and "clean." in told
    # A second version cannot take the first one's place.
    again = ["--urls", str(tmp_path / "gone.txt"), "--reason", "x", "--output", new, "--unsigned"]
    assert run_command(["remove", old, *again, "--removal-key", str(tmp_path / "removal.key")]) == 2
    assert "already holds an output" in capsys.readouterr().err
