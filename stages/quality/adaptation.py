"""Thresholds and stop words of a language from reference text in it, the way FineWeb2 describes.

Source: Penedo et al. 2025 (https://arxiv.org/abs/2506.20920), its sections on filtering and its appendix on threshold
selection: a threshold that suits English is carried over to another language by one of five methods, of which some compare
with text in English of the same kind.

english          keep English's threshold t
mean-deviation   as many standard deviations from the mean as in English: mean + (t − mean_en) / deviation_en · deviation
quantile         the value that as large a share of the reference fails as of English fails at t
tail             the value that a tenth of the reference fails ("10Tail")
median-ratio     t · median / median_en

Thresholds are rounded to where fewer documents fail: to three decimals, those of the mean word length to whole numbers, as
in FineWeb2's files. A cut that says nothing (no spread in English, a maximum of 0 because nearly all of the reference has
none of what is counted) is not used: English's threshold stays, and the reason is reported.

Stop words are the words that make up at least STOP_WORD_SHARE of all words of the reference in lower case, and the
MIN_LISTED most frequent ones if that are fewer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import yaml

from gristmill.pipeline.document import text_buffers
from gristmill.stages.quality.language_configs import GRAM_RULES, OFF_AT_ZERO, RULE_OF_KEY
from gristmill.stages.quality.rules import ENGLISH, RULES
from gristmill.stages.quality.segmenters import given_words, installed, words_in
from gristmill.stages.quality.signals import signal_columns
from gristmill.stages.quality.tokenizer.rules import piece_length, tokenizer_of
from gristmill.stages.quality.tokenizer.splitter import split_words

Method = Literal["english", "mean-deviation", "quantile", "tail", "median-ratio"]
METHODS: tuple[Method, ...] = get_args(Method)
NEED_ENGLISH = frozenset({"mean-deviation", "quantile", "median-ratio"})
"""Methods that compare with reference text in English."""

TAIL = 0.1
"""Share of the reference that fails a threshold chosen by `tail`."""
STOP_WORD_SHARE = 0.008
"""Share of all words from which on a word is a stop word."""
MIN_LISTED = 8
"""Stop words that a list has at least: as many as Gopher's English one."""
MIN_DOCUMENTS = 20
"""Documents without which a tenth of them is no number to go by."""
NO_LANGUAGE_SCORE = 0.3
"""`language_score` of a written config: the least that FineWeb2 has. Gristmill does not apply it."""

_WORD_LENGTHS = frozenset({"max_avg_word_length", "min_avg_word_length"})
_RULE = {rule.name: rule for rule in RULES}


@dataclass(frozen=True)
class Key:
    """One threshold of a config in FineWeb2's format.

    Attributes:
        name: such as `new_line_ratio`, or `top_n_grams.2` for one of a list.
        rule: the rule that it belongs to.
    """

    name: str
    rule: str

    @property
    def signal(self) -> str:
        """The column that the rule looks at."""
        return _RULE[self.rule].signal

    @property
    def at_least(self) -> bool:
        """Whether values below the threshold fail; otherwise values above it do."""
        return _RULE[self.rule].at_least

    @property
    def english(self) -> float:
        """English's threshold."""
        value = ENGLISH[self.rule]
        if value is None:
            raise ValueError(f"English has no threshold for {self.rule}")
        return value

    def round(self, value: float) -> float:
        """The nearest threshold that at most as many documents fail, in the format's precision, never below 0."""
        scale = 1 if self.name in _WORD_LENGTHS else 1000
        # What is a whole number of steps but for the last bit stays where it is.
        steps = round(value * scale, 9)
        whole = math.floor(steps) if self.at_least else math.ceil(steps)
        return max(0, whole) if scale == 1 else max(0.0, whole / scale)


KEYS: tuple[Key, ...] = (
    *(Key(name, rule) for name, rule in sorted(RULE_OF_KEY.items())),
    *(Key(f"{name}.{n}", rule.format(n)) for name, (rule, sizes) in sorted(GRAM_RULES.items()) for n in sizes),
)
"""All thresholds that a config states."""
KEY_NAMES = tuple(key.name for key in KEYS)


@dataclass(frozen=True)
class Reference:
    """Reference text in a language, measured.

    Attributes:
        values: float64 per document that has words, by name of the threshold (`KEYS`).
        words: how often each word with a letter occurs, in lower case.
        documents: documents with words.
    """

    values: Mapping[str, np.ndarray]
    words: Mapping[str, int]
    documents: int


@dataclass(frozen=True)
class Cut:
    """A threshold, and where it comes from.

    Attributes:
        key: the threshold.
        value: what it is.
        method: how it was found; `english` where another method's cut says nothing.
        failing: share of the reference that fails it.
        note: why English's threshold stayed although another method was asked for, or "".
    """

    key: Key
    value: float
    method: Method
    failing: float
    note: str = ""


def measure(texts: pa.Array, label: str, listed: Sequence[str] = ()) -> Reference:
    """Signals and words of reference texts.

    Args:
        texts: `large_string` without nulls.
        label: their language, such as `deu_Latn`, which decides how words are split: by its segmenter where that is
            installed, as in the stage.
        listed: its stop words where they are known; in a script without spaces they divide the text for the fallback.
    """
    data, offsets = text_buffers(texts)
    index = np.zeros(len(texts), np.int64)
    given = given_words(data, offsets, [installed(label)], index)
    found = signal_columns(data, offsets, [label], index, [tuple(listed)], short_line_length=30, given=given)
    kept = found["quality_has_words"].to_numpy(zero_copy_only=False)
    values = {key.name: found[key.signal].to_numpy(zero_copy_only=False)[kept].astype(np.float64) for key in KEYS}
    return Reference(values, count_words(texts.to_pylist(), label), int(kept.sum()))


