"""What the driver keeps of committed tasks: the key and the digest of each record, 64 bytes a task and pass.

Records themselves stay in the work folder, where tasks read them: what a later pass, a settling or the publication needs of
them never lies in the driver for all tasks at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.provenance.accounts import Accounts
from gristmill.pipeline.provenance.task_record import (
    MOST_RECORD,
    TaskAttempt,
    TaskRecord,
    parsed_record,
    record_digest,
    record_location,
)
from gristmill.pipeline.storage import read_small
from gristmill.pipeline.work_folder import WorkFolder

CHUNK = 64
"""Tasks whose records one job reads."""


@dataclass(frozen=True)
class RecordRef:
    """A committed record by its name and the SHA-256 of its bytes."""

    task: int
    pass_: int
    key: str
    sha256: str

    def read(self, work: WorkFolder) -> TaskRecord:
        """The record. Raises ConservationError when it is gone or another one."""
        location = record_location(work, self.task, self.pass_, self.key)
        data = read_small(location, MOST_RECORD)
        found = "none" if data is None else hashlib.sha256(data).hexdigest()
        if data is None or found != self.sha256:
            raise ConservationError(
                f"{location}: this is not the record that was committed (expected SHA-256 {self.sha256}, found {found}). "
                "Remove the work folder and run again."
            )
        return parsed_record(TaskRecord, data, location)


@dataclass(frozen=True)
class SliceDone:
    """What a task says of its slice: source, digest, rows, records that could not be read, UTF-8 bytes of text."""

    source: str
    digest: str
    rows: int
    rejects: int
    text_bytes: int


@dataclass(frozen=True)
class TaskDone:
    """What the driver is told of a committed task: it goes into totals, and the reference into the index."""

    ref: RecordRef
    slice: SliceDone
    accounts: Accounts
    varies: TaskAttempt

    @property
    def task(self) -> int:
        return self.ref.task

    @property
    def pass_(self) -> int:
        return self.ref.pass_

    @classmethod
    def of(cls, record: TaskRecord, data: bytes | None = None) -> TaskDone:
        """What is told of a record that counts. `data`: its bytes, if they are known."""
        one = record.slice
        sha256 = record_digest(record) if data is None else hashlib.sha256(data).hexdigest()
        ref = RecordRef(record.task, record.pass_, record.key, sha256)
        told = SliceDone(one.source, one.digest, one.rows, one.rejects, one.text_bytes)
        return cls(ref, told, record.accounts, record.varies)


class RecordIndex:
    """References to the records of all tasks in all passes."""

    def __init__(self, tasks: int, passes: int) -> None:
        self.tasks = tasks
        self._keys = np.zeros((passes, tasks, 32), np.uint8)
        self._digests = np.zeros((passes, tasks, 32), np.uint8)
        self._slices = np.zeros((tasks, 32), np.uint8)
        self._documents = np.zeros(tasks, np.int64)

    def add(self, done: TaskDone) -> None:
        """Keeps the reference of a committed record."""
        ref = done.ref
        self._keys[ref.pass_, ref.task] = _bytes(ref.key)
        self._digests[ref.pass_, ref.task] = _bytes(ref.sha256)
        self._slices[ref.task] = _bytes(done.slice.digest)
        self._documents[ref.task] = done.slice.rows + done.slice.rejects

    def has(self, pass_: int, task: int) -> bool:
        """Whether a record is known. No SHA-256 is all zeros."""
        return bool(self._keys[pass_, task].any())

    def slice_digest(self, task: int) -> str:
        """Of a task whose first pass is known."""
        return str(self._slices[task].tobytes().hex())

    def slice_digests(self) -> Iterator[str]:
        """In the order of tasks."""
        return (self.slice_digest(task) for task in range(self.tasks))

    def ref(self, pass_: int, task: int) -> RecordRef:
        keys, digests = self._keys[pass_, task], self._digests[pass_, task]
        return RecordRef(task, pass_, keys.tobytes().hex(), digests.tobytes().hex())

    def preceding(self, pass_: int, task: int) -> tuple[RecordRef, ...]:
        """The references of a task's passes before one."""
        return tuple(self.ref(earlier, task) for earlier in range(pass_))

    def groups(self, documents: int, most: int) -> Iterator[range]:
        """Runs of consecutive tasks of at most so many documents together, a larger one alone, and of so many tasks."""
        first, held = 0, 0
        for task, count in enumerate(self._documents.tolist()):
            if task > first and (held + count > documents or task - first == most):
                yield range(first, task)
                first, held = task, 0
            held += count
        if first < self.tasks:
            yield range(first, self.tasks)

    def chunks(self, pass_: int, size: int = CHUNK) -> Iterator[tuple[RecordRef, ...]]:
        """All references of a pass, in the order of tasks, so many at a time."""
        for start in range(0, self.tasks, size):
            yield tuple(self.ref(pass_, task) for task in range(start, min(start + size, self.tasks)))


def _bytes(digest: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(digest), np.uint8)
