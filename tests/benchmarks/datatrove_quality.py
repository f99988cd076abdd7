"""datatrove's side of the quality benchmark: its three filters, and its words. Runs in the peers' environment.

    python datatrove_quality.py DOCUMENTS.parquet CONFIGS OUT.parquet

DOCUMENTS has the columns `text` and `label`. Each document goes through the filters as FineWeb2's pipeline sets them for
its language, English through FineWeb's settings, until one drops it; one call of the word tokenizer serves all three, as
datatrove's cache has it. OUT gets the byte offsets of each document's words. The last line of output is the process time
in seconds that the filters took.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from datatrove.data import Document
from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.utils.text import split_into_words


def filters(label: str, configs: Path) -> list[Any]:
    """The three filters for one language, in the order of the pipeline that its settings come from."""
    if label == "eng_Latn":
        return [GopherRepetitionFilter(), GopherQualityFilter(), FineWebQualityFilter()]
    config = yaml.safe_load((configs / f"{label}.yml").read_text(encoding="utf-8"))
    return [
        GopherRepetitionFilter(
            language=label,
            dup_para_frac=0,
            dup_line_char_frac=0,
            dup_para_char_frac=0,
            dup_line_frac=config["dup_line_frac"],
            top_n_grams=config["top_n_grams"],
            dup_n_grams=config["dup_n_grams"],
        ),
        FineWebQualityFilter(
            language=label,
            short_line_thr=999,
            char_duplicates_ratio=0.1,
            line_punct_thr=config["line_punct_thr"],
            new_line_ratio=config["new_line_ratio"],
        ),
        GopherQualityFilter(
            language=label,
            max_avg_word_length=config["max_avg_word_length"],
            min_avg_word_length=config["min_avg_word_length"],
            stop_words=config["stopwords"],
            max_non_alpha_words_ratio=config["max_non_alpha_words_ratio"],
            min_stop_words=2,
        ),
    ]


def word_offsets(text: str, words: list[str]) -> list[int]:
    """Begin and end of each word, in bytes of the text, one after the other."""
    found = []
    char = byte = 0
    for word in words:
        at = text.index(word, char)
        byte += len(text[char:at].encode())
        found.append(byte)
        byte += len(word.encode())
        found.append(byte)
        char = at + len(word)
    return found


def main() -> None:
    documents, configs, out = (Path(argument) for argument in sys.argv[1:4])
    table = pq.read_table(documents, columns=["text", "label"])
    texts, labels = table["text"].to_pylist(), table["label"].to_pylist()
    by_label = {label: filters(label, configs) for label in sorted(set(labels))}
    for label in by_label:
        split_into_words("A first call makes the tokenizer ready.", label)
    begin = time.process_time()
    for text, label in zip(texts, labels, strict=True):
        document = Document(text=text, id="")
        for one in by_label[label]:
            if one.filter(document) is not True:
                break
    seconds = time.process_time() - begin
    offsets = [word_offsets(text, split_into_words(text, label)) for text, label in zip(texts, labels, strict=True)]
    pq.write_table(pa.table({"offsets": pa.array(offsets, pa.list_(pa.int64()))}), out)
    print(seconds)


if __name__ == "__main__":
    main()