def count_words(texts: Iterable[str], label: str) -> Counter[str]:
    """How often each word with a letter occurs in texts, in lower case; empty for a language that needs a segmenter which is
    not installed."""
    words: Counter[str] = Counter()
    segmenter = installed(label)
    if segmenter is not None:
        for text in texts:
            data = text.encode()
            found = (data[begin:end].decode() for begin, end in words_in(text, segmenter) or ())
            words.update(word.lower() for word in found if any(char.isalpha() for char in word))
        return words
    if piece_length(label) > 0:
        return words
    chunks: Counter[str] = Counter()
    for text in texts:
        chunks.update(text.split())
    tokenizer = tokenizer_of(label)
    for chunk, times in chunks.items():
        for word in split_words(chunk, tokenizer):
            if any(char.isalpha() for char in word):
                words[word.lower()] += times
    return words


def stop_words(words: Mapping[str, int], share: float = STOP_WORD_SHARE) -> tuple[str, ...]:
    """Words that make up at least `share` of all, the most frequent first, and at least MIN_LISTED if there are."""
    total = sum(words.values())
    ranked = sorted(words, key=lambda word: (-words[word], word))
    frequent = sum(words[word] >= share * total for word in ranked)
    return tuple(ranked[: max(frequent, MIN_LISTED)])


def choose(key: Key, method: Method, reference: Reference, english: Reference | None) -> Cut:
    """The threshold of one key.

    Args:
        english: reference text in English, which the methods of NEED_ENGLISH compare with.

    Raises ValueError when such a method is asked for without it.
    """
    values = reference.values[key.name]
    if method == "english":
        return _cut(key, key.english, "english", values)
    if method == "tail":
        raw, problem = _at_rank(values, TAIL, key.at_least), ""
    elif english is None:
        raise ValueError(f"the method {method} compares with English: no reference text in English is given")
    else:
        raw, problem = _compared(key, method, values, english.values[key.name])
    if not problem and not key.at_least and key.round(raw) == 0:
        problem = "nearly all of the reference has none of it, and 0 would let nothing pass"
    if not problem and key.name in OFF_AT_ZERO and key.round(raw) == 0:
        problem = "0 would switch the rule off"
    if problem:
        return _cut(key, key.english, "english", values, problem)
    return _cut(key, key.round(raw), method, values)


def _compared(key: Key, method: Method, values: np.ndarray, english: np.ndarray) -> tuple[float, str]:
    """(the cut, why it says nothing or "")."""
    limit = key.english
    if method == "mean-deviation":
        # Of equal values the computed deviation may be a hair above 0.
        spread = float(english.std()) if english.min() < english.max() else 0.0
        if spread == 0:
            return 0.0, "it does not vary in the English text"
        return float(values.mean() + (limit - english.mean()) / spread * values.std()), ""
    if method == "median-ratio":
        middle = float(np.median(english))
        if middle == 0:
            return 0.0, "its median in the English text is 0"
        return limit * float(np.median(values)) / middle, ""
    failing = float((english < limit).mean() if key.at_least else (english > limit).mean())
    return _at_rank(values, failing, key.at_least), ""


def _at_rank(values: np.ndarray, share: float, lowest: bool) -> float:
    """The value that at most `share` of the values lie beyond: below it for the lowest, else above it."""
    ordered = np.sort(values)
    rank = min(int(share * len(ordered) + 1e-9), len(ordered) - 1)
    return float(ordered[rank] if lowest else ordered[len(ordered) - 1 - rank])


def _cut(key: Key, value: float, method: Method, values: np.ndarray, note: str = "") -> Cut:
    failing = float((values < value).mean() if key.at_least else (values > value).mean())
    return Cut(key, value, method, failing, note)


def config_text(cuts: Sequence[Cut], words: Sequence[str], heading: Sequence[str]) -> str:
    """A config in FineWeb2's format, with comment lines before it."""
    value: dict[str, object] = {"language_score": NO_LANGUAGE_SCORE, "stopwords": list(words)}
    grams: dict[str, list[list[float]]] = {name: [] for name in GRAM_RULES}
    for cut in cuts:
        name, _, n = cut.key.name.partition(".")
        if n:
            grams[name].append([int(n), cut.value])
        else:
            value[name] = cut.value
    value.update(grams)
    body = yaml.safe_dump(value, allow_unicode=True, sort_keys=True)
    return "".join(f"# {line}\n" for line in heading) + body


def histogram(values: np.ndarray, cut: float, cells: int) -> tuple[str, float, float, int]:
    """(bars, value at the left edge, at the right edge, the cell that holds the cut) of a distribution.

    The right edge is the 99th percentile, or the cut where that is larger, and larger values count in the last cell, so
    that a few wild documents do not flatten the rest. A cell with documents is never drawn empty.
    """
    low = float(min(values.min(), cut))
    high = float(max(np.quantile(values, 0.99), cut))
    if high <= low:
        high = low + 1.0
    places = np.clip(((values - low) / (high - low) * cells).astype(np.int64), 0, cells - 1)
    counts = np.bincount(places, minlength=cells)
    heights = np.ceil(counts / counts.max() * (len(_BARS) - 1)).astype(int)
    at = min(int((cut - low) / (high - low) * cells), cells - 1)
    return "".join(_BARS[height] for height in heights), low, high, at


_BARS = " ▁▂▃▄▅▆▇█"
