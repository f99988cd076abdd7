"""Mixing as a stage: amounts met to within one document, draws, two forms of output, phases, bad input."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.errors import ConfigError, DataError
from gristmill.pipeline.exchange import Rows
from gristmill.pipeline.exchange.file_exchange import FileExchange
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.stage import DROPPED, QUARANTINED, Decisions, Settled, SettledView, StageContext
from gristmill.pipeline.testing import doc_key_column
from gristmill.stages.rebalancing.kernels.steps import copies_below, position
from gristmill.stages.rebalancing.mix import Mix, MixConfig
from gristmill.stages.rebalancing.tokens import bytes_per_token, estimate_tokens
from tests.pipeline.toy_runs import rows_of, run, shards


def make(**config: Any) -> Mix:
    return Mix(MixConfig.model_validate_json(json.dumps(config), strict=True))


def corpus(sizes: Mapping[str, int], seed: int = 1, **more: Any) -> pa.Table:
    """`sizes` documents of each source, mixed."""
    names = np.repeat(list(sizes), list(sizes.values()))
    order = np.random.default_rng(seed).permutation(len(names))
    table = pa.table(
        {"doc_key": doc_key_column(len(names), seed), "source": pa.array(names[order].tolist(), pa.string())}
    )
    for name, values in more.items():
        table = table.append_column(name, pa.array(values))
    return table


def settle(stage: Mix, batch: pa.Table, folder: Path) -> Settled:
    notes = stage.survey(batch, StageContext()).append_column(
        "task", pa.array([0] * len(stage.survey(batch, StageContext())), pa.int32())
    )
    path = folder / "notes.arrow"
    with pa.ipc.new_file(str(path), notes.schema) as writer:
        writer.write_table(notes)
    return stage.settle(
        Rows((str(path),), notes.schema, len(notes)),
        FileExchange(InlineExecutor(), folder / "exchange"),
        StageContext(),
    )


def mixed(stage: Mix, batch: pa.Table, folder: Path) -> tuple[Settled, Decisions]:
    settled = settle(stage, batch, folder)
    return settled, stage.decide(batch, SettledView(table=settled.broadcast), StageContext())


def emitted(decisions: Decisions, batch: pa.Table, amounts: np.ndarray | None = None) -> dict[str, int]:
    """Amount of the copies by source."""
    assert decisions.copies is not None
    copies = np.where(decisions.port >= 0, decisions.copies, 0)
    totals: Counter[str] = Counter()
    for source, number in zip(batch["source"].to_pylist(), copies * (1 if amounts is None else amounts), strict=True):
        totals[source] += int(number)
    return dict(totals)


def test_shares_follow_the_temperature_and_the_target_is_met_exactly(tmp_path: Path) -> None:
    batch = corpus({"web": 8000, "books": 1000, "code": 1000})
    settled, found = mixed(make(by=["source"], temperature="infinite", target=6000), batch, tmp_path)
    assert emitted(found, batch) == {"web": 2000, "books": 2000, "code": 2000}
    assert found.copies is not None
    # Books are read exactly twice: every document has two copies, since 2 − u rounds up to 2 for every draw u.
    books = np.array([source == "books" for source in batch["source"].to_pylist()])
    assert set(found.copies[books].tolist()) == {2}
    assert settled.report["groups"]["web"]["share_before"] == 0.8
    assert settled.report["groups"]["web"]["share_after"] == pytest.approx(1 / 3)
    assert settled.report["groups"]["web"]["epochs"] == 0.25


def test_what_is_left_out_and_what_is_repeated_say_why(tmp_path: Path) -> None:
    batch = corpus({"web": 300, "books": 20})
    _, found = mixed(make(by=["source"], fixed={"books": 0.3}, target=100), batch, tmp_path)
    assert (
        found.rule is not None and found.value is not None and found.threshold is not None and found.copies is not None
    )
    rules = [None if index < 0 else found.rules[index] for index in found.rule]
    assert {rule for rule, port in zip(rules, found.port, strict=True) if port == DROPPED} == {"not_drawn"}
    assert {rule for rule, copies in zip(rules, found.copies, strict=True) if copies > 1} == {"repeated"}
    # Anyone can compute the copies from the ledger: ceil(value − threshold).
    expected = np.ceil(found.value - found.threshold).astype(int)
    assert np.where(found.port == DROPPED, 0, found.copies).tolist() == expected.tolist()


@settings(max_examples=40)
@given(
    sizes=st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 60), min_size=1, max_size=5),
    share=st.floats(0.05, 3.0),
    temperature=st.sampled_from([0.7, 1.0, 3.0, "infinite"]),
    seed=st.integers(0, 5),
    unit=st.sampled_from(["documents", "bytes"]),
)
def test_every_budget_is_met_to_within_one_document(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: dict[str, int],
    share: float,
    temperature: Any,
    seed: int,
    unit: str,
) -> None:
    draw = np.random.default_rng(seed)
    rows = sum(sizes.values())
    amount = draw.integers(0, 500, rows) if unit == "bytes" else np.ones(rows, np.int64)
    repeats = draw.integers(1, 5, rows)
    batch = corpus(sizes, seed, bytes=amount, repeats=repeats)
    target = max(1, int(share * (amount * repeats).sum()))
    options = {"amount": "bytes", "unit": "bytes"} if unit == "bytes" else {}
    stage = make(by=["source"], temperature=temperature, target=target, max_epochs=None, seed=seed, **options)
    if not (amount * repeats).sum():
        return
    folder = tmp_path_factory.mktemp("mix")
    settled, found = mixed(stage, batch, folder)
    got = emitted(found, batch, amount)
    groups = settled.report["groups"]
    assert sum(group["wanted"] for group in groups.values()) == target
    for name, group in groups.items():
        mine = amount[np.array([source == name for source in batch["source"].to_pylist()])]
        assert abs(got[name] - group["wanted"]) <= int(mine.max(initial=0)) / 2
    if unit == "documents":
        assert got == {name: group["wanted"] for name, group in groups.items()}
        assert sum(got.values()) == target


def test_among_huge_documents_the_nearest_amount_is_taken(tmp_path: Path) -> None:
    amount = np.r_[np.full(999, 10), 50_000_000]
    batch = corpus({"web": 1000}, bytes=amount)
    _, found = mixed(make(by=["source"], unit="bytes", amount="bytes", target=5000), batch, tmp_path)
    # The huge document is drawn at 0.35: what comes before it is 3,460 bytes, and with it there are 50 million more.
    assert emitted(found, batch, amount)["web"] == 3460
    got = []
    for seed in range(8):
        _, found = mixed(make(by=["source"], unit="bytes", amount="bytes", target=5000, seed=seed), batch, tmp_path)
        got.append(emitted(found, batch, amount)["web"])
    assert max(got) == 5000, got


def test_draws_depend_on_the_seed_and_not_on_the_order(tmp_path: Path) -> None:
    batch = corpus({"web": 2000})
    order = np.random.default_rng(3).permutation(2000)
    shuffled = batch.take(pa.array(order)).combine_chunks()
    _, one = mixed(make(by=["source"], target=700, seed=1), batch, tmp_path)
    _, two = mixed(make(by=["source"], target=700, seed=1), shuffled, tmp_path)
    _, other = mixed(make(by=["source"], target=700, seed=2), batch, tmp_path)
    assert one.port[order].tolist() == two.port.tolist()
    assert one.port.tolist() != other.port.tolist()


@given(st.floats(0, 20), st.floats(0, 1, exclude_max=True), st.integers(1, 10))
def test_copies_are_the_positions_below_the_factor(factor: float, draw: float, repeats: int) -> None:
    expected = sum(position(k, draw, float(repeats)) < factor for k in range(1, 300))
    assert copies_below(factor, draw, float(repeats)) == expected


def test_base_repeats_count_as_documents(tmp_path: Path) -> None:
    batch = corpus({"web": 400}, repeats=np.tile([1, 3], 200))
    settled, found = mixed(make(by=["source"]), batch, tmp_path)
    assert found.copies is not None
    assert settled.report["target"] == 800 and found.copies.tolist() == [1, 3] * 200
    _, half = mixed(make(by=["source"], target=400), batch, tmp_path)
    kept = np.where(half.port >= 0, half.copies, 0).reshape(-1, 2).sum(axis=0)
    assert kept.sum() == 400 and kept[1] == pytest.approx(300, abs=30)


def test_columns_hold_whole_copies_and_their_expectation(tmp_path: Path) -> None:
    batch = corpus({"web": 300, "books": 20})
    config = {"by": ["source"], "fixed": {"books": 0.3}, "target": 100}
    rows, columns = make(**config), make(**config, form="columns")
    assert rows.spec.emits_copies and not columns.spec.emits_copies
    settled, one = mixed(rows, batch, tmp_path)
    found = columns.decide(batch, SettledView(table=settled.broadcast), StageContext())
    assert found.port.tolist() == one.port.tolist() and found.copies is not None and set(found.copies.tolist()) == {1}
    assert one.copies is not None
    repeats = found.columns["repeats"].to_pylist()
    assert repeats == [int(c) if p >= 0 else None for c, p in zip(one.copies, one.port, strict=True)]
    weight = np.array([value or 0.0 for value in found.columns["weight"].to_pylist()])
    books = np.array([source == "books" for source in batch["source"].to_pylist()])
    assert set(weight[books].tolist()) == {1.5}


def test_rows_that_cannot_be_counted_are_set_aside(tmp_path: Path) -> None:
    batch = corpus({"web": 5}, repeats=pa.array([1, 0, None, 1, 1]), tokens=pa.array([5, 5, 5, None, -2]))
    stage = make(by=["source"], unit="tokens", amount="tokens")
    _, found = mixed(stage, batch, tmp_path)
    assert found.rule is not None
    assert found.port.tolist() == [0, QUARANTINED, 0, QUARANTINED, QUARANTINED]
    assert [found.rules[index] for index in found.rule[[1, 3, 4]]] == [
        "invalid_repeats",
        "invalid_amount",
        "invalid_amount",
    ]


def test_a_target_larger_than_the_data_allows_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at most 40 of them .10 read once.* a target of 40 documents"):
        settle(make(by=["source"], target=41), corpus({"web": 10}), tmp_path)


def test_a_group_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="`fixed.book` .* did you mean `books`"):
        settle(make(by=["source"], fixed={"book": 0.1}), corpus({"web": 10, "books": 1}), tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"temperature": 0.0}, "above 0"),
        ({"temperature": "hot"}, "infinite"),
        ({"target": 0}, "greater than or equal to 1"),
        ({"amount": "tokens"}, "goes with `unit: tokens`"),
        ({"tokenizer": "t.json"}, "goes with `unit: tokens`"),
        ({"unit": "bytes", "tokenizer": "t.json"}, "`tokenizer` goes with"),
        ({"max_epochs": 0.0}, "greater than 0"),
        ({"form": "both"}, "rows"),
    ],
)
def test_senseless_settings_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**config)


# Tokens


def test_tokens_are_estimated_by_language_then_script(tmp_path: Path) -> None:
    assert bytes_per_token("eng", "Latn") == 500 and bytes_per_token("xxx", "Thai") == 697
    assert bytes_per_token("", "") == bytes_per_token("xxx", "Xxxx") == 287
    texts = ["a" * 1000, "a" * 1000, "", "b"]
    batch = pa.table(
        {
            "text": pa.array(texts, pa.large_string()),
            "language": ["eng", "xxx", "eng", None],
            "language_script": ["Latn", "Thai", "Latn", None],
        }
    )
    assert estimate_tokens(batch).to_pylist() == [200, 143, 0, 1]
    assert estimate_tokens(batch.select(["text"])).to_pylist() == [348, 348, 0, 1]


def test_an_estimate_is_never_called_a_count() -> None:
    estimated = make(unit="tokens")
    assert estimated.spec.signals.names == ["token_count_estimate"]
    assert any("estimated from bytes" in line for line in estimated.spec.notices)
    counted = make(unit="tokens", tokenizer="tokenizer.json")
    assert counted.spec.signals.names == ["token_count"] and list(counted.spec.notices) == []


def test_a_tokenizer_file_counts_tokens(tmp_path: Path) -> None:
    import tokenizers

    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"the": 0, "cat": 1, "?": 2}, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.enable_truncation(2)
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    stage = make(unit="tokens", tokenizer=str(path))
    stage.check_files()
    assert stage.spec.models == {"tokenizer": path}
    batch = pa.table({"text": pa.array(["the cat the dog", "", None], pa.large_string())})
    assert stage.measure(batch, StageContext())["token_count"].to_pylist() == [4, 0, 0]


def test_a_broken_tokenizer_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a tokenizer"):
        make(unit="tokens", tokenizer=str(tmp_path / "none.json")).check_files()


# Whole runs

PHASES = """
name: phases
seed: 1
sources:
  s: {{format: parquet, paths: ["{root}/in/*.parquet"], license: {{spdx: CC0-1.0, stated_by: author}}}}
