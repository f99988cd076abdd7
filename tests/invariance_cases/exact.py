"""Copies of a few texts that differ in case, punctuation and spaces, or not at all; some without words."""

import numpy as np
import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase, doc_key_column

ROWS = 80


def copies() -> pa.Table:
    draw = np.random.default_rng(5)
    texts = [f"Page {'abcdefg'[number]} of a book" for number in range(7)]
    made = []
    for _ in range(ROWS):
        text = texts[draw.integers(0, len(texts))]
        made.append([text, text.upper(), f"{text}!", f" {text.replace(' ', '  ')}\n"][draw.integers(0, 4)])
    made[5:9] = ["", "!?", None, "…"]
    return pa.table(
        {
            "doc_key": doc_key_column(ROWS),
            "text": pa.array(made, pa.large_string()),
            "url": pa.array(
                draw.choice(["https://a.example/", "https://b.example/1", "", None], ROWS).tolist(), pa.string()
            ),
            "page": pa.array(draw.choice([-1, 5, 2**40, None], ROWS).tolist(), pa.int64()),
            "language": pa.array(draw.choice(["por", "deu", None], ROWS).tolist(), pa.string()),
            "source": pa.array(draw.choice(["a", "b", None], ROWS).tolist(), pa.string()),
            "seen": pa.array([None if x < 3 else int(x) for x in draw.integers(1, 9, ROWS)], pa.int32()),
            "quality_failed": pa.array([["r"] if x else [] for x in draw.random(ROWS) < 0.5], pa.list_(pa.string())),
        }
    )


CASES = [
    InvarianceCase("words", {}, copies),
    InvarianceCase("spaces within a column", {"normalise": "spaces", "within": "language"}, copies),
    InvarianceCase("bytes, copies", {"normalise": "none", "copies": "seen", "report_size": 3}, copies),
    InvarianceCase("columns", {"on": ["url", "page"], "keeper": "longest", "per_source": "source"}, copies),
    InvarianceCase(
        "unmarked, copies, sources", {"prefer_unmarked": True, "copies": "seen", "per_source": "source"}, copies
    ),
]
