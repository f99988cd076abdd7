"""How the worst sentence, the whole text and ways between rank documents: python -m tests.benchmarks.toxicity_documents.

GRISTMILL_DATA names the folder that holds toxicity.parquet, toxicity-multilingual.parquet, documents.parquet and ethos/;
`--model FILE` another model. Choose by the rows `val`; `test`, ETHOS and the quickstart's pages show what the choice is worth:

- `labelled`: texts of at least MIN_SENTENCES sentences in the languages that the model covers, AUC of any dimension.
- `among N`: labelled toxic English texts put among clean sentences so that N follow each other, against clean documents of N.
- `clean`: harmless documents of N sentences, cut from documents.parquet and from the harmless labelled texts of a covered
  language set after each other (which attack and name groups far more often than pages do): the share that the stage flags, by
  `max_chance`. `among N` has that share of the documents with a toxic text.
- `ethos`: its texts of at least MIN_SENTENCES sentences; `pages`: the small web's mild and toxic pages against those to keep.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.launch.quickstart.small_web.pages import load_pages
from gristmill.pipeline.document import TEXT_TYPE
from gristmill.pipeline.stage import StageContext
from gristmill.stages.evaluation.metrics import auc, rounded
from gristmill.stages.toxicity.kernels import scoring as kernel
from gristmill.stages.toxicity.labelled_files import read_file
from gristmill.stages.toxicity.model import EMBEDDED, LOGIT_LOW, STEPS_PER_LOGIT, ToxicityModel, model_at
from gristmill.stages.toxicity.stage import Toxicity, ToxicityConfig
from gristmill.stages.toxicity.training_texts import Labelled, hash_split, read_all, read_clean

MIN_SENTENCES = 3
OVERALL = kernel.HEADS - 1
LENGTHS = (5, 20, 60)
"""Sentences of the documents that are put together."""
CLEAN_LENGTHS = (1, 2, 3, 5, 10, 20, 60)
ENGLISH = ("movie_reviews", "state_union", "pep")
"""Sources of documents.parquet that are English throughout."""
PUT_TOGETHER = 600
"""Documents of each kind and length."""
MOST_CLEAN = 5000
"""Harmless documents of each kind and length."""
MAX_CHANCES = (0.001, 0.002, 0.003, 0.005, 0.01, None)
"""Values of `max_chance` by which harmless documents, and those with a toxic text among clean sentences, are flagged."""


def top_mean(share: float, least: int) -> Callable[[np.ndarray], float]:
    """The mean of the `share` highest logits of a document, and of `least` at the least."""
    return lambda logits: float(np.sort(logits)[::-1][: max(least, int(np.ceil(share * len(logits))))].mean())


COMBINED: dict[str, Callable[[np.ndarray], float]] = {
    "worst sentence": lambda logits: float(logits.max()),
    "worst sentence by length": lambda logits: float(logits.max() - np.log(len(logits))),
    "mean of the worst 2": top_mean(0.0, 2),
    "mean of the worst 3": top_mean(0.0, 3),
    "mean of the worst tenth": top_mean(0.1, 1),
    "mean of the worst third": top_mean(1 / 3, 1),
    "mean of all sentences": lambda logits: float(logits.mean()),
}
"""Scores of a document from the logits of its sentences, any dimension."""
WHOLE = "whole text"
BOTH = "mean of worst sentence and whole text"


def document_scores(model: ToxicityModel, texts: pa.Array) -> dict[str, np.ndarray]:
    """float64[n] by way of scoring. A whole text longer than the kernel's windows counts by its worst window."""
    made = model.windows(texts, floor=np.zeros(kernel.HEADS, np.int16))
    logits = LOGIT_LOW + made.steps[:, OVERALL].astype(np.float64) / STEPS_PER_LOGIT
    starts = np.searchsorted(made.owner, np.arange(len(texts) + 1))
    parts = [logits[a:b] if b > a else np.array([LOGIT_LOW]) for a, b in zip(starts[:-1], starts[1:], strict=True)]
    result = {name: np.array([score(part) for part in parts]) for name, score in COMBINED.items()}
    whole = model.windows(texts, sentences=False).highest[:, OVERALL]
    result[WHOLE] = LOGIT_LOW + whole.astype(np.float64) / STEPS_PER_LOGIT
    result[BOTH] = (result["worst sentence"] + result[WHOLE]) / 2
    return result


def ranked(model: ToxicityModel, texts: pa.Array, positive: np.ndarray, least: int = MIN_SENTENCES) -> dict[str, Any]:
    """AUC by way of scoring, of the texts with at least so many sentences."""
    long = model.windows(texts).counts >= least
    scores = document_scores(model, texts.filter(pa.array(long)))
    return {
        "texts": int(long.sum()),
        "toxic": int(positive[long].sum()),
        "auc": {name: rounded(auc(one, positive[long])) for name, one in scores.items()},
    }


def sentences(model: ToxicityModel, texts: pa.Array) -> list[list[str]]:
    """Each text's sentences."""
    made = model.windows(texts, floor=np.zeros(kernel.HEADS, np.int16))
    result: list[list[str]] = [[] for _ in range(len(texts))]
    whole = [one.encode() for one in texts.to_pylist()]
    for row, (first, end) in zip(made.owner.tolist(), made.span.tolist(), strict=True):
        result[row].append(whole[row][first:end].decode("utf-8", "replace").strip())
    return result


