"""Annotations: what a pass leaves beside a slice, so that text is never rewritten between passes.

One Arrow file per task and pass, a row for every document of the slice: doc_key, text bytes, and per node of the pass
its signals, decisions and findings, null where the document did not reach the node. The next pass aligns it with the
slice by doc_key and verifies that it fits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY, key_words, one_chunk
from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.planning.plan import Pass
from gristmill.pipeline.slices.column_lookup import taken
from gristmill.pipeline.slices.outcome import Outcome, State, outcome_columns
from gristmill.pipeline.slices.routing import SliceRows, scattered

ANNOTATION_META = b"gristmill.annotations"


def annotations_of(slice_rows: SliceRows, one: Pass) -> pa.Table:
    """What the pass found for each row of the slice."""
    columns: dict[str, pa.Array] = {
        DOC_KEY: one_chunk(slice_rows.table[DOC_KEY]),
        "bytes": pa.array(slice_rows.sizes(), pa.int64()),
    }
    meta: dict[str, Any] = {"rules": {}, "tallies": {}}
    everyone = np.arange(slice_rows.count)
    names = list(dict.fromkeys([*one.measures, *one.decides]))
    if one.index == 0:
        names.insert(0, slice_rows.source)
    for name in names:
        state = slice_rows.states[name]
        whole = len(state.rows) == slice_rows.count

        def place(array: pa.Array, rows: np.ndarray = state.rows, whole: bool = whole) -> pa.Array:
            return array if whole else scattered(array, rows, slice_rows.count)

        if name in one.measures:
            columns[f"{name}|in"] = pa.array(np.isin(everyone, state.rows, assume_unique=True))
            for signal, array in state.signals.items():
                columns[f"{name}|s|{signal}"] = place(array)
        if state.outcome is not None and (name in one.decides or name == slice_rows.source):
            for part, array in outcome_columns(state.outcome).items():
                columns[f"{name}|d|{part}"] = place(array)
            for finding, array in state.outcome.columns.items():
                columns[f"{name}|f|{finding}"] = place(array)
            meta["rules"][name] = list(state.outcome.rules)
            meta["tallies"][name] = state.outcome.tallies
    return pa.table(columns).replace_schema_metadata({ANNOTATION_META: json.dumps(meta, sort_keys=True).encode()})


def rules_of(table: pa.Table, name: str) -> list[str]:
    """The rules of a node that decided in a pass, as its annotations number them."""
    rules: list[str] = json.loads(table.schema.metadata[ANNOTATION_META])["rules"][name]
    return rules


class Annotations:
    """The annotations of preceding passes, aligned with the slice."""

    def __init__(self, tables: Sequence[pa.Table]) -> None:
        self.tables = tables
        self._columns = [dict(zip(table.column_names, table.columns, strict=True)) for table in tables]
        self._meta = [json.loads(table.schema.metadata[ANNOTATION_META]) for table in tables]

    def sizes(self) -> np.ndarray:
        """UTF-8 bytes of each row's text, int64."""
        return np.asarray(one_chunk(self.tables[0]["bytes"]), np.int64)

    def verify(self, slice_rows: SliceRows) -> None:
        """Raises ConservationError when a file's documents are not the slice's documents."""
        for index, table in enumerate(self.tables):
            keys = key_words(table[DOC_KEY])
            if keys.shape != slice_rows.keys.shape or not np.array_equal(keys, slice_rows.keys):
                raise ConservationError(
                    f"the annotations of pass {index} hold {len(keys)} documents that are not the slice's {slice_rows.count}. "
                    "The input changed, or the work folder belongs to other data. Remove the work folder and run again."
                )

    def ruled(self, source: str, rule: str, rows: int) -> np.ndarray:
        """Which of so many rows a source dropped by a rule: bool."""
        rules = self._meta[0]["rules"][source]
        chosen: np.ndarray = np.asarray(one_chunk(self._columns[0][f"{source}|d|rule"])) == (
            rules.index(rule) if rule in rules else -2
        )
        return chosen if len(chosen) == rows else np.zeros(rows, bool)  # `verify` says what is wrong then

    def signals(self, name: str, state: State) -> dict[str, pa.Array] | None:
        """The signals of a node that was measured in a preceding pass, for the rows that entered it; None when it was not."""
        columns = next((c for c in self._columns if f"{name}|in" in c), None)
        if columns is None:
            return None
        prefix = f"{name}|s|"
        return {
            column.removeprefix(prefix): taken(one_chunk(array), state.rows, len(array))
            for column, array in columns.items()
            if column.startswith(prefix)
        }

    def outcome(self, name: str, state: State) -> Outcome | None:
        """The decisions of a node that decided in a preceding pass, for the rows that entered it; None when it did not."""
        number = next((n for n, c in enumerate(self._columns) if f"{name}|d|port" in c), None)
        if number is None:
            return None
        columns, meta = self._columns[number], self._meta[number]

        def column(part: str) -> pa.Array:
            array = one_chunk(columns[f"{name}|{part}"])
            return taken(array, state.rows, len(array))

        port = column("d|port")
        if port.null_count:
            raise ConservationError(
                f"node `{name}`: {port.null_count} documents have no decision in the annotations, though they entered "
                "it. Remove the work folder and run again."
            )
        prefix = f"{name}|f|"
        findings = [c.removeprefix(prefix) for c in columns if c.startswith(prefix)]
        return Outcome(
            np.asarray(port),
            np.asarray(column("d|copies")),
            tuple(meta["rules"][name]),
            np.asarray(column("d|rule")),
            np.asarray(column("d|failed")),
            np.asarray(column("d|value")),
            np.asarray(column("d|threshold")),
            column("d|witness"),
            {finding: column(f"f|{finding}") for finding in findings},
            dict(meta["tallies"][name]),
        )


def measured_before(table: pa.Table, name: str, slice_rows: SliceRows) -> tuple[np.ndarray, dict[str, pa.Array]] | None:
    """Signals that an earlier run measured: (rows that have them, arrays over all rows of the slice).

    None when the annotations' documents are not the slice's.
    """
    if f"{name}|in" not in table.column_names or not np.array_equal(key_words(table[DOC_KEY]), slice_rows.keys):
        return None
    prefix = f"{name}|s|"
    rows = np.flatnonzero(np.asarray(one_chunk(table[f"{name}|in"])))
    arrays = {c.removeprefix(prefix): one_chunk(table[c]) for c in table.column_names if c.startswith(prefix)}
    return rows, arrays


def fill_in(rows: np.ndarray, old_rows: np.ndarray, old: pa.Array, new_rows: np.ndarray, new: pa.Array) -> pa.Array:
    """Values for `rows` from an array over all rows (where `old_rows` have them) and one over `new_rows`."""
    kept = rows[np.isin(rows, old_rows, assume_unique=True)]
    joined = pa.concat_arrays([old.take(pa.array(kept)), new])
    back = np.argsort(np.concatenate([kept, new_rows]), kind="stable")
    return pc.take(joined, pa.array(back))
