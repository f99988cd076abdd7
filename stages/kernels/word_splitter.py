"""Splits text into words the way datatrove's word tokenizers do, for languages written with spaces.

White space (`str.isspace`) divides text into chunks. A chunk is taken apart by its tokenizer's rules in the order that
spaCy documents (https://spacy.io/usage/linguistic-features#how-tokenizer-works): prefixes and suffixes are split off
until an exception or nothing to split is left, then the middle is divided at infixes unless it looks like a URL. Last,
neighbouring tokens that together are an exception are joined again. What is left out of spaCy's rules: a few
expressions of single languages that need more context than a neighbouring character.

Words partition the chunk, so a word is stored as one number: where it begins in the *compact text*, which is the
document without its white space.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from stages.kernels import word_flags as flag
from stages.kernels import word_rules as rule
from stages.kernels.hashing64 import hash_bytes

CHUNK_LIMIT = 1 << 15
"""Code points of a chunk without white space that are looked at together; a longer one is cut there. Real chunks are
words with their punctuation; longer ones are encoded binary data or scripts without spaces."""

LONGEST_REJOINED = 5
"""Words that may form one exception after they were split: those of the longest emoticon but a few."""

_STOP = 0x2E
_HYPHEN = 0x2D
_APOSTROPHE = 0x27
_RIGHT_QUOTE = 0x2019
_EN_DASH = 0x2013
_EM_DASH = 0x2014


@njit(nogil=True)
def _exception(compact, at, lo, hi, keys, values, start, mask, seed):  # type: ignore[no-untyped-def]
    """Slot of the exception or unit compact[at[lo]:at[hi]], or −1."""
    begin = np.int64(at[lo])
    end = np.int64(at[hi])
    if end - begin > rule.LONGEST_EXCEPTION or end == begin:
        return np.int64(-1)
    key = hash_bytes(compact, begin, end, np.uint64(seed))
    slot = np.int64(key) & mask
    while True:
        found = keys[start + slot]
        if found == key:
            return start + slot
        if found == np.uint64(0):
            return np.int64(-1)
        slot = (slot + 1) & mask


@njit(nogil=True)
def _prefix(codes, flags, lo, hi, features):  # type: ignore[no-untyped-def]
    """Code points to split off the beginning of the chunk's [lo, hi)."""
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
    if code == 0x2F and features & rule.MALAY:
        return 1
    # Dollars of a country: US$, C$, A$.
    if code == 0x55 and lo + 2 < hi and codes[lo + 1] == 0x53 and codes[lo + 2] == 0x24:
        return 3
    if (code == 0x41 or code == 0x43) and lo + 1 < hi and codes[lo + 1] == 0x24:
        return 2
    return 0


@njit(nogil=True)
def _digit(code):  # type: ignore[no-untyped-def]
    return 0x30 <= code <= 0x39


@njit(nogil=True)
def _suffix(codes, flags, at, compact, lo, hi, features, keys, values, start, mask):  # type: ignore[no-untyped-def]
    """Code points to split off the end of the chunk's [lo, hi): the longest of the suffix rules that apply."""
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
        if _digit(codes[hi - 2]):
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
            if _is_hyphen(codes[hi - length]):
                if flags[hi - length - 1] & flag.ALPHA:
                    found = _exception(compact, at, hi - length + 1, hi, keys, values, start, mask, rule.ENCLITIC_SEED)
                    if found >= 0:
                        return length
                break
    if size < 2:
        return 0
    # What is split off a number: a sign, a currency, a unit.
    if _digit(codes[hi - 2]):
        if last == 0x2B or last_flags & flag.CURRENCY:
            return 1
        if last == 0x25:
            return 1 if features & rule.PERCENT_SUFFIX else 0
    if last == 0x24 and size > 2 and not flags[hi - 2] & flag.SUFFIX:
        if codes[hi - 2] in (0x41, 0x43) and _digit(codes[hi - 3]):
            return 2
        if size > 3 and codes[hi - 2] == 0x53 and codes[hi - 3] == 0x55 and _digit(codes[hi - 4]):
            return 3
    for length in range(1, 6):
        if length >= size:
            break
        if _digit(codes[hi - length]):
            break
        if _digit(codes[hi - length - 1]):
            found = _exception(compact, at, hi - length, hi, keys, values, start, mask, rule.UNIT_SEED)
            return length if found >= 0 else 0
    return 0


