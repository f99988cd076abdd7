"""Damaged Parquet and JSON lines files end in words, and every record that is not damaged is there."""

from __future__ import annotations

import os

import pytest

from tests.hostile.mutants import Driver, attack_series
from tests.hostile.mutations import mutant

SEED = 12


def test_the_same_number_gives_the_same_mutant() -> None:
    assert [mutant(SEED, number) for number in range(40)] == [mutant(SEED, number) for number in range(40)]
    assert mutant(SEED, 1).data != mutant(SEED + 1, 1).data


def test_a_few_mutants() -> None:
    series = attack_series(SEED, range(60))
    assert not series.failures, "\n".join(series.failures)
    assert series.tried == 60
    # Attacks that nothing survives, or that nobody notices, would be none.
    assert set(series.codes) == {"0", "3"}


@pytest.mark.long
def test_ten_thousand_mutants() -> None:
    """A series that was stopped goes on from the number in GRISTMILL_FIRST_MUTANT; GRISTMILL_SEED names another series."""
    seed, first = int(os.environ.get("GRISTMILL_SEED", SEED)), int(os.environ.get("GRISTMILL_FIRST_MUTANT", 0))
    series = attack_series(seed, range(first, first + 10_000), tell=True)
    assert not series.failures, "\n".join(series.failures)


def test_the_driver_notices_a_death_and_starts_again() -> None:
    with Driver() as driver:
        assert driver.run("version").code == 0
        assert driver._process is not None
        driver._process.kill()
        ended = driver.run("version")
        assert (ended.code, ended.err) == (None, "the driver ended with exit code -9")
        assert driver.run("version").code == 0
