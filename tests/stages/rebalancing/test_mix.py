"""Mixing as a stage: amounts met to within one document, draws, two forms of output, phases, bad input."""

from __future__ import annotations

import json
import re
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
from gristmill.pipeline.exchange.row_files import read_batches
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.stage import DROPPED, QUARANTINED, Decisions, Settled, SettledView, StageContext
from gristmill.pipeline.testing import doc_key_column
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


def view(settled: Settled, batch: pa.Table) -> SettledView:
    """The answer as the task of a batch gets it."""
    assert settled.keyed is not None
    before = {}
    for file in settled.keyed.files:
        for rows in read_batches(file, settled.keyed.schema):
            before.update(zip(rows["doc_key"].to_pylist(), rows["before"].to_pylist(), strict=True))
    column = pa.array([before.get(key) for key in batch["doc_key"].to_pylist()], pa.int64())
    return SettledView(columns=pa.table({"before": column}), table=settled.broadcast)


def mixed(stage: Mix, batch: pa.Table, folder: Path) -> tuple[Settled, Decisions]:
    settled = settle(stage, batch, folder)
    return settled, stage.decide(batch, view(settled, batch), StageContext())


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
    # Books are read exactly twice: every document has two copies.
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
    # Nothing but the budget asks for more of the books: they weigh 1.
    assert {rule for rule, copies in zip(rules, found.copies, strict=True) if copies > 1} == {"repeated_for_budget"}
    assert found.witness is not None
    witness = {text for text in found.witness.to_pylist() if text}
    assert witness == {"group web, factor 0.233333, weight 1", "group books, factor 1.5, weight 1"}
    # Anyone can compute the copies from the ledger: ⌊value + threshold⌋.
    expected = np.floor(found.value + found.threshold).astype(int)
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
    batch = corpus(sizes, seed, bytes=amount, weight=repeats)
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
        assert abs(got[name] - group["wanted"]) <= int(mine.max(initial=0))


def test_draws_depend_on_the_seed_and_not_on_the_order(tmp_path: Path) -> None:
    batch = corpus({"web": 2000})
    order = np.random.default_rng(3).permutation(2000)
    shuffled = batch.take(pa.array(order)).combine_chunks()
    _, one = mixed(make(by=["source"], target=700, seed=1), batch, tmp_path)
    _, two = mixed(make(by=["source"], target=700, seed=1), shuffled, tmp_path)
    _, other = mixed(make(by=["source"], target=700, seed=2), batch, tmp_path)
    assert one.port[order].tolist() == two.port.tolist()
    assert one.port.tolist() != other.port.tolist()


def test_base_repeats_count_as_documents(tmp_path: Path) -> None:
    batch = corpus({"web": 400}, weight=np.tile([1.0, 3.0], 200))
    settled, found = mixed(make(by=["source"]), batch, tmp_path)
    assert found.copies is not None
    assert settled.report["target"] == 800 and found.copies.tolist() == [1, 3] * 200
    _, half = mixed(make(by=["source"], target=400), batch, tmp_path)
    kept = np.where(half.port >= 0, half.copies, 0).reshape(-1, 2).sum(axis=0)
    assert kept.sum() == pytest.approx(400, abs=1) and kept[1] == pytest.approx(300, abs=30)


def test_no_document_is_read_more_often_than_max_epochs_behind_a_rebalancer(tmp_path: Path) -> None:
    batch = corpus({"web": 100}, weight=np.full(100, 4.0))
    with pytest.raises(DataError, match=r"at most 400 of them \(100 read once\).* a target of 400 documents"):
        settle(make(by=["source"], max_epochs=4.0, target=1600), batch, tmp_path)
    settled, found = mixed(make(by=["source"], max_epochs=4.0, target=400), batch, tmp_path)
    assert found.copies is not None and set(found.copies.tolist()) == {4}
    assert settled.report["exposure"] == {"4": {"documents": 100, "amount": 100}}


