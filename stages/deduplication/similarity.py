"""The similarity of a duplicate to the document that is kept in its place: from what notes say of both, into the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import one_chunk
from gristmill.stages.deduplication.jaccard_candidates import SETS, sets_field
from gristmill.stages.deduplication.kernels.keeper_similarity import set_similarities, sketch_similarities

SIMILARITY, ESTIMATED = "similarity", "estimated"
"""Columns of a settled answer: the Jaccard similarity to the keeper, and whether it is an estimate."""
STEPS = 1000
"""Steps in which the ledger tells similarities."""


@dataclass(frozen=True)
class Evidence:
    """What notes hold about a document, from which its similarity to another follows.

    Attributes:
        column: `sketch` (fixed-size binary) or `shingles` (sets).
        lanes, width: of sketches, lanes and bytes; 0 for sets.
        places: of sets, hashes at most; 0 for sketches.
    """

    column: str
    lanes: int = 0
    width: int = 0
    places: int = 0


EvidenceFields = Mapping[str, Any] | None
"""The fields of Evidence, as parameters of a fold, or none."""


def with_evidence(schema: pa.Schema, evidence: EvidenceFields) -> pa.Schema:
    """A schema with the column of the evidence at its end."""
    if evidence is None:
        return schema
    width = evidence["width"]
    return schema.append(pa.field(evidence["column"], pa.binary(width)) if width else sets_field(evidence["places"]))


def similarity_columns(
    table: pa.Table, rows: np.ndarray, keepers: np.ndarray, evidence: EvidenceFields
) -> dict[str, pa.Array]:
    """The columns SIMILARITY and ESTIMATED for rows of a table, each with the row of its keeper: null for keepers and where
    one of both has no evidence. Nothing without evidence."""
    if evidence is None:
        return {}
    column = one_chunk(table[evidence["column"]])
    there = np.asarray(column.is_valid())
    known = (rows != keepers) & there[rows] & there[keepers]
    found, estimated = np.zeros(len(rows)), np.ones(len(rows), bool)
    own, other = rows[known], keepers[known]
    if evidence["lanes"]:
        found[known] = sketch_similarities(fixed_words(column), own, other, evidence["lanes"])
    else:
        entries, starts = set_entries(table[SETS])
        found[known], estimated[known] = set_similarities(entries, starts, own, other, evidence["places"])
    return {SIMILARITY: pa.array(found, mask=~known), ESTIMATED: pa.array(estimated, mask=~known)}


def fixed_words(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Rows of fixed-size binary as uint64, each word little-endian; what a null row has means nothing."""
    array = one_chunk(column)
    width = array.type.byte_width // 8
    if not len(array):
        return np.empty((0, width), np.uint64)
    raw = np.frombuffer(array.buffers()[1], "<u8", len(array) * width, array.offset * width * 8)
    return raw.astype(np.uint64, copy=False).reshape(-1, width)


def set_entries(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Sets of shingles as uint32 entries, and where each begins."""
    array = one_chunk(column)
    if not len(array):
        return np.empty(0, np.uint32), np.zeros(1, np.int64)
    _, bounds, data = array.buffers()
    offsets = np.frombuffer(bounds, np.int64)[array.offset : array.offset + len(array) + 1]
    entries = np.frombuffer(data, "<u4", int(offsets[-1] - offsets[0]) // 4, int(offsets[0]))
    return entries.astype(np.uint32, copy=False), (offsets - offsets[0]) // 4


def witness_ends(found: pa.Table) -> pa.Array:
    """What follows the keeper's key in a witness: `:0.934`, `:~0.934` for an estimate, nothing where it is unknown."""
    said = pa.array([f":{sign}{step / STEPS:.3f}" for sign in ("", "~") for step in range(STEPS + 1)])
    similarity = one_chunk(found[SIMILARITY]).to_numpy(zero_copy_only=False)
    estimated = one_chunk(found[ESTIMATED]).fill_null(False).to_numpy(zero_copy_only=False).astype(bool)
    known = ~np.isnan(similarity)
    step = np.floor(np.where(known, similarity, 0.0) * STEPS + 0.5).astype(np.int64) + estimated * (STEPS + 1)
    return pc.fill_null(said.take(pa.array(step, mask=~known)), "")
