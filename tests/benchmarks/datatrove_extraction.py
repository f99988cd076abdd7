"""Texts and fates of crawled pages, beside those of datatrove's own pipeline on the same files and the same trafilatura.

    GRISTMILL_DATA=DIR python -m tests.benchmarks.datatrove_extraction

DIR holds `web-0000*.warc.gz`. Ours is the source `warc` and `extract: {}`; theirs is `WarcReader` and `Trafilatura` as FineWeb
has them, here and in a child of its own. datatrove is asked three times: for the files as they are, where its reader has
libmagic guess each record's type; for copies whose records state the type that the server stated, as Common Crawl's do
(WARC-Identified-Payload-Type); and for those with `deduplicate=True`, its default and FineWeb's setting, with which all pages
of a process share one list of paragraphs. Every difference is printed with its cause. Fails where in the last comparison less
than 99 % of the texts and fates are equal, or where a difference is not explained. It needs the system's libmagic.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cchardet
import pyarrow as pa
import pyarrow.compute as pc
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.readers import WarcReader
from datatrove.utils.logging import logger
from trafilatura import extract
from warcio.archiveiterator import ArchiveIterator
from warcio.warcwriter import WARCWriter

from gristmill.pipeline.document import SOURCE_RULE
from gristmill.pipeline.stage import StageContext
from gristmill.stages.extraction.parsers import decode, trafilatura
from gristmill.stages.extraction.stage import Extract, ExtractConfig
from gristmill.stages.sources.warc import RULES as SOURCE_RULES
from gristmill.stages.sources.warc import WarcConfig, WarcSource

SECONDS = 20
"""Time for a page, as in the stage; datatrove's default of one second depends on the machine."""
WANTED = 0.99
UNEXPLAINED = "not explained"
FILES = "web-0000*.warc.gz"


@dataclass(frozen=True)
class Page:
    """A crawled page, and what `extract` made of it: a text, or none and why."""

    url: str
    body: bytes
    content_type: str
    text: str | None
    fate: str


@dataclass(frozen=True)
class Theirs:
    """What datatrove made of some files, by record id: what its reader decoded, and the texts that were forwarded."""

    decoded: dict[str, str]
    texts: dict[str, str]


def our_pages(paths: Sequence[Path]) -> dict[str, Page]:
    """The pages of WARC files and what becomes of them, by record id."""
    source = WarcSource("crawl", WarcConfig.model_validate({"format": "warc", "paths": list(map(str, paths))}))
    stage = Extract(ExtractConfig())
    found: dict[str, Page] = {}
    for part in source.slices():
        rows = source.read(part).table
        rows = rows.filter(pc.not_equal(pc.fill_null(rows[SOURCE_RULE], ""), "not_a_page"))
        signals = stage.measure(rows, StageContext())
        decided = stage.decide(pa.table(dict(signals)), None, StageContext())
        numbers = [-1] * rows.num_rows if decided.rule is None else decided.rule.tolist()
        rules = [None if number < 0 else decided.rules[number] for number in numbers]
        for row, text, rule in zip(rows.to_pylist(), signals["text"].to_pylist(), rules, strict=True):
            rule = row[SOURCE_RULE] or rule or (None if text and text.strip() else "empty_text")
            kept = None if rule else text
            page = Page(row["url"], row["html"] or b"", row["http_content_type"] or "", kept, rule or "kept")
            found[row["record_id"]] = page
    return found


def their_pages(folder: Path, pattern: str, *, deduplicate: bool) -> Theirs:
    """The same of datatrove's reader and extractor."""
    decoded: dict[str, str] = {}

    def noted(documents: Any) -> Any:
        for document in documents:
            decoded[document.id] = document.text
            yield document

    reader = WarcReader(str(folder), glob_pattern=pattern)
    extractor = Trafilatura(favour_precision=True, timeout=SECONDS, deduplicate=deduplicate)
    return Theirs(decoded, {document.id: document.text for document in extractor.run(noted(reader.run()))})


