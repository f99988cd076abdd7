"""A crawl is walked over once: later plans find its cuts in the user's cache, compare them with the file, and trust nothing."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from gristmill.pipeline.source import Slice
from gristmill.stages.sources import known_cuts
from gristmill.stages.sources.warc import WarcSource
from tests.stages.sources.test_warc import crawl, packed, source


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The files that are walked over; the cache is the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(known_cuts, "LEAST_FILE", 1)
    seen: list[str] = []
    real = WarcSource._walked

    def walked(self: WarcSource, file: Any) -> Any:
        seen.append(file.path)
        return real(self, file)

    monkeypatch.setattr(WarcSource, "_walked", walked)
    return seen


def write(path: Path, pages: int = 30) -> Path:
    path.write_bytes(b"".join(packed(crawl(pages))))
    return path


def plan(path: Path, **options: Any) -> list[Slice]:
    return list(source(path, **{"slice_bytes": 3000, **options}).slices())


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache/gristmill/cuts").iterdir())


def test_a_file_is_walked_once_and_cut_the_same(tmp_path: Path, walks: list[str]) -> None:
    path = write(tmp_path / "a.warc.gz")
    first = plan(path)
    assert len(first) > 3 and plan(path) == first and walks == ["a.warc.gz"]
    assert [source(path).read(one).table.num_rows for one in plan(path)] == [one.rows for one in first]


def test_other_settings_and_other_files_are_walked(tmp_path: Path, walks: list[str]) -> None:
    path = write(tmp_path / "a.warc.gz")
    plan(path)
    plan(path, slice_bytes=5000)
    plan(path, max_document_bytes=1 << 20)
    (tmp_path / "b").mkdir()
    plan(write(tmp_path / "b/a.warc.gz"))
    assert len(walks) == 4
    os.utime(path, ns=(1, 1))
    plan(path)
    write(path, pages=40)
    plan(path)
    assert len(walks) == 6


def test_a_damaged_entry_is_removed_and_the_file_walked_again(tmp_path: Path, walks: list[str]) -> None:
    path = write(tmp_path / "a.warc.gz")
    first = plan(path)
    (entry,) = entries(tmp_path)
    whole = entry.read_bytes()
    damaged = [
        whole[:-3],
        whole.replace(b"[0,", b"[1,", 1),
        b"",
        b"{}",
        os.urandom(300),
        b"x" * (known_cuts.MAX_ENTRY + 1),
    ]
    for number, data in enumerate(damaged):
        entry.write_bytes(data)
        assert plan(path) == first and len(walks) == 2 + number
        assert entry.read_bytes() == whole
    entry.unlink()
    entry.symlink_to(path)
    assert plan(path) == first and entry.read_bytes() == whole and not entry.is_symlink()


@pytest.mark.parametrize(
    "body",
    [
        b'{"cuts":[],"heads":[]}',
        b'{"cuts":[[0,1,1],[99999999,1,1]],"heads":["",""]}',
        b'{"cuts":[[0,1,-1]],"heads":[""]}',
        b'{"cuts":[[0,1,1],[7,1,1]],"heads":["",""]}',
        b'{"cuts":7}',
        b"[" * 10_000,
    ],
)
def test_an_entry_with_a_right_digest_is_not_believed_either(tmp_path: Path, walks: list[str], body: bytes) -> None:
    path = write(tmp_path / "a.warc.gz")
    first = plan(path)
    (entry,) = entries(tmp_path)
    entry.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    assert plan(path) == first and len(walks) == 2


def test_a_file_that_changed_under_the_same_stamp_is_walked_again(tmp_path: Path, walks: list[str]) -> None:
    path = write(tmp_path / "a.warc.gz")
    plan(path)
    stamp = path.stat().st_mtime_ns
    records = packed(crawl(30))
    path.write_bytes(b"".join([records[1], records[0], *records[2:]]))
    os.utime(path, ns=(stamp, stamp))
    plan(path)
    assert len(walks) == 2


def test_the_oldest_entries_go_when_the_cache_is_full(
    tmp_path: Path, walks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache/gristmill/cuts"
    folder.mkdir(parents=True)
    monkeypatch.setattr(known_cuts, "MAX_CACHE", 10_000)
    for number in range(20):
        (folder / f"{number:02}").write_bytes(bytes(1000))
        os.utime(folder / f"{number:02}", ns=(number, number))
    known_cuts._prune(folder)
    assert [entry.name for entry in entries(tmp_path)] == [f"{number:02}" for number in range(13, 20)]


def test_a_cache_that_cannot_be_written_costs_a_walk_and_nothing_else(
    tmp_path: Path, walks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.warc.gz")

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(known_cuts, "put", full)
    assert plan(path) == plan(path) and len(walks) == 2
