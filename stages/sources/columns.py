"""Input columns under our names: the mapping, the text column, the user's id."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from pipeline.document import DOC_KEY, ID, TEXT, TEXT_TYPE, one_chunk
from pipeline.errors import DataError, nearest

TEXT_GUESSES = ("text", "content", "raw_content", "document", "body", "contents", "article", "markdown", "page")
"""Names under which data sets keep the text, most common first (for `init` and `sample`, which say what they took)."""


def mapped_schema(schema: pa.Schema, mapping: Mapping[str, str], where: str) -> pa.Schema:
    """The input's schema after mapping, with `text` as large_string and `id` as string.

    Raises DataError, naming the columns there are, when a mapped column or the text column is missing or of another
    type than text.
    """
    for ours, theirs in mapping.items():
        if theirs not in schema.names:
            raise DataError(
                f"{where}: there is no column `{theirs}` to map to `{ours}`; {nearest(theirs, schema.names)}"
            )
    taken = {theirs: ours for ours, theirs in mapping.items()}
    fields: list[pa.Field] = []
    for item in schema:
        name = taken.get(item.name, item.name)
        if name != item.name or name not in mapping:
            fields.append(pa.field(name, plain_type(item.type)))
    result = pa.schema(fields)
    if TEXT not in result.names:
        raise DataError(
            f"{where}: there is no column `text`; found {', '.join(schema.names) or 'none'}. Map one: "
            "`columns: {text: NAME}` in the config."
        )
    kind = result.field(TEXT).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise DataError(f"{where}: the column `text` is {kind}, not text. Map another one under `columns:`.")
    result = result.set(result.get_field_index(TEXT), pa.field(TEXT, TEXT_TYPE))
    names = [name for name in result.names if name not in (TEXT, ID, DOC_KEY)]
    return pa.schema([pa.field(ID, pa.string()), result.field(TEXT), *(result.field(name) for name in names)])


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Dictionary and view types as the plain ones that shards hold."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    return kind


def mapped_table(table: pa.Table, schema: pa.Schema, mapping: Mapping[str, str], keys: pa.Array) -> pa.Table:
    """The input's rows under `schema` (see `mapped_schema`; a subset of its columns is fine), with doc_key first.

    A document without an id of its own gets its doc_key in hexadecimal.
    """
    arrays: list[pa.Array] = [keys]
    fields = [pa.field(DOC_KEY, keys.type)]
    for item in schema:
        theirs = mapping.get(item.name, item.name)
        if theirs in table.column_names:
            array = one_chunk(table[theirs].cast(item.type) if table[theirs].type != item.type else table[theirs])
        elif item.name == ID:
            array = pa.array([key.hex() for key in keys.to_pylist()], pa.string())
        else:
            array = pa.nulls(table.num_rows, item.type)
        arrays.append(array)
        fields.append(item)
    return pa.table(arrays, schema=pa.schema(fields))
