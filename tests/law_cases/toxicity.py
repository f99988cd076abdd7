"""Short and long texts with and without hits, in languages that the model covers and others."""

import pyarrow as pa

from tests.law import LawCase, doc_key_column

CLEAN = "The bakery on the corner opens at seven. We bought two loaves and walked home along the river. "
HATEFUL = "All of those disgusting immigrants are subhuman vermin and should be killed."
TEXTS = (
    CLEAN,
    HATEFUL,
    CLEAN * 20 + HATEFUL,
    HATEFUL + " " + CLEAN * 3,
    "",
    " \n ",
    "Women are stupid bitches! " * 6,
    "Muslims live in our street, and so do Jews.",
    "今天天气很好。我们去公园散步。",
    None,
)


def texts() -> pa.Table:
    rows = [TEXTS[i % len(TEXTS)] for i in range(30)]
    return pa.table(
        {
            "doc_key": doc_key_column(len(rows)),
            "text": pa.array(rows, pa.large_string()),
            "language": pa.array([["eng", "deu", "und", None][i % 4] for i in range(len(rows))], pa.string()),
            "language_script": pa.array(["Latn"] * len(rows), pa.string()),
        }
    )


CASES = [
    LawCase("routed by the highest level", {}, texts),
    LawCase("dropped, every hit counted", {"policy": "drop", "max_chance": None}, texts),
    LawCase("marked in the tiers of the Commons", {"policy": "keep", "tiers": "commons", "min_hit_share": 0.5}, texts),
]
