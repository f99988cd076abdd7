"""Documents of a few pages that share menus and footers, in several spellings; some consist of nothing else."""

import numpy as np
import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase, doc_key_column

ROWS = 60


def pages() -> pa.Table:
    draw = np.random.default_rng(9)
    shared = [
        "Home | About us",
        "HOME  about US",
        "Terms of use, 2024",
        "Terms of Use, 2023",
        "Read more",
        "—",
        "",
        "  ",
        "\t",
    ]
    texts = []
    for row in range(ROWS):
        own = [f"Line {'abcdefghij'[part % 10]} of page {'abcdefghijklmnopqrstuvwxyz'[row % 26]}" for part in range(4)]
        lines = [(own if draw.random() < 0.4 else shared)[draw.integers(0, 4)] for _ in range(draw.integers(0, 9))]
        lines += [shared[draw.integers(0, len(shared))]] * int(draw.integers(0, 4))
        texts.append("".join(line + draw.choice(["\n", "\n\n", "\n \n"]) for line in lines))
    texts[3:6] = ["", None, "Read more\n\nHome, about us\n\n"]
    return pa.table(
        {
            "doc_key": doc_key_column(ROWS),
            "text": pa.array(texts, pa.large_string()),
            "language": pa.array(draw.choice(["por", "deu", None], ROWS).tolist(), pa.string()),
        }
    )


def nothing_repeated() -> pa.Table:
    texts = ["one line", "another line\nand one more", "?"]
    return pa.table({"doc_key": doc_key_column(3), "text": pa.array(texts, pa.large_string())})


CASES = [
    InvarianceCase("paragraphs", {"max_repeats": 4}, pages),
    InvarianceCase("lines, all removed", {"unit": "line", "max_repeats": 6, "keep_first": False}, pages),
    InvarianceCase(
        "long lines within a column",
        {"unit": "line", "max_repeats": 2, "min_characters": 12, "within": "language"},
        pages,
    ),
    InvarianceCase("bytes", {"unit": "line", "max_repeats": 3, "normalise": "none"}, pages),
    InvarianceCase("nothing repeated", {"max_repeats": 1}, nothing_repeated),
]
