"""Keeps documents of languages that identifiers confuse when a word of that language, or its place, is in them.

After FineWeb2's precision filtering (Penedo et al., arXiv:2506.20920; https://github.com/huggingface/fineweb-2, folder
misc/precision_filtering): of the languages whose documents are contaminated by more than a tenth, a document is kept when its
text has a word that only that language uses, or when its URL names the language. docs/fineweb.md says what is different here.

    precision_url    whether the URL names the language: by its code, or by a listed term
    precision_word   the first word of the text that is listed, null for none

Both are null for documents of languages that are not judged.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import TEXT, one_chunk
from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.stage import (
    Cost,
    Decisions,
    SettledView,
    Stage,
    StageConfig,
    StageContext,
    StageSpec,
    from_failures,
    resource,
    signal,
)
from gristmill.stages.language.identify import label_numbers

URL = "url"
WORD_FOUND, URL_FOUND = "precision_word", "precision_url"
NO_WORD = "no_word_of_the_language"
WITHOUT_SPACES = frozenset({"Hani", "Hira", "Jpan", "Khmr", "Laoo", "Mymr", "Thai", "Tibt"})
"""Scripts in which words are looked for anywhere in the text, since no spaces part them."""
_MAX_BYTES = 64 << 20
"""Of a list: the largest of FineWeb2's has under a megabyte."""
_NOT_OF_URLS = re.compile(r"[^a-zA-Z0-9/.]+")
SOURCE = (
    "FineWeb2's files are in https://github.com/huggingface/fineweb-2, folder misc/precision_filtering: wordlists-0.85, "
    "url_whitelist.json and cont_scores.json. Clone it, and name their paths."
)


class PrecisionConfig(StageConfig):
    """Config of `precision`.

    Attributes:
        word_lists: a folder with a file LABEL.txt for each language, one word a line.
        urls: a JSON file: terms by language code (`swg`), one of which in a URL keeps the document.
        contamination: a JSON file: by label, the share of documents in other languages. None judges every language that has a
            list.
        max_contamination: languages above it are judged.
    """

    word_lists: Path = resource("signal")
    urls: Path | None = resource("signal", None)
    contamination: Path | None = resource("signal", None)
    max_contamination: float = signal(0.1, ge=0, le=1)


class Precision(Stage):
    """Drops documents of confused languages without a sign of that language."""

    Config = PrecisionConfig
    version = 1
    summary = "drops documents of often confused languages that have no word that is only theirs (FineWeb2)"

    config: PrecisionConfig

    def declare(self) -> StageSpec:
        config = self.config
        files = {"word_lists": config.word_lists, "urls": config.urls, "contamination": config.contamination}
        return StageSpec(
            cost=Cost(measure=5, survey=0, settle=0),
            measure_reads={TEXT, "language", "language_script", *([URL] if config.urls else [])},
            decide_reads={"language", "language_script"},
            signals=pa.schema([(URL_FOUND, pa.bool_()), (WORD_FOUND, pa.string())]),
            shown=set(),
            rules=(NO_WORD,),
            models={name: path for name, path in files.items() if path is not None},
        )

    def check_files(self) -> None:
        """Raises ConfigError for files that are missing or are none of their kind, and for a judged language without words."""
        if not self.config.word_lists.is_dir():
            raise ConfigError(f"word_lists: {self.config.word_lists}: there is no such folder. {SOURCE}")
        if self.config.urls is not None:
            terms(self.config.urls)
        if self.config.contamination is not None:
            for label in judged(self.config.contamination, self.config.max_contamination):
                if not (self.config.word_lists / f"{label}.txt").is_file():
                    raise ConfigError(
                        f"word_lists: {self.config.word_lists} has no {label}.txt, and {self.config.contamination} gives "
                        f"{label} a share above {self.config.max_contamination}. Add the list, or raise `max_contamination`."
                    )

    def _is_judged(self, label: str) -> bool:
        if self.config.contamination is not None:
            return label in judged(self.config.contamination, self.config.max_contamination)
        return (self.config.word_lists / f"{label}.txt").is_file()

    def measure(self, batch: pa.Table, context: StageContext) -> Mapping[str, pa.Array]:
        """Looks for the language in the URL and the text of each document whose language is judged."""
        labels, numbers = label_numbers(batch)
        asked = np.array([self._is_judged(label) for label in labels], bool)
        rows = np.flatnonzero(asked[numbers]) if batch.num_rows else np.zeros(0, np.int64)
        in_url: list[bool | None] = [None] * batch.num_rows
        words: list[str | None] = [None] * batch.num_rows
        chosen = pa.array(rows)
        texts = one_chunk(batch[TEXT]).take(chosen).to_pylist()
        urls = one_chunk(batch[URL]).take(chosen).to_pylist() if self.config.urls is not None else [None] * len(rows)
        for row, text, url in zip(rows.tolist(), texts, urls, strict=True):
            label = labels[numbers[row]]
            code = label.partition("_")[0]
            listed = () if self.config.urls is None else terms(self.config.urls).get(code, ())
            in_url[row] = url is not None and names_language(url, code, listed)
            words[row] = word_in(text, label, word_list(self.config.word_lists / f"{label}.txt"))
        return {URL_FOUND: pa.array(in_url, pa.bool_()), WORD_FOUND: pa.array(words, pa.string())}

    def decide(self, batch: pa.Table, settled: SettledView | None, context: StageContext) -> Decisions:
        """Dropped: judged, and found neither in the URL nor in the text."""
        in_url = np.asarray(pc.fill_null(one_chunk(batch[URL_FOUND]), True))
        in_text = np.asarray(one_chunk(batch[WORD_FOUND]).is_valid())
        return from_failures({NO_WORD: ~in_url & ~in_text}, rows=batch.num_rows)


