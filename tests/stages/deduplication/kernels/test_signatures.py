"""MinHash signatures: against the definition in plain Python, and against what the theory promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from gristmill.stages.deduplication.kernels import signatures as minhash
from gristmill.stages.deduplication.kernels.hash_bits import mix64, splitmix64, trailing_zeros
from gristmill.stages.deduplication.kernels.normalise import normal_forms
from gristmill.stages.deduplication.kernels.permutations import TURN, WIDTH, lane_multipliers, lower_minima, no_minima
from gristmill.stages.deduplication.kernels.signatures import (
    Shingling,
    band_buckets,
    equal_lanes,
    required_equal,
    shingle_seed,
    signatures,
    sketch_words,
    sketches,
)
from gristmill.stages.kernels.bits import ones
from tests.stages.deduplication.kernels import minhash_oracle as oracle

LANES = 112


def signed(
    texts: list[bytes], ngram: int = 5, lanes: int = LANES, seed: int = 1, characters: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Signatures and numbers of shingles."""
    data = np.frombuffer(b"".join(texts), np.uint8)
    offsets = np.cumsum([0, *map(len, texts)]).astype(np.int64)
    out = np.empty((len(texts), lanes), np.uint64)
    counts = np.empty(len(texts), np.int64)
    signatures(
        data,
        offsets,
        normal_forms(),
        Shingling(characters, ngram, shingle_seed(seed)),
        lane_multipliers(lanes, seed),
        out,
        counts,
    )
    return out, counts


def random_signatures(shingles: list[np.ndarray], lanes: int = LANES, seed: int = 1) -> np.ndarray:
    """Signatures of given sets of shingle hashes."""
    out = np.empty((len(shingles), lanes), np.uint64)
    for row, values in enumerate(shingles):
        blocks, within = lane_multipliers(lanes, seed)
        lows = np.empty(len(blocks) * WIDTH, np.int64)
        no_minima(lows)
        work = np.concatenate([values, np.zeros(TURN, np.uint64)])
        lower_minima(work, len(values), np.empty_like(work), blocks, within, lows)
        out[row] = lows.view(np.uint64)[:lanes] ^ np.uint64(1 << 63)
    return out


