"""JSON lines as a source, plain or compressed: a slice is a byte range of a plain file, or a whole compressed one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from gristmill.pipeline.document import TEXT, TEXT_TYPE, doc_keys
from gristmill.pipeline.errors import DataError
from gristmill.pipeline.source import FoundFile, Slice, SliceData, Source, SourceConfig
from gristmill.stages.sources.columns import (
    MAX_NESTING,
    has_empty_struct,
    input_name,
    mapped_schema,
    mapped_table,
    with_fields,
)
from gristmill.stages.sources.lines import cut_lines, lines_of
from gristmill.stages.sources.listing import find_files
from gristmill.stages.sources.rejects import Reject, rejects_table
from gristmill.stages.sources.streams import (
    longest_record,
    uncompressed,
)

_ENDINGS = (
    ".jsonl",
    ".jsonl.gz",
    ".jsonl.zst",
    ".json.gz",
    ".json.zst",
    ".ndjson",
    ".ndjson.gz",
    ".ndjson.zst",
    ".json",
)
_HEAD_BYTES = 4 << 20
_HEAD_LINES = 1000
_BATCH_BYTES = 8 << 20
"""Bytes of lines that are held as Python values at once; what was read before them lies in Arrow's arrays."""
LEAST_RECORD = 40
"""Bytes of a record, for the bound on memory."""


_NOT_AS_SHOWN = "in the first lines of the file; `numbers: float` reads whole numbers as floats"
LATE = "late_columns"
MOST_SCHEMAS = 4096
"""Files whose columns are remembered."""
_Shape = dict[str, Any] | list[Any] | None
_File = tuple[str, int, str]
"""Location, bytes and stamp of a file."""


class JsonlConfig(SourceConfig):
    """Settings of JSON lines."""

    late_columns: Literal["refuse", "ignore", "keep"] | None = Field(None, examples=["keep"])
    """What to do with keys, also within objects, that the first lines of a file do not have: `refuse` stops the run (the
    default), `keep` keeps them by their paths as JSON text in a column `late_columns`, `ignore` leaves them out."""
    numbers: Literal["as_shown", "float"] | None = Field(None, examples=["float"])
    """`float`: columns of numbers are floats, also where the first lines of a file show whole numbers only; a record with a
    whole number that no float holds is quarantined. Default: `as_shown` by those lines."""


