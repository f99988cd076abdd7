"""Digests of passages: equal exactly where the normal forms of a second implementation are equal, and stable."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.stages.deduplication.content_keys import Normalise, digests_of
from tests.stages.deduplication.kernels import minhash_oracle as oracle

PIECES = st.sampled_from(
    [
        "a",
        "A",
        "é",
        "e\u0301",
        " ",
        "  ",
        "\n",
        "\u3000",
        "!",
        "—",
        "12",
        "3",
        "٣",
        "漢",
        "字",
        "ไทย",
        "word",
        "WORD",
        "ß",
        "😀",
        "\x00",
    ]
)
TEXTS = st.lists(PIECES, max_size=6).map("".join)


def form(text: str, normalise: Normalise) -> str:
    """The normal form in plain Python."""
    if normalise == "words":
        return " ".join(oracle.words(text))
    return re.sub(r"\s+", " ", text.replace("\x00", "\ufffe")).strip() if normalise == "spaces" else text


def digests(texts: list[str], normalise: Normalise, seeds: np.ndarray | None = None) -> list[tuple[int, int] | None]:
    encoded = [text.encode() for text in texts]
    data = np.frombuffer(b"".join(encoded) or b"\0", np.uint8)
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    starts = ends - [len(text) for text in encoded]
    found, lengths = digests_of(
        data, starts, ends, normalise, np.zeros(len(texts), np.uint64) if seeds is None else seeds
    )
    assert [length == 0 for length in lengths.tolist()] == [not form(text, normalise) for text in texts]
    return [tuple(row) if length else None for row, length in zip(found.tolist(), lengths.tolist(), strict=True)]


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, min_size=2, max_size=12), st.sampled_from(["words", "spaces", "none"]))
def test_digests_are_equal_where_normal_forms_are(texts: list[str], normalise: Normalise) -> None:
    found = digests(texts, normalise)
    forms = [form(text, normalise) for text in texts]
    for one in range(len(texts)):
        for other in range(one):
            if found[one] is not None:
                assert (found[one] == found[other]) == (forms[one] == forms[other]), (texts[one], texts[other])


def test_long_texts_are_compared_to_their_end() -> None:
    long = "word " * 5000
    assert unicodedata.normalize("NFC", long) == long
    for normalise in ("words", "spaces", "none"):
        same, other, shorter, again = digests([long, long + "x", long[:-5], long], normalise)
        assert same == again and len({same, other, shorter}) == 3


def test_digests_are_those_of_every_run() -> None:
    """A changed digest is a deliberate change of the stages that use it: raise their versions."""
    found = digests(["The quick brown fox", "漢字 12,5"], "words")
    assert [f"{high:016x}{low:016x}" for high, low in found] == PINNED


def test_seeds_keep_passages_apart() -> None:
    a, b = digests(["text", "text"], "none", np.array([1, 2], np.uint64))
    assert a != b


PINNED = ["eea10f7bc1881f95e74a6651aec79b8f", "c18d49cc3d695974edc4e61cbfe32020"]
