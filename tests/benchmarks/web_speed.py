"""How fast the steps from a crawl to text are on one core, beside the bare libraries and datatrove's steps, and what they hold.

    GRISTMILL_DATA=DIR python -m tests.benchmarks.web_speed

DIR holds `web-0000*.warc.gz`. Speeds are pages per second of processor time, that of this process and of its children together,
the best of several rounds in which the sides take turns. Both sides decode pages and undo gzip. What is compared:

- read WARC: the source `warc`, once it knows where slices begin; fastwarc with its HTTP parser; `WarcReader` on
  copies whose records state their type, so that libmagic is not asked.
- url_filter: addresses of the pages under made hosts, 20,000 listed domains, words and subwords; `URLFilter` on the same lists.
- extract: the stage with its parser process; the library in this process; datatrove's `Trafilatura` with its child.

Memory is resident: this process's, and that of each parser process at the end. Figures of a busy machine mean nothing: the load
average stands above the table.
"""

from __future__ import annotations

import os
import random
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from datatrove.data import Document
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import URLFilter
from datatrove.pipeline.readers import WarcReader
from datatrove.utils.logging import logger
from fastwarc.warc import ArchiveIterator, WarcRecordType
from tldextract import TLDExtract

from gristmill.pipeline.parser_process import ParserProcess, shared_parser
from gristmill.pipeline.stage import Stage, StageContext
from gristmill.stages.extraction import parsers
from gristmill.stages.extraction.stage import PARSERS, RESIDENT_BYTES, Extract, ExtractConfig
from gristmill.stages.language.guess import LanguageGuess, LanguageGuessConfig
from gristmill.stages.sources.warc import WarcConfig, WarcSource
from gristmill.stages.urls.stage import UrlFilter, UrlFilterConfig
from tests.benchmarks.datatrove_extraction import FILES, SECONDS, state_types

Work = Callable[[], object]
ROUNDS = 3
ADDRESSES = 20_000
BATCH = 1000


def seconds_of(work: Work, parser: ParserProcess | None = None) -> float:
    """Processor time of some work: of this process, of children that end within it, and of a parser process that goes on."""

    def now() -> float:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        lives = 0 if parser is None or parser.pid is None else _nanoseconds(parser.pid)
        return time.process_time() + ended.ru_utime + ended.ru_stime + lives / 1e9

    pid = None if parser is None else parser.pid
    before = now()
    work()
    if parser is not None and parser.pid != pid:
        raise RuntimeError("the parser process was replaced within the measurement; run it again")
    return now() - before


