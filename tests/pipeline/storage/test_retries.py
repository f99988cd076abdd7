"""One transient error of storage ends no run; what is not transient ends it at once; and it ends in time."""

from __future__ import annotations

import errno
import functools
import io
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline import storage
from gristmill.pipeline.errors import DataError, StorageError
from gristmill.pipeline.source import SourceConfig
from gristmill.pipeline.storage import retries
from gristmill.pipeline.storage.retries import ATTEMPTS, LONGEST_WAIT, is_transient, retrying
from gristmill.stages.sources.listing import find_files


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits between attempts, which take no time here."""
    found: list[float] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        found.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(retries.time, "sleep", sleep)
    monkeypatch.setattr(retries.time, "monotonic", lambda: now[0])
    return found


@pytest.fixture
def remote() -> Iterator[str]:
    place = f"memory://retries-{uuid.uuid4().hex}"
    yield place
    storage.remove(place)


def failing(times: int, error: BaseException, value: str = "done") -> Callable[[], str]:
    left = [times]

    def call() -> str:
        if left[0]:
            left[0] -= 1
            raise error
        return value

    return call


class Answered(Exception):
    """As aiohttp's, gcsfs's and azure-core's errors: no OSError, and a status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class Translated(OSError):
    """As s3fs: an input or output error that says nothing, whose cause is botocore's."""

    def __init__(self, status: int) -> None:
        super().__init__(errno.EIO, "what the server said")
        cause = Exception("ClientError")
        cause.response = {"ResponseMetadata": {"HTTPStatusCode": status}}  # type: ignore[attr-defined]
        self.__cause__ = cause


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionResetError(errno.ECONNRESET, "reset"), True),
        (TimeoutError(), True),
        (OSError(errno.ESTALE, "stale"), True),
        (Answered(503), True),
        (Answered(429), True),
        (Translated(500), True),
        (type("ServerDisconnectedError", (Exception,), {})(), True),
        (OSError(errno.ENOSPC, "full"), False),
        (OSError(errno.EIO, "broken disk"), False),
        (PermissionError(errno.EACCES, "no"), False),
        (FileNotFoundError(errno.ENOENT, "none"), False),
        (Answered(403), False),
        (Translated(404), False),
        (ValueError("a defect"), False),
    ],
)
def test_what_is_transient(error: BaseException, expected: bool) -> None:
    assert is_transient(error) is expected


def test_transient_errors_are_tried_again_with_waits_that_grow_and_differ(waits: list[float]) -> None:
    assert retrying(failing(ATTEMPTS - 1, ConnectionResetError())) == "done"
    assert len(waits) == ATTEMPTS - 1 == len(set(waits))
    assert all(wait <= min(LONGEST_WAIT, retries.FIRST_WAIT * 2**i) for i, wait in enumerate(waits))


def test_attempts_end(waits: list[float]) -> None:
    with pytest.raises(ConnectionResetError):
        retrying(failing(ATTEMPTS, ConnectionResetError()))
    assert len(waits) == ATTEMPTS - 1
    with pytest.raises(ConnectionResetError):
        retrying(failing(5, ConnectionResetError()), seconds=0.0)
    assert len(waits) == ATTEMPTS - 1


def test_other_errors_end_it_at_once(waits: list[float]) -> None:
    with pytest.raises(OSError, match="full"):
        retrying(failing(1, OSError(errno.ENOSPC, "full")))
    assert waits == []


@pytest.mark.parametrize(
    ("method", "act"),
    [
        ("put_file", lambda place: storage.write_checked(f"{place}/b", lambda stream: stream.write(b"sound"))),
        ("pipe_file", lambda place: storage.put(f"{place}/b", b"sound")),
        ("pipe_file", lambda place: storage.put_if_absent(f"{place}/b", b"sound")),
        ("cat_file", lambda place: storage.read_small(f"{place}/a", 100)),
        ("find", lambda place: storage.list_files(place)),
        ("find", lambda place: list(storage.items_within(place))),
        ("ls", lambda place: storage.names_in(place)),
        ("info", lambda place: storage.size_of(f"{place}/a")),
        ("info", lambda place: storage.exists(f"{place}/a")),
        ("cp_file", lambda place: storage.move(f"{place}/a", f"{place}/b", storage.sha256_of(f"{place}/a"))),
        ("rm", lambda place: storage.remove(f"{place}/a")),
        ("_open", lambda place: storage.sha256_of(f"{place}/a")),
    ],
)
def test_every_operation_on_a_store_survives_an_error_that_passes(
    remote: str, waits: list[float], monkeypatch: pytest.MonkeyPatch, method: str, act: Callable[[str], Any]
) -> None:
    storage.put(f"{remote}/a", b"sound")
    system = type(fsspec.core.url_to_fs(remote)[0])
    real, left = getattr(system, method), [2]

    @functools.wraps(real)
    def flaky(self: Any, *args: Any, **options: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise Answered(503)
        return real(self, *args, **options)

    monkeypatch.setattr(system, method, flaky)
    act(remote)
    assert left == [0] and len(waits) == 2
    storage.put(f"{remote}/a", b"sound")
    left[0] = 10**6
    with pytest.raises(StorageError, match="status 503"):
        act(remote)
    left[0] = 0


@pytest.mark.parametrize("method", ["find", "info", "glob"])
@pytest.mark.parametrize("path", ["", "/a.jsonl", "/*.jsonl"])
def test_a_source_is_listed_in_spite_of_errors_that_pass(
    remote: str, waits: list[float], monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    """fsspec's own `exists` and `isdir` take a busy server for one that has no such file."""
    storage.put(f"{remote}/a.jsonl", b"{}")
    system = type(fsspec.core.url_to_fs(remote)[0])
    real, calls, failing_calls = getattr(system, method), [0], [2]

    @functools.wraps(real)
    def flaky(self: Any, *args: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] <= failing_calls[0]:
            raise Answered(503)
        return real(self, *args, **options)

    monkeypatch.setattr(system, method, flaky)
    config = SourceConfig(format="jsonl", paths=(remote + path,))
    assert [(file.path, file.size) for file in find_files("s", config, (".jsonl",))] == [("a.jsonl", 2)]
    if calls[0]:
        failing_calls[0] = 10**6
        with pytest.raises(DataError, match="503"):
            find_files("s", config, (".jsonl",))
        failing_calls[0] = 0


def test_a_read_goes_on_where_the_connection_broke(
    remote: str, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.table({"a": pa.array(range(100_000)), "b": [str(i) for i in range(100_000)]})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=10_000)
    storage.put(f"{remote}/a.parquet", buffer.getvalue())
    system = type(fsspec.core.url_to_fs(remote)[0])
    real = system._open
    reads = [0]

    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            reads[0] += 1
            if reads[0] % 3 == 0:
                raise ConnectionResetError(errno.ECONNRESET, "reset")
            return super().read(size)

    monkeypatch.setattr(system, "_open", lambda self, *args, **options: Breaking(real(self, *args, **options).read()))
    with storage.open_read(f"{remote}/a.parquet") as stream:
        assert pq.read_table(stream).equals(table)
    assert reads[0] >= 4 and waits


def test_what_a_store_says_is_an_error_in_words_and_no_defect(remote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system = type(fsspec.core.url_to_fs(remote)[0])

    def refuse(self: Any, *args: Any, **options: Any) -> None:
        raise Answered(403)

    monkeypatch.setattr(system, "pipe_file", refuse)
    with pytest.raises(StorageError, match=r"/a: cannot be written: Answered: status 403"):
        storage.put(f"{remote}/a", b"x")
