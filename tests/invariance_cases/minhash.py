"""A small corpus of families of similar texts: copies, edits, pages in common, texts without words."""

import numpy as np
import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase, doc_key_column

ROWS = 70


def similar_texts() -> pa.Table:
    draw = np.random.default_rng(21)
    vocabulary = ["".join(draw.choice(list("abcdefgh"), 6)) for _ in range(400)]
    families = [list(draw.choice(vocabulary, draw.integers(20, 60))) for _ in range(9)]
    texts = []
    for row in range(ROWS):
        words = list(families[row % len(families)])
        for _ in range(draw.integers(0, 4)):
            words[draw.integers(0, len(words))] = draw.choice(vocabulary)
        texts.append(" ".join(words[: draw.integers(15, 60)]))
    texts[5:9] = ["", "!?", "one two", "One, two!"]
    return pa.table(
        {
            "doc_key": doc_key_column(ROWS),
            "text": pa.array(texts, pa.large_string()),
            "language": pa.array(draw.choice(["por", "deu", None], ROWS).tolist(), pa.string()),
            "source": pa.array(draw.choice(["a", "b", None], ROWS).tolist(), pa.string()),
            "date": pa.array(
                draw.choice(["2020-01-01", "2021-05-05T10:00:00Z", "x", None], ROWS).tolist(), pa.string()
            ),
            "score": pa.array([None if x < 0.2 else round(float(x), 1) for x in draw.random(ROWS)], pa.float64()),
            "quality_failed": pa.array([["r"] if x else [] for x in draw.random(ROWS) < 0.5], pa.list_(pa.string())),
        }
    )


def common_words() -> pa.Table:
    """Texts that share one word of six: wherever its hash is the least, they share a bucket without resembling."""
    rows = 520
    texts = []
    for row in range(rows):
        own = "".join(chr(ord("a") + int(digit)) for digit in f"{row % 420:03}")
        texts.append(" ".join(["common", *(f"{own}{letter}" for letter in "qrstu")]))
    return pa.table({"doc_key": doc_key_column(rows), "text": pa.array(texts, pa.large_string())})


def nothing_to_compare() -> pa.Table:
    return pa.table(
        {
            "doc_key": doc_key_column(3),
            "text": pa.array(["", None, "— ! —"], pa.large_string()),
            "source": ["a", None, "a"],
        }
    )


CASES = [
    InvarianceCase("defaults", {}, similar_texts),
    InvarianceCase("unverified, small bands", {"bands": 20, "rows": 2, "verify": "none", "ngram": 2}, similar_texts),
    InvarianceCase(
        "within columns", {"bands": 20, "rows": 3, "within": ["language", "source"], "ngram": 2}, similar_texts
    ),
    InvarianceCase(
        "characters", {"unit": "characters", "ngram": 7, "threshold": 0.6, "verify_min": 0.5}, similar_texts
    ),
    InvarianceCase("longest", {"keeper": "longest", "bands": 20, "rows": 3, "per_source": "source"}, similar_texts),
    InvarianceCase("best unmarked", {"keeper": {"best": "score"}, "prefer_unmarked": True, "rows": 3}, similar_texts),
    InvarianceCase("newest", {"keeper": "newest", "rows": 3}, similar_texts),
    InvarianceCase("order of sources", {"keeper": {"source_order": ["b", "a"]}, "rows": 3}, similar_texts),
    InvarianceCase("crowded buckets", {"bands": 8, "rows": 1, "ngram": 1, "verify_min": 0.9}, common_words),
    InvarianceCase("no words at all", {}, nothing_to_compare),
    InvarianceCase("no words, sources", {"per_source": "source"}, nothing_to_compare),
    InvarianceCase(
        "true similarity", {"verify": "jaccard", "bands": 20, "rows": 2, "ngram": 2, "verify_min": 0.5}, similar_texts
    ),
    InvarianceCase(
        "sets cut off", {"verify": "jaccard", "shingles": 16, "rows": 2, "per_source": "source"}, similar_texts
    ),
]
