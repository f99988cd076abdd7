"""The storage interface on a bucket over HTTP: conditions, ranges, errors that pass, and what is told of those that stay."""

from __future__ import annotations

import threading
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline import storage
from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.source import SourceConfig
from gristmill.pipeline.storage import retries
from gristmill.stages.sources.listing import find_files
from tests.cluster.s3_server import Faults, S3Server

pytestmark = pytest.mark.cluster


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waits between attempts."""
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(retries, "LONGEST_WAIT", 0.01)


def test_objects_appear_are_listed_moved_and_removed(s3_bucket: str) -> None:
    written = storage.write_checked(f"{s3_bucket}/a/b?#.bin", lambda stream: stream.write(b"sound"))
    assert written.size == 5 and storage.sha256_of(f"{s3_bucket}/a/b?#.bin") == written.sha256
    storage.put(f"{s3_bucket}/a/deep/c", b"")
    storage.put(f"{s3_bucket}/ab", b"beside")
    assert storage.list_files(f"{s3_bucket}/a") == ["b?#.bin", "deep/c"]
    assert storage.names_in(f"{s3_bucket}/a") == ["b?#.bin", "deep"]
    assert storage.names_in(s3_bucket) == ["a", "ab"]
    assert storage.size_of(f"{s3_bucket}/a") is None and storage.exists(f"{s3_bucket}/a")
    assert storage.size_of(f"{s3_bucket}/a/deep/c") == 0 and not storage.exists(f"{s3_bucket}/a/dee")
    assert storage.read_small(f"{s3_bucket}/a/deep/c", 9) == b"" and storage.read_small(f"{s3_bucket}/none", 9) is None
    assert storage.range_get(f"{s3_bucket}/a/b?#.bin", 1, 3) == b"oun"
    assert storage.range_get(f"{s3_bucket}/a/b?#.bin", 3, 99) == b"nd"
    assert storage.range_get(f"{s3_bucket}/a/b?#.bin", 9, 9) == b""
    storage.move(f"{s3_bucket}/a/b?#.bin", f"{s3_bucket}/moved", written.sha256)
    storage.remove(f"{s3_bucket}/a")
    assert storage.names_in(s3_bucket) == ["ab", "moved"]
    storage.remove(f"{s3_bucket}/nothing")


def test_a_large_file_goes_in_parts_and_is_read_in_few_requests(s3_server: S3Server, s3_bucket: str) -> None:
    table = pa.table({"a": pa.array(range(2_000_000)), "b": [f"{i:020d}" for i in range(2_000_000)]})

    def writer(stream: Any) -> None:
        pq.write_table(table, stream, compression="none", use_dictionary=False)

    size = storage.write_checked(f"{s3_bucket}/large.parquet", writer).size
    assert size > 40 << 20
    assert s3_server.requests["PUT"] <= 2 * size / (8 << 20) + 4
    assert s3_server.requests["GET"] <= 2.5 * size / (1 << 20) + 4
    with storage.open_read(f"{s3_bucket}/large.parquet") as stream:
        assert pq.read_table(stream).equals(table)


def test_of_many_who_create_or_replace_one_object_one_succeeds(s3_bucket: str) -> None:
    won: list[str] = []
    start = threading.Barrier(8)

    def create(number: int) -> None:
        start.wait()
        if storage.put_if_absent(f"{s3_bucket}/one", b"%d" % number):
            won.append("created")
        etag = storage.replace_if(f"{s3_bucket}/record", b"%d" % number, None)
        start.wait()
        there = storage.read_with_etag(f"{s3_bucket}/record")
        assert there is not None
        start.wait()
        if etag is not None:
            won.append("record")
        if storage.replace_if(f"{s3_bucket}/record", b"again %d" % number, there[1]) is not None:
            won.append("replaced")

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == ["created", "record", "replaced"]
    there = storage.read_with_etag(f"{s3_bucket}/record")
    assert there is not None and there[0].startswith(b"again")
    assert not storage.delete_if(f"{s3_bucket}/record", '"of another"')
    assert storage.delete_if(f"{s3_bucket}/record", there[1])
    assert storage.read_with_etag(f"{s3_bucket}/record") is None


def test_a_conditional_write_whose_answer_was_lost_is_known_as_ones_own(
    s3_server: S3Server, s3_bucket: str, quick: None
) -> None:
    s3_server.break_by(Faults(lost_conditional=0.5, seed=3))
    etag = None
    for number in range(10):
        assert storage.put_if_absent(f"{s3_bucket}/{number}", b"mine")
        etag = storage.replace_if(f"{s3_bucket}/record", b"mine %d" % number, etag)
        assert etag is not None
    assert s3_server.hurt["lost"] > 4
    assert not storage.put_if_absent(f"{s3_bucket}/0", b"theirs")


@pytest.mark.parametrize("faults", [Faults(busy=0.3), Faults(broken=0.3), Faults(cut=0.4), Faults(lost=0.3)], ids=str)
def test_what_passes_is_tried_again(s3_server: S3Server, s3_bucket: str, quick: None, faults: Faults) -> None:
    s3_server.break_by(faults)
    data = bytes(range(256)) * 30_000
    for number in range(8):
        storage.write_checked(f"{s3_bucket}/{number}", lambda stream: stream.write(data))
        assert storage.range_get(f"{s3_bucket}/{number}", 5_000_000, 1000) == data[5_000_000:5_001_000]
    assert storage.list_files(s3_bucket) == [str(number) for number in range(8)]
    assert sum(s3_server.hurt.values()) > 2


def test_an_object_that_is_replaced_while_it_is_read_is_an_error(s3_bucket: str) -> None:
    storage.put(f"{s3_bucket}/a", bytes(9 << 20))
    with storage.open_read(f"{s3_bucket}/a") as stream:
        stream.read(10)
        storage.put(f"{s3_bucket}/a", b"1" * (9 << 20))
        with pytest.raises(StorageError, match="replaced by another object while it was read"):
            stream.read()


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        (
            Faults(denied=frozenset({"PUT"})),
            "HTTP 403 AccessDenied: Access Denied: access is refused: set AWS_ACCESS_KEY_ID",
        ),
        (Faults(region="eu-west-1"), "another region: set AWS_REGION"),
        (Faults(conditions="refused"), "lacks an operation that is needed"),
        (Faults(conditions="ignored"), "does not keep the conditions of writes"),
        (Faults(busy=1.0), "the server still answers HTTP 503 after several attempts"),
    ],
    ids=["denied", "region", "refused", "ignored", "busy"],
)
def test_a_store_that_cannot_be_used_is_told_with_what_to_do_and_no_secret(
    s3_server: S3Server, s3_bucket: str, quick: None, faults: Faults, told: str
) -> None:
    s3_server.break_by(faults)
    with pytest.raises(StorageError) as error:
        storage.probe_conditions(s3_bucket)
    assert told in str(error.value) and s3_bucket in str(error.value)
    assert "test-key-id" not in str(error.value) and "test-secret" not in str(error.value)


def test_a_store_that_keeps_conditions_is_left_as_it_was(s3_bucket: str) -> None:
    storage.probe_conditions(f"{s3_bucket}/work")
    assert storage.list_files(s3_bucket) == []


def test_other_things_that_are_missing_are_told(
    s3_server: S3Server, s3_bucket: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageError, match="NoSuchBucket.*create the bucket, or check its name"):
        storage.put("s3://no-such-bucket-here/a", b"")
    with pytest.raises(StorageError, match="NoSuchBucket"):
        storage.read_small("s3://no-such-bucket-here/a", 1)
    with pytest.raises(StorageError, match="NoSuchBucket"):
        storage.list_files("s3://no-such-bucket-here/a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://nowhere.invalid:1")
    with pytest.raises(StorageError, match="the name of the server is not known"):
        storage.put(f"{s3_bucket}/a", b"")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StorageError, match="nothing listens at this address"):
        storage.put(f"{s3_bucket}/a", b"")


def test_a_source_is_found_by_file_folder_and_glob(s3_server: S3Server, s3_bucket: str) -> None:
    for name in ("in/a.jsonl", "in/deep/b.jsonl", "in/_SUCCESS", "in/c.txt"):
        storage.put(f"{s3_bucket}/{name}", b"{}")

    def paths(*patterns: str) -> list[str]:
        config = SourceConfig(format="jsonl", paths=tuple(s3_bucket + one for one in patterns))
        return [file.path for file in find_files("s", config, (".jsonl",))]

    assert paths("/in") == ["a.jsonl", "deep/b.jsonl"]
    s3_server.requests.clear()
    assert paths("/in/*.jsonl") == ["a.jsonl"] and paths("/in/**/*.jsonl") == ["a.jsonl", "deep/b.jsonl"]
    assert s3_server.requests["HEAD"] == 0, "what was listed is not asked for file by file"
    assert paths("/in/a.jsonl") == ["a.jsonl"]
    stamps = {
        file.stamp for file in find_files("s", SourceConfig(format="jsonl", paths=(f"{s3_bucket}/in",)), (".jsonl",))
    }
    assert all(stamp.startswith("e_tag:") for stamp in stamps)
