"""Whether the agreement of two language models refuses wrong labels better than one model's calibrated score.

    GRISTMILL_DATA=DIR python -m tests.benchmarks.language_agreement

DIR holds `language-id.parquet` (columns `text`, `language`, `script`) and `documents.parquet` (columns `text`, `source`), of
which the web pages are taken. On labelled text two rules are compared over the thresholds: a score alone, and a score
and the other model's agreement wherever that knows the label. On web pages, which carry no labels, the answers that the
two models disagree about are listed for a person to judge: where they agree, both may still be wrong, so that the number
of false labels is only known from below.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.pipeline.document import TEXT_TYPE, one_chunk
from gristmill.stages.evaluation.labelled_texts import read_labelled
from gristmill.stages.labels.labels import UNDETERMINED, supported_labels
from gristmill.stages.language.evaluation import evaluate
from gristmill.stages.language.identify import answer_labels

THRESHOLDS = (0.0, 0.3, 0.5, 0.8, 0.85, 0.9, 0.91, 0.92)
SHOWN = 60
"""Characters of a page that are shown, from its start and from its middle."""


def on_labelled_text(path: Path) -> None:
    labelled = read_labelled(path)
    answers, scores = answer_labels(labelled.texts, "langid")
    others, _ = answer_labels(labelled.texts, "fasttext")
    supported, known = supported_labels("langid"), supported_labels("fasttext")
    for least in THRESHOLDS:
        for agree in (False, True):
            cut = [
                answer if score >= least and not (agree and answer in known and answer != other) else UNDETERMINED
                for answer, score, other in zip(answers, scores.tolist(), others, strict=True)
            ]
            at = evaluate(labelled.labels, cut, supported)
            print(
                f"min_score {least}{', agreed' if agree else '':8}: supported kept and right "
                f"{at['accuracy_supported']:.4f}, unsupported accepted {at['unsupported_accepted']:.4f}, false labels "
                f"per 10,000 {at['false_per_10000']:.1f}"
            )


def on_pages(path: Path) -> None:
    table = pq.read_table(path, columns=["text", "source"])
    texts = one_chunk(table.filter(pc.equal(table["source"], "web"))["text"].cast(TEXT_TYPE))
    answers, scores = answer_labels(texts, "langid")
    others, other_scores = answer_labels(texts, "fasttext")
    print(f"{len(texts)} web pages in {len(set(answers))} languages")
    for least in THRESHOLDS:
        kept = [row for row in range(len(texts)) if scores[row] >= least]
        differ = sum(answers[row] != others[row] for row in kept)
        print(f"min_score {least}: {len(kept) / len(texts):.4f} kept, of which the models disagree about {differ}")
    for row in range(len(texts)):
        if answers[row] != others[row]:
            page = texts[row].as_py().replace("\n", " ")
            middle = len(page) // 2
            print(
                f"  {answers[row]} {scores[row]:.2f}, {others[row]} {other_scores[row]:.2f}: {page[:SHOWN]} … "
                f"{page[middle : middle + SHOWN]}"
            )


def main() -> int:
    folder = os.environ.get("GRISTMILL_DATA")
    if not folder:
        print("Set GRISTMILL_DATA to the folder of language-id.parquet and documents.parquet.", file=sys.stderr)
        return 2
    on_labelled_text(Path(folder) / "language-id.parquet")
    on_pages(Path(folder) / "documents.parquet")
    return 0


if __name__ == "__main__":
    sys.exit(main())
