"""Notes that finished runs kept: found and checked while a run is planned, read as rows when a node settles with them.

An output keeps the notes of a node whose stage asks for it (`Stage.keeps_notes`) as `notes/NODE/part-TASK.parquet`: the notes
with the column `emitted`, whether the node emitted the document. A later run's node whose stage names that output
(`Stage.against`) settles with its own notes and with those. They have a negative `task`, since none of the run's tasks owns
their documents: -1 - 2i for a document that the i-th prior run emitted at that node, -2 - 2i for one that it did not.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from gristmill.pipeline.document import DOC_KEY, one_chunk
from gristmill.pipeline.errors import ConfigError, ConservationError, DataError, GristmillError, looked_for
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.row_files import RowsWriter, written_elsewhere
from gristmill.pipeline.executor import Executor
from gristmill.pipeline.executor.payloads import Bytes
from gristmill.pipeline.hashing import digest, merkle_root
from gristmill.pipeline.planning.graph import Graph, Node
from gristmill.pipeline.provenance.files import FILES_TABLE, most_table_bytes, notes_role
from gristmill.pipeline.provenance.holding_folders import holding_folders
from gristmill.pipeline.provenance.logs import LOG_KEY, LedgerLog, SliceRead
from gristmill.pipeline.provenance.sidecar_tables import EMITTED
from gristmill.pipeline.provenance.statement import (
    OLDER,
    ManifestNode,
    Predicate,
    Statement,
    manifest_digest,
    parse_strictly,
    read_statement_bytes,
    run_key,
)
from gristmill.pipeline.provenance.values import described, parse, to_json
from gristmill.pipeline.reader_process import ReaderCrashed, is_expendable, shared_reader
from gristmill.pipeline.source import Slice
from gristmill.pipeline.storage import join, open_within, read_within

PRIOR = "run:earlier"
"""The field of a fingerprint that holds the digests of the notes that a node settles with."""


@dataclass(frozen=True)
class PriorNotes:
    """The notes that one node of one finished run kept.

    Attributes:
        folder: the output, as the config names it.
        held: the folder that holds them: that of the run's first output that keeps notes.
        run: the run's key.
        node: the node's name there.
        files: (path in the output, SHA-256, rows) of each file, in the order of tasks.
        digest: of the run, the node and the content of all files.
        stored: bytes of all files.
    """

    folder: str
    held: str
    run: str
    node: str
    files: tuple[tuple[str, str, int], ...]
    digest: str
    stored: int

    @property
    def rows(self) -> int:
        return sum(rows for _, _, rows in self.files)


def is_emitted(task: np.ndarray) -> np.ndarray:
    """For the `task` of notes of prior runs (negative): whether the document was emitted there."""
    emitted: np.ndarray = (task < 0) & (task % 2 == 1)
    return emitted


def prior_notes(graph: Graph, node: Node, signal: str, slices: Sequence[Slice]) -> tuple[PriorNotes, ...]:
    """The notes of all outputs that a node's stage names.

    Args:
        graph: the run's graph, for the snapshots of its sources.
        node: a node that settles.
        signal: the signal fingerprint of its stage: notes of others cannot be compared with its own.
        slices: what the run reads.

    Raises ConfigError for an output without a finished run or without such notes, for notes that other settings made (with
    both), for a file of the sources that a prior run has read, and when an output is left out that a prior run was
    itself settled against.
    """
    found: list[PriorNotes] = []
    needed: list[tuple[str, str]] = []
    for index, folder in enumerate(node.spec.against):
        where = f"{graph.config.where(f'stages.{node.name}.against')}[{index}]: {folder}"
        if any(one.folder.rstrip("/") == folder.rstrip("/") for one in found):
            raise ConfigError(f"{where} is a duplicate entry: its documents would count twice. List it once.")
        one, before = _notes_of(where, folder, graph, node, signal, slices)
        if any(other.run == one.run for other in found):
            raise ConfigError(
                f"{where} is another output of a run that is already listed. List one output of each run."
            )
        found.append(one)
        needed += [(folder, item) for item in before]
    known = {one.digest for one in found}
    for folder, item in needed:
        if item not in known:
            raise ConfigError(
                f"{graph.config.where(f'stages.{node.name}.against')}: {folder} was itself deduplicated against notes with "
                f"the digest {item}, which are not among those of {', '.join(node.spec.against)}. Clusters and their sizes "
                "would leave them out: list that run's output too."
            )
    return tuple(found)


def _notes_of(
    where: str, folder: str, graph: Graph, node: Node, signal: str, slices: Sequence[Slice]
) -> tuple[PriorNotes, list[str]]:
    manifest, listed = finished_run(where, folder)
    same = [item for item in manifest.nodes if item.use == node.use]
    mine = [item for item in same if item.name == node.name] or same
    if len(mine) != 1:
        names = ", ".join(f"`{item.name}`" for item in mine) or "none"
        raise ConfigError(
            f"{where}: expected one node of the stage `{node.use}` there, found {names}. Give this node the name of the one "
            "that is meant."
        )
    kept = [item for item in listed if item["role"] == notes_role(mine[0].name)]
    if not kept:
        raise ConfigError(
            f"{where}: its run kept no notes of the node `{mine[0].name}`. Run it again with `keep_notes: true` there."
        )
    if mine[0].signal_fingerprint != signal:
        raise ConfigError(
            f"{where}: its notes cannot be compared with this run's: {signal_differences(mine[0], node)}. Use the same "
            "settings, or repeat the prior run with these."
        )
    _refuse_read_before(where, folder, manifest, listed, graph, slices)
    root = merkle_root([item["content_digest"] for item in kept])
    files = tuple((item["path"], item["sha256"], item["rows"]) for item in kept)
    identity = digest("gristmill.notes", [manifest.run, mine[0].name, root])
    before = list(mine[0].fields.threshold.get(PRIOR, []))
    held = folder_of(where, folder, manifest, kept[0]["output"])
    return PriorNotes(
        folder, held, manifest.run, mine[0].name, files, identity, sum(item["size"] for item in kept)
    ), before


def folder_of(where: str, folder: str, manifest: Predicate, output: str) -> str:
    """The folder of the output that holds a file of one of them. Raises ConfigError where it is not beside it."""
    found = holding_folders(folder, manifest, [output])
    if output not in found:
        raise ConfigError(
            f"{where}: its ledger, signals and notes lie in the folder of that run's output `{output}`, which is not beside "
            "it. Name that folder here instead, or put it beside this one."
        )
    return found[output]


def finished_run(where: str, folder: str) -> tuple[Predicate, list[dict[str, Any]]]:
    """An output's manifest and the rows of its files.parquet, which must be what the run wrote. Raises ConfigError, after
    `where`."""
    again = f"`gristmill audit {folder}` shows what else differs. Restore the folder, or repeat that run"
    try:
        found = read_statement_bytes(folder)
        if found is None:
            raise ConfigError(
                f"{where} holds no finished run: there is no manifest.json{looked_for(folder)}. Name the folder of an output."
            )
        stored = found[0]
        if stored["predicate"].get("digest") != manifest_digest(stored["predicate"]):
            raise ConfigError(
                f"{where}: its manifest.json was changed: its digest does not match its content. {again}."
            )
        statement = parse(Statement, stored)
        expected = {item.name: item.digest for item in statement.subject}[FILES_TABLE]["sha256"]
        most = most_table_bytes(statement.predicate.files.count)
        answer = _apart("listed_files", [folder, most, expected], f"{folder}: {FILES_TABLE}", most)
    except ValidationError as error:
        wrong = described(error)[0]
        raise ConfigError(f"{where}: its manifest.json is not what a run writes ({wrong}). {again}.") from error
    except KeyError as error:
        raise ConfigError(f"{where}: its manifest.json is not what a run writes (no {error}). {again}.") from error
    except ConfigError:
        raise
    except GristmillError as error:
        told = str(error) if where == folder and str(error).startswith(f"{folder}/") else f"{where}: {error}"
        # Nothing differs in an output of another format, and there is nothing to restore.
        raise ConfigError(told if OLDER in told else f"{told.removesuffix('.')}. {again}.") from error
    if "rows" not in answer:
        raise ConfigError(
            f"{where}: {FILES_TABLE} is not what its run wrote (expected SHA-256 {expected}, found {answer['sha256']}), so it "
            f"is unknown which notes belong to it. {again}."
        )
    return statement.predicate, answer["rows"]


# What is read of a prior run's Parquet files: in a reading process, or in a worker, which may die of one.


def _apart(function: str, argument: Any, location: str, size: int) -> Any:
    """One of FUNCTIONS. Raises what it raises, and DataError for a file that ends its reader."""
    if is_expendable():
        return FUNCTIONS[function](argument)
    try:
        return shared_reader(__name__).call(function, argument, size)
    except ReaderCrashed as error:
        raise DataError(f"{location}: cannot be read: {error}. It is damaged, or made to do this") from error


def _listed_files(argument: Sequence[Any]) -> dict[str, Any]:
    """The rows of files.parquet, when its bytes have the digest that the manifest states; else the digest that they have.

    `argument`: folder, most bytes, expected SHA-256 in hexadecimal.
    """
    folder, most, expected = argument
    table = read_within(folder, FILES_TABLE, most)
    sha256 = hashlib.sha256(table).hexdigest()
    if sha256 != expected:
        return {"sha256": sha256}
    columns = ["path", "role", "task", "tasks", "output", "sha256", "content_digest", "rows", "size"]
    try:
        return {"rows": pq.ParquetFile(pa.BufferReader(table)).read(columns=columns, use_threads=False).to_pylist()}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{FILES_TABLE} cannot be read ({error})") from error


def signal_differences(there: ManifestNode, node: Node) -> str:
    """The signal settings that differ, with both values."""
    config = node.stage.config
    here = {n: v for n, v in config.model_dump(mode="json").items() if type(config).field_kind(n) == "signal"}
    theirs = there.fields.signal
    names = [name for name in sorted({*here, *theirs}) if here.get(name) != theirs.get(name)]
    told = [f"`{name}` is {theirs.get(name)!r} there and {here.get(name)!r} here" for name in names]
    if there.version != type(node.stage).version:
        told.append(f"the stage's version is {there.version} there and {type(node.stage).version} here")
    return "; ".join(told) or "the models differ"


def _slices_read(argument: Sequence[Any]) -> list[dict[str, Any]]:
    """What ledgers say that their tasks have read, in the order of tasks. `argument`: folder, paths."""
    folder, paths = argument
    found: list[dict[str, Any]] = []
    for path in paths:
        try:
            with open_within(folder, path) as stream:
                metadata = pq.ParquetFile(stream).metadata.metadata or {}
            log = parse(LedgerLog, parse_strictly(metadata.get(LOG_KEY.encode(), b"{}")))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(f"{join(folder, path)}: this ledger cannot be read ({error})") from error
        found += [to_json(one.slices[0]) for one in log.tasks]
    return found


def slices_of_run(where: str, folder: str, manifest: Predicate, listed: Sequence[Mapping[str, Any]]) -> list[SliceRead]:
    """What a finished run has read, in the order of its tasks, as its ledgers say. Raises ConfigError, after `where`, for
    ledgers that lie elsewhere or name other slices than the run's key."""
    ledgers = [item for item in listed if item["role"] == "ledger"]
    held = folder_of(where, folder, manifest, ledgers[0]["output"]) if ledgers else folder
    paths = [item["path"] for item in ledgers]
    found = [parse(SliceRead, one) for one in _apart("slices_read", [held, paths], f"{held}/ledger", 1 << 20)]
    if run_key(manifest.identity, found) != manifest.run:
        raise ConfigError(
            f"{where}: the ledgers in {held} name other files than that run has read. `gristmill audit {folder}` shows what "
            "else differs. Restore the folder, or repeat that run."
        )
    return found


