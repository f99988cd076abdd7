"""How well the score of the preset `web` orders pages: agreement with blind judgements of pairs.

    GRISTMILL_DATA=DIR python -m tests.benchmarks.page_order

DIR holds `documents.parquet`; its documents of the source `web` are the pages. `page_order.json` beside this file has 200
pairs of their row numbers, each of one language, the page first that one reader would rather train on: judged from
excerpts, in an order drawn by a seed, before any score was known. Scores are those of the stages, by language; equal ones
count half.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.pipeline.stage import Stage, StageContext
from gristmill.pipeline.testing import doc_key_column, make_stage, run_stage, whole
from gristmill.stages.language.stage import Language
from gristmill.stages.quality.stage import Quality
from gristmill.stages.quantiles.stage import Quantiles

PAIRS = Path(__file__).with_name("page_order.json")
HALF = 100
PRESET = {"score": {"quality_newline_ratio": -1, "quality_top_2_gram": -1}, "combine": "ranks"}


def with_columns(stage: Stage, table: pa.Table) -> pa.Table:
    """The table with a stage's signals and findings."""
    signals = stage.measure(table, StageContext())
    table = pa.table({**{name: table[name] for name in table.column_names}, **signals})
    found = stage.decide(table, None, StageContext()).columns
    return pa.table({**{name: table[name] for name in table.column_names}, **found})


def quantiles(table: pa.Table, config: dict[str, Any]) -> np.ndarray:
    """The quantile of each row, NaN for none."""
    stage = make_stage(Quantiles, config)
    needed = sorted({*config["score"], "language", "language_script"})
    found = run_stage(stage, table.select(["doc_key", *needed]), whole(len(table))).decisions
    texts = [found[key]["column score_quantile"] for key in table["doc_key"].to_pylist()]
    return np.array([np.nan if text is None else float.fromhex(text) for text in texts])


def agreement(score: np.ndarray, pairs: np.ndarray) -> float:
    """The share of pairs whose first page has the higher score; equal ones count half."""
    difference = score[pairs[:, 0]] - score[pairs[:, 1]]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def main() -> int:
    """Print the agreement of the preset's score, and of simpler ones, on both halves."""
    documents = pq.read_table(Path(os.environ["GRISTMILL_DATA"]) / "documents.parquet")
    pages = documents.filter(pc.equal(documents["source"], "web"))
    table = pa.table(
        {"doc_key": doc_key_column(len(pages)), "text": pages["text"].cast(pa.large_string()).combine_chunks()}
    )
    table = with_columns(make_stage(Language, {}), table)
    table = with_columns(make_stage(Quality, {"on_fail": "mark"}), table)
    pairs = np.array(json.loads(PAIRS.read_bytes()))
    length = pa.array(pc.binary_length(table["text"]).to_numpy().astype(np.int64))
    table = table.append_column("length", length)
    scores = {
        "the preset's": PRESET,
        "length": {"score": {"length": 1}},
        "failed rules": {"score": {"quality_failed": -1}},
    }
    for name, config in scores.items():
        if name == "failed rules":  # quantiles break ties by doc_key, which is no judgement
            score = -pc.list_value_length(table["quality_failed"]).to_numpy().astype(float)
        else:
            score = quantiles(table, config)
        halves = [agreement(score, part) for part in (pairs[:HALF], pairs[HALF:])]
        print(f"{name}: agrees with {halves[0]:.1%} of the first half, {halves[1]:.1%} of the second")
    return 0


if __name__ == "__main__":
    sys.exit(main())
