"""Rows with marks of three kinds: lists of rules, truth values, text."""

import numpy as np
import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase, doc_key_column

ROWS = 40


def marked_rows() -> pa.Table:
    draw = np.random.default_rng(7)
    lists = [[["short"], ["short", "no_stop_words"], [], None][i] for i in draw.integers(0, 4, ROWS)]
    return pa.table(
        {
            "doc_key": doc_key_column(ROWS),
            "quality_failed": pa.array(lists, pa.list_(pa.string())),
            "spam_failed": pa.array(draw.choice([True, False, None], ROWS).tolist(), pa.bool_()),
            "legal_failed": pa.array(draw.choice(["", "notice", None], ROWS).tolist(), pa.string()),
        }
    )


CASES = [
    InvarianceCase("one node", {"by": ["quality"]}, marked_rows),
    InvarianceCase("three kinds of marks", {"by": ["quality", "spam_failed", "legal"]}, marked_rows),
]