@njit(nogil=True)
def _is_hyphen(code):  # type: ignore[no-untyped-def]
    return code == _HYPHEN or code == _EN_DASH or code == _EM_DASH or code == 0x2010 or code == 0x2011


@njit(nogil=True)
def _listed(codes, lo, hi, opening, closing, scratch, keys, start, mask):  # type: ignore[no-untyped-def]
    """Whether [lo, hi), in lower case and between ASCII marks (0 for none), is a listed part of a compound."""
    n = 0
    if opening:
        scratch[n] = opening
        n += 1
    for i in range(lo, hi):
        code = codes[i]
        if 0x41 <= code <= 0x5A or 0xC0 <= code <= 0xDE:
            code += 0x20
        if n > 28:
            return False
        if code < 0x80:
            scratch[n] = code
            n += 1
        elif code < 0x800:
            scratch[n] = 0xC0 | (code >> 6)
            scratch[n + 1] = 0x80 | (code & 0x3F)
            n += 2
        else:
            return False
    scratch[n] = closing
    key = hash_bytes(scratch, 0, n + 1, np.uint64(rule.COMPOUND_SEED))
    slot = np.int64(key) & mask
    while keys[start + slot] != np.uint64(0):
        if keys[start + slot] == key:
            return True
        slot = (slot + 1) & mask
    return False


@njit(nogil=True)
def _compound(codes, flags, lo, hi, scratch, keys, start, mask):  # type: ignore[no-untyped-def]
    """Whether [lo, hi) is a French compound that stays whole."""
    first = hi
    for i in range(lo, hi):
        if _is_hyphen(codes[i]) or codes[i] == _APOSTROPHE or codes[i] == _RIGHT_QUOTE:
            if first == hi:
                first = i
        elif not flags[i] & flag.ALPHA:
            return False
    if first == lo or first + 1 >= hi or not flags[first + 1] & flag.ALPHA:
        return False
    joint = _HYPHEN if _is_hyphen(codes[first]) else _APOSTROPHE
    if _listed(codes, lo, first, 0, joint, scratch, keys, start, mask):
        return True
    if joint == _APOSTROPHE:
        return False
    second = first + 1
    while second < hi and flags[second] & flag.ALPHA:
        second += 1
    if second + 1 >= hi or not _is_hyphen(codes[second]):
        return False
    rest = second + 1
    if codes[rest] in (0x6C, 0x4C) and rest + 1 < hi and codes[rest + 1] in (_APOSTROPHE, _RIGHT_QUOTE):
        rest += 2
    if rest == hi:
        return False
    for i in range(rest, hi):
        if not flags[i] & flag.ALPHA:
            return False
    return _listed(codes, first + 1, second, _HYPHEN, _HYPHEN, scratch, keys, start, mask)


@njit(nogil=True)
def _label(code):  # type: ignore[no-untyped-def]
    """Whether a code point may begin and end a label of a host name."""
    if code < 0x80:
        return 0x30 <= code <= 0x39 or 0x41 <= code <= 0x5A or 0x61 <= code <= 0x7A
    return 0xA1 <= code <= 0xFFFF


@njit(nogil=True)
def _host(codes, flags, lo, hi):  # type: ignore[no-untyped-def]
    """Whether [lo, hi) is a host name with at least one dot, then perhaps a port and a path."""
    i = lo
    labels = 0
    while True:
        begin = i
        while i < hi and (_label(codes[i]) or codes[i] == 0x5F or codes[i] == _HYPHEN):
            i += 1
        if i < hi and codes[i] == _STOP:
            if i == begin or i - begin > 65 or not _label(codes[begin]) or not _label(codes[i - 1]):
                return False
            labels += 1
            i += 1
            continue
        break
    if labels == 0:
        return False
    i = begin
    while i < hi and flags[i] & flag.LOWER and i - begin < 64:
        i += 1
    if not 2 <= i - begin <= 63:
        return False
    if i < hi and codes[i] == 0x3A:
        begin = i + 1
        i = begin
        while i < hi and _digit(codes[i]):
            i += 1
        if not 2 <= i - begin <= 5:
            return False
    return i == hi or codes[i] == 0x2F or codes[i] == 0x3F or codes[i] == 0x23