def names_language(url: str, code: str, listed: tuple[str, ...]) -> bool:
    """Whether a URL has a language's code, in capitals anywhere or by itself in small letters, or one of its terms."""
    if code.upper() in url or re.search(rf"(?<![a-zA-Z0-9]){re.escape(code)}(?![a-zA-Z0-9])", url):
        return True
    plain = _NOT_OF_URLS.sub("", url).lower()
    return any(term in plain for term in listed)


def word_in(text: str, label: str, words: frozenset[str]) -> str | None:
    """The first listed word of a text, None for none."""
    plain = text.translate(_PUNCTUATION)
    if label.partition("_")[2] in WITHOUT_SPACES:
        return min((word for word in words if word in plain), key=lambda word: (plain.find(word), word), default=None)
    return next((word for word in plain.split() if word in words), None)


class _Punctuation(dict[int, int]):
    """Puts spaces for punctuation and symbols in a text that is translated with it; other characters stay."""

    def __missing__(self, point: int) -> int:
        kept = 32 if unicodedata.category(chr(point))[0] in "PS" else point
        self[point] = kept
        return kept


_PUNCTUATION = _Punctuation()


@cache
def word_list(path: Path) -> frozenset[str]:
    """The words of a language. Raises ConfigError for a file that is no list."""
    return frozenset(line.strip() for line in _text(path).splitlines() if line.strip())


@cache
def terms(path: Path) -> Mapping[str, tuple[str, ...]]:
    """Terms by language code, without those that start with a dot, which match no URL in FineWeb2's filter either."""
    found = _json(path)
    if not all(isinstance(value, list) and all(isinstance(term, str) for term in value) for value in found.values()):
        raise ConfigError(f"urls: {path}: expected lists of terms by language code. {SOURCE}")
    return {code: tuple(term for term in value if term and term[0] != ".") for code, value in found.items()}


@cache
def judged(path: Path, most: float) -> frozenset[str]:
    """Labels with a contamination above `most`."""
    found = _json(path)
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in found.values()):
        raise ConfigError(f"contamination: {path}: expected a share by label. {SOURCE}")
    return frozenset(label for label, share in found.items() if share > most)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: this is no JSON: {error}. {SOURCE}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected a JSON object, found {type(found).__name__}. {SOURCE}")
    return found


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_BYTES:,} bytes, so this is no list. {SOURCE}")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}. {SOURCE}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8. {SOURCE}") from error
