"""Documents of four languages and two sources with base repeats and token counts, some of them senseless."""

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
        "repeats": draw.choice([1, 1, 2, 4, None, 0], rows).tolist(),
        "tokens": draw.choice([0, 10, 50, 900, None, -1], rows).tolist(),
    }
    for name, values in columns.items():
        kind = pa.string() if name.startswith(("language", "source")) else pa.int64()
        table = table.append_column(name, pa.array(values, kind))
    return table


def bare() -> pa.Table:
    return groups().select(["doc_key", "text"])


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
    InvarianceCase("no groups, as columns", {"target": 100, "form": "columns", "max_epochs": None}, bare),
]
