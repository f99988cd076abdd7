"""How token sequences become batches: by their lengths and their order alone, whatever else is under way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def cut_batches(lengths: Sequence[int], *, most_rows: int, most_tokens: int) -> Iterator[np.ndarray]:
    """Numbers of the sequences of each batch, int64: longest first, so that a batch has sequences of like length and needs
    little padding, and what takes the most memory comes first.

    Args:
        lengths: tokens of each sequence.
        most_rows: sequences of a batch.
        most_tokens: tokens of a batch with its padding; a sequence that is longer is a batch of its own.
    """
    sizes = np.asarray(lengths, np.int64)
    order = np.argsort(-sizes, kind="stable")
    start = 0
    while start < len(order):
        width = max(1, int(sizes[order[start]]))
        stop = start + max(1, min(most_rows, most_tokens // width))
        yield order[start:stop]
        start = stop


def padded(sequences: Sequence[Sequence[int]], *, pad: int, left: bool, multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and attention mask of a batch, int64[rows, width] each; `multiple`: the width is a multiple of it."""
    longest = max(len(one) for one in sequences)
    width = -(-longest // multiple) * multiple
    ids = np.full((len(sequences), width), pad, np.int64)
    mask = np.zeros((len(sequences), width), np.int64)
    for row, one in enumerate(sequences):
        at = slice(width - len(one), width) if left else slice(0, len(one))
        ids[row, at] = one
        mask[row, at] = 1
    return ids, mask