def _refuse_read_before(
    where: str,
    folder: str,
    manifest: Predicate,
    listed: Sequence[Mapping[str, Any]],
    graph: Graph,
    slices: Sequence[Slice],
) -> None:
    """A doc_key names source, snapshot, path and position: of a file that was read before, all documents were there."""
    read = {(one.source, file.path) for one in slices_of_run(where, folder, manifest, listed) for file in one.each}
    for one in (member for whole in slices for member in whole.each):
        if (one.source, one.path) not in read or one.source not in manifest.sources:
            continue
        snapshot = graph.sources[one.source].config.snapshot
        if manifest.sources[one.source].snapshot == snapshot:
            raise ConfigError(
                f"{where}: that run has read `{one.path}` of the source `{one.source}` with the snapshot {snapshot!r} already, "
                f"so {one.location} would give other documents the same keys, or the same ones again. Leave the file out "
                f"(`exclude`) if it is the same, or give the source a new `snapshot` if its content is new."
            )


# When the node settles.


@dataclass(frozen=True)
class FetchJob:
    """One file of kept notes, and where its rows go; `schema` (serialized) are the run's own notes."""

    folder: str
    name: str
    sha256: str
    rows: int
    number: int
    schema: Bytes
    path: str


def with_prior(notes: Rows, prior: Sequence[PriorNotes], folder: str, executor: Executor) -> Rows:
    """A run's notes together with those of prior runs, which are written to `folder`.

    Raises ConservationError when a file is not what its run wrote, DataError when it has other columns.
    """
    jobs = [
        FetchJob(
            one.held,
            path,
            sha256,
            rows,
            number,
            notes.schema.serialize().to_pybytes(),
            join(folder, f"run-{number:03d}-{file:05d}.arrow"),
        )
        for number, one in enumerate(prior)
        for file, (path, sha256, rows) in enumerate(one.files)
    ]
    for _ in executor.run(_fetched, jobs):
        pass
    files = notes.files + tuple(job.path for job in jobs)
    return Rows(files, notes.schema, notes.count + sum(job.rows for job in jobs))


