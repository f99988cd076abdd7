"""Text normalised for comparison: the bytes whose words MinHash and exact deduplication hash.

The normalisation, which the tests state a second time in plain Python:

1. Each code point is put in lower case (`str.lower`, except that capital sigma always gives medial σ, and final ς too),
   decomposed canonically (NFD), and its non-spacing marks (category Mn) are removed. Marks are not put in canonical
   order, which could matter only for spacing marks next to each other.
2. White space ends a word. So does the punctuation of the Tibetan and Ethiopic scripts, which stands where others
   write a space.
3. All other punctuation and symbols (categories P, S), controls and format characters (Cc, Cf) are removed without
   ending a word: `don't` is `dont`, and `U.S.` is `us`. A symbol goes as a whole, whatever step 1 makes of it.
4. A run of decimal digits (Nd) of any script becomes one `0`; what 3 removes does not end the run: `1,234.56` is `0`.
5. In scripts that are written without spaces (`unicode.SPACELESS`) each remaining code point is a word by itself.
6. Everything else is part of a word: letters, spacing and enclosing marks, other numbers, private use and unassigned
   code points.

Bytes that are not UTF-8 read as U+FFFD, a symbol. The order and the list of steps follow datatrove's MinHash text
normalisation (`simplify_text`); its word tokenizer differs, and so does its punctuation, which is a list of 80 characters.

In the bytes, words are parted by SPACE where something of step 2 stood, and by EDGE on both sides of a word of step 5.
There may be several in a row. No other byte is as low as these.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from gristmill.stages.deduplication.kernels.hash_bits import copy_plain, plain_bits, trailing_zeros
from gristmill.stages.kernels import unicode as ucd
from gristmill.stages.kernels.pointers import pointer, store8_at
from gristmill.stages.kernels.scalars import Int
from gristmill.stages.kernels.unicode import decode

SPACE = 0x20
EDGE = 0x00
_SEPARATING = ("Tibt", "Ethi")

_TWO_PART = (
    0x09CB, 0x09CC, 0x0B4B, 0x0B4C, 0x0B94, 0x0BCA, 0x0BCB, 0x0BCC, 0x0CCB, 0x0D4A, 0x0D4B, 0x0D4C, 0x0DDC, 0x0DDD,
    0x0DDE, 0x1B06, 0x1B08, 0x1B0A, 0x1B0C, 0x1B0E, 0x1B12, 0x1B40, 0x1B41, 0x1134B, 0x1134C, 0x114BC, 0x114BE, 0x115BA,
    0x115BB, 0x11938,
)  # fmt: skip
"""Letters and vowel signs, Hangul apart, whose decomposition keeps two code points after step 1. Decompositions of
assigned characters never change (Unicode's stability policy), so any Python's `unicodedata` gives them."""

PLAIN, DIGIT, HANGUL, PAIR = range(4)
"""How a form is written: as it stands; once in a run; decomposed by arithmetic; from the table of pairs."""
MARGIN = 128
"""Bytes that must be free behind what is written: whole vectors are stored."""

_BYTES = np.uint64(0xFFFFFFFFFFFF)
_DIGIT = np.uint64(DIGIT)
_HANGUL = np.uint64(HANGUL)
_WAY = np.uint64(56)


def _utf8(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """UTF-8 of code points as little-endian integers, and their numbers of bytes; both uint64."""
    c = codes.astype(np.uint64)
    low, bits = np.uint64(0x3F), np.uint64(0x80)

    def trail(shift: int, place: int) -> np.ndarray:
        return (((c >> np.uint64(shift)) & low) | bits) << np.uint64(8 * place)

    sizes = 1 + (c >= 0x80).astype(np.uint64) + (c >= 0x800) + (c >= 0x10000)
    two = (np.uint64(0xC0) | (c >> np.uint64(6))) | trail(0, 1)
    three = (np.uint64(0xE0) | (c >> np.uint64(12))) | trail(6, 1) | trail(0, 2)
    four = (np.uint64(0xF0) | (c >> np.uint64(18))) | trail(12, 1) | trail(6, 2) | trail(0, 3)
    return np.select([sizes == 1, sizes == 2, sizes == 3], [c, two, three], four), sizes


class NormalForms(NamedTuple):
    """What is written for each code point.

    Attributes:
        forms: uint64[SIZE], by code point: up to six bytes (the first in bits 0 to 7; for a PAIR its row in `pairs`), their
            number (bits 48 to 51), and how (bits 56 and up).
        pairs: uint64[30, 2], the forms of both parts.
    """

    forms: np.ndarray
    pairs: np.ndarray


@cache
def normal_forms() -> NormalForms:
    """The tables, read-only and made once per process."""
    kind = ucd.char_class()
    script = ucd.script()
    code = ucd.folded().copy()
    code[0x03C2] = 0x03C3  # final sigma
    data, sizes = _utf8(code)
    spaceless = ucd.spaceless()
    data = np.where(spaceless, (data << np.uint64(8)) | EDGE | (np.uint64(EDGE) << ((sizes + 1) << 3)), data)
    sizes = np.where(spaceless, sizes + np.uint64(2), sizes)
    digit = kind == ucd.DIGIT
    data[digit], sizes[digit] = ord("0"), 1
    # Private-use and unassigned code points have the script Zzzz; controls and format characters have another.
    controls = (kind == ucd.OTHER) & (script != 0)
    removed = (kind == ucd.PUNCTUATION) | (kind == ucd.SYMBOL) | controls | (code == 0)
    data[removed], sizes[removed] = 0, 0
    separating = np.isin(script, [ucd.SCRIPTS.index(name) for name in _SEPARATING])
    space = (kind == ucd.SPACE) | (separating & (kind == ucd.PUNCTUATION))
    data[space], sizes[space] = SPACE, 1
    way = np.where(digit, DIGIT, PLAIN).astype(np.uint64)
    way[0xAC00:0xD7A4] = HANGUL
    forms = data | (sizes << np.uint64(48)) | (way << _WAY)
    pairs = np.empty((len(_TWO_PART), 2), np.uint64)
    for row, whole in enumerate(_TWO_PART):
        first, second = (c for c in unicodedata.normalize("NFD", chr(whole)) if unicodedata.category(c) != "Mn")
        pairs[row] = forms[ord(first)], forms[ord(second)]
        forms[whole] = row | (PAIR << 56)
    forms.setflags(write=False)
    pairs.setflags(write=False)
    return NormalForms(forms, pairs)


@njit(cache=True, nogil=True)
def jamo(code: Int) -> np.uint64:
    """UTF-8 of a conjoining jamo (U+1100 to U+11FF), little-endian."""
    return np.uint64(0x8080E1 | ((code >> 6 & 0x3F) << 8) | ((code & 0x3F) << 16))


@njit(cache=True, nogil=True)
def size_of(form: np.uint64) -> np.int64:
    """Bytes of a form, int64."""
    return np.int64(form >> np.uint64(48)) & 15


@njit(cache=True, nogil=True)
def normalise(
    data: np.ndarray, i: Int, end: Int, tables: NormalForms, out: np.ndarray, o: Int, digits: bool
) -> tuple[Int, Int, bool]:
    """Write the normal form of data[i:end] to out[o:], until the text ends or fewer than MARGIN bytes are free.

    Args:
        data: uint8, text that need not be UTF-8.
        i, end: int64; i is the start of a text, or where the last call stopped.
        out: uint8; bytes behind what is written are overwritten with anything.
        digits: False at the start of a text, then what the last call returned.

    Returns (where to go on, end of what was written, digits). Whole code points are read, and their forms are written
    whole.
    """
    forms, pairs = tables.forms, tables.pairs
    text, normal = pointer(data), pointer(out)
    readable = data.shape[0] - 64
    room = out.shape[0] - MARGIN
    base: Int = np.int64(-64)
    others = np.uint64(0)
    while i < end and o <= room:
        if i <= readable:
            # 64 bytes at once: as many as are ASCII letters and white space stand there, as they should be.
            if i - base >= 64:
                base = i
                others = ~plain_bits(text, i)
            copy_plain(text, i, normal, o)
            plain: Int = min(trailing_zeros(others >> np.uint64(i - base)), min(base + 64, end) - i)
            i += plain
            o += plain
            digits = digits and plain == 0
            if i - base >= 64 or i >= end:
                continue
        byte = np.int64(text[i])
        if byte < 0x80:
            form = forms[byte]
            i += 1
            # Nothing is written for a digit after a digit. Selected, not branched to, since it cannot be predicted.
            digit = (form >> _WAY) == _DIGIT
            size = 0 if digit and digits else size_of(form)
            store8_at(normal, o, form & _BYTES)
            o += size
            digits = digit or (digits and size == 0)
            continue
        while byte >= 0x80 and o <= room:
            if 0xC2 <= byte < 0xE0 and i + 2 <= end and (np.int64(text[i + 1]) ^ 0x80) < 0x40:
                code = ((byte & 0x1F) << 6) | (np.int64(text[i + 1]) ^ 0x80)
                i += 2
            elif (
                0xE1 <= byte < 0xED
                and i + 3 <= end
                and ((np.int64(text[i + 1]) ^ 0x80) | (np.int64(text[i + 2]) ^ 0x80)) < 0x40
            ):
                code = ((byte & 0x0F) << 12) | ((np.int64(text[i + 1]) ^ 0x80) << 6) | (np.int64(text[i + 2]) ^ 0x80)
                i += 3
            else:
                # A call, which costs several times what the two branches above do.
                code, i = decode(data, i, end)
            form = forms[code]
            if form < (_DIGIT << _WAY):
                size = size_of(form)
                store8_at(normal, o, form & _BYTES)
                o += size
                digits = digits and size == 0
            else:
                o, digits = _write_other(normal, o, form, code, pairs, digits)
            if i >= end:
                break
            byte = np.int64(text[i])
    return i, o, digits


@njit(cache=True, nogil=True)
def _write_other(normal: Any, o: Int, form: np.uint64, code: Int, pairs: np.ndarray, digits: bool) -> tuple[Int, bool]:
    """Write a form that is not PLAIN. Returns (end of what was written, digits)."""
    way = form >> _WAY
    if way == _DIGIT:
        if not digits:
            store8_at(normal, o, form & _BYTES)
            o += 1
        return o, True
    if way == _HANGUL:
        s = code - 0xAC00
        store8_at(normal, o, jamo(0x1100 + s // 588) | (jamo(0x1161 + s % 588 // 28) << np.uint64(24)))
        store8_at(normal, o + 6, jamo(0x11A7 + s % 28))
        return o + (9 if s % 28 else 6), False
    for part in range(2):
        one = pairs[np.int64(form & np.uint64(0xFFFF)), part]
        store8_at(normal, o, one & _BYTES)
        o += size_of(one)
    return o, False
