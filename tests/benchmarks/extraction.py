"""Extraction: how well the main text is found. How fast, `web_speed` says.

    GRISTMILL_DATA=DIR python -m tests.benchmarks.extraction

DIR holds `articles-dev.warc.gz` (pages) and `articles-dev.json` (the last part of a page's URL → its main text). F1 is that of
the article-extraction benchmark: precision and recall of 4-grams of words per page, averaged, and the F1 of the averages.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
from fastwarc.warc import ArchiveIterator, WarcRecordType

from gristmill.pipeline.stage import StageContext
from gristmill.stages.extraction.stage import Extract, ExtractConfig

SETTINGS: tuple[dict[str, object], ...] = (
    {"with": "trafilatura"},
    {"with": "resiliparse"},
    {"with": ["trafilatura", "resiliparse"]},
    {"with": ["trafilatura", "resiliparse"], "keep": "longest"},
)


def read_pages(path: Path) -> tuple[list[str], pa.Table]:
    """The last parts of the pages' URLs, and the pages as a source of payloads brings them."""
    names, bodies, types = [], [], []
    with path.open("rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response):
            names.append(record.headers["WARC-Target-URI"].rstrip("/").rpartition("/")[2])
            bodies.append(record.reader.read())
            types.append(record.http_headers.get("Content-Type"))
    table = pa.table({"html": pa.array(bodies, pa.large_binary()), "http_content_type": pa.array(types, pa.string())})
    return names, table


def shingles(text: str) -> Counter[tuple[str, ...]]:
    """4-grams of words, with their counts; of fewer words all of them as one."""
    words = re.findall(r"\w+", text)
    if 0 < len(words) < 4:
        return Counter([tuple(words)])
    return Counter(tuple(words[i : i + 4]) for i in range(len(words) - 3))


def scores(found: list[str], wanted: list[str]) -> tuple[float, float, float]:
    """Precision, recall and F1 of texts against the main texts of the same pages."""
    precision = recall = 0.0
    for text, main in zip(found, wanted, strict=True):
        mine, theirs = shingles(text), shingles(main)
        both = (mine & theirs).total()
        precision += both / mine.total() if mine else 0.0
        recall += both / theirs.total() if theirs else 1.0
    p, r = precision / len(found), recall / len(found)
    return p, r, 2 * p * r / (p + r)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    folder = Path(os.environ["GRISTMILL_DATA"])
    names, pages = read_pages(folder / "articles-dev.warc.gz")
    texts = json.loads((folder / "articles-dev.json").read_text(encoding="utf-8"))
    wanted = [texts[name] for name in names]
    for settings in SETTINGS:
        found = Extract(ExtractConfig.model_validate_json(json.dumps(settings), strict=True)).measure(
            pages, StageContext()
        )["text"]
        p, r, f1 = scores([text or "" for text in found.to_pylist()], wanted)
        print(f"{json.dumps(settings)}: F1 {f1:.3f} (precision {p:.3f}, recall {r:.3f}) on {len(names)} pages")


if __name__ == "__main__":
    main()
