"""Whole copies out of expected ones: systematic rounding along an order, by which a group's amount comes out as expected.

A group's documents are ordered by (amount, a hash of seed and doc_key). E copies are expected of each; the fractions are added
up along the order, from an offset drawn by seed and group, and a document gets one copy more than ⌊E⌋ where the sum passes a
whole number. So each document has ⌊E⌋ or ⌈E⌉ copies, E on average over offsets; and since the sum is never off by one copy or
more and amounts rise along the order, a group's copies hold what is expected to within its largest document (systematic
sampling: Madow and Madow 1944, Annals of Mathematical Statistics 15).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import DOC_KEY, KEY_TYPE, key_words, one_chunk
from gristmill.stages.kernels.draws import hashes
from gristmill.stages.ordering.prefix_sums import ORDERED
from gristmill.stages.rebalancing.cells import ONE, expected_copies, units

NOTES = pa.schema(
    [
        (DOC_KEY, KEY_TYPE),
        ("group", pa.string()),
        ("weight", pa.float64()),
        ("seen", pa.int64()),
        ("amount", pa.int64()),
    ]
)
"""One row per document that a budget counts."""


def fraction_rows(table: pa.Table, *, factors: Mapping[str, float], max_epochs: float | None, seed: int) -> pa.Table:
    """Notes as rows of `ORDERED`: those with a fraction of a copy, which is their weight."""
    groups = one_chunk(table["group"])
    names = sorted(factors)
    code = one_chunk(pc.index_in(groups, value_set=pa.array(names, pa.string())).fill_null(len(names))).to_numpy()
    factor = np.array([*(factors[name] for name in names), 0.0])[code]
    weight, seen, amount = (one_chunk(table[name]).to_numpy() for name in ("weight", "seen", "amount"))
    parts = units(expected_copies(weight, seen, factor, max_epochs)) % ONE
    order = np.empty(len(parts), np.uint64)
    hashes(key_words(table[DOC_KEY]), np.uint64(seed), order)
    made = [
        one_chunk(table[DOC_KEY]), one_chunk(table["task"]), groups,
        pa.array(amount.astype(np.uint64)), pa.array(order), pa.array(parts),
    ]  # fmt: skip
    return pa.table(made, schema=ORDERED).filter(pa.array(parts > 0)).combine_chunks()


def offset(seed: int, group: str) -> int:
    """Where a group's sum begins, in units of 2^-32: drawn by seed and group."""
    digest = hashlib.sha256(f"gristmill.rounding\0{seed}\0{group}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def positions(before: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Where each document begins between two whole numbers: float64 in [0, 1), a multiple of 2^-32."""
    found: np.ndarray = ((before + offsets) % ONE) / ONE
    return found


def whole_copies(expected: np.ndarray, position: np.ndarray) -> np.ndarray:
    """⌊E + position⌋, of E in units of 2^-32: int64."""
    found: np.ndarray = (units(expected) + np.rint(position * ONE).astype(np.int64)) // ONE
    return found
