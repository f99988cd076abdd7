"""A finished output as the source of signals for a run with other thresholds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.errors import ConfigError, ConservationError
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.running.costs import SIGNALS, core_seconds, steps_of
from gristmill.pipeline.running.engine import Engine, RunResult
from gristmill.pipeline.running.reuse import reusable
from tests.pipeline.toy_runs import plan_of, run, shards, write_corpus

GRAPH = """
name: tuned
sidecar_documents: 90
seed: 5
sources:
  s: {{format: parquet, paths: ["{root}/in/*.parquet"]}}
stages:
  first: {{use: length, least: {first}, count_calls_in: "{root}/first.calls"}}
  same: {{}}
  second: {{use: length, least: {second}, unit: {unit}, count_calls_in: "{root}/second.calls"}}
outputs:
  corpus: {{path: "{root}/{out}/corpus"}}
  copy: {{path: "{root}/{out}/copy", signals: none}}
"""


def config(root: Path, out: str, first: int = 4, second: int = 8, unit: str = "characters") -> str:
    return GRAPH.format(root=root, out=out, first=first, second=second, unit=unit)


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "in", files=3)
    run(config(tmp_path, "old"))
    return tmp_path


def reused(text: str, folder: Path) -> RunResult:
    plan = plan_of(text)
    return Engine(plan, InlineExecutor(), reuse=reusable(plan, str(folder))).run()


def documents(root: Path, name: str) -> int:
    path = root / f"{name}.calls"
    return sum(map(int, path.read_text().split())) if path.exists() else 0


def test_other_thresholds_give_the_bytes_of_a_run_from_nothing_and_measure_only_what_was_not(finished: Path) -> None:
    run(config(finished, "fresh", first=1, second=6))
    for name in ("first", "second"):
        (finished / f"{name}.calls").unlink()
    found = reused(config(finished, "new", first=1, second=6), finished / "old/corpus")
    assert found.reused_signals == {"first": 3, "second": 3}
    assert documents(finished, "first") == 0
    # A lower limit lets more documents come to `second`: these alone are measured there.
    before = {key for file in (finished / "old/corpus/signals/second").iterdir() for key in keys(file)}
    now = {key for file in (finished / "new/corpus/signals/second").iterdir() for key in keys(file)}
    assert before < now and documents(finished, "second") == len(now - before) > 0
    for output in ("corpus", "copy"):
        assert shards(finished / "new" / output) == shards(finished / "fresh" / output)


def keys(file: Path) -> list[bytes]:
    return pq.read_table(file)["doc_key"].to_pylist()


def test_a_node_whose_signal_settings_differ_is_measured_with_the_reason(finished: Path) -> None:
    plan = plan_of(config(finished, "new", unit="words"))
    found = reusable(plan, str(finished / "old/corpus"))
    assert dict(found.measured) == {"second": "`unit` is 'characters' there and 'words' here"}
    assert {file.node for files in found.files.values() for file in files} == {"first"}


def test_a_file_that_was_changed_since_is_measured_and_not_counted(finished: Path) -> None:
    path = finished / "in/part-001.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[0]["text"] = "another text " * 9
    pq.write_table(pa.Table.from_pylist(rows), path)
    run(config(finished, "fresh", first=1))
    (finished / "first.calls").unlink()
    found = reused(config(finished, "new", first=1), finished / "old/corpus")
    assert found.reused_signals["first"] == 2 and documents(finished, "first") == len(rows)
    assert shards(finished / "new/corpus") == shards(finished / "fresh/corpus")


def test_signals_that_are_not_what_their_run_wrote_stop_the_run(finished: Path) -> None:
    path = next((finished / "old/corpus/signals/first").iterdir())
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "length", pa.array([99] * table.num_rows, pa.int64())), path)
    with pytest.raises(ConservationError, match=r"signals/first/.* are not what their run wrote .* without --reuse"):
        reused(config(finished, "new", first=1), finished / "old/corpus")
    assert not (finished / "new/corpus/manifest.json").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: shutil.rmtree(root / "old/corpus"), "holds no finished run"),
        (lambda root: (root / "old/corpus/files.parquet").write_bytes(b"x"), "is not what its run wrote"),
        (lambda root: shutil.move(root / "in", root / "in2"), "has read none of the slices of this one"),
    ],
)
def test_an_output_that_cannot_serve_is_refused_with_the_reason(finished: Path, change: object, said: str) -> None:
    change(finished)  # type: ignore[operator]
    text = config(finished, "new")
    if not (finished / "in").exists():
        write_corpus(finished / "in", files=1)
        (finished / "in/part-000.parquet").rename(finished / "in/other.parquet")
    with pytest.raises(ConfigError, match=said):
        reusable(plan_of(text), str(finished / "old/corpus"))


def test_an_output_without_signals_or_of_another_graph_is_refused(finished: Path) -> None:
    with pytest.raises(ConfigError, match=r"keeps no signals.*signals: all"):
        reusable(plan_of(config(finished, "new")), str(finished / "old/copy"))
    other = config(finished, "new").replace("first: {", "one: {").replace("second: {", "two: {")
    with pytest.raises(ConfigError, match="one: that run has no node of this name; two: that run has no node"):
        reusable(plan_of(other), str(finished / "old/corpus"))


def test_nodes_whose_signals_are_read_cost_what_reading_takes(finished: Path) -> None:
    plan = plan_of(config(finished, "new"))
    nodes = reusable(plan, str(finished / "old/corpus")).nodes
    assert nodes == {"first", "second"}
    fresh, read = steps_of(plan), steps_of(plan, None, nodes)
    cost = plan.graph.by_name["first"].spec.cost.measure
    assert cost > SIGNALS and fresh[0].seconds_per_gb - read[0].seconds_per_gb == cost - SIGNALS
    assert fresh[1] == read[1] and core_seconds(plan, nodes) < core_seconds(plan)
