"""Extraction: the main text of web pages, by libraries that run in a process which a page may take down.

    measure  a scan counts elements and depth; pages within the limits go to the parsers, which decode them and find the text
    decide   pages above a limit and those that no parser survived are dropped with their rule; the engine judges the text

`trafilatura` runs with FineWeb's settings (Penedo et al. 2024, arXiv:2406.17557), `resiliparse` with DCLM's kind of main
content (Li et al. 2024, arXiv:2406.11794). See docs/extraction.md.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator, model_validator

from gristmill.pipeline.document import TEXT, TEXT_TYPE, one_chunk
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.parser_process import Failed, Page, shared_parser
from gristmill.pipeline.resources import Resources
from gristmill.pipeline.stage import (
    Cost,
    Decisions,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    from_failures,
    one_or_several,
    runtime,
    signal,
    threshold,
)
from gristmill.stages.extraction.kernels.markup import FLAT, VISIBLE, count_markup, count_visible
from gristmill.stages.extraction.lately_parsed import MOST_BYTES, Answer, LatelyParsed, Numbers, PageKey, page_key
from gristmill.stages.kernels.pointers import read_only

PARSERS = str(Path(__file__).with_name("parsers.py"))
"""The module that parser processes load, by its path."""
CONTENT_TYPE = "http_content_type"
"""The column with the value of a page's HTTP header, where a source has it."""
RESIDENT_BYTES = 600 << 20
"""A parser process above this is replaced; the plan's bound counts it."""
_HEADER = re.compile(r"""charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
KINDS = ("table", "code", "formula")
CHARACTERS = (
    "prose_characters",
    *(f"{kind}_characters" for kind in KINDS),
    *(f"page_{kind}_characters" for kind in KINDS),
)
"""Numbers of characters, white space and bars not counted; null without a text."""
SIGNALS = pa.schema(
    [
        (TEXT, TEXT_TYPE),
        ("extractor", pa.string()),
        ("charset", pa.string()),
        ("html_elements", pa.int64()),
        ("html_depth", pa.int64()),
        ("html_bytes", pa.int64()),
        ("extraction_failed", pa.string()),
        *((name, pa.int64()) for name in CHARACTERS),
    ]
)
"""`extractor` found the text, in a page read as `charset`; `extraction_failed` is what kept a page from being parsed: `error`,
`timeout` or `crash`, with what the parser said; CHARACTERS say what the text is made of, and what of that the page had."""

ExtractorName = Literal["trafilatura", "resiliparse"]


class ExtractConfig(StageConfig):
    """Config of `extract`.

    Attributes:
        extractors: what looks for the text: one extractor or several, in the order in which they are asked.
        keep: of several, `first`: the first text that is long enough (later extractors are not asked); `longest`: the
            longest of all. Where none is long enough, the longest.
        least_characters: how many characters, white space not counted, are long enough.
        column: the payload with the page: `html` or `bytes`.
        max_page_bytes: larger pages are dropped; trafilatura takes none above 20,000,000 characters.
        max_elements: pages with more start tags are dropped.
        max_depth: pages with more elements within each other are dropped.
        kinds: whether to count how much of a text is of tables, code and formulas.
        max_table_share, max_code_share, max_formula_share: pages whose text has a larger share of its characters in rows of
            tables, lines of code or formulas are dropped; 1 keeps all.
        seconds: time for a page. One that takes longer is tried once more, alone, with ten times the time.
        max_lost: largest share of pages that may be lost to time or to a crash of the parser.
    """

    extractors: tuple[ExtractorName, ...] = signal(("trafilatura",), alias="with", min_length=1)
    keep: Literal["first", "longest"] = signal("first")
    least_characters: int = signal(250, ge=0)
    column: Literal["html", "bytes"] = signal("html")
    max_page_bytes: int = signal(20_000_000, ge=1)
    max_elements: int = signal(300_000, ge=1)
    max_depth: int = signal(3_000, ge=1)
    kinds: bool = signal(True)
    max_table_share: float = threshold(1.0, ge=0, le=1)
    max_code_share: float = threshold(1.0, ge=0, le=1)
    max_formula_share: float = threshold(1.0, ge=0, le=1)
    seconds: float = runtime(20.0, gt=0)
    max_lost: float = runtime(0.001, ge=0, le=1)

    @field_validator("extractors", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)

    @model_validator(mode="after")
    def _counts_what_it_judges(self) -> ExtractConfig:
        if not self.kinds and min(self.max_table_share, self.max_code_share, self.max_formula_share) < 1:
            raise ValueError(
                "`kinds: false` counts no tables, code and formulas, so none can be too many. Leave it out."
            )
        return self

    @field_validator("extractors")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("an extractor is named twice; name each once")
        return value


class Extract(Stage):
    """Makes the text of web pages: their main content, without navigation, advertisements and comments."""

    Config = ExtractConfig
    version = 3
    summary = "makes the text of web pages (`html`): their main content, by trafilatura, resiliparse or both"

    config: ExtractConfig

    def declare(self) -> StageSpec:
        return StageSpec(
            cost=Cost(measure=150, survey=0, settle=0),
            payload={self.config.column},
            optional_reads={CONTENT_TYPE},
            signals=SIGNALS,
            shown={TEXT, "extractor"},
            makes_text=True,
            rules=(
                "page_too_large",
                "page_too_deep",
                "page_has_too_many_elements",
                "parser_error",
                "parser_timeout",
                "parser_crash",
                *(f"mostly_{kind}" for kind in KINDS),
            ),
            irreproducible={"parser_timeout": self.config.max_lost, "parser_crash": self.config.max_lost},
            libraries=_libraries(self.config.extractors),
            resources=Resources(memory_bytes=RESIDENT_BYTES + MOST_BYTES),
            slow=True,
        )

    def check_files(self) -> None:
        names = ["resiliparse", *(("trafilatura", "lxml") if "trafilatura" in self.config.extractors else ())]
        missing = [name for name in names if find_spec(name) is None]
        if missing:
            raise ConfigError(
                f"it needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed. Install the "
                "extra: pip install 'gristmill[web]'"
            )

    def measure(self, batch: pa.Table, context: StageContext) -> dict[str, pa.Array]:
        """Counts the markup of all pages and parses those within the limits; equal pages once."""
        config = self.config
        lately = context.kept.setdefault("answers", LatelyParsed(MOST_BYTES))
        pages = one_chunk(batch[config.column])
        pages = pages.cast(pa.large_binary())
        types = batch[CONTENT_TYPE].to_pylist() if CONTENT_TYPE in batch.column_names else [None] * len(pages)
        sizes = np.asarray(pc.fill_null(pc.binary_length(pages), 0), np.int64)
        elements, depths, blocks = markup_counts(pages)
        within = (sizes <= config.max_page_bytes) & (elements <= config.max_elements) & (depths <= config.max_depth)
        answers = self._parsed(pages, types, np.flatnonzero(within & (sizes > 0)), blocks, lately)
        text, extractor, charset, failed, numbers = zip(*answers, strict=True) if answers else ((),) * 5
        texts = pa.array(text, TEXT_TYPE)
        return {
            TEXT: texts,
            "extractor": pa.array(extractor, pa.string()),
            "charset": pa.array(charset, pa.string()),
            "html_elements": pa.array(elements),
            "html_depth": pa.array(depths),
            "html_bytes": pa.array(sizes),
            "extraction_failed": pa.array(failed, pa.string()),
            **_character_columns(texts, numbers),
        }

    def _parsed(
        self, pages: pa.Array, types: Sequence[Any], rows: np.ndarray, blocks: np.ndarray, lately: LatelyParsed
    ) -> list[Answer]:
        """Text, extractor, charset and failure of each page; all None of those that are not parsed."""
        settings = {
            "extractors": list(self.config.extractors),
            "keep": self.config.keep,
            "least_characters": self.config.least_characters,
            "kinds": self.config.kinds,
        }
        bodies = _bodies(pages)
        which: dict[int, PageKey] = {}
        known: dict[PageKey, Answer] = {}
        asked: dict[PageKey, Page] = {}
        for row in rows.tolist():
            note = str(types[row] or "")[:1000]
            key = which[row] = page_key(_charset(note), bodies[row])
            if key in known or key in asked:
                continue
            answer = lately.get(key)
            if answer is None:
                begin, end = blocks[row].tolist()
                asked[key] = f"{begin} {end}\n{note}".encode("utf-8", "replace"), bodies[row]
            else:
                known[key] = answer
        parser = shared_parser(PARSERS, settings, resident=RESIDENT_BYTES)
        answers = parser.parse(list(asked.values()), self.config.seconds) if asked else []
        for key, found in zip(asked, answers, strict=True):
            answer = known[key] = _read(found)
            if not isinstance(found, Failed) or found.kind == "error":
                lately.add(key, answer)
        nothing: Answer = (None,) * 5
        return [known[which[row]] if row in which else nothing for row in range(len(pages))]

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """Pages above a limit, and pages that could not be parsed, are dropped."""
        config = self.config
        sizes, depths, elements = (
            np.asarray(pc.fill_null(one_chunk(batch[name]), 0), np.int64)
            for name in ("html_bytes", "html_depth", "html_elements")
        )
        failed = one_chunk(batch["extraction_failed"])

        def starts(kind: str) -> np.ndarray:
            return np.asarray(pc.fill_null(pc.starts_with(failed, kind), False))

        shares, limits = self._shares(batch), (config.max_table_share, config.max_code_share, config.max_formula_share)
        mostly = {f"mostly_{kind}": limit for kind, limit in zip(KINDS, limits, strict=True)}
        return from_failures(
            {
                "page_too_large": sizes > config.max_page_bytes,
                "page_too_deep": depths > config.max_depth,
                "page_has_too_many_elements": elements > config.max_elements,
                "parser_error": starts("error"),
                "parser_timeout": starts("timeout"),
                "parser_crash": starts("crash"),
                **{rule: shares[rule] > limit for rule, limit in mostly.items()},
            },
            {"page_too_large": sizes, "page_too_deep": depths, "page_has_too_many_elements": elements, **shares},
            {
                "page_too_large": config.max_page_bytes,
                "page_too_deep": config.max_depth,
                "page_has_too_many_elements": config.max_elements,
                **mostly,
            },
            rows=batch.num_rows,
        )

    def _shares(self, batch: pa.Table) -> dict[str, np.ndarray]:
        """By rule, the share of each text's characters that are of that kind; 0 without a text."""
        numbers = [
            np.asarray(pc.fill_null(one_chunk(batch[name]), 0), np.float64) for name in CHARACTERS[: len(KINDS) + 1]
        ]
        whole = np.maximum(sum(numbers), 1)
        return {f"mostly_{kind}": number / whole for kind, number in zip(KINDS, numbers[1:], strict=True)}


def markup_counts(pages: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start tags, greatest depth and where the blocks lie of each page (large_binary), int64; see `kernels.markup`."""
    elements, depths = np.zeros(len(pages), np.int64), np.zeros(len(pages), np.int64)
    blocks = np.zeros((len(pages), 2), np.int64)
    buffers = pages.buffers()
    if len(pages) and buffers[1] is not None and buffers[2] is not None:
        offsets = np.frombuffer(buffers[1], np.int64)[pages.offset : pages.offset + len(pages) + 1]
        data = np.frombuffer(buffers[2], np.uint8)
        count_markup(
            read_only(data, np.uint8),
            read_only(offsets, np.int64),
            read_only(FLAT, np.uint64),
            elements,
            depths,
            blocks,
        )
    return elements, depths, blocks


def visible_characters(texts: pa.Array) -> np.ndarray:
    """Characters of each text (large_string), int64, 0 for nulls; white space and bars are not counted."""
    counts = np.zeros(len(texts), np.int64)
    if len(texts) and texts.buffers()[2] is not None:
        offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
        data = np.frombuffer(texts.buffers()[2], np.uint8)
        count_visible(read_only(data, np.uint8), read_only(offsets, np.int64), read_only(VISIBLE, np.uint8), counts)
    return counts


def _character_columns(texts: pa.Array, numbers: Sequence[Numbers]) -> dict[str, pa.Array]:
    """The columns CHARACTERS. What parsers give of a text are its tables, code and formulas; the rest is prose."""
    given = np.array([one or (0,) * 7 for one in numbers], np.int64).reshape(-1, 7)
    tables, code, formulas, *in_page, own = given.T
    rest = visible_characters(texts) - tables - code - own
    formulas = np.minimum(formulas, rest)
    missing = np.array([one is None for one in numbers], bool)
    columns = (rest - formulas, tables, code, formulas, *in_page)
    return {name: pa.array(column, pa.int64(), mask=missing) for name, column in zip(CHARACTERS, columns, strict=True)}


def _bodies(pages: pa.Array) -> list[memoryview]:
    """The bytes of each page (large_binary) where they lie; of nulls none."""
    if pages.buffers()[1] is None:
        return []
    offsets = np.frombuffer(pages.buffers()[1], np.int64)[pages.offset : pages.offset + len(pages) + 1].tolist()
    data = memoryview(pages.buffers()[2] or b"").cast("B")  # Arrow calls its bytes signed
    return [data[begin:end] for begin, end in itertools.pairwise(offsets)]


def _charset(content_type: str) -> bytes:
    """All of a page's header that parsers look at: the charset that it states."""
    found = _HEADER.search(content_type)
    return b"" if found is None else found[1].lower().encode()


def _read(answer: bytes | Failed) -> Answer:
    if isinstance(answer, Failed):
        # The machine's share of the answer (a signal, a time) stays out of what is kept, a parser's own words go in.
        return None, None, None, f"error: {answer.detail}" if answer.kind == "error" else answer.kind, None
    head, _, text = answer.partition(b"\n")
    said = json.loads(head)
    found = None if said["extractor"] is None else text.decode("utf-8")
    return (
        found,
        said["extractor"],
        said["charset"],
        None,
        None if said["kinds"] is None else tuple(said["kinds"]),
    )


def _libraries(extractors: Sequence[str]) -> dict[str, str]:
    """Versions of everything that decides what is found; resiliparse decodes in any case."""
    names = ["resiliparse", *(("trafilatura", "lxml", "justext") if "trafilatura" in extractors else ())]
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    if "lxml" in found and find_spec("lxml") is not None:
        from lxml.etree import LIBXML_VERSION

        found["libxml2"] = ".".join(map(str, LIBXML_VERSION))
    return found
