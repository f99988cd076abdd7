"""Checkpoints: what a slow stage measured, kept batch by batch, so that an attempt that is killed within a slice loses little.

A file holds the signals of one batch. Its name is a digest of the node's signal key (the slice, the stage's settings, what made
the columns that it reads) and of the batch's doc_keys, and the file begins with the SHA-256 of its name and its content: what
was measured of other documents, or otherwise, is not found, and what is damaged is measured again. Once the task is committed
the files are removed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gristmill.pipeline.document import key_words, one_chunk
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.planning.graph import Node
from gristmill.pipeline.storage import join, names_in, read_small, remove, write_checked
from gristmill.pipeline.work_files import HERE, LZ4

SHARE = 0.02
"""Share of the time spent measuring that may be spent on writing checkpoints; a batch beyond it is not kept."""
FIRST_WRITE = 0.01
"""Seconds that a write is taken to need before one was timed."""
MAX_BYTES = 128 << 20
"""A batch whose signals have more bytes is not kept."""
_DIGEST = hashlib.sha256().digest_size


@dataclass
class Checkpoints:
    """The checkpoints of one task's pass.

    Attributes:
        folder: where they lie.
        keys: by node, its signal key (see `running.task_keys`).
        attempt: name of the attempt, for its partial files.
    """

    folder: str
    keys: Mapping[str, str]
    attempt: str
    _measured: float = 0.0
    _written: float = 0.0
    _write: float = FIRST_WRITE

    def found(self, node: Node, documents: pa.ChunkedArray) -> dict[str, pa.Array] | None:
        """The signals that an earlier attempt measured of a batch, given its doc_keys; None when there are none."""
        name = self._name(node, documents)
        data = read_small(join(self.folder, name), MAX_BYTES + (1 << 20))
        if data is None or _seal(name, data[_DIGEST:]) != data[:_DIGEST]:
            return None
        with pa.ipc.open_stream(pa.py_buffer(data)[_DIGEST:], options=HERE) as reader:
            table = reader.read_all()
        if not table.schema.equals(node.spec.signals) or table.num_rows != len(documents):
            return None
        return {column: one_chunk(table[column]) for column in table.column_names}

    def keep(self, node: Node, documents: pa.ChunkedArray, made: Mapping[str, pa.Array], seconds: float) -> None:
        """Keeps the signals of a batch, which took some seconds to measure."""
        self._measured += seconds
        too_costly = self._written + self._write > SHARE * self._measured
        if too_costly or sum(array.nbytes for array in made.values()) > MAX_BYTES:
            return
        begin = time.monotonic()
        name = self._name(node, documents)
        sink = pa.BufferOutputStream()
        table = pa.table([made[item.name] for item in node.spec.signals], schema=node.spec.signals)
        with pa.ipc.new_stream(sink, table.schema, options=LZ4) as writer:
            writer.write_table(table)
        body = sink.getvalue()

        def write(stream: Any) -> None:
            stream.write(_seal(name, body))
            stream.write(body)

        write_checked(join(self.folder, name), write, self.attempt)
        self._write = time.monotonic() - begin
        self._written += self._write

    def remove(self) -> None:
        """Removes the files, also those of attempts before; not what another attempt is writing."""
        for name in names_in(self.folder):
            if not name.startswith("."):
                remove(join(self.folder, name))

    def _name(self, node: Node, documents: pa.ChunkedArray) -> str:
        batch = hashlib.sha256(key_words(documents).tobytes()).hexdigest()
        return digest("gristmill.checkpoint", [self.keys[node.name], batch])


def _seal(name: str, body: bytes | pa.Buffer) -> bytes:
    sha256 = hashlib.sha256(name.encode())
    sha256.update(body)
    return sha256.digest()
