"""Foreign files, looked at and read where a library that aborts cannot take the driver along.

A source that says `may_crash` is asked in a reading process, unless this process is one that may die: a Ray worker, whose
executor names the file. See docs/decisions/0017.
"""

from __future__ import annotations

import base64
import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from gristmill.pipeline.errors import DataError, GristmillError, StorageError
from gristmill.pipeline.executor import Executor
from gristmill.pipeline.planning.kept_reads import SharedReads, Tables, file_states, reads_of_run, write_tables
from gristmill.pipeline.reader_process import ReaderCrashed, is_expendable, shared_reader
from gristmill.pipeline.source import FoundFile, Slice, SliceData, Source

FILES_HERE = 256
"""Files that are looked at in the driver's reading process; more of them are the work of tasks, where there are workers."""

FILES_OF_TASK = 64
"""Files that one task looks at."""


Workers = Callable[[int], Executor | None]
"""What workers there are for looking at so many files; None where that is not worth their start."""


class Described(NamedTuple):
    """A source's slices in plan order, each schema of its files with the first slice that has it, and `Source.facts`."""

    slices: list[Slice]
    schemas: list[tuple[Slice, pa.Schema]]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class FilesJob:
    """A task: files of a source to be looked at. `source` is its module, class, name and config."""

    source: tuple[str, str, str, str]
    files: tuple[FoundFile, ...]
    schemas: bool

    @property
    def subject(self) -> str:
        """What the task is about: the first file."""
        return self.files[0].location


class Found(NamedTuple):
    """Slices, and each schema in base64 with the number of the first slice that has it; facts of a whole source."""

    slices: list[Slice]
    schemas: list[tuple[int, str]]
    facts: Mapping[str, Any]


def described(source: Source, *, schemas: bool = True, executor: Workers | None = None) -> Described:
    """What a source will read; its schemas where they are asked for.

    Args:
        executor: asked for workers whose tasks look at the files, if there are more than FILES_HERE.

    Raises what `Source.files`, `cut`, `slices` and `schema` raise, of the first file in plan order that cannot be read, and
    DataError naming a file that ends its reader.
    """
    files = source.files()
    slices: list[Slice] = []
    known: dict[str, tuple[Slice, pa.Schema]] = {}
    facts = source.facts()
    for found in [_look_at(source, None, schemas)] if files is None else _batches(source, files, schemas, executor):
        for index, encoded in found.schemas:
            if encoded not in known:
                known[encoded] = found.slices[index], pa.ipc.read_schema(pa.py_buffer(base64.b64decode(encoded)))
        slices += found.slices
        facts = found.facts or facts
    return Described(slices, list(known.values()), facts)


def _batches(source: Source, files: Sequence[FoundFile], schemas: bool, executor: Workers | None) -> Iterator[Found]:
    """What each run of files holds, in their order."""
    batches = [tuple(files[at : at + FILES_OF_TASK]) for at in range(0, len(files), FILES_OF_TASK)]
    answers: dict[int, Found] = {}
    workers = executor(len(files)) if executor is not None and len(files) > FILES_HERE else None
    if workers is not None:
        jobs = (FilesJob(_named(source), batch, schemas) for batch in batches)
        answers = dict(_until_refused(workers, jobs))
    for index, batch in enumerate(batches):
        # What a task could not read is read here, for its message, which names the file, and for a second opinion.
        yield answers.pop(index) if index in answers else _look_at(source, batch, schemas)


def _until_refused(executor: Executor, jobs: Iterator[FilesJob]) -> Iterator[tuple[int, Found]]:
    """Answers of tasks, in any order. When one has found a file that cannot be read, no further task is given out; those
    before it are, and will say whether there is an earlier one."""
    refused = False

    def drawn() -> Iterator[FilesJob]:
        for job in jobs:
            if refused:
                return
            yield job

    for index, found in executor.run_independent(look_at, drawn()):
        if isinstance(found, Found):
            yield index, found
        else:
            refused = refused or found is None


def look_at(job: FilesJob) -> Found | None:
    """What some files hold; None where one of them cannot be read. Raises StorageError."""
    try:
        return _look_at(_source(job.source), job.files, job.schemas)
    except StorageError:
        raise
    except GristmillError:
        return None


def _look_at(source: Source, files: Sequence[FoundFile] | None, schemas: bool) -> Found:
    """Slices and schemas of files, or with None of a source that does not cut its slices file by file."""
    if not _apart(source):
        return _found(source, files, schemas)
    # There may be a million slices, or slices of ten million records: one by one, and never all as one text.
    with tempfile.TemporaryDirectory(prefix="gristmill-") as folder:
        told = None if files is None else [astuple(file) for file in files]
        answer = _asked(source, "look_at", {"files": told, "schemas": schemas, "folder": folder})
        with (Path(folder) / "slices").open(encoding="utf-8") as lines:
            slices = [_slice(json.loads(line)) for line in lines]
    return Found(slices, [(index, encoded) for index, encoded in answer["schemas"]], answer["facts"])


