"""What a tokenizer splits off the beginning and the end of a token and where it divides its middle: one function each.

All look at the part [lo, hi) of a chunk; `features` are the tokenizer's (`tokenizer.rules`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from gristmill.stages.kernels.hashing64 import hash_bytes
from gristmill.stages.kernels.scalars import Bool, Int
from gristmill.stages.quality.tokenizer import flags as flag
from gristmill.stages.quality.tokenizer import rules as rule
from gristmill.stages.quality.tokenizer.chunk import Chunk, Tokenizer

_STOP = 0x2E
_HYPHEN = 0x2D
_APOSTROPHE = 0x27
_RIGHT_QUOTE = 0x2019
_EN_DASH = 0x2013
_EM_DASH = 0x2014


@njit(nogil=True)
def find_exception(compact: Any, at: Any, lo: Int, hi: Int, tokenizer: Tokenizer, seed: Int) -> Int:
    """Slot of the exception or unit compact[at[lo]:at[hi]], or −1; `at` points to int32 offsets in the compact text."""
    keys = tokenizer.keys
    start = tokenizer.start
    begin = np.int64(at[lo])
    end = np.int64(at[hi])
    if end - begin > rule.LONGEST_EXCEPTION or end == begin:
        return np.int64(-1)
    if seed == rule.EXCEPTION_SEED:
        bit = rule.sieve_bit(compact[begin], compact[end - 1], end - begin)
        if not (keys[start - rule.SIEVE + (bit >> 6)] >> np.uint64(bit & 63)) & np.uint64(1):
            return np.int64(-1)
    key = hash_bytes(compact, begin, end, np.uint64(seed))
    slot = np.int64(key) & tokenizer.mask
    while True:
        found = keys[start + slot]
        if found == key:
            return start + slot
        if found == np.uint64(0):
            return np.int64(-1)
        slot = (slot + 1) & tokenizer.mask


@njit(nogil=True)
def is_digit(code: Int) -> Bool:
    """Whether a code point is one of 0 to 9."""
    return 0x30 <= code <= 0x39


@njit(nogil=True)
def is_hyphen(code: Int) -> Bool:
    """Whether a code point is a hyphen or a dash."""
    return code == _HYPHEN or code == _EN_DASH or code == _EM_DASH or code == 0x2010 or code == 0x2011


@njit(nogil=True)
def is_currency(code: Int) -> Bool:
    """Whether a code point is a currency sign that is split off a number."""
    if code < 0x80:
        return code == 0x24
    return code == 0xA3 or code == 0xA5 or code == 0xE3F or 0x20A0 <= code <= 0x20BF or code == 0xFDFC


@njit(nogil=True)
def _malay_currency(codes: Any, lo: Int, hi: Int) -> Int:
    """Letters of USD, RM, MYR, Rp, IDR, RMB, SGD or S$ at the beginning of [lo, hi); RM goes before RMB."""
    first = codes[lo]
    second = codes[lo + 1] if lo + 1 < hi else np.uint32(0)
    third = codes[lo + 2] if lo + 2 < hi else np.uint32(0)
    if first == 0x52 and (second == 0x4D or second == 0x70):
        return 2
    if first == 0x53 and second == 0x24:
        return 2
    if first == 0x55 and second == 0x53 and third == 0x44:
        return 3
    if first == 0x4D and second == 0x59 and third == 0x52:
        return 3
    if first == 0x49 and second == 0x44 and third == 0x52:
        return 3
    if first == 0x53 and second == 0x47 and third == 0x44:
        return 3
    return 0


@njit(nogil=True)
def prefix_length(chunk: Chunk, lo: Int, hi: Int, features: Int) -> Int:
    """Code points to split off the beginning of the chunk's [lo, hi)."""
    codes = chunk.codes
    flags = chunk.flags
    code = codes[lo]
    if code == _STOP:
        run = lo + 1
        while run < hi and codes[run] == _STOP:
            run += 1
        return run - lo if run - lo > 1 else 0
    if flags[lo] & flag.PREFIX:
        if code == 0x2B and lo + 1 < hi and 0x30 <= codes[lo + 1] <= 0x39:
            return 0
        return 0 if code == 0x23 and features & rule.MALAY else 1
    if features & rule.MALAY:
        if code == 0x2F:
            return 1
        currency = _malay_currency(codes, lo, hi)
        if currency:
            return currency
    # Dollars of a country: US$, C$, A$.
    if code == 0x55 and lo + 2 < hi and codes[lo + 1] == 0x53 and codes[lo + 2] == 0x24:
        return 3
    if (code == 0x41 or code == 0x43) and lo + 1 < hi and codes[lo + 1] == 0x24:
        return 2
    return 0


