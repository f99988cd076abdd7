"""Members of duplicate clusters in four languages, some of them marked, some dropped as duplicates."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase, doc_key_column

ROWS = 60


def members(seed: int = 3, languages: bool = True) -> pa.Table:
    draw = np.random.default_rng(seed)
    size = draw.integers(1, 8, ROWS)
    columns = {
        "doc_key": doc_key_column(ROWS, seed),
        "minhash_cluster_size": pa.array([None if s == 7 else int(s) for s in size], pa.int64()),
        "dropped": pa.array(draw.random(ROWS) < 0.3),
        "quality_failed": pa.array([["r"] if x else [] for x in draw.random(ROWS) < 0.6 / size], pa.list_(pa.string())),
        "score": pa.array([None if x < 0.1 else float(x) for x in draw.random(ROWS)], pa.float64()),
        "source": pa.array(draw.choice(["a", "b"], ROWS).tolist()),
        "quantile": pa.array([None if x < 0.1 else float(x) for x in draw.random(ROWS)], pa.float64()),
    }
    if languages:
        columns["language"] = pa.array(draw.choice(["por", "deu", "rus", None], ROWS).tolist(), pa.string())
        columns["language_script"] = pa.array(draw.choice(["Latn", "Cyrl"], ROWS).tolist(), pa.string())
    return pa.table(columns)


def representatives() -> pa.Table:
    return members(seed=4).drop_columns(["quality_failed"])


def without_languages() -> pa.Table:
    return members(seed=5, languages=False)


OBSERVED = {"observe": "minhash", "marked_by": "quality"}
WEIGHTS = str(Path(__file__).with_name("weights.json"))

CASES = [
    InvarianceCase(
        "by size and quantile",
        {"rates": {**OBSERVED, "quantile": "quantile", "quantile_bins": 4}, "min_group_clusters": 5, "form": "columns"},
        members,
    ),
    InvarianceCase(
        "a curve over quantiles",
        {
            "rates": OBSERVED,
            "exact": True,
            "quality": {"column": "quantile", "power": {"scale": 2, "from_quantile": 0.3}},
        },
        members,
    ),
    InvarianceCase("every size by itself", {"rates": OBSERVED, "exact": True}, members),
    InvarianceCase(
        "small bins and groups", {"rates": OBSERVED, "min_cluster_count": 3, "min_group_clusters": 4}, members
    ),
    InvarianceCase("fall back to the whole", {"rates": OBSERVED, "max_repeats": 10}, members),
    InvarianceCase("no language columns", {"rates": OBSERVED, "exact": True}, without_languages),
    InvarianceCase("another group", {"rates": OBSERVED, "exact": True, "group": ["source"]}, members),
    InvarianceCase(
        "filter behind the deduplication", {"rates": {"observe": "quality"}, "exact": True}, representatives
    ),
    InvarianceCase(
        "score and cap",
        {
            "rates": OBSERVED,
            "exact": True,
            "max_copies": "cluster_size",
            "seed": 17,
            "quality": {"column": "score", "none_below": 0.2, "full_above": 0.9},
        },
        members,
    ),
    InvarianceCase("as columns", {"rates": OBSERVED, "exact": True, "form": "columns"}, members),
    InvarianceCase("FineWeb2's first table", {"rates": {"table": "fineweb2"}}, members),
    InvarianceCase("a weights file", {"rates": {"table": WEIGHTS}}, members),
]
