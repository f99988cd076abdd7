"""Toxicity inner loops: sentences and their hashed n-grams, over UTF-8 buffers; `kernels.linear` scores them.

A text is read window by window: a window is a sentence, or several until there are `least` tokens, cut after `cap` tokens
where it has more. Tokens are runs of letters and digits (case and diacritics folded, at most MAX_WORD characters, a
character repeated more than twice counted twice), single Han, Hiragana and Katakana characters, and single marks of
punctuation or symbols (emoji are symbols). The features of a window, each a 64-bit hash cut to an index; a model keeps
the weights of the useful ones:

    each token; the character 3- and 5-grams (in Hangul 2- and 3-grams) of each word with its two boundaries;
    for each marked token (a list in the model: words that name groups, and words of toxic texts): its pairs with the
    tokens up to three places before and after it, and the three runs of three tokens around it;
    for each token that names a group besides: the tokens up to four places before and after it and three patterns
    around it, with the group replaced by its class, so that what is learned about one group holds for others.

Only marked tokens have features of their context, because clean text has few of them: contexts cost most of the time and
those of other words tell next to nothing (docs/toxicity.md).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit

from gristmill.stages.kernels import unicode
from gristmill.stages.kernels.pointers import pointer
from gristmill.stages.kernels.scalars import Int

HEADS = 6
"""race_origin, gender_sex, religion, ability, violence, overall."""
MAX_WORD = 40
"""Characters of one word token; a longer run goes on as another token."""
SENTENCE_TOKENS = 64
"""Cap of a window when texts are scored: about three long lines, so that nothing is diluted further."""
TEXT_TOKENS = 256
"""Cap of a window when a whole labelled text is one window."""
LEVELS = 4096
"""Steps of the logit in [−16, 16) that the calibrated probabilities are tabulated for."""
LEAST_TOKENS = 1
"""Tokens from which on the end of a sentence ends a window."""
CONTEXT = 35
"""Bound on the features that one token has besides its word's own."""
WORD_FEATURES = 2 * (MAX_WORD + 2) + 1
GROUP_CLASSES = 4
"""Marks 1 to 4 are classes of groups; MARKED is a word whose context counts."""
MARKED = 5

GAP, WORD, SINGLE, PUNCTUATION, SYMBOL, SKIP = range(6)
_KIND_SHIFT = 24
_STOP = 1 << 28
"""Ends a sentence when white space follows."""
_HARD = 1 << 29
"""Ends a sentence at once."""
_CODE = (1 << 24) - 1

_STOPS = ".!?…‽؟۔।॥។៕။܀܁܂՜՞։"
_HARD_STOPS = "\n\r\u0085\u2028\u2029。！？｡"
_SKIPPED = "'\u2019\u02bc\u0640"
"""Apostrophes (don't, don’t and dont are one word) and the Arabic tatweel."""

_P = np.uint64(0x9E3779B97F4A7C15)
_Q = np.uint64(0xC2B2AE3D27D4EB4F)
_S29 = np.uint64(29)
_BEGIN = np.uint64(77)
_START = np.uint64(0x110001)
_END = np.uint64(0x110002)
_ANY_GROUP = np.uint64(99)
_HANGUL_FIRST = np.uint32(0xAC00)
_HANGUL_LAST = np.uint32(0xD7A3)


@cache
def token_table() -> np.ndarray:
    """uint32[SIZE]: for each code point its folded form (bits 0–23), its kind and its sentence-stop flags."""
    classes = unicode.char_class()
    folded = unicode.folded().astype(np.uint32)
    scripts = unicode.script()
    single = np.isin(scripts, [unicode.SCRIPTS.index(name) for name in ("Hani", "Hira", "Kana")])
    kind = np.full(unicode.SIZE, SKIP, np.uint32)
    kind[classes == unicode.SPACE] = GAP
    word = np.isin(classes, [unicode.LETTER, unicode.MARK, unicode.DIGIT])
    kind[word] = WORD
    kind[word & single] = SINGLE
    kind[classes == unicode.PUNCTUATION] = PUNCTUATION
    kind[np.isin(classes, [unicode.SYMBOL, unicode.NUMBER])] = SYMBOL
    kind[folded == 0] = SKIP
    for char in _SKIPPED:
        kind[ord(char)] = SKIP
    # Full-width forms of ASCII are how CJK text writes Latin letters, digits and marks.
    wide = np.arange(0xFF01, 0xFF5F)
    folded = folded.copy()
    folded[wide] = folded[wide - 0xFEE0]
    table = folded | (kind << np.uint32(_KIND_SHIFT))
    for char in _STOPS:
        table[ord(char)] |= np.uint32(_STOP)
    for char in _HARD_STOPS:
        table[ord(char)] |= np.uint32(_HARD)
    table.setflags(write=False)
    return table


