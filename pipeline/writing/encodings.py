"""How columns are encoded in Parquet: for shards by their types, for sidecars by their values, so that rows cost few bytes.

Numbers that hardly repeat, such as shares of a text, are larger with a dictionary than without; keys of documents that a ledger
names at several nodes are smaller. The choice follows from the rows alone, so the same rows give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY

_SAMPLE = 1 << 13
"""Values of a column that are looked at; keys are all counted, since a ledger's repeat far apart: once per node."""
_NUMBERS, _STRINGS, _KEYS = 0.4, 0.5, 0.75
"""Distinct values per value up to which a dictionary pays: the less, the better values are compressed without."""
_DICTIONARY_BYTES = 8 << 20
"""A dictionary's bytes at most: the keys of a row group fit, which they do not in Parquet's usual 1 MiB."""
_LONG = 256
"""Bytes per string on average from which no dictionary is tried: texts, of which none repeats."""


def by_types(schema: pa.Schema) -> dict[str, Any]:
    """Arguments of `ParquetWriter` for shards."""
    # Keys hardly repeat: a dictionary of them is larger than they are.
    return {
        "use_dictionary": [leaf for item in schema if item.name != DOC_KEY for leaf in _leaves(item.name, item.type)]
    }


def by_values(rows: pa.Table) -> dict[str, Any]:
    """Arguments of `ParquetWriter` for a sidecar whose first rows are these."""
    dictionary: list[str] = []
    split: dict[str, str] = {}
    for field in rows.schema:
        if pa.types.is_nested(field.type) or _repeats(rows[field.name]):
            dictionary += _leaves(field.name, field.type)
        elif _is_single_precision(rows[field.name]):
            split[field.name] = "BYTE_STREAM_SPLIT"
    return {
        "use_dictionary": dictionary,
        "column_encoding": split or None,
        "dictionary_pagesize_limit": _DICTIONARY_BYTES,
    }


def _repeats(values: pa.ChunkedArray) -> bool:
    """Whether values stand often enough for a dictionary."""
    kind, most = values.type, _NUMBERS
    if pa.types.is_fixed_size_binary(kind) and not pa.types.is_decimal(kind):
        values, most = values.cast(pa.binary()), _KEYS
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values, most = values[:_SAMPLE], _STRINGS
        if values.nbytes > _LONG * len(values):
            return False
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        values = values[:_SAMPLE]
    else:
        return True
    return bool(pc.count_distinct(values).as_py() <= most * (len(values) - values.null_count))


def _is_single_precision(values: pa.ChunkedArray) -> bool:
    """Whether 64-bit floats hold no more than 32-bit ones do: half of their bytes are zeros, which lie together when split."""
    if not pa.types.is_float64(values.type):
        return False
    floats = values[:_SAMPLE].drop_null().to_numpy()
    with np.errstate(over="ignore"):
        return bool(np.array_equal(floats.astype(np.float32), floats))


def _leaves(name: str, kind: pa.DataType) -> Iterator[str]:
    """The paths of a column's leaves, as Parquet names them."""
    if pa.types.is_struct(kind):
        for child in kind:
            yield from _leaves(f"{name}.{child.name}", child.type)
    elif pa.types.is_map(kind):
        yield from _leaves(f"{name}.key_value.key", kind.key_type)
        yield from _leaves(f"{name}.key_value.value", kind.item_type)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaves(f"{name}.list.element", kind.value_type)
    else:
        yield name