stages:
  length: {{least: 1, mark: true}}
  rebalance: {{rates: {{observe: length, marked_by: length}}, exact: true, form: columns}}
  bulk: {{use: mix, from: rebalance, by: [source], temperature: 5, target: 300, seed: 1}}
  last: {{use: mix, from: rebalance, by: [source], fixed: {{books: 0.5}}, target: 50, seed: 2}}
outputs:
  bulk: {{path: "{out}/bulk", from: bulk}}
  last: {{path: "{out}/last", from: last}}
"""


def test_phases_are_outputs_of_their_own_from_one_mix(tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    (tmp_path / "in").mkdir()
    for file in range(3):
        table = pa.table(
            {
                "id": [f"d{file}-{row}" for row in range(100)],
                "text": [f"text {file} {row}" for row in range(100)],
                "source": draw.choice(["web", "books"], 100, p=[0.85, 0.15]).tolist(),
                "minhash_cluster_size": draw.integers(1, 4, 100),
            }
        )
        pq.write_table(table, tmp_path / "in" / f"part-{file}.parquet")
    found = []
    for order in (None, 5):
        out = tmp_path / f"out{order}"
        run(PHASES.format(root=tmp_path, out=out), InlineExecutor(order))
        found.append((shards(out / "bulk"), shards(out / "last")))
    assert found[0] == found[1]
    last = Counter(row["source"] for row in rows_of(out / "last"))
    assert last == {"books": 25, "web": 25}
    assert len(rows_of(out / "bulk")) == 300
    for name in ("bulk", "last"):
        audit = audit_output(str(out / name), full=True, sources=(), plugins=("toy_stages",))
        assert audit.exit_code == 0, audit.problems
