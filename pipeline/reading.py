"""What the source decides about a document before any stage sees it: empty text is dropped, a giant is quarantined."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.document import one_chunk, text_bytes
from pipeline.flow import Outcome
from pipeline.stage import DROPPED, QUARANTINED

READ_RULES = ("empty_text", "too_large")
"""`empty_text`: null, no bytes or only white space (dropped); `too_large`: above `max_document_bytes` (quarantined)."""


def read_outcome(text: pa.Array | pa.ChunkedArray, max_document_bytes: int) -> Outcome:
    """The decisions of a source for the rows of a slice."""
    column = one_chunk(text)
    sizes = text_bytes(column)
    count = len(column)
    empty = _blank(column, sizes)
    large = sizes > max_document_bytes
    port = np.zeros(count, np.int16)
    port[empty] = DROPPED
    port[large] = QUARANTINED
    rule = np.full(count, -1, np.int16)
    rule[empty], rule[large] = 0, 1
    value = np.where(rule >= 0, sizes, np.nan).astype(np.float64)
    limit = np.where(large, float(max_document_bytes), np.nan)
    limit[empty] = 0.0
    failed = empty.astype(np.uint64) | (large.astype(np.uint64) << np.uint64(1))
    return Outcome(
        port, np.ones(count, np.int64), READ_RULES, rule, failed, value, limit, pa.nulls(count, pa.string()), {}
    )


def _blank(column: pa.Array, sizes: np.ndarray) -> np.ndarray:
    """Rows that hold nothing but white space. Only short rows can be: a long one is looked at by its trimmed length."""
    blank: np.ndarray = sizes == 0
    if column.null_count:
        blank |= np.asarray(column.is_null())
    # Trimming copies the text, so it is done only for rows that start with white space.
    starts = np.asarray(pc.fill_null(pc.utf8_is_space(pc.utf8_slice_codeunits(column, 0, 1)), False))
    suspects = np.flatnonzero(starts & ~blank)
    for start in range(0, len(suspects), 1024):
        rows = suspects[start : start + 1024]
        trimmed = pc.utf8_ltrim_whitespace(column.take(pa.array(rows)))
        blank[rows] = np.asarray(pc.binary_length(trimmed)) == 0
    return blank
