"""What a task leaves in the work folder for sidecars, the files that tasks share: one file of Arrow streams, by role.

A sidecar is written from the parts of consecutive tasks when the run is published (`writing.sidecars`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import xxhash

from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.provenance.task_record import SidecarPart, SidecarParts, TaskRecord
from gristmill.pipeline.work_files import HERE, LZ4, open_part, write_work
from gristmill.pipeline.work_folder import WorkFolder, task_name


def write_parts(
    work: WorkFolder, task: int, key: str, parts: Iterable[tuple[str, pa.Table]], attempt: str
) -> SidecarParts:
    """Writes a task's parts; those without rows are left out.

    Args:
        key: of the task's pass: it names the file.
        parts: role and rows. Roles are those of `writing.sidecars`.
    """
    written: list[SidecarPart] = []
    bodies: list[pa.Buffer] = []
    for role, table in parts:
        if not table.num_rows:
            continue
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, table.schema, options=LZ4) as writer:
            writer.write_table(table)
        body = stream.getvalue()
        begin = written[-1].offset + written[-1].size if written else 0
        check = xxhash.xxh3_128_hexdigest(body)
        written.append(SidecarPart(role=role, offset=begin, size=body.size, check=check, rows=table.num_rows))
        bodies.append(body)

    def write(stream: Any) -> None:
        for body in bodies:
            stream.write(body)

    path = f"sidecars/{task_name(task)}-{key[:32]}.arrows"
    file = write_work(work.at(path), write, attempt)
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