def test_the_cap_holds_for_each_document_and_the_budget_for_the_rest(tmp_path: Path) -> None:
    weight = np.tile([0.0, 0.5, 1.0, 3.0], 250)
    batch = corpus({"web": 1000}, weight=weight)
    settled, found = mixed(make(by=["source"], max_epochs=2.0, target=1400), batch, tmp_path)
    assert found.copies is not None
    copies = np.where(found.port >= 0, found.copies, 0)
    assert copies.max() == 2 and copies.sum() == pytest.approx(1400, abs=1)
    # 250 · (min(2, λ/2) + min(2, λ) + 2) = 1400, so λ = 2.4 in the first and the second is at its cap too.
    assert settled.report["groups"]["web"]["factor"] == pytest.approx(3.2)
    assert [copies[weight == w].mean() for w in (0.0, 0.5, 1.0, 3.0)] == pytest.approx([0, 1.6, 2, 2], abs=0.005)


def test_expectations_are_exact_over_seeds_and_each_document_gets_a_neighbour_of_its_own(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    weight, amount = draw.choice([0.3, 0.7, 1.0, 2.2], 60), draw.integers(1, 100, 60)
    batch = corpus({"web": 60}, bytes=amount, weight=weight)
    expected, total = np.zeros(60), np.zeros(60)
    for seed in range(400):
        folder = tmp_path / str(seed)
        folder.mkdir()
        stage = make(by=["source"], unit="bytes", amount="bytes", target=int(0.8 * amount.sum()), seed=seed)
        _, found = mixed(stage, batch, folder)
        assert found.value is not None and found.copies is not None
        copies = np.where(found.port >= 0, found.copies, 0)
        assert (np.abs(copies - found.value) < 1).all()
        assert abs((copies * amount).sum() - int(0.8 * amount.sum())) <= amount.max()
        expected, total = found.value, total + copies
    spread = np.sqrt(400 * (expected % 1) * (1 - expected % 1))
    assert (np.abs(total - 400 * expected) <= 4.5 * spread + 1e-6).all()


def test_what_earlier_phases_read_counts_against_max_epochs(tmp_path: Path) -> None:
    batch = corpus({"web": 400}, bulk=np.tile([0, 1, 2, 5], 100), last=np.tile([0, 0, 1, 0], 100))
    stage = make(by=["source"], seen=["bulk", "last"], max_epochs=3.0, target=400)
    settled, found = mixed(stage, batch, tmp_path)
    assert found.copies is not None
    copies = np.where(found.port >= 0, found.copies, 0).reshape(-1, 4)
    assert copies.sum(axis=0).tolist() == pytest.approx([200, 200, 0, 0], abs=1)
    assert settled.report["exposure"]["3"]["documents"] == 200
    with pytest.raises(DataError, match=r"at most 500 .*a target of 500 documents"):
        settle(make(by=["source"], seen=["bulk", "last"], max_epochs=3.0, target=600), batch, tmp_path)


def test_phases_in_a_row_share_one_cap(tmp_path: Path) -> None:
    batch = corpus({"web": 50, "books": 50})
    bulk = make(by=["source"], form="columns", keep_undrawn=True, name="bulk", target=120, max_epochs=2.0)
    _, first = mixed(bulk, batch, tmp_path)
    assert first.port.tolist() == [0] * 100 and list(first.columns) == ["bulk_repeats", "bulk_weight"]
    again = batch.append_column("bulk_repeats", first.columns["bulk_repeats"])
    (tmp_path / "last").mkdir()
    last = make(by=["source"], fixed={"books": 1.0}, seen="bulk_repeats", max_epochs=2.0, target=40, seed=3)
    _, second = mixed(last, again, tmp_path / "last")
    assert second.copies is not None
    both = first.columns["bulk_repeats"].to_numpy() + np.where(second.port >= 0, second.copies, 0)
    assert both.max() == 2 and both.sum() == pytest.approx(160, abs=2)


def test_ratios_of_a_search_are_met_as_far_as_the_cap_allows(tmp_path: Path) -> None:
    (tmp_path / "ratios.yaml").write_text("web: 3\nbooks: 2\nmaths: 5\n")
    batch = corpus({"web": 100, "books": 10})
    stage = make(by=["source"], ratios=str(tmp_path / "ratios.yaml"), target=100, max_epochs=1.5)
    settled, found = mixed(stage, batch, tmp_path)
    assert emitted(found, batch) == {"web": 30, "books": 15}
    assert settled.report["shortfall"] == {"books": 5, "maths": 50} and settled.report["target"] == 45
    (tmp_path / "ratios.yaml").write_text("code: 3\n")
    with pytest.raises(DataError, match="none of the 1 groups of `ratios` is in the data .books, web"):
        settle(stage, batch, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds NoneType"),
        ("- 1", "holds list"),
        ("a: x", "`a` is 'x'"),
        ("a: -1", "`a` is -1"),
        ("a: 0", "all ratios are 0"),
    ],
)
def test_a_file_that_holds_no_ratios_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "ratios.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        make(by=["source"], ratios=str(tmp_path / "ratios.yaml")).check_files()


