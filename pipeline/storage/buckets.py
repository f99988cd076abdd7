"""Buckets (`s3://`, `gs://`, `az://`), through obstore: a put is atomic there, and may be made on a condition.

Endpoints, regions and credentials come from the environment, by the names that each store's own tools use
(docs/storage.md). obstore is asked to try nothing again: that is decided in `retries`.
"""

from __future__ import annotations

import functools
import importlib
import io
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from gristmill.pipeline.errors import StorageError
from gristmill.pipeline.storage.advice import advice
from gristmill.pipeline.storage.retries import RETRY_SECONDS, part_retries, retrying
from gristmill.pipeline.storage.store_errors import EndsBeforeError, NoCredentialsError, told_by_store
from gristmill.pipeline.storage.streams import Paths, Tee, WrittenFile, read_back, reason

Value = TypeVar("Value")

PROTOCOLS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "azure": "az", "abfs": "az", "abfss": "az"}
"""What a URL of a bucket begins with → which kind of store that is."""

_VARIABLES = ("AWS_", "GOOGLE_", "AZURE_")
PART_BYTES = 16 << 20
"""Files of more than two of these are put in parts."""
READ_BYTES = 4 << 20
"""Bytes that a stream asks for at once, unless its reader wants more."""
MOST = 1 << 16
"""Bytes that are read of a record which is replaced on conditions."""
_SECONDS = 120
"""Longest time for one request with its body."""
_READ_BUFFER = 1 << 16


def is_bucket(location: str) -> bool:
    """Whether a location is in a bucket of a store with conditional puts."""
    return "://" in location and location.partition("://")[0] in PROTOCOLS


