"""How toxic texts that are spelt to escape a filter are found: python -m tests.benchmarks.toxicity_disguises [--model FILE].

GRISTMILL_DATA names the folder that holds toxicity.parquet. Its English texts of split `test`, toxic and harmless, are scored
as they are and in each disguise: AUC between disguised toxic and disguised harmless texts, and the share of either that the
stage gives level 1 or more at its defaults. Nothing is promised for disguised text; these are the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from gristmill.pipeline.document import TEXT_TYPE
from gristmill.pipeline.stage import StageContext
from gristmill.stages.evaluation.metrics import auc, rounded
from gristmill.stages.toxicity.model import DIMENSIONS, EMBEDDED, model_at
from gristmill.stages.toxicity.stage import Toxicity, ToxicityConfig
from tests.benchmarks.toxicity_documents import labelled_texts

LEETSPEAK = str.maketrans("aeiostAEIOST", "431057431057")
CYRILLIC = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")
FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def stretched(text: str) -> str:
    """The first vowel of each word three times."""
    words = []
    for word in text.split(" "):
        at = next((k for k, letter in enumerate(word) if letter in "aeiouAEIOU"), None)
        words.append(word if at is None else word[:at] + 3 * word[at] + word[at + 1 :])
    return " ".join(words)


DISGUISES: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "upper case": str.upper,
    "leetspeak (4 3 1 0 5 7)": lambda text: text.translate(LEETSPEAK),
    "Cyrillic letters that look alike": lambda text: text.translate(CYRILLIC),
    "full-width letters": lambda text: text.translate(FULL_WIDTH),
    "zero-width spaces between letters": lambda text: " ".join("\u200b".join(word) for word in text.split(" ")),
    "spaces between letters": lambda text: "   ".join(" ".join(word) for word in text.split(" ")),
    "no spaces": lambda text: text.replace(" ", ""),
    "first vowels three times": stretched,
}


def main() -> None:
    """Print one JSON object per disguise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    arguments = parser.parse_args()
    folder = os.environ.get("GRISTMILL_DATA")
    if not folder:
        parser.error("set GRISTMILL_DATA to the folder with toxicity.parquet")
    labelled = labelled_texts(Path(folder), model_at(arguments.model))
    english = (labelled.split == "test") & (labelled.language == "eng_Latn") & (labelled.source != "madlibs")
    labelled = labelled.rows(english & (labelled.levels[:, -1] >= 0))
    toxic = labelled.levels[:, -1] > 0
    stage, context = Toxicity(ToxicityConfig(model=arguments.model)), StageContext()
    for name, disguise in DISGUISES.items():
        texts = pa.array([disguise(text) for text in labelled.text.to_pylist()], TEXT_TYPE)
        signals = pa.table(dict(stage.measure(pa.table({"text": texts}), context)))
        columns = stage.decide(signals, None, context).columns
        hit = np.max([columns[f"toxicity_{one}"].to_numpy() for one in DIMENSIONS], axis=0) > 0
        figures = {
            "disguise": name,
            "toxic": int(toxic.sum()),
            "harmless": int((~toxic).sum()),
            "auc": rounded(auc(signals["toxicity_score"].to_numpy(), toxic)),
            "found": rounded(float(hit[toxic].mean())),
            "wrongly": rounded(float(hit[~toxic].mean())),
        }
        sys.stdout.write(json.dumps(figures) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
