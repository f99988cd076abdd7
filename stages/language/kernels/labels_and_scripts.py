"""From a model's candidate labels and a document's script to one canonical label and its pairs.

Scripts are counted over the characters that belong to one (Unicode's script property; common and inherited characters
count for none). Three rules make a document's script comparable with a label's:

- Han, Hiragana, Katakana and Bopomofo are one body of text. It is `Jpan` when at least MIN_KANA_SHARE of it is kana,
  else `Hani`: Japanese prose is half kana, and Chinese has next to none.
- A character of that body, and a Hangul syllable, weighs EAST_ASIAN_WEIGHT: one stands for a syllable or a word, where
  alphabets need several letters.
- A label is *admissible* when its script has at least MIN_SCRIPT_SHARE of the document's weight. Of the pairs that a
  model's label may stand for (`srp_Cyrl`, `srp_Latn`), the one with most weight is meant.

The document's label is the admissible candidate with the highest score. Where the model's first choice and the text's
script disagree, the first choice therefore loses, and the label that wins keeps its own, lower score. Without an
admissible candidate, or where a label for no language at all (`zxx`) has a higher score, the language is undetermined
and the script is the heaviest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from gristmill.stages.kernels.bits import ones
from gristmill.stages.kernels.normal_form import HIGH_BITS, LOWER_CASE, first_bytes, lower_letters
from gristmill.stages.kernels.pointers import load8_at, pointer
from gristmill.stages.kernels.scalars import Float, Int
from gristmill.stages.kernels.unicode import SCRIPT_NAMES, SCRIPTS, decode

JPAN = len(SCRIPTS)
"""Number of `Jpan`, after Unicode's own scripts."""
N_SCRIPTS = len(SCRIPT_NAMES)
ZZZZ, ZYYY, ZINH = SCRIPTS.index("Zzzz"), SCRIPTS.index("Zyyy"), SCRIPTS.index("Zinh")
LATN = SCRIPTS.index("Latn")
HANI, HIRA, KANA, BOPO = (SCRIPTS.index(name) for name in ("Hani", "Hira", "Kana", "Bopo"))
HANG = SCRIPTS.index("Hang")

EAST_ASIAN_WEIGHT = 3
MIN_KANA_SHARE = 0.05
MIN_SCRIPT_SHARE = 0.2

_HEAD, _MIDDLE = np.frombuffer(b'{"', np.uint8), np.frombuffer(b'_score": ', np.uint8)
_COMMA = np.frombuffer(b", ", np.uint8)
_DECIMALS = 6
PAIR_BYTES = 8
"""Length of a label pair, `por_Latn`."""
MAX_PAIR_JSON = 2 + 1 + PAIR_BYTES + len('_score": ') + 5 + 1 + _DECIMALS + 2
"""Bytes of one entry of the pairs' JSON at most, braces included; scores are below 10^5."""


class Candidates(NamedTuple):
    """What a model answers: `labels` and `scores`, int32 and float32 of shape (documents, candidates), best first, −1 for
    none."""

    labels: np.ndarray
    scores: np.ndarray


class Pairs(NamedTuple):
    """The pairs of language and script that a model's labels stand for.

    Attributes:
        of_label: int32 of shape (labels, most pairs): the pairs that a label may stand for, −1 for none.
        scripts: int32, the script of each pair.
        names: uint8 of shape (pairs, PAIR_BYTES), the pairs in ASCII.
    """

    of_label: np.ndarray
    scripts: np.ndarray
    names: np.ndarray


class Resolved(NamedTuple):
    """What `resolve` writes, per document.

    Attributes:
        pairs: int32, the pair, −1 for undetermined.
        scripts: int32, the script's number.
        scores: float64, the pair's score.
        json, json_offsets: uint8 with room for `top` entries of MAX_PAIR_JSON bytes per document, and int32 of shape
            (documents + 1,): the best pairs as a JSON object.
    """

    pairs: np.ndarray
    scripts: np.ndarray
    scores: np.ndarray
    json: np.ndarray
    json_offsets: np.ndarray


@njit(cache=True, nogil=True)
def _weigh_scripts(data: np.ndarray, start: Int, end: Int, script_of: np.ndarray, weights: np.ndarray) -> None:
    """Weight of each script in data[start:end] into `weights` (int64[N_SCRIPTS])."""
    weights[:] = 0
    latin = np.int64(0)
    at, end = np.int64(start), np.int64(end)
    bytes_ = pointer(data)
    while at < end:
        if at + 8 <= end:
            word = load8_at(bytes_, at)
            high = word & HIGH_BITS
            length = np.int64(8)
            if high:
                word, length = first_bytes(word, high)
            latin += ones(lower_letters(word | LOWER_CASE))
            at += length
            if not high:
                continue
        code, at = decode(data, at, end)
        weights[script_of[code]] += 1
    weights[LATN] += latin
    weights[ZZZZ] = 0
    weights[ZYYY] = 0
    weights[ZINH] = 0
    kana = weights[HIRA] + weights[KANA]
    body = kana + weights[HANI] + weights[BOPO]
    weights[HIRA] = 0
    weights[KANA] = 0
    weights[BOPO] = 0
    weights[HANI] = 0
    if kana >= MIN_KANA_SHARE * body:
        weights[JPAN] = EAST_ASIAN_WEIGHT * body
    else:
        weights[HANI] = EAST_ASIAN_WEIGHT * body
    weights[HANG] *= EAST_ASIAN_WEIGHT