class Groups(NamedTuple):
    """Marked words: `hashes` of the tokens (uint64, ascending) and their `classes` (uint8): 1 to 4 for one that names a
    group, MARKED for another."""

    hashes: np.ndarray
    classes: np.ndarray


class Tokens(NamedTuple):
    """The tokens of one window, as `read_window` writes them.

    Attributes:
        hashes: uint64 by token; as many fit as it has entries.
        kinds: uint8 by token.
        chars: uint32, the folded characters; MAX_WORD for each token that fits, and one more.
        bounds: int64, one more than tokens: token t's are chars[bounds[t]:bounds[t + 1]].
    """

    hashes: np.ndarray
    kinds: np.ndarray
    chars: np.ndarray
    bounds: np.ndarray


@njit(cache=True, nogil=True)
def new_tokens(cap: Int) -> Tokens:
    """Room for the tokens of a window."""
    return Tokens(
        np.empty(cap, np.uint64),
        np.empty(cap, np.uint8),
        np.empty(cap * MAX_WORD + 1, np.uint32),
        np.empty(cap + 1, np.int64),
    )


@njit(inline="always")
def token_pointers(tokens):  # type: ignore[no-untyped-def]
    """Tokens with a pointer in the place of each array, for inner functions."""
    return Tokens(pointer(tokens.hashes), pointer(tokens.kinds), pointer(tokens.chars), pointer(tokens.bounds))


@njit(inline="always")
def _mix(state, value):  # type: ignore[no-untyped-def]
    mixed = (state ^ value) * _P
    return mixed ^ (mixed >> _S29)


@njit(cache=True, nogil=True)
def read_window(  # type: ignore[no-untyped-def]
    data: np.ndarray, start: Int, end: Int, table: np.ndarray, least: Int, tokens: Tokens
):
    """Read one window of `data[start:end]` into `tokens`, at most as many as fit.

    Args:
        table: `token_table()`.
        least: tokens from which on the end of a sentence ends a window; 0: only the room for tokens does.

    Returns (tokens, index to go on from, first byte, end byte): the window's bytes without the white space around it.
    """
    return read_window_at(pointer(data), start, end, pointer(table), least, len(tokens.hashes), token_pointers(tokens))


