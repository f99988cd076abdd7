"""Answers about the pages of a slice that were parsed last, so that equal pages are parsed once, whatever the batches.

A page is known by the charset that its header states and a keyed digest of its bytes, as they were read here. An
answer follows from these, so that nobody can tell from a result whether it was kept; answers that depend on the machine
(`timeout`, `crash`) are not kept.

The digest is GMAC, with a key that this process draws and tells nobody: two pages of n bytes that somebody made without the
key have the same one with a probability of n / 2^131, so that no page need be kept for comparison. It takes a tenth of
the time of SHA-256, which would be a twentieth of that of the fastest extractor.
"""

from __future__ import annotations

import os
from collections import OrderedDict

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PageKey = tuple[bytes, bytes]
"""Charset and digest of a page."""
Numbers = tuple[int, ...] | None
"""What a parser counted in a text, as of `parsers.kinds_of_characters`."""
Answer = tuple[str | None, str | None, str | None, str | None, Numbers]
"""Text, extractor, charset, failure and numbers of characters of a page; see `stage.SIGNALS`."""

_SECRET, _NONCE = AESGCM(os.urandom(16)), bytes(12)
_MOST_AT_ONCE = 1 << 30
MOST_BYTES = 64 << 20
"""Bytes of answers that are kept: the texts of a slice of 32 MiB, as a rule."""
ENTRY_BYTES = 1000
"""What an answer takes besides its text."""


class LatelyParsed:
    """Answers by the key of their page; the one that was not asked for longest goes first.

    Args:
        most: bytes that are kept; an answer with more is not.
    """

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._answers: OrderedDict[PageKey, Answer] = OrderedDict()

    def get(self, page: PageKey) -> Answer | None:
        """The answer about a page, if it is kept."""
        answer = self._answers.get(page)
        if answer is not None:
            self._answers.move_to_end(page)
        return answer

    def add(self, page: PageKey, answer: Answer) -> None:
        """Keeps an answer, in place of older ones."""
        size = _size(answer)
        if page in self._answers or size > self._most:
            return
        self._answers[page] = answer
        self._held += size
        while self._held > self._most:
            self._held -= _size(self._answers.popitem(last=False)[1])


def page_key(charset: bytes, page: bytes | memoryview) -> PageKey:
    """By what a page is known in this process: everything about it that decides its answer."""
    # One nonce serves for all since digests never leave the process. OpenSSL takes less than 2 GiB at once.
    parts = [page[start : start + _MOST_AT_ONCE] for start in range(0, len(page), _MOST_AT_ONCE)]
    return charset, b"".join(_SECRET.encrypt(_NONCE, b"", part) for part in parts)


def _size(answer: Answer) -> int:
    # A str has up to four bytes a character.
    return ENTRY_BYTES + sum(4 * len(part) for part in answer[:4] if part)
