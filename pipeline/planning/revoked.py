"""The revocation list of a run (`revoked:`): read into 16-byte digests of its entries, and looked up for documents.

An entry is by URL, domain, id or content. A page is known by host, path and query of its URL: scheme, usual port, user
and fragment do not count. A domain stands for all hosts under it. See docs/decisions/0032-revoked-documents.md.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gristmill.pipeline.document import ID, TEXT, URL, one_chunk
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.reader_process import ReaderCrashed, is_expendable, shared_reader
from gristmill.pipeline.table_rows import table_rows, text_rows
from gristmill.pipeline.url import compared_target, host_and_target
from gristmill.pipeline.work_files import open_checked

KINDS = ("url", "domain", "id", "sha256")
MAX_ENTRIES = 1 << 24
"""Entries of all lists together: 16 bytes of each are held by every worker."""
MAX_ENTRY = 1 << 16
"""Bytes of an entry."""
ENTRY_BYTES = 16
_TABLES = (".parquet", ".jsonl", ".ndjson", ".json")
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+|\[[0-9a-f:.]+\]")
_PORT = re.compile(r":\d+$")


class RevokedConfig(BaseModel):
    """One list: a table (Parquet, JSON Lines) with columns `url`, `domain`, `id`, `sha256`, or a text with one entry a line."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str = Field(min_length=1, examples=["private/withdrawn.jsonl"])
    """The file."""
    kind: Literal["url", "domain", "id", "sha256"] | None = Field(None, examples=["domain"])
    """What a text file's lines are. Tables say it by their columns."""
    source: str | None = Field(None, examples=["crawl"])
    """Only ids of this source are meant, where a row's column `source` names no other."""

    @property
    def is_table(self) -> bool:
        """Whether the file is a table, by its ending."""
        name = self.path.lower().removesuffix(".gz").removesuffix(".zst")
        return name.endswith(_TABLES)

    @model_validator(mode="after")
    def _has_kind(self) -> RevokedConfig:
        if self.is_table == (self.kind is not None):
            told = "a table says by its columns what its entries are; leave `kind` out"
            raise ValueError(told if self.is_table else f"a text needs `kind`, one of {', '.join(KINDS)}")
        return self


@dataclass(frozen=True)
class Revoked:
    """The entries of a run's lists.

    Attributes:
        digest: SHA-256 of `packed`: the same for the same entries, in whatever files and order they stand.
        entries: how many different ones there are, by kind.
        location: the file that holds `packed`, for workers; None where they are held here.
        held: the 16-byte digests of all entries, ascending, one after another.
    """

    digest: str
    entries: Mapping[str, int]
    location: str | None = None
    held: bytes | None = field(default=None, repr=False, compare=False)

    @property
    def packed(self) -> bytes:
        """The digests of all entries. Raises ConservationError for a file that is another one."""
        if self.held is not None:
            return self.held
        what = f"{self.location}: the run's revocation list is not what was planned"
        with open_checked(str(self.location), self.digest, what) as stream:
            data: bytes = stream.read()
        return data

    @property
    def identity(self) -> dict[str, Any]:
        """What of the list is part of the run's identity."""
        return {"digest": self.digest, "entries": dict(self.entries)}

    @property
    def memory_bytes(self) -> int:
        """What a worker needs to hold the entries, at most."""
        return 2 * ENTRY_BYTES * sum(self.entries.values())

    def columns(self, payloads: frozenset[str]) -> frozenset[str]:
        """Input columns by which documents are looked up; `payloads` are those of a source without text."""
        by_url = {URL} if {"url", "domain"} & self.entries.keys() else set()
        by_content = payloads | {TEXT} if "sha256" in self.entries else set()
        return frozenset({ID, *by_url, *by_content})

    def documents(self, source: str, table: pa.Table, payloads: frozenset[str]) -> np.ndarray:
        """Which documents of a slice, as they were read, are on the list: bool."""
        found = np.zeros(table.num_rows, bool)
        names = set(table.column_names)
        if "id" in self.entries or "source_id" in self.entries:
            ids = one_chunk(table[ID]).cast(pa.string()).to_pylist()
            if "id" in self.entries:
                found |= self._listed("id", ids)
            if "source_id" in self.entries:
                found |= self._listed("source_id", [None if i is None else of_source(source, i) for i in ids])
        if URL in names and {"url", "domain"} & self.entries.keys() and _is_text(table.schema.field(URL).type):
            places = [None if u is None else host_and_target(u) for u in one_chunk(table[URL]).to_pylist()]
            if "url" in self.entries:
                found |= self._listed("url", [None if p is None else page(*p) for p in places])
            if "domain" in self.entries:
                hosts = sorted({_PORT.sub("", place[0]) for place in places if place is not None})
                listed = self._hosts(hosts)
                found |= np.array([p is not None and _PORT.sub("", p[0]) in listed for p in places], bool)
        if "sha256" in self.entries:
            for name in sorted(({TEXT} | payloads) & names):
                found |= self._listed("sha256", contents(table[name]))
        return found

    def _hosts(self, hosts: Sequence[str]) -> frozenset[str]:
        """Those of some hosts that are listed, or that lie under a listed domain."""
        names = [(host, host.split(".", cut)[cut]) for host in hosts for cut in range(host.count(".") + 1)]
        listed = self._listed("domain", [name for _, name in names])
        return frozenset(names[at][0] for at in np.flatnonzero(listed).tolist())

    def _listed(self, kind: str, values: Sequence[str | None]) -> np.ndarray:
        missing = np.array([value is None for value in values], bool)
        words = _words(b"".join(entry_digests(kind, ("" if value is None else value for value in values))))
        chosen: np.ndarray = self._holds(words) & ~missing
        return chosen

    def _holds(self, words: np.ndarray) -> np.ndarray:
        high, low = self._sorted
        at = np.searchsorted(high, words[:, 0])
        found = np.zeros(len(words), bool)
        rows = np.flatnonzero(at < len(high))
        while len(rows):  # entries whose first halves are equal follow each other
            rows = rows[high[at[rows]] == words[rows, 0]]
            found[rows] |= low[at[rows]] == words[rows, 1]
            at[rows] += 1
            rows = rows[(at[rows] < len(high)) & ~found[rows]]
        return found

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        words = _words(self.packed)
        return np.ascontiguousarray(words[:, 0]), np.ascontiguousarray(words[:, 1])


