"""Batches follow from lengths and order alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gristmill.stages.networks.batches import cut_batches, padded


@given(st.lists(st.integers(0, 600)), st.integers(1, 40), st.integers(1, 5000))
def test_every_sequence_is_in_one_batch_within_the_bounds(lengths: list[int], rows: int, tokens: int) -> None:
    batches = [batch.tolist() for batch in cut_batches(lengths, most_rows=rows, most_tokens=tokens)]
    assert sorted(at for batch in batches for at in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= rows
        assert len(batch) == 1 or len(batch) * max(lengths[at] for at in batch) <= tokens
    widths = [max(lengths[at] for at in batch) for batch in batches]
    assert widths == sorted(widths, reverse=True), "longest first"


def test_sequences_of_like_length_share_a_batch_so_that_little_is_padding() -> None:
    lengths = np.random.default_rng(1).integers(1, 512, 4000).tolist()
    used = sum(len(b) * max(lengths[at] for at in b) for b in cut_batches(lengths, most_rows=1024, most_tokens=8192))
    assert used < 1.02 * sum(lengths)


def test_padding_is_on_the_side_that_the_tokenizer_says_and_masked() -> None:
    ids, mask = padded([[5, 6, 7], [8]], pad=9, left=False, multiple=4)
    assert ids.tolist() == [[5, 6, 7, 9], [8, 9, 9, 9]] and mask.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    ids, mask = padded([[5, 6, 7], [8]], pad=9, left=True, multiple=1)
    assert ids.tolist() == [[5, 6, 7], [9, 9, 8]] and mask.tolist() == [[1, 1, 1], [0, 0, 1]]
