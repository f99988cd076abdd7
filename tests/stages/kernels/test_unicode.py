"""The Unicode tables and the UTF-8 decoder, against Python's own."""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from gristmill.stages.kernels import build_unicode, unicode
from gristmill.stages.kernels.unicode import SCRIPTS, char_class, decode, folded, lowered, script

RUNNING = tuple(int(part) for part in unicodedata.unidata_version.split("."))
PINNED = tuple(int(part) for part in unicode.UNICODE_VERSION.split("."))
# Between two versions of Unicode a handful of assigned characters change class; new ones appear in thousands.
CHANGED_BETWEEN_VERSIONS = 0 if RUNNING == PINNED else 12


@njit
def _decode_all(data: np.ndarray, start: int, end: int) -> np.ndarray:
    codes = np.empty(max(end - start, 0), np.int64)
    count = 0
    i = start
    while i < end:
        code, i = decode(data, i, end)
        codes[count] = code
        count += 1
    return codes[:count]


def _decoded(data: bytes) -> list[int]:
    # The bytes after the end would complete a sequence that the end cuts: they must not be read.
    padded = np.frombuffer(data + b"\x80\x80\x80\x80", np.uint8)
    return _decode_all(padded, 0, len(data)).tolist()


def _reference(data: bytes) -> list[int]:
    """One replacement per byte that starts no well-formed sequence; Python's strict decoder is the judge."""
    codes = []
    i = 0
    while i < len(data):
        for length in (1, 2, 3, 4):
            try:
                text = data[i : i + length].decode("utf-8")
            except UnicodeDecodeError:
                continue
            codes.append(ord(text[0]))
            i += length
            break
        else:
            codes.append(0xFFFD)
            i += 1
    return codes


def _assigned() -> np.ndarray:
    """Code points that both the pinned and the running version of Unicode assign."""
    running = np.array([unicodedata.category(chr(code)) != "Cn" for code in range(unicode.SIZE)])
    return np.flatnonzero(running & (char_class() != unicode.OTHER))


@given(st.text())
def test_valid_text_decodes_to_its_code_points(text: str) -> None:
    assert _decoded(text.encode("utf-8", "ignore")) == [ord(c) for c in text if not 0xD800 <= ord(c) < 0xE000]


@given(st.binary())
def test_any_bytes_decode_as_the_strict_decoder_judges_them(data: bytes) -> None:
    assert _decoded(data) == _reference(data)


@given(st.lists(st.sampled_from(bytes.fromhex("41808f909fa0bfc0c1c2e0edeff0f4f5ff"))))
def test_overlong_forms_surrogates_and_too_large_values_are_replaced(data: list[int]) -> None:
    assert _decoded(bytes(data)) == _reference(bytes(data))


def test_every_code_point_survives_encoding_and_decoding() -> None:
    text = "".join(chr(code) for code in range(unicode.SIZE) if not 0xD800 <= code < 0xE000)
    data = np.frombuffer(text.encode("utf-8"), np.uint8)
    expected = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    assert np.array_equal(_decode_all(data, 0, len(data)), expected)


def test_a_sequence_cut_by_the_end_is_replaced_byte_by_byte() -> None:
    for char in "é€😀":
        encoded = char.encode()
        for cut in range(1, len(encoded)):
            assert _decoded(encoded[:cut]) == [0xFFFD] * cut


def test_classes_agree_with_the_running_python_on_common_code_points() -> None:
    codes = _assigned()
    classes = char_class()[codes]
    space = np.array([chr(code).isspace() for code in codes])
    alpha = np.array([chr(code).isalpha() for code in codes])
    first = np.array([unicodedata.category(chr(code))[0] for code in codes])
    decimal = np.array([unicodedata.category(chr(code)) == "Nd" for code in codes])
    for name, found, expected in (
        ("space", classes == unicode.SPACE, space),
        ("letter", classes == unicode.LETTER, alpha),
        ("mark", classes == unicode.MARK, first == "M"),
        ("digit", classes == unicode.DIGIT, decimal),
        ("number", classes == unicode.NUMBER, (first == "N") & ~decimal),
        ("punctuation", classes == unicode.PUNCTUATION, first == "P"),
        ("symbol", classes == unicode.SYMBOL, first == "S"),
    ):
        assert np.count_nonzero(found != expected) <= CHANGED_BETWEEN_VERSIONS, name