def _fetched(job: FetchJob) -> int:
    """`fetch_notes`, apart from a process that must not die."""
    fields = {**asdict(job), "schema": base64.b64encode(job.schema).decode()}
    return int(_apart("fetch_notes", fields, join(job.folder, job.name), 100 * job.rows))


def fetch_notes(job: FetchJob) -> int:
    """Writes a file of kept notes as rows with a negative `task`. Returns how many."""
    try:
        return _written(job)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{join(job.folder, job.name)}: these notes cannot be read ({error}).") from error


def _written(job: FetchJob) -> int:
    location = join(job.folder, job.name)
    schema = pa.ipc.read_schema(pa.py_buffer(job.schema))
    with open_within(job.folder, job.name) as stream, written_elsewhere(job.path) as temporary:
        # The bytes that are read are those of which the digest was taken: the file is not opened a second time.
        found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != job.sha256:
            raise ConservationError(
                f"{location}: these notes are not what their run wrote (expected SHA-256 {job.sha256}, found {found}). Restore "
                "the file, or run that run again."
            )
        stream.seek(0)
        file = pq.ParquetFile(stream)
        missing = {*schema.names, EMITTED} - {*file.schema_arrow.names, "task"}
        if missing:
            raise DataError(f"{location}: these notes lack the columns {sorted(missing)}; another version wrote them.")
        writer = RowsWriter(temporary, schema)
        for batch in file.iter_batches(batch_size=1 << 13, use_threads=False):
            table = pa.Table.from_batches([batch])
            emitted = one_chunk(table[EMITTED]).to_numpy(zero_copy_only=False)
            task = np.where(emitted, -1, -2) - 2 * job.number
            table = table.append_column("task", pa.array(task.astype(np.int32)))
            writer.write(table.select(schema.names).cast(schema))
        writer.close()
    if writer.rows != job.rows:
        raise ConservationError(f"{location}: {writer.rows} notes, expected {job.rows}.")
    return writer.rows


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "listed_files": _listed_files,
    "slices_read": _slices_read,
    "fetch_notes": lambda fields: fetch_notes(FetchJob(**{**fields, "schema": base64.b64decode(fields["schema"])})),
}
"""What a reading process is asked for."""


def kept_notes(notes: pa.Table, keys: pa.Array, emitted: np.ndarray) -> pa.Table:
    """A task's notes as an output keeps them: without `task`, with `emitted` for the documents `keys` of their node.

    Raises ConservationError for notes about documents that did not enter the node.
    """
    place = pc.index_in(one_chunk(notes[DOC_KEY]), value_set=keys)
    if place.null_count:
        raise ConservationError(
            f"{place.null_count} notes are about documents that did not enter their node. Remove the work folder and run again."
        )
    return notes.drop_columns(["task"]).append_column(EMITTED, pa.array(emitted).take(place))
