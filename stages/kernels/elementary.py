"""exp and log from additions, multiplications and divisions alone: the same bits on every machine.

The C library's exp and log differ in the last bit between versions and platforms, and a score that enters a shard must
not. Both functions here are accurate to about one unit in the last place of float64, and use only operations that
IEEE 754 defines exactly (Numba contracts nothing into fused operations unless fastmath is asked for).

Argument reduction and series are the textbook ones: Muller, *Elementary Functions*, 3rd ed., chapter 11.
"""

from __future__ import annotations

import math

from numba import njit

LN2_HIGH = 6.93147180369123816490e-01
"""The leading 32 bits of ln 2: k * LN2_HIGH is exact for |k| < 2^20."""
LN2_LOW = 1.90821492927058770002e-10
"""ln 2 - LN2_HIGH."""
LOG2_E = 1.44269504088896338700
SQRT_HALF = 0.70710678118654752440
OVERFLOW = 709.782712893384
"""exp of anything larger exceeds the float64 range."""
UNDERFLOW = -745.1332191019412
"""exp of anything smaller rounds to zero."""


@njit(cache=True, nogil=True)
def exp(x: float) -> float:
    """e^x in float64; inf above OVERFLOW, 0 below UNDERFLOW, NaN for NaN."""
    if math.isnan(x):
        return x
    if x > OVERFLOW:
        return math.inf
    if x < UNDERFLOW:
        return 0.0
    k = math.floor(x * LOG2_E + 0.5)
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    # Taylor to degree 13: the remainder for |r| <= ln(2)/2 is below 5e-18.
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return math.ldexp(p, int(k))


@njit(cache=True, nogil=True)
def log(x: float) -> float:
    """The natural logarithm in float64; -inf for 0, NaN for negative numbers and NaN."""
    if math.isnan(x) or x < 0.0:
        return math.nan
    if x == 0.0:
        return -math.inf
    if x == math.inf:
        return x
    m, e = math.frexp(x)
    if m < SQRT_HALF:
        m = m * 2.0
        e -= 1
    # log m = 2 artanh(s) with s = (m - 1)/(m + 1), |s| <= 0.1716: the term after s^21 is below 1e-19.
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = 1.0 / 21.0
    p = p * z + 1.0 / 19.0
    p = p * z + 1.0 / 17.0
    p = p * z + 1.0 / 15.0
    p = p * z + 1.0 / 13.0
    p = p * z + 1.0 / 11.0
    p = p * z + 1.0 / 9.0
    p = p * z + 1.0 / 7.0
    p = p * z + 1.0 / 5.0
    p = p * z + 1.0 / 3.0
    tail = 2.0 * s * z * p
    k = float(e)
    return k * LN2_HIGH + (2.0 * s + (tail + k * LN2_LOW))