def spelt(number: int) -> str:
    """A word of letters for each number: digits would all become 0."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


WORDS = "the of and to in a is that for it as was with be by on not he i this are or his from at".split()


@given(
    st.lists(st.lists(st.sampled_from([*WORDS, "Ünïcode", "中文字", "12.5", "—"]), max_size=12), max_size=3),
    st.integers(1, 6),
    st.sampled_from([1, 8, 33]),
    st.integers(0, 2**64 - 1),
    st.booleans(),
)
def test_signatures_are_those_of_the_definition(
    documents: list[list[str]], ngram: int, lanes: int, seed: int, characters: bool
) -> None:
    texts = [" ".join(words) for words in documents]
    found, counts = signed([text.encode() for text in texts], ngram, lanes, seed, characters)
    for row, text in enumerate(texts):
        units = oracle.characters(text) if characters else oracle.words(text)
        assert found[row].tolist() == oracle.signature(units, ngram, lanes, seed)
        assert counts[row] == (0 if not units else max(1, len(units) - ngram + 1))


def test_a_text_of_many_chunks_is_signed_like_its_set_of_shingles() -> None:
    draw = np.random.default_rng(5)
    words = [spelt(i) for i in draw.integers(0, 900, minhash.CHUNK + 17)]
    found, counts = signed([" ".join(words).encode()], lanes=8)
    assert counts[0] == len(words) - 4
    assert found[0].tolist() == oracle.signature(oracle.words(" ".join(words)), 5, 8, 1)


def test_case_punctuation_and_numbers_leave_a_signature_as_it_is() -> None:
    found, _ = signed(
        [
            b"On 12 May 2024, the Quick Brown Fox (aged 7) jumped over it.",
            "on 1 may 1999 the quick brown fox aged 30 jumped över it".encode(),
        ]
    )
    assert found[0].tolist() == found[1].tolist()


def test_fewer_words_than_a_shingle_are_one_shingle() -> None:
    found, counts = signed([b"one two", b"One, two!", b"two one", b"one two three"])
    assert counts.tolist() == [1, 1, 1, 1]
    assert found[0].tolist() == found[1].tolist()
    assert not (found[0] == found[2]).any() and not (found[0] == found[3]).any()


def test_a_text_without_words_has_no_shingle() -> None:
    found, counts = signed([b"", b" \n", "?! … ©".encode(), b"\xff\xfe"])
    assert counts.tolist() == [0, 0, 0, 0]
    assert (found == np.uint64(2**64 - 1)).all()


def test_signatures_and_buckets_are_pinned() -> None:
    found, _ = signed(["MinHash übersetzt 语 0 — pinned for good and all".encode()], lanes=4)
    buckets = np.empty((1, 2), np.uint64)
    band_buckets(found, 2, np.array([7], np.uint64), buckets)
    sketch = np.empty((1, 1), np.uint64)
    sketches(found, sketch)
    assert [f"{value:016x}" for value in found[0]] == [
        "220b1d176f3d4fbe",
        "0c3399d1795f3831",
        "24c3e028aa61e139",
        "0494cc7e2ec0712f",
    ]
    assert [f"{value:016x}" for value in buckets[0]] == ["4fe0bbe71dd0b540", "150e183f8f2aba19"]
    assert f"{sketch[0, 0]:016x}" == "000000000000d1f6"


@given(st.lists(st.integers(0, 2**64 - 1), min_size=12, max_size=12), st.integers(0, 2**64 - 1))
def test_buckets_and_sketches_are_those_of_the_definition(row: list[int], scope: int) -> None:
    signature = np.array([row, row[::-1]], np.uint64)
    buckets = np.empty((2, 3), np.uint64)
    band_buckets(signature, 4, np.array([scope, scope ^ 1], np.uint64), buckets)
    assert buckets[0].tolist() == oracle.buckets(row, 4, scope)
    assert buckets[1].tolist() == oracle.buckets(row[::-1], 4, scope ^ 1)
    assert len(set(buckets.ravel().tolist())) == 6
    sketch = np.empty((2, sketch_words(12)), np.uint64)
    sketches(signature, sketch)
    assert [int(sketch[0, 0]) >> (4 * j) & 15 for j in range(12)] == oracle.sketch(row)


@given(st.integers(1, 130), st.integers(0, 2**32 - 1))
def test_equal_lanes_are_counted(lanes: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    signature = draw.integers(0, 2**64, (2, lanes), dtype=np.uint64)
    signature[1] = np.where(draw.random(lanes) < 0.5, signature[0], signature[1])
    sketch = np.empty((2, sketch_words(lanes)), np.uint64)
    sketches(signature, sketch)
    a, b = oracle.sketch(signature[0].tolist()), oracle.sketch(signature[1].tolist())
    assert equal_lanes(sketch, 0, sketch, 1, lanes) == sum(x == y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("lanes", "jaccard"), [(112, 0.65), (112, 0.0), (112, 1.0), (20, 0.5), (64, 0.8)])
def test_the_required_lanes_are_the_least_whose_estimate_reaches_the_jaccard(lanes: int, jaccard: float) -> None:
    needed = required_equal(lanes, jaccard)
    chance = 2.0**-minhash.SKETCH_BITS
    estimates = [(equal / lanes - chance) / (1 - chance) for equal in range(lanes + 1)]
    assert estimates[needed] >= jaccard - 1e-12
    assert needed == 0 or estimates[needed - 1] < jaccard


@given(st.integers(0, 2**64 - 1))
def test_mixing_and_bit_counting_are_those_of_the_definition(x: int) -> None:
    value = np.uint64(x)
    assert _mix(value) == oracle.mix64(x)
    assert _zeros(value) == (64 if x == 0 else (x & -x).bit_length() - 1)
    assert _ones(value) == x.bit_count()
    assert splitmix64(x, 3) == oracle.splitmix64(x, 3)


@njit
def _mix(x: int) -> int:
    return mix64(x)


@njit
def _zeros(x: int) -> int:
    return trailing_zeros(x)


@njit
def _ones(x: int) -> int:
    return ones(x)


def test_multipliers_are_distinct_for_every_number_of_lanes() -> None:
    for lanes in (1, 112, 450, 5000):
        blocks, within = lane_multipliers(lanes, 3)
        assert len(set((blocks[:, None] + within).ravel().tolist())) == len(blocks) * WIDTH >= lanes


# What the theory promises. Seeds are fixed, so these cannot fail by chance; bounds are five standard deviations.


def _pairs(draw: np.random.Generator, common: int, own: int, count: int) -> list[np.ndarray]:
    """`count` pairs of sets that share `common` random hashes and have `own` each of their own, one after the other."""
    found = []
    for _ in range(count):
        shared = draw.integers(0, 2**64, common, dtype=np.uint64)
        found += [np.concatenate([shared, draw.integers(0, 2**64, own, dtype=np.uint64)]) for _ in range(2)]
    return found


@pytest.mark.parametrize(("common", "own"), [(1, 1), (2, 1), (8, 1), (9, 8), (40, 5), (300, 100), (3000, 800)])
def test_lanes_agree_with_the_jaccard_similarity_and_independently(common: int, own: int) -> None:
    count = 1500
    rows = random_signatures(_pairs(np.random.default_rng(11), common, own, count))
    agree = (rows[0::2] == rows[1::2]).sum(axis=1)
    s = common / (common + 2 * own)
    mean, variance = LANES * s, LANES * s * (1 - s)
    assert abs(agree.mean() - mean) < 5 * (variance / count) ** 0.5
    # Were lanes dependent, the spread would differ from the binomial's. A sample variance has a relative standard
    # error of about (2 / count)^½.
    assert abs(agree.var() / variance - 1) < 5 * (2.2 / count) ** 0.5


@pytest.mark.parametrize(("common", "own"), [(8, 1), (40, 5), (300, 40)])
def test_bands_meet_as_often_as_the_formula_says(common: int, own: int) -> None:
    count, bands, band_rows = 3000, 14, 8
    rows = random_signatures(_pairs(np.random.default_rng(12), common, own, count))
    buckets = np.empty((2 * count, bands), np.uint64)
    band_buckets(rows, band_rows, np.zeros(2 * count, np.uint64), buckets)
    met = (buckets[0::2] == buckets[1::2]).any(axis=1).mean()
    s = common / (common + 2 * own)
    p = 1 - (1 - s**band_rows) ** bands
    assert abs(met - p) < 5 * (p * (1 - p) / count) ** 0.5


def test_every_shingle_of_a_set_is_the_least_equally_often() -> None:
    size, count = 6, 4000
    draw = np.random.default_rng(13)
    sets = draw.integers(0, 2**64, (count, size), dtype=np.uint64)
    whole = random_signatures(list(sets))
    wins = np.array([(random_signatures(list(sets[:, k : k + 1])) == whole).sum() for k in range(size)])
    assert wins.sum() == count * LANES
    # Lanes of one set are independent given the set, sets are independent: a multinomial.
    spread = (count * LANES * (1 / size) * (1 - 1 / size)) ** 0.5
    assert abs(wins - count * LANES / size).max() < 5 * spread


def test_all_bits_of_least_hashes_sketches_and_buckets_are_uniform() -> None:
    draw = np.random.default_rng(14)
    rows = random_signatures(list(draw.integers(0, 2**64, (3000, 20), dtype=np.uint64)))
    buckets = np.empty((3000, 14), np.uint64)
    band_buckets(rows, 8, np.zeros(3000, np.uint64), buckets)
    spread = (0.25 / buckets.size) ** 0.5
    for bit in range(64):
        share = float(((buckets >> np.uint64(bit)) & np.uint64(1)).mean())
        assert abs(share - 0.5) < 5 * spread, f"bit {bit} of buckets"
    sketch = np.empty((3000, sketch_words(LANES)), np.uint64)
    sketches(rows, sketch)
    counts = np.zeros(16)
    for j in range(LANES):
        values = (sketch[:, j // 16] >> np.uint64(4 * (j % 16))) & np.uint64(15)
        counts += np.bincount(values.astype(np.int64), minlength=16)
    expected = 3000 * LANES / 16
    assert abs(counts - expected).max() < 5 * (expected * 15 / 16) ** 0.5


def test_the_estimate_agrees_with_that_of_datasketch() -> None:
    import datasketch

    draw = np.random.default_rng(15)
    ours, theirs, truth = [], [], []
    for _ in range(150):
        words = [spelt(i) for i in draw.integers(0, 10**6, 120)]
        other = words[: draw.integers(40, 120)] + [spelt(i) for i in draw.integers(10**6, 2 * 10**6, 10)]
        a, b = (oracle.shingles(list(w), 3, 1) for w in (words, other))
        rows, _ = signed([" ".join(words).encode(), " ".join(other).encode()], ngram=3)
        sketch = np.empty((2, sketch_words(LANES)), np.uint64)
        sketches(rows, sketch)
        ours.append((equal_lanes(sketch, 0, sketch, 1, LANES) / LANES - 1 / 16) * 16 / 15)
        pair = []
        for values in (a, b):
            one = datasketch.MinHash(num_perm=LANES, seed=1)
            one.update_batch([value.to_bytes(8, "little") for value in values])
            pair.append(one)
        theirs.append(pair[0].jaccard(pair[1]))
        truth.append(oracle.jaccard(a, b))
    error, their_error = np.array(ours) - truth, np.array(theirs) - truth
    bound = 5 * np.sqrt((np.array(truth) * (1 - np.array(truth)) / LANES).mean() / 150)
    assert abs(error.mean()) < bound and abs(their_error.mean()) < bound
    assert abs(np.std(error) / np.std(their_error) - 1) < 0.35
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9
