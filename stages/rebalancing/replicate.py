"""Emits each document as often as a column says: the last step of phases that share one cap (see `mix`), or of a plan made
elsewhere."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import one_chunk
from gristmill.pipeline.errors import ContractError
from gristmill.pipeline.stage import (
    DROPPED,
    QUARANTINED,
    Cost,
    Decisions,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    signal,
)

NONE = "no_copies"
REPEATED = "repeated"
INVALID = "invalid_copies"
RULES = (INVALID, NONE, REPEATED)
MOST_COPIES = 1 << 20


class ReplicateConfig(StageConfig):
    """Config of `replicate`.

    Attributes:
        by: a column of whole numbers: how many copies there shall be. 0 drops the document; null, a negative number and one
            above 2^20 quarantine it.
    """

    by: str = signal()


class Replicate(Stage):
    """Emits rows as often as a column says."""

    Config = ReplicateConfig
    version = 1
    summary = "emits each document as often as a column says"

    config: ReplicateConfig

    def declare(self) -> StageSpec:
        return StageSpec(
            cost=Cost(measure=0, survey=0, settle=0), decide_reads={self.config.by}, rules=RULES, emits_copies=True
        )

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """The number of copies is the value of what is dropped or repeated."""
        array = one_chunk(batch[self.config.by])
        if not (pa.types.is_integer(array.type) or pa.types.is_null(array.type)):
            raise ContractError(f"by: the column `{self.config.by}` is {array.type}; expected whole numbers.")
        copies = np.asarray(array.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
        wrong = (copies < 0) | (copies > MOST_COPIES)
        rule = np.select([wrong, copies == 0, copies > 1], list(range(len(RULES))), -1).astype(np.int16)
        return Decisions(
            port=np.where(wrong, QUARANTINED, np.where(copies == 0, DROPPED, 0)).astype(np.int16),
            copies=np.where(wrong, 1, np.maximum(copies, 1)).astype(np.int32),
            rules=RULES,
            rule=rule,
            value=np.where(rule >= 0, copies.astype(np.float64), np.nan),
        )
