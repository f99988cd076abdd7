"""Rows of lists that people hand in, as Parquet, JSON Lines or lines of text (plain, `.gz` or `.zst`), each with where it
stands."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.errors import ConfigError

_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
_BOM = b"\xef\xbb\xbf"
_MAX_LINE = 32 << 20


def table_rows(
    path: Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of Parquet or JSON Lines, each with where it stands. Raises ConfigError for what is neither.

    Parquet must have the columns, and may have the optional ones; of JSON Lines the caller finds out.
    """
    try:
        _refuse_other(path)
        if path.suffix.lower() == ".parquet":
            yield from _parquet_rows(path, columns, optional)
        else:
            yield from _json_rows(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(
            f"{path}: it cannot be read ({error}). Expected Parquet or JSON Lines with the columns "
            f"{', '.join([*columns, *optional])}."
        ) from error


def text_rows(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a text that are neither blank nor begin with `#`, without white space around them, each with where it
    stands. Raises ConfigError for what is no text in UTF-8."""
    try:
        _refuse_other(path)
        for number, line in _lines(path):
            entry = (line.removeprefix(_BOM) if number == 1 else line).strip()
            if entry and not entry.startswith(b"#"):
                yield f"{path}:{number}", entry.decode("utf-8")
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: it cannot be read ({error}). Expected a text with one entry a line.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}:{number}: expected UTF-8, found the byte 0x{entry[error.start]:02x}. Expected one entry a line."
        ) from error


def _refuse_other(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):
        raise ConfigError(f"{path}: expected a file, found a folder or a device. Name the table.")


def _parquet_rows(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    with pq.ParquetFile(path) as file:
        there = file.schema_arrow.names
        missing = [name for name in columns if name not in there]
        if missing:
            raise ConfigError(f"{path}: it has no column `{missing[0]}`. Expected the columns {', '.join(columns)}.")
        number = 0
        names = [*columns, *(name for name in optional if name in there)]
        for batch in file.iter_batches(256, columns=names, use_threads=False):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}#{number}", row


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}:{number}: expected a JSON object, one a line ({error}).") from error
        if not isinstance(row, dict):
            raise ConfigError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}.")
        yield f"{path}:{number}", row


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are there once. Raises ValueError for others: of two values one would be lost."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands in it twice")
    return made


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, from 1."""
    with pa.input_stream(str(path), compression=_COMPRESSED.get(path.suffix.lower())) as stream:
        rest, number, ended = b"", 0, False
        while not ended:
            block = stream.read(1 << 20)
            ended = not block
            *lines, rest = (rest + block).split(b"\n") if not ended else [rest, b""]
            if len(rest) > _MAX_LINE:
                raise ConfigError(f"{path}:{number + 1}: a line of more than {_MAX_LINE:,} bytes.")
            for line in lines:
                number += 1
                yield number, line
