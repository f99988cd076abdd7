"""Full text of an output's documents: SQLite's FTS5, built by several processes, each over some of the files."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.audit.open_files import Damaged, Unreadable, opened
from gristmill.pipeline.document import COPY, DOC_KEY, FROM_TASK, ID, KEY_TYPE, TEXT, URL, one_chunk

EXCERPT = 240
"""Characters of a text that lists show."""
MOST_INDEXED = 1 << 20
"""Characters of one text that are searched; the rest of a longer one is not."""
MOST_FOUND = 200_000
"""Documents that a search of texts gives at most: beyond, it says that there are more."""
_BATCH = 4096
_WORD = re.compile(r"\w+", re.UNICODE)
ROWS = pa.schema(
    [
        ("docno", pa.int64()),
        ("task", pa.int32()),
        ("doc_key", pa.binary()),
        ("id", pa.string()),
        ("url", pa.string()),
        ("language", pa.string()),
        ("role", pa.int8()),
        ("file_no", pa.int32()),
        ("row_group", pa.int32()),
        ("row", pa.int32()),
        ("bytes", pa.int64()),
        ("excerpt", pa.string()),
    ]
)
"""What is noted of each document with a text; `role` is 0 in a shard and 1 among dropped texts."""


@dataclass(frozen=True)
class TextFile:
    """A file with texts: its number, whether its documents were dropped, the task of all its rows (−1: rows say it), and the
    number of its first document."""

    number: int
    folder: str
    path: str
    dropped: bool
    task: int
    first: int
    rows: int


def index_texts(files: Sequence[TextFile], place: str, progress: Queue[Any]) -> None:
    """In a process of its own: writes PLACE.db, the words, and PLACE.arrow, what is noted of each document. Tells `progress`
    numbers of documents as they are done, and in the end `None`, or a text: what is wrong."""
    try:
        database = _new(f"{place}.db")
        with pa.OSFile(f"{place}.arrow", "wb") as stream, pa.ipc.new_file(stream, ROWS) as writer:
            for file in files:
                _index_file(file, database, writer, progress)
        database.execute("commit")
        database.close()
        progress.put(None)
    except (Damaged, Unreadable) as error:
        progress.put(f"a file of the output {error}")
    except (OSError, sqlite3.Error, pa.ArrowException) as error:
        progress.put(f"the index cannot be written or a file not read: {error}")


def _new(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    # A broken index is built again: nothing of it needs to survive a crash.
    for pragma in ("journal_mode=off", "synchronous=off", "cache_size=-65536"):
        database.execute(f"pragma {pragma}")
    database.execute(
        "create virtual table texts using fts5(text, content='', detail=none, columnsize=0, "
        "tokenize='unicode61 remove_diacritics 2')"
    )
    # Segments are not merged while texts come: a search looks into a few dozen all the same.
    for name, value in (("automerge", 0), ("crisismerge", 64)):
        database.execute("insert into texts(texts, rank) values (?, ?)", (name, value))
    database.execute("begin")
    return database


def _index_file(file: TextFile, database: sqlite3.Connection, writer: Any, progress: Queue[Any]) -> None:
    with opened(file.folder, file.path) as parquet:
        names = parquet.schema_arrow.names
        wanted = [
            name for name in (DOC_KEY, ID, URL, TEXT, "language", "language_script", COPY, FROM_TASK) if name in names
        ]
        docno = file.first
        for group in range(parquet.metadata.num_row_groups):
            row = 0
            for batch in parquet.iter_batches(_BATCH, row_groups=[group], columns=wanted, use_threads=False):
                table = pa.Table.from_batches([batch])
                rows = _rows(file, table, docno, group, row)
                docno, row = docno + table.num_rows, row + table.num_rows
                if TEXT in wanted:
                    texts = pc.utf8_slice_codeunits(_strings(table, TEXT), 0, MOST_INDEXED)
                    pairs = zip(rows["docno"].to_pylist(), texts.take(_kept(table)).to_pylist(), strict=True)
                    database.executemany(
                        "insert into texts(rowid, text) values (?, ?)", (pair for pair in pairs if pair[1] is not None)
                    )
                writer.write_table(rows)
                progress.put(table.num_rows)


def _kept(table: pa.Table) -> pa.Array:
    """Rows that are the first copy of their document."""
    if COPY not in table.column_names:
        return pa.array(np.arange(table.num_rows))
    return pa.array(np.flatnonzero(np.asarray(pc.fill_null(pc.equal(table[COPY], 0), True))))


def _rows(file: TextFile, table: pa.Table, docno: int, group: int, row: int) -> pa.Table:
    kept = _kept(table)
    chosen = table.take(kept)
    count, here = chosen.num_rows, np.asarray(kept)
    tasks = one_chunk(chosen[FROM_TASK]).cast(pa.int32()) if FROM_TASK in table.column_names else None
    text = _strings(chosen, TEXT)
    return pa.table(
        [
            pa.array(docno + here),
            pa.array(np.full(count, file.task, np.int32)) if tasks is None else tasks,
            one_chunk(chosen[DOC_KEY]).cast(KEY_TYPE).cast(pa.binary()),
            _strings(chosen, ID),
            _strings(chosen, URL),
            _label(chosen),
            pa.array(np.full(count, int(file.dropped), np.int8)),
            pa.array(np.full(count, file.number, np.int32)),
            pa.array(np.full(count, group, np.int32)),
            pa.array((row + here).astype(np.int32)),
            pc.binary_length(text).cast(pa.int64()),
            pc.utf8_slice_codeunits(text, 0, EXCERPT).cast(pa.string()),
        ],
        schema=ROWS,
    )


def _label(table: pa.Table) -> pa.Array:
    """`deu_Latn`, where there are columns for it; of dropped texts the column has the whole label."""
    language, script = _strings(table, "language"), _strings(table, "language_script")
    return pc.coalesce(pc.binary_join_element_wise(language, script, "_"), language)


def _strings(table: pa.Table, name: str) -> pa.Array:
    """A column as texts; null where it is not there or holds what is no text or number."""
    if name not in table.column_names:
        return pa.nulls(table.num_rows, pa.string())
    column = one_chunk(table[name])
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_large_string(column.type) and name == TEXT:
        return column
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_integer(column.type):
        return column.cast(pa.string())
    return pa.nulls(table.num_rows, pa.string())


def words_of(query: str) -> list[str]:
    """The words of a query, at most 12; the last one may go on, where nothing follows it."""
    return [word for word in _WORD.findall(query)][:12]


def search_texts(databases: Sequence[Path], query: str) -> tuple[np.ndarray, bool]:
    """Numbers of the documents that have all words of a query, ascending, and whether there are more than MOST_FOUND."""
    words = words_of(query)
    if not words:
        return np.empty(0, np.int64), False
    # Each word is quoted: nothing of a query is an operator. A word of one letter is not taken for the beginning of all.
    quoted = [f'"{word}"' for word in words]
    if len(words[-1]) > 2 and query.rstrip() == query:
        quoted[-1] += " *"
    found: list[np.ndarray] = []
    left = MOST_FOUND + 1
    for place in databases:
        database = sqlite3.connect(f"file:{place}?mode=ro", uri=True)
        try:
            rows = database.execute(
                "select rowid from texts where texts match ? limit ?", (" ".join(quoted), left)
            ).fetchall()
        finally:
            database.close()
        found.append(np.array([row[0] for row in rows], np.int64))
        left -= len(rows)
        if left <= 0:
            break
    together = np.sort(np.concatenate(found))
    return together[:MOST_FOUND], len(together) > MOST_FOUND
