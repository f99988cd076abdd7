"""Tables and picture of what a rebalancer did."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from gristmill.stages.rebalancing.report import MOST_GROUPS, picture, ranges, repeats_table, shares_table, sizes_table

SVG = "{http://www.w3.org/2000/svg}"
BINS = [
    {"size_from": 1, "clusters": 80.0, "removal_rate": 0.8, "repeats": 1},
    {"size_from": 2, "clusters": 15.0, "removal_rate": 0.4, "repeats": 4},
    {"size_from": 5, "clusters": 5.0, "removal_rate": 0.6, "repeats": 2},
]
REPORT = {
    "curves": {
        "por_Latn": {"weights": {"1": 1, "2": 4, "5": 2}, "global_removal_rate": 0.73},
        "<&>": {"weights": {"1": 1}, "global_removal_rate": None},
    },
    "bins": {"por_Latn": BINS, "<&>": [{"size_from": 1, "clusters": 1.0, "removal_rate": 0.5, "repeats": 1}]},
}


def test_shares_stand_before_and_after_with_the_largest_group_first() -> None:
    table = shares_table({"documents.a": 50, "copies.a": 50, "documents.b": 150, "copies.b": 450, "amount.a": 9})
    assert table.splitlines() == [
        "group  documents   share  copies   share  copies each",
        "b            150  75.00%     450  90.00%         3.00",
        "a             50  25.00%      50  10.00%         1.00",
        "all          200             500                 2.50",
    ]


def test_weights_are_told_as_ranges_of_sizes() -> None:
    assert ranges({"1": 1, "2": 3, "9": 2, "10": 1}) == "1 ×1, 2–8 ×3, 9 ×2, 10 on ×1"
    assert repeats_table(REPORT).splitlines()[1] == "por_Latn         73.0%  1 ×1, 2–4 ×4, 5 on ×2"


def test_sizes_are_taken_together_by_powers_of_two_with_the_rates_under_them() -> None:
    bins = [
        {"size_from": 1, "clusters": 80.0, "removal_rate": 0.8, "repeats": 1},
        {"size_from": 2, "clusters": 30.0, "removal_rate": 0.5, "repeats": 4},
        {"size_from": 3, "clusters": 10.0, "removal_rate": 0.1, "repeats": 3},
        {"size_from": 9, "clusters": 5.0, "removal_rate": 0.6, "repeats": 2},
    ]
    table = sizes_table(
        {
            "curves": {"a": {"global_removal_rate": 0.73}, "b": {"global_removal_rate": None}},
            "bins": {"b": [{"size_from": 1, "clusters": None, "removal_rate": None, "repeats": 5}], "a": bins},
        }
    )
    # Of 2–3: (30 · 0.5 + 10 · 0.1) / 40. 4–7 lies in the bin that begins at 3.
    assert [line.split() for line in table.splitlines()] == [
        ["curve", "1", "2–3", "4–7", "8", "on", "all"],
        ["a", "repeats", "×1", "×3–4", "×3", "×2–3"],
        ["removed", "80.0%", "40.0%", "10.0%", "60.0%", "73.0%"],
        ["b", "repeats", "×5", "×5", "×5", "×5"],
    ]


def test_the_picture_draws_both_curves_of_each_group_as_stairs() -> None:
    root = ElementTree.fromstring(picture({"rebalance": REPORT}, {}))
    stairs = [element.attrib["points"].split() for element in root.iter(f"{SVG}polyline")]
    assert len(stairs) == 4
    repeats, rates = stairs[0], stairs[1]
    heights = [float(point.split(",")[1]) for point in repeats]
    # Panels are 120 high from y = 66: repeats 1, 4 and 2 of at most 4; rates 0.8, 0.4 and 0.6 of at most 0.8.
    assert heights == [156.0, 156.0, 66.0, 66.0, 126.0, 126.0]
    assert [float(point.split(",")[1]) - 200 for point in rates] == [0.0, 0.0, 60.0, 60.0, 30.0, 30.0]
    places = [float(point.split(",")[0]) for point in repeats]
    assert places == sorted(places) and places[0] == 46.0 and places[-1] == 406.0
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "por_Latn" in texts and "<&>" in texts
    assert len(list(root.iter(f"{SVG}line"))) == 1  # only one of the groups has a global rate


def test_the_picture_draws_shares_before_and_after_and_the_smallest_groups_as_one() -> None:
    tallies = {f"{what}.g{n:02d}": 100 - n for n in range(30) for what in ("documents", "copies")}
    tallies["copies.g00"] = 0
    root = ElementTree.fromstring(picture({}, {"mix": tallies}))
    bars = [item for item in root.iter(f"{SVG}rect")][1:]
    assert len(bars) == 2 * MOST_GROUPS
    total = sum(100 - n for n in range(30))
    lengths = [float(bar.attrib["width"]) for bar in bars]
    assert lengths[1] == 0.0
    # The last bar is the sum of the groups that are not drawn, and the longest.
    rest = sum(100 - n for n in range(MOST_GROUPS - 1, 30))
    assert lengths[0] / lengths[-2] == pytest.approx(100 / rest, abs=1e-3)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "7 more" in texts and f"{100 / total:.2%} → 0.00%" in texts


def test_repeats_out_of_a_table_have_no_rates_to_draw() -> None:
    report = {"curves": {}, "bins": {"*": [{"size_from": 1, "clusters": None, "removal_rate": None, "repeats": 1}]}}
    assert list(ElementTree.fromstring(picture({"rebalance": report}, {})).iter(f"{SVG}polyline")) == []
