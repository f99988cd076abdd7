"""What a manifest says of all files of an output, and of what was read: totals that grow while the files are listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.hashing import MerkleTree


@dataclass
class SourceRead:
    """What the tasks have read of a source: slices, rows, records that could not be read, UTF-8 bytes of text."""

    slices: int = 0
    rows: int = 0
    rejects: int = 0
    text_bytes: int = 0


@dataclass
class DataFiles:
    """Of the shards: number, rows, bytes."""

    count: int = 0
    rows: int = 0
    bytes: int = 0


class FileTotals:
    """Totals over the rows of files.parquet, in their order.

    Attributes:
        output: whose files they are; some lie in the folders of others.
        data: of the shards.
        contents, data_contents: trees over the content digests of all files, and of shards.
        files: tree over the SHA-256 of all files.
    """

    def __init__(self, output: str) -> None:
        self.output = output
        self.data = DataFiles()
        self.files, self.contents, self.data_contents = MerkleTree(), MerkleTree(), MerkleTree()
        self._written: list[pa.Table] = []

    def counted(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The same tables, counted as they pass."""
        for table in tables:
            for sha256 in table["sha256"].to_pylist():
                self.files.add(sha256)
            for content in table["content_digest"].to_pylist():
                self.contents.add(content)
            data = table.filter(pc.equal(table["role"], "data"))
            for content in data["content_digest"].to_pylist():
                self.data_contents.add(content)
            self.data.count += data.num_rows
            self.data.rows += pc.sum(data["rows"]).as_py() or 0
            self.data.bytes += pc.sum(data["size"]).as_py() or 0
            self._written.append(_compact(table.filter(pc.equal(table["output"], self.output))))
            yield table

    def written(self) -> Iterator[tuple[str, str]]:
        """Path and SHA-256 of each file in the output's own folder."""
        for table in self._written:
            for path, sha256 in zip(table["path"].to_pylist(), table["sha256"].to_pylist(), strict=True):
                yield path, sha256.hex()


_WRITTEN = pa.schema([pa.field("path", pa.string()), pa.field("sha256", pa.binary(32))])


def _compact(table: pa.Table) -> pa.Table:
    digests = [bytes.fromhex(sha256) for sha256 in table["sha256"].to_pylist()]
    return pa.table([table["path"], pa.array(digests, pa.binary(32))], schema=_WRITTEN).combine_chunks()
