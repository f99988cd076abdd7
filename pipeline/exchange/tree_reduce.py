"""`reduce`: one table out of many files, combined as a tree of fan-in 16 in file order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gristmill.pipeline.errors import ConservationError, ContractError
from gristmill.pipeline.exchange.row_files import RowsWriter, read_batches, written_elsewhere
from gristmill.pipeline.executor.function_names import resolve
from gristmill.pipeline.executor.payloads import ArrowSchema, Params

TREE_FAN_IN = 16


@dataclass(frozen=True)
class CombineTask:
    """Input of `run_combine`.

    Attributes:
        inputs: (path, expected rows or None when only their total is known) in order.
        budget_bytes: most bytes of tables held before they are combined.
        raw_bytes: most bytes of the inputs' rows among them. A combine takes several times what it reads, and its results
            are usually small, so it gets rows in portions well below the budget.
    """

    inputs: tuple[tuple[str, int | None], ...]
    schema: ArrowSchema
    combine: str
    params: Params
    path: str
    budget_bytes: int
    raw_bytes: int


@dataclass(frozen=True)
class CombineResult:
    """Rows read from the inputs; the file written, its rows and schema."""

    read: int
    path: str
    rows: int
    schema: pa.Schema


def run_combine(task: CombineTask) -> CombineResult:
    """Combine the tables of up to 16 files in order, holding no more than the budget before each call."""
    combine = resolve(task.combine)
    held: list[pa.Table] = []
    read = 0
    raw = 0
    combined = False
    for path, expected in task.inputs:
        batches: list[pa.RecordBatch] = []
        rows = 0
        for batch in read_batches(path, task.schema):
            rows += batch.num_rows
            batches.append(batch)
            raw += batch.nbytes
            weight = sum(table.nbytes for table in held) + sum(waiting.nbytes for waiting in batches)
            # Only raw rows trigger an early combine, so each call takes in something new.
            if (weight > task.budget_bytes or raw > task.raw_bytes) and len(held) + len(batches) > 1:
                held = [_call(combine, [*held, pa.Table.from_batches(batches, task.schema)], task)]
                batches, raw = [], 0
                combined = True
        if batches:
            held.append(pa.Table.from_batches(batches, task.schema))
            combined = False
        if expected is not None and rows != expected:
            raise ConservationError(
                f"{path}: {expected} rows were written, {rows} were read. Remove the work folder of this step and run "
                "again."
            )
        read += rows
    if not combined or len(held) != 1:
        held = [_call(combine, held or [task.schema.empty_table()], task)]
    with written_elsewhere(task.path) as temporary:
        writer = RowsWriter(temporary, held[0].schema)
        writer.write(held[0])
        writer.close()
    result = CombineResult(read, task.path, held[0].num_rows, held[0].schema)
    del held
    pa.default_memory_pool().release_unused()
    return result


def _call(combine: Any, tables: list[pa.Table], task: CombineTask) -> pa.Table:
    made = combine(tables, **task.params)
    if not isinstance(made, pa.Table):
        raise ContractError(
            f"combine `{task.combine}` returned a {type(made).__name__}, expected one pyarrow Table for the tables given"
        )
    return made
