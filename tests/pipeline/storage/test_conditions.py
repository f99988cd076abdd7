"""Records that are replaced on a condition: of all who try at the same time one succeeds, on every kind of storage."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gristmill.pipeline import storage
from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.storage import versions


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "place")
        return
    location = f"memory://conditions-{uuid.uuid4().hex}"
    yield location
    storage.remove(location)


def test_a_record_is_created_replaced_and_removed_by_who_knows_its_etag(place: str) -> None:
    record = f"{place}/record.json"
    assert storage.read_with_etag(record) is None
    first = storage.replace_if(record, b"one", None)
    assert first is not None and storage.replace_if(record, b"two", None) is None
    second = storage.replace_if(record, b"two", first)
    assert second is not None and storage.read_with_etag(record) == (b"two", second)
    assert storage.replace_if(record, b"three", first) is None and not storage.delete_if(record, first)
    assert storage.delete_if(record, second) and storage.read_with_etag(record) is None
    assert storage.names_in(place) == []


def test_of_many_who_replace_a_record_one_succeeds_each_time(place: str) -> None:
    record, threads = f"{place}/count", 8
    storage.replace_if(record, b"first", None)
    replaced: list[str] = []
    stop = threading.Event()

    def replace(who: int) -> None:
        number = 0
        while not stop.is_set():
            there = storage.read_with_etag(record)
            assert there is not None, "there is a record at every moment"
            number += 1
            if storage.replace_if(record, b"%d of %d" % (number, who), there[1]) is not None:
                replaced.append(there[1])
                if len(replaced) >= 200:
                    stop.set()

    running = [threading.Thread(target=replace, args=(who,)) for who in range(threads)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    assert len(replaced) == len(set(replaced)) >= 200


def test_who_stood_still_replaces_nothing_even_when_the_number_is_free_again(tmp_path: Path) -> None:
    record = str(tmp_path / "record")
    etag = storage.replace_if(record, b"one", None)
    assert etag is not None
    later = storage.replace_if(record, b"two", etag)
    assert later is not None and storage.replace_if(record, b"three", later) is not None
    assert storage.replace_if(record, b"slow", etag) is None and storage.replace_if(record, b"slow", None) is None
    assert (storage.read_with_etag(record) or (b"",))[0] == b"three"
    last = storage.read_with_etag(record)
    assert last is not None and storage.replace_if(record, b"four", last[1]) is not None
    assert len(storage.names_in(str(tmp_path))) == 2, "what the slow one made is cleared"
    last = storage.read_with_etag(record)
    assert last is not None and storage.delete_if(record, last[1])
    assert storage.replace_if(record, b"slow", last[1]) is None and storage.read_with_etag(record) is None


def test_a_process_that_ends_in_the_middle_leaves_the_older_or_the_newer_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = str(tmp_path / "record")
    etag = storage.replace_if(record, b"one", None)

    def killed(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "unlink", killed)
        storage.replace_if(record, b"two", etag)
    there = storage.read_with_etag(record)
    assert there is not None and there[0] in (b"one", b"two")
    assert storage.replace_if(record, b"three", there[1]) is not None
    assert (storage.read_with_etag(record) or (b"",))[0] == b"three"
    assert [name for name in storage.names_in(str(tmp_path)) if not name.startswith(".")] == [
        f"record.{n:012d}" for n in (2, 3)
    ]


def test_storage_is_probed_and_left_as_it_was(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.probe_conditions(place)
    assert storage.names_in(place) == []
    if "://" not in place:
        monkeypatch.setattr(versions, "replace", lambda *arguments: "1")
        with pytest.raises(StorageError, match="does not keep the conditions of writes"):
            storage.probe_conditions(place)