class Buckets:
    """The operations of `pipeline.storage.Store` on buckets."""

    def open_read(self, location: str) -> Any:
        with _told(location, "cannot be opened for reading"):
            return io.BufferedReader(_Ranges(location), _READ_BUFFER)

    def range_get(self, location: str, start: int, length: int) -> bytes:
        with _told(location, "cannot be read"):
            return got(location, start, length)[0] if length > 0 else b""

    def read_with_etag(self, location: str) -> tuple[bytes, str] | None:
        with _told(location, "cannot be read"):
            try:
                return _call(
                    lambda obs, store, key: _record(obs.get(store, key, options={"range": (0, MOST)})), location
                )
            except EndsBeforeError:
                return b"", _call(lambda obs, store, key: _etag(obs.head(store, key)), location)
            except FileNotFoundError:
                return None

    def write_checked(self, location: str, write: Callable[[Any], None], attempt: str) -> WrittenFile:
        # Through a local file: it is sent again as a whole when a connection breaks.
        with tempfile.NamedTemporaryFile(prefix="gristmill-") as partial:
            try:
                tee = Tee(partial)
                write(tee)
                partial.flush()
            except OSError as error:
                raise StorageError(f"{location}: cannot be written: {reason(error)}") from error
            self.put_file(location, Path(partial.name))
        try:
            read_back(
                location, self.open_read(location), tee.sha256.hexdigest(), "Check the store; the object was removed."
            )
        except StorageError:
            self.delete(location)
            raise
        return WrittenFile(location, tee.size, tee.sha256.hexdigest())

    def put_file(self, location: str, file: Path) -> None:
        with _told(location, "cannot be written"):
            parts = file.stat().st_size > 2 * PART_BYTES
            sent = file if parts else file.read_bytes()
            options = {"use_multipart": parts, "chunk_size": PART_BYTES, "max_concurrency": 2}
            _call(lambda obs, store, key: obs.put(store, key, sent, **options), location, parts=parts)

    def put(self, location: str, data: bytes, seconds: float = RETRY_SECONDS) -> None:
        with _told(location, "cannot be written"):
            _call(lambda obs, store, key: obs.put(store, key, data, use_multipart=False), location, seconds)

    def put_if_absent(self, location: str, data: bytes) -> bool:
        return self._put_on(location, data, "create") is not None

    def replace_if(self, location: str, data: bytes, etag: str | None, seconds: float = RETRY_SECONDS) -> str | None:
        name = "version" if _kind(location) == "gs" else "e_tag"
        return self._put_on(location, data, "create" if etag is None else {name: etag}, seconds)

    def _put_on(self, location: str, data: bytes, mode: Any, seconds: float = RETRY_SECONDS) -> str | None:
        """The object's new ETag, or None when the condition does not hold. Equal bytes there are our own when the answer to
        a first request was lost and it was made again."""
        asked = 0

        def put(obs: Any, store: Any, key: str) -> Any:
            nonlocal asked
            asked += 1
            try:
                return obs.put(store, key, data, mode=mode, use_multipart=False)
            except (obs.exceptions.AlreadyExistsError, obs.exceptions.PreconditionError):
                return None

        with _told(location, "cannot be written"):
            done = _call(put, location, seconds)
            if done is not None:
                return _etag(done)
            there = self.read_with_etag(location) if asked > 1 else None
            return there[1] if there is not None and there[0] == data else None

    def delete_if(self, location: str, etag: str) -> bool:
        # Stores that remove on a condition are few. One that was replaced on that condition is nobody else's any more.
        mark = b"gristmill: being removed " + secrets.token_hex(16).encode()
        if self.replace_if(location, mark, etag) is None:
            return False
        self._remove(location, [""])
        return True

    def move(self, source: str, target: str, sha256: str) -> None:
        with _told(target, f"{source} cannot be copied there"):
            if _split(source)[0] == _split(target)[0]:
                place = _split(target)[1]
                _call(lambda obs, store, key: obs.copy(store, key, place), source)
            else:
                raise StorageError(f"{target}: {source} lies in another bucket.")
        read_back(target, self.open_read(target), sha256, "Check the store, and run the same command again.")
        self._remove(source, [""])

    def exists(self, location: str) -> bool:
        return self.size(location) is not None or bool(self._page(location))

    def size(self, location: str) -> int | None:
        head = self.head(location)
        return head[0] if head is not None else None

    def head(self, location: str) -> tuple[int, str] | None:
        """Bytes of a file and its ETag, or None when there is none."""
        with _told(location, "cannot be looked up"):
            try:
                meta = _call(lambda obs, store, key: obs.head(store, key), location)
            except FileNotFoundError:
                return None
            return int(meta["size"]), meta["e_tag"] or ""

    def list(self, location: str) -> Paths:
        return [path for path, _ in self.sizes(location)]

    def sizes(self, location: str) -> Sequence[tuple[str, int]]:
        """All files below a folder, relative, sorted, each with its bytes."""
        return [(path, size) for path, size, _ in self.found(location)]

    def found(self, location: str) -> Sequence[tuple[str, int, str]]:
        """All files below a folder, relative, sorted, each with its bytes and ETag."""
        with _told(location, "cannot be listed"):
            begin = len(_prefix(location))

            def listed(obs: Any, store: Any, key: str) -> Any:
                return [one for page in obs.list(store, key or None) for one in page]

            some = _call(listed, location)
            return sorted((one["path"][begin:], int(one["size"]), one["e_tag"] or "") for one in some)

    def names(self, location: str) -> Paths:
        with _told(location, "cannot be listed"):
            found = _call(lambda obs, store, key: obs.list_with_delimiter(store, key or None), location)
            begin = len(_prefix(location))
            paths = [*found["common_prefixes"], *(one["path"] for one in found["objects"])]
            return sorted({str(path)[begin:].strip("/") for path in paths})

    def delete(self, location: str) -> None:
        paths = self.list(location)
        self._remove(location, ["", *("/" + path for path in paths)])

    def _remove(self, location: str, below: Sequence[str]) -> None:
        with _told(location, "cannot be removed"):
            key = _split(location)[1]
            keys = [key + path for path in below if key + path]

            def remove(obs: Any, store: Any, key: str) -> None:
                obs.delete(store, keys if len(keys) > 1 else keys[0])

            try:
                _call(remove, location)
            except FileNotFoundError:
                return  # some stores say so; others do not

    def _page(self, location: str) -> Sequence[Any]:
        with _told(location, "cannot be listed"):
            return list(_call(lambda obs, store, key: next(iter(obs.list(store, key, chunk_size=1)), []), location))


class _Ranges(io.RawIOBase):
    """A seekable stream over one object, by ranges; an object that is replaced meanwhile is an error."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self._location = location
        self._window, self._begin, self._position = b"", 0, 0
        self._window, self._size, self._etag = got(location, 0, READ_BYTES)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._size:
            return 0
        start = self._position - self._begin
        if not 0 <= start < len(self._window):
            wanted = min(max(len(buffer), READ_BYTES), self._size - self._position)
            with _told(self._location, "cannot be read"):
                self._window = got(self._location, self._position, wanted, self._etag)[0]
            self._begin, start = self._position, 0
        data = memoryview(self._window)[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def got(location: str, start: int, length: int, etag: str | None = None) -> tuple[bytes, int, str]:
    """At most `length` bytes from `start` on, the size of the object and its ETag. Raises FileNotFoundError."""

    def get(obs: Any, store: Any, key: str) -> tuple[bytes, int, str]:
        options: dict[str, Any] = {"range": (start, start + length)}
        if etag:
            options["if_match"] = etag
        try:
            result = obs.get(store, key, options=options)
        except obs.exceptions.PreconditionError as error:
            raise StorageError(
                f"{location}: it was replaced by another object while it was read. Let nothing write there, and run again."
            ) from error
        return bytes(result.bytes()), int(result.meta["size"]), result.meta["e_tag"] or ""

    try:
        return _call(get, location)
    except EndsBeforeError:
        meta = _call(lambda obs, store, key: obs.head(store, key), location)
        return b"", int(meta["size"]), meta["e_tag"] or ""


def _record(result: Any) -> tuple[bytes, str]:
    return bytes(result.bytes()), _etag(result.meta)


def _etag(said: Any) -> str:
    """What a later put names as its condition: the generation in Google's store, the ETag elsewhere."""
    return str(said.get("version") or said.get("e_tag") or "")


