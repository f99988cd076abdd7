"""Spreads the small web's pages over four dumps as about 5,000 documents, most of them copies.

What share is what, for the default of 5,000 documents:

- About 21 % are **originals**: every page that we wrote, once (`answer_copy: original`), and texts made of
  passages of several pages of one language (`recombined`, kind `digest`, verdict `keep`). Two originals
  share at most about a quarter of their five-word shingles, so none is a near-duplicate of another.
- About 79 % are **copies** of originals: 35 % of them `exact`, 30 % `edited` (1 to 3 % of the words
  replaced, left out or doubled), 15 % `truncated` (the first 60 to 95 % of the words) and 20 %
  `boilerplate` (a site's header and footer around the text).
- How many copies an original has falls with its rank as in Zipf's law, and 45 % of the originals have none.
  Most clusters have 1 to 5 members, a few have 50 to 330. Kinds that the web repeats most, such as cookie
  walls and spam, draw the best of several ranks.

A copy carries its original's answers and its true similarity to it. Everything is drawn from SplitMix64
streams with integer arithmetic (see `draws`), so the same seed and count give the same table everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pyarrow as pa

from gristmill.launch.quickstart.small_web.copies import edited, framed, jaccard, shingles, truncated
from gristmill.launch.quickstart.small_web.draws import Draws
from gristmill.launch.quickstart.small_web.pages import Page, load_pages
from gristmill.launch.quickstart.small_web.recombine import Recombiner
from gristmill.pipeline.errors import ConfigError

DUMPS = ("SMALLWEB-2025-01", "SMALLWEB-2025-02", "SMALLWEB-2025-03", "SMALLWEB-2025-04")
"""The snapshots, named as Common Crawl names its own."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.large_string()),
        ("url", pa.string()),
        ("dump", pa.string()),
        ("date", pa.string()),  # ISO 8601, UTC
        ("answer_language", pa.string()),  # `eng_Latn`; `und` where the text is in no language
        ("answer_verdict", pa.string()),  # keep, drop_quality, toxic, mild
        ("answer_kind", pa.string()),
        ("answer_copy", pa.string()),  # original, recombined, exact, edited, truncated, boilerplate
        ("answer_cluster", pa.string()),  # id of the original
        ("answer_similarity", pa.float64()),  # Jaccard similarity of five-word shingles to the original
        ("answer_trap", pa.string()),
    ]
)
"""Columns of the documents. No stage reads those that begin with `answer_`; only the score does."""

ORIGINALS_PER_MILLE = 300  # wanted; the pages give fewer when the languages are exhausted
LANGUAGE_PER_MILLE = 450  # of the recombined texts wanted, at most: else English would crowd out the rest
COPIED_PER_MILLE = 550  # of the originals have any copies
COPIES_IN_TWENTY = (("exact", 7), ("edited", 6), ("truncated", 3), ("boilerplate", 4))

_RANK_DRAWS = {"cookie_wall": 24, "boilerplate": 24, "keyword_spam": 12, "filler": 12, "link_list": 6}
_PAGE_RANK_DRAWS = 4
_RECOMBINED_DRAWS = {"eng_Latn": 1}  # most recombined texts are English; the others get three draws

_MIRRORS = (
    "reader-cache.example",
    "copyandpaste-news.example",
    "old-web-mirror.example",
    "feedgrabber.example",
    "all-the-articles.example",
    "textfarm.example",
    "my-clippings.example",
    "proxy-view.example",
)


@dataclass
class _Document:
    text: str
    url: str
    home: str
    language: str
    verdict: str
    kind: str
    copy: str
    similarity: float
    trap: str | None
    original: int  # position of the original in the list of documents
    draw: int = 0
    dump: int = 0


