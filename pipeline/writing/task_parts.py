"""What a task leaves in the work folder for sidecars, the files that tasks share: one file of Arrow streams, by role.

A sidecar is written from the parts of consecutive tasks when the run is published (`writing.sidecars`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import xxhash

from gristmill.pipeline.document import TEXT
from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.provenance.task_record import SidecarPart, SidecarParts, TaskRecord
from gristmill.pipeline.storage import is_bucket
from gristmill.pipeline.storage.streams import WriteThrough
from gristmill.pipeline.work_files import HERE, LZ4, PLAIN, open_part, write_work
from gristmill.pipeline.work_folder import WorkFolder, task_name


class _Part(WriteThrough):
    """A part within a file, whose bytes are counted and checked."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.check = xxhash.xxh3_128()

    def write(self, data: Any) -> int:
        self.check.update(data)
        return super().write(data)


def write_parts(
    work: WorkFolder, task: int, key: str, parts: Iterable[tuple[str, pa.Table]], attempt: str
) -> SidecarParts:
    """Writes a task's parts; those without rows are left out.

    Args:
        key: of the task's pass: it names the file.
        parts: role and rows. Roles are those of `writing.sidecars`.
    """
    written: list[SidecarPart] = []
    location = work.at(path := f"sidecars/{task_name(task)}-{key[:32]}.arrows")
    tables = [(role, table) for role, table in parts if table.num_rows]

    def write(stream: Any) -> None:
        written.clear()
        offset = 0
        for role, table in tables:
            # Packing texts costs more than writing them to a disk, from which they are read once; not than sending them.
            as_they_are = TEXT in table.column_names and not is_bucket(location)
            part = _Part(stream)
            with pa.ipc.new_stream(part, table.schema, options=PLAIN if as_they_are else LZ4) as writer:
                writer.write_table(table)
            check, rows = part.check.hexdigest(), table.num_rows
            written.append(SidecarPart(role=role, offset=offset, size=part.size, check=check, rows=rows))
            offset += part.size

    file = write_work(location, write, attempt)
    return SidecarParts(candidate=path, size=file.size, sha256=file.sha256, parts=written)


def read_part(work: WorkFolder, record: TaskRecord, role: str) -> pa.Table | None:
    """A task's rows of a role, None where it has none. Raises ConservationError for what is not what was committed."""
    parts = record.sidecars
    part = None if parts is None else parts.part(role)
    if parts is None or part is None:
        return None
    location = work.at(parts.candidate)
    with open_part(location, parts.sha256) as stream:
        stream.seek(part.offset)
        body = stream.read(part.size)
    if xxhash.xxh3_128_hexdigest(body) != part.check:
        raise ConservationError(
            f"{location}: its rows for `{role}` changed since they were committed (expected XXH3-128 {part.check}). Remove the "
            "work folder and run again."
        )
    with pa.ipc.open_stream(pa.py_buffer(body), options=HERE) as reader:
        return reader.read_all()