def _split(location: str) -> tuple[str, str]:
    """The address of the bucket, and the key in it. A key may hold any character: `?` and `#` too."""
    protocol, _, rest = location.partition("://")
    bucket, _, key = rest.partition("/")
    return f"{protocol}://{bucket}", key.strip("/")


def _prefix(location: str) -> str:
    key = _split(location)[1]
    return key + "/" if key else ""


def _kind(location: str) -> str:
    return PROTOCOLS[location.partition("://")[0]]


def _call(
    request: Callable[[Any, Any, str], Value], location: str, seconds: float = RETRY_SECONDS, parts: bool = False
) -> Value:
    """`request(obstore, store, key)`, again while its errors are transient."""
    obs = client()
    bucket, key = _split(location)
    store = _store(bucket, parts, os.getpid(), _environment())

    def ask() -> Value:
        try:
            return request(obs, store, key)
        except (obs.exceptions.BaseError, FileNotFoundError) as error:
            raise told_by_store(error) from None

    return retrying(ask, seconds)


def client() -> Any:
    """The module obstore. Raises ImportError."""
    try:
        return importlib.import_module("obstore")
    except ImportError as error:
        raise ImportError("the package obstore is not installed") from error


def _environment() -> tuple[tuple[str, str], ...]:
    return tuple(sorted(item for item in os.environ.items() if item[0].startswith(_VARIABLES)))


@functools.lru_cache(maxsize=64)
def _store(bucket: str, parts: bool, process: int, environment: tuple[tuple[str, str], ...]) -> Any:
    """A client; one per process, since its threads do not survive a fork, and per state of the environment."""
    client()
    stores, exceptions = importlib.import_module("obstore.store"), importlib.import_module("obstore.exceptions")
    variables = dict(environment)
    # Who sets an address with http:// has said that nothing is to be encrypted.
    plain = any(
        value.startswith("http://") for name, value in environment if name.endswith(("ENDPOINT", "ENDPOINT_URL"))
    )
    emulated = variables.get("AZURE_STORAGE_USE_EMULATOR", "").lower() in ("1", "true")
    options: dict[str, Any] = {
        "client_options": {"timeout": timedelta(seconds=_SECONDS), "allow_http": plain or emulated},
        "retry_config": part_retries() if parts else {"max_retries": 0},
    }
    if _kind(bucket) == "s3" and (provider := _profile(variables)) is not None:
        options["credential_provider"] = provider
    try:
        return stores.from_url(bucket, **options)
    except exceptions.BaseError as error:
        raise told_by_store(error) from None


def _profile(variables: dict[str, str]) -> Any:
    """Credentials of a profile in ~/.aws, by boto3; None where the environment has some, or there is no such file."""
    direct = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE")
    if any(variables.get(name) for name in direct) or any("CONTAINER_CREDENTIALS" in name for name in variables):
        return None
    files = (
        variables.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        variables.get("AWS_CONFIG_FILE", "~/.aws/config"),
    )
    if not any(os.path.exists(os.path.expanduser(file)) for file in files) and "AWS_PROFILE" not in variables:
        return None
    try:
        provider = importlib.import_module("obstore.auth.boto3").Boto3CredentialProvider
    except ImportError as error:
        raise ImportError("the package boto3, which reads profiles (~/.aws), is not installed") from error
    try:
        return provider()
    except ValueError as error:
        raise NoCredentialsError("the profile has none") from error


@contextmanager
def _told(location: str, what: str) -> Iterator[None]:
    """Errors as StorageError with advice. An object that is not there stays what it is."""
    try:
        yield
    except (StorageError, FileNotFoundError):
        raise
    except Exception as error:  # a client raises what it likes
        raise StorageError(f"{location}: {what}: {advice(location, error)}") from error


__all__ = ["PROTOCOLS", "Buckets", "client", "got", "is_bucket"]
