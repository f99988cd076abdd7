"""Tables and picture of what a rebalancer did."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from stages.rebalance_report import main, picture, ranges, repeats_table, shares_table
from tests.pipeline.running import run
from tests.stages.test_rebalance_run import graph, write_corpus

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


def test_the_picture_draws_both_curves_of_each_group_as_stairs() -> None:
    root = ElementTree.fromstring(picture(REPORT))
    stairs = [element.attrib["points"].split() for element in root.iter(f"{SVG}polyline")]
    assert len(stairs) == 4
    repeats, rates = stairs[0], stairs[1]
    heights = [float(point.split(",")[1]) for point in repeats]
    # Panels are 120 high from y = 26: repeats 1, 4 and 2 of at most 4; rates 0.8, 0.4 and 0.6 of at most 0.8.
    assert heights == [116.0, 116.0, 26.0, 26.0, 86.0, 86.0]
    assert [float(point.split(",")[1]) - 160 for point in rates] == [0.0, 0.0, 60.0, 60.0, 30.0, 30.0]
    places = [float(point.split(",")[0]) for point in repeats]
    assert places == sorted(places) and places[0] == 46.0 and places[-1] == 406.0
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "por_Latn" in texts and "<&>" in texts
    assert len(list(root.iter(f"{SVG}line"))) == 1  # only one of the groups has a global rate


def test_repeats_out_of_a_table_have_no_rates_to_draw() -> None:
    report = {"curves": {}, "bins": {"*": [{"size_from": 1, "clusters": None, "removal_rate": None, "repeats": 1}]}}
    with pytest.raises(ConfigError, match="no removal rates to draw"):
        picture(report)


def test_the_command_shows_an_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_corpus(tmp_path / "in")
    run(graph(tmp_path, tmp_path / "out"))
    assert main([str(tmp_path / "out"), "--svg", str(tmp_path / "picture.svg")]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("rebalance\n") and "por_Latn" in shown and "repeats by cluster size" in shown
    assert ElementTree.fromstring((tmp_path / "picture.svg").read_text()).tag == f"{SVG}svg"


def test_the_command_refuses_a_folder_without_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "there is no manifest.json" in capsys.readouterr().err
