"""Seeded draws that give the same numbers on every platform and in every version of every library.

The stream is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
2014; the constants are those of Vigna's public-domain `splitmix64.c`). `random` and NumPy are avoided on
purpose: they promise their raw streams, but not that `shuffle` or `choice` will turn them into the same
results for ever. Only integers are used here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_MASK = (1 << 64) - 1


def splitmix64(state: int) -> tuple[int, int]:
    """One step: the new 64-bit state and the output that belongs to it."""
    state = (state + 0x9E3779B97F4A7C15) & _MASK
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return state, z ^ (z >> 31)


class Draws:
    """An independent stream for each (seed, purpose): what one part draws never shifts what another gets.

    The first state is the first 8 bytes, little-endian, of SHA-256 over `small_web`, the seed in decimal
    and the names, in UTF-8 and separated by U+001F.
    """

    def __init__(self, seed: int, *names: str | int) -> None:
        key = "\x1f".join(str(part) for part in ("small_web", seed, *names))
        self._state = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")

    def word(self) -> int:
        """The next 64 bits."""
        self._state, output = splitmix64(self._state)
        return output

    def below(self, bound: int) -> int:
        """An integer in [0, bound); the bias of multiply-and-shift is below bound / 2**64."""
        return (self.word() * bound) >> 64

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, each as likely as the next."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """A new list in a random order (Fisher and Yates, from the end)."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order

    def sample(self, items: Sequence[T], size: int) -> list[T]:
        """`size` different positions of `items`, in random order; all of them if there are fewer."""
        return self.shuffled(items)[:size]