def page(host: str, target: str) -> str:
    """How a page is known, from what `host_and_target` finds in its URL.

    >>> page(*host_and_target("http://Example.com")) == page(*host_and_target("https://example.com:443/#top"))
    True
    """
    return f"{host}{compared_target(target) or '/'}"


def of_source(source: str, ident: str) -> str:
    """How an id of one source is known."""
    return f"{source}\x00{ident}"


def contents(column: pa.ChunkedArray) -> list[str | None]:
    """SHA-256 of each row's UTF-8 bytes, or bytes, in hexadecimal; None for nulls."""
    array = one_chunk(column).cast(pa.large_binary())
    _, offset_buffer, data = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[array.offset : array.offset + len(array) + 1].tolist()
    view = memoryview(b"" if data is None else data)
    valid = array.is_valid().to_pylist()
    return [
        hashlib.sha256(view[start:stop]).hexdigest() if here else None
        for start, stop, here in zip(offsets[:-1], offsets[1:], valid, strict=True)
    ]


def entry_digests(kind: str, values: Iterator[str]) -> Iterator[bytes]:
    """16 bytes of SHA-256 over `gristmill.revoked`, the kind and the value, with zero bytes between them."""
    prefix = hashlib.sha256(b"gristmill.revoked\x00" + kind.encode() + b"\x00")
    for value in values:
        one = prefix.copy()
        one.update(value.encode("utf-8", "surrogatepass"))
        yield one.digest()[:ENTRY_BYTES]


def _words(packed: bytes) -> np.ndarray:
    """Digests as uint64 of shape (entries, 2), whose numeric order is that of the bytes."""
    return np.frombuffer(packed, ">u8").astype(np.uint64).reshape(-1, 2)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


# Reading lists


def read_revoked(lists: Sequence[RevokedConfig]) -> Revoked | None:
    """The entries of a run's lists, read in a process of their own; None without any list.

    Raises ConfigError for a list that cannot be read and for an entry that is none: file, line or row, expected, found.
    """
    if not lists:
        return None
    if is_expendable():
        counts, packed = _read(lists)
    else:
        with tempfile.TemporaryDirectory(prefix="gristmill-") as folder:
            argument = {"lists": [one.model_dump(mode="json") for one in lists], "into": folder}
            size = sum(Path(one.path).stat().st_size for one in lists if Path(one.path).is_file())
            try:
                counts = shared_reader(__name__).call("read", argument, 10 * size)
            except ReaderCrashed as error:
                raise ConfigError(
                    f"revoked: {', '.join(one.path for one in lists)}: cannot be read: {error}."
                ) from error
            packed = (Path(folder) / "entries").read_bytes()
    return Revoked(hashlib.sha256(packed).hexdigest(), counts, held=packed)


