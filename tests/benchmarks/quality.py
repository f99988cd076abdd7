"""Quality signals: MB/s per core, beside datatrove's three filters in one pipeline, and how often both decide alike.

    GRISTMILL_DATA=FOLDER python -m tests.benchmarks.quality [--peers PYTHON] [--every N]

FOLDER holds `documents.parquet` and `fineweb2-configs/`. Speed is of `measure` and `decide` over all documents, in process
time of one thread, best of five. With --peers, every N-th document in a language that datatrove splits with spaCy goes
through datatrove too (as FineWeb2's pipeline sets its filters for the language), and the two are compared:

- the ratio of times on these documents;
- for each rule and language that datatrove fires on 5 to 95 % of documents, the Jaccard similarity of the two sets of
  documents that fail it;
- for each filter, the share of documents on which both decide alike.

datatrove's decisions per rule are taken from the stage's signals given datatrove's words; that these signals equal
datatrove's own is what tests/stages/kernels/test_quality.py shows.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.document import text_buffers
from gristmill.pipeline.stage import Decisions, StageContext
from gristmill.stages.quality.rules import FILTERS, RULES
from gristmill.stages.quality.signals import signal_columns
from gristmill.stages.quality.stage import Quality, QualityConfig
from tests.benchmarks.figures import figure

LABELS = {
    "en": "eng_Latn", "shi": "shi_Latn", "gbi": "gbi_Latn", "baq": "eus_Latn", "cha": "cha_Latn", "ssw": "ssw_Latn",
    "arm": "hye_Armn", "acu": "acu_Latn", "usp": "usp_Latn", "nhg": "nhg_Latn", "cak": "cak_Latn", "ukr": "ukr_Cyrl",
    "lav": "lvs_Latn", "chq": "chq_Latn", "dik": "dik_Latn", "quc": "quc_Latn", "jac": "jac_Latn", "mam": "mam_Latn",
    "ake": "ake_Latn", "ewe": "ewe_Latn", "pot": "pot_Latn", "wol": "wol_Latn", "djk": "djk_Latn", "rom": "rmy_Latn",
}  # fmt: skip
"""Canonical labels of the documents' own."""
NEEDS_STANZA = frozenset({"wol_Latn", "djk_Latn", "rmy_Latn"})
"""Languages that datatrove splits with a model of Stanza, which is fetched from the network."""
ROUNDS = 5


def batch_of(texts: list[str], labels: list[str]) -> pa.Table:
    """Documents as the stage reads them."""
    return pa.table(
        {
            "text": pa.array(texts, pa.large_string()),
            "language": pa.array([label[:3] for label in labels]),
            "language_script": pa.array([label[4:] for label in labels]),
        }
    )


