"""Comparing two columns row by row: nulls equal nulls, NaN equals NaN, and floating point may differ by another machine's last
digits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.pipeline.document import one_chunk

TOLERANCE = 1e-5
"""Relative difference of a number that another machine's floating point may make; a third of it is a float32's last digit."""


def unlike(
    mine: pa.Array | pa.ChunkedArray,
    theirs: pa.Array | pa.ChunkedArray,
    *,
    exact: bool = True,
    within: float | None = None,
) -> np.ndarray:
    """Rows in which two columns of equal length differ, bool. A column of a type that the other cannot have differs in all
    rows. With `within`, numbers a and b are alike when |a - b| ≤ within · max(1, |a|, |b|); infinite, everything is."""
    if within == math.inf:
        return np.zeros(len(mine), bool)
    relative, absolute = (0.0 if exact else TOLERANCE, 0.0) if within is None else (within, within)
    first, second = one_chunk(mine), one_chunk(theirs)
    if first.type != second.type:
        try:
            second = second.cast(first.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return np.ones(len(first), bool)
    if pa.types.is_floating(first.type):
        return _numbers_unlike(first, second, relative, absolute)
    if pa.types.is_nested(first.type):
        pairs = zip(first.to_pylist(), second.to_pylist(), strict=True)
        return np.array([not _alike(a, b, relative, absolute) for a, b in pairs], bool)
    if pa.types.is_null(first.type):
        return np.zeros(len(first), bool)
    both = np.asarray(first.is_null()) & np.asarray(second.is_null())
    found: np.ndarray = ~(np.asarray(pc.fill_null(pc.equal(first, second), False)) | both)
    return found


def _numbers_unlike(first: pa.Array, second: pa.Array, relative: float, absolute: float) -> np.ndarray:
    a, b = (np.asarray(pc.fill_null(one.cast(pa.float64()), math.nan)) for one in (first, second))
    nulls = np.asarray(first.is_null()) != np.asarray(second.is_null())
    with np.errstate(invalid="ignore"):
        bound = np.maximum(absolute, relative * np.maximum(np.abs(a), np.abs(b)))
        same = (a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= bound)
    found: np.ndarray = nulls | ~same
    return found


def _alike(a: Any, b: Any, relative: float, absolute: float) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=relative, abs_tol=absolute)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(_alike(x, y, relative, absolute) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_alike(a[name], b[name], relative, absolute) for name in a)
    return bool(a == b)


def shown(column: pa.Array | pa.ChunkedArray, row: int) -> str:
    """A value in words, cut to what a finding may hold."""
    text = repr(column[row].as_py())
    return text if len(text) <= 80 else f"{text[:80]}…"