def _read(lists: Sequence[RevokedConfig]) -> tuple[dict[str, int], bytes]:
    found: dict[str, bytearray] = {}
    number = 0
    for one in lists:
        for where, kind, value in _entries(one):
            number += 1
            if number > MAX_ENTRIES:
                raise ConfigError(f"{where}: more than {MAX_ENTRIES:,} entries. List domains in place of their pages.")
            found.setdefault(kind, bytearray()).extend(next(entry_digests(kind, iter((value,)))))
    distinct = {kind: _distinct(_words(bytes(packed))) for kind, packed in sorted(found.items())}
    everything = [np.empty((0, 2), np.uint64), *distinct.values()]
    packed = _distinct(np.concatenate(everything)).astype(">u8").tobytes()
    return {kind: len(words) for kind, words in distinct.items()}, packed


def _distinct(words: np.ndarray) -> np.ndarray:
    ordered = words[np.lexsort((words[:, 1], words[:, 0]))]
    new = np.ones(len(ordered), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return ordered[new]


def _entries(one: RevokedConfig) -> Iterator[tuple[str, str, str]]:
    """(where, kind, value as it is looked up) of each entry of a list."""
    path = Path(one.path)
    if not one.is_table:
        for where, line in text_rows(path):
            yield where, *_entry(where, str(one.kind), line, one.source)
        return
    for where, row in table_rows(path, (), (*KINDS, "source")):
        given = [(kind, row[kind]) for kind in KINDS if row.get(kind) is not None]
        if not given:
            raise ConfigError(f"{where}: expected an entry in one of the columns {', '.join(KINDS)}; found none.")
        source = row.get("source", one.source)
        if source is not None and not isinstance(source, str):
            raise ConfigError(f"{where}: `source` is {source!r:.60}; expected the name of a source.")
        for kind, value in given:
            yield where, *_entry(where, kind, value, source or one.source)


def _entry(where: str, kind: str, value: Any, source: str | None) -> tuple[str, str]:
    """An entry's kind and what documents are compared with. Raises ConfigError for what is none."""
    if kind == "id" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_ENTRY:
        raise ConfigError(f"{where}: `{kind}` is {value!r:.60}; expected a text of 1 to {MAX_ENTRY:,} characters.")
    if kind == "sha256":
        if re.fullmatch(r"[0-9a-fA-F]{64}", value) is None:
            raise ConfigError(f"{where}: {value!r:.80} is no SHA-256; expected 64 hexadecimal digits.")
        return kind, value.lower()
    if kind == "id":
        if "\0" in value or "\r" in value or "\n" in value:
            told = "Save a list as UTF-8, with a line feed behind each entry"
            raise ConfigError(f"{where}: {value!r:.80} holds more than one line, or NUL; expected one id. {told}.")
        if value.endswith("*"):
            raise ConfigError(f"{where}: {value!r:.80} has a wildcard; an entry is one whole id. List each id.")
        return (kind, value) if source is None else ("source_id", of_source(source, value))
    host, target = host_and_target(value.strip())
    name = _PORT.sub("", host)
    if "*" in name or value.endswith("*"):
        hint = "A domain stands for all hosts under it: list `example.com`, of the kind `domain`"
        raise ConfigError(f"{where}: {value!r:.80} has a wildcard, which is not read. {hint}.")
    if _HOST.fullmatch(name) is None or re.search(r"[\s\x00-\x1f]", target):
        wanted = "a domain such as example.com" if kind == "domain" else "a URL such as https://example.com/page"
        raise ConfigError(f"{where}: {value!r:.80} is none; expected {wanted}.")
    if kind == "domain":
        if "@" in value:
            raise ConfigError(
                f"{where}: {value!r:.80} is an address; all pages of {name} would go. List the domain itself."
            )
        if target not in ("", "/"):
            raise ConfigError(f"{where}: {value!r:.80} is a page; expected a domain. List pages as the kind `url`.")
        return kind, name
    if not target and "://" not in value:
        raise ConfigError(
            f"{where}: {value!r:.80} has no path. List a domain as the kind `domain`, its home page as `{name}/`."
        )
    return kind, page(host, target)


def _into_file(argument: Mapping[str, Any]) -> dict[str, int]:
    """In the reading process: the entries as a file; how many there are of each kind."""
    counts, packed = _read([RevokedConfig(**one) for one in argument["lists"]])
    (Path(argument["into"]) / "entries").write_bytes(packed)
    return counts


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {"read": _into_file}
"""What a reading process is asked for."""
