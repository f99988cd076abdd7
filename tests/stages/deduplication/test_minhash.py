"""The stage `minhash`: clusters as brute force finds them, recall as the theory promises, keepers, reports, bad input."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gristmill.pipeline.document import key_words
from gristmill.pipeline.errors import ContractError, DataError
from gristmill.pipeline.exchange.file_exchange import FileExchange
from gristmill.pipeline.stage import DROPPED, StageContext
from gristmill.pipeline.testing import Result, doc_key_column, make_stage, run_stage, splits, whole
from gristmill.stages.deduplication.clusters import cluster_ids
from gristmill.stages.deduplication.kernels.signatures import required_equal
from gristmill.stages.deduplication.minhash import MinHash, MinHashConfig, bands_and_rows
from tests.invariance_cases.minhash import similar_texts
from tests.stages.deduplication.kernels import minhash_oracle as oracle


def run(texts: list[str] | pa.Table, **config: Any) -> Result:
    table = texts if isinstance(texts, pa.Table) else documents(texts)
    return run_stage(make_stage(MinHash, config), table, whole(len(table)))


def documents(texts: list[str], **columns: Any) -> pa.Table:
    return pa.table({"doc_key": doc_key_column(len(texts)), "text": pa.array(texts, pa.large_string()), **columns})


def clusters(result: Result) -> set[frozenset[bytes]]:
    """Clusters of two and more, by doc_key, from the settled answer."""
    members = defaultdict(set)
    for key, row in result.keyed.items():
        members[row["label"]].add(key)
    return {frozenset(keys) for keys in members.values() if len(keys) > 1}


def brute_force(table: pa.Table, config: MinHashConfig, unmatched: list[bytes] | None = None) -> set[frozenset[bytes]]:
    """The definition of the clusters, document by document; `unmatched` gets those beyond the leaders of a bucket."""
    signed, sets = {}, {}
    for key, text in zip(table["doc_key"].to_pylist(), table["text"].to_pylist(), strict=True):
        units = oracle.characters(text or "") if config.unit == "characters" else oracle.words(text or "")
        if units:
            signed[key] = oracle.signature(units, config.ngram, config.lanes, config.seed)
            sets[key] = oracle.shingles(units, config.ngram, config.seed)
    parent = {key: key for key in signed}

    def root(key: bytes) -> bytes:
        while parent[key] != key:
            key = parent[key]
        return key

    for band in range(config.bands):
        buckets = defaultdict(list)
        for key in sorted(signed):
            buckets[tuple(signed[key][band * config.rows : (band + 1) * config.rows])].append(key)
        for keys in buckets.values():
            leaders: list[bytes] = []
            for key in keys:
                sketch = oracle.sketch(signed[key])
                for leader in leaders:
                    if config.verify == "jaccard":
                        resembles = oracle.jaccard(sets[leader], sets[key]) >= config.verify_min
                    else:
                        resembles = oracle.estimate(oracle.sketch(signed[leader]), sketch) >= config.verify_min - 1e-9
                    if config.verify == "none" or resembles:
                        low, high = sorted([root(key), root(leader)])
                        parent[high] = low
                        break
                else:
                    if len(leaders) < 64:
                        leaders.append(key)
                    elif unmatched is not None:
                        unmatched.append(key)
    members = defaultdict(set)
    for key in signed:
        members[root(key)].add(key)
    return {frozenset(keys) for keys in members.values() if len(keys) > 1}


@pytest.mark.parametrize(
    "config",
    [
        {"bands": 20, "rows": 2, "ngram": 2, "verify_min": 0.5},
        {"bands": 20, "rows": 2, "ngram": 2, "verify": "none"},
        {"bands": 10, "rows": 3, "ngram": 3, "unit": "characters", "verify_min": 0.7, "seed": 9},
        {"bands": 20, "rows": 2, "ngram": 2, "verify_min": 0.5, "verify": "jaccard"},
        {"bands": 30, "rows": 1, "unit": "characters", "verify": "jaccard", "shingles": 1000},
    ],
    ids=["verified", "unverified", "characters", "true similarity", "true similarity of characters"],
)
def test_clusters_equal_brute_force_whatever_the_slicing(config: dict[str, Any]) -> None:
    table = similar_texts().select(["doc_key", "text"])
    expected = brute_force(table, MinHashConfig(**config))
    assert len(expected) > 3

    @settings(max_examples=5, suppress_health_check=list(HealthCheck))
    @given(splits(len(table)))
    def equal(split: Any) -> None:
        assert clusters(run_stage(make_stage(MinHash, config), table, split)) == expected

    equal()


def test_verification_changes_the_clusters_of_the_brute_force_case() -> None:
    table = similar_texts().select(["doc_key", "text"])
    config = {"bands": 20, "rows": 2, "ngram": 2}
    assert clusters(run(table, **config, verify="none")) != clusters(run(table, **config, verify_min=0.5))


def test_a_document_joins_the_first_leader_in_order_of_doc_key() -> None:
    words = [chr(97 + i // 26) + chr(97 + i % 26) for i in range(100)]
    base = words[:40]
    # left and right share 3/4 with the middle and 1/2 with each other.
    left, right = base[:30] + words[50:60], base[10:] + words[60:70]
    table = documents([" ".join(base), " ".join(left), " ".join(right)])
    for order in ([0, 1, 2], [1, 0, 2], [1, 2, 0], [2, 1, 0]):
        keys = pa.array(sorted(table["doc_key"].to_pylist()), table["doc_key"].type)
        placed = table.set_column(0, "doc_key", keys.take(pa.array(np.argsort(order))))
        config = {"bands": 112, "rows": 1, "ngram": 1, "verify_min": 0.5}
        assert clusters(run(placed, **config)) == brute_force(placed, MinHashConfig(**config))


# The similarity to the keeper.


@pytest.mark.parametrize("keeper", ["lowest", "longest"])
@pytest.mark.parametrize("verify", ["sketch", "none", "jaccard"])
def test_the_witness_of_a_duplicate_ends_with_its_similarity_to_the_keeper(keeper: str, verify: str) -> None:
    table = similar_texts().select(["doc_key", "text"])
    config = MinHashConfig(bands=20, rows=2, ngram=2, verify_min=0.5, verify=verify, keeper=keeper)
    texts = dict(zip(table["doc_key"].to_pylist(), table["text"].to_pylist(), strict=True))

    def similarity(one: bytes, other: bytes) -> float:
        a, b = (oracle.words(texts[key]) for key in (one, other))
        if verify == "jaccard":
            return oracle.jaccard(*(oracle.shingles(units, config.ngram, config.seed) for units in (a, b)))
        signed = (oracle.signature(units, config.ngram, config.lanes, config.seed) for units in (a, b))
        return max(0.0, oracle.estimate(*(oracle.sketch(row) for row in signed)))

    found = {}
    for key, row in run_stage(make_stage(MinHash, config.model_dump()), table, whole(len(table))).decisions.items():
        if row["port"] == DROPPED:
            witness, _, said = row["witness"].partition(":")
            assert said.startswith("~") == (verify != "jaccard")
            found[key] = float(said.removeprefix("~")), similarity(key, bytes.fromhex(witness))
    assert len(found) > 10 and len({told for told, _ in found.values()}) > 5
    assert all(abs(told - expected) <= 0.0005001 for told, expected in found.values())


def test_the_similarity_of_a_set_that_was_cut_off_is_an_estimate() -> None:
    words = [chr(97 + i // 26) + chr(97 + i % 26) for i in range(100)]
    table = documents([" ".join(words), " ".join(words[:95]), "another page", "another page"])
    result = run(table, ngram=1, bands=30, rows=1, verify="jaccard", shingles=50)
    said = sorted(row["witness"].partition(":")[2] for row in result.decisions.values() if row["port"] == DROPPED)
    assert said[0] == "1.000" and said[1].startswith("~0.9")


def test_the_similarity_can_be_left_out() -> None:
    table = family()
    found = [row["witness"] for row in run(table, similarity=False).decisions.values() if row["port"] == DROPPED]
    assert {len(witness) for witness in found} == {32}


# Recall and precision as the theory has them.


def spelt(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def planted(pairs: int, words: int, changed: int, seed: int) -> tuple[list[str], list[float]]:
    """Pairs of texts, one after the other, and their true Jaccard similarities over shingles of 5 words."""
    draw = np.random.default_rng(seed)
    texts, truth = [], []
    for _ in range(pairs):
        numbers = draw.integers(0, 10**9, words).tolist()
        other = list(numbers)
        for place in draw.choice(words, changed, replace=False):
            other[place] = int(draw.integers(10**9, 2 * 10**9))
        both = [{tuple(n[i : i + 5]) for i in range(words - 4)} for n in (numbers, other)]
        texts += [" ".join(map(spelt, numbers)), " ".join(map(spelt, other))]
        truth.append(len(both[0] & both[1]) / len(both[0] | both[1]))
    return texts, truth


def chance_of_an_edge(s: float, bands: int, rows: int, required: int) -> float:
    """Probability that some band matches and at least `required` sketch lanes are equal, lanes being independent."""
    equal = s + (1 - s) / 16
    band = np.array([_binomial(rows, k, equal) for k in range(rows + 1)])
    unmatched = band.copy()
    unmatched[rows] -= s**rows
    every, none = np.ones(1), np.ones(1)
    for _ in range(bands):
        every, none = np.convolve(every, band), np.convolve(none, unmatched)
    return float(every[required:].sum() - none[required:].sum())


def _binomial(n: int, k: int, p: float) -> float:
    from math import comb

    return comb(n, k) * p**k * (1 - p) ** (n - k)


@pytest.mark.parametrize("changed", [2, 4, 6])
@pytest.mark.parametrize("verify", ["none", "sketch", "jaccard"])
def test_recall_is_that_of_the_theory(changed: int, verify: str) -> None:
    pairs = 400
    texts, truth = planted(pairs, 120, changed, seed=changed)
    table = documents(texts)
    result = run(table, verify=verify)
    keys = table["doc_key"].to_pylist()
    found = 0
    for pair in range(pairs):
        labels = [result.keyed.get(keys[2 * pair + k], {}).get("label") for k in (0, 1)]
        found += labels[0] is not None and labels[0] == labels[1]
    required = required_equal(112, 0.65) if verify == "sketch" else 0
    if verify == "jaccard":
        truth = [s if s >= 0.65 else 0.0 for s in truth]
    chances = np.array([chance_of_an_edge(s, 14, 8, required) for s in truth])
    if verify != "sketch":
        assert np.allclose(chances, 1 - (1 - np.array(truth) ** 8) ** 14)
    spread = np.sqrt((chances * (1 - chances)).sum())
    assert abs(found - chances.sum()) < 5 * max(spread, 1.0)
    assert len(clusters(result)) == found, "documents of different pairs were connected"


# Keepers and decisions.


def family(**columns: Any) -> pa.Table:
    """Five equal texts and one apart."""
    texts = ["one page that was copied often, word by word"] * 5 + ["something else altogether, on its own page"]
    return documents(texts, **columns)


def kept(result: Result, table: pa.Table) -> set[int]:
    keys = table["doc_key"].to_pylist()
    return {row for row, key in enumerate(keys) if result.decisions[key]["port"] != DROPPED}


def lowest(table: pa.Table, rows: list[int]) -> int:
    keys = table["doc_key"].to_pylist()
    return min(rows, key=lambda row: keys[row])


def test_the_lowest_doc_key_is_kept() -> None:
    table = family()
    result = run(table)
    keeper = lowest(table, list(range(5)))
    assert kept(result, table) == {keeper, 5}
    keys = table["doc_key"].to_pylist()
    row = next(iter(set(range(5)) - {keeper}))
    dropped = result.decisions[keys[row]]
    assert dropped["witness"] == f"{keys[keeper].hex()}:~1.000"
    assert float.fromhex(dropped["value"]) == 5.0


def test_findings_say_cluster_and_size_for_every_member() -> None:
    table = family()
    stage = make_stage(MinHash, {})
    result = run(table)
    keys = table["doc_key"].to_pylist()
    label = min(keys[:5])
    expected = int.from_bytes(label[:8], "big") >> 1
    assert cluster_ids(key_words(pa.array([label], table["doc_key"].type))).tolist() == [expected]
    for row in range(5):
        assert result.decisions[keys[row]]["column minhash_cluster_id"] == expected
        assert result.decisions[keys[row]]["column minhash_cluster_size"] == 5
    assert result.decisions[keys[5]]["column minhash_cluster_id"] == -1
    assert result.decisions[keys[5]]["column minhash_cluster_size"] == 1
    assert stage.spec.findings.names == ["minhash_cluster_id", "minhash_cluster_size"]


@pytest.mark.parametrize(
    ("config", "columns", "keeper"),
    [
        ({"keeper": {"best": "score"}}, {"score": [0.1, None, 0.9, float("nan"), -3.0, 99.0]}, 2),
        ({"keeper": {"best": "score"}}, {"score": [-5, None, -2, -3, -4, 99]}, 2),
        ({"keeper": {"best": "score"}}, {"score": [-0.5, -0.25, -1e-9, float("-inf"), None, 9.0]}, 2),
        (
            {"keeper": "newest"},
            {"date": ["2020-01-01", "2024-05-18T05:23:54Z", "2024-05-18T08:23:55+02:00", "n.d.", None, "2030-01-01"]},
            2,
        ),
        ({"keeper": {"newest": "seen"}}, {"seen": pa.array([5, 7, 6, None, 1, 9], pa.timestamp("s"))}, 1),
        ({"keeper": {"source_order": ["wiki", "books"]}}, {"source": ["web", "books", None, "wiki", "web", "wiki"]}, 3),
        ({"keeper": {"source_order": ["b"], "column": "dump"}}, {"dump": ["a", "a", "a", "a", "b", "b"]}, 4),
        (
            {"prefer_unmarked": ["quality"]},
            {"quality_failed": pa.array([["x"], ["x"], ["x"], [], ["y"], ["x"]], pa.list_(pa.string()))},
            3,
        ),
        (
            {"prefer_unmarked": True, "keeper": {"best": "score"}},
            {
                "quality_failed": pa.array([["x"], [], [], ["x"], ["y"], []], pa.list_(pa.string())),
                "score": [9.0, 1.0, 2.0, 8.0, 7.0, 9.0],
            },
            2,
        ),
    ],
)
def test_the_keeper_follows_the_policy(config: dict[str, Any], columns: dict[str, Any], keeper: int) -> None:
    table = family(**columns)
    assert kept(run(table, **config), table) == {keeper, 5}


def test_the_longest_text_is_kept() -> None:
    texts = [f"one page that was copied often, word by word{'!' * row}" for row in (3, 9, 0, 7)]
    table = documents(texts)
    assert kept(run(table, keeper="longest"), table) == {1}


def test_equal_ranks_are_decided_by_doc_key() -> None:
    table = family(score=[1.0, 2.0, 2.0, 2.0, 0.0, 9.0])
    assert kept(run(table, keeper={"best": "score"}), table) == {lowest(table, [1, 2, 3]), 5}


def test_a_keeper_column_of_another_type_is_refused_by_name() -> None:
    for config, column in (({"best": "score"}, "score"), ({"newest": "seen"}, "seen")):
        table = family(**{column: [[1]] * 6})
        with pytest.raises(ContractError, match=f"`{column}`"):
            run(table, keeper=config)


# Scope.


def test_documents_are_compared_within_a_scope_only() -> None:
    table = family(language=["por", "por", "deu", None, None, "por"], language_script=["Latn"] * 6)
    found = clusters(run(table, within="language"))
    keys = table["doc_key"].to_pylist()
    assert found == {frozenset(keys[0:2]), frozenset(keys[3:5])}
    assert found == clusters(run(table, within=["language", "language_script"]))
    assert len(next(iter(clusters(run(table))))) == 5


def test_a_scope_of_floats_is_refused() -> None:
    with pytest.raises(ContractError, match="`score`"):
        run(family(score=[0.5] * 6), within="score")


# Reports.


def test_the_report_counts_clusters_and_lists_the_largest_with_examples() -> None:
    texts = ["the first page of a large family"] * 6 + ["the second page of a small one"] * 2 + ["on its own it stands"]
    table = documents(texts)
    report = run(table, report_size=3).report
    keys = sorted(table["doc_key"].to_pylist()[:6])
    assert (report["clusters"], report["duplicates"]) == (2, 6)
    assert report["sizes"] == [
        {"from": 2, "to": 3, "clusters": 1, "documents": 2},
        {"from": 4, "to": 7, "clusters": 1, "documents": 6},
    ]
    assert report["largest"] == [{"size": 6, "lowest": keys[0].hex(), "members": [key.hex() for key in keys[:3]]}]


def test_retention_is_counted_for_every_source() -> None:
    table = family(source=["a", "a", "a", "b", "b", "b"])
    table = pa.concat_tables([table, documents(["— no words —"] * 1, source=["c"]).slice(0, 0)])
    result = run(table, per_source="source", keeper={"source_order": ["b"]})
    rows = {row["source"]: (row["entered"], row["removed"]) for row in result.report["sources"]}
    assert rows == {"a": (3, 3), "b": (3, 1)}


def test_documents_without_words_count_as_having_entered() -> None:
    table = documents(["?", "one page of text", "one page of text"], source=["a", "a", "a"])
    assert run(table, per_source="source").report["sources"][0]["entered"] == 3


def test_a_source_that_loses_too_much_stops_the_run() -> None:
    table = family(source=["a", "a", "a", "b", "b", "b"])
    config = {"per_source": "source", "keeper": {"source_order": ["b"]}}
    run(table, **config, max_removed_per_source=1.0)
    with pytest.raises(DataError, match=r"'a' 3 of 3"):
        run(table, **config, max_removed_per_source=0.9)


# Bad input.


def test_a_corpus_of_equal_documents_is_one_cluster() -> None:
    table = documents(["the same page again and again"] * 300)
    result = run(table)
    assert len(kept(result, table)) == 1
    assert (result.report["clusters"], result.report["duplicates"]) == (1, 299)


def test_documents_of_punctuation_only_are_never_duplicates() -> None:
    table = documents(["!!!", "!!!", "…", "", " \n", "©®™"])
    result = run(table)
    assert kept(result, table) == set(range(6))
    assert result.report["clusters"] == 0


def test_short_documents_are_duplicates_when_all_their_words_agree() -> None:
    table = documents(["Thank you!", "thank you", "thank you so", "you thank"])
    assert len(kept(run(table), table)) == 3


def test_null_text_is_a_document_without_words() -> None:
    table = documents([None, None, "one page"])
    assert kept(run(table), table) == {0, 1, 2}


def test_beyond_the_leaders_a_bucket_is_reported_and_nothing_is_joined_wrongly() -> None:
    # One common word of two: where it is the least, all share a bucket.
    texts = [f"common {spelt(number)}" for number in range(400)]
    table = documents(texts)
    result = run(table, bands=16, rows=1, ngram=1, verify_min=0.95)
    crowded = result.report["crowded"]
    assert crowded["buckets"] > 0
    unmatched: list[bytes] = []
    config = MinHashConfig(bands=16, rows=1, ngram=1, verify_min=0.95)
    assert clusters(result) == brute_force(table, config, unmatched)
    assert crowded["unmatched"] == len(unmatched) > 0
    assert [row["unmatched"] for row in crowded["most"]] == sorted(
        (row["unmatched"] for row in crowded["most"]), reverse=True
    )


def test_a_run_without_documents_settles_to_nothing() -> None:
    stage = make_stage(MinHash, {})
    batch = documents(["?"])
    notes = stage.survey(batch, StageContext())
    assert notes.num_rows == 0
    assert notes.schema.names == ["doc_key", "buckets", "sketch"]


# Config.


def test_a_threshold_chooses_bands_and_rows_as_datasketch_does() -> None:
    config = MinHashConfig(threshold=0.8, permutations=128)
    assert (config.bands, config.rows) == bands_and_rows(0.8, 128) == (9, 13)
    assert "9 bands of 13 rows" in next(iter(MinHash(config).spec.notices))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"threshold": 0.8, "bands": 20}, "leave one of them out|Leave one of them out"),
        ({"bands": 1000, "rows": 1000}, "at most 4096 permutations"),
        ({"bands": 0}, "greater than or equal to 1"),
        ({"verify": "jacard"}, "'sketch', 'jaccard' or 'none'"),
        ({"verify": "jaccard", "shingles": 0}, "give it a number"),
        ({"max_removed_per_source": 0.5}, "per_source"),
        ({"threshold": 1.5}, "less than 1"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_allowed(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MinHashConfig(**config)


@given(st.integers(1, 2**63 - 1))
def test_another_seed_gives_other_buckets(seed: int) -> None:
    batch = documents(["one page of text that is long enough"])
    one = make_stage(MinHash, {"seed": 0}).survey(batch, StageContext())["buckets"][0]
    assert one != make_stage(MinHash, {"seed": seed}).survey(batch, StageContext())["buckets"][0]


@pytest.mark.parametrize(("bands_at_once", "waves"), [(1, 14), (3, 5), (14, 1)])
def test_waves_of_bands_follow_the_disk_and_change_nothing(
    monkeypatch: pytest.MonkeyPatch, bands_at_once: int, waves: int
) -> None:
    seen, buckets = [], []
    group, recurring = FileExchange.group, FileExchange.recurring

    def found_by(self: FileExchange, *arguments: Any) -> Any:
        found = recurring(self, *arguments)
        assert found is not None
        buckets.append(found[1])
        return found

    monkeypatch.setattr(FileExchange, "recurring", found_by)
    expected = run(similar_texts())

    def counted(self: FileExchange, *arguments: Any, **options: Any) -> Any:
        seen.append(options.get("prepare_params"))
        return group(self, *arguments, **options)

    monkeypatch.setattr(FileExchange, "group", counted)
    # Rows with a sketch take 84 bytes, and a third of the disk may be used: two rounds hold them twice.
    free = 3 * 84 * -(-buckets[0] // 14) * bands_at_once
    monkeypatch.setattr("gristmill.pipeline.exchange.shuffle_driver.free_bytes", lambda folder: free)
    found = run(similar_texts())
    assert sum(1 for params in seen if params and "first" in params) == waves
    assert found.keyed == expected.keyed and found.decisions == expected.decisions
