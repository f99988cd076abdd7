"""Linear scores of windows (sentences) and passages (several in a row), over the features of `kernels.scoring`.

A window's score is Σ weights of its features / sqrt(number of features) · scale + bias, per head, and so is a passage's: as
many windows of a text in a row as have PASSAGE_TOKENS tokens together, what is left at the end being one too. The sums are
integers and the rest is +, ·, / and sqrt in float64, so scores are equal on every machine. The sums of each word's own features
are remembered, because words repeat, from one batch to the next; that never changes a result.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from gristmill.stages.kernels.bits import ones
from gristmill.stages.kernels.pointers import fetch_ahead, pointer
from gristmill.stages.kernels.scalars import Int
from gristmill.stages.toxicity.kernels.scoring import (
    CONTEXT,
    HEADS,
    LEVELS,
    MAX_WORD,
    WORD_FEATURES,
    Groups,
    context_features,
    group_of,
    new_tokens,
    read_window_at,
    token_pointers,
    word_features,
)

PASSAGE_TOKENS = 128
"""Tokens from which on the end of a window ends a passage: what is hostile from one end to the other, without one blatant
sentence, shows there. Chosen among 32, 64, 96, 128, 192, 256 and whole texts (docs/toxicity.md)."""
LANES = 8
"""Weights of a feature are padded to one 8-byte word."""
WEIGHT_BIAS = 128
"""Added to each int8 weight in the packed form, so that lanes never borrow from each other."""
SLOT_BITS = 17
"""131,072 cache lines of two words each, 8 MB. Those in use stay in the second-level cache; a word that is not remembered
costs a hundred times one that is."""
MARK_BITS = 17

_Q = np.uint64(0xC2B2AE3D27D4EB4F)
_LANES16 = np.uint64(0x00FF00FF00FF00FF)
_LANES32 = np.uint64(0x0000FFFF0000FFFF)
_LOW32 = np.uint64(0xFFFFFFFF)
_LANE16 = np.uint64(0xFFFF)
_SIXTEEN = np.uint64(16)


class Weights(NamedTuple):
    """A linear model.

    Attributes:
        packed: uint64, NOTHING and then by kept feature its weights, as `pack` gives them.
        kept: which features are kept, as `kept_index` gives it; others weigh nothing.
        bits: log2 of the number of features, kept or not.
        scale, bias: float64[HEADS].
    """

    packed: np.ndarray
    kept: np.ndarray
    bits: int
    scale: np.ndarray
    bias: np.ndarray


class WordSums(NamedTuple):
    """Sums of words met before, of one model; a kernel writes to them, so that no two may use them at once.

    Attributes:
        slots: uint64[2^SLOT_BITS, 8], cache lines of two words each: a word's hash, its sums in two words, and its number of
            features and, from bit 16 on, its class in `Groups`; 0 in the last for none. The first is what was met last of the
            two; a new word takes the place of the other, so that of two frequent ones both stay.
        marked: uint64[2^MARK_BITS / 64], a bit set for the first MARK_BITS of each marked word's hash.
    """

    slots: np.ndarray
    marked: np.ndarray


def new_word_sums(known: Groups) -> WordSums:
    """Empty ones, for a model with these marked words."""
    marked = np.zeros(1 << MARK_BITS, np.uint8)
    marked[(known.hashes >> np.uint64(64 - MARK_BITS)).astype(np.int64)] = 1
    bits = np.packbits(marked, bitorder="little").view("<u8").astype(np.uint64)
    room = np.empty((8 << SLOT_BITS) + 8, np.uint64)
    lines = room[-(room.ctypes.data // 8) % 8 :][: 8 << SLOT_BITS].reshape(-1, 8)
    lines[:] = 0
    return WordSums(lines, bits)


def pack(weights: np.ndarray) -> np.ndarray:
    """int8[n, HEADS] as uint64[n + 1]: eight biased bytes in one word, head 0 in the lowest; the last is always the bias. The
    first word is that of weights 0."""
    lanes = np.full((len(weights) + 1, LANES), WEIGHT_BIAS, np.uint8)
    lanes[1:, :HEADS] = (weights.astype(np.int16) + WEIGHT_BIAS).astype(np.uint8)
    return lanes.view("<u8").reshape(-1).astype(np.uint64)


def kept_index(kept: np.ndarray) -> np.ndarray:
    """uint64 by 32 of a bool array of 2^bits: their bits, and from bit 32 on how many are set before them and one more."""
    words = np.packbits(kept, bitorder="little").view("<u4").astype(np.uint64)
    counts = kept.reshape(-1, 32).sum(axis=1)
    return np.asarray(words | (np.cumsum(counts) - counts + 1).astype(np.uint64) << np.uint64(32))


@njit(inline="always")
def _gather(packed, index, features, count):  # type: ignore[no-untyped-def]
    """Sums of the packed weights of features[:count], as four words of two 32-bit lanes: heads (0, 4), (2, 6), (1, 5) and
    (3, 7). Each weight counts WEIGHT_BIAS more than it is; lane 7 is nothing but that.

    No branch asks whether a feature is kept: each waits for memory, and a wrong guess would make the next wait for it.
    """
    a = np.uint64(0)
    b = np.uint64(0)
    c = np.uint64(0)
    d = np.uint64(0)
    done = 0
    while done < count:
        # 257 bytes of at most 255 fill a 16-bit lane.
        stop = min(count, done + 256)
        even = np.uint64(0)
        odd = np.uint64(0)
        for k in range(done, stop):
            feature = np.uint64(features[k])
            entry = index[feature >> np.uint64(5)]
            bit = np.uint64(1) << (feature & np.uint64(31))
            kept = np.int64((entry >> (feature & np.uint64(31))) & np.uint64(1))
            weights = packed[(np.int64(entry >> np.uint64(32)) + ones(entry & (bit - np.uint64(1)))) & -kept]
            even += weights & _LANES16
            odd += (weights >> np.uint64(8)) & _LANES16
        a += even & _LANES32
        b += (even >> np.uint64(16)) & _LANES32
        c += odd & _LANES32
        d += (odd >> np.uint64(16)) & _LANES32
        done = stop
    return a, b, c, d


@njit(inline="always")
def _unpack(a, b, c, d, sums):  # type: ignore[no-untyped-def]
    """Write the heads' sums, less the biases, from the four words of `_gather`."""
    bias = np.int64(d >> np.uint64(32))
    half = np.uint64(32)
    sums[0] = np.int64(a & _LOW32) - bias
    sums[4] = np.int64(a >> half) - bias
    sums[2] = np.int64(b & _LOW32) - bias
    sums[6] = np.int64(b >> half) - bias
    sums[1] = np.int64(c & _LOW32) - bias
    sums[5] = np.int64(c >> half) - bias
    sums[3] = np.int64(d & _LOW32) - bias
    sums[7] = 0


