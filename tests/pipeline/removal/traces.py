"""Decodes every file of an output and looks for what documents leave: ids, URLs, doc_keys, runs of eight words.

Parquet is read as its values, page by page as they are stored (dictionaries too, whatever no row refers to), by statistics and
by footers; streams are unpacked, JSON is parsed, tokens become text again; and of every file the raw bytes are looked at.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from gristmill.pipeline.audit.page_headers import _fields_at
from tests.pipeline.writing.token_readers import read_datatrove, read_megatron

RUN = 8
"""Words of a passage."""
_WORD = re.compile(r"\w+")
_UNCOMPRESSED, _COMPRESSED = 2, 3


def passages(text: str) -> set[str]:
    """All runs of eight words of a text."""
    words = _WORD.findall(text.lower())
    return {" ".join(words[at : at + RUN]) for at in range(len(words) - RUN + 1)}


@dataclass
class Needles:
    """What is looked for: names are ids and URLs."""

    names: set[str] = field(default_factory=set)
    keys: set[bytes] = field(default_factory=set)
    passages: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._texts = {("name", name): name for name in self.names}
        self._texts |= {("key", key.hex()): key.hex() for key in self.keys}
        forms = ((key, base64.b64encode(key)[:-3]) for key in self.keys)
        self._bytes = {("key", form): form for both in forms for form in both}
        self._bytes |= {(what, text): text.encode() for (what, text) in self._texts}

    def in_text(self, text: str) -> set[str]:
        """Which kinds of them a text holds: name, key, passage."""
        found = {what for (what, _), needle in self._texts.items() if needle in text}
        return found | ({"passage"} if self.passages and not self.passages.isdisjoint(passages(text)) else set())

    def in_bytes(self, data: bytes) -> set[str]:
        """The same of bytes, which may be no text."""
        found = {what for (what, _), needle in self._bytes.items() if needle in data}
        return found | self.in_text(data.decode("utf-8", "replace"))


def traces(places: Iterable[Path], needles: Needles) -> dict[str, set[str]]:
    """By kind of place (`ledger: pages`), what is there, of folders and files."""
    found: dict[str, set[str]] = {}
    files = [(path, path.relative_to(one)) for one in places for path in one.rglob("*") if path.is_file()]
    files += [(one, Path("report.html")) for one in places if one.is_file()]
    for path, name in sorted(files):
        role = "/".join(name.parts[:2]) if name.parts[0] in ("kinds", "signals", "notes") else name.parts[0]
        for place, content in [("names", name.as_posix()), ("raw", path.read_bytes()), *_decoded(path)]:
            held = needles.in_text(content) if isinstance(content, str) else needles.in_bytes(content)
            if held:
                found.setdefault(f"{role}: {place}", set()).update(held)
    return found


def _decoded(path: Path) -> Iterator[tuple[str, str | bytes]]:
    name = path.name
    if name.endswith(".parquet"):
        yield from _parquet(path)
    elif name.endswith((".zst", ".gz")):
        codec = "zstd" if name.endswith(".zst") else "gzip"
        with pa.input_stream(str(path), compression=codec) as stream:
            data = stream.read()
        yield "unpacked", data
        yield from _json(data, lines=".jsonl" in name)
    elif name.endswith((".json", ".jsonl", ".metadata")) and name != "tokenizer.json":
        yield from _json(path.read_bytes(), lines=name.endswith((".jsonl", ".metadata")))
    elif name.endswith((".html", ".md")):
        yield "read", html.unescape(path.read_text())
    elif name.endswith(".ds"):
        yield "tokens", _text(path, read_datatrove(path, 2))  # of a vocabulary of less than 2^16
    elif name.endswith(".bin"):
        yield "tokens", _text(path, read_megatron(path.with_suffix(""))[0])


def _text(path: Path, sequences: Iterable[list[int]]) -> str:
    folder = next(parent for parent in path.parents if (parent / "tokenizer.json").is_file())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return "\n".join(tokenizer.decode(tokens, skip_special_tokens=False) for tokens in sequences)


def _json(data: bytes, lines: bool) -> Iterator[tuple[str, str]]:
    parts = data.decode().splitlines() if lines else [data.decode()]
    for part in parts:
        try:
            value = json.loads(part)
        except ValueError:
            continue  # datatrove's metadata is two lines of text; raw bytes are looked at in any case
        yield "parsed", "\n".join(_strings(value))
        payload = value.get("payload") if isinstance(value, dict) else None
        if isinstance(payload, str):
            yield "payload", base64.b64decode(payload).decode("utf-8", "replace")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from (str(key), *_strings(item))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, bytes):
        yield value.hex()
        yield value.decode("utf-8", "replace")
    elif value is not None:
        yield str(value)


def _parquet(path: Path) -> Iterator[tuple[str, str | bytes]]:
    file = pq.ParquetFile(path)
    with path.open("rb") as stream:
        for group in range(file.metadata.num_row_groups):
            for index in range(file.metadata.num_columns):
                chunk = file.metadata.row_group(group).column(index)
                yield from _pages(stream, chunk)
                if chunk.statistics is not None and chunk.statistics.has_min_max:
                    yield "statistics", "\n".join(_strings([chunk.statistics.min, chunk.statistics.max]))
    for value in (file.metadata.metadata or {}).values():
        text = value.decode("utf-8", "replace")
        yield "footer", text
        if text.startswith("{"):
            yield "footer", "\n".join(_strings(json.loads(text)))
    yield "footer", str(file.schema) + str(file.schema_arrow.metadata)
    yield "values", "\n".join(_strings(file.read().to_pylist()))


def _pages(stream: Any, chunk: Any) -> Iterator[tuple[str, bytes]]:
    """The pages of a column, unpacked: the dictionary, and those of the rows."""
    if not chunk.num_values:
        return
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    place, end, first = start, start + chunk.total_compressed_size, chunk.has_dictionary_page
    while place < end:
        fields, size = _fields_at(stream, place, end)
        stream.seek(place + size)
        data = stream.read(fields[_COMPRESSED])
        if chunk.compression != "UNCOMPRESSED" and fields[_UNCOMPRESSED]:
            data = pa.decompress(data, fields[_UNCOMPRESSED], chunk.compression.lower(), asbytes=True)
        yield ("dictionaries" if first else "pages"), data
        place, first = place + size + fields[_COMPRESSED], False
