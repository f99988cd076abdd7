"""Cuts and selections of a ranking against sorting everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.pipeline.document import keys_from_words
from gristmill.pipeline.errors import ConservationError
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.file_exchange import FileExchange
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.stages.classifier import ranking
from gristmill.stages.classifier.ranking import (
    NOTES,
    NOTHING,
    WHOLE,
    Cut,
    add_figures,
    chance_ranks,
    cut_at,
    find_cuts,
    is_within,
    ranks,
    scores_of,
    selection_figures,
)

SCORES = [0.0, -0.0, 1e-5, 0.5, 0.50000006, 1.00001, -0.25, -3.0, 700.0, None]


def notes(rows: int, seed: int, scopes: int = 3, ties: bool = False) -> pa.Table:
    draw = np.random.default_rng(seed)
    words = draw.integers(0, 1 << 63, (rows, 2), dtype=np.int64).astype(np.uint64)
    if ties:  # Keys that agree in all but their last bytes.
        words = np.stack([np.full(rows, 7, np.uint64), draw.permutation(rows).astype(np.uint64)], axis=1)
    score = draw.choice(SCORES, rows) if ties else draw.normal(size=rows).astype(np.float32)
    return pa.table(
        [
            keys_from_words(words),
            pa.array([f"s{number}" for number in draw.integers(0, scopes, rows)], pa.string()),
            pa.array(draw.choice(["eng_Latn", "por_Latn"], rows).tolist(), pa.string()),
            pa.array(score.tolist(), pa.float32()),
            pa.array(draw.integers(1, 5000, rows)),
        ],
        schema=NOTES,
    )


def in_files(table: pa.Table, folder: Path, files: int = 3) -> Rows:
    paths = []
    bounds = np.linspace(0, len(table), files + 1).astype(int)
    for number, (start, stop) in enumerate(zip(bounds, bounds[1:], strict=False)):
        path = folder / f"{number}.arrow"
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table.slice(start, stop - start))
        paths.append(str(path))
    return Rows(tuple(paths), table.schema, len(table))


def best(table: pa.Table, scope: str, number: int) -> set[bytes]:
    """The keys of the best documents of a scope, by sorting."""
    rows = [row for row in table.to_pylist() if row["scope"] == scope and row["score"] is not None]
    return {row["doc_key"] for row in sorted(rows, key=lambda row: (-row["score"], row["doc_key"]))[:number]}


def within(table: pa.Table, scope: str, cut: Cut) -> set[bytes]:
    rows = table.filter(pa.array([one == scope for one in table["scope"].to_pylist()])).combine_chunks()
    rows = rows.filter(rows["score"].is_valid()).combine_chunks()
    score = rows["score"].to_numpy()
    chosen = is_within(ranks(score), rows["doc_key"].combine_chunks(), [cut], np.zeros(len(rows), np.int64))
    return set(rows["doc_key"].filter(pa.array(chosen)).to_pylist())


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 300), seed=st.integers(0, 9), ties=st.booleans(), share=st.floats(0.0, 1.0))
def test_the_cut_keeps_the_documents_that_sorting_would(
    tmp_path_factory: pytest.TempPathFactory, rows: int, seed: int, ties: bool, share: float
) -> None:
    table = notes(rows, seed, ties=ties)
    scored = [row["scope"] for row in table.to_pylist() if row["score"] is not None]
    wanted = {scope: round(share * scored.count(scope)) for scope in sorted(set(scored))}
    folder = tmp_path_factory.mktemp("cuts")
    cuts = find_cuts(in_files(table, folder), FileExchange(InlineExecutor(), folder / "x"), wanted)
    assert sorted(cuts) == sorted(wanted)
    for scope, number in wanted.items():
        assert within(table, scope, cuts[scope]) == best(table, scope, number)


def test_many_scopes_are_refined_by_single_bytes_with_the_same_result(tmp_path: Path) -> None:
    table = notes(400, 1, scopes=40, ties=True)
    scored = [row["scope"] for row in table.to_pylist() if row["score"] is not None]
    wanted = {scope: scored.count(scope) // 2 for scope in set(scored)}
    assert len(wanted) > ranking.WIDE_SCOPES
    cuts = find_cuts(in_files(table, tmp_path), FileExchange(InlineExecutor(), tmp_path / "x"), wanted)
    for scope, number in wanted.items():
        assert within(table, scope, cuts[scope]) == best(table, scope, number)


def test_the_random_selection_has_the_wanted_size_and_another_seed_draws_another(tmp_path: Path) -> None:
    table = notes(500, 2)
    rows = in_files(table, tmp_path)
    chosen = {}
    for seed in (1, 2):
        exchange = FileExchange(InlineExecutor(), tmp_path / f"x{seed}")
        cut = find_cuts(rows, exchange, {WHOLE: 50}, seed=seed)[WHOLE]
        keys = table["doc_key"].combine_chunks()
        chosen[seed] = is_within(chance_ranks(keys, seed), keys, [cut], np.zeros(500, np.int64))
        assert chosen[seed].sum() == 50
    assert (chosen[1] != chosen[2]).any()


def test_figures_are_those_of_the_selected_rows(tmp_path: Path) -> None:
    table = notes(200, 3, scopes=1)
    rows, exchange = in_files(table, tmp_path), FileExchange(InlineExecutor(), tmp_path / "x")
    cut = find_cuts(rows, exchange, {"s0": 20})["s0"]
    drawn = find_cuts(rows, exchange, {WHOLE: 20}, seed=9)[WHOLE]
    params = {"cuts": {"s0": cut.place.hex()}, "chance": drawn.place.hex(), "seed": 9}
    found = selection_figures(exchange.reduce(rows, add_figures, params), 1)
    kept = sorted(table.to_pylist(), key=lambda row: -row["score"])[:20]
    most = max(("eng_Latn", "por_Latn"), key=table["label"].to_pylist().count)
    assert found["kept"]["documents"] == found["random"]["documents"] == 20
    assert found["kept"]["text_bytes"] == sum(row["text_bytes"] for row in kept)
    assert found["kept"]["mean_score"] == pytest.approx(np.mean([row["score"] for row in kept]), abs=1e-5)
    assert found["kept"]["labels"][most] == sum(row["label"] == most for row in kept)
    assert found["kept"]["labels"]["(others)"] == sum(row["label"] != most for row in kept)
    assert found["all"]["documents"] == 200 and found["both"]["documents"] <= 20


def test_ranks_order_all_scores_and_back() -> None:
    scores = np.array([score for score in SCORES if score is not None], np.float32)
    order = np.lexsort((ranks(scores),))
    assert (np.diff(scores[order]) <= 0).all()
    assert ranks(np.array([0.0, -0.0], np.float32)).tolist() == [0x7FFFFFFF] * 2
    assert (scores_of(ranks(scores)) == scores).all()


@pytest.mark.parametrize("least", [0.1, 0.018112, 0.5, 0.0, -1.0, 1 / 3])
def test_a_threshold_keeps_exactly_the_scores_that_reach_it(least: float) -> None:
    near = np.float32(least)
    scores = np.array([np.nextafter(near, np.float32(-9)), near, np.nextafter(near, np.float32(9))], np.float32)
    assert (ranks(scores) <= cut_at(least).rank).tolist() == (scores.astype(np.float64) >= least).tolist()


def test_within_nothing_is_nothing_and_lost_notes_are_noticed(tmp_path: Path) -> None:
    table = notes(10, 4, scopes=1)
    keys = table["doc_key"].combine_chunks()
    assert not is_within(np.zeros(10, np.uint32), keys, [NOTHING], np.zeros(10, np.int64)).any()
    with pytest.raises(ConservationError, match=r"11 documents were expected .* found 10"):
        find_cuts(in_files(table, tmp_path), FileExchange(InlineExecutor(), tmp_path / "x"), {"s0": 11})