@njit(cache=True, nogil=True)
def _write_pair(out: np.ndarray, at: Int, names: np.ndarray, pair: Int, score: Float, first: bool) -> Int:
    """Writes `"por_Latn_score": 0.123456`, with what separates it from the pair before."""
    for byte in _HEAD if first else _COMMA:
        out[at] = byte
        at += 1
    if not first:
        out[at] = np.uint8(ord('"'))
        at += 1
    for i in range(PAIR_BYTES):
        out[at] = names[pair, i]
        at += 1
    for byte in _MIDDLE:
        out[at] = byte
        at += 1
    scaled = np.int64(np.float64(score) * 10**_DECIMALS + 0.5)
    whole, part = scaled // 10**_DECIMALS, scaled % 10**_DECIMALS
    digits = 1
    while whole // 10**digits:
        digits += 1
    for i in range(digits - 1, -1, -1):
        out[at] = np.uint8(48 + whole // 10**i % 10)
        at += 1
    out[at] = np.uint8(ord("."))
    at += 1
    for i in range(_DECIMALS - 1, -1, -1):
        out[at] = np.uint8(48 + part // 10**i % 10)
        at += 1
    return at


@njit(cache=True, nogil=True)
def resolve(
    data: np.ndarray,
    offsets: np.ndarray,
    script_of: np.ndarray,
    candidates: Candidates,
    known: Pairs,
    top: Int,
    floor: Float,
    out: Resolved,
) -> None:
    """Resolves the candidates of each document.

    Args:
        data, offsets: the texts (uint8, int64[documents + 1]).
        script_of: uint8[0x110000], index into SCRIPTS of each code point.
        candidates: labels of the model.
        known: the pairs that they stand for.
        top, floor: how many pairs to write into the JSON at most, and the least score of one.
        out: written.
    """
    labels, scores = candidates.labels, candidates.scores
    pairs_of, pair_scripts, pair_names = known.of_label, known.scripts, known.names
    json, json_offsets = out.json, out.json_offsets
    weights = np.empty(N_SCRIPTS, np.int64)
    most = labels.shape[1]
    pairs = np.empty(most, np.int32)
    totals = np.empty(most, np.float32)
    written: Int = 0
    json_offsets[0] = 0
    for row in range(offsets.size - 1):
        _weigh_scripts(data, offsets[row], offsets[row + 1], script_of, weights)
        weight = np.int64(0)
        script = ZYYY
        for i in range(N_SCRIPTS):
            weight += weights[i]
            if weights[i] > weights[script]:
                script = i
        # Each candidate as the pair that it most likely means; labels that mean the same pair add up.
        count = 0
        nothing = np.float32(0.0)
        for i in range(most):
            label = labels[row, i]
            if label < 0 or weight == 0:
                break
            pair = pairs_of[label, 0]
            for j in range(1, pairs_of.shape[1]):
                other = pairs_of[label, j]
                if other >= 0 and weights[pair_scripts[other]] > weights[pair_scripts[pair]]:
                    pair = other
            if pair < 0:
                nothing += scores[row, i]
                continue
            at = 0
            while at < count and pairs[at] != pair:
                at += 1
            if at == count:
                pairs[at] = pair
                totals[at] = scores[row, i]
                count += 1
            else:
                totals[at] += scores[row, i]
        best = -1
        for i in range(count):
            if weights[pair_scripts[pairs[i]]] >= MIN_SCRIPT_SHARE * weight and (best < 0 or totals[i] > totals[best]):
                best = i
        if best >= 0 and nothing > totals[best]:
            best = -1
        out.pairs[row] = pairs[best] if best >= 0 else -1
        out.scripts[row] = pair_scripts[pairs[best]] if best >= 0 else script
        out.scores[row] = np.float64(totals[best]) if best >= 0 else 0.0

        n_written = 0
        while n_written < top:
            following = -1
            for i in range(count):
                if totals[i] >= floor and (following < 0 or totals[i] > totals[following]):
                    following = i
            if following < 0:
                break
            written = _write_pair(json, written, pair_names, pairs[following], totals[following], n_written == 0)
            totals[following] = np.float32(-1.0)
            n_written += 1
        if n_written == 0:
            json[written] = np.uint8(ord("{"))
            written += 1
        json[written] = np.uint8(ord("}"))
        written += 1
        json_offsets[row + 1] = written