@njit(nogil=True)
def suffix_length(chunk: Chunk, lo: Int, hi: Int, tokenizer: Tokenizer) -> Int:
    """Code points to split off the end of the chunk's [lo, hi): the longest of the suffix rules that apply."""
    codes = chunk.codes
    flags = chunk.flags
    features = tokenizer.features
    last = codes[hi - 1]
    last_flags = flags[hi - 1]
    size = hi - lo
    if last == _STOP:
        run = hi - 1
        while run > lo and codes[run - 1] == _STOP:
            run -= 1
        if hi - run > 1:
            return hi - run
        if size == 1:
            return 1 if features & rule.STOP_ALWAYS else 0
        before = flags[hi - 2]
        if features & rule.STOP_ALWAYS:
            return 1
        if features & rule.STOP_AFTER_UPPER:
            return 1 if size > 2 and before & flag.UPPER and flags[hi - 3] & flag.UPPER else 0
        if is_digit(codes[hi - 2]):
            return 1 if features & rule.STOP_AFTER_DIGIT else 0
        if before & flag.BEFORE_STOP:
            return 1
        if size > 2:
            if before & flag.UPPER and flags[hi - 3] & flag.UPPER:
                return 1
            if codes[hi - 3] == 0xB0 and codes[hi - 2] in (0x46, 0x66, 0x43, 0x63, 0x4B, 0x6B):
                return 1
            if features & rule.COMBINING and 0x300 <= codes[hi - 2] < 0x370 and flags[hi - 3] & flag.ALPHA:
                return 1
        return 0
    if (last == 0x73 or last == 0x53) and size >= 2 and features & rule.APOSTROPHE_S:
        if codes[hi - 2] == _APOSTROPHE or codes[hi - 2] == _RIGHT_QUOTE:
            return 2
    if last_flags & flag.SUFFIX:
        if last == _EN_DASH or last == _EM_DASH:
            if features & (rule.DASH_SUFFIX | rule.MALAY):
                return 1
        elif last == _APOSTROPHE:
            if not features & rule.APOSTROPHE_INSIDE:
                return 1
            # Scandinavian possessives keep the apostrophe after s, x and z.
            if size >= 2 and codes[hi - 2] not in (0x73, 0x53, 0x78, 0x58, 0x7A, 0x5A):
                return 1
        elif not (last_flags & flag.ALWAYS_INFIX and features & rule.ICON_SUFFIX_OFF and last != 0x2026):
            return 1
    if last == 0x2F and features & rule.SLASH_SUFFIX:
        return 1
    if 0x1360 <= last <= 0x1368 and features & rule.ETHIOPIC:
        return 1
    if features & rule.MALAY:
        if last == _HYPHEN:
            return 1
        if last == 0x61 and size >= 4 and codes[hi - 2] == 0x79 and codes[hi - 4] == _HYPHEN:
            if codes[hi - 3] == 0x6E or codes[hi - 3] == 0x4E:
                return 4
        if last == 0x75 and size >= 3 and codes[hi - 3] == _HYPHEN and codes[hi - 2] in (0x4B, 0x6B, 0x4D, 0x6D):
            return 3
    if features & rule.COMPOUNDS:
        for length in range(2, 6):
            if length >= size:
                break
            if is_hyphen(codes[hi - length]):
                if flags[hi - length - 1] & flag.ALPHA:
                    first = hi - length + 1
                    found = find_exception(chunk.compact, chunk.at, first, hi, tokenizer, rule.ENCLITIC_SEED)
                    if found >= 0:
                        return length
                break
    if size < 2:
        return 0
    # What is split off a number: a sign, a currency, a unit.
    if is_digit(codes[hi - 2]):
        if last == 0x2B or is_currency(last):
            return 1
        if last == 0x25:
            return 1 if features & rule.PERCENT_SUFFIX else 0
    if last == 0x24 and size > 2 and not flags[hi - 2] & flag.SUFFIX:
        if codes[hi - 2] in (0x41, 0x43) and is_digit(codes[hi - 3]):
            return 2
        if size > 3 and codes[hi - 2] == 0x53 and codes[hi - 3] == 0x55 and is_digit(codes[hi - 4]):
            return 3
    for length in range(1, 6):
        if length >= size:
            break
        if is_digit(codes[hi - length]):
            break
        if is_digit(codes[hi - length - 1]):
            found = find_exception(chunk.compact, chunk.at, hi - length, hi, tokenizer, rule.UNIT_SEED)
            return length if found >= 0 else 0
    return 0


@njit(nogil=True)
def _inside_mark(code: Int, flags_of: Int) -> Bool:
    """Marks that divide between letters under MARKS_INSIDE, the comma among them."""
    if flags_of & flag.QUOTE:
        return code != _APOSTROPHE
    return code in (0x21, 0x2C, 0x3F, 0x28, 0x29, 0x5B, 0x5D)


