"""Azure Blob Storage, as Azurite emulates it: the storage interface, and a whole run."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gristmill.pipeline import storage
from gristmill.pipeline.errors import StorageError
from tests.cluster.azurite import KEY, Azurite, serving
from tests.cluster.runs import config, contents, finished, write_web

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with serving(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture
def container(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> str:
    """`az://` and a container that holds nothing."""
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
    name = f"container-{uuid.uuid4().hex[:12]}"
    azurite.make_container(name)
    return f"az://{name}"


def test_the_storage_interface(container: str) -> None:
    storage.probe_conditions(f"{container}/work")
    written = storage.write_checked(f"{container}/a/b", lambda stream: stream.write(b"sound"))
    storage.put(f"{container}/a/c", b"")
    assert storage.list_files(container) == ["a/b", "a/c"] and storage.names_in(f"{container}/a") == ["b", "c"]
    assert storage.read_small(f"{container}/a/c", 9) == b"" and storage.read_small(f"{container}/none", 9) is None
    assert storage.range_get(f"{container}/a/b", 3, 9) == b"nd" and storage.range_get(f"{container}/a/b", 9, 9) == b""
    assert storage.put_if_absent(f"{container}/one", b"mine") and not storage.put_if_absent(
        f"{container}/one", b"other"
    )
    first = storage.replace_if(f"{container}/record", b"one", None)
    assert first is not None and storage.replace_if(f"{container}/record", b"two", None) is None
    second = storage.replace_if(f"{container}/record", b"two", first)
    assert second is not None and storage.replace_if(f"{container}/record", b"three", first) is None
    assert storage.read_with_etag(f"{container}/record") == (b"two", second)
    assert not storage.delete_if(f"{container}/record", first) and storage.delete_if(f"{container}/record", second)
    storage.move(f"{container}/a/b", f"{container}/moved", written.sha256)
    storage.remove(f"{container}/a")
    storage.remove(f"{container}/nothing")
    assert storage.names_in(container) == ["moved", "one"]
    large = storage.write_checked(f"{container}/large", lambda stream: stream.write(bytes(40 << 20)))
    assert storage.sha256_of(f"{container}/large") == large.sha256


def test_what_is_missing_is_told_without_the_key(container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match="ContainerNotFound.*create the bucket") as error:
        storage.put("az://not-there/a", b"")
    assert KEY not in str(error.value)
    wrong = "B" + KEY[1:]
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", wrong)
    with pytest.raises(StorageError, match="access is refused: set AZURE_STORAGE_ACCOUNT_NAME") as error:
        storage.put(f"{container}/a", b"")
    assert wrong not in str(error.value) and "Signature" not in str(error.value)


def test_a_run_in_a_container_has_the_bytes_of_one_on_a_file_system(container: str, tmp_path: Path) -> None:
    write_web(f"{tmp_path}/in", count=300)
    write_web(f"{container}/in", count=300)
    finished(config(f"{tmp_path}/in", f"{tmp_path}/out", f"{tmp_path}/work"), tmp_path, "--executor", "inline")
    finished(config(f"{container}/in", f"{container}/out", f"{container}/work"), tmp_path, "--executor", "inline")
    assert contents(f"{container}/out") == contents(f"{tmp_path}/out")
    assert storage.names_in(container) == ["in", "out"]