def documents(seed: int = 17, count: int = 5000) -> pa.Table:
    """The small web as one table of `count` rows with `SCHEMA`, ordered by dump and then at random.

    Ids (`sw-000000` onwards) number the rows and say nothing about what a row is.

    Raises
        ConfigError: `count` is not positive.
    """
    if count < 1:
        raise ConfigError(f"The small web needs a positive number of documents, found {count}.")
    rows = _originals(load_pages(), seed, max(1, count * ORIGINALS_PER_MILLE // 1000))
    _add_copies(rows, seed, count)
    _place(rows, seed)
    order = sorted(range(len(rows)), key=lambda i: (rows[i].dump, rows[i].draw, i))
    ids = {position: f"sw-{number:06d}" for number, position in enumerate(order)}
    dates = Draws(seed, "dates")
    records = []
    for position in order:
        row = rows[position]
        records.append(
            {
                "id": ids[position],
                "text": row.text,
                "url": row.url,
                "dump": DUMPS[row.dump],
                "date": _date(row.dump, dates),
                "answer_language": row.language,
                "answer_verdict": row.verdict,
                "answer_kind": row.kind,
                "answer_copy": row.copy,
                "answer_cluster": ids[row.original],
                "answer_similarity": row.similarity,
                "answer_trap": row.trap,
            }
        )
    return pa.Table.from_pylist(records, schema=SCHEMA)


def _originals(pages: tuple[Page, ...], seed: int, wanted: int) -> list[_Document]:
    """Every page, or a seeded choice where fewer are wanted; then recombined texts until there are enough."""
    chosen = sorted(Draws(seed, "pages").sample(range(len(pages)), wanted))
    rows = [
        _Document(
            text=page.text,
            url=page.url,
            home=page.home,
            language=page.language,
            verdict=page.verdict,
            kind=page.kind,
            copy="original",
            similarity=1.0,
            trap=page.trap,
            original=number,
        )
        for number, page in enumerate(pages[i] for i in chosen)
    ]
    makers = {label: Recombiner(pages, label, seed) for label in sorted({page.home for page in pages})}
    # A language's turn comes as often as it has passages, until none can make another original.
    turns = [label for label, maker in makers.items() for _ in maker.passages]
    draws = Draws(seed, "turns")
    most = (wanted - len(rows)) * LANGUAGE_PER_MILLE // 1000
    made = dict.fromkeys(makers, 0)
    while len(rows) < wanted and turns:
        label = draws.pick(turns)
        text = makers[label].next() if made[label] < most else None
        made[label] += 1
        if text is None:
            turns = [other for other in turns if other != label]
            continue
        number = len(rows)
        rows.append(
            _Document(
                text=text,
                url=f"https://digest.example/{label}/{number:05d}",
                home=label,
                language=label,
                verdict="keep",
                kind="digest",
                copy="recombined",
                similarity=1.0,
                trap=None,
                original=number,
            )
        )
    return rows


def _add_copies(rows: list[_Document], seed: int, count: int) -> None:
    copiers: dict[str, Callable[[str, str, Draws], str]] = {
        "exact": lambda text, label, draws: text,
        "edited": edited,
        "truncated": truncated,
        "boilerplate": framed,
    }
    draws = Draws(seed, "copies")
    for original, copies in enumerate(_copies_per_original(rows, seed, count - len(rows))):
        source = rows[original]
        shingled = shingles(source.text, source.home)
        for number in range(copies):
            kind = _kind_of_copy(draws)
            text = copiers[kind](source.text, source.home, draws)
            recrawled = kind == "exact" and draws.below(2) == 0
            url = source.url if recrawled else f"https://{draws.pick(_MIRRORS)}/{original:05d}/{number}"
            similarity = jaccard(shingled, shingles(text, source.home))
            rows.append(replace(source, text=text, url=url, copy=kind, similarity=similarity))


def _copies_per_original(rows: list[_Document], seed: int, total: int) -> list[int]:
    """How many copies each original gets, `total` in all: at rank r in proportion to 1 / (r + 2)."""
    draws = Draws(seed, "ranks")
    priority = []
    for number, row in enumerate(rows):
        if row.copy == "recombined":
            tries = _RECOMBINED_DRAWS.get(row.home, 3)
        else:
            tries = _RANK_DRAWS.get(row.kind, _PAGE_RANK_DRAWS)
        priority.append((min(draws.word() for _ in range(tries)), number))
    ranked = [number for _, number in sorted(priority)][: max(1, len(rows) * COPIED_PER_MILLE // 1000)]
    weights = [10**12 // (rank + 2) for rank in range(len(ranked))]
    whole = sum(weights)
    copies = [0] * len(rows)
    for rank, number in enumerate(ranked):
        copies[number] = total * weights[rank] // whole
    # What rounding left over goes to the largest remainders; the lower rank first among equals.
    remainders = sorted(range(len(ranked)), key=lambda rank: (-(total * weights[rank] % whole), rank))
    for rank in remainders[: total - sum(copies)]:
        copies[ranked[rank]] += 1
    return copies


def _kind_of_copy(draws: Draws) -> str:
    return draws.pick([kind for kind, share in COPIES_IN_TWENTY for _ in range(share)])


def _place(rows: list[_Document], seed: int) -> None:
    """Gives each document a dump and a place in it."""
    draws = Draws(seed, "places")
    for row in rows:
        row.dump = draws.below(len(DUMPS))
        row.draw = draws.word()


def _date(dump: int, draws: Draws) -> str:
    """A second within the month of the dump."""
    day, hour = 1 + draws.below(28), draws.below(24)
    minute, second = draws.below(60), draws.below(60)
    return f"2025-{dump + 1:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}Z"
