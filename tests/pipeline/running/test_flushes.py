"""What is durable when: everything that a task's record names, before the record has its name."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.storage import folders_synced_once, write_checked
from tests.pipeline.toy_runs import GRAPH, run, write_corpus


def test_what_a_record_names_is_flushed_before_the_record_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "in", files=2)
    flushed: set[str] = set()
    named = 0
    sound_flush, sound_link = os.fsync, os.link

    def fsync(handle: int) -> None:
        sound_flush(handle)
        flushed.add(os.readlink(f"/proc/self/fd/{handle}"))

    def link(source: Any, target: Any) -> None:
        nonlocal named
        if Path(target).name.startswith("pass-"):
            root = Path(target).parents[2]
            record = json.loads(Path(source).read_bytes())
            files = [root / file["path"] for file in record["work_files"]]
            files += [root / record["sidecars"]["candidate"]] if record["sidecars"] else []
            assert {str(place) for file in files for place in (file, file.parent)} <= flushed
            assert str(source) in flushed, "and so is what the record says"
            named += len(files)
        sound_link(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    run(GRAPH.format(root=tmp_path))
    assert named >= 8


def test_a_flush_that_fails_at_the_end_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"a\.bin: cannot be written: no space left"), folders_synced_once():
        write_checked(str(tmp_path / "a.bin"), lambda stream: stream.write(b"a"), flushed_later=True)
    with pytest.raises(StorageError, match=r"b\.bin: cannot be written: no space left"):
        write_checked(str(tmp_path / "b.bin"), lambda stream: stream.write(b"b"), flushed_later=True)
    assert not (tmp_path / "b.bin").exists(), "where nobody flushes later, it is done at once"


def test_the_threads_that_flush_are_kept_and_a_forked_process_starts_its_own(tmp_path: Path) -> None:
    def flushed(name: str) -> set[int | None]:
        with folders_synced_once():
            for number in range(12):
                write_checked(str(tmp_path / name / f"{number}"), lambda s: s.write(b"a"), flushed_later=True)
        return {one.ident for one in threading.enumerate() if one.name.startswith("gristmill-flush")}

    first = flushed("one")
    assert first and all(flushed(name) >= first for name in ("two", "three"))
    assert len(flushed("four")) <= 8
    child = os.fork()
    if not child:
        os._exit(0 if len(flushed("child")) else 1)
    ends = time.monotonic() + 60
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > ends:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    assert ended[1] == 0, "a child that waits for its parent's threads never ends"