@njit(nogil=True)
def infix_length(chunk: Chunk, i: Int, lo: Int, hi: Int, features: Int) -> Int:
    """Code points of the infix at i, 0 for none; −1 for a division before i without an infix."""
    codes = chunk.codes
    flags = chunk.flags
    code = codes[i]
    here = flags[i]
    if not here & flag.ACTIVE:
        if features & rule.ELISION_FIRST and i == lo + 2 and here & flag.ALPHA:
            mark = codes[lo + 1]
            if (mark == _APOSTROPHE or mark == _RIGHT_QUOTE) and codes[lo] in (0x64, 0x44):
                return -1
        if features & rule.ELISION and i >= lo + 2 and here & flag.ALPHA:
            mark = codes[i - 1]
            if (mark == _APOSTROPHE or mark == _RIGHT_QUOTE) and flags[i - 2] & flag.ALPHA:
                return -1
        return 0
    if code == _STOP and i + 1 < hi and codes[i + 1] == _STOP:
        run = i + 1
        while run < hi and codes[run] == _STOP:
            run += 1
        return run - i
    if here & flag.ALWAYS_INFIX:
        return 1
    if i == lo or i + 1 == hi:
        return 0
    left_code = codes[i - 1]
    left = flags[i - 1]
    if features & rule.COMBINING and 0x300 <= left_code < 0x370 and i >= lo + 2:
        left = flags[i - 2] & (flag.ALPHA | flag.LOWER)
    right_code = codes[i + 1]
    right = flags[i + 1]
    if features & rule.HYPHEN_ALWAYS and (code == _HYPHEN or code == _EN_DASH or code == _EM_DASH or code == 0x7E):
        return 1
    if code == _STOP:
        if features & rule.STOP_AMONG_DIGITS:
            if (left & flag.ALPHA or is_digit(left_code)) and (right & flag.UPPER or is_digit(right_code)):
                return 1
            return 0
        if features & rule.STOP_BESIDE_QUOTE:
            return 1 if left & (flag.LOWER | flag.QUOTE) and right & (flag.UPPER | flag.QUOTE) else 0
        return 1 if left & flag.LOWER and right & flag.UPPER else 0
    after_letter = left & flag.ALPHA
    after_digit = is_digit(left_code)
    before_letter = right & flag.ALPHA
    if code == 0x2C:
        return 1 if after_letter and before_letter else 0
    if code == _HYPHEN or code == _EN_DASH or code == _EM_DASH or code == 0x7E:
        if code == _HYPHEN and after_digit and features & rule.MINUS:
            if is_digit(right_code) or (right_code == _HYPHEN and features & rule.ARITHMETIC):
                return 1
        joined = after_letter or (after_digit and features & (rule.HYPHEN_AFTER_DIGIT | rule.MALAY))
        if joined and features & rule.HYPHEN:
            if before_letter:
                if features & rule.LOWER_AFTER_HYPHEN and not right & flag.LOWER:
                    return 0
                if after_letter or features & rule.HYPHEN_AFTER_DIGIT or code == _HYPHEN:
                    return 0 if code == _HYPHEN and features & rule.DASH_ONLY else 1
            if code == _HYPHEN and features & rule.MALAY and is_digit(right_code):
                return 1
        elif not (after_letter and features & rule.DOUBLE_HYPHEN):
            return 0
        # Longer dashes: `--`, `---` and two em dashes, before a letter.
        if code == right_code and (code == _HYPHEN or code == _EM_DASH) and i + 2 < hi:
            if flags[i + 2] & flag.ALPHA:
                return 2
            if code == _HYPHEN and codes[i + 2] == code and i + 3 < hi and flags[i + 3] & flag.ALPHA:
                return 3 if features & rule.HYPHEN else 0
        return 0
    if code == 0x3A and features & (rule.COLON_NEVER | rule.COLON_BEFORE_UPPER):
        if features & rule.COLON_NEVER or not right & flag.UPPER:
            return 0
    if code == 0x3A or code == 0x3C or code == 0x3D or code == 0x3E:
        return 1 if before_letter and (after_letter or (after_digit and features & rule.COLON_AFTER_DIGIT)) else 0
    if code == 0x2F:
        if features & rule.SLASH_AROUND_DIGITS:
            return 1 if (after_letter or after_digit) and (before_letter or is_digit(right_code)) else 0
        if features & rule.MALAY and after_digit and (is_digit(right_code) or right_code in (0x25, 0x2D)):
            return 1
        if features & rule.SLASH and before_letter:
            return 1 if after_letter or (after_digit and features & rule.COLON_AFTER_DIGIT) else 0
        return 0
    if code == 0x2B or code == 0x2A or code == 0x5E:
        if features & rule.ARITHMETIC and after_digit and (is_digit(right_code) or right_code == _HYPHEN):
            return 1
    if features & rule.MARKS_INSIDE and after_letter and before_letter and _inside_mark(code, here):
        return 1
    return 0
