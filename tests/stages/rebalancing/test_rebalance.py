"""The rebalancer as a stage: rates out of the run, fallbacks, caps, draws, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from gristmill.pipeline.errors import ConfigError, DataError
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.file_exchange import FileExchange
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.stage import QUARANTINED, Decisions, Settled, SettledView, StageContext
from gristmill.pipeline.testing import doc_key_column
from gristmill.stages.rebalancing.rebalance import Rebalance, RebalanceConfig

OBSERVED = {"observe": "minhash", "marked_by": "quality"}


def make(**config: Any) -> Rebalance:
    config.setdefault("rates", OBSERVED)
    return Rebalance(RebalanceConfig.model_validate_json(json.dumps(config), strict=True))


def corpus(
    sizes: Any, marked: Any = None, dropped: Any = None, language: Any = "por", script: Any = "Latn", **more: Any
) -> pa.Table:
    """Rows with the given cluster sizes; what is one value for all may be given once."""
    rows = len(sizes)
    columns = {
        "doc_key": doc_key_column(rows),
        "minhash_cluster_size": pa.array(sizes, pa.int64()),
        "language": pa.array([language] * rows if isinstance(language, str) else language, pa.string()),
        "language_script": pa.array([script] * rows if isinstance(script, str) else script, pa.string()),
    }
    if marked is not None:
        columns["quality_failed"] = pa.array([["rule"] if mark else [] for mark in marked], pa.list_(pa.string()))
    if dropped is not None:
        columns["dropped"] = pa.array(dropped, pa.bool_())
    return pa.table({**columns, **more})


def settle(stage: Rebalance, *batches: pa.Table, folder: Path) -> Settled:
    files, schema, count = [], None, 0
    for task, batch in enumerate(batches):
        notes = stage.survey(batch, StageContext())
        notes = notes.append_column("task", pa.array([task] * len(notes), pa.int32()))
        path = folder / f"notes-{task}.arrow"
        with pa.ipc.new_file(str(path), notes.schema) as writer:
            writer.write_table(notes)
        files.append(str(path))
        schema, count = notes.schema, count + len(notes)
    assert schema is not None
    exchange = FileExchange(InlineExecutor(), folder / "exchange")
    return stage.settle(Rows(tuple(files), schema, count), exchange, StageContext())


def decide(stage: Rebalance, batch: pa.Table, settled: Settled) -> Decisions:
    return stage.decide(batch, SettledView(table=settled.broadcast), StageContext())


def copies(decisions: Decisions) -> list[int]:
    assert decisions.copies is not None
    return decisions.copies.tolist()


def clusters(draw: np.random.Generator, count: int, largest: int) -> np.ndarray:
    """Cluster number of each member of `count` clusters of 1 to `largest` members."""
    return np.repeat(np.arange(count), draw.integers(1, largest + 1, count))


# Rates out of the run


def test_a_documents_copies_follow_its_size_and_say_why(tmp_path: Path) -> None:
    # Removal: size 1 all of 4, size 2 two of 8, size 3 six of 12; over the 12 clusters (4 + 1 + 2) / 12.
    sizes = [1] * 4 + [2] * 8 + [3] * 12
    marked = [True] * 4 + [True, False, False, False] * 2 + [True, False] * 6
    batch = corpus(sizes, marked, [False] * 24)
    stage = make(exact=True)
    settled = settle(stage, batch, folder=tmp_path)
    found = decide(stage, corpus([1, 2, 3, 7]), settled)
    overall = 7 / 12
    # 3: 1 + 3 · (7/12 − 1/2) / (7/12 − 1/4) = 1.75 of its own, and (1 + 4 + 1.75) / 5 as three sizes were smoothed where
    # the weights were published; 7 belongs to the last bin.
    assert copies(found) == [1, 4, 1, 1]
    stage = make(
        min_cluster_count=2, min_group_clusters=0
    )  # no bin is so small, and a run of its own smooths none of three
    found = decide(stage, corpus([1, 2, 3, 7]), settle(stage, batch, folder=tmp_path))
    assert copies(found) == [1, 4, 2, 2]
    assert found.rule is not None and found.rule.tolist() == [-1, 1, 1, 1] and found.rules[1] == "rehydrated"
    assert found.value is not None and found.value[1:].tolist() == [0.25, 0.5, 0.5] and np.isnan(found.value[0])
    assert found.threshold is not None and found.threshold[1:].tolist() == [overall] * 3
    assert found.port.tolist() == [0, 0, 0, 0]


def test_the_report_holds_weights_bins_and_rates(tmp_path: Path) -> None:
    batch = corpus([1, 1, 2, 2, 2, 2], [True, True, False, False, True, False], [False] * 6)
    report = settle(make(exact=True), batch, folder=tmp_path).report
    assert report["curves"]["por_Latn"] == {"weights": {"1": 1, "2": 4}, "global_removal_rate": 2.5 / 4}
    assert report["bins"]["por_Latn"] == [
        {"size_from": 1, "clusters": 2.0, "removal_rate": 1.0, "repeats": 1},
        {"size_from": 2, "clusters": 2.0, "removal_rate": 0.25, "repeats": 4},
    ]
    assert report["groups"] == {"por_Latn": {"clusters": 4.0, "removal_rate": 0.625, "curve": "por_Latn"}}
    json.dumps(report, allow_nan=False)


def test_dropped_members_count_like_kept_ones(tmp_path: Path) -> None:
    sizes, marked = [1] * 10 + [2] * 20, [True] * 10 + [True, False] * 10
    kept = settle(make(exact=True), corpus(sizes, marked, [False] * 30), folder=tmp_path)
    dropped = settle(make(exact=True), corpus(sizes, marked, [False] * 10 + [False, True] * 10), folder=tmp_path)
    assert kept.broadcast is not None and kept.broadcast.equals(dropped.broadcast)


def test_behind_the_deduplication_the_share_of_representatives_dropped_counts(tmp_path: Path) -> None:
    stage = make(rates={"observe": "quality"}, exact=True)
    assert stage.spec.survey_reads == {"minhash_cluster_size", "dropped"}
    batch = corpus([1, 1, 1, 1, 5, 5], dropped=[True, True, True, False, True, False])
    report = settle(stage, batch, folder=tmp_path).report
    assert [bin["removal_rate"] for bin in report["bins"]["por_Latn"]] == [0.75, 0.5]
    assert report["curves"]["por_Latn"]["global_removal_rate"] == 4 / 6


def test_rows_that_stand_for_exact_copies_weigh_as_many_members(tmp_path: Path) -> None:
    # Two clusters of four and one of two; then the same after `exact`, which left one row of each set of equal texts.
    rates = {"observe": "minhash", "marked_by": "quality"}
    sizes, marked = [4] * 8 + [2] * 2, [True, True, True, False, False, False, False, False, True, True]
    every = settle(make(exact=True, rates=rates), corpus(sizes, marked), folder=tmp_path)
    stage = make(exact=True, rates={**rates, "copies": "exact_cluster_size"})
    assert "exact_cluster_size" in stage.spec.survey_reads
    left = corpus([4, 4, 4, 2], [True, False, False, True], exact_cluster_size=pa.array([3, None, 4, 2], pa.int64()))
    assert settle(stage, left, folder=tmp_path).report == every.report
    assert every.report["groups"]["por_Latn"] == {
        "clusters": 3.0,
        "removal_rate": (0.75 + 0 + 1) / 3,
        "curve": "por_Latn",
    }


def test_marks_of_several_nodes_count_once(tmp_path: Path) -> None:
    stage = make(rates={"observe": "minhash", "marked_by": ["quality", "spam"]}, exact=True)
    assert stage.spec.survey_reads == {"minhash_cluster_size", "quality_failed", "spam_failed"}
    batch = corpus([1, 1, 1, 1], [True, True, False, False], spam_failed=pa.array([True, False, True, None]))
    assert settle(stage, batch, folder=tmp_path).report["groups"]["por_Latn"]["removal_rate"] == 0.75


@pytest.mark.parametrize("correlated", [False, True])
def test_both_orders_of_marking_and_deduplication_give_the_same_rates_in_expectation(
    tmp_path: Path, correlated: bool
) -> None:
    draw = np.random.default_rng(11)
    cluster = clusters(draw, 60_000, 6)
    size = np.bincount(cluster)[cluster]
    chance = 0.8 - 0.1 * size  # larger clusters are better
    tried = draw.random(60_000)[cluster] if correlated else draw.random(len(cluster))
    marked = tried < chance
    # The keeper is a member drawn without a look at its marks.
    order = draw.permutation(len(cluster))
    keeper = order[np.unique(cluster[order], return_index=True)[1]]
    is_keeper = np.zeros(len(cluster), bool)
    is_keeper[keeper] = True
    before = settle(make(exact=True), corpus(size, marked, ~is_keeper), folder=tmp_path).report["bins"]["por_Latn"]
    behind = make(rates={"observe": "quality"}, exact=True)
    after = settle(behind, corpus(size[keeper], dropped=marked[keeper]), folder=tmp_path).report["bins"]["por_Latn"]
    for one, other, expected in zip(before, after, 0.8 - 0.1 * np.arange(1, 7), strict=True):
        # Three and a half standard errors of 10,000 clusters are at most 0.0175.
        assert one["removal_rate"] == pytest.approx(expected, abs=0.0175)
        assert other["removal_rate"] == pytest.approx(expected, abs=0.0175)


def test_a_keeper_that_prefers_unmarked_members_does_not_bend_the_rates(tmp_path: Path) -> None:
    draw = np.random.default_rng(12)
    cluster = clusters(draw, 20_000, 6)
    size = np.bincount(cluster)[cluster]
    marked = draw.random(len(cluster)) < 0.5  # size says nothing about quality
    order = np.argsort(marked, kind="stable")
    keeper = order[np.unique(cluster[order], return_index=True)[1]]
    seen = settle(make(exact=True), corpus(size, marked), folder=tmp_path).report["bins"]["por_Latn"]
    bent = settle(
        make(rates={"observe": "quality"}, exact=True), corpus(size[keeper], dropped=marked[keeper]), folder=tmp_path
    ).report["bins"]["por_Latn"]
    assert [bin["removal_rate"] for bin in seen] == pytest.approx([0.5] * 6, abs=0.03)
    # What the rates would be if representatives were counted: one half to the power of the size.
    assert [bin["removal_rate"] for bin in bent] == pytest.approx([0.5**s for s in range(1, 7)], abs=0.03)


# Groups


def test_languages_have_curves_of_their_own(tmp_path: Path) -> None:
    sizes = [1, 1, 2, 2] * 2
    language = ["por"] * 4 + ["deu"] * 4
    marked = [True, True, False, False, False, False, True, True]
    stage = make(exact=True)
    settled = settle(stage, corpus(sizes, marked, language=language), folder=tmp_path)
    found = decide(stage, corpus([1, 2, 1, 2], language=["por", "por", "deu", "deu"]), settled)
    assert copies(found) == [1, 4, 4, 1]
    assert found.tallies == {
        "documents.por_Latn": 2,
        "copies.por_Latn": 5,
        "documents.deu_Latn": 2,
        "copies.deu_Latn": 5,
    }


def test_small_groups_fall_back_to_their_script_and_then_to_the_whole(tmp_path: Path) -> None:
    # por: 60 clusters; deu: 20; together Latn 80. rus: 10, alone in Cyrl.
    language = ["por"] * 60 + ["deu"] * 20 + ["rus"] * 10
    script = ["Latn"] * 80 + ["Cyrl"] * 10
    stage = make(min_group_clusters=50, min_cluster_count=1)
    settled = settle(stage, corpus([1] * 90, [True] * 90, language=language, script=script), folder=tmp_path)
    groups = settled.report["groups"]
    assert {name: group["curve"] for name, group in groups.items()} == {
        "por_Latn": "por_Latn",
        "deu_Latn": "*_Latn",
        "rus_Cyrl": "*",
    }
    assert sorted(settled.report["curves"]) == ["*", "*_Latn", "por_Latn"]
    exact = settle(make(exact=True), corpus([1] * 90, [True] * 90, language=language, script=script), folder=tmp_path)
    assert exact.report["groups"]["rus_Cyrl"]["curve"] == "rus_Cyrl"


def test_a_group_that_the_survey_never_saw_uses_what_it_would_fall_back_to(tmp_path: Path) -> None:
    stage = make(exact=True)
    settled = settle(stage, corpus([1, 1, 2, 2], [True, True, False, False]), folder=tmp_path)
    found = decide(stage, corpus([2, 2], language=["deu", None], script=["Latn", None]), settled)
    assert copies(found) == [4, 4]
    assert found.tallies == {"documents.deu_Latn": 1, "copies.deu_Latn": 4, "documents.unknown": 1, "copies.unknown": 4}


def test_without_language_columns_there_is_one_curve(tmp_path: Path) -> None:
    stage = make(exact=True)
    bare = corpus([1, 1, 2, 2], [True, True, False, False]).drop_columns(["language", "language_script"])
    settled = settle(stage, bare, folder=tmp_path)
    assert copies(decide(stage, bare, settled)) == [1, 1, 4, 4]


def test_any_columns_can_be_the_group(tmp_path: Path) -> None:
    stage = make(exact=True, group=["source"])
    assert "source" in stage.spec.survey_reads and "source" in stage.spec.decide_reads
    batch = corpus([1, 1, 2, 2], [True, True, False, False], source=pa.array(["a", "a", "a", "a"]))
    assert list(settle(stage, batch, folder=tmp_path).report["groups"]) == ["a"]
    whole = make(exact=True, group=[])
    assert list(settle(whole, batch, folder=tmp_path).report["curves"]) == ["*"]


def test_groups_of_one_document_repeat_nothing(tmp_path: Path) -> None:
    stage = make(exact=True)
    batch = corpus([1, 5], [True, False], language=["por", "deu"])
    assert copies(decide(stage, batch, settle(stage, batch, folder=tmp_path))) == [1, 1]


@pytest.mark.parametrize("marked", [True, False])
def test_a_rate_of_0_or_100_per_cent_everywhere_repeats_nothing(tmp_path: Path, marked: bool) -> None:
    stage = make(exact=True)
    batch = corpus([1, 2, 2, 3, 3, 3], [marked] * 6)
    found = decide(stage, batch, settle(stage, batch, folder=tmp_path))
    assert copies(found) == [1] * 6
    assert found.rule is not None and (found.rule == -1).all()


# Caps, scores and draws


def settled_with_four_repeats(stage: Rebalance, folder: Path) -> Settled:
    """Size 1 is all removed, size 3 never: sizes from 3 on get 4 copies."""
    return settle(stage, corpus([1, 1, 3, 3, 3], [True, True, False, False, False]), folder=folder)


def test_no_more_copies_than_members_were_found(tmp_path: Path) -> None:
    free, capped = make(exact=True, max_repeats=9), make(exact=True, max_repeats=9, max_copies="cluster_size")
    settled = settled_with_four_repeats(free, tmp_path)
    assert copies(decide(free, corpus([1, 3, 5, 20]), settled)) == [1, 9, 9, 9]
    assert copies(decide(capped, corpus([1, 3, 5, 20]), settled)) == [1, 3, 5, 9]


def test_a_score_tilts_the_repeats(tmp_path: Path) -> None:
    stage = make(exact=True, max_repeats=5, quality={"column": "edu", "none_below": 1.0, "full_above": 3.0})
    settled = settled_with_four_repeats(stage, tmp_path)
    scores = pa.array([0.5, 1.0, 1.5, 2.0, 3.0, 9.0, None, float("nan"), float("inf")], pa.float64())
    assert copies(decide(stage, corpus([3] * 9, edu=scores), settled)) == [1, 1, 2, 3, 5, 5, 1, 1, 5]
    assert copies(decide(stage, corpus([1] * 9, edu=scores), settled)) == [1] * 9


def test_fractional_repeats_are_drawn_by_doc_key_whatever_the_order(tmp_path: Path) -> None:
    tilt = {"column": "edu", "none_below": 0.0, "full_above": 1.0}
    stage = make(exact=True, quality=tilt, seed=17)
    settled = settled_with_four_repeats(stage, tmp_path)
    rows = 4000
    batch = corpus([3] * rows, edu=pa.array(np.full(rows, 0.1)))  # 1.3 copies each
    found = np.array(copies(decide(stage, batch, settled)))
    assert set(found.tolist()) == {1, 2}
    assert found.mean() == pytest.approx(1.3, abs=0.025)
    # By the SplitMix64 finaliser in plain integers.
    assert found[:12].tolist() == [1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1]
    order = np.random.default_rng(0).permutation(rows)
    mixed = decide(stage, batch.take(pa.array(order)).combine_chunks(), settled)
    assert copies(mixed) == found[order].tolist()
    other = copies(decide(make(exact=True, quality=tilt, seed=18), batch, settled))
    assert other != found.tolist()


# Tables instead of rates


def test_fineweb2s_first_weights_serve_every_language(tmp_path: Path) -> None:
    stage = make(rates={"table": "fineweb2"})
    assert stage.spec.observes is None and stage.spec.models == {}
    batch = corpus([1, 2, 3, 4, 5, 99, 100, 999, 1000, 5000])
    settled = settle(stage, batch, folder=tmp_path)
    assert copies(decide(stage, batch, settled)) == [1, 2, 3, 3, 5, 5, 8, 8, 1, 1]


def weights_file(folder: Path, **tables: dict[str, int]) -> str:
    path = folder / "weights.json"
    path.write_text(json.dumps(tables))
    return str(path)


def test_a_weights_file_gives_each_language_its_own(tmp_path: Path) -> None:
    path = weights_file(tmp_path, por_Latn={"1": 1, "3": 7}, rus_Cyrl={"2": 2})
    stage = make(rates={"table": path})
    assert stage.spec.models == {"weights": Path(path)}
    stage.check_files()
    batch = corpus(
        [2, 3, 1, 2, 9], language=["por", "por", "rus", "rus", "deu"], script=["Latn"] * 2 + ["Cyrl"] * 2 + ["Latn"]
    )
    settled = settle(stage, batch, folder=tmp_path)
    found = decide(stage, batch, settled)
    assert copies(found) == [1, 7, 1, 2, 1]
    assert settled.report["documents_without_weights"] == {"deu_Latn": 1}
    assert found.rule is not None and found.rule.tolist() == [-1, 1, -1, 1, -1]
    assert found.value is not None and np.isnan(found.value).all()  # a table knows no rates


def test_a_weights_file_for_other_languages_stops_the_run(tmp_path: Path) -> None:
    stage = make(rates={"table": weights_file(tmp_path, ita_Latn={"1": 1})})
    with pytest.raises(DataError, match=r"none of the 1 groups in the data \(por_Latn\)"):
        settle(stage, corpus([1, 2]), folder=tmp_path)


def test_the_path_of_a_weights_file_stays_out_of_fingerprints(tmp_path: Path) -> None:
    stage = make(rates={"table": weights_file(tmp_path, por_Latn={"1": 1})})
    assert str(tmp_path) not in stage.config.model_dump_json()


def test_a_missing_weights_file_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        make(rates={"table": str(tmp_path / "none.json")}).check_files()


# Bad input


def test_a_cluster_size_below_one_is_set_aside_with_its_reason(tmp_path: Path) -> None:
    stage = make(exact=True)
    batch = corpus([1, 0, -3, None, 2], [True, True, True, True, False])
    settled = settle(stage, batch, folder=tmp_path)
    assert settled.report["groups"]["por_Latn"]["clusters"] == 2.5  # sizes 1, null (found once) and one member of 2
    found = decide(stage, batch, settled)
    assert found.port.tolist() == [0, QUARANTINED, QUARANTINED, 0, 0]
    assert found.rule is not None and found.rules[found.rule[1]] == "invalid_cluster_size"
    assert found.value is not None and found.value[1:3].tolist() == [0.0, -3.0]


def test_documents_that_no_survey_saw_are_emitted_once() -> None:
    stage = make()
    assert copies(stage.decide(corpus([1, 9]), SettledView(), StageContext())) == [1, 1]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rates": {}}, "exactly one of `observe`"),
        ({"rates": {"observe": "a", "table": "b"}}, "exactly one of `observe`"),
        ({"rates": {"table": "b", "marked_by": "quality"}}, "go with `observe`"),
        ({"rates": {"observe": "a", "copies": "n"}}, "goes with `count: members`"),
        ({"rates": {"observe": "a", "marked": "quality"}}, "Extra inputs"),
        ({"max_repeats": 0}, "greater than or equal to 1"),
        ({"min_cluster_count": 0}, "greater than or equal to 1"),
        ({"quality": {"column": "s", "none_below": 2.0, "full_above": 2.0}}, "`none_below` must be below"),
        ({"max_copies": "twice"}, "cluster_size"),
        ({"maxrepeats": 3}, "Extra inputs"),
    ],
)
def test_senseless_settings_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**config)


def test_rates_must_come_from_somewhere() -> None:
    with pytest.raises(ValidationError, match="rates"):
        RebalanceConfig.model_validate({})


# Rates by size and quantile


def planted_by_quantile(rows: int = 60_000, seed: int = 9) -> pa.Table:
    """One member per cluster; better and more often found pages are removed less, and nothing else matters."""
    draw = np.random.default_rng(seed)
    sizes = draw.choice([1, 2, 4, 20], rows, p=[0.5, 0.25, 0.15, 0.1])
    quantile = (draw.permutation(rows) + 0.5) / rows
    rate = 0.75 - 0.45 * quantile - 0.06 * np.log2(sizes)
    return corpus(sizes.tolist(), (draw.random(rows) < rate).tolist(), q=pa.array(quantile))


BY_QUANTILE = {"observe": "minhash", "marked_by": "quality", "count": "representatives", "quantile": "q"}


def test_rates_by_size_and_quantile_lift_what_is_removed_less(tmp_path: Path) -> None:
    batch = planted_by_quantile()
    stage = make(rates=BY_QUANTILE, form="columns", min_group_clusters=1000)
    assert stage.spec.survey_reads == {"minhash_cluster_size", "quality_failed", "q"}
    settled = settle(stage, batch, folder=tmp_path)
    asked = corpus([1, 1, 20, 20, 20], q=pa.array([0.05, 0.95, 0.05, 0.95, None]))
    found = decide(stage, asked, settled)
    weight = found.columns["weight"].to_pylist()
    assert weight[0] == 1 and 1 < weight[1] < weight[3] == 4 and weight[4] == 1
    assert found.witness is not None and found.value is not None and found.threshold is not None
    witness = found.witness.to_pylist()
    assert witness[0] is None and "por_Latn, cluster sizes 16 to 31, quantiles 0.9 to 1: " in witness[3]
    assert witness[3].endswith("quantile 0.950000")
    assert found.value[3] < found.threshold[3] == pytest.approx(0.466, abs=0.01)
    report = settled.report["evidence"]["por_Latn"]
    assert np.shape(report["rate"]) == (12, 11) and report["clusters"][0][0] == pytest.approx(3000, rel=0.1)
    assert settled.report["groups"]["por_Latn"]["curve"] == "por_Latn"
    json.dumps(settled.report, allow_nan=False)


def test_small_groups_use_the_evidence_of_their_script(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    big = planted_by_quantile()
    batch = big.set_column(2, "language", pa.array(np.where(draw.random(len(big)) < 0.001, "deu", "por").tolist()))
    stage = make(rates=BY_QUANTILE, form="columns")
    settled = settle(stage, batch, folder=tmp_path)
    assert settled.report["groups"]["deu_Latn"]["curve"] == "*_Latn"
    assert settled.report["groups"]["por_Latn"]["curve"] == "por_Latn"
    one, other = (decide(stage, corpus([20], q=pa.array([0.95]), language=name), settled) for name in ("deu", "fra"))
    assert one.columns["weight"].to_pylist() == other.columns["weight"].to_pylist() == [4.0]


def test_members_weigh_one_share_of_their_cluster(tmp_path: Path) -> None:
    sizes, marked = [1] * 6 + [4] * 8, [True] * 3 + [False] * 3 + [True] * 4 + [False] * 4
    rates = {"observe": "minhash", "marked_by": "quality", "quantile": "q"}
    batch = corpus(sizes, marked, q=pa.array([0.5] * 14))
    report = settle(make(rates=rates, min_group_clusters=1), batch, folder=tmp_path).report
    clusters = np.array(report["evidence"]["por_Latn"]["clusters"])
    assert clusters[0, 5] == 6 and clusters[3, 5] == 2 and clusters.sum() == 8


def test_a_curve_multiplies_copies_and_may_leave_documents_out(tmp_path: Path) -> None:
    counts = corpus([1] * 40 + [3] * 60, [True] * 40 + [False] * 60)
    stage = make(exact=True, quality={"column": "q", "steps": {0.2: 0.5, 0.6: 1.0, 0.8: 2.0}})
    settled = settle(stage, counts, folder=tmp_path)
    rows = 4000
    quantile = np.tile([0.1, 0.3, 0.7, 0.9], rows // 4)
    single = decide(stage, corpus([1] * rows, q=pa.array(quantile)), settled)
    assert single.copies is not None and single.rule is not None
    made = np.where(single.port >= 0, single.copies, 0)
    assert [made[quantile == q].mean() for q in (0.1, 0.3, 0.7, 0.9)] == pytest.approx([0, 0.5, 1, 2], abs=0.05)
    assert {single.rules[rule] for rule in single.rule[quantile == 0.1]} == {"not_read"}
    assert single.witness is not None and single.witness[0].as_py() == "quantile 0.100000, curve 0"
    often = decide(stage, corpus([3] * 4, q=pa.array([0.3, 0.7, 0.9, None])), settled)
    assert often.copies is not None and np.where(often.port >= 0, often.copies, 0).tolist() == [2, 4, 4, 0]
    assert often.witness is not None and often.witness[3].as_py() == "no quantile, counted as the lowest, curve 0"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rates": BY_QUANTILE, "quality": {"column": "q", "steps": {0: 1}}}, "would count quality twice"),
        ({"rates": BY_QUANTILE, "exact": True}, "take out `rates.quantile`"),
        ({"rates": {"table": "b", "quantile": "q"}}, "go with `observe`"),
        ({"quality": {"column": "q", "steps": {0.5: 2, 0.7: 1}}}, "below the 2 of lower quantiles.*Nearest: 2"),
        ({"quality": {"column": "q", "steps": {0.5: 0}}}, "nothing would be left"),
        ({"quality": {"column": "q", "steps": {1.5: 1}}}, "expected a quantile from 0 to below 1"),
        ({"quality": {"column": "q"}}, "exactly one of .* found none"),
        ({"quality": {"column": "q", "power": {"scale": 1}, "steps": {0: 1}}}, "found `power` and `steps`"),
        ({"quality": {"column": "q", "power": {"scale": 1, "rate": -1}}}, "greater than or equal to 0"),
        ({"quality": {"column": "q", "dolma3": {"ratio": 6}}}, "Nearest: a ratio of 4.1"),
        ({"quality": {"column": "q", "dolma3": {"ratio": 1, "top": 0.7}}}, "expected at most 1"),
    ],
)
def test_settings_of_quality_that_make_no_sense_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**config)


def test_an_audit_can_recheck_cells_and_draws(tmp_path: Path) -> None:
    cell = "por_Latn, cluster sizes 16 to 31, quantiles 0.9 to 1: 0.2100 removed (0.1900 to 0.2300), of all 0.4700; quantile 1"

    def problems(stage: Rebalance, **row: Any) -> list[str]:
        told = {"rule": "rehydrated", "value": 0.21, "threshold": 0.47, "copies": 3, "witness": cell, **row}
        return [text for _, text in stage.recheck(pa.table({name: [value] for name, value in told.items()}))]

    by_quantile, by_size = make(rates=BY_QUANTILE), make()
    assert problems(by_quantile) == problems(by_size, witness=None) == []
    assert "at most 4 (max_repeats)" in problems(by_quantile, copies=5)[0]
    for changed in (
        {"value": 0.3}, {"threshold": 0.6}, {"witness": None}, {"witness": cell.replace("0.2300", "0.5300")}
    ):  # fmt: skip
        assert "with the witness" in problems(by_quantile, **changed)[0]
    assert problems(by_size, rule="not_read", value=0.4, threshold=0.7) == []
    assert "not read, with 0.4 copies" in problems(by_size, rule="not_read", value=0.4, threshold=0.2)[0]
