"""MinHash signatures: MB/s on one core, and as a ratio against peers on the same documents in the same session.

    GRISTMILL_DATA=FOLDER python -m tests.benchmarks.minhash [--peers .venv-peers/bin/python]

112 lanes over 5-word shingles everywhere. Ours includes splitting, normalisation, band hashes and sketches (the stage's
whole survey). CPU time is counted on both sides, since other work may share the machine; the median of five runs for the
fast ones. Daft's figure is its expression with its fastest hash, over text that it normalises (case, punctuation, accents,
white space) as ours is, and once more without that; rensa's is fed with words that a
regular expression split beforehand, which is not counted; datatrove's is its signature step on a share of the documents.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipeline.document import doc_keys
from gristmill.pipeline.stage import StageContext
from gristmill.stages.deduplication.minhash import MinHash
from tests.benchmarks.figures import figure

RUNS = 5


def ours(documents: Path) -> float:
    """MB/s of CPU time of the stage's survey over all documents."""
    import numpy as np

    table = pq.read_table(documents, columns=["text"])
    text = table["text"].cast(pa.large_string()).combine_chunks()
    batch = pa.table({"doc_key": doc_keys("docs", None, "documents", np.arange(len(text))), "text": text})
    megabytes = (text.buffers()[2].size if text.buffers()[2] else 0) / 1e6
    stage = MinHash(MinHash.Config())
    stage.survey(batch.slice(0, 10), StageContext())
    spent = []
    for _ in range(RUNS):
        begin = time.process_time()
        stage.survey(batch, StageContext())
        spent.append(time.process_time() - begin)
    return megabytes / statistics.median(spent)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--peers", type=Path, help="Python of an environment with the peers")
    chosen = arguments.parse_args()
    data = os.environ.get("GRISTMILL_DATA")
    if data is None:
        sys.exit("GRISTMILL_DATA must name the folder with documents.parquet")
    documents = Path(data) / "documents.parquet"
    own = ours(documents)
    print(f"{'gristmill (survey)':24s} {own:8.1f} MB/s per core")
    figure("survey", own, "MB/s", data="documents.parquet")
    if chosen.peers is None:
        return
    script = Path(__file__).with_name("minhash_peers.py")
    done = subprocess.run([chosen.peers, script, documents], check=True, capture_output=True, text=True)
    for name, speed in json.loads(done.stdout.splitlines()[-1]).items():
        print(f"{name:24s} {speed:8.2f} MB/s per core   gristmill: {own / speed:7.1f} ×")
        figure("survey", own, "MB/s", data="documents.parquet", against=name, other=speed)


if __name__ == "__main__":
    main()
