"""Sound input files of many kinds, made in memory: what the mutants of `mutations` are made from."""

from __future__ import annotations

import datetime
import decimal
import functools
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

Row = tuple[str, str]
"""A document as the checks know it: its id and its text, "" for none."""


@dataclass(frozen=True)
class SoundFile:
    """A file that Gristmill reads without complaint.

    Attributes:
        name: what is special about it.
        ending: of its file name, with the point; it also says how the bytes are compressed.
        data: its bytes.
        rows: its documents in order.
        lines: of JSON lines, the documents by the bytes of their lines.
        groups: of Parquet, where each row group's pages lie (first byte, byte after the last) and its number of rows.
        checked: of Parquet, whether its pages have checksums.
    """

    name: str
    ending: str
    data: bytes
    rows: Sequence[Row]
    lines: Mapping[bytes, Row]
    groups: Sequence[tuple[int, int, int]] = ()
    checked: bool = False

    @property
    def parquet(self) -> bool:
        return self.ending == ".parquet"


_WORDS = "grist mill corn Wasser δοκιμή данные 語 שלום 🌾 naïve flour stone wheel river".split()


def _rows(prefix: str, count: int, first: int = 0) -> list[dict[str, Any]]:
    """Documents with repeats, without two of one id; some have no text, or one that the config finds too short."""
    made = []
    for number in range(first, first + count):
        words = [_WORDS[(number * 31 + place * 7) % len(_WORDS)] for place in range(number % 9 + 1)]
        text: str | None = " ".join(words)
        if number % 13 == 5:
            text = (None, "", "x", " \n ")[number // 13 % 4]
        made.append({"id": f"{prefix}-{number}", "text": text, "url": f"https://example.org/{prefix}/{number}"})
    return made


def _documents(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [(row["id"], row["text"] or "") for row in rows]


def _parquet(name: str, table: pa.Table, **options: Any) -> SoundFile:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    data = buffer.getvalue()
    metadata = pq.read_metadata(io.BytesIO(data))
    groups = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunks = [group.column(place) for place in range(group.num_columns)]
        starts = [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks]
        ends = [start + chunk.total_compressed_size for start, chunk in zip(starts, chunks, strict=True)]
        groups.append((min(starts), max(ends), group.num_rows))
    rows = _documents(table.select(["id", "text"]).to_pylist())
    return SoundFile(name, ".parquet", data, rows, {}, groups, bool(options.get("write_page_checksum")))


def _typed(rows: list[dict[str, Any]]) -> pa.Table:
    """The rows with a column of nearly every kind that Parquet has a form for."""
    count = len(rows)
    when = datetime.datetime(2024, 10, 1, tzinfo=datetime.UTC)
    more = {
        "number": pa.array([None if n % 7 == 3 else n * 10**9 for n in range(count)], pa.int64()),
        "small": pa.array([n % 100 for n in range(count)], pa.uint8()),
        "score": pa.array([n / 7 for n in range(count)], pa.float32()),
        "yes": pa.array([n % 3 == 0 for n in range(count)]),
        "when": pa.array([when + datetime.timedelta(hours=n) for n in range(count)], pa.timestamp("us", "UTC")),
        "day": pa.array([datetime.date(2024, 1, 1 + n % 28) for n in range(count)]),
        "price": pa.array([decimal.Decimal(n).scaleb(-2) for n in range(count)], pa.decimal128(12, 2)),
        "raw": pa.array([bytes([n % 256]) * (n % 5) for n in range(count)], pa.binary()),
        "fixed": pa.array([bytes([n % 256]) * 8 for n in range(count)], pa.binary(8)),
        "nothing": pa.nulls(count),
    }
    table = pa.Table.from_pylist(rows)
    for name, column in more.items():
        table = table.append_column(name, column)
    return table


def _nested(rows: list[dict[str, Any]]) -> pa.Table:
    count = len(rows)
    table = pa.Table.from_pylist(rows)
    tags = [None if n % 5 == 2 else [f"t{n}", None, "u"][: n % 4] for n in range(count)]
    meta = [None if n % 6 == 4 else {"lang": "en", "deep": {"levels": [n, n + 1]}} for n in range(count)]
    pairs = [[(f"k{k}", k) for k in range(n % 3)] for n in range(count)]
    table = table.append_column("tags", pa.array(tags, pa.list_(pa.string())))
    table = table.append_column("meta", pa.array(meta))
    return table.append_column("pairs", pa.array(pairs, pa.map_(pa.string(), pa.int64())))


def _lines(rows: Sequence[Mapping[str, Any]]) -> dict[bytes, Row]:
    lines = [json.dumps(row, ensure_ascii=number % 2 == 0).encode() for number, row in enumerate(rows)]
    return dict(zip(lines, _documents(rows), strict=True))


def _jsonl(name: str, rows: Sequence[Mapping[str, Any]], ending: str = ".jsonl", last_break: bool = True) -> SoundFile:
    lines = _lines(rows)
    data = b"\n".join(lines) + b"\n" * last_break
    if ending.endswith(".gz"):
        # Two members, as `cat a.gz b.gz` makes them.
        half = data.index(b"\n", len(data) // 2) + 1
        data = gzip.compress(data[:half], mtime=0) + gzip.compress(data[half:], mtime=0)
    elif ending.endswith(".zst"):
        data = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(data)
    return SoundFile(name, ending, data, _documents(rows), lines)


def _rich(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**row, "n": n, "score": n / 3, "tags": ["a", "b"][: n % 3], "meta": {"k": [n]}, "none": None, "ok": n % 2 == 0}
        for n, row in enumerate(rows)
    ]


@functools.cache
def sound_files() -> tuple[SoundFile, ...]:
    """The files, always in the same order."""
    plain = pa.Table.from_pylist(_rows("plain", 40))
    return (
        _parquet("plain", plain, compression="none", use_dictionary=False),
        _parquet("snappy", plain, compression="snappy"),
        _parquet("groups", plain, row_group_size=12, compression="none", write_page_checksum=True),
        _parquet("groups_unchecked", plain, row_group_size=12, compression="zstd"),
        _parquet("typed", _typed(_rows("typed", 30)), write_page_checksum=True, compression="zstd"),
        _parquet("typed_indexed", _typed(_rows("typed", 30)), write_page_index=True, compression="gzip"),
        _parquet("nested", _nested(_rows("nested", 30)), write_page_checksum=True),
        _parquet("nested_v2", _nested(_rows("nested", 30)), data_page_version="2.0", compression="brotli"),
        _parquet("delta", plain, use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"}, compression="lz4"),
        _parquet("small_pages", plain, data_page_size=100, write_page_checksum=True, store_schema=False),
        _jsonl("lines", _rows("lines", 30)),
        _jsonl("rich", _rich(_rows("rich", 30)), last_break=False),
        _jsonl("many", [{"id": f"m-{n}", "text": f"text {n}", "x": n / 2} for n in range(1100)], ".ndjson"),
        _jsonl("gzipped", _rich(_rows("gzipped", 40)), ".jsonl.gz"),
        _jsonl("zstandard", _rich(_rows("zstandard", 40)), ".jsonl.zst"),
    )
