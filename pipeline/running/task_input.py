"""What a task of one pass needs to know, as plain data that goes to another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gristmill.pipeline.provenance.record_index import RecordRef
from gristmill.pipeline.slices.reused import ReusedFile
from gristmill.pipeline.slices.settled import SettledFiles
from gristmill.pipeline.source import Slice
from gristmill.pipeline.writing.sample_limits import KnownLimits


@dataclass(frozen=True)
class TaskInput:
    """What a task needs to know; plain data.

    Attributes:
        plan_file: the plan in the work folder (`planning.plan_file`), and its SHA-256.
        preceding: references to the records of this task's preceding passes, in order.
        reused: files with signals of the slice that a finished run measured (see `running.reuse`). They save work and decide
            nothing, so they are no part of the key.
        limits: of the last pass, what is known of the samples of dropped texts; it saves work and decides nothing either.
        reads: the folder, if there is one on this machine, in which workers keep decoded slices for each other (`kept_reads`).
    """

    work: str
    plan_file: str
    plan_digest: str
    task: int
    index: int
    slice: Slice
    key: str
    preceding: tuple[RecordRef, ...] = ()
    settled: Mapping[str, SettledFiles] = field(default_factory=dict)
    reused: tuple[ReusedFile, ...] = ()
    limits: tuple[KnownLimits, ...] = ()
    attempt: str = "0"
    reads: str | None = None

    @property
    def subject(self) -> str:
        """What the task is about, for the message of an executor whose workers die over it."""
        more = len(self.slice.members) - 1
        return f"{self.slice.location} (or one of the {more} files after it)" if more > 0 else self.slice.location
