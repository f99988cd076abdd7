"""What an output still says of a document that was taken out of it, to somebody with the removal's key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.audit.find_rows import FileAt, Searched, row_of, rows_with
from gristmill.pipeline.document import KEY_TYPE
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.provenance.files import FILES_TABLE
from gristmill.pipeline.provenance.holding_folders import holding_folders
from gristmill.pipeline.provenance.removal import KEYED, REMOVAL, REMOVED_ROLE, RemovalKey
from gristmill.pipeline.provenance.statement import read_manifest
from gristmill.pipeline.storage import open_within

_KEY = re.compile("[0-9a-fA-F]{32}")


@dataclass(frozen=True)
class RemovedDocument:
    """A document that was taken out: why and when, and where its keyed digest lies."""

    folder: str
    doc_key: str
    reason: str
    removed_at: str
    file: str
    row: int

    def to_json(self) -> dict[str, Any]:
        told = {"reason": self.reason, "at": self.removed_at, "file": self.file, "row": self.row}
        return {"ident": self.doc_key, "folder": self.folder, "removed": told}

    def lines(self) -> list[str]:
        """The same for people."""
        return [
            f"document {self.doc_key}",
            f"  was taken out: {self.reason} ({self.removed_at})",
            f"  its keyed digest is in {self.file}, row {self.row}; no other file of this version names it",
        ]


def removed_document(folder: str, ident: str, secrets: Sequence[str]) -> RemovedDocument | None:
    """A document that was taken out of an output; None where no digest is that of its doc_key with one of the keys.

    Args:
        ident: its doc_key in hexadecimal; ids and URLs are nowhere any more.
        secrets: keys of removals, as their files hold them.
    """
    manifest = read_manifest(folder)
    if manifest is None or not _KEY.fullmatch(ident):
        return None
    with open_within(folder, FILES_TABLE) as stream:
        rows = (
            pq.ParquetFile(stream)
            .read(columns=["path", "role", "task", "tasks", "output"], use_threads=False)
            .to_pylist()
        )
    rows = [row for row in rows if row["role"] == REMOVED_ROLE]
    folders = holding_folders(folder, manifest, {row["output"] for row in rows})
    files = [FileAt(folders[r["output"]], r["path"], r["task"], r["tasks"]) for r in rows if r["output"] in folders]
    for text in secrets:
        digest = RemovalKey.from_text(text, "--removal-key").digests(pa.array([bytes.fromhex(ident)], KEY_TYPE))[0]
        for found in rows_with(files, KEYED, digest, Searched()):
            number = row_of(found.file.folder, found.path, found.rows[0])[REMOVAL]
            if number not in range(len(manifest.removals)):
                raise DataError(
                    f"{folder}/{found.path}: names a removal that the manifest does not have. Audit the output."
                )
            one = manifest.removals[number]
            return RemovedDocument(folder, ident.lower(), one.reason, one.removed_at, found.path, found.rows[0])
    return None
