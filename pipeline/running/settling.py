"""Between two passes: all notes of a node into its corpus-wide answer, once, delivered to the tasks that need it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY
from gristmill.pipeline.errors import ConservationError, DataError
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.file_exchange import FileExchange
from gristmill.pipeline.executor import Executor, in_order
from gristmill.pipeline.hashing import MerkleTree, digest
from gristmill.pipeline.planning.graph import Node
from gristmill.pipeline.planning.prior_runs import PriorNotes, with_prior
from gristmill.pipeline.planning.top_level import EXCHANGE_BYTES
from gristmill.pipeline.provenance.content import content_digest
from gristmill.pipeline.provenance.record_index import CHUNK, RecordIndex, RecordRef
from gristmill.pipeline.provenance.task_record import Notes
from gristmill.pipeline.provenance.values import to_json
from gristmill.pipeline.slices.settled import SettledFiles
from gristmill.pipeline.stage import Settled, StageContext
from gristmill.pipeline.storage import exists, open_read, put_if_absent, read_small, remove, sha256_of
from gristmill.pipeline.work_files import table_of, write_work
from gristmill.pipeline.work_folder import WorkFolder

MAX_BROADCAST = 64 << 20
"""Bytes of a settled table that every task gets."""
MOST_ANSWER = 1 << 30
"""Bytes of the record of an answer, at most: a line for each task."""

Located = tuple[str | None, str | None]
"""A file of an answer, relative to the work folder, and its SHA-256; None twice where there is none."""


@dataclass(frozen=True)
class Answer:
    """A node's settled answer: its digest, its report, and where each task finds its part."""

    digest: str
    report: Mapping[str, Any]
    files: Sequence[SettledFiles]


class TaskFiles(Sequence[SettledFiles]):
    """Where each task finds its part of an answer, in the memory of the paths alone.

    Args:
        whole: what all tasks have in common.
        keyed: by task, the file with the rows that it owns, and its SHA-256; None for a task that owns none.
    """

    def __init__(self, whole: SettledFiles, keyed: Iterable[tuple[str | None, str | None]]) -> None:
        self._whole = whole
        located = pa.array((_located(path, sha256) for path, sha256 in keyed), _LOCATED)
        self._paths, self._sha256 = located.flatten()

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, task: Any) -> Any:
        if not self._paths[task].is_valid:
            return self._whole
        return replace(self._whole, keyed=self._paths[task].as_py(), keyed_sha256=self._sha256[task].as_py().hex())


_LOCATED = pa.struct([("path", pa.large_string()), ("sha256", pa.binary(32))])


def _located(path: str | None, sha256: str | None) -> dict[str, Any]:
    return {"path": path, "sha256": None if sha256 is None else bytes.fromhex(sha256)}


def settle(
    node: Node,
    fingerprint: str,
    records: RecordIndex,
    index: int,
    work: WorkFolder,
    executor: Executor,
    context: StageContext,
    budget_bytes: int = EXCHANGE_BYTES,
    prior: Sequence[PriorNotes] = (),
) -> Answer:
    """The settled answer of a node; one that an interrupted run left is taken when its notes were the same.

    Args:
        node: a node that settles.
        fingerprint: its full fingerprint.
        records, index: the committed records of all tasks, and the pass with the node's survey.
        work: the work folder.
        executor: where the exchange runs.
        context: what the stage is told.
        budget_bytes: memory of each of its processes for rows and buffers.
        prior: notes of finished runs that the node settles with; they are part of `fingerprint`.

    Raises ConservationError when notes were lost or changed, or when the answer has no owner, DataError when a table
    is too large for every task.
    """
    notes, of_notes = _notes(node.name, records, index, work, executor)
    key = digest("gristmill.settle", [node.name, fingerprint, of_notes])
    record = work.at("settled", node.name, f"answer-{key[:32]}.json")
    data = read_small(record, MOST_ANSWER)
    if data is not None:
        found = _read_answer(data, work, executor)
        if found is not None:
            return found
        remove(record)
    if prior and notes.files:
        notes = with_prior(notes, prior, work.at("earlier", node.name), executor)
    answer = _answer(node, notes, records.tasks, work, executor, context, budget_bytes)
    if prior:
        told = [{"run": one.run, "node": one.node, "documents": one.rows, "notes": one.digest} for one in prior]
        answer = replace(answer, report={**answer.report, "against": told})
    put_if_absent(record, json.dumps(_to_json(answer, work), sort_keys=True).encode())
    return answer


def _answer(
    node: Node, notes: Rows, tasks: int, work: WorkFolder, executor: Executor, context: StageContext, budget_bytes: int
) -> Answer:
    exchange = FileExchange(executor, work.at("exchange", node.name), budget_bytes=budget_bytes)
    settled = node.stage.settle(notes, exchange, context) if notes.files else Settled()
    parts = []
    broadcast = broadcast_sha256 = None
    if settled.broadcast is not None:
        broadcast, broadcast_sha256 = _write_broadcast(node.name, settled.broadcast, work)
        parts.append(content_digest(settled.broadcast))
    keyed: Mapping[int, str] = {}
    schema = None
    if settled.keyed is not None:
        missing = {DOC_KEY, "task"} - set(settled.keyed.schema.names)
        if missing:
            raise ConservationError(f"node `{node.name}`: its keyed answer lacks the columns {sorted(missing)}.")
        schema = settled.keyed.schema.serialize().to_pybytes()
        keyed = exchange.deliver(settled.keyed, tasks)
    tree, sha256 = MerkleTree(), []
    chunks = (tuple(keyed.get(task) for task in some) for some in _chunks(tasks))
    for found in in_order(executor, delivered_digests, chunks):
        for content, of_file in found:
            tree.add(content)
            sha256.append(of_file)
    whole = digest("gristmill.settled", [parts, tree.root()])
    shared = SettledFiles(whole, None, None, broadcast, broadcast_sha256, schema)
    files = TaskFiles(shared, ((keyed.get(task), sha256[task]) for task in range(tasks)))
    return Answer(whole, dict(settled.report), files)