class JsonlSource(Source):
    """JSON lines: `.jsonl`, `.ndjson`, `.json`, plain, `.gz` or `.zst`. A record's position is its byte offset in the
    (uncompressed) stream; the columns of a file are those of its first 1,000 lines (at most 4 MiB)."""

    Config = JsonlConfig

    version = 1
    by_offset = True
    known_endings: ClassVar[tuple[str, ...]] = (
        ".jsonl",
        ".jsonl.gz",
        ".jsonl.zst",
        ".ndjson",
        ".ndjson.gz",
        ".ndjson.zst",
        ".json",
        ".json.gz",
        ".json.zst",
    )
    summary = "JSON lines, plain, gzip or zstd: one slice per byte range of a plain file, or per compressed file"

    def files(self) -> Sequence[FoundFile]:
        return find_files(self.name, self.config, _ENDINGS)

    def cut(self, file: FoundFile) -> list[Slice]:
        return cut_lines(self.name, file, self.config.slice_bytes, LEAST_RECORD)

    def schema(self, one: Slice) -> pa.Schema:
        return self._mapped(self.input_schema(one), one)

    def _mapped(self, schema: pa.Schema, one: Slice) -> pa.Schema:
        if self.config.late_columns == "keep":
            if LATE in schema.names:
                raise DataError(
                    f"{one.location}: there is a key `{LATE}` already. Set `late_columns: refuse` or `ignore`."
                )
            schema = schema.append(pa.field(LATE, pa.string()))
        return mapped_schema(schema, self.config.columns, one.location, self.config.constants)

    _schemas: dict[_File, pa.Schema] | None = None
    """Columns of the files whose first lines were read last: their other slices and the next passes come to them again."""
    _head: tuple[_File, dict[bytes, dict[str, Any]]] | None = None
    """The file whose first lines were read last, with what they hold by line: of a small file, that is all of it."""

    def __getstate__(self) -> dict[str, Any]:
        """What other processes get: they remember for themselves."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_schemas", "_head")}

    def input_schema(self, one: Slice) -> pa.Schema:
        """Types of the columns as the first lines of the file show them."""
        file = _file(one)
        if self._schemas is None or len(self._schemas) >= MOST_SCHEMAS:
            self._schemas = {}
        if file not in self._schemas:
            self._schemas[file] = self._shown(one)
        return self._schemas[file]

    def _shown(self, one: Slice) -> pa.Schema:
        rows: list[dict[str, Any]] = []
        shown: dict[bytes, dict[str, Any]] = {}
        with uncompressed(one.location) as stream:
            head = stream.read(_HEAD_BYTES)
            if b"\n" not in head:
                head += stream.readline(longest_record(self.config))  # one long line, which shows the columns as well
            for line in head.split(b"\n")[:_HEAD_LINES]:
                row = _parsed(line)[0]
                if row is not None:
                    rows.append(row)
                    shown[line] = row
        self._head = _file(one), shown
        if not rows:
            # Nothing but bad lines: the text column alone is assumed, each record is judged.
            name = self.config.columns.get(TEXT, TEXT)
            return pa.schema([pa.field(name, TEXT_TYPE)])
        names = list(dict.fromkeys(name for row in rows for name in row))
        fields = []
        for name in names:
            values = [row.get(name) for row in rows]
            try:
                kind = pa.array(values).type
            except (pa.ArrowException, OverflowError):
                kind = pa.string()
            kind = _with_floats(kind) if self.config.numbers == "float" else kind
            # What Parquet has no form for is kept as JSON text.
            as_text = pa.types.is_null(kind) or has_empty_struct(kind)
            fields.append(pa.field(name, pa.string() if as_text else kind))
        return pa.schema(fields)

    def read(self, one: Slice, columns: frozenset[str] | None = None) -> SliceData:
        schema = self.input_schema(one)
        shown = self._head[1] if self._head is not None and self._head[0] == _file(one) else {}
        self._head = None
        target = self._mapped(schema, one)
        # Of all columns, whichever are read: what comes late must be the same in every pass.
        shapes = self._shapes(schema, target)
        if columns is not None:
            target = pa.schema([item for item in target if item.name in columns])
        known = frozenset(schema.names)
        names = [name for name in target.names if name not in (self.config.constants or {})]
        have = [*with_fields(schema, self.config.columns).names, LATE]
        taken = {ours: input_name(ours, self.config.columns, have) for ours in names}
        kinds = {theirs: target.field(ours).type for ours, theirs in taken.items()}
        text = taken.get(TEXT, self.config.columns.get(TEXT, TEXT))
        paths = [name for name in {*kinds, text} if "." in name and name not in known]
        positions: list[int] = []
        values: dict[str, list[Any]] = {name: [] for name in kinds}
        rejects: list[Reject] = []
        batches: list[pa.Table] = []
        held = 0
        for offset, line, length in lines_of(one, self.config):
            if held > _BATCH_BYTES:
                batches.append(_batch(values, kinds))
                values, held = {name: [] for name in kinds}, 0
            if length > len(line):
                rejects.append((offset, "line_too_long", f"{length} bytes; at most {len(line)} are read", length))
                continue
            held += length
            row, reason, detail = shown.pop(line.removesuffix(b"\n"), None) if shown else None, "", ""
            if row is None:
                row, reason, detail = _parsed(line)
            if row is None:
                if reason:
                    rejects.append((offset, reason, detail, len(line)))
                continue
            self._take_late(row, known, shapes, one, offset)
            for name in paths:
                row[name] = _field(row, name)
            found = row.get(text)
            if found is not None and not isinstance(found, str):
                rejects.append((offset, "text_is_no_string", f"`{text}` is {type(found).__name__}", len(line)))
                continue
            clean, problem = _fitted(row, kinds)
            if problem:
                rejects.append((offset, "value_of_another_type", problem, len(line)))
                continue
            positions.append(offset)
            for name in kinds:
                values[name].append(clean.get(name))
        table = pa.concat_tables([*batches, _batch(values, kinds)])
        keys = doc_keys(self.name, self.config.snapshot, one.path, np.array(positions, np.int64))
        rows = mapped_table(table, target, self.config.columns, keys, one.location, self.config.constants)
        return SliceData(rows, rejects_table(self.name, self.config.snapshot, one.path, rejects), one.bytes)

    def _shapes(self, schema: pa.Schema, target: pa.Schema) -> dict[str, _Shape]:
        """The columns of a file that are passed on with objects in them, and the keys that these have."""
        names = [name for name in target.names if name not in (self.config.constants or {})]
        have = with_fields(schema, self.config.columns).names
        taken = ((input_name(ours, self.config.columns, have), target.field(ours).type) for ours in names)
        found = {theirs: _shape(kind) for theirs, kind in taken}
        return {name: shape for name, shape in found.items() if shape}

    def _take_late(
        self, row: dict[str, Any], known: frozenset[str], shapes: dict[str, _Shape], one: Slice, offset: int
    ) -> None:
        late = {} if known.issuperset(row) else {name: row.pop(name) for name in list(row) if name not in known}
        if self.config.late_columns == "ignore":
            return
        for name, shape in shapes.items():
            late.update(_late_keys(row.get(name) if name in known else _field(row, name), shape, name))
        if late and self.config.late_columns == "keep":
            row[LATE] = json.dumps(late, ensure_ascii=False)
        elif late:
            raise DataError(
                f"{one.location}: the record at byte {offset} has the key `{next(iter(late)):.100}`, which the first "
                f"{_HEAD_LINES:,} lines of the file do not have, so there is no column for it. Set `late_columns: keep` (such "
                f"keys become JSON text in a column `{LATE}`) or `late_columns: ignore` for the source `{self.name}`."
            )

    def offsets(self, one: Slice) -> np.ndarray:
        return np.array([offset for offset, _, _ in lines_of(one, self.config)], np.int64)


def _file(one: Slice) -> _File:
    return one.location, one.file_bytes, one.stamp


def _with_floats(kind: pa.DataType) -> pa.DataType:
    """A type with floats in place of whole numbers, at every depth."""
    if pa.types.is_integer(kind):
        return pa.float64()
    if pa.types.is_list(kind):
        return pa.list_(_with_floats(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([item.with_type(_with_floats(item.type)) for item in kind])
    return kind


def _shape(kind: pa.DataType) -> _Shape:
    """By key, the shape of an object's values; of a list, that of its items; None for a type without objects."""
    if pa.types.is_struct(kind):
        return {item.name: _shape(item.type) for item in kind}
    if pa.types.is_list(kind):
        inner = _shape(kind.value_type)
        return None if inner is None else [inner]
    return None


