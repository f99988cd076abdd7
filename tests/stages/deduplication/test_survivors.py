"""Which clusters keep a member without a mark, under the chosen policy and under `lowest`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from gristmill.pipeline.testing import doc_key_column, make_stage, run_stage, whole
from gristmill.stages.deduplication.cluster_report import survivor_lines
from gristmill.stages.deduplication.exact import Exact

MARKED = 0.6


def corpus(clusters: int = 300, seed: int = 2) -> pa.Table:
    """Clusters of 1 to 9 copies, each marked with probability MARKED by itself, in any order."""
    draw = np.random.default_rng(seed)
    which = np.repeat(np.arange(clusters), draw.integers(1, 10, clusters))
    draw.shuffle(which)
    texts = [f"text number {'abcdefghij'[n % 10]} {'abcdefghij'[n // 10 % 10]} {'abcdefghij'[n // 100]}" for n in which]
    marks = [["short"] if x else [] for x in draw.random(len(which)) < MARKED]
    return pa.table(
        {
            "doc_key": doc_key_column(len(which), seed),
            "text": pa.array(texts, pa.large_string()),
            "quality_failed": pa.array(marks, pa.list_(pa.string())),
        }
    )


def by_hand(table: pa.Table) -> dict[int, list[int]]:
    """[clusters, with an unmarked member, whose lowest doc_key is unmarked] by power of two of the size."""
    groups: dict[str, list[tuple[bytes, bool]]] = {}
    for row in table.to_pylist():
        groups.setdefault(row["text"], []).append((row["doc_key"], bool(row["quality_failed"])))
    found: dict[int, list[int]] = {}
    for members in groups.values():
        if len(members) > 1:
            entry = found.setdefault(1 << (len(members).bit_length() - 1), [0, 0, 0])
            entry[0] += 1
            entry[1] += any(not marked for _, marked in members)
            entry[2] += not min(members)[1]
    return found


@pytest.mark.parametrize("chunk", [7, 1000])
def test_clusters_with_an_unmarked_keeper_are_counted_under_both_policies(chunk: int) -> None:
    table = corpus()
    expected = by_hand(table)
    split = whole(len(table))
    split = replace(split, chunk=chunk)
    made = run_stage(make_stage(Exact, {"prefer_unmarked": True}), table, split)
    found = {
        row["from"]: [row["clusters"], row["unmarked"], row["unmarked_lowest"]] for row in made.report["survivors"]
    }
    assert found == expected and len(found) == 3
    # 1 − p^s against 1 − p, s at least 4.
    assert found[4][1] / found[4][0] > 1 - MARKED**4 - 0.1
    assert abs(found[4][2] / found[4][0] - (1 - MARKED)) < 0.15
    # What the counts say is what happens.
    kept = [key for key, decision in made.decisions.items() if decision["port"] == 0]
    marks = dict(zip(table["doc_key"].to_pylist(), table["quality_failed"].to_pylist(), strict=True))
    sizes = Counter(made.decisions[key]["column exact_cluster_size"] >= 2 for key in kept if not marks[key])
    assert sizes[True] == sum(entry[1] for entry in expected.values())


def test_the_order_of_a_better_keeper_does_not_change_who_survives() -> None:
    table = corpus().append_column("score", pa.array(np.random.default_rng(3).random(len(corpus()))))
    plain = run_stage(make_stage(Exact, {"prefer_unmarked": True}), table, whole(len(table)))
    best = {"prefer_unmarked": True, "keeper": {"best": "score"}}
    other = run_stage(make_stage(Exact, best), table, whole(len(table)))
    assert other.report["survivors"] == plain.report["survivors"]
    without = run_stage(make_stage(Exact, {"keeper": {"best": "score"}}), table, whole(len(table)))
    assert "survivors" not in without.report


@pytest.mark.parametrize("report", [None, [], "x", {"from": 1}])
def test_reports_without_counts_have_no_table(report: Any) -> None:
    assert survivor_lines(report) == []


def test_the_table_has_both_shares() -> None:
    lines = survivor_lines([{"from": 2, "to": 3, "clusters": 40, "unmarked": 30, "unmarked_lowest": 16}, "damaged"])
    assert lines[1].split() == ["2–3", "40", "30", "75.0%", "16", "40.0%"]
    assert lines[2].split() == ["0", "0", "0", "0"]


def test_the_preset_of_fineweb2s_method_keeps_any_member() -> None:
    preset = yaml.safe_load(files("gristmill.configs").joinpath("fineweb2.yaml").read_text())
    minhash = preset["stages"]["minhash"]
    assert minhash["keeper"] == "lowest" and "prefer_unmarked" not in minhash
    # FineWeb2 filters after it deduplicates: there is no mark yet to prefer anything by.
    assert list(preset["stages"]).index("minhash") < list(preset["stages"]).index("quality")
