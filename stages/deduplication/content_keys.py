"""Keys by which rows are equal: 128-bit digests of the values of columns, and of passages of text."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import KEY_TYPE, TEXT, keys_from_words, one_chunk, text_buffers
from gristmill.pipeline.errors import ContractError
from gristmill.stages.deduplication.kernels.digests import BYTES, SPACES, WORDS, join_digests, passage_digests
from gristmill.stages.deduplication.kernels.normalise import normal_forms
from gristmill.stages.kernels.unicode import char_class

Normalise = Literal["words", "spaces", "none"]
"""How text is compared: see `stages.deduplication.kernels.digests` for WORDS, SPACES and, for `none`, BYTES."""
FORMS = {"words": WORDS, "spaces": SPACES, "none": BYTES}
KEY = "key"
"""The column of notes that holds digests, 16 bytes, null where there is nothing to compare."""

_TEXT, _NUMBER = np.uint64(1), np.uint64(2)
"""What a value is: the number 5 is not the text `5`."""


def digests_of(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray, normalise: Normalise, seeds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(digests, lengths) of the passages data[starts[p]:ends[p]]; see `stages.deduplication.kernels.digests.passage_digests`.

    uint64 of shape (passages, 2), and int64: bytes of the normal form, 0 for passages with nothing to compare.
    """
    digests, lengths = np.empty((len(starts), 2), np.uint64), np.empty(len(starts), np.int64)
    passage_digests(data, starts, ends, FORMS[normalise], seeds, normal_forms(), char_class(), digests, lengths)
    return digests, lengths


def row_keys(batch: pa.Table, on: tuple[str, ...], normalise: Normalise, scopes: np.ndarray) -> pa.Array:
    """The key of each row (16 bytes): equal where the values of all columns `on` are equal, within a scope.

    Null where a value is null or empty, or where the text has nothing left in its normal form: nothing was found there, so
    nothing is equal to it. `normalise` is for the column `text`; others are compared as they are. Raises ContractError
    for columns of floats, lists and structs, which have no such equality.
    """
    whole: np.ndarray | None = None
    known = np.ones(batch.num_rows, bool)
    for name in on:
        digests, lengths = _column_digests(batch[name], name, normalise if name == TEXT else "none", scopes)
        known &= lengths > 0
        if whole is None:
            whole = digests
        else:
            join_digests(whole, digests)
    keys = keys_from_words(np.zeros((batch.num_rows, 2), np.uint64) if whole is None else whole)
    return pa.FixedSizeBinaryArray.from_buffers(
        KEY_TYPE, len(keys), [pa.array(known).buffers()[1], keys.buffers()[1]], int((~known).sum())
    )


def check_on_types(nothing: pa.Table, on: tuple[str, ...]) -> None:
    """Raises ContractError when a column of `on` has a type that has no keys. `nothing` has them, and no rows."""
    for name in on:
        _check(name, nothing.schema.field(name).type)


def _check(name: str, kind: pa.DataType) -> None:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    types = pa.types
    if not (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_date(kind)
        or types.is_timestamp(kind)
    ):
        raise ContractError(
            f"`on` names the column `{name}` of type {kind}; expected text, binary, whole numbers, true/false, dates or "
            "timestamps. Floats and lists have no reliable exact equality: derive a column of text first."
        )


def _column_digests(
    column: pa.ChunkedArray, name: str, normalise: Normalise, scopes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    array = one_chunk(column)
    _check(name, array.type)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        data, offsets = text_buffers(array.cast(pa.large_string()))
        digests, lengths = digests_of(data, offsets[:-1], offsets[1:], normalise, scopes + _TEXT)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        data, offsets = text_buffers(array.cast(pa.large_binary()).view(pa.large_string()))
        digests, lengths = digests_of(data, offsets[:-1], offsets[1:], "none", scopes + _TEXT)
    else:
        data = _numbers(array).astype("<u8").view(np.uint8)
        starts = 8 * np.arange(len(array), dtype=np.int64)
        digests, lengths = digests_of(data, starts, starts + 8, "none", scopes + _NUMBER)
    lengths[array.is_null().to_numpy(zero_copy_only=False)] = 0
    return digests, lengths


def _numbers(array: pa.Array) -> np.ndarray:
    """Whole numbers, true/false and moments as uint64, negative ones as two's complement; 0 where null."""
    if array.type == pa.uint64():
        return np.asarray(array.fill_null(0))
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("ms"))
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    return np.asarray(array.cast(pa.int64()).fill_null(0)).view(np.uint64)
