"""Words of normalised text, as 64-bit hashes: what MinHash and exact deduplication compare.

The normalisation, which the tests state a second time in plain Python:

1. Each code point is put in lower case (`str.lower`, except that capital sigma always gives medial σ, and final ς too),
   decomposed canonically (NFD), and its non-spacing marks (category Mn) are removed. Marks are not put in canonical
   order, which could matter only for spacing marks next to each other.
2. White space ends a word. So does the punctuation of the Tibetan and Ethiopic scripts, which stands where others
   write a space.
3. All other punctuation and symbols (categories P, S), controls and format characters (Cc, Cf) are removed without
   ending a word: `don't` is `dont`, and `U.S.` is `us`. A symbol goes as a whole, whatever step 1 makes of it.
4. A run of decimal digits (Nd) of any script becomes one `0`; what 3 removes does not end the run: `1,234.56` is `0`.
5. In scripts that are written without spaces (SPACELESS) each remaining code point is a word by itself.
6. Everything else is part of a word: letters, spacing and enclosing marks, other numbers, private use and unassigned
   code points.

Bytes that are not UTF-8 read as U+FFFD, a symbol. The order and the list of steps follow datatrove's MinHash text
normalisation (`simplify_text`); its word tokenizer differs, and so does its punctuation, which is a list of 80 characters.

The hash of a word is over the UTF-8 bytes of its normalised form in groups of eight, the last one padded with zeros (no
normalised word holds U+0000): see `extend` and `finish`.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
from numba import njit

from stages.kernels import unicode as ucd
from stages.kernels.mixing import load8, trailing_zeros
from stages.kernels.unicode import decode

SPACELESS = tuple("Hani Hira Kana Bopo Yiii Tang Nshu Kits Thai Laoo Khmr Mymr Lana Tale Talu Tavt Ahom".split())
"""Scripts without spaces between words: those of line-breaking classes ID, CJ and SA (UAX #14, Unicode 15.0)."""
_SPACELESS_COMMON = (0x3006, 0x303C, 0x30FC, 0xFF70, 0xFF9E, 0xFF9F)
"""Kana and ideographic signs whose script is Common: 〆 〼 ー and the half-width ー ﾞ ﾟ."""
_SEPARATING = ("Tibt", "Ethi")

_TWO_PART = (
    0x09CB, 0x09CC, 0x0B4B, 0x0B4C, 0x0B94, 0x0BCA, 0x0BCB, 0x0BCC, 0x0CCB, 0x0D4A, 0x0D4B, 0x0D4C, 0x0DDC, 0x0DDD,
    0x0DDE, 0x1B06, 0x1B08, 0x1B0A, 0x1B0C, 0x1B0E, 0x1B12, 0x1B40, 0x1B41, 0x1134B, 0x1134C, 0x114BC, 0x114BE, 0x115BA,
    0x115BB, 0x11938,
)  # fmt: skip
"""Letters and vowel signs, Hangul apart, whose decomposition keeps two code points after step 1. Decompositions of
assigned characters never change (Unicode's stability policy), so any Python's `unicodedata` gives them."""

REMOVED, SEPARATOR, PART, ZERO, ALONE, HANGUL, PAIR = range(7)
"""What a code point does to the word: see the steps above. HANGUL is decomposed by arithmetic, PAIR by a table."""

START = 0x243F6A8885A308D3
"""Hash of the empty word. This and the odd multipliers are fractional digits of pi."""
EXTEND = 0x13198A2E03707345
FINISH = 0xA4093822299F31D1

_START = np.uint64(START)
_EXTEND = np.uint64(EXTEND)
_FINISH = np.uint64(FINISH)
_HIGH = np.uint64(0x8080808080808080)
_LOWER = np.uint64(0x2020202020202020)
_BELOW_A = np.uint64((0x80 - ord("a")) * 0x0101010101010101)
_ABOVE_Z = np.uint64((0x7F - ord("z")) * 0x0101010101010101)
_ZERO_BYTE = np.uint64(ord("0"))


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


@cache
def normal_forms() -> tuple[np.ndarray, np.ndarray]:
    """(forms, pairs). forms, uint64[SIZE]: by code point, the UTF-8 bytes of its normal form (little-endian, bits 0 to
    31; for a PAIR its row in `pairs`), their number (bits 48 to 51) and what it does (bits 56 and up). pairs,
    uint64[30, 2]: the forms of both parts. Both are read-only and made once per process."""
    kind = ucd.char_class()
    script = ucd.script()
    code = ucd.folded().copy()
    code[0x03C2] = 0x03C3  # final sigma
    action = np.full(ucd.SIZE, PART, np.uint64)
    action[np.isin(script, [ucd.SCRIPTS.index(name) for name in SPACELESS])] = ALONE
    action[list(_SPACELESS_COMMON)] = ALONE
    action[0xAC00:0xD7A4] = HANGUL
    action[kind == ucd.DIGIT] = ZERO
    # Private-use and unassigned code points have the script Zzzz; controls and format characters have another.
    controls = (kind == ucd.OTHER) & (script != 0)
    action[(kind == ucd.PUNCTUATION) | (kind == ucd.SYMBOL) | controls | (code == 0)] = REMOVED
    separating = np.isin(script, [ucd.SCRIPTS.index(name) for name in _SEPARATING])
    action[(kind == ucd.SPACE) | (separating & (kind == ucd.PUNCTUATION))] = SEPARATOR
    data, sizes = _utf8(code)
    forms = data | (sizes << np.uint64(48)) | (action << np.uint64(56))
    pairs = np.empty((len(_TWO_PART), 2), np.uint64)
    for row, whole in enumerate(_TWO_PART):
        first, second = (c for c in unicodedata.normalize("NFD", chr(whole)) if unicodedata.category(c) != "Mn")
        pairs[row] = forms[ord(first)], forms[ord(second)]
        forms[whole] = row | (PAIR << 56)
    forms.setflags(write=False)
    pairs.setflags(write=False)
    return forms, pairs


@njit(cache=True, nogil=True)
def extend(h: int, group: int) -> int:
    """The hash of a word after eight more bytes: a bijection of `h` for any group."""
    m = (h ^ group) * _EXTEND
    return m ^ (m >> np.uint64(32))


@njit(cache=True, nogil=True)
def finish(h: int) -> int:
    """The hash of a whole word."""
    m = h * _FINISH
    return m ^ (m >> np.uint64(29))


@njit(cache=True, nogil=True)
def append(h: int, group: int, held: int, data: int, size: int) -> tuple[int, int, int]:
    """Append `size` (1 to 8) bytes to a word whose last `held` (0 to 7) bytes lie in `group`."""
    shift = np.uint64(8 * held)
    group |= data << shift
    held += size
    if held >= 8:
        h = extend(h, group)
        held -= 8
        # Two shifts, since one by 64 is undefined.
        group = (data >> (np.uint64(56) - shift)) >> np.uint64(8)
    return h, group, held


@njit(cache=True, nogil=True)
def whole_word(h: int, group: int, held: int) -> int:
    """The hash of a word that ends here."""
    if held > 0:
        h = extend(h, group)
    return finish(h)


@njit(cache=True, nogil=True)
def jamo(code: int) -> int:
    """UTF-8 of a conjoining jamo (U+1100 to U+11FF), little-endian."""
    return np.uint64(0x8080E1 | ((code >> 6 & 0x3F) << 8) | ((code & 0x3F) << 16))


@njit(cache=True, nogil=True)
def hash_words(
    data: np.ndarray, i: int, end: int, forms: np.ndarray, pairs: np.ndarray, words: np.ndarray
) -> tuple[int, int]:
    """Hash the words of data[i:end] into `words`, until the text ends or fewer than two places are left.

    Args:
        data: uint8, text that need not be UTF-8.
        i: int64, where to begin: the start of a text, or where the last call stopped.
        forms, pairs: see `normal_forms`.
        words: uint64, at least two places.

    Returns (where to go on, number of words), both int64; the first is `end` when the text is done.
    """
    count = 0
    room = words.shape[0] - 1
    while i < end and count < room:
        h = _START
        group = np.uint64(0)
        held = 0
        inside = False
        zero = False
        while i < end:
            byte = np.int64(data[i])
            if byte == 32:
                i += 1
                if inside:
                    break
                continue
            if byte < 0x80 and np.uint64((byte | 32) - 97) < np.uint64(26) and i + 8 <= end:
                # Eight bytes at once: how many of the first are ASCII letters?
                raw = load8(data, i)
                lower = raw | _LOWER
                low = lower & ~_HIGH
                others = (~(low + _BELOW_A) | (low + _ABOVE_Z) | raw) & _HIGH
                inside = True
                zero = False
                if others == 0:
                    h, group, held = append(h, group, held, lower, 8)
                    i += 8
                else:
                    n = trailing_zeros(others) >> 3
                    lower &= (np.uint64(1) << np.uint64(8 * n)) - np.uint64(1)
                    h, group, held = append(h, group, held, lower, n)
                    i += n
                continue
            code, i = decode(data, i, end)
            form = forms[code]
            action = np.int64(form >> np.uint64(56))
            if action == PART:
                size = np.int64(form >> np.uint64(48)) & 15
                h, group, held = append(h, group, held, form & np.uint64(0xFFFFFFFF), size)
                inside = True
                zero = False
            elif action == SEPARATOR:
                if inside:
                    break
            elif action == ZERO:
                if not zero:
                    h, group, held = append(h, group, held, _ZERO_BYTE, 1)
                    inside = True
                    zero = True
            elif action == ALONE:
                if inside:
                    words[count] = whole_word(h, group, held)
                    count += 1
                size = np.int64(form >> np.uint64(48)) & 15
                h, group, held = append(_START, np.uint64(0), 0, form & np.uint64(0xFFFFFFFF), size)
                inside = True
                break
            elif action == HANGUL:
                s = code - 0xAC00
                h, group, held = append(h, group, held, jamo(0x1100 + s // 588), 3)
                h, group, held = append(h, group, held, jamo(0x1161 + s % 588 // 28), 3)
                if s % 28:
                    h, group, held = append(h, group, held, jamo(0x11A7 + s % 28), 3)
                inside = True
                zero = False
            elif action == PAIR:
                row = np.int64(form & np.uint64(0xFFFF))
                for part in range(2):
                    form = pairs[row, part]
                    size = np.int64(form >> np.uint64(48)) & 15
                    h, group, held = append(h, group, held, form & np.uint64(0xFFFFFFFF), size)
                inside = True
                zero = False
        if inside:
            words[count] = whole_word(h, group, held)
            count += 1
    return i, count


@njit(cache=True, nogil=True)
def one_character(form: int) -> int:
    """The hash of a character by itself: of a word that has only this one."""
    size = np.int64(form >> np.uint64(48)) & 15
    h, group, held = append(_START, np.uint64(0), 0, form & np.uint64(0xFFFFFFFF), size)
    return whole_word(h, group, held)


@njit(cache=True, nogil=True)
def hash_characters(
    data: np.ndarray, i: int, end: int, forms: np.ndarray, pairs: np.ndarray, characters: np.ndarray, state: int
) -> tuple[int, int, int]:
    """Hash the characters of the normalised data[i:end], until the text ends or fewer than four places are left.

    The normalised text is its words, with one space where white space (or what step 2 equals to it) lay between two of
    them. Each of its code points is one character.

    Args:
        data, i, end, forms, pairs: as for `hash_words`.
        characters: uint64, at least four places.
        state: 0 at the start of a text, then what the last call returned.

    Returns (where to go on, number of characters, state).
    """
    # state: 0 nothing yet, 1 after a character, 2 after the zero of a run of digits, 3 a space is due before the next.
    three = np.uint64(3) << np.uint64(48)
    space = one_character(np.uint64(32) | (np.uint64(1) << np.uint64(48)))
    zero = one_character(_ZERO_BYTE | (np.uint64(1) << np.uint64(48)))
    count = 0
    room = characters.shape[0] - 3
    while i < end and count < room:
        code, i = decode(data, i, end)
        form = forms[code]
        action = np.int64(form >> np.uint64(56))
        if action == REMOVED or (action == ZERO and state == 2):
            continue
        if action == SEPARATOR:
            if state > 0:
                state = 3
            continue
        if state == 3:
            characters[count] = space
            count += 1
        state = 1
        if action == ZERO:
            characters[count] = zero
            count += 1
            state = 2
        elif action == HANGUL:
            s = code - 0xAC00
            characters[count] = one_character(jamo(0x1100 + s // 588) | three)
            characters[count + 1] = one_character(jamo(0x1161 + s % 588 // 28) | three)
            count += 2
            if s % 28:
                characters[count] = one_character(jamo(0x11A7 + s % 28) | three)
                count += 1
        elif action == PAIR:
            row = np.int64(form & np.uint64(0xFFFF))
            characters[count] = one_character(pairs[row, 0])
            characters[count + 1] = one_character(pairs[row, 1])
            count += 2
        else:
            characters[count] = one_character(form)
            count += 1
    return i, count, state
