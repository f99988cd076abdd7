"""Quantiles: exact within each group, whatever the scores; filters and buckets on them; scores that order nothing."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gristmill.pipeline.errors import ContractError, DataError
from gristmill.pipeline.testing import Result, doc_key_column, make_stage, run_stage, whole
from gristmill.stages.quantiles.stage import Quantiles


def corpus(score: list[Any], language: list[str | None] | str = "por", **more: Any) -> pa.Table:
    rows = len(score)
    columns = {
        "doc_key": doc_key_column(rows, 4),
        "score": pa.array(score, pa.float64()),
        "language": pa.array([language] * rows if isinstance(language, str) else language, pa.string()),
        "language_script": pa.array(["Latn"] * rows, pa.string()),
    }
    return pa.table({**columns, **more})


def run(table: pa.Table, **config: Any) -> Result:
    return run_stage(make_stage(Quantiles, config), table, whole(len(table)))


def quantiles(table: pa.Table, **config: Any) -> list[float | None]:
    """In the order of the rows."""
    found = run(table, **{"score": "score", **config}).decisions
    return [number(found[key]["column score_quantile"]) for key in table["doc_key"].to_pylist()]


def number(text: str | None) -> float | None:
    """The harness shows floats by all their bits."""
    return None if text is None else float.fromhex(text)


VALUE = st.one_of(
    st.none(), st.sampled_from([float("nan"), -1.5, 0.0, -0.0, 2.0, float("inf")]), st.floats(allow_nan=False)
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(VALUE, st.sampled_from(["por", "deu", None]), st.integers(0, 9)), min_size=1, max_size=30),
    st.booleans(),
)
def test_a_quantile_is_the_share_before_a_document_and_half_of_its_own(
    rows: list[tuple[float | None, str | None, int]], weighed: bool
) -> None:
    score, language, tokens = (list(column) for column in zip(*rows, strict=True))
    table = corpus(score, language, tokens=pa.array(tokens, pa.int64()))
    members = defaultdict(list)
    for key, value, name, weight in zip(table["doc_key"].to_pylist(), score, language, tokens, strict=True):
        if value is not None and value == value:
            members[name].append((value, key, weight if weighed else 1))
    expected: dict[bytes, float | None] = {key: None for key in table["doc_key"].to_pylist()}
    for some in members.values():
        whole_weight = sum(weight for *_, weight in some)
        held = 0
        for _, key, weight in sorted(some):
            expected[key] = (held + weight / 2) / whole_weight if whole_weight else None
            held += weight
    if not members:
        with pytest.raises(DataError):
            quantiles(table)
        return
    assert quantiles(table, **({"weigh_by": "tokens"} if weighed else {})) == list(expected.values())


def test_quantiles_of_a_group_are_evenly_spread_and_ties_go_by_doc_key() -> None:
    table = corpus([5.0, 5.0, 1.0, 5.0])
    keys = table["doc_key"].to_pylist()
    found = quantiles(table)
    assert found[2] == 0.125
    tied = sorted((keys[row], found[row]) for row in (0, 1, 3))
    assert [quantile for _, quantile in tied] == [0.375, 0.625, 0.875]


def test_missing_scores_may_come_first() -> None:
    assert quantiles(corpus([None, 3.0, -np.inf]), missing="lowest") == [1 / 6, 5 / 6, 0.5]
    assert quantiles(corpus([None, 3.0, -np.inf])) == [None, 0.75, 0.25]


def test_failed_rules_count_against_a_document() -> None:
    failed = pa.array([["a", "b"], [], ["a"], None], pa.list_(pa.string()))
    table = corpus([0.0] * 4, quality_failed=failed)
    assert quantiles(table, score={"quality_failed": -1}) == [1 / 6, 5 / 6, 0.5, None]
    # A weighted sum has no value where one part has none; the same through ranks.
    both = corpus([1.0, 2.0, 9.0, 3.0], quality_failed=failed)
    assert quantiles(both, score={"quality_failed": -10, "score": 1.0}) == [1 / 6, 5 / 6, 0.5, None]
    assert quantiles(corpus([1.0, 2.0, 3.0]), score={"score": -2}, combine="ranks") == [5 / 6, 0.5, 1 / 6]


def test_ranks_are_added_whatever_the_scales() -> None:
    other = pa.array([1e9, 2e9, 3e9, 4e9, 0.0])
    table = corpus([0.5, 0.1, 0.3, 0.2, 0.4], other=other)
    # Ranks 4 0 2 1 3 and 1 2 3 4 0, from 0: added up 5 2 5 5 3, ties by doc_key.
    found = np.array(quantiles(table, score={"score": 1, "other": 1}, combine="ranks"))
    assert found[1] == 0.1 and found[4] == 0.3 and sorted(found[[0, 2, 3]]) == [0.5, 0.7, 0.9]
    assert quantiles(table, score={"score": 1, "other": 1}) == [0.3, 0.5, 0.7, 0.9, 0.1]
    # A document without one of the scores has no rank sum.
    partial = corpus([0.5, None, 0.3, 0.2, 0.4], other=other)
    assert quantiles(partial, score={"score": 1, "other": 1}, combine="ranks")[1] is None


def test_buckets_are_of_equal_size_and_the_last_holds_the_best() -> None:
    table = corpus([float(x) for x in range(10)])
    found = run(table, score="score", buckets=4, name="edu").decisions
    buckets = [found[key]["column edu_bucket"] for key in table["doc_key"].to_pylist()]
    assert buckets == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert {"column edu_quantile", "column edu_bucket"} <= set(found[table["doc_key"][0].as_py()])


@pytest.mark.parametrize("on_fail", ["drop", "mark"])
def test_documents_below_a_quantile_fail(on_fail: str) -> None:
    table = corpus([1.0, 2.0, None, 4.0])
    found = run(table, score="score", keep_from=0.5, on_fail=on_fail).decisions
    rows = [found[key] for key in table["doc_key"].to_pylist()]
    assert [row["rule"] for row in rows] == ["low_quantile", None, "no_score", None]
    assert number(rows[0]["value"]) == 1 / 6 and number(rows[0]["threshold"]) == 0.5
    if on_fail == "mark":
        assert [row["column score_failed"] for row in rows] == [["low_quantile"], [], ["no_score"], []]
        assert all(row["port"] == rows[1]["port"] for row in rows)
    else:
        assert [row["port"] == rows[1]["port"] for row in rows] == [False, True, False, True]


def test_scores_that_order_nothing_stop_the_run() -> None:
    with pytest.raises(DataError, match="none of 2 documents has a number in the score 1 · `score`"):
        quantiles(corpus([None, float("nan")]))
    with pytest.raises(DataError, match=r"is 3 for all documents of por_Latn, and constant in every other group"):
        quantiles(corpus([3.0] * 100))
    # One of two ranked columns that differs is enough, and so is one group; of few documents nothing is asked.
    table = corpus([3.0] * 100, depth=pa.array(range(100)))
    assert quantiles(table, score={"score": 1, "depth": 0.001}, combine="ranks")[99] is not None
    assert quantiles(corpus([3.0] * 99))[0] is not None
    report = run(corpus([3.0, 3.0, 1.0, 2.0], ["por", "por", "deu", "deu"]), score="score").report
    assert report["scores"]["1 · `score`"]["constant"] == ["por_Latn"]
    assert quantiles(corpus([3.0])) == [0.5]


def test_the_report_counts_documents_and_scores_by_group() -> None:
    report = run(corpus([1.0, None, 3.0, np.inf], ["por", "por", None, None]), score="score").report
    assert report["scores"]["1 · `score`"]["groups"] == {
        "por_Latn": {"documents": 2, "without_score": 1, "lowest": (1.0).hex(), "highest": (1.0).hex()},
        "unknown_Latn": {"documents": 2, "without_score": 0, "lowest": (3.0).hex(), "highest": None},
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "score"),
        ({"score": {}}, "name a column"),
        ({"score": {"edu": 0}}, "score.edu: expected a number other than 0"),
        ({"score": {"edu": 1e7}}, "score.edu"),
        ({"score": "edu", "keep_from": 1.0}, "keep_from"),
        ({"score": "edu", "buckets": 1}, "buckets"),
        ({"score": "edu", "combine": "rank"}, "combine"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_stage(Quantiles, config)


def test_columns_that_are_no_scores_are_refused() -> None:
    with pytest.raises(ContractError, match="the score column `language` is string; expected numbers, or a list"):
        quantiles(corpus([1.0]), score="language")
    with pytest.raises(ContractError, match="weigh_by names the column `score` of type double; expected whole numbers"):
        quantiles(corpus([1.0]), weigh_by="score")
    with pytest.raises(ContractError, match="holds -4; a document weighs 0 or more"):
        quantiles(corpus([1.0], tokens=pa.array([-4])), weigh_by="tokens")
