"""Stages for the auditor's tests: several reasons at one node, a word list, copies before a drop, edited text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.stage import (
    Decisions,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    from_failures,
    resource,
    signal,
    threshold,
)


class BoundsConfig(StageConfig):
    least: int = threshold(2)
    most: int = threshold(30)
    words: str | None = resource("signal", None)
    mark: bool = threshold(False)


class Bounds(Stage):
    """Drops, or marks, texts that are short, long, or hold no word of a list."""

    Config = BoundsConfig
    version = 1
    summary = "bounds"

    def declare(self) -> StageSpec:
        return StageSpec(
            measure_reads={"text"},
            signals=pa.schema([("size", pa.int64()), ("share", pa.float64())]),
            rules=("too_short", "too_long", "odd_size"),
            models={} if self.config.words is None else {"words": Path(self.config.words)},
        )

    def measure(self, batch: pa.Table, context: StageContext) -> dict[str, pa.Array]:
        size = pc.utf8_length(batch["text"].combine_chunks()).cast(pa.int64())
        return {"size": size, "share": pc.divide(size.cast(pa.float64()), 7.0)}

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        size = np.asarray(batch["size"])
        return from_failures(
            {"too_short": size < self.config.least, "too_long": size > self.config.most, "odd_size": size % 5 == 4},
            {"too_short": size, "too_long": size, "odd_size": size},
            {"too_short": self.config.least, "too_long": self.config.most},
            rows=len(size),
            mark=self.config.mark,
        )


class DoubleConfig(StageConfig):
    copies: int = threshold(2)


class Double(Stage):
    """Emits every second document more than once."""

    Config = DoubleConfig
    version = 1
    summary = "copies"

    def declare(self) -> StageSpec:
        return StageSpec(emits_copies=True, decide_reads={"text"}, rules=("doubled",))

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        even = np.asarray(pc.utf8_length(batch["text"].combine_chunks())) % 2 == 0
        return Decisions(
            port=np.zeros(len(even), np.int16),
            copies=np.where(even, self.config.copies, 1).astype(np.int32),
            rules=("doubled",),
            rule=np.where(even, 0, -1).astype(np.int16),
        )


class UpperConfig(StageConfig):
    letter: str = signal("a")


class Upper(Stage):
    """Changes the text of some documents."""

    Config = UpperConfig
    version = 1
    summary = "edits"

    def declare(self) -> StageSpec:
        return StageSpec(
            changes_text=True,
            decide_reads={"text"},
            findings=pa.schema([("text", pa.large_string())]),
            rules=("upper",),
        )

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        text = batch["text"].combine_chunks()
        hit = pc.starts_with(text, self.config.letter)
        made = pc.if_else(hit, pc.utf8_upper(text), pa.scalar(None, pa.large_string()))
        return from_failures(
            {"upper": hit.to_numpy(zero_copy_only=False)}, rows=batch.num_rows, mark=True, columns={"text": made}
        )
