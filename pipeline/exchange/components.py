"""Connected components over files: contract in parallel, finish in one process if that fits, else by label rounds; where
documents have numbers, one process unites them at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gristmill.pipeline.errors import ContractError
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.group import GroupExchange
from gristmill.pipeline.exchange.numbered_components import components_by_number
from gristmill.pipeline.exchange.row_files import RowFile, RowsWriter, read_batches, written_elsewhere
from gristmill.pipeline.exchange.star_rounds import both_directions, label_components, star
from gristmill.pipeline.exchange.union_find import COMPONENT_SCHEMA, EDGE_SCHEMA, NODE_BYTES, Forest
from gristmill.pipeline.executor.payloads import ArrowSchema
from gristmill.pipeline.storage import remove

Inputs = tuple[RowFile, ...]

LOWEST = 4096
"""Hashes kept to estimate the number of documents."""


@dataclass(frozen=True)
class ContractTask:
    """Input of `run_contract`: edges in files, and the documents that may be held. With `whole`, the files are all
    there are, so a forest that never filled up is the answer."""

    inputs: Inputs
    schema: ArrowSchema
    capacity: int
    whole: bool
    path: str


@dataclass(frozen=True)
class ContractResult:
    """Rows read; the file written and its rows; whether these are components instead of stars; and the LOWEST lowest
    hashes of the documents that the edges name (uint64, sorted)."""

    read: int
    path: str
    rows: int
    whole: bool
    lowest: np.ndarray


def run_contract(task: ContractTask) -> ContractResult:
    """Replace edges by stars, from each document to the lowest one that these edges connect it with."""
    forest = Forest(task.capacity)
    read = 0
    flushed = False
    lowest = np.empty(0, np.uint64)
    with written_elsewhere(task.path) as temporary:
        writer: RowsWriter | None = None
        for file in task.inputs:
            for batch in read_batches(file, task.schema):
                read += batch.num_rows
                start = 0
                while (start := forest.add(batch, start)) < batch.num_rows:
                    flushed = True
                    lowest = lowest_of([lowest, forest.lowest_hashes(LOWEST)])
                    writer = writer or RowsWriter(temporary, EDGE_SCHEMA)
                    for table in forest.stars():
                        writer.write(table)
        lowest = lowest_of([lowest, forest.lowest_hashes(LOWEST)])
        whole = task.whole and not flushed
        writer = writer or RowsWriter(temporary, COMPONENT_SCHEMA if whole else EDGE_SCHEMA)
        for table in forest.components() if whole else forest.stars():
            writer.write(table)
        writer.close()
    del forest
    pa.default_memory_pool().release_unused()
    return ContractResult(read, task.path, writer.rows, whole, lowest)


def components(exchange: GroupExchange, edges: Rows, nodes: Rows | None = None, carry: Sequence[str] = ()) -> Rows:
    """See `pipeline.exchange.Exchange.components`."""
    for column in EDGE_SCHEMA:
        found = edges.schema.field(column.name).type if column.name in edges.schema.names else "no such column"
        if found != column.type:
            raise ContractError(
                f"edges need the column `{column.name}` of type {column.type}, found {found}. Edges have "
                f"{', '.join(EDGE_SCHEMA.names)}."
            )
    found = None if nodes is None else components_by_number(exchange, edges, nodes, carry)
    if found is not None:
        return found
    step = exchange.step("components")
    capacity = max(4, exchange.budget_bytes // NODE_BYTES)
    stars, whole, documents = _contracted(exchange, f"{step}/first", edges, exchange.inputs(edges), capacity)
    if not whole and documents * 1.1 <= capacity:
        # Edges stream through a forest, so one process may read all stars if it can hold the documents.
        everything = [tuple(RowFile(path) for path in stars.files)]
        before = stars
        stars, whole, _ = _contracted(exchange, f"{step}/second", before, everything, capacity)
        exchange.release(before)
    return stars if whole else _by_rounds(exchange, step, stars)


def _contracted(
    exchange: GroupExchange, folder: str, edges: Rows, inputs: Sequence[Inputs], capacity: int
) -> tuple[Rows, bool, int]:
    """Stars instead of edges, with False, or the components, with True, when one process read all edges and could hold
    all documents; and how many documents there are, about."""
    tasks = [
        ContractTask(
            inputs=given,
            schema=edges.schema,
            capacity=min(capacity, 2 * edges.count),
            whole=len(inputs) == 1,
            path=f"{folder}/stars-{number:05d}.arrow",
        )
        for number, given in enumerate(inputs)
    ]
    results = exchange.run(run_contract, tasks)
    exchange.check_read(edges, sum(result.read for result in results))
    whole = all(result.whole for result in results)
    schema = COMPONENT_SCHEMA if whole else EDGE_SCHEMA
    rows = Rows(tuple(result.path for result in results), schema, sum(result.rows for result in results))
    return rows, whole, about_distinct(lowest_of([result.lowest for result in results]))


def lowest_of(hashes: Sequence[np.ndarray]) -> np.ndarray:
    """The LOWEST lowest distinct hashes, sorted."""
    return np.unique(np.concatenate([np.empty(0, np.uint64), *hashes]))[:LOWEST]


def about_distinct(lowest: np.ndarray) -> int:
    """Number of distinct values from the lowest of their hashes, by the k-minimum-values estimate: exact below LOWEST,
    within 1.6 % (one standard deviation) above. Bar-Yossef, Jayram, Kumar, Sivakumar, Trevisan (2002)."""
    if len(lowest) < LOWEST:
        return len(lowest)
    return int((LOWEST - 1) * 2.0**64 / float(lowest[-1]))


def _by_rounds(exchange: GroupExchange, step: str, stars: Rows) -> Rows:
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
            expansion=2 if large else 1,
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
        {"held_rows": max(1, exchange.budget_bytes // 4 // NODE_BYTES)},
    )
    exchange.release(rows)
    remove(step)
    return found
