"""Further originals made of passages of several pages, as digests and anthologies on the web are.

They share text with the pages and with each other without being copies: a candidate is accepted only if the
words that it has in common with any other original of its language are at most a quarter of the words of
both together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gristmill.launch.quickstart.small_web.copies import UNSPACED, words
from gristmill.launch.quickstart.small_web.draws import Draws
from gristmill.launch.quickstart.small_web.pages import Page

PROSE = frozenset(
    {
        "blog",
        "encyclopedic",
        "forum",
        "howto",
        "interview",
        "minutes",
        "news",
        "recipe",
        "review",
        "shop",
    }
)
"""Kinds whose passages make sense by themselves. Pages that test the toxicity filter lend nothing: their
answer would not carry over to a mixture."""

SENTENCES = 2
"""Sentences per passage; an odd one at the end of a paragraph is a passage by itself."""

MIN_WORDS, MIN_CHARACTERS = 10, 25
"""Shorter passages are left out, as are titles and list items; the second is for languages without spaces."""

MIN_PASSAGES, MAX_PASSAGES = 5, 9
PER_PAGE = 2
"""At most so many passages of one page in a candidate."""

OVERLAP_NUMERATOR, OVERLAP_DENOMINATOR = 1, 4
GIVE_UP_AFTER = 200
"""Candidates refused in a row after which a language counts as exhausted."""

_LIST_ITEM = ("-", *"0123456789")

# A sentence ends at a mark, and closing quotation marks still belong to it. Outside Chinese and Japanese a
# space must follow. An abbreviation's full stop counts as an end too, which only shifts where a passage is
# cut.
_SPACED_END = re.compile(r"(?<=[.!?؟।]) |(?<=[.!?؟।][\"”“»]) ")
_UNSPACED_END = re.compile(r"(?<=[。！？])(?![」』”])|(?<=[。！？][」』”])")


@dataclass(frozen=True)
class Passage:
    """A few sentences, the position of their page and their number of words."""

    text: str
    page: int
    weight: int


def passages(pages: tuple[Page, ...], label: str) -> list[Passage]:
    """The passages of a language that may be recombined, in the order of the pages."""
    least = MIN_CHARACTERS if label in UNSPACED else MIN_WORDS
    found = []
    for number, page in enumerate(pages):
        if page.language == label and page.verdict == "keep" and page.kind in PROSE:
            for line in page.text.split("\n")[1:]:
                if line.startswith(_LIST_ITEM):
                    continue
                for text in _cut(line, label):
                    weight = len(words(text, label))
                    if weight >= least:
                        found.append(Passage(text, number, weight))
    return found


def _cut(line: str, label: str) -> list[str]:
    end, joint = (_UNSPACED_END, "") if label in UNSPACED else (_SPACED_END, " ")
    sentences = [sentence for sentence in end.split(line) if sentence]
    return [joint.join(sentences[i : i + SENTENCES]) for i in range(0, len(sentences), SENTENCES)]


class Recombiner:
    """Makes originals of one language, each different enough from all before it and from the pages."""

    def __init__(self, pages: tuple[Page, ...], label: str, seed: int) -> None:
        self.passages = passages(pages, label)
        self.draws = Draws(seed, "recombine", label)
        lenders = sorted({passage.page for passage in self.passages})
        self.exhausted = len(lenders) * PER_PAGE < MIN_PASSAGES
        # Accepted originals as (bit set of passages, words in total); the pages come first.
        self._accepted: list[tuple[int, int]] = []
        for number in lenders:
            bits = sum(1 << i for i, passage in enumerate(self.passages) if passage.page == number)
            self._accepted.append((bits, len(words(pages[number].text, label))))

    def next(self) -> str | None:
        """Another original, a passage per line, or None when the language is exhausted."""
        for _ in range(0 if self.exhausted else GIVE_UP_AFTER):
            chosen = self._candidate()
            bits = sum(1 << i for i in chosen)
            total = sum(self.passages[i].weight for i in chosen)
            if self._differs(bits, total):
                self._accepted.append((bits, total))
                return "\n".join(self.passages[i].text for i in chosen)
        self.exhausted = True
        return None

    def _candidate(self) -> list[int]:
        wanted = MIN_PASSAGES + self.draws.below(MAX_PASSAGES - MIN_PASSAGES + 1)
        taken: dict[int, int] = {}
        chosen: list[int] = []
        for i in self.draws.shuffled(range(len(self.passages))):
            page = self.passages[i].page
            if taken.get(page, 0) < PER_PAGE:
                taken[page] = taken.get(page, 0) + 1
                chosen.append(i)
                if len(chosen) == wanted:
                    break
        return chosen

    def _differs(self, bits: int, total: int) -> bool:
        for other_bits, other_total in self._accepted:
            common = bits & other_bits
            shared = 0
            while common:
                lowest = common & -common
                shared += self.passages[lowest.bit_length() - 1].weight
                common ^= lowest
            if shared * OVERLAP_DENOMINATOR > (total + other_total - shared) * OVERLAP_NUMERATOR:
                return False
        return True
