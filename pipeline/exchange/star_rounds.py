"""Label rounds: folds of the alternating large-star and small-star algorithm, and the sizes at its fixed point.

Kiveris, Lattanzi, Mirrokni, Rastogi, Vassilvitskii: "Connected Components in MapReduce and Beyond" (SoCC 2014). Both
operators keep the components and are done document by document, with a document's neighbours in a sorted stream, so no
process holds a neighbourhood, let alone a component. At the fixed point every document has one edge, to the lowest
doc_key of its component. An edge from a document to itself stands for a document that nothing else names.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import key_words, keys_from_words, one_chunk
from gristmill.pipeline.exchange.row_files import RowsWriter, local_disk, read_batches
from gristmill.pipeline.exchange.union_find import COMPONENT_SCHEMA, EDGE_SCHEMA, two_tasks

# Slots of the state that a star fold carries from table to table (uint64).
_BEGUN, _NODE_HIGH, _NODE_LOW, _NODE_TASK, _LEAST_HIGH, _LEAST_LOW, _LEAST_TASK = 0, 1, 2, 3, 4, 5, 6
_LAST_HIGH, _LAST_LOW, _ALONE, _CHANGES, _CLASH = 7, 8, 9, 10, 11
_SLOTS = 12


def both_directions(edges: pa.Table) -> pa.Table:
    """Each edge from both of its ends; an edge from a document to itself once."""
    doc, task, other, other_task = (one_chunk(edges.column(name)) for name in EDGE_SCHEMA.names)
    proper = pa.array((key_words(doc) != key_words(other)).any(axis=1))
    backward = pa.table([other, other_task, doc, task], schema=EDGE_SCHEMA).filter(proper)
    return pa.concat_tables([pa.table([doc, task, other, other_task], schema=EDGE_SCHEMA), backward])


@numba.njit(cache=True, nogil=True)
def _emit(
    words: np.ndarray, tasks: np.ndarray, to: int, v: tuple[np.uint64, np.uint64, np.int32], state: np.ndarray
) -> int:
    """Write the edge from v to the least neighbour."""
    words[to, 0] = v[0]
    words[to, 1] = v[1]
    words[to, 2] = state[_LEAST_HIGH]
    words[to, 3] = state[_LEAST_LOW]
    tasks[to, 0] = v[2]
    tasks[to, 1] = np.int32(np.int64(state[_LEAST_TASK]))
    return to + 1


@numba.njit(cache=True, nogil=True)
def _end_group(state: np.ndarray, words: np.ndarray, tasks: np.ndarray, to: int) -> int:
    """What is due when a document's neighbours are over: its edge to itself, if there was no other."""
    if state[_BEGUN] and state[_ALONE]:
        task = np.int32(np.int64(state[_NODE_TASK]))
        return _emit(words, tasks, to, (state[_NODE_HIGH], state[_NODE_LOW], task), state)
    return to


@numba.njit(cache=True, nogil=True)
def _star(
    nodes: np.ndarray,
    node_tasks: np.ndarray,
    others: np.ndarray,
    other_tasks: np.ndarray,
    large: bool,
    state: np.ndarray,
    words: np.ndarray,
    tasks: np.ndarray,
) -> int:
    """One table of (node, neighbour) rows sorted by both. Returns the number of edges written.

    m is the lowest of the node and its neighbours. Large-star: an edge to m from every neighbour above the node.
    Small-star (all neighbours are below the node): an edge to m from the node and from every other neighbour.
    """
    made = 0
    for row in range(len(nodes)):
        high, low = nodes[row, 0], nodes[row, 1]
        v_high, v_low = others[row, 0], others[row, 1]
        to_self = v_high == high and v_low == low
        if not (state[_BEGUN] and state[_NODE_HIGH] == high and state[_NODE_LOW] == low):
            made = _end_group(state, words, tasks, made)
            state[_BEGUN] = np.uint64(1)
            state[_NODE_HIGH], state[_NODE_LOW] = high, low
            state[_NODE_TASK] = np.uint64(np.uint32(node_tasks[row]))
            below = v_high < high or (v_high == high and v_low < low)
            state[_LEAST_HIGH] = v_high if below else high
            state[_LEAST_LOW] = v_low if below else low
            state[_LEAST_TASK] = np.uint64(np.uint32(other_tasks[row] if below else node_tasks[row]))
            state[_ALONE] = np.uint64(1 if to_self else 0)
            if below and not large:
                made = _emit(words, tasks, made, (high, low, node_tasks[row]), state)
        elif state[_NODE_TASK] != np.uint64(np.uint32(node_tasks[row])):
            state[_CLASH] = np.uint64(row + 1)
            return made
        elif state[_LAST_HIGH] == v_high and state[_LAST_LOW] == v_low:
            continue
        if not to_self:
            state[_ALONE] = np.uint64(0)
            is_least = v_high == state[_LEAST_HIGH] and v_low == state[_LEAST_LOW]
            above = v_high > high or (v_high == high and v_low > low)
            if (large and above) or (not large and not is_least):
                made = _emit(words, tasks, made, (v_high, v_low, other_tasks[row]), state)
                moved = not large or state[_LEAST_HIGH] != high or state[_LEAST_LOW] != low
                state[_CHANGES] += np.uint64(1 if moved else 0)
        state[_LAST_HIGH], state[_LAST_LOW] = v_high, v_low
    return made


