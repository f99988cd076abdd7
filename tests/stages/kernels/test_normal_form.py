"""NFC in kernels against Python's `unicodedata`: every code point, and sequences of marks, letters and jamo."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.stages.kernels import unicode
from gristmill.stages.kernels.normal_form import (
    CAPITALS,
    COMPOSABLE,
    MAX_GROWTH,
    NORMAL,
    check,
    forms,
    normalise,
)


def _assigned(code: int) -> bool:
    """Whether the pinned and the running version of Unicode both assign a code point, which then has one normal form."""
    return unicodedata.category(chr(code)) != "Cn" and (
        unicode.char_class()[code] != unicode.OTHER or unicodedata.category(chr(code)) in ("Cc", "Cf", "Co")
    )


ASSIGNED = [code for code in range(unicode.SIZE) if not 0xD800 <= code < 0xE000 and _assigned(code)]
MARKS = [code for code in ASSIGNED if unicodedata.combining(chr(code))]
JOINING = sorted({int(code) for code in unicode.compositions()[:, :2].ravel()})
COMPOSED = [int(code) for code in unicode.decompositions()[:, 0]]
HANGUL = [0x1100, 0x1112, 0x1113, 0x1161, 0x1175, 0x11A7, 0x11A8, 0x11C2, 0xAC00, 0xAC01, 0xAC1C, 0xD7A3]


def buffers(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    return np.frombuffer(b"".join(texts), np.uint8), offsets


def normalised(texts: Sequence[bytes]) -> list[bytes]:
    data, offsets = buffers(texts)
    out, places = np.empty(MAX_GROWTH * len(data) + 1, np.uint8), np.empty(len(texts) + 1, np.int64)
    normalise(data, offsets, np.arange(len(texts)), forms(), out, places)
    assert places[-1] <= MAX_GROWTH * len(data)
    return [out[places[i] : places[i + 1]].tobytes() for i in range(len(texts))]


def checked(texts: Sequence[bytes]) -> list[int]:
    found = np.empty(len(texts), np.uint8)
    check(*buffers(texts), forms().properties, found)
    return found.tolist()


def compare(texts: Sequence[str]) -> None:
    encoded = [text.encode() for text in texts]
    expected = [unicodedata.normalize("NFC", text).encode() for text in texts]
    assert normalised(encoded) == expected
    for text, kind, wanted in zip(encoded, checked(encoded), expected, strict=True):
        assert kind != NORMAL or text == wanted, text


def test_every_code_point_has_the_normal_form_of_unicodedata() -> None:
    compare([chr(code) for code in ASSIGNED])


def test_every_composed_character_before_and_after_marks_has_it_too() -> None:
    for mark in ("\u0301", "\u0323", "\u0345", "\u093c", "\u3099", "\u11a8", "\u0338"):
        compare([f"a{mark}{chr(code)}{mark}\u0323b" for code in COMPOSED])


def test_every_pair_that_joins_is_joined_next_to_other_marks() -> None:
    pairs = [chr(first) + chr(second) for first, second, _ in unicode.compositions().tolist()]
    compare([*pairs, *(f"{pair}\u0323" for pair in pairs), *(f"{pair[0]}\u0323{pair[1]}" for pair in pairs)])
    assert NORMAL not in checked([pair.encode() for pair in pairs])


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(MARKS),
            st.sampled_from(JOINING),
            st.sampled_from(COMPOSED),
            st.sampled_from(HANGUL),
            st.sampled_from(ASSIGNED),
            st.integers(32, 126),
        ),
        max_size=40,
    )
)
def test_any_sequence_has_the_normal_form_of_unicodedata(codes: list[int]) -> None:
    text = "".join(map(chr, codes))
    compare([text, unicodedata.normalize("NFD", text), text[1:], "", text])


def test_runs_of_marks_of_any_length_are_ordered_at_once() -> None:
    compare(["q" + "\u0301\u0323\u05b0\u3099" * 100 + "b", "e" + "\u0301\u0323" * 20, "x" * 9 + "\u0344" * 300])
    marks = "\u0301\u0323\u05b0\u3099" * 50_000  # `unicodedata` takes minutes for these.
    ordered = "".join(sorted(marks, key=unicodedata.combining))
    assert normalised([f"q{marks}b".encode(), marks.encode()]) == [f"q{ordered}b".encode(), ordered.encode()]


def test_texts_are_sorted_into_normal_composable_and_capitals() -> None:
    texts = ["Abc déjà", "E\u0301 e", "ABC ÉÀ", "ÉÀ 123", "ABCDEFGHIJ 1", "123 漢字", "", "ǅ ABC", "a\u0323\u0301"]
    texts += ["ABCDEFGHz", "\u0301", "E\u0301", "\u1100\u1161", "a\u0301\u0323 x"]
    found = checked([text.encode() for text in texts])
    expected = [NORMAL, COMPOSABLE, CAPITALS, CAPITALS, CAPITALS, NORMAL, NORMAL, NORMAL, COMPOSABLE]
    expected += [NORMAL, COMPOSABLE, CAPITALS, COMPOSABLE, COMPOSABLE]
    assert found == expected


@given(st.binary(max_size=60))
def test_bytes_that_are_no_utf_8_stay_as_they_are(body: bytes) -> None:
    for text, found in zip((body, b"e\xcc\x81" + body), normalised([body, b"e\xcc\x81" + body]), strict=True):
        kept = text.decode("utf-8", "surrogateescape")
        joined = unicodedata.normalize("NFC", kept)
        if all(_assigned(ord(char)) or 0xD800 <= ord(char) < 0xE000 for char in kept):
            assert found == joined.encode("utf-8", "surrogateescape")


def test_tables_are_pinned_and_cannot_be_written() -> None:
    digests = [hashlib.sha256(table.tobytes()).hexdigest()[:16] for table in forms()]
    assert digests == ["de9dde751bd88754", "69af5b669b000014", "86998a5abf39b041", "b665ec2023619bb6"]
    with pytest.raises(ValueError, match="read-only"):
        forms().properties[0] = 1
