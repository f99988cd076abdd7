"""Groups of documents by columns such as language and script: their texts, codes and names. Used by rebalancing and
classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import one_chunk

Key = tuple[str, ...]
"""A group: one text per column, "" for null."""


def group_columns(batch: pa.Table, group: Sequence[str]) -> list[pa.Array]:
    """The group columns of a batch as text without nulls; a column that is not there is empty throughout."""
    found = []
    for name in group:
        if name in batch.column_names:
            column = one_chunk(batch[name]).cast(pa.string()).fill_null("")
        else:
            column = pa.array([""], pa.string()).take(pa.array(np.zeros(batch.num_rows, np.int64)))
        found.append(column)
    return found


@dataclass(frozen=True)
class Coded:
    """The groups of rows.

    Attributes:
        codes: int64, one per row: index into `keys`.
        keys: the distinct groups.
    """

    codes: np.ndarray
    keys: tuple[Key, ...]


def coded_groups(columns: Sequence[pa.Array], rows: int) -> Coded:
    """Distinct groups of a batch and the index of each row's group."""
    codes = np.zeros(rows, np.int64)
    keys: list[Key] = [()]
    for column in columns:
        encoded = pc.dictionary_encode(column)
        values = encoded.dictionary.to_pylist()
        codes = codes * max(1, len(values)) + np.asarray(encoded.indices, np.int64)
        present, codes = np.unique(codes, return_inverse=True)
        keys = [(*keys[code // len(values)], values[code % len(values)]) for code in present.tolist()]
    return Coded(codes.astype(np.int64), tuple(keys))


def label(key: Key) -> str:
    """A group's name as FineWeb2 writes it: `por_Latn`.

    >>> label(("por", "Latn")), label(("", "Latn")), label(("", ""))
    ('por_Latn', 'unknown_Latn', 'unknown')
    """
    return "_".join(part or "unknown" for part in key) if any(key) else "unknown"
