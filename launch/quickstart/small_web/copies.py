"""How copies arise on the web: a text is edited, cut off, or framed by another site's boilerplate.

Words are what stands between spaces and line ends. Chinese and Japanese, which are written without spaces,
count each character as a word. Word boundaries are found without Unicode tables, which change between
Python versions.
"""

from __future__ import annotations

import re

from gristmill.launch.quickstart.small_web.draws import Draws
from gristmill.launch.quickstart.small_web.pages import load_frames

UNSPACED = frozenset({"cmn_Hani", "jpn_Jpan"})
"""Labels whose words are single characters."""

SHINGLE = 5
"""Words per shingle, as in the MinHash defaults."""

_GAP = re.compile(r"([ \n]+)")

Segments = list[tuple[str, str]]


def segments(text: str, label: str) -> Segments:
    """(word, gap behind it) pairs that give back the text when joined; the text must not begin with a gap."""
    if label in UNSPACED:
        pairs: Segments = []
        for character in text:
            if character in " \n" and pairs:
                pairs[-1] = (pairs[-1][0], pairs[-1][1] + character)
            else:
                pairs.append((character, ""))
        return pairs
    parts = [*_GAP.split(text), ""]  # word, gap, word, gap, …
    return [(word, gap) for word, gap in zip(parts[::2], parts[1::2], strict=True) if word]


def words(text: str, label: str) -> list[str]:
    """The words of a text."""
    return [word for word, _ in segments(text, label)]


def shingles(text: str, label: str) -> frozenset[tuple[str, ...]]:
    """The set of runs of five words; a text of fewer words has one shingle, all of it."""
    tokens = words(text, label)
    return frozenset(tuple(tokens[i : i + SHINGLE]) for i in range(max(1, len(tokens) - SHINGLE + 1)))


def jaccard(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    """Size of the intersection over size of the union."""
    common = len(one & other)
    return common / (len(one) + len(other) - common)


def edited(text: str, label: str, draws: Draws) -> str:
    """Between 1 and 3 % of the words (at least one) replaced by a word of the page, left out, or doubled."""
    pairs = segments(text, label)
    vocabulary = sorted({word for word, _ in pairs})
    count = max(1, len(pairs) * (10 + draws.below(21)) // 1000)
    while True:
        result = list(pairs)
        for place in sorted(draws.sample(range(len(pairs)), count), reverse=True):
            word, gap = result[place]
            action = draws.below(3)
            if action == 0:
                result[place] = (draws.pick(vocabulary), gap)
            elif action == 1 and len(result) > 1:
                del result[place]
                if "\n" in gap and place:  # the line still ends here
                    result[place - 1] = (result[place - 1][0], gap)
            else:
                result[place : place + 1] = [(word, "" if label in UNSPACED else " "), (word, gap)]
        new = _join(result)
        if new != text:
            return new


def truncated(text: str, label: str, draws: Draws) -> str:
    """The first 60 to 95 % of the words; at least one word is cut off and at least one left."""
    pairs = segments(text, label)
    kept = len(pairs) * (600 + draws.below(351)) // 1000
    return _join(pairs[: max(1, min(kept, len(pairs) - 1))])


def framed(text: str, label: str, draws: Draws) -> str:
    """The text between one or two header lines and one to three footer lines of a site in its language."""
    headers, footers = load_frames()[label]
    above = draws.sample(headers, 1 + draws.below(2))
    below = draws.sample(footers, 1 + draws.below(3))
    return "\n".join([*above, text, *below])


def _join(pairs: Segments) -> str:
    return "".join(word + gap for word, gap in pairs).strip(" \n")
