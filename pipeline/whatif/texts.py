"""Texts of documents by doc_key: from the shards of an output, and from the dropped texts that it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.pipeline.audit.messages import Entry
from gristmill.pipeline.audit.open_files import Damaged, Unreadable, opened
from gristmill.pipeline.document import DOC_KEY, ID, KEY_TYPE, TEXT, URL, one_chunk
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.whatif.recorded_run import RecordedRun

MOST_CHARACTERS = 2_000
"""Characters of a text that are looked at for an excerpt."""


@dataclass(frozen=True)
class Text:
    """The beginning of a document's text, and what it is called."""

    text: str
    id: str | None
    url: str | None


def texts_of(run: RecordedRun, wanted: Mapping[bytes, int]) -> dict[bytes, Text]:
    """Texts of documents, as far as the output has them; `wanted`: doc_key → task. Raises DataError for damaged files."""
    found: dict[bytes, Text] = {}
    tasks = set(wanted.values())
    for role in ("data", "dropped"):
        for entry in run.entries.get(role, []):
            if not entry.path.endswith(".parquet"):
                continue
            if entry.task >= 0 and not any(entry.task <= task < entry.task + entry.tasks for task in tasks):
                continue
            left = [key for key in wanted if key not in found]
            if not left:
                return found
            try:
                _search(entry, pa.array(left, KEY_TYPE), found)
            except (Damaged, Unreadable) as error:
                raise DataError(
                    f"{entry.folder}/{entry.path}: {error}. `gristmill audit {run.folder}` shows more."
                ) from error
    return found


def _search(entry: Entry, keys: pa.Array, found: dict[bytes, Text]) -> None:
    with opened(entry.folder, entry.path) as file:
        names = file.schema_arrow.names
        if not {DOC_KEY, TEXT} <= set(names):
            return
        for group in range(file.metadata.num_row_groups):
            column = one_chunk(file.read_row_group(group, columns=[DOC_KEY], use_threads=False)[DOC_KEY])
            rows = np.flatnonzero(pc.is_in(column, value_set=keys).to_numpy(zero_copy_only=False))
            if not len(rows):
                continue
            wanted = [name for name in (TEXT, ID, URL) if name in names]
            table = _rows(file, group, wanted, rows)
            for key, row in zip(column.take(pa.array(rows)).to_pylist(), table.to_pylist(), strict=True):
                if row[TEXT] is not None:
                    ident, url = row.get(ID), row.get(URL)
                    found.setdefault(
                        key, Text(row[TEXT], None if ident is None else str(ident), None if url is None else str(url))
                    )


def _rows(file: pq.ParquetFile, group: int, names: list[str], rows: np.ndarray) -> pa.Table:
    """Some rows of a row group, their texts cut."""
    table = file.read_row_group(group, columns=names, use_threads=False).take(pa.array(rows))
    cut = pc.utf8_slice_codeunits(table[TEXT], 0, MOST_CHARACTERS)
    return table.set_column(table.column_names.index(TEXT), TEXT, cut)