def star(tables: Iterator[pa.Table], large: bool) -> Generator[pa.Table, None, int]:
    """Fold of one star operator over edges sorted by (doc_key, other_key). Returns how many edges moved."""
    state = np.zeros(_SLOTS, np.uint64)
    for table in tables:
        nodes, others = key_words(table.column("doc_key")), key_words(table.column("other_key"))
        node_tasks = one_chunk(table.column("task")).to_numpy()
        other_tasks = one_chunk(table.column("other_task")).to_numpy()
        # A row gives at most two edges (small-star's first), and the group before the table may still owe one.
        words = np.empty((2 * len(nodes) + 1, 4), np.uint64)
        tasks = np.empty((2 * len(nodes) + 1, 2), np.int32)
        made = _star(nodes, node_tasks, others, other_tasks, large, state, words, tasks)
        if state[_CLASH]:
            row = int(state[_CLASH]) - 1
            key = keys_from_words(nodes[row : row + 1])[0].as_py()
            raise two_tasks(key, int(np.uint32(state[_NODE_TASK]).astype(np.int32)), int(node_tasks[row]))
        yield _edges(words[:made], tasks[:made])
    words, tasks = np.empty((1, 4), np.uint64), np.empty((1, 2), np.int32)
    made = _end_group(state, words, tasks, 0)
    yield _edges(words[:made], tasks[:made])
    return int(state[_CHANGES])


def _edges(words: np.ndarray, tasks: np.ndarray) -> pa.Table:
    return pa.table(
        [
            keys_from_words(words[:, :2]),
            pa.array(np.ascontiguousarray(tasks[:, 0])),
            keys_from_words(words[:, 2:]),
            pa.array(np.ascontiguousarray(tasks[:, 1])),
        ],
        schema=EDGE_SCHEMA,
    )


def label_components(tables: Iterator[pa.Table], held_rows: int) -> Iterator[pa.Table]:
    """Fold over stars sorted by (other_key, doc_key): a row for each document with its component's label and size.

    The size is known at the end of a component. One that outgrows `held_rows` waits in a file on local disk.
    """
    waiting = _Waiting(held_rows)
    for table in tables:
        labels = key_words(table.column("other_key"))
        starts = np.flatnonzero(np.r_[True, (labels[1:] != labels[:-1]).any(axis=1)])
        if len(starts) == 1 and waiting.continues(labels[0]):
            waiting.add(table)
            continue
        if waiting.continues(labels[0]):
            waiting.add(table.slice(0, int(starts[1])))
            starts = starts[1:]
        yield from waiting.finish()
        # All groups but the last are complete.
        first, last = int(starts[0]), int(starts[-1])
        if first < last:
            yield _labelled(table.slice(first, last - first), np.diff(starts))
        waiting.add(table.slice(last))
    yield from waiting.finish()
    yield COMPONENT_SCHEMA.empty_table()


def _labelled(stars: pa.Table, counts: np.ndarray, size: int | None = None, begins: bool = True) -> pa.Table:
    """Result rows of groups of stars, `counts` rows each; the label's own row comes first in its group.

    With `size`, the rows are a part of one component of that size; the label's row is made where it `begins`.
    """
    words = key_words(stars.column("doc_key"))
    labels = key_words(stars.column("other_key"))
    tasks = one_chunk(stars.column("task")).to_numpy()
    label_tasks = one_chunk(stars.column("other_task")).to_numpy()
    firsts = np.cumsum(counts) - counts
    proper = (words[firsts] != labels[firsts]).any(axis=1)
    sizes = np.repeat(counts + proper if size is None else np.array([size]), counts)
    at = firsts[proper] if begins else firsts[:0]
    return pa.table(
        [
            keys_from_words(np.insert(words, at, labels[at], axis=0)),
            pa.array(np.insert(tasks, at, label_tasks[at])),
            keys_from_words(np.insert(labels, at, labels[at], axis=0)),
            pa.array(np.insert(sizes, at, sizes[at]).astype(np.int64)),
        ],
        schema=COMPONENT_SCHEMA,
    )


class _Waiting:
    """The rows of a component whose end has not come: in memory, or in a file once there are many."""

    def __init__(self, held_rows: int) -> None:
        self._held_rows = held_rows
        self._clear()

    def _clear(self) -> None:
        self._tables: list[pa.Table] = []
        self._held = 0
        self._rows = 0
        self._label: Any = None
        self._path: Path | None = None
        self._writer: RowsWriter | None = None

    def continues(self, label: np.ndarray) -> bool:
        """Whether rows wait for this label."""
        return self._label is not None and bool((self._label == label).all())

    def add(self, stars: pa.Table) -> None:
        """More rows of the component."""
        if self._label is None:
            self._label = key_words(stars.column("other_key").slice(0, 1))[0]
        self._tables.append(stars)
        self._held += stars.num_rows
        self._rows += stars.num_rows
        if self._held > self._held_rows:
            if self._writer is None:
                with local_disk():
                    self._folder = tempfile.TemporaryDirectory(prefix="gristmill-component-")
                self._path = Path(self._folder.name) / "rows.arrow"
                self._writer = RowsWriter(self._path, EDGE_SCHEMA)
            for table in self._tables:
                self._writer.write(table)
            self._tables, self._held = [], 0

    def finish(self) -> Iterator[pa.Table]:
        """The component's result rows; then nothing waits."""
        if self._writer is not None and self._path is not None:
            self._writer.close()
            written = (pa.Table.from_batches([batch]) for batch in read_batches(str(self._path), EDGE_SCHEMA))
            # What fills a file is no document alone, so the label's own row comes on top of the rows.
            for index, part in enumerate(itertools.chain(written, self._tables)):
                yield _labelled(part, np.array([part.num_rows]), size=self._rows + 1, begins=index == 0)
            self._folder.cleanup()
        elif self._tables:
            table = pa.concat_tables(self._tables).combine_chunks()
            yield _labelled(table, np.array([table.num_rows]))
        self._clear()