def _nanoseconds(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def best(sides: dict[str, tuple[Work, ParserProcess | None]], rounds: int = ROUNDS) -> dict[str, float]:
    """The least processor time of each side. They take turns, and a first turn is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, (work, parser) in sides.items():
            seconds = seconds_of(work, parser)
            if number:
                taken[name].append(seconds)
    return {name: min(all_of) for name, all_of in taken.items()}


def row(step: str, count: int, times: dict[str, float], counts: dict[str, int] | None = None) -> None:
    """A line of the table: pages per second of each side, and ours as a ratio to the others."""
    rates = {name: (counts or {}).get(name, count) / seconds for name, seconds in times.items()}
    cells = [f"{step:<22}", f"{rates['ours']:>12,.0f}"]
    for name in ("library", "datatrove"):
        rate = rates.get(name)
        cells += [f"{'':>12}{'':>9}" if rate is None else f"{rate:>12,.0f}{rates['ours'] / rate:>8.2f}x"]
    print(" ".join(cells), flush=True)


def measured(stage: Stage, table: pa.Table) -> None:
    """A stage's signals and decisions, in batches."""
    for start in range(0, table.num_rows, BATCH):
        part = table.slice(start, BATCH)
        signals = stage.measure(part, StageContext())
        stage.decide(pa.table({**{name: part[name] for name in part.column_names}, **signals}), None, StageContext())


def read_warc(paths: Sequence[Path], copies: Path) -> pa.Table:
    """Times reading; returns the pages."""
    source = WarcSource("crawl", WarcConfig.model_validate({"format": "warc", "paths": list(map(str, paths))}))
    parts = list(source.slices())

    def library() -> None:
        for path in paths:
            with path.open("rb") as stream:
                for record in ArchiveIterator(stream, record_types=WarcRecordType.response):
                    record.reader.read()

    pages = pa.concat_tables([source.read(part).table for part in parts])
    pages = pages.filter(pages["html"].is_valid())
    sides: dict[str, tuple[Work, ParserProcess | None]] = {
        "ours": (lambda: [source.read(part) for part in parts], None),
        "library": (library, None),
        "datatrove": (lambda: list(WarcReader(str(copies), glob_pattern=FILES).run()), None),
    }
    row("read WARC", pages.num_rows, best(sides))
    return pages


def guess(pages: pa.Table) -> None:
    stage = LanguageGuess(LanguageGuessConfig(keep=("eng_Latn",)))
    stage.check_files()
    row("language_guess", pages.num_rows, best({"ours": (lambda: measured(stage, pages), None)}))


def url_filter(pages: pa.Table, folder: Path) -> None:
    draw = random.Random(3)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    hosts = [
        "".join(draw.choices(syllables, k=4)) + draw.choice([".com", ".org", ".de", ".co.uk"]) for _ in range(40_000)
    ]
    paths = [url.split("/", 3)[-1] for url in pages["url"].to_pylist()]
    urls = [f"https://www.{draw.choice(hosts)}/{draw.choice(paths)}" for _ in range(ADDRESSES)]
    lists = {
        "domains": hosts[:20_000],
        "words": syllables[:40],
        "subwords": [a + b for a in syllables[:10] for b in hosts[:5]],
    }
    for name, lines in lists.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    stage = UrlFilter(UrlFilterConfig.model_validate({name: str(folder / name) for name in lists}))
    stage.check_files()
    table = pa.table({"url": pa.array(urls)})
    judge = URLFilter(
        extra_domains=lists["domains"],
        banned_words=lists["words"],
        banned_subwords=lists["subwords"],
        use_integrated_lists=False,
    )
    judge.tldextractor = TLDExtract(suffix_list_urls=(), cache_dir=None)
    documents = [Document(text="", id="", metadata={"url": url}) for url in urls[: ADDRESSES // 10]]
    sides: dict[str, tuple[Work, ParserProcess | None]] = {
        "ours": (lambda: measured(stage, table), None),
        "datatrove": (lambda: [judge.filter(document) for document in documents], None),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        times = best(sides)
    row("url_filter", ADDRESSES, times, {"datatrove": len(documents)})


def extraction(name: str, pages: pa.Table) -> ParserProcess:
    """Times an extractor; returns our parser process."""
    stage = Extract(ExtractConfig.model_validate({"with": name}))
    settings = {
        "extractors": [name],
        "keep": stage.config.keep,
        "least_characters": stage.config.least_characters,
        "kinds": stage.config.kinds,
    }
    process = shared_parser(PARSERS, settings, resident=RESIDENT_BYTES)
    pages = pages.select(["html", "http_content_type"])
    measured(stage, pages.slice(0, 1))  # starts the process
    library = parsers.EXTRACTORS[name]()
    bodies, types = pages["html"].to_pylist(), [kind or "" for kind in pages["http_content_type"].to_pylist()]

    def bare() -> None:
        for body, kind in zip(bodies, types, strict=True):
            library(parsers.decode(body, kind)[0])

    def documents() -> Iterator[Document]:
        for body, kind in zip(bodies, types, strict=True):
            yield Document(text=parsers.decode(body, kind)[0], id="")

    extractor = Trafilatura(favour_precision=True, timeout=SECONDS)
    sides: dict[str, tuple[Work, ParserProcess | None]] = {
        "ours": (lambda: measured(stage, pages), process),
        "library": (bare, None),
    }
    if name == "trafilatura":
        sides["datatrove"] = (lambda: list(extractor.run(documents())), None)
    times = best(sides, 2 if name == "trafilatura" else 2 * ROUNDS)
    row(f"extract: {name}", pages.num_rows, times)
    more = (times["ours"] - times["library"]) / pages.num_rows * 1000
    size = sum(map(len, bodies)) / len(bodies) / 1000
    print(f"{'':<22} {more:+.2f} ms a page of {size:.0f} KB", flush=True)
    return process


def resident(pid: int) -> int:
    """MiB of resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() >> 20


def main() -> int:
    folder = os.environ.get("GRISTMILL_DATA")
    if not folder:
        sys.exit("GRISTMILL_DATA names no folder: set it to the one that holds web-0000*.warc.gz")
    paths = sorted(Path(folder).glob(FILES))
    logger.disable("datatrove")
    print(f"load average at the start: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    print(f"{'pages/s per core':<22} {'ours':>12} {'library':>12}{'ratio':>9} {'datatrove':>12}{'ratio':>9}")
    with tempfile.TemporaryDirectory() as name:
        copies = Path(name)
        state_types(paths, copies)
        pages = read_warc(paths, copies)
        guess(pages)
        url_filter(pages, copies)
    processes = {name: extraction(name, pages.slice(0, 300)) for name in ("resiliparse", "trafilatura")}
    children = ", ".join(
        f"its parser process of {name} {resident(process.pid)} MiB"
        for name, process in processes.items()
        if process.pid
    )
    print(f"resident memory: this process, with the peers in it, {resident(os.getpid())} MiB; {children}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
