"""Encodings of sidecars: chosen by values, smaller than by types alone, and read back the same by any reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.document import DOC_KEY, KEY_TYPE
from gristmill.pipeline.writing.encodings import by_types, by_values
from gristmill.pipeline.writing.parquet import write_parquet

ROWS = 20_000
_RANDOM = np.random.default_rng(5)
_DISTINCT = [key.tobytes() for key in _RANDOM.integers(0, 256, (ROWS // 2, 16), np.uint8)]
LEDGER_LIKE = pa.table(
    {
        # Each document twice, far apart: at the node that marked it, and at the one that dropped it.
        DOC_KEY: pa.array(_DISTINCT * 2, KEY_TYPE),
        "share": _RANDOM.integers(1, 10_000, ROWS) / _RANDOM.integers(10_000, 20_000, ROWS),
        "score": _RANDOM.random(ROWS, np.float32).astype(np.float64),
        "threshold": _RANDOM.choice([0.1, 0.2, 0.3], ROWS),
        "text": [f"{number:07d}" * 50 for number in range(ROWS)],
        "failed": pa.array([["a", "b"], []] * (ROWS // 2)),
        "absent": pa.nulls(ROWS, pa.float64()),
        "single": _RANDOM.random(ROWS, np.float32),
        "flag": [True, None] * (ROWS // 2),
    }
)


def test_encodings_follow_from_values() -> None:
    chosen = by_values(LEDGER_LIKE)
    repeated = {DOC_KEY, "threshold", "failed.list.element", "absent", "flag"}
    assert set(chosen["use_dictionary"]) == repeated
    assert chosen["column_encoding"] == {"score": "BYTE_STREAM_SPLIT"}


def test_keys_that_do_not_repeat_have_no_dictionary() -> None:
    assert DOC_KEY not in by_values(LEDGER_LIKE.slice(0, ROWS // 2))["use_dictionary"]


def test_rows_with_extreme_values_and_without_any_are_encoded() -> None:
    extreme = pa.table({"x": [float("nan"), float("inf"), 1e300, -0.0, 5e-324, 1.5]})
    assert by_values(extreme)["column_encoding"] is None
    assert by_values(extreme.slice(0, 0))["use_dictionary"] == ["x"]


def test_a_compact_file_is_smaller_and_reads_back_the_same(tmp_path: Path) -> None:
    sizes, digests = [], set()
    for compact in (False, True):
        path = tmp_path / f"{compact}.parquet"
        shard = write_parquet(str(path), LEDGER_LIKE.schema, iter([LEDGER_LIKE]), compact=compact)
        assert pq.read_table(path).equals(LEDGER_LIKE)
        sizes.append(shard.file.size)
        digests.add(shard.content_digest)
    assert sizes[1] < 0.9 * sizes[0]
    assert len(digests) == 1


def test_shards_are_encoded_by_types_alone() -> None:
    assert by_types(LEDGER_LIKE.schema) == {
        "use_dictionary": ["share", "score", "threshold", "text", "failed.list.element", "absent", "single", "flag"]
    }
