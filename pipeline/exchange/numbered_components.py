"""Connected components of documents with numbers: one process that holds 4 bytes of each, whatever the number of edges.

A forest by doc_key takes 72 bytes a document, and label rounds sort all edges again and again. Where `recurring` has given
documents numbers, edges are pairs of them, and a union-find over an array is all it takes. Keys are read when it is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import DOC_KEY, key_words, keys_from_words, one_chunk
from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.recurring import NUMBER, NUMBERS
from gristmill.pipeline.exchange.row_files import RowFile, RowsWriter, read_batches, written_elsewhere
from gristmill.pipeline.exchange.shuffle_driver import Shuffle
from gristmill.pipeline.exchange.union_find import COMPONENT_SCHEMA
from gristmill.pipeline.executor.payloads import ArrowSchema

OTHER_NUMBER = "other_number"
"""Column of edges beside NUMBER: the document at the other end."""
LABEL_BYTES = 20
"""Of a component while documents are labelled: its lowest doc_key and its size."""


@dataclass(frozen=True)
class UniteTask:
    """Input of `run_unite`: edges with NUMBER and OTHER_NUMBER, and the documents that have these, in their order.

    Attributes:
        documents: how many of them.
        numbers: all numbers are below it.
        labelled: components that are labelled at a time.
        carry: columns of the documents that the result has as well.
    """

    edges: tuple[str, ...]
    edge_schema: ArrowSchema
    nodes: tuple[str, ...]
    node_schema: ArrowSchema
    documents: int
    numbers: int
    labelled: int
    carry: tuple[str, ...]
    path: str


@dataclass(frozen=True)
class UniteResult:
    """Edges and documents read, rows written."""

    edges: int
    nodes: int
    rows: int


def components_by_number(exchange: Shuffle, edges: Rows, nodes: Rows, carry: Sequence[str] = ()) -> Rows | None:
    """Components as `Exchange.components` gives them, or None where numbers are missing or a process could not hold them."""
    if not {NUMBER, OTHER_NUMBER} <= set(edges.schema.names) or NUMBER not in nodes.schema.names:
        return None
    numbers = int(nodes.schema.field(NUMBER).metadata[NUMBERS])
    # A parent and a bit for each document; a bit, and half of one for the count before it, for each number.
    left = exchange.budget_bytes - 33 * nodes.count // 8 - 3 * numbers // 16
    if left < exchange.budget_bytes // 4:
        return None
    task = UniteTask(
        edges=edges.files,
        edge_schema=edges.schema,
        nodes=nodes.files,
        node_schema=nodes.schema,
        documents=nodes.count,
        numbers=numbers,
        labelled=max(1, left // 2 // LABEL_BYTES),
        carry=tuple(carry),
        path=f"{exchange.step('components')}/components.arrow",
    )
    (result,) = exchange.run(run_unite, [task])
    exchange.check_read(edges, result.edges)
    exchange.check_read(nodes, result.nodes)
    return Rows((task.path,), _result_schema(task), result.rows)


def _result_schema(task: UniteTask) -> pa.Schema:
    return pa.schema([*COMPONENT_SCHEMA, *(task.node_schema.field(name) for name in task.carry)])


def run_unite(task: UniteTask) -> UniteResult:
    """Unite all edges, then write the documents that they name. Raises ConservationError for a number that no document has."""
    places = _Places(task)
    parents = np.arange(places.documents, dtype=np.int32)
    named = np.zeros(places.documents // 8 + 1, np.uint8)
    read = 0
    for batch in _batches(task.edges, task.edge_schema, NUMBER, OTHER_NUMBER):
        one, other = (one_chunk(batch.column(name)).to_numpy() for name in (NUMBER, OTHER_NUMBER))
        unknown = int(_unite(one, other, places.present, places.before, parents, named))
        if unknown >= 0:
            raise ConservationError(
                f"edge {read + unknown} names a document that is not among those with numbers: edges and documents come "
                "from different runs. Remove the work folder and run again."
            )
        read += batch.num_rows
    count = int(_finish(parents, named))
    with written_elsewhere(task.path) as temporary:
        writer = RowsWriter(temporary, _result_schema(task))
        for first in range(0, count, task.labelled):
            lowest = np.full((min(task.labelled, count - first), 2), np.iinfo(np.uint64).max, np.uint64)
            sizes = np.zeros(len(lowest), np.int32)
            start = 0
            for batch in _batches(task.nodes, task.node_schema, DOC_KEY):
                _label(key_words(batch.column(DOC_KEY)), parents[start:], first, lowest, sizes)
                start += batch.num_rows
            start = 0
            for batch in _batches(task.nodes, task.node_schema, DOC_KEY, "task", *task.carry):
                component = parents[start : start + batch.num_rows] - first
                start += batch.num_rows
                own = pa.array(np.flatnonzero((component >= 0) & (component < len(lowest))))
                component = component[own.to_numpy()]
                rows = [batch.column(DOC_KEY).take(own), batch.column("task").take(own)]
                rows += [keys_from_words(lowest[component]), pa.array(sizes[component].astype(np.int64))]
                rows += [batch.column(name).take(own) for name in task.carry]
                writer.write(pa.table(rows, schema=writer.schema))
        writer.close()
    del parents, places
    pa.default_memory_pool().release_unused()
    return UniteResult(read, task.documents, writer.rows)


def _batches(files: tuple[str, ...], schema: pa.Schema, *columns: str) -> Iterator[pa.RecordBatch]:
    for path in files:
        yield from read_batches(RowFile(path), schema, columns)


class _Places:
    """Which numbers documents have, and how many there are before each 64 of them: a number's place among all.

    Raises ConservationError unless they ascend, and are as many as the task says.
    """

    def __init__(self, task: UniteTask) -> None:
        self.present = np.zeros(task.numbers // 64 + 1, np.uint64)
        self.documents = 0
        last = -1
        for batch in _batches(task.nodes, task.node_schema, NUMBER):
            last = int(_set(one_chunk(batch.column(NUMBER)).to_numpy(), last, task.numbers, self.present))
            self.documents += batch.num_rows
            if last < 0:
                break
        if self.documents != task.documents or (last < 0 and self.documents):
            raise ConservationError(
                f"{task.documents} documents with ascending numbers below {task.numbers} were expected, {self.documents} were "
                "read, or in another order. Remove the work folder and run again."
            )
        self.before = _counts_before(self.present)


@numba.njit(cache=True, nogil=True)
def _set(numbers: np.ndarray, last: int, bound: int, present: np.ndarray) -> int:
    """Set bits. Returns the last number, or -1 unless all are above the one before and below the bound."""
    before = np.int64(last)
    for at in range(len(numbers)):
        number = np.int64(numbers[at])
        if number <= before or number >= bound:
            return -1
        present[number >> 6] |= np.uint64(1) << np.uint64(number & 63)
        before = number
    return int(before)


@numba.njit(cache=True, nogil=True)
def _ones(word: np.uint64) -> np.int64:
    """Bits set (Warren, Hacker's Delight, 5-1)."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@numba.njit(cache=True, nogil=True)
def _counts_before(present: np.ndarray) -> np.ndarray:
    found = np.empty(len(present), np.uint32)
    total = np.int64(0)
    for at in range(len(present)):
        found[at] = np.uint32(total)
        total += _ones(present[at])
    return found


@numba.njit(cache=True, nogil=True)
def _place(number: np.uint32, present: np.ndarray, before: np.ndarray) -> np.int64:
    at = np.int64(number) >> 6
    if at >= len(present):
        return np.int64(-1)
    bit = np.uint64(1) << np.uint64(np.int64(number) & 63)
    if not present[at] & bit:
        return np.int64(-1)
    return np.int64(before[at]) + _ones(present[at] & (bit - np.uint64(1)))


@numba.njit(cache=True, nogil=True)
def _root(parents: np.ndarray, node: np.int64) -> np.int64:
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = np.int64(parents[node])
    return node


@numba.njit(cache=True, nogil=True)
def _unite(
    one: np.ndarray, other: np.ndarray, present: np.ndarray, before: np.ndarray, parents: np.ndarray, named: np.ndarray
) -> int:
    """Unite the ends of each edge; a root is the first of its tree. Returns the edge that names an unknown document, or -1."""
    for edge in range(len(one)):
        x, y = _place(one[edge], present, before), _place(other[edge], present, before)
        if x < 0 or y < 0:
            return edge
        named[x >> 3] |= np.uint8(1 << (x & 7))
        named[y >> 3] |= np.uint8(1 << (y & 7))
        x, y = _root(parents, x), _root(parents, y)
        if x < y:
            parents[y] = np.int32(x)
        elif y < x:
            parents[x] = np.int32(y)
    return -1


@numba.njit(cache=True, nogil=True)
def _finish(parents: np.ndarray, named: np.ndarray) -> int:
    """Put in place of each document's parent the number of its component, -1 where no edge names it. Returns how many
    components there are."""
    count = np.int32(0)
    for node in range(len(parents)):
        # A parent stands before its children, so it has its component already.
        if parents[node] != node:
            parents[node] = parents[parents[node]]
        elif (named[node >> 3] >> np.uint8(node & 7)) & np.uint8(1):
            parents[node] = count
            count += np.int32(1)
        else:
            parents[node] = np.int32(-1)
    return int(count)


@numba.njit(cache=True, nogil=True)
def _label(words: np.ndarray, components: np.ndarray, first: int, lowest: np.ndarray, sizes: np.ndarray) -> None:
    """The lowest doc_key and the documents of each component from `first` on."""
    for row in range(len(words)):
        own = np.int64(components[row]) - first
        if 0 <= own < len(lowest):
            sizes[own] += np.int32(1)
            high, low = words[row, 0], words[row, 1]
            if high < lowest[own, 0] or (high == lowest[own, 0] and low < lowest[own, 1]):
                lowest[own, 0] = high
                lowest[own, 1] = low
