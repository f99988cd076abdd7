"""The table of benchmarks' figures: what each row says of its conditions, and how the page takes it in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.figures import BEGIN, END, PLACE, figure, page, table


def run_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changed: Any) -> dict[str, Any]:
    place = tmp_path / "figures.jsonl"
    monkeypatch.setenv(PLACE, str(place))
    figure("signals", 80.0, "MB/s", data="pages", reach="27 %")
    figure("signals", 80.0, "MB/s", data="pages", against="a peer", other=0.4)
    figures = [json.loads(line) for line in place.read_text().splitlines()]
    place.unlink()
    made = {"name": "quality", "command": "python -m x", "code": 0, "others": 0.0, "sha256": 2000.0, "figures": figures}
    return {**made, **changed}


def test_rows_name_data_reach_and_machine_and_give_ratios_to_peers_on_an_idle_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = table([run_of(tmp_path, monkeypatch)])
    assert idle[2] == "| quality | signals | 80 MB/s | SHA-256 | 0.0400 × | pages; 27 % | idle; SHA-256 2,000 MB/s |"
    assert idle[3] == "| quality | signals | 80 MB/s | a peer 0.4 | 200 × | pages; all | idle; SHA-256 2,000 MB/s |"
    busy = table([run_of(tmp_path, monkeypatch, others=1.5)])
    assert "| (busy) |" in busy[3] and "200" not in busy[3] and "others used 1.5 cores" in busy[3]
    assert "0.0400 ×" in busy[2]


def test_a_benchmark_that_fails_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "failed with exit code 3" in table([run_of(tmp_path, monkeypatch, code=3, figures=[])])[2]


def test_the_page_takes_a_run_in_between_its_marks_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"machine": "2 cores", "when": "today", "runs": [run_of(tmp_path, monkeypatch)]}
    once = page(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n", found)
    assert once.startswith(f"before\n\n{BEGIN}\n") and once.endswith(f"{END}\n\nafter\n")
    assert "`python -m x`" in once and "old" not in once and page(once, found) == once
    with pytest.raises(ValueError, match="expected one"):
        page("no marks", found)
    real = (Path(__file__).parents[1] / "docs/benchmarks.md").read_text(encoding="utf-8")
    assert "| quality | signals |" in page(real, found)


def test_without_a_place_a_figure_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PLACE, raising=False)
    monkeypatch.chdir(tmp_path)
    figure("signals", 80.0, "MB/s", data="pages")
    assert not list(tmp_path.iterdir())
