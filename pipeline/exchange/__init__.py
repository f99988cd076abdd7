"""The exchange: what `settle` may use. Operators over rows that lie in files, with a stated memory budget.

    group(rows, key, fold)   partitioned on disk, each partition sorted by key and then doc_key, folded in a stream
    reduce(rows, combine)    associative, merged as a tree by task number
    components(edges)        connected components by partitioned label rounds to a fixed point
    recurring(rows, column)  the rows that share a hash with others, and no more than few that do not

Functions given to the exchange are module-level functions (they travel to workers by name) with JSON-able parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

Fold = Callable[..., Iterator[pa.Table]]
"""fold(tables: Iterator[pa.Table], **params) -> Iterator[pa.Table]. The input tables are consecutive pieces of one
sorted partition (by the key columns, then doc_key); a group may span pieces, and never spans partitions."""

Prepare = Callable[..., pa.Table]
"""prepare(table, **params) -> table, row by row: may drop, multiply and reshape rows as they are read."""

Combine = Callable[..., pa.Table]
"""combine(tables: list[pa.Table], **params) -> pa.Table, associative; tables come in task order."""


@dataclass(frozen=True)
class Rows:
    """A handle on rows that lie in files; no process holds them all.

    Attributes:
        files: paths of Arrow IPC files, in an order that depends on the plan alone.
        schema: their common schema.
        count: rows in all files together.
    """

    files: tuple[str, ...]
    schema: pa.Schema
    count: int


class Exchange(Protocol):
    """The operators. Every one checks that the rows that went in came out: counts and doc_key sums.

    Attributes:
        disk_bytes: what the rows of one `group` should take on disk. A `settle` that makes many rows of one note does
            so in waves that fit it. Waves change what lies on disk at once, never a result.
    """

    disk_bytes: int

    def group(
        self,
        rows: Rows,
        key: Sequence[str],
        fold: Fold,
        params: Mapping[str, Any] | None = None,
        *,
        sort: Sequence[str] | None = None,
        prepare: Prepare | None = None,
        prepare_params: Mapping[str, Any] | None = None,
        expansion: int = 1,
    ) -> Rows:
        """Partition by `key`, sort each partition by (key…, doc_key), or by `sort`, which begins with the key, and fold
        it. `prepare` is applied to rows as they are read and makes about `expansion` of one."""

    def reduce(self, rows: Rows, combine: Combine, params: Mapping[str, Any] | None = None) -> pa.Table:
        """Merge all rows into one table, as a tree of fan-in 16 over files in order."""

    def components(self, edges: Rows, nodes: Rows | None = None, carry: Sequence[str] = ()) -> Rows:
        """Connected components. `edges` has doc_key, task, other_key, other_task; the result has doc_key, task, label
        (the lowest doc_key of the component) and size (int64), one row for every document that an edge names.

        `nodes`: what `recurring` returned, if edges also have `number` and `other_number` from it; that is faster, unless they
        are too many, and the result then has the columns `carry` of them as well.
        """

    def recurring(self, rows: Rows, column: str) -> tuple[Rows, int] | None:
        """The rows of which some hash in `column` (fixed-size binary of 8 bytes each) recurs among those of all rows, with a
        column `recurs` of bits, one for each hash, and a `number`; and how many bits are set.

        Of the other hashes about one in twenty has its bit as well: it depends on the rows alone which. None for more rows
        than it is of use for.
        """

    def release(self, rows: Rows) -> None:
        """Remove the files of a result of this exchange that will not be read again."""
