"""Identities: canonical encoding, digests, Merkle roots, doc_keys and their sums, pinned."""

from __future__ import annotations

import hashlib
import random
from enum import IntEnum, StrEnum
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.pipeline.document import doc_keys, key_sum, key_words, keys_from_words
from gristmill.pipeline.hashing import canonical, digest, merkle_root


def test_the_canonical_encoding_is_pinned() -> None:
    value = {"b": [1, True, None, "ü"], "a": 0.1, "c": {"z": b"\x01", "y": float("inf")}}
    assert canonical(value).decode() == (
        '{"a":{"float":"0x1.999999999999ap-4"},"b":[1,true,null,"ü"],"c":{"y":{"float":"inf"},"z":{"bytes":"01"}}}'
    )
    assert digest("gristmill.test", value) == "e4dc813225c9ef1ca1a3e3f65c0e591b6a81d94cef94f11dc57c4103d2a42621"


def test_what_has_no_stable_form_is_refused_with_its_place() -> None:
    with pytest.raises(TypeError, match=r"\$\.a\[1\]: set has no canonical encoding"):
        canonical({"a": [1, {2}]})
    with pytest.raises(TypeError, match=r"\$: a map key must be a string to be hashed, found int"):
        canonical({1: 2})
    with pytest.raises(TypeError, match=r"\$\[1\]\.a\[0\]: a map key must be a string to be hashed, found int"):
        canonical([None, {"a": ({3: 1},)}])


def test_what_is_of_a_kind_is_encoded_as_that_kind() -> None:
    """Values of the common types are not looked at one by one; those of their subclasses mean the same."""

    class Number(IntEnum):
        THREE = 3

    class Word(StrEnum):
        HERE = "here"

    class Half(float):
        pass

    given = MappingProxyType({"n": (Number.THREE, Word.HERE), Word.HERE: [Half(0.5), {"deep": (True, b"")}]})
    plain = {"n": [3, "here"], "here": [0.5, {"deep": [True, b""]}]}
    assert canonical(given) == canonical(plain)
    assert canonical(Word.HERE) == b'"here"' and canonical(Half(0.5)) == canonical(0.5) != b"0.5"


def test_tags_keep_kinds_apart() -> None:
    assert digest("gristmill.a", 1) != digest("gristmill.b", 1)


def rfc_6962(leaves: list[str]) -> bytes:
    """The definition of RFC 6962, section 2.1, by recursion."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + bytes.fromhex(leaves[0])).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + rfc_6962(leaves[:split]) + rfc_6962(leaves[split:])).digest()


@pytest.mark.parametrize("count", range(18))
def test_the_merkle_root_is_that_of_rfc_6962(count: int) -> None:
    leaves = [hashlib.sha256(bytes([i])).hexdigest() for i in range(count)]
    assert merkle_root(leaves) == rfc_6962(leaves).hex()


def test_doc_keys_are_pinned() -> None:
    keys = doc_keys("crawl", "CC-MAIN-2024-10", "a/part-0.parquet", np.array([0, 1, 1 << 40]))
    assert [key.hex() for key in keys.to_pylist()] == [
        "560022be40c52d96ffb5e74952c527f7",
        "1641f7521434bba5b64d2aec8d4c451d",
        "37a50d363e87de82d7ea62dd5dfa44fd",
    ]


def test_each_part_of_the_place_enters_the_key() -> None:
    def key(source: str, snapshot: str | None, path: str, position: int) -> bytes:
        return doc_keys(source, snapshot, path, np.array([position]))[0].as_py()

    base = key("s", None, "p", 0)
    others = {key("t", None, "p", 0), key("s", "", "p", 0), key("s", None, "q", 0), key("s", None, "p", 1)}
    assert base not in others and len(others) == 4


@given(st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 1 << 19)), max_size=50))
def test_the_key_sum_is_the_sum_of_the_numbers(rows: list[tuple[bytes, int]]) -> None:
    from gristmill.pipeline.document import keys_from_bytes

    words = key_words(keys_from_bytes(b"".join(key for key, _ in rows)))
    counts = np.array([count for _, count in rows], np.int64)
    expected = sum(int.from_bytes(key, "big") * count for key, count in rows) % (1 << 128)
    assert key_sum(words, counts) == expected
    assert keys_from_words(words).to_pylist() == [key for key, _ in rows]


def test_the_key_sum_of_many_rows_does_not_overflow() -> None:
    words = np.full((10_000, 2), np.iinfo(np.uint64).max, np.uint64)
    counts = np.full(10_000, (1 << 20) - 1, np.int64)
    assert key_sum(words, counts) == ((1 << 128) - 1) * 10_000 * ((1 << 20) - 1) % (1 << 128)


def test_a_lost_row_beside_a_doubled_one_changes_the_sum() -> None:
    rng = random.Random(4)
    words = np.array([[rng.getrandbits(64), rng.getrandbits(64)] for _ in range(20)], np.uint64)
    changed = words.copy()
    changed[3] = changed[7]
    assert key_sum(words) != key_sum(changed)