@njit(inline="always")
def _steps(sums, features, scale, bias, step):  # type: ignore[no-untyped-def]
    """Write each head's step, floor((logit + 16) · 128) cut to [0, LEVELS), from its sum over so many features."""
    root = np.sqrt(np.float64(features))
    for h in range(HEADS):
        logit = np.float64(sums[h]) * scale[h] / root + bias[h]
        level = np.int64(np.floor((logit + 16.0) * 128.0))
        step[h] = np.int16(min(max(level, np.int64(0)), np.int64(LEVELS - 1)))


@njit(inline="always")
def _list(rows, room, count, text, first, last, step):  # type: ignore[no-untyped-def]
    """Write row `count` of the (owner, span, steps) pointers `rows`, if there is room for so many."""
    if count < room:
        owner, span, steps = rows
        owner[count] = text
        span[2 * count] = first
        span[2 * count + 1] = last
        for h in range(HEADS):
            steps[count * HEADS + h] = step[h]


@njit(cache=True, nogil=True)
def _new_rows(room):  # type: ignore[no-untyped-def]
    """(owner, span, steps) with room for so many rows."""
    return np.empty(room, np.int64), np.empty((room, 2), np.int64), np.empty((room, HEADS), np.int16)


@njit(cache=True, nogil=True)
def _grown(rows, filled, room):  # type: ignore[no-untyped-def]
    """The first rows of (owner, span, steps) in arrays with room for more."""
    more = _new_rows(room)
    more[0][:filled] = rows[0][:filled]
    more[1][:filled] = rows[1][:filled]
    more[2][:filled] = rows[2][:filled]
    return more


