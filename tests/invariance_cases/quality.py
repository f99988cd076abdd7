"""Good and bad documents in three languages, one of them without a config, and one without white space."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from gristmill.pipeline.testing import InvarianceCase, doc_key_column

ROWS = 48
CONFIGS = str(Path(__file__).with_name("language_configs"))

_SENTENCES = {
    "eng_Latn": "The miller said that he would have to be with the others at the bridge before noon. ",
    "deu_Latn": "Der Müller sagte, dass er mit den anderen und der Post in die Stadt fahren würde. ",
    "cmn_Hani": "磨坊主说他必须在中午以前和其他人一起到桥边去。",
    "und_Zyyy": "12 34 56 !!! ",
}


def pages() -> pa.Table:
    draw = np.random.default_rng(5)
    labels = draw.choice(list(_SENTENCES), ROWS).tolist()
    texts = []
    for row, label in enumerate(labels):
        sentence = _SENTENCES[label]
        body = "".join(f"{sentence[:-2]} {row} {n}{sentence[-2:]}" for n in range(int(draw.integers(0, 12))))
        mess = ["", "\n" + "- item\n" * 9, "\nMore...\n" * 6, " # # #" * 9, "   \n\u2028", sentence * 4]
        texts.append(body + mess[int(draw.integers(0, len(mess)))])
    return pa.table(
        {
            "doc_key": doc_key_column(ROWS),
            "text": pa.array(texts, pa.large_string()),
            "language": pa.array([None if x == "und_Zyyy" else x[:3] for x in labels], pa.string()),
            "language_script": pa.array([x[4:] for x in labels], pa.string()),
        }
    )


def english() -> pa.Table:
    return pages().drop_columns(["language", "language_script"])


CASES = [
    InvarianceCase("the table that comes with Gristmill", {}, pages),
    InvarianceCase("configs by language, marked", {"language_configs": CONFIGS, "on_fail": "mark"}, pages),
    InvarianceCase("with C4's signals", {"language_configs": CONFIGS, "c4": True}, pages),
    InvarianceCase("one language for all", {"language": "eng_Latn", "thresholds": {"too_few_words": 5}}, english),
]
