"""Opening the files of an output so that damage and unreadable storage are told apart; footers without rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.audit.page_headers import page_without_checksum
from gristmill.pipeline.errors import DataError, GristmillError, StorageError
from gristmill.pipeline.provenance.content import logical_type
from gristmill.pipeline.provenance.logs import LOG_KEY
from gristmill.pipeline.storage import is_remote, open_within, reason

_STEP, _REMOTE_STEP = 1 << 20, 16 << 20
"""Bytes of a column chunk that are read at once: of an object as many as one request is worth."""
_PIECE_BYTES = 4 << 20
"""Bytes of rows, uncompressed, that are decoded at once: in memory that is used again."""
_LEAST_ROWS, _MOST_ROWS = 64, 1 << 20


class Damaged(Exception):
    """A file was read and is not a valid Parquet file; `pages` when a page's checksum did not match."""

    def __init__(self, message: str, pages: bool = False) -> None:
        super().__init__(message)
        self.pages = pages


class Unreadable(Exception):
    """Storage did not give a file's bytes, so nothing is known about them."""


class _Watched:
    """A stream that remembers when storage, and not the parser, was at fault."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.fault: OSError | None = None
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        try:
            data: bytes = self._stream.read(size)
        except OSError as error:
            self.fault = error
            raise
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        return int(self._stream.tell())

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


@contextmanager
def opened(folder: str, path: str, pages: bool = False) -> Iterator[pq.ParquetFile]:
    """A Parquet file of an output, with page checksums verified as rows are read.

    `pages`: also look whether every page has a checksum.

    Raises Damaged for a file that cannot be parsed, here or while rows are read, and Unreadable for storage.
    """
    try:
        raw = open_within(folder, path)
    except OSError as error:
        raise Unreadable(reason(error)) from error
    except StorageError as error:
        raise Unreadable(str(error)) from error
    with raw:
        stream = _Watched(raw)
        try:
            # Not a whole column chunk at once, which would be new memory each time.
            step = _REMOTE_STEP if is_remote(folder) else _STEP
            source = pa.PythonFile(stream, mode="r")
            file = pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=False, buffer_size=step)
            if pages and (bare := page_without_checksum(file, stream)) is not None:
                raise Damaged(bare, pages=True)
            yield file
        except (Damaged, Unreadable):
            raise
        except (OSError, pa.ArrowException, ValueError, MemoryError) as error:
            if stream.fault is not None:
                raise Unreadable(reason(stream.fault)) from error
            text = " ".join(str(error).split())
            raise Damaged(f"is not a valid Parquet file ({text})", pages="checksum" in text.lower()) from error


def pieces_of(file: pq.ParquetFile, group: int) -> Iterator[pa.Table]:
    """The rows of a row group in pieces of some megabytes, as far as the sizes in its footer are true."""
    stated = file.metadata.row_group(group)
    rows = max(_LEAST_ROWS, stated.num_rows * _PIECE_BYTES // max(1, stated.total_byte_size))
    for batch in file.iter_batches(min(rows, _MOST_ROWS), row_groups=[group], use_threads=False):
        yield pa.Table.from_batches([batch])


@contextmanager
def what_a_run_wrote(folder: str) -> Iterator[None]:
    """For code that takes an output to be what its run wrote, and does nothing but read it: where that fails, the output is
    something else. Raises DataError then."""
    try:
        yield
    except GristmillError:
        raise
    except (pa.ArrowException, ValueError, LookupError, TypeError, OverflowError, MemoryError) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise DataError(
            f"{folder}: a file of it is damaged or no file that a run writes ({told}). `gristmill audit {folder} --full` shows "
            "which; restore it."
        ) from error


def footers(argument: Sequence[Any]) -> list[dict[str, Any]]:
    """What the footers of files say. `argument` is a list of [folder, path]; one answer for each.

    An answer holds `rows`, `columns` (name → logical type, in order) and `log` (its text, or null); or `damaged`, or
    `unreadable`, with the reason.
    """
    return [_footer(folder, path) for folder, path in argument]


def _footer(folder: str, path: str) -> dict[str, Any]:
    try:
        with opened(folder, path) as file:
            metadata = file.metadata
            log = (metadata.metadata or {}).get(LOG_KEY.encode())
            columns = [[item.name, _type(item.type)] for item in file.schema_arrow]
            strange = sorted(
                {*(metadata.metadata or {}), *(file.schema_arrow.metadata or {})} - {LOG_KEY.encode(), b"ARROW:schema"}
            )
            if strange:
                names = ", ".join(repr(name[:80].decode("utf-8", "replace")) for name in strange[:3])
                return {"damaged": f"its footer has the keys {names}, which no run writes"}
            return {"rows": metadata.num_rows, "columns": columns, "log": None if log is None else log.decode("utf-8")}
    except Damaged as error:
        return {"damaged": str(error)}
    except Unreadable as error:
        return {"unreadable": str(error)}


def _type(kind: pa.DataType) -> str:
    try:
        return logical_type(kind)
    except TypeError:
        return str(kind)
