"""Drops the documents that earlier nodes marked: the second half of `on_fail: mark`.

Marking first and dropping later lets the nodes in between see the marked documents: deduplication counts them, and the
rebalancer learns which cluster sizes the quality filters remove.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator

from gristmill.pipeline.stage import (
    MAX_RULES,
    Cost,
    Decisions,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    from_failures,
    threshold,
)
from gristmill.stages.marks.columns import mark_column, mark_texts, marked_rows, node_name


class DropMarkedConfig(StageConfig):
    """Config of `drop_marked`.

    Attributes:
        by: nodes whose marks drop a document, or columns of marks (`…_failed`), in the order in which they are tried.
    """

    by: tuple[str, ...] = threshold(min_length=1, max_length=MAX_RULES)

    @field_validator("by")
    @classmethod
    def _named_once(cls, by: tuple[str, ...]) -> tuple[str, ...]:
        columns = [mark_column(name) for name in by]
        for name, column in zip(by, columns, strict=True):
            if not name:
                raise ValueError("names a node or a column; found an empty name")
            if columns.count(column) > 1:
                raise ValueError(f"`{name}` is named twice (as the column `{column}`); name it once")
        return by


class DropMarked(Stage):
    """Drops rows that carry a mark of one of the nodes in `by`."""

    Config = DropMarkedConfig
    version = 1
    summary = "drops documents that an earlier node marked (`on_fail: mark`)"

    config: DropMarkedConfig

    def declare(self) -> StageSpec:
        return StageSpec(
            cost=Cost(measure=0, survey=0, settle=0),
            decide_reads={mark_column(name) for name in self.config.by},
            rules=tuple(f"marked_by_{node_name(name)}" for name in self.config.by),
            settings={f"marked_by_{node_name(name)}": "by" for name in self.config.by},
        )

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """The first node that marked a row decides; the witness lists what every node found, joined by commas."""
        columns = [mark_column(name) for name in self.config.by]
        failures: dict[str, np.ndarray] = {}
        texts: list[pa.Array] = []
        for rule, column in zip(self.spec.rules, columns, strict=True):
            failures[rule] = marked_rows(batch[column], column)
            texts.append(mark_texts(batch[column], column))
        decisions = from_failures(failures, rows=batch.num_rows)
        witness = texts[0]
        for text in texts[1:]:
            witness = pc.coalesce(pc.binary_join_element_wise(witness, text, pa.scalar(",")), witness, text)
        return Decisions(
            port=decisions.port,
            rules=decisions.rules,
            rule=decisions.rule,
            failed=decisions.failed,
            witness=witness,
        )