@njit(nogil=True)
def _scheme(code, flags_of):  # type: ignore[no-untyped-def]
    """Whether a code point may stand in the scheme before `://`."""
    if flags_of & flag.LETTER or _digit(code):
        return True
    return code == 0x5F or code == 0x2B or code == _HYPHEN or code == _STOP


@njit(nogil=True)
def _url(codes, flags, lo, hi):  # type: ignore[no-untyped-def]
    """Whether [lo, hi) is a URL, an address or a host name, with or without a scheme."""
    first = hi
    for i in range(lo, hi):
        if codes[i] == _STOP:
            first = i
            break
    if first == hi:
        return False
    if _host(codes, flags, lo, hi):
        return True
    scheme = _scheme(codes[lo], flags[lo])
    for i in range(lo + 1, hi - 1):
        code = codes[i]
        if code == 0x40:
            if _host(codes, flags, i + 1, hi):
                return True
        elif code == 0x3A and scheme and i + 3 < hi and i - lo >= 2:
            if codes[i + 1] == 0x2F and codes[i + 2] == 0x2F and _host(codes, flags, i + 3, hi):
                return True
        scheme = scheme and _scheme(code, flags[i])
    return False


@njit(nogil=True)
def _inside_mark(code, flags_of):  # type: ignore[no-untyped-def]
    """Marks that divide between letters under MARKS_INSIDE, the comma among them."""
    if flags_of & flag.QUOTE:
        return code != _APOSTROPHE
    return code in (0x21, 0x2C, 0x3F, 0x28, 0x29, 0x5B, 0x5D)


@njit(nogil=True)
def _infix(codes, flags, i, lo, hi, features):  # type: ignore[no-untyped-def]
    """Code points of the infix at i, 0 for none; −1 for a division before i without an infix."""
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
            if (left & flag.ALPHA or _digit(left_code)) and (right & flag.UPPER or _digit(right_code)):
                return 1
            return 0
        if features & rule.STOP_BESIDE_QUOTE:
            return 1 if left & (flag.LOWER | flag.QUOTE) and right & (flag.UPPER | flag.QUOTE) else 0
        return 1 if left & flag.LOWER and right & flag.UPPER else 0
    after_letter = left & flag.ALPHA
    after_digit = _digit(left_code)
    before_letter = right & flag.ALPHA
    if code == 0x2C:
        return 1 if after_letter and before_letter else 0
    if code == _HYPHEN or code == _EN_DASH or code == _EM_DASH or code == 0x7E:
        if code == _HYPHEN and after_digit and features & rule.MINUS:
            if _digit(right_code) or (right_code == _HYPHEN and features & rule.ARITHMETIC):
                return 1
        joined = after_letter or (after_digit and features & (rule.HYPHEN_AFTER_DIGIT | rule.MALAY))
        if joined and features & rule.HYPHEN:
            if before_letter:
                if features & rule.LOWER_AFTER_HYPHEN and not right & flag.LOWER:
                    return 0
                if after_letter or features & rule.HYPHEN_AFTER_DIGIT or code == _HYPHEN:
                    return 0 if code == _HYPHEN and features & rule.DASH_ONLY else 1
            if code == _HYPHEN and features & rule.MALAY and _digit(right_code):
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
            return 1 if (after_letter or after_digit) and (before_letter or _digit(right_code)) else 0
        if features & rule.MALAY and after_digit and (_digit(right_code) or right_code in (0x25, 0x2D)):
            return 1
        if features & rule.SLASH and before_letter:
            return 1 if after_letter or (after_digit and features & rule.COLON_AFTER_DIGIT) else 0
        return 0
    if code == 0x2B or code == 0x2A or code == 0x5E:
        if features & rule.ARITHMETIC and after_digit and (_digit(right_code) or right_code == _HYPHEN):
            return 1
    if features & rule.MARKS_INSIDE and after_letter and before_letter and _inside_mark(code, here):
        return 1
    return 0


