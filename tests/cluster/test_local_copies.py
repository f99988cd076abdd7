"""What a machine keeps on its own disk of files in buckets: by digest, within a bound, and never believed."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.pipeline import storage
from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.storage import local_copies
from gristmill.pipeline.work_files import open_part, read_checked, write_work
from tests.cluster.s3_server import S3Server

pytestmark = pytest.mark.cluster


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"gristmill-copies-{os.getuid()}"


def write(location: str, number: int, rows: int = 1000) -> tuple[str, pa.Table]:
    table = pa.table({"a": pa.array(range(number, number + rows))})

    def body(stream: object) -> None:
        with pa.ipc.new_file(stream, table.schema) as writer:
            writer.write_table(table)

    return write_work(location, body).sha256, table


def test_what_was_written_or_read_here_is_not_fetched_again(s3_server: S3Server, s3_bucket: str, copies: Path) -> None:
    sha256, table = write(f"{s3_bucket}/a", 1)
    s3_server.requests.clear()
    assert read_checked(f"{s3_bucket}/a", sha256, "").equals(table) and not s3_server.requests
    (copies / sha256).unlink()
    for _ in range(3):
        assert read_checked(f"{s3_bucket}/a", sha256, "").equals(table)
        with open_part(f"{s3_bucket}/a", sha256) as stream:
            assert hashlib.file_digest(stream, "sha256").hexdigest() == sha256
    assert s3_server.requests["GET"] == 1
    assert os.listdir(copies) == [sha256] and os.listdir(copies.parent) == [copies.name]


def test_a_damaged_copy_is_fetched_again_and_a_damaged_object_is_an_error(
    s3_server: S3Server, s3_bucket: str, copies: Path
) -> None:
    sha256, table = write(f"{s3_bucket}/a", 1)
    data = (copies / sha256).read_bytes()
    (copies / sha256).write_bytes(data[:-1] + b"\0")
    assert read_checked(f"{s3_bucket}/a", sha256, "").equals(table)
    assert (copies / sha256).read_bytes() == data
    (copies / sha256).unlink()
    storage.put(f"{s3_bucket}/a", data[:-1] + b"\0")
    with pytest.raises(ConservationError, match=r"this changed \(expected SHA-256 [0-9a-f]{64}, found [0-9a-f]{64}\)"):
        read_checked(f"{s3_bucket}/a", sha256, "this changed")
    storage.remove(f"{s3_bucket}/a")
    with pytest.raises(ConservationError, match="found no file"):
        read_checked(f"{s3_bucket}/a", sha256, "this changed")
    assert os.listdir(copies) == []


def test_the_bound_holds_and_what_was_used_last_stays(
    s3_bucket: str, copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, table = write(f"{s3_bucket}/0", 0)
    size = (copies / first).stat().st_size
    monkeypatch.setenv(local_copies.BYTES_VARIABLE, str(size * 3))
    for number in range(1, 6):
        read_checked(f"{s3_bucket}/0", first, "")
        write(f"{s3_bucket}/{number}", number)
        assert sum(path.stat().st_size for path in copies.iterdir()) <= 3 * size
    assert (copies / first).exists() and len(list(copies.iterdir())) == 3
    large, other = write(f"{s3_bucket}/large", 0, rows=10_000)
    assert not (copies / large).exists() and read_checked(f"{s3_bucket}/large", large, "").equals(other)
    monkeypatch.setenv(local_copies.BYTES_VARIABLE, "0")
    last, table = write(f"{s3_bucket}/last", 9)
    assert not (copies / last).exists() and read_checked(f"{s3_bucket}/last", last, "").equals(table)


def test_a_place_that_others_can_open_is_not_used(s3_bucket: str, copies: Path) -> None:
    copies.mkdir()
    copies.chmod(0o777)
    sha256, table = write(f"{s3_bucket}/a", 1)
    assert read_checked(f"{s3_bucket}/a", sha256, "").equals(table) and not list(copies.iterdir())