@njit(inline="always")
def _reaches(step, floor):  # type: ignore[no-untyped-def]
    """Whether a head's step is at its floor or above."""
    for h in range(HEADS):
        if step[h] >= floor[h]:
            return True
    return False


@njit(cache=True, nogil=True)
def score_windows(  # type: ignore[no-untyped-def]
    data, offsets, table, cap, least, weights, known, word_sums, floor, passage_floor
):
    """Score every window and every passage of every text.

    Args:
        data, offsets: UTF-8 bytes and int64 offsets of shape (texts + 1,).
        cap, least, known: as in `window_features`.
        weights: the model (`Weights`); word_sums: `WordSums` of it and `known`, written to.
        floor, passage_floor: int16[HEADS]. A window, or passage, is listed when one of its steps reaches the head's floor;
            LEVELS lists none.

    Returns (highest, windows, passages): int16[texts, HEADS] the highest step of each head over the text's windows (0
    where there is none); then of either kind (counts, owner, span, steps): int64 number in each text, and of each listed
    one its text, its (first, end) bytes relative to the text, and int16[HEADS] its steps.
    """
    texts = len(offsets) - 1
    tokens = new_tokens(cap)
    shift = np.uint64(64 - weights.bits)
    slot_shift, mark_shift = np.uint64(64 - SLOT_BITS), np.uint64(64 - MARK_BITS)
    room = (
        np.empty(cap, np.uint8),
        np.empty(max(cap * CONTEXT, WORD_FEATURES), np.int64),
        np.empty(MAX_WORD + 2, np.uint64),
        np.zeros(LANES, np.int64),
        np.zeros(LANES, np.int64),
    )
    step_array, best_array = np.empty(HEADS, np.int16), np.empty(HEADS, np.int16)
    counts = np.zeros(texts, np.int64)
    passages = np.zeros(texts, np.int64)
    highest = np.zeros((texts, HEADS), np.int16)
    listed = _new_rows(256)
    listed_passages = _new_rows(256)
    windows_listed = np.int64(0)
    passages_listed = np.int64(0)
    bytes_, entries = pointer(data), pointer(table)
    packed, index, scale, bias = (
        pointer(weights.packed),
        pointer(weights.kept),
        pointer(weights.scale),
        pointer(weights.bias),
    )
    cache, marks = pointer(word_sums.slots), pointer(word_sums.marked)
    floors, passage_floors = pointer(floor), pointer(passage_floor)
    text = np.int64(0)
    while text < texts:
        # Pointers alone: counting references to arrays, window by window, took a fifth of the time.
        hashes, kinds, chars, bounds = at = token_pointers(tokens)
        groups, one, bounded = pointer(room[0]), pointer(room[1]), pointer(room[2])
        sums, total, step = pointer(room[3]), pointer(room[4]), pointer(step_array)
        rows = pointer(listed[0]), pointer(listed[1]), pointer(listed[2])
        passage_rows = pointer(listed_passages[0]), pointer(listed_passages[1]), pointer(listed_passages[2])
        rows_room, passage_room = len(listed[0]), len(listed_passages[0])
        windows_before, passages_before = windows_listed, passages_listed
        best = pointer(best_array)
        n_windows = n_passages = np.int64(0)
        begin = offsets[text]
        end = offsets[text + 1]
        i = begin
        total_features: Int = 0
        total_tokens: Int = 0
        passage_first = begin
        passage_last = begin
        for h in range(LANES):
            total[h] = 0
        for h in range(HEADS):
            best[h] = 0
        while i < end:
            n, i, first, last = read_window_at(bytes_, i, end, entries, least, cap, at)
            if n > 0:
                a = np.uint64(0)
                b = np.uint64(0)
                c2 = np.uint64(0)
                d = np.uint64(0)
                features: Int = 0
                marked = np.uint8(0)
                for t in range(n):
                    fetch_ahead(cache, np.int64((hashes[t] * _Q) >> slot_shift) << 3)
                for t in range(n):
                    line = np.int64((hashes[t] * _Q) >> slot_shift) << 3
                    if cache[line] != hashes[t] or cache[line + 3] == 0:
                        # The second word becomes the first, and is this one if it was not.
                        for k in range(line, line + 4):
                            kept = cache[k]
                            cache[k] = cache[k + 4]
                            cache[k + 4] = kept
                        if cache[line] != hashes[t] or cache[line + 3] == 0:
                            c = word_features(
                                hashes[t], kinds[t], chars, bounds[t], bounds[t + 1], shift, bounded, one, 0
                            )
                            w, x, y, z = _gather(packed, index, one, c)
                            # WORD_FEATURES times 255 fits 16 bits, so that the four sums fit two words.
                            cache[line] = hashes[t]
                            cache[line + 1] = w | (x << _SIXTEEN)
                            cache[line + 2] = y | (z << _SIXTEEN)
                            mark = hashes[t] >> mark_shift
                            group = np.uint8(0)
                            if (marks[mark >> np.uint64(6)] >> (mark & np.uint64(63))) & np.uint64(1):
                                group = group_of(hashes[t], known)
                            cache[line + 3] = np.uint64(c) | (np.uint64(group) << _SIXTEEN)
                    sums_even = cache[line + 1]
                    sums_odd = cache[line + 2]
                    found = cache[line + 3]
                    a += sums_even & _LANES32
                    b += (sums_even >> _SIXTEEN) & _LANES32
                    c2 += sums_odd & _LANES32
                    d += (sums_odd >> _SIXTEEN) & _LANES32
                    features += np.int64(found & _LANE16)
                    group = np.uint8(found >> _SIXTEEN)
                    groups[t] = group
                    marked |= group
                c = context_features(hashes, groups, n, shift, one, 0) if marked else 0
                w, x, y, z = _gather(packed, index, one, c)
                features += c
                _unpack(a + w, b + x, c2 + y, d + z, sums)
                _steps(sums, features, scale, bias, step)
                for h in range(HEADS):
                    best[h] = max(best[h], step[h])
                n_windows += 1
                if _reaches(step, floors):
                    _list(rows, rows_room, windows_listed, text, first - begin, last - begin, step)
                    windows_listed += 1
                if total_tokens == 0:
                    passage_first = first
                passage_last = last
                total_tokens += n
                total_features += features
                for h in range(HEADS):
                    total[h] += sums[h]
            if total_tokens >= PASSAGE_TOKENS or (i >= end and total_tokens > 0):
                _steps(total, total_features, scale, bias, step)
                n_passages += 1
                if _reaches(step, passage_floors):
                    span = passage_first - begin, passage_last - begin
                    _list(passage_rows, passage_room, passages_listed, text, span[0], span[1], step)
                    passages_listed += 1
                total_features = 0
                total_tokens = 0
                for h in range(LANES):
                    total[h] = 0
        if windows_listed > rows_room or passages_listed > passage_room:
            # The text once more, with room for what it lists.
            if windows_listed > rows_room:
                listed = _grown(listed, windows_before, 2 * windows_listed)
            if passages_listed > passage_room:
                listed_passages = _grown(listed_passages, passages_before, 2 * passages_listed)
            windows_listed, passages_listed = windows_before, passages_before
            continue
        for h in range(HEADS):
            highest[text, h] = best[h]
        counts[text] = n_windows
        passages[text] = n_passages
        text += 1
    owner, span, steps = listed
    windows = (counts, owner[:windows_listed], span[:windows_listed], steps[:windows_listed])
    owner, span, steps = listed_passages
    return highest, windows, (passages, owner[:passages_listed], span[:passages_listed], steps[:passages_listed])
