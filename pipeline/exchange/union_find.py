"""Union-find over streamed edges: the documents are held, the edges are not, and a full forest can be let go of.

The root of a tree is its lowest doc_key. Edges that went through a forest can be replaced by one edge per document to
its root: the same components, usually far fewer rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numba
import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import KEY_TYPE, key_words, keys_from_words, one_chunk
from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.exchange.hash_kernels import mix
from gristmill.pipeline.exchange.sort_keys import argsort_words

NODE_BYTES = 72
"""Bytes per document at the peak: key 16, task 4, parent 4, and first a table of up to 16, then sizes and order 4 each,
sort buffers 29; some to spare for the batch that is read or written."""
EDGE_SCHEMA = pa.schema(
    [("doc_key", KEY_TYPE), ("task", pa.int32()), ("other_key", KEY_TYPE), ("other_task", pa.int32())]
)
COMPONENT_SCHEMA = pa.schema([("doc_key", KEY_TYPE), ("task", pa.int32()), ("label", KEY_TYPE), ("size", pa.int64())])
_OUTPUT_ROWS = 1 << 16


class Trees(NamedTuple):
    """A forest of documents.

    Attributes:
        table: int32, hash table of documents by doc_key, −1 for an empty slot; its size is a power of two.
        words: uint64 of shape (capacity, 2), doc_keys as words.
        tasks: int32 by document, the task that owns it.
        parents: int32 by document; a root is its own.
        state: int64[3]: documents held, 1 + the document that was named with two tasks (0 when none), the second of them.
    """

    table: np.ndarray
    words: np.ndarray
    tasks: np.ndarray
    parents: np.ndarray
    state: np.ndarray


class Ends(NamedTuple):
    """One end of each edge: `keys`, doc_keys as uint64 words of shape (edges, 2); `tasks`, int32, who owns them."""

    keys: np.ndarray
    tasks: np.ndarray


@numba.njit(cache=True, nogil=True)
def _find_or_add(
    table: np.ndarray, words: np.ndarray, parents: np.ndarray, count: np.int64, high: np.uint64, low: np.uint64
) -> np.int64:
    """Number of the document, `count` when it is new; open addressing with linear probes."""
    mask = np.uint64(len(table) - 1)
    slot = mix(high ^ mix(low)) & mask
    while True:
        node = table[np.int64(slot)]
        if node < 0:
            table[np.int64(slot)] = np.int32(count)
            words[count, 0] = high
            words[count, 1] = low
            parents[count] = np.int32(count)
            return count
        if words[node, 0] == high and words[node, 1] == low:
            return np.int64(node)
        slot = (slot + np.uint64(1)) & mask


@numba.njit(cache=True, nogil=True)
def _hashes(words: np.ndarray) -> np.ndarray:
    out = np.empty(len(words), np.uint64)
    for row in range(len(words)):
        out[row] = mix(words[row, 0] ^ mix(words[row, 1]))
    return out


@numba.njit(cache=True, nogil=True)
def _root(parents: np.ndarray, node: np.int64) -> np.int64:
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = np.int64(parents[node])
    return node


@numba.njit(cache=True, nogil=True)
def _add_edges(
    a: Ends,
    b: Ends,
    start: int,
    trees: Trees,
) -> int:
    """Add the edges from a to b from `start`; returns the first one left out because the forest is full, or because it
    names a document with another task."""
    a_keys, a_tasks, b_keys, b_tasks = a.keys, a.tasks, b.keys, b.tasks
    table, words, tasks, parents, state = trees.table, trees.words, trees.tasks, trees.parents, trees.state
    count = np.int64(state[0])
    for edge in range(start, len(a_keys)):
        if count + 2 > len(words):
            state[0] = count
            return edge
        x = _find_or_add(table, words, parents, count, a_keys[edge, 0], a_keys[edge, 1])
        if x == count:
            tasks[x] = a_tasks[edge]
            count += 1
        elif tasks[x] != a_tasks[edge]:
            state[1] = x + 1
            state[2] = a_tasks[edge]
            return edge
        y = _find_or_add(table, words, parents, count, b_keys[edge, 0], b_keys[edge, 1])
        if y == count:
            tasks[y] = b_tasks[edge]
            count += 1
        elif tasks[y] != b_tasks[edge]:
            state[1] = y + 1
            state[2] = b_tasks[edge]
            return edge
        x = _root(parents, x)
        y = _root(parents, y)
        if x != y:
            if words[y, 0] < words[x, 0] or (words[y, 0] == words[x, 0] and words[y, 1] < words[x, 1]):
                x, y = y, x
            parents[y] = np.int32(x)
    state[0] = count
    return len(a_keys)


@numba.njit(cache=True, nogil=True)
def _finish(parents: np.ndarray, sizes: np.ndarray) -> None:
    """Point every document at its root and count the documents of each root."""
    for node in range(len(parents)):
        root = _root(parents, np.int64(node))
        parents[node] = np.int32(root)
        sizes[root] += 1


class Forest:
    """Union-find over at most `capacity` documents.

    Args:
        capacity: documents held; memory is about NODE_BYTES for each, allocated at once.
    """

    def __init__(self, capacity: int) -> None:
        capacity = max(4, min(capacity, (1 << 31) - 1))
        self._trees = Trees(
            np.full(1 << (2 * capacity - 1).bit_length(), -1, np.int32),
            np.empty((capacity, 2), np.uint64),
            np.empty(capacity, np.int32),
            np.empty(capacity, np.int32),
            np.zeros(3, np.int64),
        )

    def add(self, edges: pa.RecordBatch | pa.Table, start: int = 0) -> int:
        """Add edges from row `start` on (columns of EDGE_SCHEMA). Returns the first row that found the forest full, or
        the number of rows. Raises ConservationError when a document is named with two tasks."""
        a, b = (
            Ends(key_words(edges.column(key)), one_chunk(edges.column(task)).to_numpy())
            for key, task in (("doc_key", "task"), ("other_key", "other_task"))
        )
        stopped = int(_add_edges(a, b, start, self._trees))
        if self._trees.state[1]:
            node = int(self._trees.state[1]) - 1
            key = keys_from_words(self._trees.words[node : node + 1])[0].as_py()
            raise two_tasks(key, int(self._trees.tasks[node]), int(self._trees.state[2]))
        return stopped

    def lowest_hashes(self, count: int) -> np.ndarray:
        """The `count` lowest hashes of the documents held (uint64, in any order), or all if there are fewer."""
        hashes = _hashes(self._trees.words[: self.documents])
        return hashes if len(hashes) <= count else np.partition(hashes, count)[:count]

    @property
    def documents(self) -> int:
        """Documents held."""
        return int(self._trees.state[0])

    def _settled(self) -> tuple[np.ndarray, np.ndarray]:
        """Roots and sizes by document; sizes count at roots."""
        parents = self._trees.parents[: self.documents]
        sizes = np.zeros(self.documents, np.int32)
        _finish(parents, sizes)
        return parents, sizes

    def stars(self) -> Iterator[pa.Table]:
        """An edge from each document to its root, and for a document alone an edge to itself; then the forest is
        empty."""
        parents, sizes = self._settled()
        alone = (sizes == 1) & (parents == np.arange(len(parents)))
        nodes = np.flatnonzero((parents != np.arange(len(parents))) | alone)
        for start in range(0, len(nodes), _OUTPUT_ROWS):
            some = nodes[start : start + _OUTPUT_ROWS]
            roots = parents[some]
            yield pa.table(
                [
                    keys_from_words(self._trees.words[some]),
                    pa.array(self._trees.tasks[some]),
                    keys_from_words(self._trees.words[roots]),
                    pa.array(self._trees.tasks[roots]),
                ],
                schema=EDGE_SCHEMA,
            )
        self._trees.table.fill(-1)
        self._trees.state[:] = 0

    def components(self) -> Iterator[pa.Table]:
        """Rows of COMPONENT_SCHEMA, one for each document, sorted by doc_key. Nothing can be added after it."""
        self._trees = self._trees._replace(table=np.empty(0, np.int32))
        parents, sizes = self._settled()
        order, _ = argsort_words(self._trees.words[: self.documents])
        for start in range(0, len(order), _OUTPUT_ROWS):
            some = order[start : start + _OUTPUT_ROWS]
            roots = parents[some]
            yield pa.table(
                [
                    keys_from_words(self._trees.words[some]),
                    pa.array(self._trees.tasks[some]),
                    keys_from_words(self._trees.words[roots]),
                    pa.array(sizes[roots].astype(np.int64)),
                ],
                schema=COMPONENT_SCHEMA,
            )


def two_tasks(key: bytes, one: int, other: int) -> ConservationError:
    """The error for a document that two tasks are said to own."""
    return ConservationError(
        f"edges name document {key.hex()} with task {one} and with task {other}; a document belongs to one task. The stage "
        "must copy `task` from its notes."
    )