def _late_keys(value: Any, shape: _Shape, path: str) -> Iterator[tuple[str, Any]]:
    """The keys that a value has and its shape has not, by path, such as `meta.author` or `links[2].title`."""
    if isinstance(shape, dict) and isinstance(value, dict):
        for key, inner in value.items():
            if key not in shape:
                yield f"{path}.{key}", inner
            elif shape[key]:
                yield from _late_keys(inner, shape[key], f"{path}.{key}")
    elif isinstance(shape, list) and isinstance(value, list):
        for number, item in enumerate(value):
            yield from _late_keys(item, shape[0], f"{path}[{number}]")


def _batch(values: dict[str, list[Any]], kinds: dict[str, pa.DataType]) -> pa.Table:
    return pa.table({name: pa.array(values[name], kind) for name, kind in kinds.items()})


def _parsed(line: bytes) -> tuple[dict[str, Any] | None, str, str]:
    """A line as an object, or (None, reason, detail); a blank line is (None, "", "")."""
    if not line.strip():
        return None, "", ""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return None, "not_utf8", f"{error.reason} at byte {error.start} of the line"
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        return None, "not_json", str(error)
    if not isinstance(row, dict):
        return None, "not_an_object", f"a JSON object was expected, found {type(row).__name__}"
    if line.count(b"[") + line.count(b"{") > MAX_NESTING and not _shallow(row.values(), MAX_NESTING):
        return None, "nested_too_deep", f"lists and objects lie more than {MAX_NESTING} deep in a value"
    # Only an escape can bring a lone surrogate into a JSON text that is valid UTF-8.
    return (_without_surrogates(row) if b"\\ud" in line.lower() else row), "", ""


def _shallow(values: Iterable[Any], levels: int) -> bool:
    """Whether no value has more than `levels` lists and objects within each other."""
    for value in values:
        if isinstance(value, (list, dict)):
            inner = value if isinstance(value, list) else value.values()
            if not levels or not _shallow(inner, levels - 1):
                return False
    return True


def _field(row: dict[str, Any], path: str) -> Any:
    """The value at a path of keys such as `doc.text`, or None."""
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _without_surrogates(value: Any) -> Any:
    """The value with lone surrogates, which UTF-8 cannot hold, as U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def _fitted(row: dict[str, Any], kinds: dict[str, pa.DataType]) -> tuple[dict[str, Any], str]:
    """The row's values as the columns' types take them, or a problem."""
    clean: dict[str, Any] = {}
    for name, kind in kinds.items():
        value = row.get(name)
        if value is None:
            continue
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            if not isinstance(value, str):
                value = json.dumps(value, ensure_ascii=False)
        elif pa.types.is_integer(kind):
            if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 63:
                return clean, f"`{name}` is {value!r:.40}, but {kind} {_NOT_AS_SHOWN}"
        elif pa.types.is_floating(kind):
            # A large integer that no float equals is none, as Arrow has it for the first lines.
            fits = isinstance(value, float) or (type(value) is int and -(1 << 53) <= value <= 1 << 53)
            if not fits:
                return clean, f"`{name}` is {value!r:.40}, but {kind} in the first lines of the file"
            value = float(value)
        else:
            try:
                pa.array([value], kind)
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                return clean, f"`{name}` is {value!r:.40}, but {kind} in the first lines of the file"
        clean[name] = value
    return clean, ""
