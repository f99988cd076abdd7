"""Scopes: the columns within whose equal values documents may be duplicates of each other."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from gristmill.pipeline.document import one_chunk
from gristmill.pipeline.errors import ContractError
from gristmill.pipeline.hashing import canonical

WHOLE = 0
"""The scope of all documents, where no column limits it."""


def scope_hashes(batch: pa.Table, within: tuple[str, ...]) -> np.ndarray:
    """uint64 hash of each row's values in the columns `within`, the same in every run; WHOLE for no columns.

    Null is a value like others, and equal to itself. Raises ContractError for columns of floats, lists or structs, which
    make no scope.
    """
    if not within:
        return np.full(batch.num_rows, WHOLE, np.uint64)
    state = np.zeros(batch.num_rows, np.uint64)
    for name in within:
        encoded = one_chunk(batch[name])
        if not pa.types.is_dictionary(encoded.type):
            _check(name, encoded.type)
            encoded = encoded.dictionary_encode()
        else:
            _check(name, encoded.type.value_type)
        hashes = [_value_hash(value) for value in encoded.dictionary.to_pylist()]
        table = np.array([*hashes, _value_hash(None)], np.uint64)
        rows = pc.fill_null(encoded.indices, len(hashes)).to_numpy(zero_copy_only=False)
        # Order matters, so that (a, b) and (b, a) differ: an odd factor, then the next column.
        state = state * np.uint64(0x9E3779B97F4A7C15) + table[rows]
    return state


def _check(name: str, kind: pa.DataType) -> None:
    if pa.types.is_floating(kind) or pa.types.is_nested(kind):
        raise ContractError(
            f"`within` names the column `{name}` of type {kind}; expected text, whole numbers, true/false, dates or "
            "binary. Floats and lists cannot be used as groups: derive a column of labels first."
        )


def _value_hash(value: Any) -> int:
    if isinstance(value, (datetime.date, datetime.datetime)):
        value = value.isoformat()
    return xxhash.xxh3_64_intdigest(canonical(value))