def put_together(model: ToxicityModel, toxic: pa.Array, clean: pa.Array, length: int) -> tuple[pa.Array, np.ndarray]:
    """Runs of `length` sentences of clean documents, half of them with a toxic text in the middle in place of as many."""
    draw = np.random.default_rng(length)
    runs = [one for one in sentences(model, clean) if len(one) >= length]
    insert = sentences(model, toxic)
    texts = []
    for at in range(2 * PUT_TOGETHER):
        run = runs[int(draw.integers(len(runs)))]
        first = int(draw.integers(len(run) - length + 1))
        run = run[first : first + length]
        if at < PUT_TOGETHER:
            inside = insert[int(draw.integers(len(insert)))][: length - 2]
            middle = (length - len(inside)) // 2
            run = [*run[:middle], *inside, *run[middle + len(inside) :]]
        texts.append("\n".join(run))
    return pa.array(texts, TEXT_TYPE), np.arange(2 * PUT_TOGETHER) < PUT_TOGETHER


def flagged_shares(model: Path, texts: pa.Array, language: str) -> dict[str, float | None]:
    """The share of texts that the stage flags, by `max_chance`."""
    context = StageContext()
    signals = pa.table(dict(Toxicity(ToxicityConfig(model=model)).measure(pa.table({"text": texts}), context)))
    signals = signals.append_column("language", pa.array([language] * len(texts), pa.string()))
    stages = {str(most): Toxicity(ToxicityConfig(model=model, max_chance=most)) for most in MAX_CHANCES}
    return {name: rounded(float((one.decide(signals, None, context).port > 0).mean())) for name, one in stages.items()}


def clean_rows(folder: Path, model: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, figures) by genre or language and length."""
    loaded = model_at(model)
    kinds: dict[tuple[str, str], list[str]] = {}
    table = pq.read_table(folder / "documents.parquet", columns=["text", "source"])
    for name, text in zip(table["source"].to_pylist(), table["text"].to_pylist(), strict=True):
        if name in ENGLISH:
            kinds.setdefault((name, "eng_Latn"), []).append(text)
    labelled = labelled_texts(folder, loaded)
    for language in sorted(loaded.covered_languages()):
        chosen = (labelled.language == language) & (labelled.levels[:, -1] == 0) & (labelled.split != "train")
        # In the order of their digests, so that sources and splits mix.
        texts = sorted(labelled.rows(chosen).text.to_pylist(), key=lambda text: hashlib.sha256(text.encode()).digest())
        if texts:
            kinds["labelled", language] = ["\n".join(texts)]
    for (name, language), texts in kinds.items():
        parts = sentences(loaded, pa.array(texts, TEXT_TYPE))
        for length in CLEAN_LENGTHS:
            cut = ["\n".join(one[at : at + length]) for one in parts for at in range(0, len(one) - length + 1, length)]
            if not cut:
                continue
            cut = [cut[at] for at in np.random.default_rng(length).permutation(len(cut))[:MOST_CLEAN]]
            flagged = flagged_shares(model, pa.array(cut, TEXT_TYPE), language)
            found = {"documents": len(cut), "flagged by max_chance": flagged}
            yield f"clean: {name}, {language}, {length} sentences", found


def labelled_texts(folder: Path, model: ToxicityModel) -> Labelled:
    """The texts that the model was made from and tested on, with the splits that it was trained by."""
    names = [one["name"] for one in model.metadata["data"]]
    labelled = read_all([folder / name for name in names], model.metadata["splits"] == "clusters")
    unseen = labelled.share_alike() & (not model.metadata["share_alike"])
    return replace(labelled, split=np.where(unseen, "test", labelled.split))


def rows(folder: Path, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, figures) of each row of the table but `clean`."""
    model = model_at(path)
    covered = sorted(model.covered_languages())
    labelled = labelled_texts(folder, model)
    texts = read_clean([folder / "documents.parquet"])
    clean, genre = texts.text, texts.genre
    english = np.isin(genre, ENGLISH)
    clean_split = hash_split(clean)
    for split in ("val", "test"):
        known = (labelled.split == split) & (labelled.levels[:, -1] >= 0) & (labelled.source != "madlibs")
        for language in covered:
            mine = labelled.rows(known & (labelled.language == language))
            if len(mine.text):
                yield f"{split}: labelled, {language}", ranked(model, mine.text, mine.levels[:, -1] > 0)
        toxic = labelled.rows(known & (labelled.language == "eng_Latn") & (labelled.levels[:, -1] > 0))
        harmless = clean.filter(pa.array(english & (clean_split == split)))
        for length in LENGTHS:
            made, bad = put_together(model, toxic.text, harmless, length)
            found = flagged_shares(path, made.filter(pa.array(bad)), "eng_Latn")
            yield f"{split}: among {length}", {**ranked(model, made, bad), "found by max_chance": found}
    ethos = read_file(folder / "ethos" / "Ethos_Dataset_Binary.csv")
    yield "ethos", ranked(model, ethos.text, ethos.levels[:, -1] > 0)
    pages = [page for page in load_pages() if page.verdict != "drop_quality" and page.language in covered]
    text = pa.array([page.text for page in pages], TEXT_TYPE)
    yield "pages", ranked(model, text, np.array([page.verdict in ("mild", "toxic") for page in pages]))


def main() -> None:
    """Print one JSON object per row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    arguments = parser.parse_args()
    folder = os.environ.get("GRISTMILL_DATA")
    if not folder:
        parser.error("set GRISTMILL_DATA to the folder with toxicity.parquet, documents.parquet and ethos")
    for name, figures in chain(rows(Path(folder), arguments.model), clean_rows(Path(folder), arguments.model)):
        sys.stdout.write(json.dumps({"row": name, **figures}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
