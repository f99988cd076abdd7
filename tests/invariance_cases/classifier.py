"""Documents in several languages, some of them twice, scored by how English or how foreign they are."""

import numpy as np
import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase
from gristmill.stages.language.identify import default_model
from tests.invariance_cases.texts import documents

MODEL = str(default_model("fasttext"))


def labelled() -> pa.Table:
    table = documents(copies=2)
    doubled = pa.concat_tables([table, documents(copies=2, seed=3)])
    draw = np.random.default_rng(4)
    languages = draw.choice(["por", "deu", "rus", None], len(doubled), p=[0.6, 0.2, 0.1, 0.1]).tolist()
    doubled = doubled.append_column("language", pa.array(languages, pa.string()))
    return doubled.append_column("language_script", pa.array(["Latn"] * len(doubled), pa.string()))


CASES = [
    InvarianceCase("from a threshold on", {"model": MODEL, "label": "en", "threshold": 0.3}, documents),
    InvarianceCase(
        "the best fifth, marked", {"model": MODEL, "label": "de", "keep_fraction": 0.2, "on_fail": "mark"}, labelled
    ),
    InvarianceCase(
        "the best half of each language by an expectation",
        {"model": MODEL, "values": {"en": 1.0, "__label__ru": -2.0}, "keep_fraction": 0.5, "within": "language"},
        labelled,
    ),
    InvarianceCase(
        "labels, some of which pass",
        {
            "model": MODEL,
            "labels": "all",
            "thresholds": {"*": 0.5, "en": 0.9},
            "keep": ["en", "de", "ru"],
            "on_fail": "mark",
        },
        labelled,
    ),
]
