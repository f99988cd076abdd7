"""Signals of a slice that a finished run left in its output, read for a run with other thresholds."""

from __future__ import annotations

import base64
import hashlib
import io
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.pipeline.document import DOC_KEY, FROM_TASK, one_chunk
from gristmill.pipeline.errors import ConservationError, DataError
from gristmill.pipeline.reader_process import ReaderCrashed, is_expendable, shared_reader
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.storage import join, read_within

_KEPT = 4
"""Files whose bytes a process keeps: each has the signals of many tasks."""


@dataclass(frozen=True)
class ReusedFile:
    """Where a file has what a node measured of a slice; plain data.

    Attributes:
        node: the node's name.
        folder, path: the output, and the file in it.
        sha256, size: of the file's bytes, as files.parquet of the output states them.
        task: which of its rows are about the slice.
        slice_digest: of what was read of the slice there: the file says nothing about another content.
    """

    node: str
    folder: str
    path: str
    sha256: str
    size: int
    task: int
    slice_digest: str


def reused_signals(
    file: ReusedFile, signals: pa.Schema, slice_rows: SliceRows
) -> tuple[np.ndarray, dict[str, pa.Array]]:
    """(rows of the slice that have signals in the file, arrays over all rows of the slice).

    Raises ConservationError when the file is not what its run wrote, DataError when it cannot be read.
    """
    table = _table(file, signals)
    keys = one_chunk(slice_rows.table[DOC_KEY])
    place = pc.index_in(keys, value_set=one_chunk(table[DOC_KEY]).cast(keys.type))
    rows = np.flatnonzero(np.asarray(place.is_valid()))
    if len(rows) != table.num_rows:
        raise ConservationError(
            f"{join(file.folder, file.path)}: it has signals of {table.num_rows} documents, of which {len(rows)} are in the "
            "slice that it is about. Run without --reuse."
        )
    return rows, {name: one_chunk(table[name]).take(place) for name in signals.names}


def _table(file: ReusedFile, signals: pa.Schema) -> pa.Table:
    if is_expendable():
        return _read(file, signals)
    location = join(file.folder, file.path)
    with tempfile.TemporaryDirectory(prefix="gristmill-") as folder:
        fields = {**asdict(file), "schema": base64.b64encode(signals.serialize().to_pybytes()).decode(), "into": folder}
        try:
            shared_reader(__name__).call("signals", fields, file.size)
        except ReaderCrashed as error:
            raise DataError(f"{location}: cannot be read: {error}. It is damaged, or made to do this.") from error
        with pa.OSFile(f"{folder}/signals") as stream:
            return pa.ipc.open_file(stream).read_all()


@lru_cache(maxsize=_KEPT)
def _bytes(folder: str, path: str, sha256: str, size: int) -> bytes:
    location = join(folder, path)
    try:
        data = read_within(folder, path, size)
    except OSError as error:
        raise DataError(f"{location}: cannot be read: {error}. Restore it, or run without --reuse.") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ConservationError(
            f"{location}: these signals are not what their run wrote (expected SHA-256 {sha256}, found {found}). Restore "
            "the file, or run without --reuse."
        )
    return data


def _read(file: ReusedFile, signals: pa.Schema) -> pa.Table:
    data = _bytes(file.folder, file.path, file.sha256, file.size)
    fields = [pa.field(DOC_KEY, pa.binary(16)), *signals]
    names = [item.name for item in fields]
    try:
        mine = [(FROM_TASK, "=", file.task)]
        table = pq.read_table(io.BytesIO(data), columns=names, filters=mine, use_threads=False)
        return table.select(names).cast(pa.schema(fields)).combine_chunks()
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        location = join(file.folder, file.path)
        raise DataError(f"{location}: these signals cannot be read ({error}). Run without --reuse.") from error


def _into_file(fields: Mapping[str, Any]) -> None:
    """In the reading process: the signals as an Arrow file."""
    signals = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(fields["schema"])))
    file = ReusedFile(**{name: value for name, value in fields.items() if name not in ("schema", "into")})
    table = _read(file, signals)
    with (
        pa.OSFile(str(Path(fields["into"]) / "signals"), "wb") as stream,
        pa.ipc.new_file(stream, table.schema) as writer,
    ):
        writer.write_table(table)


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {"signals": _into_file}
"""What a reading process is asked for."""
