"""The engine end to end with toy stages: equal results everywhere, nothing lost, nothing half-written."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.errors import ConfigError, ConservationError, DataError, StorageError
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.provenance.statement import manifest_digest, read_manifest
from gristmill.pipeline.provenance.values import to_json
from gristmill.pipeline.running.engine import work_folder
from gristmill.pipeline.writing.parquet import read_log
from tests.pipeline.toy_runs import GRAPH, plan_of, rows_of, run, shards, write_corpus

SIMPLE = """
name: simple
sources: {{s: {{format: parquet, paths: ["{root}/in/*.parquet"]}}}}
stages: {stages}
outputs: {{corpus: {{path: "{root}/out"}}}}
"""


def expected_outputs(records: list[dict[str, str]], keys: dict[str, bytes]) -> tuple[Counter, set]:
    """What GRAPH must give, computed the obvious way: (id → copies in `corpus`, ids in `long`)."""
    texts = [r for r in records if r["text"].strip()]
    leader: dict[str, str] = {}
    for record in sorted(texts, key=lambda r: keys[r["id"]]):
        leader.setdefault(record["text"], record["id"])
    lengths = Counter(len(r["text"]) for r in texts)
    kept = [r for r in texts if leader[r["text"]] == r["id"]]
    corpus = Counter({r["id"]: 3 if lengths[len(r["text"])] % 2 else 1 for r in kept if len(r["text"]) < 20})
    return corpus, {r["id"] for r in kept if len(r["text"]) >= 20}


def test_a_graph_with_two_outputs_gives_what_a_plain_program_gives(tmp_path: Path) -> None:
    records = write_corpus(tmp_path / "in")
    run(GRAPH.format(root=tmp_path))
    signals = rows_of(tmp_path / "out/corpus", "signals/length")
    data, long = rows_of(tmp_path / "out/corpus"), rows_of(tmp_path / "out/long")
    ledger = rows_of(tmp_path / "out/corpus", "ledger")
    keys = {row["id"]: row["doc_key"] for row in [*data, *long, *ledger]}
    corpus, high = expected_outputs(records, keys)
    assert Counter(row["id"] for row in data) == corpus
    assert {row["id"] for row in long} == high and len(long) == len(high)
    assert {(row["id"], row["copy"]) for row in data} == {(i, c) for i, n in corpus.items() for c in range(n)}
    assert len(signals) == sum(1 for r in records if r["text"].strip())
    texts = {r["id"]: r["text"] for r in records}
    assert all(row["text"] == texts[row["id"]] for row in [*data, *long])
    assert all(row["url"].startswith("https://example.org/") for row in data)


def test_results_do_not_depend_on_the_order_in_which_tasks_run(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=6)
    found = []
    for order in (None, 1, 2):
        place = tmp_path / f"run{order}"
        run(GRAPH.format(root=tmp_path), InlineExecutor(order=order), output=str(place))
        found.append((shards(place / "corpus"), shards(place / "long")))
    assert found[0] == found[1] == found[2]
    assert any(name.startswith("data/") for name in found[0][0])


def test_the_footer_log_and_the_manifest_tell_the_same_story(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    result = run(GRAPH.format(root=tmp_path))
    manifest = read_manifest(str(tmp_path / "out/corpus"))
    assert manifest is not None and manifest.digest == manifest_digest(to_json(manifest))
    logs = [
        read_log(pq.read_metadata(path).metadata) for path in sorted((tmp_path / "out/corpus/data").glob("*.parquet"))
    ]
    assert {log["run"] for log in logs} == {manifest.run} == {result.plan.key}
    assert sum(log["rows"] for log in logs) == manifest.data.rows
    assert all(log["licenses"] == {"s": {"spdx": "CC0-1.0", "stated_by": "author", "evidence": None}} for log in logs)
    assert str(tmp_path) not in json.dumps(logs)


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    run(GRAPH.format(root=tmp_path))
    before = (tmp_path / "out/corpus/manifest.json").stat().st_mtime_ns
    again = run(GRAPH.format(root=tmp_path))
    assert again.already_done
    assert (tmp_path / "out/corpus/manifest.json").stat().st_mtime_ns == before
    assert not Path(work_folder(again.plan.config)).exists()


def test_a_finished_run_over_changed_input_is_not_taken_for_done(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    run(GRAPH.format(root=tmp_path))
    path = tmp_path / "in/part-000.parquet"
    body = path.read_bytes()
    path.write_bytes(body)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ConfigError, match="its input files were changed or touched since"):
        run(GRAPH.format(root=tmp_path))


def test_a_changed_licence_is_another_run(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    run(GRAPH.format(root=tmp_path))
    with pytest.raises(ConfigError, match="already holds the result of another run"):
        run(GRAPH.format(root=tmp_path).replace("CC0-1.0", "CC-BY-4.0"))


def test_an_output_of_another_run_is_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    run(GRAPH.format(root=tmp_path))
    with pytest.raises(ConfigError, match="already holds the result of another run"):
        run(GRAPH.format(root=tmp_path), overrides=["stages.length.least=5"])


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not a Gristmill output"):
        run(SIMPLE.format(root=tmp_path, stages="{length: {}}"))
    assert (tmp_path / "out/thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("lie", "complaint"),
    [
        ("lose", "39 entries for 40 rows|entries for"),
        ("lose_signals", "`measure` returned"),
        ("silent_drop", "without a rule"),
        ("no_copies", "fewer than one copy"),
        ("copies", "without declaring"),
        ("port", "port index outside"),
        ("columns", "undeclared"),
    ],
)
def test_a_stage_that_lies_stops_the_run(tmp_path: Path, lie: str, complaint: str) -> None:
    write_corpus(tmp_path / "in", files=1)
    with pytest.raises(ConservationError, match=complaint) as stopped:
        run(SIMPLE.format(root=tmp_path, stages=f"{{liar: {{lie: {lie}}}}}"))
    assert "`liar`" in str(stopped.value)
    assert not (tmp_path / "out/manifest.json").exists()


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [("rule: false, leave: x", "no rule that says why"), ('leave: " \\n\\u3000"', "an empty text")],
)
def test_a_text_is_changed_on_record_and_never_to_nothing(tmp_path: Path, setting: str, complaint: str) -> None:
    write_corpus(tmp_path / "in", files=1)
    with pytest.raises(ConservationError, match=complaint):
        run(SIMPLE.format(root=tmp_path, stages=f"{{eraser: {{{setting}}}}}"))


def test_nodes_after_one_that_changes_text_see_the_new_text(tmp_path: Path) -> None:
    records = write_corpus(tmp_path / "in", files=1)
    run(SIMPLE.format(root=tmp_path, stages="{eraser: {leave: xyz}, length: {}, same: {}}"))
    assert [row["text"] for row in rows_of(tmp_path / "out")] == ["xyz"]
    assert rows_of(tmp_path / "out")[0]["length"] == 3
    ledger = rows_of(tmp_path / "out", "ledger")
    erased = [row for row in ledger if row["node"] == "eraser"]
    assert len(erased) == sum(bool(r["text"]) for r in records)
    assert {(row["decision"], row["rule"]) for row in erased} == {("marked", "erased")}


def test_a_document_that_arrives_twice_stops_the_run(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=1)
    stages = "{length: {least: 0}, split: {from: length}, other: {use: length, from: [split.low, split.high, length]}}"
    with pytest.raises(ConservationError, match="arrives twice"):
        run(SIMPLE.format(root=tmp_path, stages=stages))


def test_branches_that_meet_again_keep_every_document_and_column(tmp_path: Path) -> None:
    records = write_corpus(tmp_path / "in", files=2)
    stages = "{length: {least: 0}, split: {at: 9}, again: {use: same, from: [split.low, split.high]}}"
    run(SIMPLE.format(root=tmp_path, stages=stages))
    data = rows_of(tmp_path / "out")
    assert {row["text"] for row in data} == {r["text"] for r in records if r["text"]}
    assert all(row["length"] == len(row["text"]) for row in data)


def test_an_expectation_that_fails_stops_the_run_and_keeps_the_signals(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    calls = tmp_path / "calls"
    text = SIMPLE.format(root=tmp_path, stages=f"{{length: {{count_calls_in: '{calls}'}}, same: {{}}}}")
    with pytest.raises(DataError, match=r"expect.length.dropped: expected a share from 0.0 to 0.01") as stopped:
        run(text + "expect: {length: {dropped: [0, 0.01]}}\n")
    assert stopped.value.exit_code == 3
    assert not (tmp_path / "out/manifest.json").exists()
    measured = calls.read_text().splitlines()
    run(text, overrides=["stages.length.least=1"])
    assert calls.read_text().splitlines() == measured, "a changed threshold must read signals, not compute them"
    assert {row["length"] for row in rows_of(tmp_path / "out")} > {1}


def test_a_changed_signal_field_is_measured_again(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    calls = tmp_path / "calls"
    text = SIMPLE.format(root=tmp_path, stages=f"{{length: {{count_calls_in: '{calls}'}}, same: {{}}}}")
    with pytest.raises(DataError):
        run(text + "expect: {length: {dropped: [0, 0.01]}}\n")
    measured = len(calls.read_text().splitlines())
    run(text, overrides=["stages.length.unit=words"])
    assert len(calls.read_text().splitlines()) == 2 * measured


def test_an_input_that_changes_during_the_run_is_noticed(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=2)
    victim = tmp_path / "in/part-000.parquet"
    table = pq.read_table(victim)

    def change(progress: object) -> None:
        if getattr(progress, "stage", "").startswith("settling"):
            changed = table.set_column(1, "text", [["z" * 5] * table.num_rows])
            pq.write_table(changed, victim)

    with pytest.raises(DataError, match="changed during the run"):
        run(SIMPLE.format(root=tmp_path, stages="{length: {}, same: {}}"), listener=change)


def test_two_drivers_cannot_hold_one_work_folder(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=1)
    text = SIMPLE.format(root=tmp_path, stages="{length: {}, same: {}}")
    seen = []

    def intrude(progress: object) -> None:
        if not seen:
            seen.append(1)
            with pytest.raises(StorageError, match="another run holds this work folder") as refused:
                run(text)
            seen.append(str(refused.value))

    run(text, listener=intrude)
    assert len(seen) == 2
    assert rows_of(tmp_path / "out")


def test_notes_that_vanish_before_settling_are_noticed(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=2)

    def lose(progress: object) -> None:
        if getattr(progress, "stage", "").startswith("settling"):
            sorted((tmp_path / "out.work/gristmill-run/notes/same").iterdir())[0].unlink()

    with pytest.raises(ConservationError, match="not what was committed"):
        run(SIMPLE.format(root=tmp_path, stages="{length: {}, same: {}}"), listener=lose)


def test_shards_are_bounded_and_hold_every_row_once(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=1)
    run(SIMPLE.format(root=tmp_path, stages="{length: {least: 0}}"), overrides=["outputs.corpus.shard_bytes=600"])
    files = sorted((tmp_path / "out/data").glob("*.parquet"))
    assert len(files) > 3 and files[0].name == "part-00000-00.parquet"
    rows = rows_of(tmp_path / "out")
    assert len({row["doc_key"] for row in rows}) == len(rows) == pq.read_table(tmp_path / "out/signals/length").num_rows


def test_input_columns_that_a_stage_makes_are_passed_on_under_another_name(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=1)
    path = tmp_path / "in/part-000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("length", [["mine"] * table.num_rows]), path)
    result = run(SIMPLE.format(root=tmp_path, stages="{length: {}}"))
    row = rows_of(tmp_path / "out")[0]
    assert row["input_length"] == "mine" and row["length"] == len(row["text"])
    assert any("input_length" in notice for notice in result.plan.graph.notices)


def test_dropped_texts_are_sampled_per_rule_over_the_whole_corpus(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=4)
    run(SIMPLE.format(root=tmp_path, stages="{length: {least: 12}}"), overrides=["outputs.corpus.dropped_sample=5"])
    dropped = rows_of(tmp_path / "out", "dropped")
    counts = Counter((row["node"], row["rule"]) for row in dropped)
    assert counts[("length", "too_short")] == 5
    ledger = [row for row in rows_of(tmp_path / "out", "ledger") if row["rule"] == "too_short"]
    assert {row["id"] for row in dropped if row["rule"] == "too_short"} < {row["id"] for row in ledger}


def test_a_plan_states_passes_and_bounds_without_running(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    plan = plan_of(GRAPH.format(root=tmp_path))
    assert [(p.decides, p.settles_after, p.final) for p in plan.passes] == [
        (("length",), ("same",), False),
        (("same", "split"), ("repeat",), False),
        (("repeat",), (), True),
    ]
    assert plan.memory_bytes() < 1_500_000_000
    assert not (tmp_path / "out").exists()


def test_the_exchange_s_memory_changes_no_result(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    text = GRAPH.format(root=tmp_path)
    run(text)
    small = run(text + f"exchange_bytes: {1 << 20}\n", output=str(tmp_path / "small"))
    assert small.plan.config.exchange_bytes == 1 << 20 and small.plan.key == plan_of(text).key
    assert shards(tmp_path / "small/corpus") == shards(tmp_path / "out/corpus")
    with pytest.raises(ConfigError, match=r"exchange_bytes: expected bytes, at least 1048576, found an integer \(5\)"):
        plan_of(text + "exchange_bytes: 5\n")
