"""Drops pages by their address: listed domains and URLs, words in the URL, several doubtful words, parts of words.

The decisions are those of datatrove's `URLFilter` on the same lists, which made FineWeb (Penedo et al. 2024,
https://arxiv.org/abs/2406.17557, after RefinedWeb's, https://arxiv.org/abs/2306.01116). A page is dropped when

- its registered domain or its full host is listed, or its URL is, character for character;
- a word of the URL is listed, in its case: what stands between anything but ASCII letters and digits;
- several soft words are in it;
- a listed string is in the URL, without regard to case and to anything but letters and digits.

`match: hosts` reads lists as their makers mean them: a domain stands for all hosts under it, in either case and either
form of international names, IP addresses may be listed, and listed URLs need no scheme, as UT1's have none.

A null URL, or one that is none, is kept unless something matches, and counted (`url_missing`, `url_malformed`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator

from gristmill.pipeline.document import TEXT_TYPE, one_chunk, text_buffers
from gristmill.pipeline.errors import ConfigError, ContractError
from gristmill.pipeline.stage import (
    Cost,
    Decisions,
    Resources,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    from_failures,
    one_or_several,
    resource,
    signal,
    threshold,
)
from gristmill.stages.kernels.pointers import read_only
from gristmill.stages.urls import suffixes
from gristmill.stages.urls.kernels import subwords
from gristmill.stages.urls.kernels.entries import letter_or_digit
from gristmill.stages.urls.kernels.matching import COLUMNS, SOFT_WORDS, match_urls
from gristmill.stages.urls.lists import EntrySet, most_bytes, read_entries

URL = "url"
RULES = ("blocked_domain", "blocked_subdomain", "blocked_url", "banned_word", "soft_words", "banned_subword")
"""In the order of datatrove's filter, and of the columns of `kernels.matching`."""
SIGNALS = tuple(f"url_{rule}" for rule in RULES)
MAX_SUBWORD_BYTES = 1 << 20
"""Bytes of all subwords: the automaton has up to 144 bytes of moves for each."""
FOLDER_LISTS = ("domains", "urls")
"""Files of a category in UT1's format."""


class UrlFilterConfig(StageConfig):
    """Config of `url_filter`. All lists are files with one entry a line; blank lines and lines that start with `#` are none.

    Attributes:
        folders: categories in UT1's format, such as `blacklists/adult`: folders with the files `domains`, `urls` or both.
        domains: lists of domains.
        urls: lists of URLs.
        words: lists of words; one of them in the URL drops the page.
        subwords: lists of strings; one of them within the URL, once all but letters and digits is taken out, drops the page.
        soft_words: lists of words of which `soft_word_threshold` different ones drop the page.
        soft_word_threshold: the least number of different soft words that drops a page.
        match: `datatrove`: hosts and URLs are compared as they are written, as its filter does; `hosts`: a domain stands for
            every host under it, in any case, and a listed URL may lack its scheme.
    """

    folders: tuple[Path, ...] = resource("signal", ())
    domains: tuple[Path, ...] = resource("signal", ())
    urls: tuple[Path, ...] = resource("signal", ())
    words: tuple[Path, ...] = resource("signal", ())
    subwords: tuple[Path, ...] = resource("signal", ())
    soft_words: tuple[Path, ...] = resource("signal", ())
    soft_word_threshold: int = threshold(2, ge=1)
    match: Literal["datatrove", "hosts"] = signal("datatrove")

    @field_validator("folders", "domains", "urls", "words", "subwords", "soft_words", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)


