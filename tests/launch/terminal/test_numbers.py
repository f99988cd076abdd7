"""Numbers and texts as the command line prints them."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.launch.commands import stages as stages_help
from gristmill.launch.terminal import numbers as formats


@pytest.mark.parametrize("module", [formats, stages_help])
def test_the_examples_in_docstrings_are_true(module: object) -> None:
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)  # type: ignore[arg-type]
    assert found.attempted and not found.failed


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left_in_a_shown_text(text: str) -> None:
    shown = formats.plain(text)
    assert shown.isprintable()
    assert "\x1b" not in shown


@given(st.text(max_size=400), st.integers(5, 100))
def test_an_excerpt_fits_into_its_cells(text: str, cells: int) -> None:
    from rich.cells import cell_len

    assert cell_len(formats.excerpt(text, cells)) <= cells


def test_an_excerpt_counts_wide_characters_twice() -> None:
    assert formats.excerpt("汉字" * 20, 9) == "汉字汉字…"
    assert formats.excerpt("short", 9) == "short"


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_951, "1.0 MB"), (5 * 10**15, "5.0 PB")],
)
def test_sizes_change_unit_before_four_digits(number: int, shown: str) -> None:
    assert formats.size(number) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.04, "0.0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3600, "1 h 00 min")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert formats.duration(seconds) == shown
