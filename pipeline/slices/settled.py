"""A node's settled answer: where it lies for one task, and as the rows that entered the node see it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, key_words, one_chunk
from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.executor.payloads import Bytes
from gristmill.pipeline.stage import SettledView
from gristmill.pipeline.work_files import read_checked
from gristmill.pipeline.work_folder import WorkFolder


@dataclass(frozen=True)
class SettledFiles:
    """Where a node's settled answer lies for one task.

    Attributes:
        digest: of the whole answer, for all tasks.
        keyed: the file with the rows that this task owns, or None when it owns none.
        keyed_sha256: of that file's bytes.
        broadcast: the file that every task gets, relative to the work folder, or None.
        broadcast_sha256: of that file's bytes.
        schema: of the keyed rows, as an Arrow IPC message; None when the answer has none.
    """

    digest: str
    keyed: str | None = None
    keyed_sha256: str | None = None
    broadcast: str | None = None
    broadcast_sha256: str | None = None
    schema: Bytes | None = None


def settled_view(name: str, files: SettledFiles, work: WorkFolder, keys: np.ndarray) -> SettledView:
    """What a node decides with about rows with doc_keys (uint64, rows × 2), from files of a work folder.

    Raises ConservationError when a file is not what was settled, or when an answer does not find its one document.
    """
    table = None
    if files.broadcast is not None:
        table = _checked(name, work.at(files.broadcast), files.broadcast_sha256)
    columns = None
    if files.schema is not None:
        keyed = pa.ipc.read_schema(pa.py_buffer(files.schema)).empty_table()
        if files.keyed is not None:
            keyed = _checked(name, files.keyed, files.keyed_sha256)
        columns = aligned_answer(name, keyed, keys)
    return SettledView(columns=columns, table=table)


def _checked(name: str, path: str, expected: str | None) -> pa.Table:
    what = f"node `{name}`: the settled answer {path} is not what was settled"
    return read_checked(path, expected, what, "Run again: it is settled anew.").combine_chunks()


def aligned_answer(name: str, keyed: pa.Table, keys: np.ndarray) -> pa.Table:
    """Keyed answers in the order of a node's rows; every answer must find its document.

    Args:
        name: the node.
        keyed: rows with `doc_key`, `task` and the answer's columns.
        keys: doc_keys of the rows that entered the node (uint64, rows × 2).

    Returns one row per row of the node, null where there is no answer. Raises ConservationError.
    """
    columns = [c for c in keyed.column_names if c not in (DOC_KEY, "task")]
    answered = key_words(keyed[DOC_KEY])
    # As 16-byte strings, whose order is the keys' order; both sides are padded alike, so no zero byte is lost.
    mine, theirs = (np.frombuffer(words.astype(">u8").tobytes(), "S16") for words in (keys, answered))
    order = np.argsort(mine, kind="stable")
    place = np.searchsorted(mine[order], theirs) if len(mine) else np.zeros(len(theirs), np.int64)
    inside = place < len(mine)
    matched = np.zeros(len(theirs), bool)
    matched[inside] = mine[order[place[inside]]] == theirs[inside]
    if not matched.all():
        lost = keyed[DOC_KEY][int(np.flatnonzero(~matched)[0])].as_py().hex()
        raise ConservationError(
            f"node `{name}`: the settled answer names the document {lost}, which did not enter the node in this task."
        )
    rows = order[place] if len(theirs) else np.empty(0, np.int64)
    if len(np.unique(rows)) != len(rows):
        raise ConservationError(f"node `{name}`: the settled answer names a document twice.")
    target = np.full(len(mine), -1, np.int64)
    target[rows] = np.arange(len(rows))
    index = pa.array(target, mask=target < 0)
    # A table needs a column to have a number of rows.
    arrays = {c: one_chunk(keyed[c]).take(index) for c in columns}
    return pa.table(arrays) if arrays else pa.table({"answered": index.is_valid()})