def test_what_budgets_cost_is_reported(tmp_path: Path) -> None:
    batch = corpus({"web": 1000, "books": 100})
    report = settle(make(by=["source"], fixed={"books": 0.5}, target=800), batch, tmp_path).report
    books, web = report["groups"]["books"], report["groups"]["web"]
    assert (books["bound"], books["epochs"], books["repeated_for_budget"]) == ("fixed", 4.0, 300)
    # Muennighoff's U (1 + R* (1 − exp(−R / R*))) with R = 3.
    assert books["effective_amount"] == round(100 * (1 + 15.387756 * (1 - np.exp(-3 / 15.387756)))) == 373
    assert books["price_of_bound"] == pytest.approx(1 - np.exp(-3 / 15.387756), abs=1e-6)
    assert "bound" not in web and web["effective_amount"] == 400 and report["effective_amount"] == 773


def told(found: Decisions) -> pa.Table:
    """A ledger's rows about what is left out or repeated."""
    assert found.rule is not None and found.witness is not None and found.copies is not None
    assert found.value is not None and found.threshold is not None
    rows = np.flatnonzero(found.rule >= 0)
    dropped = found.port[rows] == DROPPED
    return pa.table(
        {
            "decision": np.where(dropped, "dropped", "emitted").tolist(),
            "rule": [found.rules[rule] for rule in found.rule[rows].tolist()],
            "value": found.value[rows],
            "threshold": found.threshold[rows],
            "copies": np.where(dropped, 0, found.copies[rows]),
            "witness": found.witness.take(pa.array(rows)),
        }
    )