def _write_broadcast(name: str, table: pa.Table, work: WorkFolder) -> tuple[str, str]:
    if table.nbytes > MAX_BROADCAST:
        raise DataError(
            f"node `{name}`: its settled table has {table.nbytes} bytes; at most {MAX_BROADCAST} can go to every task. "
            "Group by fewer or coarser values."
        )
    path = f"settled/{name}/broadcast.arrow"

    def write(stream: Any) -> None:
        with pa.ipc.new_file(stream, table.schema) as writer:
            writer.write_table(table)

    return path, write_work(work.at(path), write).sha256


def _to_json(answer: Answer, work: WorkFolder) -> dict[str, Any]:
    first = answer.files[0] if answer.files else SettledFiles(answer.digest)
    return {
        "digest": answer.digest,
        "report": dict(answer.report),
        # Relative, so that the folder may be mounted elsewhere when the run goes on.
        "keyed": [
            None if file.keyed is None else [file.keyed.removeprefix(work.root + "/"), file.keyed_sha256]
            for file in answer.files
        ],
        "broadcast": None if first.broadcast is None else [first.broadcast, first.broadcast_sha256],
        "schema": None if first.schema is None else base64.b64encode(first.schema).decode(),
    }


def _read_answer(data: bytes, work: WorkFolder, executor: Executor) -> Answer | None:
    """A recorded answer whose files are all there, byte for byte as they were settled, else None."""
    try:
        value = json.loads(data)
        keyed: list[Located] = [
            (None, None) if item is None else (str(item[0]), str(item[1])) for item in value["keyed"]
        ]
        shared = value["broadcast"]
        broadcast: Located = (None, None) if shared is None else (str(shared[0]), str(shared[1]))
        schema = None if value["schema"] is None else base64.b64decode(value["schema"])
        whole, report = str(value["digest"]), dict(value["report"])
    except (ValueError, LookupError, TypeError):
        return None
    files = [(path, sha256) for path, sha256 in [*keyed, broadcast] if path is not None]
    if not all(work.holds(path) for path, _ in files):
        return None
    paths = [work.at(path) for path, _ in files]
    if any(found != files[index][1] for index, found in executor.run(note_digest, paths)):
        return None
    shared_files = SettledFiles(whole, None, None, broadcast[0], broadcast[1], schema)
    absolute = ((None if path is None else work.at(path), sha256) for path, sha256 in keyed)
    return Answer(whole, report, TaskFiles(shared_files, absolute))


def _notes(name: str, records: RecordIndex, index: int, work: WorkFolder, executor: Executor) -> tuple[Rows, list[str]]:
    """Notes of all tasks, and digests of what their records say of them."""
    paths: list[str] = []
    count, digests = 0, []
    jobs = (NotesJob(work.place, name, refs) for refs in records.chunks(index))
    for found in in_order(executor, find_notes, jobs):
        paths += found.paths
        count += found.rows
        digests.append(found.digest)
    schema = pa.schema([])
    if paths:
        with open_read(paths[0]) as stream:
            schema = pa.ipc.open_file(stream).schema
    return Rows(tuple(paths), schema, count), digests


@dataclass(frozen=True)
class NotesJob:
    """The notes of a node about some tasks."""

    work: str
    node: str
    refs: tuple[RecordRef, ...]


@dataclass(frozen=True)
class NotesFound:
    """Where they lie, how many rows they have, and a digest of what their records say of them."""

    paths: tuple[str, ...]
    rows: int
    digest: str


def find_notes(job: NotesJob) -> NotesFound:
    """Every note that was committed must be there as it was. Raises ConservationError."""
    work = WorkFolder(job.work)
    paths: list[str] = []
    rows, said = 0, []
    for ref in job.refs:
        note = ref.read(work).notes.get(job.node)
        if note is None:
            raise ConservationError(f"node `{job.node}`: task {ref.task} left no notes. Run again.")
        said.append(to_json(note))
        if isinstance(note, Notes):
            path = work.at(note.path)
            found = note_digest(path)
            if found != note.sha256:
                raise ConservationError(
                    f"node `{job.node}`: the notes {path} are not what was committed (expected SHA-256 {note.sha256}, found "
                    f"{found}). Remove the work folder and run again."
                )
            paths.append(path)
            rows += note.rows
    return NotesFound(tuple(paths), rows, digest("gristmill.notes_of_tasks", said))


def note_digest(path: str) -> str | None:
    """SHA-256 of a note file, or None when it is gone."""
    return sha256_of(path) if exists(path) else None


def delivered_digests(paths: tuple[str | None, ...]) -> list[tuple[str, str | None]]:
    """Of the settled rows delivered to each of some tasks: content digest, and SHA-256 of their file."""
    return [_delivered(path) for path in paths]


def _delivered(path: str | None) -> tuple[str, str | None]:
    if path is None:
        return digest("gristmill.content", "nothing"), None
    with open_read(path) as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
        stream.seek(0)
        return content_digest(table_of(stream)), found


def _chunks(tasks: int) -> Iterator[range]:
    return (range(start, min(start + CHUNK, tasks)) for start in range(0, tasks, CHUNK))
