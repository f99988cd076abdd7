"""exp and log that give the same bits everywhere."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.stages.kernels.elementary import exp, log


@given(st.floats(-700.0, 700.0))
def test_exp_agrees_with_the_c_library_to_two_units_in_the_last_place(x: float) -> None:
    assert abs(exp(x) - math.exp(x)) <= 2 * math.ulp(math.exp(x))


@given(st.floats(1e-300, 1e300))
def test_log_agrees_with_the_c_library_to_two_units_in_the_last_place(x: float) -> None:
    assert abs(log(x) - math.log(x)) <= 2 * math.ulp(math.log(x)) or abs(log(x) - math.log(x)) < 1e-18


def test_exp_and_log_have_the_limits_of_ieee_754() -> None:
    assert exp(1000.0) == math.inf and exp(-1000.0) == 0.0 and exp(0.0) == 1.0
    assert log(0.0) == -math.inf and log(math.inf) == math.inf and log(1.0) == 0.0
    assert math.isnan(exp(math.nan)) and math.isnan(log(math.nan)) and math.isnan(log(-1.0))


@pytest.mark.parametrize(
    ("function", "x", "bits"),
    [
        (exp, 1.0, "0x1.5bf0a8b14576ap+1"),
        (exp, -0.3, "0x1.7b4c869c37c05p-1"),
        (log, 10.0, "0x1.26bb1bbb55516p+1"),
        (log, 1e-5, "-0x1.7069e2aa2aa5bp+3"),
    ],
)
def test_exp_and_log_have_pinned_bits(function, x, bits) -> None:  # type: ignore[no-untyped-def]
    assert function(x).hex() == bits
