"""Mark columns: what a node that marks instead of dropping leaves behind, read by the stages that use it.

A node `quality` that marks writes the column `quality_failed`: the list of the rules that the document fails, empty for
none. Columns of truth values and of text (non-empty: marked) are understood too.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import one_chunk
from gristmill.pipeline.errors import ContractError

SUFFIX = "_failed"


def mark_column(name: str) -> str:
    """The mark column that a name stands for: a column that ends in `_failed` stands for itself, any other name is a
    node's.

    >>> mark_column("quality"), mark_column("quality_failed")
    ('quality_failed', 'quality_failed')
    """
    return name if name.endswith(SUFFIX) else name + SUFFIX


def node_name(name: str) -> str:
    """The node that a mark column belongs to: `quality_failed` → `quality`."""
    return name.removesuffix(SUFFIX) or name


def marked_rows(column: pa.Array | pa.ChunkedArray, name: str) -> np.ndarray:
    """Which rows are marked, as a bool array; null is not marked.

    Raises ContractError for a column that cannot be a mark.
    """
    array = one_chunk(column)
    kind = array.type
    if _is_list(kind):
        found = pc.greater(pc.list_value_length(array), 0)
    elif pa.types.is_boolean(kind):
        found = array
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        found = pc.greater(pc.binary_length(array), 0)
    elif pa.types.is_null(kind):
        return np.zeros(len(array), bool)
    else:
        raise ContractError(
            f"the mark column `{name}` is {kind}; expected a list of rules, true/false or text. Name the column that a "
            "marking node writes."
        )
    return np.asarray(found.fill_null(False).to_numpy(zero_copy_only=False), bool)


def mark_texts(column: pa.Array | pa.ChunkedArray, name: str) -> pa.Array:
    """What each row is marked with, as text: rules joined by commas, the column's name for truth values, null if not
    marked."""
    array = one_chunk(column)
    kind = array.type
    marked = pa.array(marked_rows(array, name))
    if _is_list(kind):
        # Rules may be dictionary-encoded; null rules inside a list are left out of the text.
        rules = array.cast(pa.list_(pa.string()))
        texts = pc.binary_join(rules, ",") if rules.flatten().null_count == 0 else _joined_slowly(rules)
    elif pa.types.is_boolean(kind) or pa.types.is_null(kind):
        texts = pa.array([name], pa.string()).take(pa.array(np.zeros(len(array), np.int64)))
    else:
        texts = array.cast(pa.string())
    return pc.if_else(marked, texts, pa.scalar(None, pa.string()))


def _joined_slowly(rules: pa.Array) -> pa.Array:
    return pa.array(
        [None if row is None else ",".join(rule for rule in row if rule is not None) for row in rules.to_pylist()],
        pa.string(),
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))