class UrlFilter(Stage):
    """Drops pages whose URL is listed or has listed words."""

    Config = UrlFilterConfig
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "drops pages by their address: lists of domains, URLs, words and parts of words"

    config: UrlFilterConfig

    def declare(self) -> StageSpec:
        lists = {f"{field} {number}": path for field in _FIELDS for number, path in enumerate(self._named(field), 1)}
        kinds = [(kind, self._files(field)) for field, kind in self._kinds().items()]
        return StageSpec(
            cost=Cost(measure=0.5, survey=0, settle=0),
            measure_reads={URL},
            decide_reads={URL},
            signals=pa.schema(
                [
                    *(pa.field(name, pa.string()) for name in SIGNALS),
                    pa.field("url_domain", pa.string()),
                    pa.field("url_malformed", pa.bool_()),
                ]
            ),
            shown=set(),
            rules=RULES,
            models={**lists, **suffixes.snapshot()},
            libraries=suffixes.libraries(),
            resources=Resources(memory_bytes=sum(most_bytes(kind, files) for kind, files in kinds)),
        )

    def check_files(self) -> None:
        """Reads all lists. Raises ConfigError with file, line, expected, found."""
        if not any(self._named(field) for field in _FIELDS):
            raise ConfigError(
                "stage url_filter: it names no list, and would keep every page. Name one under `folders`, `domains`, `urls`, "
                "`words`, `subwords` or `soft_words`."
            )
        suffixes.check_installed()
        for folder in self.config.folders:
            if not any((folder / name).is_file() for name in FOLDER_LISTS):
                raise ConfigError(
                    f"stage url_filter: folders: {folder}: expected a folder with a file `domains` or `urls`, as UT1's "
                    "categories have. Name such a folder, or list files under `domains` and `urls`."
                )
        for field, kind in self._kinds().items():
            entries = read_entries(kind, self._files(field))
            if field == "subwords" and entries.used > MAX_SUBWORD_BYTES:
                raise ConfigError(
                    f"stage url_filter: subwords: {entries.used:,} bytes; at most {MAX_SUBWORD_BYTES:,} are possible. "
                    "Filter by several nodes, each with some of the lists."
                )

    def measure(self, batch: pa.Table, context: StageContext) -> Mapping[str, pa.Array]:
        """For each rule the entry that matches first, null for none (for soft words all, with commas); the registered domain
        in lower case; and whether the URL is none."""
        column = _urls(batch)
        found, malformed = self._match(*text_buffers(column))
        malformed &= column.is_valid().to_numpy(zero_copy_only=False)
        return {**dict(zip((*SIGNALS, "url_domain"), found, strict=True)), "url_malformed": pa.array(malformed)}

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        columns = [one_chunk(batch[name]) for name in SIGNALS]
        soft = columns[SOFT_WORDS]
        # Entries have no commas, so there is one less than there are words.
        count = np.asarray(pc.fill_null(pc.add(pc.count_substring(soft, ","), 1), 0).to_numpy(zero_copy_only=False))
        failures = {rule: np.asarray(column.is_valid()) for rule, column in zip(RULES, columns, strict=True)}
        failures["soft_words"] = count >= self.config.soft_word_threshold
        columns[SOFT_WORDS] = pc.if_else(pa.array(failures["soft_words"]), soft, pa.scalar(None, pa.string()))
        decisions = from_failures(
            failures,
            {"soft_words": count.astype(np.float64)},
            {"soft_words": float(self.config.soft_word_threshold)},
            rows=batch.num_rows,
            tallies={
                "url_missing": one_chunk(batch[URL]).null_count,
                "url_malformed": int(np.count_nonzero(batch["url_malformed"].to_numpy())),
            },
        )
        return replace(decisions, witness=pc.coalesce(*columns))

    def _match(self, data: np.ndarray, offsets: np.ndarray) -> tuple[list[pa.Array], np.ndarray]:
        rows = len(offsets) - 1
        if rows > 1 and offsets[-1] - offsets[0] > _MOST_BYTES:
            halves = [self._match(data, part) for part in (offsets[: rows // 2 + 1], offsets[rows // 2 :])]
            columns = [pa.concat_arrays(both) for both in zip(halves[0][0], halves[1][0], strict=True)]
            return columns, np.concatenate([halves[0][1], halves[1][1]])
        hosts = suffixes.read_hosts(data, offsets, lower=self.config.match == "hosts")
        sets = {field: read_entries(kind, self._files(field)) for field, kind in self._kinds().items()}
        moves, ends = _automaton(self._files("subwords"))
        out = np.empty((COLUMNS, len(hosts.data)), np.uint8)
        out_offsets, matched = np.zeros((COLUMNS, rows + 1), np.int64), np.zeros((COLUMNS, rows), bool)
        match_urls(
            hosts.data,
            hosts.offsets,
            hosts.spans,
            self.config.match == "hosts",
            sets["domains"].data,
            sets["domains"].slots,
            sets["urls"].data,
            sets["urls"].slots,
            sets["words"].data,
            sets["words"].slots,
            sets["soft_words"].data,
            sets["soft_words"].slots,
            np.full(len(sets["soft_words"].data), -1, np.int64),
            sets["subwords"].data,
            moves,
            ends,
            subwords.symbols(),
            letter_or_digit(),
            out,
            out_offsets,
            matched,
        )
        return [_strings(out[c], out_offsets[c], matched[c]) for c in range(COLUMNS)], hosts.malformed

    def _kinds(self) -> Mapping[str, str]:
        """The kind of list (see `lists.KINDS`) by field."""
        domains = "lower_domains" if self.config.match == "hosts" else "domains"
        return {"domains": domains, "urls": "urls", "words": "words", "subwords": "words", "soft_words": "words"}

    def _named(self, field: str) -> tuple[Path, ...]:
        named: tuple[Path, ...] = getattr(self.config, field)
        return named

    def _files(self, field: str) -> tuple[Path, ...]:
        """Lists of a field, those of folders too."""
        if field not in FOLDER_LISTS:
            return self._named(field)
        return (*self._named(field), *(path for f in self.config.folders if (path := f / field).is_file()))


_FIELDS = ("folders", "domains", "urls", "words", "subwords", "soft_words")
_MOST_BYTES = 1 << 29
"""URLs that are matched at once: well below the 32-bit offsets of what is found."""


@cache
def _automaton(files: tuple[Path, ...]) -> tuple[np.ndarray, np.ndarray]:
    entries: EntrySet = read_entries("words", files)
    moves = np.zeros((entries.used + 1, subwords.SYMBOLS), np.int32)
    ends = np.empty(entries.used + 1, np.int64)
    states = subwords.build(entries.data, entries.used, subwords.symbols(), moves, ends)
    return read_only(moves[:states], np.int32), read_only(ends[:states], np.int64)


def _urls(batch: pa.Table) -> pa.Array:
    column = one_chunk(batch[URL])
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise ContractError(
            f"the column `{URL}` is {column.type}; expected text. Map another one under `sources.….columns`."
        )
    return column.cast(TEXT_TYPE)


def _strings(data: np.ndarray, offsets: np.ndarray, valid: np.ndarray) -> pa.Array:
    """A column of text from the bytes of its rows, null where there is none."""
    return pa.StringArray.from_buffers(
        len(valid),
        pa.py_buffer(offsets.astype(np.int32)),
        pa.py_buffer(data[: offsets[-1]].copy()),
        pa.array(valid).buffers()[1] if len(valid) else None,
        int(len(valid) - np.count_nonzero(valid)),
    )
