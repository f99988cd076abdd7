"""What stands in sidecars, for those who write them and those who verify them without anything that runs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import FROM_TASK, KEY_TYPE

LEDGER = pa.schema(
    [
        pa.field("node", pa.string()),
        pa.field("doc_key", KEY_TYPE),
        pa.field("id", pa.string()),
        pa.field("url", pa.string()),
        pa.field("decision", pa.string()),
        pa.field("port", pa.string()),
        pa.field("rule", pa.string()),
        pa.field("failed", pa.list_(pa.string())),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("witness", pa.string()),
        pa.field("copies", pa.int32()),
        pa.field("bytes", pa.int64()),
    ]
)
"""`id` and `url` are the input's own, null where it has none. `decision` is dropped, quarantined, marked or emitted;
`port` is null unless the row was emitted; `value` and `threshold` are null where a rule compares no numbers; `bytes` are
the UTF-8 bytes of the text as it was read or made, before that of the payload."""
FROM_TASK_FIELD = pa.field(FROM_TASK, pa.int32())
LEDGER_FILE = LEDGER.append(FROM_TASK_FIELD)
"""Columns of a ledger as it is stored."""
MOST_TASKS = 64
"""Tasks of a sidecar: a ledger's footer holds the accounts of each."""
EMITTED = "emitted"
"""Column of kept notes: whether their document left the node."""


def dropped_rank(keys: np.ndarray, seed: int) -> np.ndarray:
    """A seeded hash of doc_keys (uint64, rows × 2): the finalizer of SplitMix64 over high ^ low·golden + seed."""
    with np.errstate(over="ignore"):
        x = keys[:, 0] ^ (keys[:, 1] * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(seed)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