@njit(nogil=True)
def read_window_at(bytes_, start, end, entries, least, cap, tokens):  # type: ignore[no-untyped-def]
    """`read_window` over pointers (see `stages.kernels.pointers`); `tokens` has room for `cap`."""
    hashes, kinds, chars, bounds = tokens.hashes, tokens.kinds, tokens.chars, tokens.bounds
    n = 0
    m = 0
    i = start
    first = start
    last = start
    ended = False
    bounds[0] = 0
    while i < end:
        code, following = np.int64(bytes_[i]), i + 1
        if code >= 0x80:
            code, following = unicode.decode_at(bytes_, i, end)
        entry = np.int64(entries[code])
        kind = (entry >> 24) & 7
        if kind == 0:
            i = following
            if 0 < least <= n and (ended or entry & _HARD):
                return n, i, first, last
            continue
        if kind == 5:
            i = following
            if n > 0:
                last = i
            continue
        if n == cap:
            return n, i, first, last
        if n == 0:
            first = i
        if kind == 1:
            ended = False
            state = np.uint64(1)
            word_end = m + MAX_WORD
            previous: Int = np.int64(-1)
            repeats = 0
            while kind == 1:
                folded = entry & _CODE
                repeats = repeats + 1 if folded == previous else 0
                previous = folded
                if repeats < 2:
                    if m == word_end:
                        break
                    chars[m] = np.uint32(folded)
                    m += 1
                    state = (state ^ np.uint64(folded)) * _P
                i = following
                kind = np.int64(0)
                while i < end:
                    code, following = np.int64(bytes_[i]), i + 1
                    if code >= 0x80:
                        code, following = unicode.decode_at(bytes_, i, end)
                    entry = np.int64(entries[code])
                    kind = (entry >> 24) & 7
                    if kind != 5:
                        break
                    i = following
            hashes[n] = state ^ (state >> _S29)
            kinds[n] = 1
            n += 1
            bounds[n] = m
            last = i
            continue
        if kind == 2:
            ended = False
        folded = entry & _CODE
        hashes[n] = _mix(np.uint64(1000 + kind), np.uint64(folded))
        kinds[n] = np.uint8(kind)
        chars[m] = np.uint32(folded)
        m += 1
        n += 1
        bounds[n] = m
        i = following
        last = i
        if least > 0:
            if entry & _HARD:
                if n >= least:
                    return n, i, first, last
                ended = True
            elif entry & _STOP:
                ended = True
    return n, i, first, last


@njit(cache=True, nogil=True)
def word_features(hash_, kind, chars, low, high, shift, bounded, out, c):  # type: ignore[no-untyped-def]
    """Append to `out` from `c` the features of one token alone; returns the new count. `chars[low:high]` spells it;
    `bounded` (uint64[MAX_WORD + 2]) is written to."""
    out[c] = np.int64(_mix(hash_, _Q) >> shift)
    c += 1
    if kind != 1:
        return c
    length = high - low + 2
    bounded[0] = _START
    for k in range(low, high):
        bounded[k - low + 1] = np.uint64(chars[k])
    bounded[length - 1] = _END
    # A syllable of Hangul says as much as two letters.
    hangul = _HANGUL_FIRST <= chars[low] <= _HANGUL_LAST
    short = 2 if hangul else 3
    long = 3 if hangul else 5
    for s in range(length - short + 1):
        state = _mix(_mix(_BEGIN, bounded[s]), bounded[s + 1])
        if not hangul:
            state = _mix(state, bounded[s + 2])
        # A feature of all of a word would be the word's own again.
        if length > short:
            out[c] = np.int64((_mix(state, np.uint64(short)) * _P) >> shift)
            c += 1
        if s + long <= length and length > long:
            state = _mix(state, bounded[s + short])
            if not hangul:
                state = _mix(state, bounded[s + 4])
            out[c] = np.int64((_mix(state, np.uint64(long)) * _P) >> shift)
            c += 1
    return c


@njit(inline="always")
def _pair(first, second, tag, shift):  # type: ignore[no-untyped-def]
    return np.int64((_mix(_mix(first, second), np.uint64(tag)) * _P) >> shift)


@njit(cache=True, nogil=True)
def context_features(hashes, groups, n, shift, out, c):  # type: ignore[no-untyped-def]
    """Append to `out` from `c` the features of the contexts of n tokens; returns the new count.

    groups: uint8, the class of each token in `Groups`, 0 for none.
    """
    for t in range(n):
        if groups[t] == 0:
            continue
        here = hashes[t]
        for u in range(max(0, t - 3), t):
            out[c] = _pair(hashes[u], here, 2 if u == t - 1 else 4, shift)
            c += 1
        for u in range(t + 1, min(n, t + 4)):
            # A pair of marked tokens counts once, at the later one.
            if groups[u] == 0:
                out[c] = _pair(here, hashes[u], 2 if u == t + 1 else 4, shift)
                c += 1
        if t >= 2:
            out[c] = _pair(_mix(hashes[t - 2], hashes[t - 1]), here, 3, shift)
            c += 1
        if t >= 1 and t + 1 < n:
            out[c] = _pair(_mix(hashes[t - 1], here), hashes[t + 1], 3, shift)
            c += 1
        if t + 2 < n:
            out[c] = _pair(_mix(here, hashes[t + 1]), hashes[t + 2], 3, shift)
            c += 1
        if groups[t] <= GROUP_CLASSES:
            for each in range(2):
                group = np.uint64(groups[t]) if each == 0 else _ANY_GROUP
                for u in range(max(0, t - 4), min(n, t + 5)):
                    if u != t:
                        side = 11 if u < t else 12
                        out[c] = _pair(hashes[u], group, side, shift)
                        c += 1
                        if u == t - 1 or u == t + 1:
                            out[c] = _pair(hashes[u], group, side + 10, shift)
                            c += 1
                if t + 2 < n:
                    out[c] = _pair(_mix(hashes[t + 1], hashes[t + 2]), group, 30, shift)
                    c += 1
                if t >= 2:
                    out[c] = _pair(_mix(hashes[t - 2], hashes[t - 1]), group, 31, shift)
                    c += 1
                if t >= 1 and t + 1 < n:
                    out[c] = _pair(_mix(hashes[t - 1], hashes[t + 1]), group, 32, shift)
                    c += 1
    return c


