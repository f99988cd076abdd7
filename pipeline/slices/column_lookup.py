"""A column of some rows at some place of the graph: looked up where it was made, however many ways lead there."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import TEXT, one_chunk
from gristmill.pipeline.planning.graph import Edge, Graph
from gristmill.pipeline.slices.outcome import State


@dataclass(frozen=True)
class _Join:
    """How the values of some rows are put together.

    Attributes:
        rows: the rows.
        parts: a place that has values (None: nobody has, so they are null), and where in `rows` its rows are.
        kind: the type of the union; None when everything comes from one place, as it is there.
    """

    rows: np.ndarray
    parts: tuple[tuple[str | None, np.ndarray], ...]
    kind: pa.DataType | None = None


class ColumnLookup:
    """One look-up of a column.

    It goes through the graph once up and once down, whatever the graph's shape: first it gathers which rows each place
    is asked for, nearest places first, then it makes the values, from the sources on. A row comes to a place over one
    edge only, so each place is asked for a row once at most; following each edge by itself would visit a place once per
    way that leads to it.
    """

    def __init__(self, graph: Graph, source: str, table: pa.Table, states: Mapping[str, State], name: str) -> None:
        self.graph = graph
        self.source = source
        self.table = table
        self.states = states
        self.name = name
        self.asked: dict[str, np.ndarray] = {}
        self.waiting: list[tuple[int, str]] = []
        self.values: dict[str, pa.Array] = {}

    def leaving(self, place: str, rows: np.ndarray) -> pa.Array:
        """The column for `rows` when they leave a place."""
        return self._found(_Join(rows, ((self._maker(place), np.arange(len(rows))),)))

    def coming(self, arrivals: Sequence[tuple[Edge, np.ndarray]], rows: np.ndarray) -> pa.Array:
        """The column for `rows` when they come over some edges, each with the rows that arrived on it."""
        return self._found(self._join(arrivals, rows))

    def _found(self, join: _Join) -> pa.Array:
        steps: list[tuple[str, pa.Array | None, _Join | None]] = []
        self._ask(join)
        while self.waiting:
            place = heapq.heappop(self.waiting)[1]
            own, above = self._here(place, self.asked[place])
            if above is not None:
                self._ask(above)
            steps.append((place, own, above))
        for place, own, above in reversed(steps):
            if above is None:
                self.values[place] = own
            else:
                values = self._put_together(above)
                self.values[place] = values if own is None else pc.coalesce(own, values)
        return self._put_together(join)

    def _ask(self, join: _Join) -> None:
        for place, mine in join.parts:
            if place is None:
                continue
            rows = join.rows if len(mine) == len(join.rows) else join.rows[mine]
            if place in self.asked:
                self.asked[place] = np.union1d(self.asked[place], rows)
            else:
                self.asked[place] = rows
                heapq.heappush(self.waiting, (-self.graph.position[place], place))

    def _here(self, place: str, rows: np.ndarray) -> tuple[pa.Array | None, _Join | None]:
        """What a place itself has for some rows, and whence the rest comes; one of both may be None."""
        if place in self.graph.sources:
            if place != self.source or self.name not in self.table.column_names:
                return pa.nulls(len(rows), self.graph.columns_after(place).get(self.name, pa.null())), None
            return taken(one_chunk(self.table[self.name]), rows, self.table.num_rows), None
        state = self.states[place]
        own = state.own(self.name)
        if own is not None:
            own = taken(own, np.searchsorted(state.rows, rows), len(state.rows))
            # A stage that changes text leaves null where it did not; where one makes it, there is none above.
            if self.name != TEXT or not own.null_count or self.graph.by_name[place].spec.makes_text:
                return own, None
        return own, self._join(list(state.arrivals.items()), rows)

    def _join(self, arrivals: Sequence[tuple[Edge, np.ndarray]], rows: np.ndarray) -> _Join:
        if len(arrivals) == 1:
            return _Join(rows, ((self._maker(arrivals[0][0].node), np.arange(len(rows))),))
        parts = []
        for edge, arrived in arrivals:
            have = self.name in self.graph.columns_after(edge.node)
            mine = np.flatnonzero(np.isin(rows, arrived, assume_unique=True))
            parts.append((self._maker(edge.node) if have else None, mine))
        return _Join(rows, tuple(parts), self.graph.columns_into([edge for edge, _ in arrivals])[self.name])

    def _maker(self, place: str) -> str:
        """The nearest place, from `place` upwards, that has a column of its own, joins edges, or is a source."""
        states, sources, name = self.states, self.graph.sources, self.name
        while place not in sources:
            state = states[place]
            if len(state.arrivals) != 1 or state.own(name) is not None:
                break
            (edge,) = state.arrivals
            place = edge.node
        return place

    def _put_together(self, join: _Join) -> pa.Array:
        arrays, order = [], []
        for place, mine in join.parts:
            if place is None:
                arrays.append(pa.nulls(len(mine), join.kind))
            else:
                rows = join.rows if len(mine) == len(join.rows) else join.rows[mine]
                part = self._value(place, rows)
                arrays.append(part if join.kind is None or join.kind == part.type else part.cast(join.kind))
            order.append(mine)
        if join.kind is None:
            return arrays[0]
        back = np.argsort(np.concatenate(order), kind="stable")
        return pa.concat_arrays(arrays).take(pa.array(back))

    def _value(self, place: str, rows: np.ndarray) -> pa.Array:
        have = self.asked[place]
        if have is rows or np.array_equal(have, rows):
            return self.values[place]
        return taken(self.values[place], np.searchsorted(have, rows), len(have))


def taken(array: pa.Array, rows: np.ndarray, count: int) -> pa.Array:
    """The values of `rows` of an array of `count`, not copied where that can be."""
    if len(rows) == count:
        return array
    if len(rows) and int(rows[-1]) - int(rows[0]) + 1 == len(rows):
        return array.slice(int(rows[0]), len(rows))
    return array.take(pa.array(rows))