def state_types(paths: Sequence[Path], folder: Path) -> None:
    """Copies of WARC files whose responses state a payload type: the media type in the server's header."""
    for path in paths:
        with path.open("rb") as stream, (folder / path.name).open("wb") as out:
            writer = WARCWriter(out, gzip=True)
            for record in ArchiveIterator(stream):
                if record.rec_type == "response":
                    stated = record.http_headers.get_header("Content-Type", "").partition(";")[0].strip().lower()
                    record.rec_headers.add_header("WARC-Identified-Payload-Type", stated)
                writer.write_record(record)


@cache
def _fresh() -> Any:
    return trafilatura()


def cause_of(page: Page, record: str, theirs: Theirs) -> str:
    """Why datatrove's text of a page is another than ours."""
    decoded = theirs.decoded.get(record)
    if page.fate in SOURCE_RULES:
        return f"not read here: {page.fate}"
    if decoded is None:
        return _not_read(page.body)
    if decoded.removeprefix("\ufeff") != decode(page.body, page.content_type)[0]:
        ours, other = decode(page.body, page.content_type)[1], cchardet.detect(page.body)["encoding"]
        return f"read as {ours} here, as {other} there"
    if page.text == (_fresh()(decoded) or None):
        bare = extract(decoded, favor_precision=True, include_comments=False, deduplicate=False)
        if theirs.texts.get(record) == bare:
            return "repeated paragraphs within the page, left out here (`deduplicate`)"
        return "paragraphs of earlier pages, left out there (one list for the whole process)"
    return UNEXPLAINED


def _not_read(body: bytes) -> str:
    import magic

    kind = magic.from_buffer(body, mime=True)
    if kind not in ("text/html", "application/xhtml+xml"):
        return f"not read there: libmagic takes it for {kind}"
    return f"not read there: neither UTF-8 nor all valid in the detected {cchardet.detect(body)['encoding']}"


def differences(pages: dict[str, Page], theirs: Theirs) -> dict[str, str]:
    """The pages of which datatrove has another text than ours, or a text where we have none, by record id, and why."""
    return {
        record: cause_of(page, record, theirs)
        for record, page in pages.items()
        if page.text != theirs.texts.get(record)
    }


def compare(title: str, pages: dict[str, Page], theirs: Theirs) -> float:
    """Prints how many fates and texts are equal and why the others are not; the share of equal ones, -1 where a difference is
    not explained."""
    differing = differences(pages, theirs)
    fates = sum((page.text is None) == (record not in theirs.texts) for record, page in pages.items())
    texts = len(pages) - len(differing)
    both = [record for record in pages if record in theirs.decoded]
    of_both = sum(record not in differing for record in both)
    print(f"{title}: {len(pages)} pages, datatrove's reader yields {len(both)}")
    print(f"  kept or not alike {fates} ({fates / len(pages):.2%}), texts too {texts} ({texts / len(pages):.2%});")
    print(f"  of those that both read, the texts are equal of {of_both} ({of_both / len(both):.2%})")
    for cause, count in Counter(differing.values()).most_common():
        print(f"  {count:4} {cause}")
        for record in [one for one, why in differing.items() if why == cause]:
            there = theirs.texts.get(record)
            sizes = " and ".join("none" if one is None else f"{len(one):,}" for one in (pages[record].text, there))
            print(f"         {pages[record].url} (characters here and there: {sizes})")
    return -1.0 if UNEXPLAINED in differing.values() else texts / len(pages)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.parse_args()
    folder = os.environ.get("GRISTMILL_DATA")
    if not folder:
        sys.exit("GRISTMILL_DATA names no folder: set it to the one that holds web-0000*.warc.gz")
    paths = sorted(Path(folder).glob(FILES))
    logger.disable("datatrove")
    pages = our_pages(paths)
    with tempfile.TemporaryDirectory() as name:
        copies = Path(name)
        state_types(paths, copies)
        explained = [
            compare(title, pages, their_pages(where, FILES, deduplicate=deduplicate))
            for title, where, deduplicate in (
                ("files as they are, deduplicate=False", Path(folder), False),
                ("types stated, deduplicate=False", copies, False),
                ("types stated, deduplicate=True", copies, True),
            )
        ]
    return 0 if min(explained) >= 0 and explained[-1] >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