def judge(stage: Quality, batch: pa.Table, offsets: pa.ListArray | None = None) -> Decisions:
    """The stage's decisions, with its own words or with those at the given offsets."""
    if offsets is None:
        return stage.decide(pa.table({**_columns(batch), **stage.measure(batch, StageContext())}), None, StageContext())
    flat = offsets.flatten().to_numpy()
    given = (offsets.offsets.to_numpy() // 2, flat[0::2].copy(), flat[1::2].copy())
    labels, index = stage._labels(batch)
    configs = [stage._config_of(label) for label in labels]
    stop_words = [None if config is None else config.stop_words for config in configs]
    data, text_offsets = text_buffers(batch["text"])
    made = signal_columns(data, text_offsets, labels, index, stop_words, stage.config.short_line_length, given)
    return stage.decide(pa.table({**_columns(batch), **made}), None, StageContext())


def _columns(batch: pa.Table) -> dict[str, pa.Array]:
    return {name: batch[name] for name in batch.column_names}


def seconds_for(stage: Quality, batch: pa.Table) -> float:
    """Process time of measuring and deciding a batch, best of ROUNDS."""
    judge(stage, batch)
    times = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        judge(stage, batch)
        times.append(time.process_time() - begin)
    return min(times)


def compare(ours: Decisions, theirs: Decisions, labels: np.ndarray) -> None:
    """Print where two sets of decisions differ."""

    def failing(decisions: Decisions, names: set[str]) -> np.ndarray:
        assert decisions.failed is not None
        bits = np.uint64(sum(1 << place for place, name in enumerate(decisions.rules) if name in names))
        return (decisions.failed & bits) != 0

    print("  rule                     language   documents  datatrove    ours  Jaccard")
    compared = low = 0
    for rule in RULES:
        a, b = failing(ours, {rule.name}), failing(theirs, {rule.name})
        for label in sorted(set(labels.tolist())):
            mine = labels == label
            share = b[mine].mean()
            if 0.05 <= share <= 0.95:
                either = (a | b)[mine].sum()
                jaccard = (a & b)[mine].sum() / either
                compared += 1
                low += jaccard < 0.95
                counts = f"{mine.sum():9d}  {b[mine].sum():9d}  {a[mine].sum():6d}"
                print(f"  {rule.name:24s} {label:9s} {counts}  {jaccard:7.3f}")
    print(f"  {compared} pairs of rule and language that datatrove fires on 5 to 95 %; {low} below a Jaccard of 0.95")
    for name in FILTERS:
        names = {rule.name for rule in RULES if rule.filter == name}
        same = failing(ours, names) == failing(theirs, names)
        print(f"  {name}: the same decision on {same.mean():.4%} of {len(same)} documents ({(~same).sum()} differ)")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--peers", type=Path, help="Python of an environment with datatrove and spaCy")
    arguments.add_argument("--every", type=int, default=4, help="compare every N-th document (default 4)")
    chosen = arguments.parse_args()
    folder = Path(os.environ["GRISTMILL_DATA"])
    table = pq.read_table(folder / "documents.parquet", columns=["text", "language"])
    texts = table["text"].to_pylist()
    # Pages of unknown language are taken for German, the most frequent language among them.
    labels = [LABELS.get(language, "deu_Latn") for language in table["language"].to_pylist()]
    configs = folder / "fineweb2-configs"
    stage = Quality(QualityConfig(language_configs=configs))
    stage.check_files()
    whole = batch_of(texts, labels)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    seconds = seconds_for(stage, whole)
    print(f"  gristmill, all signals and decisions: {megabytes / seconds:.1f} MB/s ({megabytes:.1f} MB)")
    figure("all signals and decisions", megabytes / seconds, "MB/s", data="documents.parquet")
    if chosen.peers is None:
        return
    rows = [row for row in range(0, len(texts), chosen.every) if labels[row] not in NEEDS_STANZA]
    part = batch_of([texts[row] for row in rows], [labels[row] for row in rows])
    part_labels = np.array([labels[row] for row in rows])
    megabytes = sum(len(texts[row].encode()) for row in rows) / 1e6
    with tempfile.TemporaryDirectory() as scratch:
        documents, out = Path(scratch) / "documents.parquet", Path(scratch) / "words.parquet"
        pq.write_table(pa.table({"text": part["text"], "label": pa.array(part_labels.tolist())}), documents)
        script = Path(__file__).with_name("datatrove_quality.py")
        command = [str(chosen.peers), str(script), str(documents), str(configs), str(out)]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        offsets = pq.read_table(out)["offsets"].combine_chunks()
    theirs_seconds = float(printed.splitlines()[-1])
    ours_seconds = seconds_for(stage, part)
    print(f"  the same {len(rows)} documents, {megabytes:.1f} MB, one thread:")
    print(
        f"  datatrove's three filters {megabytes / theirs_seconds:.2f} MB/s, gristmill {megabytes / ours_seconds:.1f}"
    )
    print(f"  ratio {theirs_seconds / ours_seconds:.0f}")
    data = f"every {chosen.every}th of documents.parquet"
    speeds = (megabytes / ours_seconds, megabytes / theirs_seconds)
    figure("quality", speeds[0], "MB/s", data=data, against="datatrove's three filters", other=speeds[1])
    compare(judge(stage, part), judge(stage, part, offsets), part_labels)


if __name__ == "__main__":
    main()
