"""The counts behind C4's signals, against datatrove's C4 filter on English pages that the tests write."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import c4_filters
from datatrove.pipeline.filters.c4_filters import END_PUNCTUATION, POLICY_SUBSTRINGS, C4QualityFilter
from spacy.pipeline import Sentencizer

from gristmill.pipeline.document import text_buffers
from gristmill.stages.quality.kernels.c4 import POLICY_PHRASES, SENTENCE_ENDS, _count, count_c4
from gristmill.stages.quality.kernels.c4_counts import C4_NAMES
from gristmill.stages.quality.tokenizer.rules import tokenizer_of

ENGLISH = tokenizer_of("eng_Latn")


def counted(texts: Sequence[str], line_ends: bool = True) -> list[dict[str, int]]:
    data, offsets = text_buffers(pa.array(texts, pa.large_string()))
    found = count_c4(data, offsets, np.full(len(texts), ENGLISH), line_ends)
    return [dict(zip(C4_NAMES, row, strict=True)) for row in found.tolist()]


class Watched(C4QualityFilter):
    """datatrove's filter, counting which lines it removes and why."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.counts: Counter[str] = Counter()

    def stat_update(self, *labels: str, value: int = 1, unit: str | None = None) -> None:
        self.counts.update(labels)


@pytest.fixture
def sentences(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many sentences datatrove has split its lines into."""
    total = [0]
    split = c4_filters.split_into_sentences

    def watched(text: str, language: str) -> list[str]:
        found: list[str] = split(text, language)
        total[0] += len(found)
        return found

    monkeypatch.setattr(c4_filters, "split_into_sentences", watched)
    yield total


def oracle(text: str, sentences: list[int], line_ends: bool = True) -> dict[str, int]:
    """What datatrove counts on its way, with the rules off that end a page at once."""
    sentences[0] = 0
    watched = Watched(
        filter_lorem_ipsum=False, filter_curly_bracket=False, min_num_sentences=0, filter_no_terminal_punct=line_ends
    )
    document = Document(text=text, id="0")
    watched.filter(document)
    counts = {name.removeprefix("line-filter-"): count for name, count in watched.counts.items()}
    blank = sum(not line.strip() for line in text.splitlines())
    return {
        "chars": len(text),
        "long_word_lines": counts.get("too_long_word", 0),
        "no_terminal_lines": counts.get("no_terminal_punc", 0) - blank * line_ends,
        "few_words_lines": counts.get("too_few_words", 0) - blank * (not line_ends),
        "javascript_lines": counts.get("javascript", 0),
        "policy_lines": counts.get("policy", 0),
        "kept_lines": counts.get("line-kept", 0),
        "kept_chars": len(document.text.replace("\n", "")),
        "sentences": sentences[0],
    }


PIECES = [
    "The oven was hot.", "He said: \"Come in!\"", "Is it? Yes. No...", "bread and butter", "Mr. Smith paid 3.50 dollars.",
    "It ended [1].", "It ended. [12]", "It began[edit].", "Wait...", "“Quoted.” He left.", "one two", "One.", "A b c!?!",
    "See www.example.org. It is there!", "Terms of Use apply here.", "we USE COO\u212aIES for that.", "JavaScript is on.",
    "the privacy\tpolicy is here.", "x" * 1001 + " is a long word.", "\u00e9" * 1000 + " is not.", "(Really.) \u2026 yes?",
    "[citation needed]is what it says.", "[ 1] stays.", "lorem ipsum dolor sit.", "a { b } c.", "'tis the end'", "!!!",
    "\u6f22\u5b57\u3002 and more.", "[[3]] odd one.", "use  cookies or not.", "Twelve [3][4] words here?",
]  # fmt: skip
BOUNDARIES = ["\n", "\n", "\n", "\n\n", "\r\n", "\r", "\v", "\x1c", "\x85", "\u2028", " ", " ", "\t", " \n", "\u00a0"]


def pages(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    return [
        "".join(draw.choice(PIECES) + draw.choice(BOUNDARIES) for _ in range(draw.randint(0, 12))) for _ in range(count)
    ]


@pytest.mark.parametrize("line_ends", [True, False], ids=["as in C4", "as in FineWeb"])
def test_lines_and_sentences_are_those_of_datatrove(sentences: list[int], line_ends: bool) -> None:
    texts = ["", "\n", *pages(11, 300)]
    for text, found in zip(texts, counted(texts, line_ends), strict=True):
        expected = oracle(text, sentences, line_ends)
        # datatrove strips the text that is left, which white space behind a citation may end.
        if not line_ends:
            assert expected.pop("kept_chars") <= found["kept_chars"]
        assert {name: found[name] for name in expected} == expected, text


def test_pages_are_dropped_where_datatrove_drops_them() -> None:
    texts = pages(5, 200)
    reasons = Counter[str]()
    for text, found in zip(texts, counted(texts), strict=True):
        ours = {
            "too_few_sentences": found["sentences"] < 5,
            "lorem_ipsum": found["lorem_ipsum_lines"] > 0,
            "curly_bracket": found["curly_bracket_lines"] > 0,
        }
        result = C4QualityFilter().filter(Document(text=text, id="0"))
        reason = result[1] if isinstance(result, tuple) else None
        reasons[str(reason)] += 1
        assert any(ours.values()) == (reason is not None), text
        assert reason is None or ours[reason], text
    assert min(reasons.values()) >= 20 and len(reasons) == 4, "the pages are no test"


def test_phrases_and_marks_are_those_of_the_sources() -> None:
    assert set(POLICY_PHRASES) == set(POLICY_SUBSTRINGS)
    assert set(SENTENCE_ENDS) == set(Sentencizer.default_punct_chars)
    for mark in END_PUNCTUATION:
        assert counted([f"three words here{mark}"])[0]["kept_lines"] == 1


def test_bytes_that_are_not_utf8_and_an_empty_batch_are_counted_and_never_crash() -> None:
    draw = np.random.default_rng(0)
    raw = [bytes(draw.integers(0, 256, n, dtype=np.uint8)) for n in (0, 1, 7, 5000)] + [b"a b [\xe2\x80", b"x y z\xf0."]
    data, offsets = text_buffers(pa.array(raw, pa.large_binary()).view(pa.large_string()))
    found = count_c4(data, offsets, np.full(len(raw), ENGLISH))
    assert (found >= 0).all()
    assert (count_c4(data, offsets, np.zeros(len(raw))) >= 0).all()
    assert counted([]) == []
    assert len(_count.signatures) == 1