@njit(cache=True, nogil=True)
def group_of(hash_, groups: Groups):  # type: ignore[no-untyped-def]
    """Class of a token among the marked ones, 0 for none."""
    at = np.searchsorted(groups.hashes, hash_)
    if at < len(groups.hashes) and groups.hashes[at] == hash_:
        return groups.classes[at]
    return np.uint8(0)


@njit(cache=True, nogil=True)
def window_features(data, offsets, table, cap, least, bits, known, capacity):  # type: ignore[no-untyped-def]
    """Features of all windows of all texts, for training and inspection.

    Args:
        data, offsets: UTF-8 bytes and int64 offsets of shape (texts + 1,).
        cap: most tokens of a window.
        least: as in `read_window`.
        bits: log2 of the number of weights.
        known: the marked words (`Groups`).
        capacity: first guess of the number of features; the array grows.

    Returns (features, starts, text of each window, (first, end) bytes of each window): int32 indices, window w's being
    features[starts[w]:starts[w + 1]]; a text without tokens has no window.
    """
    tokens = new_tokens(cap)
    hashes, kinds, chars, bounds = tokens.hashes, tokens.kinds, tokens.chars, tokens.bounds
    groups = np.empty(cap, np.uint8)
    one = np.empty(cap * (CONTEXT + WORD_FEATURES), np.int64)
    bounded = np.empty(MAX_WORD + 2, np.uint64)
    shift = np.uint64(64 - bits)
    features = np.empty(max(capacity, 16), np.int32)
    starts = np.zeros(1024, np.int64)
    owner = np.empty(1024, np.int64)
    span = np.empty((1024, 2), np.int64)
    filled = 0
    windows = 0
    for text in range(len(offsets) - 1):
        i = offsets[text]
        end = offsets[text + 1]
        while i < end:
            n, i, first, last = read_window(data, i, end, table, least, tokens)
            if n == 0:
                continue
            c = 0
            for t in range(n):
                c = word_features(hashes[t], kinds[t], chars, bounds[t], bounds[t + 1], shift, bounded, one, c)
                groups[t] = group_of(hashes[t], known)
            c = context_features(hashes, groups, n, shift, one, c)
            if filled + c > len(features):
                wider = np.empty(2 * (filled + c), np.int32)
                wider[:filled] = features[:filled]
                features = wider
            for k in range(c):
                features[filled + k] = np.int32(one[k])
            filled += c
            if windows + 2 > len(starts):
                more = np.zeros(2 * len(starts), np.int64)
                more[: windows + 1] = starts[: windows + 1]
                starts = more
                more_owner = np.empty(len(starts), np.int64)
                more_owner[:windows] = owner[:windows]
                owner = more_owner
                more_span = np.empty((len(starts), 2), np.int64)
                more_span[:windows] = span[:windows]
                span = more_span
            owner[windows] = text
            span[windows, 0] = first
            span[windows, 1] = last
            windows += 1
            starts[windows] = filled
    return features[:filled], starts[: windows + 1], owner[:windows], span[:windows]
