"""Rehydration against FineWeb2's published weights, and the speed of the decisions of `rebalance` and `mix`.

    GRISTMILL_DATA=DIR python -m tests.benchmarks.rehydration

DIR holds FineWeb2's `misc/rehydration` (its folders `distributions` and `weights`: all 14,848 tables), or else
`rehydration-examples.json`: by language, the `distribution` (cluster_sizes, cluster_removal_rates and the tail's
threshold and rate, global_removal_rate) and the published `weights` by maximum, as lists of change points. Without the
variable only the speed is measured. Exits with 1 when a language comes out otherwise.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import keys_from_words
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.file_exchange import FileExchange
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.stage import SettledView, StageContext
from gristmill.stages.rebalancing.mix import Mix, MixConfig
from gristmill.stages.rebalancing.rebalance import Rebalance, RebalanceConfig, rehydration_repeats
from tests.benchmarks.figures import figure

BATCH = 1 << 16
"""Rows of a batch, as the engine cuts batches without text."""


def change_points(sizes: list[int], repeats: np.ndarray) -> dict[str, int]:
    """Repeats from each size on at which they change."""
    change = np.flatnonzero(np.diff(repeats, prepend=-1))
    return {str(sizes[index]): int(repeats[index]) for index in change}


def published_tables(folder: Path) -> dict[str, dict[str, Any]]:
    """By language, the distribution and the weights by maximum."""
    if not (folder / "distributions").is_dir():
        found: dict[str, dict[str, Any]] = json.loads((folder / "rehydration-examples.json").read_bytes())
        return found
    tables: dict[str, dict[str, Any]] = {
        path.stem: {"distribution": json.loads(path.read_bytes()), "weights": {}}
        for path in sorted((folder / "distributions").glob("*.json"))
    }
    for path in sorted((folder / "weights").glob("up_to_*_reps.json")):
        for language, weights in json.loads(path.read_bytes()).items():
            tables[language]["weights"][path.stem.split("_")[2]] = weights
    return tables


LARGE = 100_000
"""Documents before filtering from which on a language counts as large."""


def compare(folder: Path) -> int:
    """Number of (language, maximum) pairs whose weights differ from the published ones; prints in how many large languages the
    tail is repeated."""
    wrong = total = large = repeated = 0
    for language, example in published_tables(folder).items():
        given = example["distribution"]
        sizes = [*given["cluster_sizes"], given["tail_threshold"]]
        rates = [*given["cluster_removal_rates"], given["tail_removal_rate"]]
        for most, published in example["weights"].items():
            found = rehydration_repeats(sizes, rates, given["global_removal_rate"], int(most))
            total += 1
            if change_points(sizes, found) != published:
                wrong += 1
                print(f"{language}, up to {most}: expected {published}, found {change_points(sizes, found)}")
        kept = sum(given.get("cluster_post_filtering_doc_counts", ())) + given.get("tail_post_filtering_doc_counts", 0)
        share = 1 - given["global_removal_rate"] / 100
        if share > 0 and kept / share >= LARGE:
            large += 1
            repeated += int(rehydration_repeats(sizes, rates, given["global_removal_rate"], 10)[-1] > 1)
    print(f"rehydration: {total - wrong} of {total} published tables reproduced exactly")
    print(f"the tail is repeated in {repeated} of {large} languages of {LARGE:,} documents and more before filtering")
    return wrong


def corpus(rows: int, seed: int = 1) -> pa.Table:
    """Members of duplicate clusters in 40 languages with marks and a score."""
    draw = np.random.default_rng(seed)
    labels = pa.array([f"l{number:02d}" for number in range(40)])
    sizes = np.minimum(draw.zipf(1.6, rows), 5000)
    marked = draw.random(rows) < 0.7 - 0.04 * np.minimum(sizes, 15)
    lengths = np.zeros(rows + 1, np.int32)
    np.cumsum(marked, out=lengths[1:])
    rules = pa.array(["rule"] * int(lengths[-1]))
    return pa.table(
        {
            "doc_key": keys_from_words(draw.integers(0, 2**64, (rows, 2), np.uint64)),
            "minhash_cluster_size": sizes,
            "language": labels.take(pa.array(np.minimum(draw.zipf(1.5, rows), 40) - 1)),
            "language_script": pa.array(["Latn"]).take(pa.array(np.zeros(rows, np.int64))),
            "quality_failed": pa.ListArray.from_arrays(pa.array(lengths), rules),
            "score": draw.random(rows),
        }
    )


def measure(name: str, stage: Rebalance, table: pa.Table) -> None:
    """Prints rows/s of survey and decisions on one core, and the time to settle."""
    batches = [table.slice(start, BATCH).combine_chunks() for start in range(0, len(table), BATCH)]
    stage.survey(batches[0], StageContext())
    start = time.perf_counter()
    notes = pa.concat_tables([stage.survey(batch, StageContext()) for batch in batches]).combine_chunks()
    surveyed = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notes.arrow"
        with pa.ipc.new_file(str(path), notes.schema) as writer:
            writer.write_table(notes)
        start = time.perf_counter()
        exchange = FileExchange(InlineExecutor(), Path(folder) / "exchange")
        view = SettledView(
            table=stage.settle(Rows((str(path),), notes.schema, len(notes)), exchange, StageContext()).broadcast
        )
        settled = time.perf_counter() - start
    stage.decide(batches[0], view, StageContext())
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        for batch in batches:
            stage.decide(batch, view, StageContext())
        seconds.append(time.perf_counter() - start)
    print(
        f"{name}: survey {len(table) / surveyed / 1e6:.2f}, decide {len(table) / min(seconds) / 1e6:.2f} million rows/s; "
        f"settled in {settled * 1000:.0f} ms"
    )
    for what, spent in (("survey", surveyed), ("decide", min(seconds))):
        figure(f"{name}, {what}", len(table) / spent / 1e6, "million rows/s", data=f"{len(table):,} made rows")


def measure_mix(table: pa.Table) -> None:
    """Prints rows/s of a mix's survey and decisions, and of settling, which reads all notes four times and sorts them."""
    stage = Mix(MixConfig.model_validate({"temperature": 3.0, "target": len(table) // 2}))
    batches = [table.slice(start, BATCH).combine_chunks() for start in range(0, len(table), BATCH)]
    stage.survey(batches[0], StageContext())
    start = time.perf_counter()
    notes = pa.concat_tables([stage.survey(batch, StageContext()) for batch in batches]).combine_chunks()
    surveyed = time.perf_counter() - start
    notes = notes.append_column("task", pa.array(np.zeros(len(notes), np.int32)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notes.arrow"
        with pa.ipc.new_file(str(path), notes.schema) as writer:
            writer.write_table(notes, max_chunksize=BATCH)
        exchange = FileExchange(InlineExecutor(), Path(folder) / "exchange")
        start = time.perf_counter()
        answer = stage.settle(Rows((str(path),), notes.schema, len(notes)), exchange, StageContext())
        settled = time.perf_counter() - start
    before = pa.array(np.arange(len(table)) * 977)
    views = [
        SettledView(columns=pa.table({"before": before.slice(at, BATCH)}), table=answer.broadcast)
        for at in range(0, len(table), BATCH)
    ]
    stage.decide(batches[0], views[0], StageContext())
    start = time.perf_counter()
    for batch, view in zip(batches, views, strict=True):
        stage.decide(batch, view, StageContext())
    decided = time.perf_counter() - start
    print(
        f"mix: survey {len(table) / surveyed / 1e6:.2f}, settle {len(table) / settled / 1e6:.2f}, decide "
        f"{len(table) / decided / 1e6:.2f} million rows/s"
    )
    for what, spent in (("survey", surveyed), ("settle", settled), ("decide", decided)):
        figure(f"mix, {what}", len(table) / spent / 1e6, "million rows/s", data=f"{len(table):,} made rows")


def main() -> int:
    """Compare, where there is data, and measure."""
    folder = os.environ.get("GRISTMILL_DATA")
    wrong = compare(Path(folder)) if folder else 0
    pa.set_cpu_count(1)
    table = corpus(2_000_000)
    rates = {"observe": "minhash", "marked_by": "quality"}
    measure("rebalance", Rebalance(RebalanceConfig.model_validate({"rates": rates})), table)
    tilt = {"column": "score", "none_below": 0.2, "full_above": 0.9}
    options = {"rates": rates, "quality": tilt, "max_copies": "cluster_size"}
    measure("with a score and a cap", Rebalance(RebalanceConfig.model_validate(options)), table)
    measure_mix(table)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
