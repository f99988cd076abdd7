"""What a snapshot of Common Crawl is predicted to cost, and a hundred, from speeds measured on one machine: a Markdown table.

    python -m tests.benchmarks.cost [--speed 14.9] [--slow-speed 8] [--settling 11.9] [--pages-per-second 327] …

    core hours = (pages / pages a second + text / speed + documents · settling) / 3600
    dollars    = core hours · price of a core hour · waiting + requests

Speeds are those of one core on an idle machine, from docs/benchmarks.md, docs/web.md and the stages' stated costs; give
newer ones. Nothing of this was run at that size. Below stands what others publish for runs of theirs, at list prices.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

GB, TB = 1e9, 1e12


@dataclass(frozen=True)
class Speeds:
    """Of one core. Bytes are of text.

    Attributes:
        pages: HTML pages from which text is extracted, a second.
        text: bytes a second through the five stages, with reading, provenance and writing.
        settling: seconds a document to settle MinHash between two passes.
        deduplication: seconds a GB to read, sign, decide and write without other stages.
    """

    pages: float
    text: float
    settling: float
    deduplication: float


@dataclass(frozen=True)
class Prices:
    """Dollars.

    Attributes:
        core: a core hour.
        requests: a GB of input read from and written to a bucket.
        waiting: how many hours are paid for one that is used.
    """

    core: float
    requests: float
    waiting: float

    def of(self, core_hours: float, input_bytes: float) -> float:
        """What so many core hours come to, with the requests for so much input."""
        return core_hours * self.core * self.waiting + input_bytes / GB * self.requests


def extraction_hours(documents: float, speeds: Speeds) -> float:
    return documents / speeds.pages / 3600


def curation_hours(documents: float, text: float, speeds: Speeds) -> float:
    return (text / speeds.text + documents * speeds.settling) / 3600


def deduplication_hours(documents: float, text: float, speeds: Speeds) -> float:
    return (text / GB * speeds.deduplication + documents * speeds.settling) / 3600


def rows(asked: argparse.Namespace) -> list[tuple[str, str, float, float]]:
    """(what is done, to how much, core hours, dollars)"""
    speeds = Speeds(asked.pages_per_second, asked.speed * 1e6, asked.settling * 1e-6, asked.deduplication)
    slow = Speeds(asked.pages_per_second, asked.slow_speed * 1e6, asked.settling * 1e-6, asked.deduplication)
    prices = Prices(asked.dollars, asked.requests_per_gb * asked.dollars_per_request, asked.waiting)
    made = []
    for snapshots in (1, 100):
        pages = snapshots * asked.pages
        text = pages * asked.bytes_per_page
        size = f"{_number(snapshots)} snapshot{'s' if snapshots > 1 else ''}: {pages:.3g} pages, {text / TB:,.1f} TB of text"
        hours = extraction_hours(pages, speeds)
        made.append(("text from HTML (`extract`)", size, hours, prices.of(hours, 0)))
        for one, share in ((speeds, "a quarter passes `language`"), (slow, "everything passes")):
            hours = curation_hours(pages, text, one)
            made.append((f"five stages, {share}", size, hours, prices.of(hours, text)))
    documents = asked.peer_terabytes * TB / asked.bytes_per_page
    hours = deduplication_hours(documents, asked.peer_terabytes * TB, speeds)
    size = f"{asked.peer_terabytes:g} TB, {documents:.3g} documents"
    made.append(("MinHash alone", size, hours, prices.of(hours, asked.peer_terabytes * TB)))
    return made


PEERS = (
    ("NeMo Curator, fuzzy deduplication", "8 TB (RedPajama-v2, 1.78·10^12 tokens)", 2.05, 8, "H100"),
    ("Data-Juicer, MinHash", "5 TB", 2.8, 1280, "core"),
    ("Data-Juicer, a pipeline", "7·10^10 samples", 2.1, 6400, "core"),
)
"""What was run on what, hours, of how many units. From the README of NVIDIA-NeMo/Curator (one node with eight H100), and from
the README of datajuicer/data-juicer (8 and 50 nodes of Alibaba Cloud), both read in November 2026."""


def peer_rows(asked: argparse.Namespace) -> list[tuple[str, str, float, str, float]]:
    """(what, how much, hours of a unit, the unit, dollars)"""
    price = {"H100": asked.dollars_h100, "core": asked.dollars}
    return [(what, size, hours * units, unit, hours * units * price[unit]) for what, size, hours, units, unit in PEERS]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def arguments() -> argparse.ArgumentParser:
    """Measured speeds and assumptions, each with the one that docs/scaling.md uses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--speed", type=float, default=14.9, help="MB/s of a corpus of which a quarter passes `language`")
    add("--slow-speed", type=float, default=8.0, help="MB/s of a corpus of which everything passes every filter")
    add("--settling", type=float, default=11.9, help="µs of CPU a document")
    add("--pages-per-second", type=float, default=327.0, help="HTML pages that one process and its parser extract")
    add("--deduplication", type=float, default=13.0, help="s a GB: two readings 2 · 1.2, MinHash 2.6, writing 8")
    add("--pages", type=float, default=2.14e9, help="of a snapshot")
    add("--bytes-per-page", type=float, default=4000.0, help="of extracted text")
    add("--peer-terabytes", type=float, default=8.0, help="of text that is deduplicated alone")
    add("--dollars", type=float, default=0.0425, help="a core hour")
    add("--dollars-h100", type=float, default=39.33 / 8, help="an hour of an H100")
    add("--requests-per-gb", type=float, default=1000.0, help="to a bucket, by gigabyte of text")
    add("--dollars-per-request", type=float, default=5e-6, help="as if all were writes")
    add("--waiting", type=float, default=2.0, help="hours paid for each that is used")
    return parser


def main() -> None:
    asked = arguments().parse_args()
    print("| what | of what | core hours | dollars |\n|---|---|---:|---:|")
    for what, size, hours, dollars in rows(asked):
        print(f"| {what} | {size} | {_number(hours)} | {_number(dollars)} |")
    print("\n| published | of what | hours | dollars |\n|---|---|---:|---:|")
    for what, size, hours, unit, dollars in peer_rows(asked):
        print(f"| {what} | {size} | {_number(hours)} of one {unit} | {_number(dollars)} |")


if __name__ == "__main__":
    main()
