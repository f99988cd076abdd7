"""Connected components over files: contract in parallel, finish in one process if that fits, else by label rounds."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.errors import ContractError
from pipeline.exchange import Rows
from pipeline.exchange.files import RowsWriter, read_batches, written_elsewhere
from pipeline.exchange.forest import COMPONENT_SCHEMA, EDGE_SCHEMA, NODE_BYTES, Forest
from pipeline.exchange.stars import both_directions, label_components, star

if TYPE_CHECKING:
    from pipeline.exchange.file_exchange import FileExchange


@dataclass(frozen=True)
class ContractTask:
    """Input of `run_contract`: edges in files, and the documents that may be held. With `whole`, the files are all
    there are, so a forest that never filled up is the answer."""

    inputs: tuple[tuple[str, int, int | None], ...]
    schema: pa.Schema
    capacity: int
    whole: bool
    path: str


@dataclass(frozen=True)
class ContractResult:
    """Rows read; the file written and its rows; whether these are components instead of stars."""

    read: int
    path: str
    rows: int
    whole: bool


def run_contract(task: ContractTask) -> ContractResult:
    """Replace edges by stars, from each document to the lowest one that these edges connect it with."""
    forest = Forest(task.capacity)
    read = 0
    flushed = False
    with written_elsewhere(Path(task.path)) as temporary:
        writer: RowsWriter | None = None
        for path, first, stop in task.inputs:
            for batch in read_batches(path, task.schema, first, stop):
                read += batch.num_rows
                start = 0
                while (start := forest.add(batch, start)) < batch.num_rows:
                    flushed = True
                    writer = writer or RowsWriter(temporary, EDGE_SCHEMA)
                    for table in forest.stars():
                        writer.write(table)
        whole = task.whole and not flushed
        writer = writer or RowsWriter(temporary, COMPONENT_SCHEMA if whole else EDGE_SCHEMA)
        for table in forest.components() if whole else forest.stars():
            writer.write(table)
        writer.close()
    del forest
    pa.default_memory_pool().release_unused()
    return ContractResult(read, task.path, writer.rows, whole)


def components(exchange: FileExchange, edges: Rows) -> Rows:
    """See `pipeline.exchange.Exchange.components`."""
    for column in EDGE_SCHEMA:
        found = edges.schema.field(column.name).type if column.name in edges.schema.names else "no such column"
        if found != column.type:
            raise ContractError(
                f"edges need the column `{column.name}` of type {column.type}, found {found}. Edges have "
                f"{', '.join(EDGE_SCHEMA.names)}."
            )
    step = exchange.step("components")
    capacity = max(4, exchange.budget_bytes // NODE_BYTES)
    stars, done = _contracted(exchange, step, edges, capacity, itertools.count())
    return stars if done else _by_rounds(exchange, step, stars)


def _contracted(
    exchange: FileExchange, step: Path, edges: Rows, capacity: int, levels: itertools.count[int]
) -> tuple[Rows, bool]:
    """Stars instead of edges, or the components and True when one process could hold all documents."""
    rows = edges
    while True:
        level = next(levels)
        # Stars have nearly one row per document, so when they are as many as fit, one process may do.
        together = rows.count <= capacity
        inputs = [tuple((path, 0, None) for path in rows.files)] if together else exchange.inputs(rows)
        tasks = [
            ContractTask(
                inputs=given,
                schema=rows.schema,
                capacity=min(capacity, 2 * rows.count),
                whole=len(inputs) == 1,
                path=str(step / f"stars-{level}-{number:05d}.arrow"),
            )
            for number, given in enumerate(inputs)
        ]
        results = exchange.run(run_contract, tasks)
        exchange.check_read(rows, sum(result.read for result in results))
        if level:
            exchange.release(rows)
        whole = all(result.whole for result in results)
        before = rows.count
        rows = Rows(
            tuple(result.path for result in results),
            COMPONENT_SCHEMA if whole else EDGE_SCHEMA,
            sum(result.rows for result in results),
        )
        if whole or len(results) == 1 or rows.count > capacity or rows.count >= before:
            return rows, whole


def _by_rounds(exchange: FileExchange, step: Path, stars: Rows) -> Rows:
    """Large-star and small-star in turn until neither moves an edge, then labels and sizes."""
    rows = stars
    still = 0
    for large in itertools.cycle((True, False)):
        before = rows
        rows, moved = exchange.group_with_tally(
            rows,
            ["doc_key"],
            star,
            {"large": large},
            sort=("doc_key", "other_key"),
            prepare=both_directions if large else None,
        )
        exchange.release(before)
        still = still + 1 if moved == 0 else 0
        # Two operators in a row without a change: neither would ever change anything again.
        if still == 2:
            break
    found = exchange.group(
        rows,
        ["other_key"],
        label_components,
        {"spill": str(step), "held_rows": max(1, exchange.budget_bytes // 4 // NODE_BYTES)},
    )
    exchange.release(rows)
    shutil.rmtree(step)
    return found