def test_lower_case_agrees_with_the_running_python() -> None:
    codes = _assigned()
    expected = np.array([ord(chr(code).lower()[0]) for code in codes])
    assert np.count_nonzero(lowered()[codes] != expected) <= CHANGED_BETWEEN_VERSIONS
    assert [code for code in codes if len(chr(code).lower()) > 1] == [0x130]
    assert lowered()[0x130] == ord("i")


@pytest.mark.parametrize(
    ("char", "expected"),
    [
        ("É", "e"), ("ﬁ", "ﬁ"), ("ß", "ß"), ("İ", "i"), ("\u0301", None), ("Й", "и"), ("ё", "е"), ("Ἀ", "α"),
        ("が", "か"), ("가", "가"), ("각", "각"), ("ொ", "ொ"), ("ि", "ि"), ("्", None), ("A", "a"),
        ("7", "7"), ("Ø", "ø"),
    ],
)  # fmt: skip
def test_folding_takes_case_and_diacritics_away_and_keeps_what_has_several_bases(
    char: str, expected: str | None
) -> None:
    assert folded()[ord(char)] == (0 if expected is None else ord(expected))


def test_different_hangul_syllables_stay_different() -> None:
    syllables = np.arange(0xAC00, 0xD7A4)
    assert len(np.unique(folded()[syllables])) == len(syllables)


def test_folding_twice_changes_nothing_more() -> None:
    table = folded()
    assert np.array_equal(table[table], table)


@pytest.mark.parametrize(
    ("char", "expected"),
    [
        ("a", "Latn"), ("я", "Cyrl"), ("ن", "Arab"), ("漢", "Hani"), ("ひ", "Hira"), ("カ", "Kana"),
        ("한", "Hang"),
        ("ก", "Thai"), ("ລ", "Laoo"), ("א", "Hebr"), ("α", "Grek"), ("ა", "Geor"), ("अ", "Deva"),
        (" ", "Zyyy"), ("5", "Zyyy"), ("\u0301", "Zinh"), ("\U00011f02", "Kawi"), ("\u0378", "Zzzz"),
    ],
)  # fmt: skip
def test_scripts_of_known_characters(char: str, expected: str) -> None:
    assert SCRIPTS[script()[ord(char)]] == expected


def test_the_codes_of_the_build_script_are_those_of_the_module() -> None:
    assert build_unicode.UNICODE_VERSION == unicode.UNICODE_VERSION
    assert build_unicode.SPACE == unicode.SPACE
    assert build_unicode.CLASS_BY_CATEGORY == {
        "L": unicode.LETTER,
        "M": unicode.MARK,
        "Nd": unicode.DIGIT,
        "Nl": unicode.NUMBER,
        "No": unicode.NUMBER,
        "P": unicode.PUNCTUATION,
        "S": unicode.SYMBOL,
    }


def test_tables_are_pinned_and_cannot_be_written() -> None:
    digests = {
        name: hashlib.sha256(table().tobytes()).hexdigest()[:16]
        for name, table in (("class", char_class), ("lower", lowered), ("fold", folded), ("script", script))
    }
    assert digests == {
        "class": "de226fd2ad69d538",
        "lower": "2f1a7b3137115900",
        "fold": "815a11bb732b29c4",
        "script": "a2bc3a19dd9aa9de",
    }
    with pytest.raises(ValueError, match="read-only"):
        char_class()[0] = 1
