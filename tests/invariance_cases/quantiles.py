"""Scores in three languages, with ties, missing ones and weights."""

import numpy as np
import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase, doc_key_column

ROWS = 70


def scored() -> pa.Table:
    draw = np.random.default_rng(11)
    score = [None if x < 0.1 else float(round(x, 1)) for x in draw.random(ROWS)]
    score[3] = float("nan")
    return pa.table(
        {
            "doc_key": doc_key_column(ROWS, 11),
            "score": pa.array(score, pa.float64()),
            "depth": pa.array(draw.integers(0, 4, ROWS), pa.int32()),
            "quality_failed": pa.array([["r"] * int(x) for x in draw.integers(0, 4, ROWS)], pa.list_(pa.string())),
            "tokens": pa.array([None if x == 0 else int(x) for x in draw.integers(0, 50, ROWS)], pa.int64()),
            "language": pa.array(draw.choice(["por", "deu", None], ROWS).tolist(), pa.string()),
            "language_script": pa.array(["Latn"] * ROWS, pa.string()),
        }
    )


CASES = [
    InvarianceCase("by language, in buckets", {"score": "score", "buckets": 5}, scored),
    InvarianceCase("the whole, by tokens", {"score": "score", "within": [], "weigh_by": "tokens"}, scored),
    InvarianceCase(
        "a weighted sum",
        {"score": {"score": 2.0, "quality_failed": -0.5}, "missing": "lowest", "keep_from": 0.3},
        scored,
    ),
    InvarianceCase(
        "ranks",
        {
            "score": {"score": 1, "quality_failed": -1, "depth": 0.3},
            "combine": "ranks",
            "keep_from": 0.5,
            "on_fail": "mark",
        },
        scored,
    ),
]
