"""Answers about the pages of a slice that were parsed last, so that equal pages are parsed once, whatever the batches.

A page is known by a SHA-256 over the charset that its header states and its bytes, as they were read here. An
answer follows from these, so that nobody can tell from a result whether it was kept; answers that depend on the machine
(`timeout`, `crash`) are not kept.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

Answer = tuple[str | None, str | None, str | None, str | None, tuple[int | None, ...]]
"""Text, extractor, charset, failure and numbers of characters of a page; see `stage.SIGNALS`."""

MOST_BYTES = 64 << 20
"""Bytes of answers that are kept: the texts of a slice of 32 MiB, as a rule."""
ENTRY_BYTES = 1000
"""What an answer takes besides its text."""


class LatelyParsed:
    """Answers by the digest of their page; the one that was not asked for longest goes first.

    Args:
        most: bytes that are kept; an answer with more is not.
    """

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()

    def get(self, page: bytes) -> Answer | None:
        """The answer about a page, if it is kept."""
        answer = self._answers.get(page)
        if answer is not None:
            self._answers.move_to_end(page)
        return answer

    def add(self, page: bytes, answer: Answer) -> None:
        """Keeps an answer, in place of older ones."""
        size = _size(answer)
        if page in self._answers or size > self._most:
            return
        self._answers[page] = answer
        self._held += size
        while self._held > self._most:
            self._held -= _size(self._answers.popitem(last=False)[1])


def page_digest(charset: bytes, page: bytes | memoryview) -> bytes:
    """By what a page is known: everything about it that decides its answer."""
    sha256 = hashlib.sha256(b"%d\n%b" % (len(charset), charset))
    sha256.update(page)
    return sha256.digest()


def _size(answer: Answer) -> int:
    # A str has up to four bytes a character.
    return ENTRY_BYTES + sum(4 * len(part) for part in answer[:4] if part)
