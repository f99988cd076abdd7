"""The stage `exact`: clusters as brute force finds them, on text and on columns, and sizes that MinHash goes on with."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError

from gristmill.pipeline.document import key_words
from gristmill.pipeline.errors import ContractError
from gristmill.pipeline.stage import DROPPED
from gristmill.pipeline.testing import Result, doc_key_column, make_stage, run_stage, splits, whole
from gristmill.stages.deduplication.clusters import cluster_ids
from gristmill.stages.deduplication.exact import Exact, ExactConfig
from gristmill.stages.deduplication.minhash import MinHash
from tests.invariance_cases.exact import copies
from tests.invariance_cases.minhash import similar_texts
from tests.stages.deduplication.kernels.test_digests import form


def run(table: pa.Table, **config: Any) -> Result:
    return run_stage(make_stage(Exact, config), table, whole(len(table)))


def documents(texts: list[str], **columns: Any) -> pa.Table:
    return pa.table({"doc_key": doc_key_column(len(texts)), "text": pa.array(texts, pa.large_string()), **columns})


def brute_force(table: pa.Table, config: ExactConfig) -> dict[bytes, list[dict[str, Any]]]:
    """The rows of each cluster of two and more, by the lowest doc_key."""
    groups = defaultdict(list)
    for row in sorted(table.to_pylist(), key=lambda row: row["doc_key"]):
        values = [row[name] for name in config.on]
        if config.on == ("text",):
            values = [form(row["text"] or "", config.normalise)]
        if all(value not in (None, "") for value in values):
            groups[(*values, *(row[name] for name in config.within))].append(row)
    return {rows[0]["doc_key"]: rows for rows in groups.values() if len(rows) > 1}


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"normalise": "spaces"},
        {"normalise": "none", "within": "language"},
        {"on": "url"},
        {"on": ["page", "url"], "within": ["language", "source"]},
        {"copies": "seen"},
    ],
    ids=["words", "spaces", "bytes", "url", "columns", "copies"],
)
def test_clusters_sizes_and_keepers_equal_brute_force_whatever_the_slicing(config: dict[str, Any]) -> None:
    table = copies()
    expected = brute_force(table, ExactConfig(**config))
    assert len(expected) > 1
    rows = {row["doc_key"]: row for row in table.to_pylist()}
    own = {key: (row["seen"] or 1) if "copies" in config else 1 for key, row in rows.items()}
    plain = {key: (0, -1, own[key], None) for key in rows}
    for label, members in expected.items():
        size = sum(own[row["doc_key"]] for row in members)
        number = int(cluster_ids(key_words(pa.array([label], table["doc_key"].type)))[0])
        for row in members:
            lost = row["doc_key"] != label
            plain[row["doc_key"]] = (DROPPED if lost else 0, number, size, label.hex() if lost else None)

    @settings(max_examples=4, suppress_health_check=list(HealthCheck))
    @given(splits(len(table)))
    def equal(split: Any) -> None:
        found = run_stage(make_stage(Exact, config), table, split).decisions
        assert {
            key: (row["port"], row["column exact_cluster_id"], row["column exact_cluster_size"], row["witness"])
            for key, row in found.items()
        } == plain

    equal()


def test_a_number_is_not_the_text_that_looks_like_it_and_binary_is_compared_as_it_is() -> None:
    table = documents(["a", "b", "c", "d"], blob=pa.array([b"\x00", b"\x00", b"\x00\x00", None], pa.binary()))
    result = run(table, on="blob")
    assert sum(row["port"] == DROPPED for row in result.decisions.values()) == 1


@pytest.mark.parametrize(
    ("column", "kind"), [([0.5] * 3, pa.float64()), ([[1]] * 3, pa.list_(pa.int64()))], ids=["floats", "lists"]
)
def test_a_column_without_exact_equality_is_refused_by_name(column: list[Any], kind: pa.DataType) -> None:
    with pytest.raises(ContractError, match="`score`"):
        run(documents(["a"] * 3, score=pa.array(column, kind)), on="score")


@pytest.mark.parametrize(
    ("column", "message"), [([0, 1, 2], "holds 0"), (["1", "2", "3"], "expected whole numbers")], ids=["zero", "text"]
)
def test_copies_that_are_no_numbers_of_documents_are_refused(column: list[Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        run(documents(["a"] * 3, seen=column), copies="seen")


def test_a_wrong_setting_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        ExactConfig(on=[])
    with pytest.raises(ValidationError, match="'words', 'spaces' or 'none'"):
        ExactConfig(normalise="lower")


# A cheap first step.


def sized(result: Result, name: str, rows: pa.Table) -> list[int]:
    return [result.decisions[key][f"column {name}_cluster_size"] for key in rows["doc_key"].to_pylist()]


@pytest.mark.parametrize("verify", ["sketch", "none"])
def test_exact_before_minhash_leaves_the_clusters_and_sizes_of_minhash_alone(verify: str) -> None:
    draw = np.random.default_rng(3)
    texts = similar_texts().slice(9)["text"].to_pylist()
    texts += [str(texts[row]).upper() for row in draw.integers(0, 50, 60)]
    table = documents(texts)
    config = {"bands": 20, "rows": 2, "ngram": 2, "verify_min": 0.5, "verify": verify}
    alone = run_stage(make_stage(MinHash, config), table, whole(len(table)))
    first = run(table)
    sizes = pa.array(sized(first, "exact", table), pa.int64())
    kept = np.flatnonzero([first.decisions[key]["port"] == 0 for key in table["doc_key"].to_pylist()])
    rest = table.append_column("exact_cluster_size", sizes).take(pa.array(kept))
    assert len(rest) < len(table) - 20
    second = run_stage(make_stage(MinHash, {**config, "copies": "exact_cluster_size"}), rest, whole(len(rest)))
    assert max(sized(second, "minhash", rest)) > 5
    for key, row in second.decisions.items():
        for what in ("port", "column minhash_cluster_size", "witness"):
            assert row[what] == alone.decisions[key][what], "a kept document gets the same decision as in MinHash alone"
    without = run_stage(make_stage(MinHash, config), rest, whole(len(rest)))
    assert sized(without, "minhash", rest) != sized(second, "minhash", rest)


# Bad input.


def test_a_corpus_of_equal_documents_is_one_cluster() -> None:
    result = run(documents(["same"] * 300))
    assert sum(row["port"] == 0 for row in result.decisions.values()) == 1
    assert (result.report["clusters"], result.report["duplicates"]) == (1, 299)


def test_documents_of_punctuation_only_have_no_words_to_be_equal_in() -> None:
    table = documents(["!!!", "!!!", "…", "© ©"])
    assert all(row["port"] == 0 for row in run(table).decisions.values())
    assert sum(row["port"] == DROPPED for row in run(table, normalise="spaces").decisions.values()) == 1
