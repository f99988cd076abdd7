"""Makes `languages.yml`, the thresholds and stop words that come with Gristmill. Run by hand.

    python -m gristmill.stages.quality.build_languages LABELLED.parquet STOPWORDS.json

LABELLED has the columns `text`, `language`, `script` and `source`: passages of some hundred characters, much of it the same
text in every language (the Universal Declaration of Human Rights, NTREX), English among them. STOPWORDS is
`stopwords-iso.json` of the PyPI package stopwordsiso.

Thresholds are carried over from English by the ratio of medians (`stages.quality.adaptation`, method median-ratio), which
translations of one text make a fair comparison, and which few passages can bear where a tail cannot. Where the ratio would
make a rule stricter than English's in a way that says more about the splitter than about quality, English's value stays:
the least word length and the least share of words with letters never rise. What passages cannot show, lines and repetition,
is as in English; where most passages end without a sentence-ending mark that the rule knows, the rule is off.

Stop words are the words that stand in the most passages and make up 0.8 % of all or more; in languages of stopwordsiso they
must be in its list. A list grows until nearly every passage has two of its words. In scripts without spaces words of
stopwordsiso are looked for anywhere in the text, and syllables in Tibetan; what has neither gets no list, and the rule is
off. Made without the segmenters of `stages.quality.segmenters`: with some of them installed the numbers of
their languages differ.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from gristmill.pipeline.document import TEXT_TYPE, text_buffers
from gristmill.stages.evaluation.labelled_texts import read_labelled
from gristmill.stages.evaluation.text_files import read_columns
from gristmill.stages.labels.labels import codes, supported_labels
from gristmill.stages.quality.adaptation import KEYS, MIN_LISTED, STOP_WORD_SHARE, Reference, count_words, measure
from gristmill.stages.quality.language_configs import MIN_STOP_WORDS, TABLE
from gristmill.stages.quality.rules import ENGLISH_LABEL
from gristmill.stages.quality.signals import signal_columns
from gristmill.stages.quality.tokenizer.rules import piece_length

MIN_PASSAGES = 5
"""Passages without which a language is left out."""
MOST_LISTED = 40
"""Stop words of a list at most."""
ENOUGH = 0.98
"""Share of the passages that should have as many stop words as a document must; lists grow until it is reached."""
_RATIO_KEYS = ("max_avg_word_length", "min_avg_word_length", "max_non_alpha_words_ratio")
_NEVER_STRICTER = frozenset({"min_avg_word_length", "max_non_alpha_words_ratio"})
_LISTED_AS = {"yue": "zh", "wuu": "zh", "nno": "no"}
"""Lists of close languages for codes that stopwordsiso does not have."""
_TSHEG, _SHAD = "\u0f0b", "\u0f0d"
_SYLLABIC = ("bod_Tibt", "dzo_Tibt")


def thresholds(own: Reference, english: Reference, label: str) -> dict[str, float]:
    """The thresholds of a language that differ from what all languages have."""
    found: dict[str, float] = {}
    for key in KEYS:
        if key.name in _RATIO_KEYS:
            ratio = float(np.median(own.values[key.name]) / np.median(english.values[key.name]))
            value = key.round(key.english * (min(ratio, 1.0) if key.name in _NEVER_STRICTER else ratio))
            # A segmenter, where one is installed, cuts shorter words than the fallback does.
            found[key.name] = 1 if key.name == "min_avg_word_length" and piece_length(label) > 0 else value
    if float(np.median(own.values["line_punct_thr"])) == 0:
        found["line_punct_thr"] = -1
    return found


def ranked_words(passages: Sequence[str], label: str, listed: frozenset[str]) -> tuple[list[str], int]:
    """(words of the passages, those that stand in most passages first; how many of them are stop words by their share).

    With a list, only its words; in a script without spaces, wherever they stand.
    """
    within: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for passage in passages:
        if label in _SYLLABIC:
            words = Counter(part + _TSHEG for part in passage.replace(_SHAD, " ").split(_TSHEG) if part.strip() == part)
        elif piece_length(label) > 0:
            words = Counter({word: passage.count(word) for word in listed if word in passage and word.isalpha()})
        else:
            words = count_words([passage], label)
        total.update(words)
        within.update(dict.fromkeys(words, 1))
    whole = sum(total.values())
    chosen = [word for word in within if not listed or word in listed]
    ranked = sorted(chosen, key=lambda word: (-within[word], -total[word], word))
    return ranked, sum(total[word] >= STOP_WORD_SHARE * whole for word in ranked)


def list_words(passages: Sequence[str], label: str, listed: frozenset[str]) -> list[str]:
    """Stop words of a language: the frequent ones of its list, and as many further ones as most passages need."""
    if piece_length(label) > 0 and not listed and label not in _SYLLABIC:
        return []
    ranked, frequent = ranked_words(passages, label, listed)
    words = ranked[: min(max(frequent, MIN_LISTED), MOST_LISTED)]
    further = ranked[len(words) :]
    if listed and piece_length(label) == 0:
        further += [word for word in ranked_words(passages, label, frozenset())[0] if word not in ranked]
    for word in further:
        if len(words) >= MOST_LISTED or (len(words) >= MIN_LISTED and covered(passages, label, words) >= ENOUGH):
            break
        words.append(word)
    return words


def covered(passages: Sequence[str], label: str, words: Sequence[str]) -> float:
    """Share of the passages that have as many of the words as a document must."""
    data, offsets = text_buffers(pa.array(passages, TEXT_TYPE))
    found = signal_columns(data, offsets, [label], np.zeros(len(passages), np.int64), [tuple(words)], 30)
    return float((found["quality_stop_words"].to_numpy(zero_copy_only=False) >= MIN_STOP_WORDS).mean())


def main() -> None:
    path, lists = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    labelled = read_labelled(path)
    sources = sorted(set(read_columns(path, ["source"])["source"].to_pylist()))
    passages: Mapping[str, list[str]] = defaultdict(list)
    for text, label in zip(labelled.texts.to_pylist(), labelled.labels, strict=True):
        passages[label].append(text)
    english = measure(pa.array(passages[ENGLISH_LABEL], TEXT_TYPE), ENGLISH_LABEL)
    short = {label[:3]: code for code in lists for label in codes().get(code, ())} | _LISTED_AS
    named = supported_labels("langid") | supported_labels("fasttext")
    table: dict[str, dict[str, object]] = {}
    for label in sorted(named - {ENGLISH_LABEL}):
        texts = passages.get(label, [])
        if len(texts) < MIN_PASSAGES:
            continue
        listed = frozenset(word.lower() for word in lists.get(short.get(label[:3], ""), ()))
        words = list_words(texts, label, listed)
        own = measure(pa.array(texts, TEXT_TYPE), label, words)
        table[label] = {**thresholds(own, english, label), "stopwords": words}
        share = covered(texts, label, words)
        print(f"{label} {len(texts)} passages, {len(words)} stop words in {share:.0%}", flush=True)
    heading = (
        "Thresholds and stop words of languages, made by `python -m gristmill.stages.quality.build_languages` (which says "
        f"how) from\npassages of {', '.join(sources)},\n"
        "and from the lists of stopwordsiso (MIT). Keys are those of FineWeb2's configs; what is left out is as in English.\n"
        "See stages/NOTICE.md."
    )
    lines = [f"# {line}" for line in heading.splitlines()]
    for label, value in table.items():
        body = yaml.safe_dump({label: value}, allow_unicode=True, default_flow_style=None, width=118, sort_keys=True)
        lines.append(body.rstrip())
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(table)} languages: {TABLE}")


if __name__ == "__main__":
    main()