def test_an_audit_can_recompute_copies_from_the_ledger(tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    batch = corpus({"web": 300, "books, new": 20}, weight=draw.uniform(0, 3, 320), bulk=draw.integers(0, 3, 320))
    stage = make(by=["source"], fixed={"books, new": 0.2}, seen="bulk", target=200)
    settled, found = mixed(stage, batch, tmp_path)
    sound = told(found)
    assert len(sound) > 100 and list(stage.recheck(sound)) == []
    for name, value, message in (
        ("copies", 3, "3 copies; .* make 0"),
        ("value", 1.7, "1.700000 copies expected; factor, weight and cap of its witness make"),
        ("witness", "group web, factor 9.9, weight 1.5", "copies expected; factor"),
        ("witness", "because", "expected group, factor and weight"),
        ("threshold", float("inf"), "expected numbers"),
        ("value", None, "expected numbers"),
    ):
        row = next(
            at for at, one in enumerate(sound.to_pylist()) if one["rule"] == "not_drawn" and 0.05 < one["value"] < 0.3
        )
        values = sound[name].to_pylist()
        values[row] = value
        if name == "copies":
            sound_or_not = sound.set_column(0, "decision", pa.array(["emitted"] * len(sound)))
        else:
            sound_or_not = sound
        forged = sound_or_not.set_column(sound.column_names.index(name), name, pa.array(values, sound[name].type))
        problems = [text for at, text in stage.recheck(forged) if at == row]
        assert any(re.search(message, text) for text in problems), (name, problems)
    amounts = {name: group["wanted"] for name, group in settled.report["groups"].items()}
    assert settled.report["promised"] == {f"amount.{name}": [n - 1, n + 1] for name, n in sorted(amounts.items())}


def test_columns_hold_whole_copies_and_their_expectation(tmp_path: Path) -> None:
    batch = corpus({"web": 300, "books": 20})
    config = {"by": ["source"], "fixed": {"books": 0.3}, "target": 100}
    rows, columns = make(**config), make(**config, form="columns")
    assert rows.spec.emits_copies and not columns.spec.emits_copies
    settled, one = mixed(rows, batch, tmp_path)
    found = columns.decide(batch, view(settled, batch), StageContext())
    assert found.port.tolist() == one.port.tolist() and found.copies is not None and set(found.copies.tolist()) == {1}
    assert one.copies is not None
    repeats = found.columns["repeats"].to_pylist()
    assert repeats == [int(c) if p >= 0 else None for c, p in zip(one.copies, one.port, strict=True)]
    weight = np.array([value or 0.0 for value in found.columns["weight"].to_pylist()])
    books = np.array([source == "books" for source in batch["source"].to_pylist()])
    assert set(weight[books].tolist()) == {1.5}


def test_rows_that_cannot_be_counted_are_set_aside(tmp_path: Path) -> None:
    batch = corpus(
        {"web": 5},
        weight=pa.array([1.0, -0.5, None, 1.0, 1.0]),
        tokens=pa.array([5, 5, 5, None, -2]),
        bulk=[0, 0, 0, 0, 0],
    )
    stage = make(by=["source"], unit="tokens", amount="tokens", seen="bulk")
    _, found = mixed(stage, batch, tmp_path)
    assert found.rule is not None
    assert found.port.tolist() == [0, QUARANTINED, 0, QUARANTINED, QUARANTINED]
    assert [found.rules[index] for index in found.rule[[1, 3, 4]]] == [
        "invalid_weight",
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
        ({"keep_undrawn": True}, "goes with `form: columns`"),
        ({"margins": {"domain": {"x": 0.5}}}, "it is not among the columns `by`"),
        ({"by": ["domain"], "margins": {"domain": {"x": 0.5}}, "fixed": {"x": 0.5}}, "take out `fixed`"),
        ({"ratios": "r.json", "temperature": 2.0}, "take out `temperature`"),
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


CHAINED = """
  plan_bulk: {{use: mix, from: rebalance, by: [source], temperature: 5, target: 300, form: columns, keep_undrawn: true,
              name: bulk}}
  plan_last: {{use: mix, by: [source], fixed: {{books: 0.5}}, target: 90, seed: 2, form: columns, keep_undrawn: true,
              name: last, seen: bulk_repeats, max_epochs: 4}}
  bulk: {{use: replicate, from: plan_last, by: bulk_repeats}}
  last: {{use: replicate, from: plan_last, by: last_repeats}}
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
    lines = PHASES.splitlines()
    chained = "\n".join([*(line for line in lines if "use: mix" not in line)]).replace(
        "outputs:", CHAINED.strip("\n") + "\noutputs:"
    )
    run(chained.format(root=tmp_path, out=tmp_path / "chained"), InlineExecutor())
    seen: Counter[str] = Counter()
    for name in ("bulk", "last"):
        assert (
            audit_output(str(tmp_path / "chained" / name), full=True, sources=(), plugins=("toy_stages",)).exit_code
            == 0
        )
        seen.update(row["id"] for row in rows_of(tmp_path / "chained" / name))
    assert sum(seen.values()) == pytest.approx(390, abs=4) and max(seen.values()) <= 4