def _found(source: Source, files: Sequence[FoundFile] | None, schemas: bool) -> Found:
    slices: list[Slice] = []
    known: dict[str, int] = {}
    paths: set[str] = set()
    for one in source.slices() if files is None else (one for file in files for one in source.cut(file)):
        if schemas and one.path not in paths:
            paths.add(one.path)
            known.setdefault(_encoded(source.schema(one)), len(slices))
        slices.append(one)
    return Found(slices, [(index, encoded) for encoded, index in known.items()], source.facts())


def _slice(value: dict[str, Any]) -> Slice:
    """A slice from its JSON. A million of them have few names among them, each of which is held once."""
    part = {sys.intern(name): number for name, number in value.pop("part").items()}
    files = tuple((path, location, size) for path, location, size in value.pop("files"))
    members = tuple(map(_slice, value.pop("members")))
    return Slice(**{**value, "source": sys.intern(value["source"])}, part=part, files=files, members=members)


def input_schema(source: Any, one: Slice) -> pa.Schema:
    """The columns of a slice's file before any mapping. Raises as `described` does."""
    if not _apart(source):
        return source.input_schema(one)
    answer = _asked(source, "input_schema", {"slice": asdict(one)})
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(answer)))


def read_each(
    source: Source,
    one: Slice,
    columns: frozenset[str] | None = None,
    *,
    again: bool = False,
    shared: str | None = None,
) -> list[SliceData]:
    """`Source.read` of each file of a slice, in order.

    Args:
        again: whether this run will read the slice again; what a reading process made of it is then kept (`kept_reads`).
        shared: the folder in which workers keep it.

    Raises what `Source.read` raises, and DataError naming a file that ends its reader.
    """
    if not _apart(source):

        def decode() -> list[SliceData]:
            return [source.read(member, columns) for member in one.each]

        if shared is None or not type(source).may_crash:
            return decode()
        key = json.dumps([_named(source), [asdict(member) for member in one.each]])
        return SharedReads(Path(shared)).read(key, one, columns, again, decode)
    slices, kept = [asdict(member) for member in one.each], reads_of_run()
    key = json.dumps([_named(source), slices])
    tables = None if kept is None else kept.found(key, one, columns)
    if tables is not None and kept is not None:
        found = tables.read(columns)
        if not again:
            kept.drop(key)
        return found
    with tempfile.TemporaryDirectory(prefix="gristmill-") as folder:
        states = file_states(one)  # before it is read: a change meanwhile is one since
        wanted = None if columns is None else sorted(columns)
        argument = {"slices": slices, "columns": wanted, "folder": folder}
        bytes_read = _asked(source, "read", argument, one.location, one.bytes)
        tables = Tables(Path(folder) / "tables", columns, tuple(bytes_read), states)
        found = tables.read(columns)
        if again and kept is not None:
            kept.keep(key, tables)
    return found


def read(source: Source, one: Slice, columns: frozenset[str] | None = None) -> SliceData:
    """`Source.read` of a slice as the source cut it. Raises as `read_each`."""
    (found,) = read_each(source, one, columns)
    return found


def _apart(source: Source) -> bool:
    return type(source).may_crash and not is_expendable()


def _asked(source: Source, function: str, argument: Mapping[str, Any], at: str = "", size: int = 0) -> Any:
    try:
        return shared_reader(__name__).call(function, {**argument, "source": _named(source)}, size)
    except ReaderCrashed as error:
        raise DataError(
            f"{error.at or at or source.name}: the file cannot be read: {error}. It is damaged, or made to do this: restore "
            "it, or leave it out with `exclude`."
        ) from error


# In the reading process


def _named(source: Source) -> tuple[str, str, str, str]:
    """A source as data: its class's module and name, its own name, its config."""
    kind = type(source)
    return kind.__module__, kind.__qualname__, source.name, source.config.model_dump_json(by_alias=True)


def _source(named: Sequence[str]) -> Any:
    module, name, source, config = named
    kind: Any = importlib.import_module(module)
    for part in name.split("."):
        kind = getattr(kind, part)
    return kind(source, kind.Config.model_validate_json(config))


def _encoded(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def _answer(argument: Mapping[str, Any]) -> dict[str, Any]:
    files = None if argument["files"] is None else [FoundFile(*file) for file in argument["files"]]
    found = _found(_source(argument["source"]), files, argument["schemas"])
    with (Path(argument["folder"]) / "slices").open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(asdict(one)) + "\n" for one in found.slices)
    return {"schemas": found.schemas, "facts": dict(found.facts)}


def _input_schema(argument: Mapping[str, Any]) -> str:
    return _encoded(_source(argument["source"]).input_schema(_slice(argument["slice"])))


def _read(argument: Mapping[str, Any]) -> list[int]:
    columns = None if argument["columns"] is None else frozenset(argument["columns"])
    source, sizes = _source(argument["source"]), []
    with pa.OSFile(str(Path(argument["folder"]) / "tables"), "wb") as file:
        for member in argument["slices"]:
            data = source.read(_slice(member), columns)
            write_tables(file, data)
            sizes.append(int(data.bytes_read))
    return sizes


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {"look_at": _answer, "input_schema": _input_schema, "read": _read}
