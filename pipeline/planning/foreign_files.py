"""Foreign files, looked at and read where a library that aborts cannot take the driver along.

A source that says `may_crash` is asked in a reading process, unless this process is one that may die: a Ray worker, whose
executor names the file. See docs/decisions/0017.
"""

from __future__ import annotations

import base64
import importlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from gristmill.pipeline.errors import DataError
from gristmill.pipeline.reader_process import ReaderCrashed, is_expendable, shared_reader
from gristmill.pipeline.source import Slice, SliceData, Source


class Described(NamedTuple):
    """A source's slices in plan order, the schema of each file by its first slice, and `Source.facts`."""

    slices: list[Slice]
    schemas: list[tuple[Slice, pa.Schema]]
    facts: Mapping[str, Any]


def described(source: Source, *, schemas: bool = True) -> Described:
    """What a source will read; its schemas where they are asked for.

    Raises what `Source.slices` and `Source.schema` raise, and DataError naming a file that ends its reader.
    """
    if not _apart(source):
        slices = list(source.slices())
        return Described(
            slices, [(one, source.schema(one)) for one in _heads(slices)] if schemas else [], source.facts()
        )
    # There may be a million slices, or slices of ten million records: one by one, and never all as one text.
    with tempfile.TemporaryDirectory(prefix="gristmill-") as folder:
        answer = _asked(source, "describe", {"schemas": schemas, "folder": folder})
        with (Path(folder) / "slices").open(encoding="utf-8") as lines:
            slices = [Slice(**json.loads(line)) for line in lines]
    found = [pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))) for text in answer["schemas"]]
    heads = _heads(slices) if schemas else []
    schemas_found = [(one, found[index]) for one, index in zip(heads, answer["schema_of"], strict=True)]
    return Described(slices, schemas_found, answer["facts"])


def input_schema(source: Any, one: Slice) -> pa.Schema:
    """The columns of a slice's file before any mapping. Raises as `described` does."""
    if not _apart(source):
        return source.input_schema(one)
    answer = _asked(source, "input_schema", {"slice": asdict(one)})
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(answer)))


def read(source: Source, one: Slice, columns: frozenset[str] | None = None) -> SliceData:
    """`Source.read`. Raises what it raises, and DataError naming a slice that ends its reader."""
    if not _apart(source):
        return source.read(one, columns)
    with tempfile.TemporaryDirectory(prefix="gristmill-") as folder:
        wanted = None if columns is None else sorted(columns)
        argument = {"slice": asdict(one), "columns": wanted, "folder": folder}
        bytes_read = _asked(source, "read", argument, one.location, one.bytes)
        tables = []
        for name in ("table", "rejects"):
            with pa.OSFile(f"{folder}/{name}") as file:
                tables.append(pa.ipc.open_file(file).read_all())
    return SliceData(tables[0], tables[1], bytes_read)


def _apart(source: Source) -> bool:
    return type(source).may_crash and not is_expendable()


def _asked(source: Source, function: str, argument: Mapping[str, Any], at: str = "", size: int = 0) -> Any:
    kind = type(source)
    whole = {
        **argument,
        "source": [kind.__module__, kind.__qualname__, source.name, source.config.model_dump_json(by_alias=True)],
    }
    try:
        return shared_reader(__name__).call(function, whole, size)
    except ReaderCrashed as error:
        raise DataError(
            f"{error.at or at or source.name}: the file cannot be read: {error}. It is damaged, or made to do this: restore "
            "it, or leave it out with `exclude`."
        ) from error


def _heads(slices: Sequence[Slice]) -> list[Slice]:
    """The first slice of each file."""
    first: dict[str, Slice] = {}
    for one in slices:
        first.setdefault(one.path, one)
    return list(first.values())


# In the reading process


def _source(argument: Mapping[str, Any]) -> Any:
    module, name, source, config = argument["source"]
    kind: Any = importlib.import_module(module)
    for part in name.split("."):
        kind = getattr(kind, part)
    return kind(source, kind.Config.model_validate_json(config))


def _encoded(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def _describe(argument: Mapping[str, Any]) -> dict[str, Any]:
    source = _source(argument)
    slices = list(source.slices())
    schemas: dict[str, int] = {}
    heads = _heads(slices) if argument["schemas"] else []
    with (Path(argument["folder"]) / "slices").open("w", encoding="utf-8") as lines:
        for one in slices:
            lines.write(json.dumps(asdict(one)) + "\n")
    schema_of = [schemas.setdefault(_encoded(source.schema(one)), len(schemas)) for one in heads]
    return {
        "schemas": list(schemas),
        "schema_of": schema_of,
        "facts": dict(source.facts()),
    }


def _input_schema(argument: Mapping[str, Any]) -> str:
    return _encoded(_source(argument).input_schema(Slice(**argument["slice"])))


def _read(argument: Mapping[str, Any]) -> int:
    columns = argument["columns"]
    data = _source(argument).read(Slice(**argument["slice"]), None if columns is None else frozenset(columns))
    for name, table in (("table", data.table), ("rejects", data.rejects)):
        with (
            pa.OSFile(str(Path(argument["folder"]) / name), "wb") as file,
            pa.ipc.new_file(file, table.schema) as writer,
        ):
            writer.write_table(table)
    return int(data.bytes_read)


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {"describe": _describe, "input_schema": _input_schema, "read": _read}
