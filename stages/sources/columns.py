"""Input columns under our names: the mapping, the text column, the user's id."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY, ID, PAYLOADS, RESERVED, TEXT, TEXT_TYPE, is_payload, one_chunk
from gristmill.pipeline.errors import ConfigError, DataError, listed_names, nearest

TEXT_GUESSES = ("text", "content", "raw_content", "document", "body", "contents", "article", "markdown", "page")
"""Names under which data sets keep the text, most common first (for `init` and `sample`, which say what they took)."""


MAX_FIELDS = 10_000
"""Struct fields that are looked at for names."""

Constant = str | int | float | bool
_CONSTANT_TYPES = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}

MAX_NESTING = 32
"""Lists, maps and structs within each other in a column. Parquet spends up to three levels on each, and Arrow's reader
opens no file of more than 100."""


def with_fields(schema: pa.Schema, mapping: Mapping[str, str]) -> pa.Schema:
    """The input's schema with the struct fields that a mapping names by their path (`doc.text`) as columns of that name,
    in place of the structs that hold them. A column that has such a name itself is taken as it is."""
    added = {}
    for theirs in mapping.values():
        if theirs not in schema.names and (kind := _field_type(schema, theirs)) is not None:
            added[theirs] = kind
    inside = {name.split(".")[0] for name in added} - set(mapping.values())
    kept = [item for item in schema if item.name not in inside]
    return pa.schema([*kept, *(pa.field(name, kind) for name, kind in added.items())])


def _field_type(schema: pa.Schema, path: str) -> pa.DataType | None:
    first, *rest = path.split(".")
    if not rest or schema.names.count(first) != 1:
        return None
    kind = schema.field(first).type
    for name in rest:
        if not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            return None
        kind = kind.field(name).type
    return kind


def with_field_columns(table: pa.Table, names: Collection[str]) -> pa.Table:
    """The table with columns for the names in `names` that are paths into its structs; null where a struct is."""
    for name in sorted(set(names) - set(table.column_names)):
        if _field_type(table.schema, name) is not None:
            first, *rest = name.split(".")
            table = table.append_column(name, pc.struct_field(table[first], rest))
    return table


def mapped_schema(
    schema: pa.Schema, mapping: Mapping[str, str], where: str, constants: Mapping[str, Constant] | None = None
) -> pa.Schema:
    """The input's schema after mapping, with `text` as large_string and `id` as string, and the constants at its end; without
    text it has a payload, `html` or `bytes`, as large_binary or large_string.

    An input column whose name another one takes by the mapping, or that is ours (`doc_key`, `copy`), goes on as
    `input_NAME`.

    Raises ConfigError for a mapping to a name of ours, and DataError, naming the columns there are, when a mapped column
    is missing, or both text and payload are, or the text is of another type than text, or when two columns would have one name,
    or when a column's type is nested deeper than MAX_NESTING or holds list views.
    """
    for ours, theirs in mapping.items():
        if ours in RESERVED:
            raise ConfigError(f"{where}: `columns` maps `{theirs}` to `{ours}`, a reserved name. Choose another one.")
    schema = with_fields(schema, mapping)
    for ours, theirs in mapping.items():
        if theirs not in schema.names:
            raise DataError(
                f"{where}: there is no column `{theirs}` to map to `{ours}`; {nearest(theirs, field_paths(schema))}"
            )
    _refuse_doubles(schema.names, where)
    _refuse_types(schema, where)
    fields = [pa.field(name, plain_type(item.type)) for item in schema for name in _names_of(item.name, mapping)]
    for name, value in (constants or {}).items():
        if name in RESERVED or name in (TEXT, ID, *PAYLOADS):
            raise ConfigError(f"{where}: `constants` gives `{name}` a value, which documents have of their own.")
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise ConfigError(f"{where}: `constants` gives `{name}` a number of more than 64 bits. Write it as text.")
        if name in {item.name for item in fields}:
            raise ConfigError(f"{where}: `constants` gives `{name}` a value, but the input has a column of that name.")
        fields.append(pa.field(name, _CONSTANT_TYPES[type(value)]))
    result = pa.schema(fields)
    _refuse_doubles(result.names, where)
    payloads = [item for item in result if item.name in PAYLOADS and is_payload(item.type)]
    if TEXT not in result.names and not payloads:
        raise DataError(
            f"{where}: there is no column `text`; found {listed_names(schema.names) or 'none'}. Map one: "
            "`columns: {text: NAME}` in the config, or `{html: NAME}` for pages from which a stage is to make the text."
        )
    kind = result.field(TEXT).type if TEXT in result.names else TEXT_TYPE
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise DataError(f"{where}: the column `text` is {kind}, not text. Map another one under `columns:`.")
    if ID in result.names:
        _refuse_wordless_id(result.field(ID).type, where)
    # A slice may hold more than 2 GiB of text, or of payload in place of it.
    wide = [pa.field(TEXT, TEXT_TYPE)] if TEXT in result.names else [_wide(item) for item in payloads]
    first = {ID, DOC_KEY, *(item.name for item in wide)}
    rest = [item for item in result if item.name not in first]
    return pa.schema([pa.field(ID, pa.string()), *wide, *rest])


def _wide(item: pa.Field) -> pa.Field:
    is_text = pa.types.is_string(item.type) or pa.types.is_large_string(item.type)
    return pa.field(item.name, TEXT_TYPE if is_text else pa.large_binary())


def _names_of(theirs: str, mapping: Mapping[str, str]) -> list[str]:
    """Our names for an input column: those that the mapping gives it, else its own unless that is taken."""
    given = [ours for ours, name in mapping.items() if name == theirs]
    if given:
        return given
    return [f"input_{theirs}" if theirs in mapping or theirs in RESERVED else theirs]


def field_paths(schema: pa.Schema) -> list[str]:
    """The columns of a schema, and the fields of its structs by their paths."""
    found: list[str] = []
    pending = [(item.name, item.type) for item in reversed(schema)]
    while pending and len(found) < MAX_FIELDS:
        name, kind = pending.pop()
        found.append(name)
        if pa.types.is_struct(kind):
            inner = [kind.field(i) for i in range(kind.num_fields)]
            pending += [(f"{name}.{item.name}", item.type) for item in reversed(inner)]
    return found


def input_name(ours: str, mapping: Mapping[str, str], names: Collection[str]) -> str:
    """The input's name of one of our columns; the inverse of the mapping. `names` are the input's columns."""
    if ours in mapping:
        return mapping[ours]
    return ours if ours in names else ours.removeprefix("input_")


def _refuse_doubles(names: Sequence[str], where: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                f"{where}: {names.count(name)} columns would be called `{name}`. Give one of them another name under "
                "`columns:`, or in the file."
            )


def _refuse_wordless_id(kind: pa.DataType, where: str) -> None:
    nested_or_binary = (
        pa.types.is_nested(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
    if nested_or_binary:
        raise DataError(
            f"{where}: the column `id` is {kind}, which cannot be written as text. Give it another name under `columns:` "
            "(`columns: {raw_id: id}`); then documents are identified by their doc_key."
        )


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Dictionary, view and extension types as the plain ones that shards hold, at every depth."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([item.with_type(plain_type(item.type)) for item in kind])
    if pa.types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        value = kind.value_field.with_type(plain_type(kind.value_type))
        if pa.types.is_fixed_size_list(kind):
            return pa.list_(value, kind.list_size)
        return pa.large_list(value) if pa.types.is_large_list(kind) else pa.list_(value)
    return kind


def nesting(kind: pa.DataType) -> int:
    """Lists, maps and structs within each other: 0 for a plain type."""
    if not pa.types.is_nested(kind):
        return 0
    return 1 + max((nesting(kind.field(index).type) for index in range(kind.num_fields)), default=0)


def has_empty_struct(kind: pa.DataType) -> bool:
    """Whether a type holds a struct without fields, which Parquet has no form for."""
    if not pa.types.is_nested(kind):
        return False
    return kind.num_fields == 0 or any(has_empty_struct(kind.field(i).type) for i in range(kind.num_fields))


def _refuse_types(schema: pa.Schema, where: str) -> None:
    for item in schema:
        if (depth := nesting(item.type)) > MAX_NESTING:
            raise DataError(
                f"{where}: in the column `{item.name}` lists and structs lie {depth} deep in each other; at most "
                f"{MAX_NESTING} are read, since readers of Parquet refuse more. Write it as text, or leave the file out."
            )
        if _has_list_view(item.type):
            # Arrow's cast of them to lists makes arrays whose offsets are one too few.
            raise DataError(
                f"{where}: the column `{item.name}` is {item.type}. Lists in the form of views are not read: write them as "
                "plain lists, or leave the file out."
            )


def _has_list_view(kind: pa.DataType) -> bool:
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return True
    return pa.types.is_nested(kind) and any(_has_list_view(kind.field(i).type) for i in range(kind.num_fields))


def mapped_table(
    table: pa.Table,
    schema: pa.Schema,
    mapping: Mapping[str, str],
    keys: pa.Array,
    where: str = "input",
    constants: Mapping[str, Constant] | None = None,
) -> pa.Table:
    """The input's rows under `schema` (see `mapped_schema`; a subset of its columns is fine), with doc_key first.

    A document without an id of its own (no column, null, or an empty text) gets its doc_key in hexadecimal.
    """
    arrays: list[pa.Array] = [keys]
    fields = [pa.field(DOC_KEY, keys.type)]
    table = with_field_columns(table, mapping.values())
    for item in schema:
        theirs = input_name(item.name, mapping, table.column_names)
        if constants and item.name in constants:
            array = pa.repeat(pa.scalar(constants[item.name], item.type), len(keys))
        elif theirs in table.column_names:
            array = one_chunk(_cast(table[theirs], item, theirs, where))
            if item.name == ID:
                array = _with_ids(array, keys)
        elif item.name == ID:
            array = _with_ids(pa.nulls(len(keys), pa.string()), keys)
        else:
            array = pa.nulls(len(keys), item.type)
        arrays.append(array)
        fields.append(item)
    return pa.table(arrays, schema=pa.schema(fields))


def _with_ids(ids: pa.Array, keys: pa.Array) -> pa.Array:
    """The ids, with the doc_key in hexadecimal where a document has none: null or an empty text."""
    missing = pc.fill_null(pc.equal(ids, ""), True)
    if not pc.any(missing).as_py():
        return ids
    return pc.replace_with_mask(ids, missing, pa.array([k.hex() for k in keys.filter(missing).to_pylist()], ids.type))


def _cast(column: pa.ChunkedArray, item: pa.Field, theirs: str, where: str) -> pa.ChunkedArray:
    if column.type == item.type:
        return column
    try:
        return column.cast(item.type)
    except pa.ArrowException as error:
        raise DataError(
            f"{where}: the column `{theirs}` ({column.type}) cannot be read as {item.type} for `{item.name}` ({error}). "
            "Give it another name under `columns:`, or write the file anew."
        ) from error
