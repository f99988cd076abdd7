"""Tokens that stay whole for their shape: URLs, addresses and host names, and French compounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from gristmill.stages.kernels.hashing64 import hash_bytes
from gristmill.stages.kernels.scalars import Bool, Int
from gristmill.stages.quality.tokenizer import flags as flag
from gristmill.stages.quality.tokenizer import rules as rule
from gristmill.stages.quality.tokenizer.affixes import is_digit, is_hyphen
from gristmill.stages.quality.tokenizer.chunk import Chunk, Tokenizer

_STOP = 0x2E
_HYPHEN = 0x2D
_APOSTROPHE = 0x27
_RIGHT_QUOTE = 0x2019


@njit(nogil=True)
def _label(code: Int) -> Bool:
    """Whether a code point may begin and end a label of a host name."""
    if code < 0x80:
        return 0x30 <= code <= 0x39 or 0x41 <= code <= 0x5A or 0x61 <= code <= 0x7A
    return 0xA1 <= code <= 0xFFFF


@njit(nogil=True)
def _host(codes: Any, flags: Any, lo: Int, hi: Int) -> Bool:
    """Whether [lo, hi) is a host name with at least one dot, then perhaps a port and a path."""
    i = begin = lo
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
        while i < hi and is_digit(codes[i]):
            i += 1
        if not 2 <= i - begin <= 5:
            return False
    return i == hi or codes[i] == 0x2F or codes[i] == 0x3F or codes[i] == 0x23


@njit(nogil=True)
def _scheme(code: Int, flags_of: Int) -> Bool:
    """Whether a code point may stand in the scheme before `://`."""
    if flags_of & flag.LETTER or is_digit(code):
        return True
    return code == 0x5F or code == 0x2B or code == _HYPHEN or code == _STOP


@njit(nogil=True)
def is_url(chunk: Chunk, lo: Int, hi: Int) -> Bool:
    """Whether the chunk's [lo, hi) is a URL, an address or a host name, with or without a scheme."""
    codes = chunk.codes
    flags = chunk.flags
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
def _listed(chunk: Chunk, lo: Int, hi: Int, opening: Int, closing: Int, tokenizer: Tokenizer) -> Bool:
    """Whether [lo, hi), in lower case and between ASCII marks (0 for none), is a listed part of a compound."""
    codes = chunk.codes
    scratch = chunk.scratch
    keys = tokenizer.keys
    start = tokenizer.start
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
    slot = np.int64(key) & tokenizer.mask
    while keys[start + slot] != np.uint64(0):
        if keys[start + slot] == key:
            return True
        slot = (slot + 1) & tokenizer.mask
    return False


@njit(nogil=True)
def is_compound(chunk: Chunk, lo: Int, hi: Int, tokenizer: Tokenizer) -> Bool:
    """Whether the chunk's [lo, hi) is a French compound that stays whole."""
    codes = chunk.codes
    flags = chunk.flags
    first = hi
    for i in range(lo, hi):
        if is_hyphen(codes[i]) or codes[i] == _APOSTROPHE or codes[i] == _RIGHT_QUOTE:
            if first == hi:
                first = i
        elif not flags[i] & flag.ALPHA:
            return False
    if first == lo or first + 1 >= hi or not flags[first + 1] & flag.ALPHA:
        return False
    joint = _HYPHEN if is_hyphen(codes[first]) else _APOSTROPHE
    if _listed(chunk, lo, first, 0, joint, tokenizer):
        return True
    if joint == _APOSTROPHE:
        return False
    second = first + 1
    while second < hi and flags[second] & flag.ALPHA:
        second += 1
    if second + 1 >= hi or not is_hyphen(codes[second]):
        return False
    rest = second + 1
    if codes[rest] in (0x6C, 0x4C) and rest + 1 < hi and codes[rest + 1] in (_APOSTROPHE, _RIGHT_QUOTE):
        rest += 2
    if rest == hi:
        return False
    for i in range(rest, hi):
        if not flags[i] & flag.ALPHA:
            return False
    return _listed(chunk, first + 1, second, _HYPHEN, _HYPHEN, tokenizer)