@njit(nogil=True)
def _rejoin(compact, starts, first, words, keys, values, parts, start, mask, marks):  # type: ignore[no-untyped-def]
    """Put neighbouring words together that are an exception of one token, such as the `:` and `)` of a chunk's end.

    Longer ones go first, then later ones. One that overlaps a candidate already looked at, even one not taken, is left:
    of `''''`, only the last two are joined. `marks` is scratch for an int32 per word. Returns the number of words.
    """
    count = words - first
    for w in range(count):
        marks[w] = 0
    any_taken = False
    for length in range(min(count, LONGEST_REJOINED), 1, -1):
        for w in range(count - length, -1, -1):
            lo = first + w
            found = _exception(compact, starts, lo, lo + length, keys, values, start, mask, rule.EXCEPTION_SEED)
            if found < 0:
                continue
            if parts[values[found] + 1] == 0 and marks[w] == 0 and marks[w + length - 1] == 0:
                taken = True
                any_taken = True
            else:
                taken = False
            for k in range(w, w + length):
                marks[k] |= 1
            if taken:
                # All but the first word of a taken span end up without a beginning of their own.
                for k in range(w + 1, w + length):
                    marks[k] |= 2
    if not any_taken:
        return words
    kept = first
    for w in range(count):
        if not marks[w] & 2:
            starts[kept] = starts[first + w]
            kept += 1
    starts[kept] = starts[words]
    return kept


@njit(nogil=True)
def split_chunk(  # type: ignore[no-untyped-def]
    codes, flags, at, size, compact, features, keys, values, parts, start, mask, starts, words, stack, scratch
):
    """Write where the words of a chunk begin, and return the number of all words so far.

    Args:
        codes, flags: pointers to the code points of the chunk (uint32) and their flags (uint16).
        at: pointer to the offsets of the code points in `compact` (int32), with the chunk's end behind the last.
        size: code points in the chunk, at least 1.
        compact: pointer to the compact text (uint8).
        features: the tokenizer's rules.
        keys, values, parts, start, mask: the tokenizer's exceptions, see `WordRules`.
        starts: pointer to the beginnings of all words (int32); those from `words` on are written, at most `size`.
        words: number of words before this chunk.
        stack: pointer to int32 scratch for `size` entries.
        scratch: pointer to uint8 scratch for 64 entries.
    """
    lo = np.int64(0)
    hi = np.int64(size)
    depth = 0
    last = np.int64(0)
    special = np.int64(-1)
    whole = False
    first = words
    while lo < hi and hi - lo != last:
        if features & rule.COMPOUNDS and _compound(codes, flags, lo, hi, scratch, keys, start, mask):
            whole = True
            break
        special = _exception(compact, at, lo, hi, keys, values, start, mask, rule.EXCEPTION_SEED)
        if special >= 0:
            break
        last = hi - lo
        before = np.int64(_prefix(codes, flags, lo, hi, features))
        if before and lo + before < hi:
            special = _exception(compact, at, lo + before, hi, keys, values, start, mask, rule.EXCEPTION_SEED)
            if special >= 0:
                starts[words] = at[lo]
                words += 1
                lo += before
                break
        behind = np.int64(0)
        if lo + before < hi:
            behind = np.int64(
                _suffix(codes, flags, at, compact, lo + before, hi, features, keys, values, start, mask)
            )
        if behind and lo < hi - behind:
            special = _exception(compact, at, lo, hi - behind, keys, values, start, mask, rule.EXCEPTION_SEED)
            if special >= 0:
                hi -= behind
                stack[depth] = at[hi]
                depth += 1
                break
        if before:
            starts[words] = at[lo]
            words += 1
            lo += before
        if behind:
            hi -= behind
            stack[depth] = at[hi]
            depth += 1
    if lo < hi:
        if special >= 0:
            part = np.int64(values[special])
            while lo < hi and parts[part] > 0:
                starts[words] = at[lo]
                words += 1
                lo += np.int64(parts[part])
                part += 1
        elif whole or _url(codes, flags, lo, hi):
            starts[words] = at[lo]
            words += 1
        else:
            token = lo
            i = lo
            while i < hi:
                length = _infix(codes, flags, i, lo, hi, features)
                if length == 0 or i == lo:
                    # An infix at the very beginning divides nothing.
                    i += max(length, 1)
                    continue
                if i > token:
                    starts[words] = at[token]
                    words += 1
                if length > 0:
                    starts[words] = at[i]
                    words += 1
                    token = i + length
                    i = token
                else:
                    token = i
                    i += 1
            if token < hi:
                starts[words] = at[token]
                words += 1
    while depth:
        depth -= 1
        starts[words] = stack[depth]
        words += 1
    starts[words] = at[size]
    if words - first > 1:
        words = _rejoin(compact, starts, first, words, keys, values, parts, start, mask, stack)
    return words
