"""The figures of the toxicity model's card, and its speed: python -m tests.benchmarks.toxicity [--model FILE] [--clean FILE]…

GRISTMILL_DATA names the folder that holds toxicity.parquet and documents.parquet. Documents count with all rules of the
stage `toxicity` at its defaults; those of split `test` were never seen in training.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.pipeline.stage import StageContext
from gristmill.stages.toxicity.evaluation import figures
from gristmill.stages.toxicity.model import EMBEDDED, model_at
from gristmill.stages.toxicity.stage import Toxicity, ToxicityConfig
from gristmill.stages.toxicity.training_texts import hash_split, read_clean, read_labelled

FILLER = (
    "The train leaves at nine and the weather is fine today.",
    "We had soup and bread for lunch, and it was good.",
    "My sister bought a new bicycle last week.",
    "The library opens again on Monday morning.",
)


def tier_counts(text: pa.Array, model: Path) -> np.ndarray:
    """int64[rows]: 0 none, 1 mild, 2 toxic, at the stage's defaults."""
    stage = Toxicity(ToxicityConfig(model=model))
    return stage.decide(
        pa.table(dict(stage.measure(pa.table({"text": text}), StageContext()))), None, StageContext()
    ).port.astype(np.int64)


def speed(text: pa.Array, model: Path) -> float:
    """MB/s of processor time of `measure`, the best of three; the first call compiles and is not counted."""
    stage = Toxicity(ToxicityConfig(model=model))
    stage.measure(pa.table({"text": text.slice(0, 10)}), StageContext())
    megabytes = text.nbytes / 1e6
    best = 0.0
    for _ in range(3):
        start = time.process_time()
        stage.measure(pa.table({"text": text}), StageContext())
        best = max(best, megabytes / (time.process_time() - start))
    return best


def report(folder: Path, model: Path, more_clean: list[Path]) -> dict[str, Any]:
    """All figures as JSON values."""
    labelled = read_labelled(folder / "toxicity.parquet")
    test = labelled.rows(labelled.split == "test")
    text, genre = read_clean([folder / "documents.parquet", *more_clean])
    split = hash_split(text)
    unseen = split == "test"
    result = figures(model_at(model), test, text.filter(pa.array(unseen)), genre[unseen])
    tiers = tier_counts(text, model)
    result["documents"] = {
        name: {
            "unseen": int((unseen & (genre == name)).sum()),
            "unseen_flagged": round(float((tiers[unseen & (genre == name)] > 0).mean()), 4),
            "all": int((genre == name).sum()),
            "all_flagged": round(float((tiers[genre == name] > 0).mean()), 4),
        }
        for name in sorted(set(genre.tolist()))
    }
    toxic = test.rows((test.language == "eng_Latn") & (test.source != "madlibs") & (test.levels[:, 5] > 0))
    diluted = [
        " ".join([*FILLER[:2], one.strip() + ("" if one.strip()[-1:] in ".!?" else "."), *FILLER[2:]])
        for one in toxic.text.to_pylist()
    ]
    result["flagged"] = {
        "toxic_texts": round(float((tier_counts(toxic.text, model) > 0).mean()), 4),
        "with_four_clean_sentences": round(
            float((tier_counts(pa.array(diluted, pa.large_string()), model) > 0).mean()), 4
        ),
    }
    result["megabytes_per_second"] = round(speed(text, model), 1)
    return result


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    parser.add_argument("--clean", type=Path, action="append", default=[], help="Parquet with further harmless text.")
    arguments = parser.parse_args()
    folder = os.environ.get("GRISTMILL_DATA")
    if not folder:
        parser.error("set GRISTMILL_DATA to the folder with toxicity.parquet and documents.parquet")
    json.dump(report(Path(folder), arguments.model, arguments.clean), sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
