"""Records that could not be read, as the table that a source hands on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import doc_keys
from gristmill.pipeline.source import REJECTS

Reject = tuple[int, str, str, int]
"""Position (byte offset or ordinal), reason in a word, what was found, bytes."""


def rejects_table(
    source: str, snapshot: str | None, path: str, rejects: Sequence[Reject], position: str = "byte"
) -> pa.Table:
    """Rejects of one file, schema REJECTS. `position`: what their positions count."""
    positions = np.array([reject[0] for reject in rejects], np.int64)
    return pa.table(
        [
            doc_keys(source, snapshot, path, positions),
            pa.array(positions),
            pa.array([reject[1] for reject in rejects], pa.string()),
            pa.array([f"{position} {reject[0]}: {reject[2]}" for reject in rejects], pa.string()),
            pa.array([reject[3] for reject in rejects], pa.int64()),
        ],
        schema=REJECTS,
    )
