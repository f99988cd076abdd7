"""Documents of four languages and two sources with weights, earlier copies and token counts, some of them senseless."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase
from tests.invariance_cases.texts import documents


def groups() -> pa.Table:
    draw = np.random.default_rng(6)
    table = documents(copies=5)
    rows = len(table)
    columns = {
        "language": draw.choice(["por", "deu", "rus", None], rows, p=[0.6, 0.2, 0.1, 0.1]).tolist(),
        "language_script": ["Latn"] * rows,
        "source": draw.choice(["books", "web"], rows, p=[0.1, 0.9]).tolist(),
        "weight": draw.choice([1.0, 0.4, 2.5, 4.0, None, 0.0, -1.0, float("nan")], rows).tolist(),
        "bulk_repeats": draw.choice([0, 1, 3, None, -2], rows, p=[0.4, 0.3, 0.1, 0.1, 0.1]).tolist(),
        "tokens": draw.choice([0, 10, 50, 900, None, -1], rows).tolist(),
    }
    for name, values in columns.items():
        kind = (
            pa.string() if name.startswith(("language", "source")) else pa.float64() if name == "weight" else pa.int64()
        )
        table = table.append_column(name, pa.array(values, kind))
    return table


def bare() -> pa.Table:
    return groups().select(["doc_key", "text"])


RATIOS = str(Path(__file__).with_name("ratios.json"))

CASES = [
    InvarianceCase("equal shares of languages", {"temperature": "infinite"}, groups),
    InvarianceCase(
        "a smaller target in bytes", {"unit": "bytes", "target": 3000, "temperature": 2.0, "seed": 3}, groups
    ),
    InvarianceCase("estimated tokens", {"unit": "tokens", "target": 2000}, groups),
    InvarianceCase(
        "a column of tokens by source",
        {"by": ["source"], "unit": "tokens", "amount": "tokens", "fixed": {"books": 0.3}, "max_epochs": None},
        groups,
    ),
    InvarianceCase(
        "a later phase", {"by": ["source"], "seen": "bulk_repeats", "max_epochs": 3.0, "target": 90, "seed": 5}, groups
    ),
    InvarianceCase(
        "margins",
        {"by": ["language", "source"], "margins": {"language": {"por": 0.4}, "source": {"books": 0.1}}, "target": 60},
        groups,
    ),
    InvarianceCase(
        "ratios, all kept",
        {"by": ["source"], "ratios": RATIOS, "form": "columns", "keep_undrawn": True, "target": 60},
        groups,
    ),
    InvarianceCase("no groups, as columns", {"target": 100, "form": "columns", "max_epochs": None}, bare),
]
