"""Ordering and looking up doc_keys, with keys that share their halves."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gristmill.pipeline.audit.key_order import key_order, name_of, places_in, starts_of

# Few distinct words, so that first halves collide, which random keys never do.
WORDS = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])
KEYS = st.lists(st.tuples(WORDS, WORDS), max_size=30)


def as_array(keys: list[tuple[int, int]]) -> np.ndarray:
    return np.array(keys, np.uint64).reshape(-1, 2)


@given(KEYS, st.randoms(use_true_random=False))
def test_the_order_is_that_of_the_keys_and_then_of_the_minor_values(
    keys: list[tuple[int, int]], random: object
) -> None:
    minor = np.array([random.randrange(3) for _ in keys], np.int64)  # type: ignore[attr-defined]
    order = key_order(as_array(keys), minor)
    assert sorted(order.tolist()) == list(range(len(keys)))
    ordered = [(*keys[row], minor[row]) for row in order.tolist()]
    assert ordered == sorted(ordered)
    stable = key_order(as_array(keys)).tolist()
    assert stable == sorted(range(len(keys)), key=lambda row: keys[row])


@given(KEYS, KEYS)
def test_each_key_is_found_where_it_stands(listed: list[tuple[int, int]], wanted: list[tuple[int, int]]) -> None:
    distinct = sorted(set(listed))
    found = places_in(as_array(distinct), as_array(sorted(wanted))).tolist()
    assert found == [distinct.index(key) if key in distinct else len(distinct) for key in sorted(wanted)]


@given(KEYS)
def test_distinct_keys_start_where_they_first_stand(keys: list[tuple[int, int]]) -> None:
    ordered = sorted(keys)
    assert starts_of(as_array(ordered)).tolist() == sorted({ordered.index(key) for key in ordered})


def test_a_key_s_name_is_its_bytes_in_hexadecimal() -> None:
    assert name_of(np.array([1, 2**64 - 1], np.uint64)) == "0000000000000001ffffffffffffffff"
