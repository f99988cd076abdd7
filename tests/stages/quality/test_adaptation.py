"""Thresholds and stop words from reference text: each method against its formula, and cuts that say nothing."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.stages.quality.adaptation import (
    KEY_NAMES,
    KEYS,
    METHODS,
    Key,
    Reference,
    choose,
    config_text,
    count_words,
    histogram,
    measure,
    stop_words,
)
from gristmill.stages.quality.language_configs import read_config
from gristmill.stages.quality.rules import ENGLISH, UNIVERSAL
from tests.stages.quality.test_stage import PROSE, pages

BY_NAME = {key.name: key for key in KEYS}
MOST = BY_NAME["new_line_ratio"]
LEAST = BY_NAME["max_non_alpha_words_ratio"]


def reference(key: Key, values: list[float]) -> Reference:
    return Reference({key.name: np.array(values, np.float64)}, {}, len(values))


ratios = st.lists(st.integers(1, 1000).map(lambda n: n / 1000), min_size=2, max_size=60)


@given(ratios)
def test_a_tenth_of_the_reference_or_less_fails_a_tail_and_the_next_value_would_fail_more(values: list[float]) -> None:
    for key in (MOST, LEAST):
        cut = choose(key, "tail", reference(key, values), None)
        inside = sorted(values, reverse=not key.at_least)
        assert cut.failing <= 0.1 and cut.value == inside[int(len(values) * 0.1)]
        assert cut.failing == sum(v < cut.value if key.at_least else v > cut.value for v in values) / len(values)


@given(ratios, ratios)
def test_methods_that_compare_with_english_are_their_formulas(values: list[float], english: list[float]) -> None:
    for key, limit in ((MOST, 0.3), (LEAST, 0.8)):
        own, other = reference(key, values), reference(key, english)
        expected = {"median-ratio": limit * statistics.median(values) / statistics.median(english)}
        if len(set(english)) > 1:
            deviations = (limit - np.mean(english)) / np.std(english)
            expected["mean-deviation"] = np.mean(values) + deviations * np.std(values)
        for method, value in expected.items():
            cut = choose(key, method, own, other)  # type: ignore[arg-type]
            if cut.note:
                continue
            assert cut.method == method
            assert cut.value == pytest.approx(max(value, 0), abs=1e-3)
            # Rounded to where fewer documents fail.
            assert cut.value <= max(value, 0) + 1e-9 if key.at_least else cut.value >= value - 1e-9


@given(ratios, ratios)
def test_a_quantile_fails_no_larger_share_than_english_fails(values: list[float], english: list[float]) -> None:
    for key, limit in ((MOST, 0.3), (LEAST, 0.8)):
        cut = choose(key, "quantile", reference(key, values), reference(key, english))
        share = sum(v < limit if key.at_least else v > limit for v in english) / len(english)
        assert cut.failing <= share + 1e-9
        assert cut.failing > share - 1 / len(values) - 1e-9 or len(set(values)) < len(values)


def test_english_keeps_its_value_for_every_key() -> None:
    for key in KEYS:
        cut = choose(key, "english", reference(key, [0.1, 0.2]), None)
        assert (cut.value, cut.note) == (ENGLISH[key.rule], "")


def test_cuts_that_say_nothing_leave_englishs_value_and_tell_why() -> None:
    none = reference(MOST, [0.0] * 30)
    assert "0 would let nothing pass" in choose(MOST, "tail", none, None).note
    same = reference(MOST, [0.2] * 30)
    assert "does not vary" in choose(MOST, "mean-deviation", same, same).note
    assert "median in the English text is 0" in choose(MOST, "median-ratio", same, none).note
    shortest = BY_NAME["min_avg_word_length"]
    low = choose(shortest, "tail", reference(shortest, [0.5] * 30), None)
    assert "switch the rule off" in low.note and low.value == ENGLISH["words_too_short"]
    with pytest.raises(ValueError, match="no reference text in English"):
        choose(MOST, "quantile", same, None)


def test_word_lengths_are_whole_numbers_rounded_outward_and_ratios_have_three_decimals() -> None:
    longest, shortest = BY_NAME["max_avg_word_length"], BY_NAME["min_avg_word_length"]
    assert (longest.round(5.2), longest.round(6.0), shortest.round(3.9), shortest.round(-2)) == (6, 6, 3, 0)
    assert (MOST.round(0.1201), LEAST.round(0.7769), MOST.round(0.3)) == (0.121, 0.776, 0.3)


def test_stop_words_are_the_frequent_ones_in_lower_case_and_never_fewer_than_english_has() -> None:
    words = count_words(["Der Hund, der 12 Hunde!", "der und DER …"], "deu_Latn")
    assert words == {"der": 4, "hund": 1, "hunde": 1, "und": 1}
    assert stop_words({"a": 100, "b": 8, "c": 7}, share=0.05) == ("a", "b", "c")
    many = {f"w{n:02d}": 100 for n in range(20)} | {f"x{n}": 1 for n in range(500)}
    assert stop_words(many) == tuple(f"w{n:02d}" for n in range(20))
    assert len(stop_words({f"x{n}": 1 for n in range(500)})) == 8
    assert count_words(["粉屋は穀物を挽き"], "jpn_Jpan") == {}


def test_a_measured_reference_has_every_signal_and_leaves_wordless_documents_out() -> None:
    found = measure(pa.array([*pages(3, 40), " \n", PROSE], pa.large_string()), "eng_Latn")
    assert found.documents == 41 and set(found.values) == set(KEY_NAMES)
    assert all(len(values) == 41 for values in found.values.values())
    assert {"the", "of", "and", "a"} <= set(stop_words(found.words))


@pytest.mark.parametrize("method", METHODS)
def test_a_written_config_is_read_as_it_was_meant(tmp_path: Path, method: str) -> None:
    own = measure(pa.array(pages(3, 40), pa.large_string()), "eng_Latn")
    english = measure(pa.array(pages(4, 40), pa.large_string()), "eng_Latn")
    cuts = [choose(key, method, own, english) for key in KEYS]  # type: ignore[arg-type]
    path = tmp_path / "nob_Latn.yml"
    path.write_text(config_text(cuts, ("no", "på", "1"), ["made for a test"]), encoding="utf-8")
    config = read_config(path)
    assert config.stop_words == ("no", "på", "1")
    assert {cut.key.rule: cut.value for cut in cuts}.items() <= dict(config.thresholds).items()
    assert config.thresholds["too_few_words"] == UNIVERSAL["too_few_words"]


@given(st.lists(st.floats(0, 5), min_size=1, max_size=40), st.floats(0, 5))
def test_a_histogram_has_its_width_and_holds_the_cut(values: list[float], cut: float) -> None:
    bars, low, high, at = histogram(np.array(values), cut, 30)
    assert len(bars) == 30 and 0 <= at < 30 and low <= cut <= high
    assert bars.strip() and "█" in bars
