"""Sets of shingles against plain Python, and similarities of sets that were cut off against the true ones."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from gristmill.pipeline.document import text_buffers
from gristmill.stages.deduplication.kernels.normalise import normal_forms
from gristmill.stages.deduplication.kernels.shingles import jaccard, most_entries, shingle_sets
from gristmill.stages.deduplication.kernels.signatures import Shingling, shingle_seed
from tests.stages.deduplication.kernels import minhash_oracle as oracle


def sets_of(texts: list[str], places: int, ngram: int = 2, characters: bool = False) -> list[list[int]]:
    data, offsets = text_buffers(pa.array(texts, pa.large_string()))
    found = np.full(most_entries(np.diff(offsets), places), 7, np.uint32)
    bounds = np.empty(len(texts) + 1, np.int64)
    shingle_sets(data, offsets, normal_forms(), Shingling(characters, ngram, shingle_seed(1)), places, found, bounds)
    return [found[start:stop].tolist() for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]


@pytest.mark.parametrize("characters", [False, True])
@pytest.mark.parametrize("places", [4, 300])
def test_sets_hold_the_least_distinct_hashes(characters: bool, places: int) -> None:
    long = " ".join(f"w{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(300)) + " 漢字" * 2000
    texts = ["", "?", "one", "one two one two one two", "Ünïcode — text, here.", long]
    for ngram in (1, 2, 5):
        found = sets_of(texts, places, ngram, characters)
        for row, text in zip(found, texts, strict=True):
            units = oracle.characters(text) if characters else oracle.words(text)
            hashes = sorted({h >> 32 for h in oracle.shingles(units, ngram, 1)})
            assert row[0] == min(len(hashes), places + 1)
            assert row[1:] == hashes[:places]


def similarity(one: set[int], other: set[int], places: int) -> float:
    a, b = ([min(len(hashes), places + 1), *sorted(hashes)[:places]] for hashes in (one, other))
    # Both in one array, and something before them: where a set begins is told, not assumed.
    entries = np.array([9, *a, *b, 9], np.uint32)
    return float(jaccard(entries, 1, entries, 1 + len(a), places))


def test_similarity_is_exact_between_whole_sets_and_close_when_they_are_cut_off() -> None:
    draw = np.random.default_rng(4)
    errors = []
    for _ in range(200):
        common = set(draw.integers(0, 2**32, int(draw.integers(0, 3000))).tolist())
        one, other = (common | set(draw.integers(0, 2**32, int(draw.integers(1, 3000))).tolist()) for _ in range(2))
        true = oracle.jaccard(one, other)
        assert similarity(one, other, 10_000) == true
        if max(len(one), len(other)) > 512:
            errors.append(similarity(one, other, 512) - true)
    assert len(errors) > 100
    assert abs(np.mean(errors)) < 4 * 0.5 / np.sqrt(512) / np.sqrt(len(errors))
    assert np.std(errors) < 0.5 / np.sqrt(512)


def test_a_set_with_exactly_as_many_shingles_as_places_is_whole() -> None:
    one, other = {1, 2, 3, 4}, {1, 2, 3, 4, 5, 6, 7, 8}
    assert similarity(one, one, 4) == 1.0
    assert similarity(one, set(range(5, 9)), 4) == 0.0
    assert similarity(one, other, 8) == 0.5
    assert similarity(one, other, 4) == 1.0, "up to 4, where the larger one was cut off, they are the same"
    assert similarity(set(), set(), 4) == 0.0
