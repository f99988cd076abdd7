"""Counts the words of a text that vote for languages, by an automaton over Latin letters."""

from __future__ import annotations

import numpy as np
from numba import njit

from gristmill.stages.kernels.unicode import decode

LATIN_END = 0x180
"""Code points from here on are in no word of an automaton: beyond Latin Extended-A."""
_MARKED = "čćđšž"
ALPHABET = 26 + len(_MARKED) + 1
"""Letters of an automaton: a to z, those with marks, and any other."""
OTHER = ALPHABET - 1
"""A letter that is in no listed word."""
NO_LETTER = 255
"""What ends a word."""


def letters(lowered: np.ndarray) -> np.ndarray:
    """uint8[LATIN_END]: the letter of each code point after `lowered` (see `stages.kernels.unicode`), or NO_LETTER."""
    table = np.full(LATIN_END, NO_LETTER, np.uint8)
    for code in range(LATIN_END):
        if chr(code).isalpha():
            lower = chr(lowered[code])
            if "a" <= lower <= "z":
                table[code] = ord(lower) - ord("a")
            else:
                table[code] = 26 + _MARKED.index(lower) if lower in _MARKED else OTHER
    return table


@njit(cache=True, nogil=True)
def count_votes(
    data: np.ndarray,
    offsets: np.ndarray,
    rows: np.ndarray,
    letter_of: np.ndarray,
    moves: np.ndarray,
    word_votes: np.ndarray,
    prefix_votes: np.ndarray,
    out: np.ndarray,
) -> None:
    """Adds up the votes of the words in some documents.

    Args:
        data, offsets: the texts (uint8, int64[documents + 1]); rows: int64, which documents.
        letter_of: uint8[LATIN_END] (see `letters`); moves, word_votes, prefix_votes: see
            `stages.language.close_languages.CloseLanguages`.
        out: int64 of shape (rows, labels): votes for each label, written here. A word that is listed and begins with a
            listed beginning votes for the languages of both, once for each.
    """
    for i in range(rows.size):
        out[i, :] = 0
        at, end = offsets[rows[i]], offsets[rows[i] + 1]
        state = np.int64(1)
        votes = np.uint8(0)
        while at <= end:
            letter = np.uint8(NO_LETTER)
            if at < end:
                byte = data[at]
                if byte < 128:
                    letter = letter_of[byte]
                    at += 1
                else:
                    code, at = decode(data, np.int64(at), np.int64(end))
                    letter = letter_of[code] if code < LATIN_END else np.uint8(OTHER)
            else:
                at += 1
            if letter == NO_LETTER:
                votes |= word_votes[state]
                if votes:
                    for label in range(out.shape[1]):
                        out[i, label] += np.int64((votes >> np.uint8(label)) & np.uint8(1))
                state = np.int64(1)
                votes = np.uint8(0)
            else:
                state = np.int64(moves[state, letter])
                votes |= prefix_votes[state]
