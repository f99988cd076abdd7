"""Scores of small networks that are written here: texts of all lengths share batches with what the split puts beside them."""

from __future__ import annotations

import atexit
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase, documents
from tests.stages.networks.tiny_networks import WORDS, write_bert, write_celadon

_FOLDER = tempfile.TemporaryDirectory()
atexit.register(_FOLDER.cleanup)
_ROOT = Path(_FOLDER.name)


def texts() -> pa.Table:
    draw = np.random.default_rng(3)
    made = [" ".join(draw.choice(WORDS, size)) for size in (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 61, 62, 63, 89, 144)]
    return documents([*made, *made[::-1], "unknown words only", "."])


CASES = [
    InvarianceCase(
        "a regressor, texts from none to too long, dropped below a threshold",
        {
            "model": str(write_bert(_ROOT / "bert")),
            "scores": {"edu": {}},
            "thresholds": {"edu": 0.7},
            "batch_tokens": 256,
        },
        texts,
    ),
    InvarianceCase(
        "two heads in bfloat16, marked",
        {
            "model": str(write_celadon(_ROOT / "heads", heads=(4, 2))),
            "scores": {"level": {"values": {"1": 1.0, "2": 2.0, "3": 3.0}}, "bad": {"head": 1, "label": "1"}},
            "dtype": "bfloat16",
            "at_most": {"bad": 0.5},
            "on_fail": "mark",
        },
        texts,
    ),
]
