"""Look-ups over long graphs and over graphs whose branches rejoin: as many steps as nodes, and the digests of old."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gristmill.pipeline.errors import ConfigError
from gristmill.pipeline.hashing import digest
from gristmill.pipeline.planning import config
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.plan import Plan, make_plan
from gristmill.pipeline.running.task_keys import signal_lineages
from gristmill.pipeline.slices.read import read_slice
from gristmill.pipeline.slices.routing import SliceRows
from gristmill.pipeline.slices.traversal import Answers, traverse
from tests.pipeline.toy_runs import write_corpus

HEAD = """
name: long
sources:
  s: {{format: parquet, paths: ["{root}/in/*.parquet"], license: {{spdx: CC0-1.0, stated_by: author}}}}
outputs:
  corpus: {{path: "{root}/out", from: last}}
stages:
  length: {{least: 2, mark: true}}
  upper: {{letter: a}}
"""


@pytest.fixture
def thousands_of_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A config may have some hundred stages; the look-ups themselves have no limit."""
    monkeypatch.setitem(config.MAX_ENTRIES, "stages", 3000)


def planned(text: str) -> Plan:
    return make_plan(load(text, "test.yaml", plugins=("toy_stages", "audit_stages")))


def rejoining(root: Path, joins: int) -> str:
    """Nodes of two ports, each of which takes both ports of the one before it."""
    text, inputs = HEAD.format(root=root), "upper"
    for index in range(1, joins + 1):
        text += f"  s{index}: {{use: split, at: {3 * index}, from: {inputs}}}\n"
        inputs = f"[s{index}.low, s{index}.high]"
    return text + f"  last: {{use: length, least: 0, from: {inputs}}}\n"


def in_a_row(root: Path, nodes: int) -> str:
    text = HEAD.format(root=root) + "".join(f"  n{index}: {{use: split}}\n" for index in range(1, nodes + 1))
    highs = ", ".join(f"n{index}.high" for index in range(1, nodes + 1))
    return text + f"  last: {{use: length, least: 0}}\ndiscard: [{highs}]\n"


def sent(plan: Plan) -> SliceRows:
    """A slice's rows after all nodes."""
    data = read_slice(plan, plan.slices[0], None)
    slice_rows = SliceRows(plan.graph, "s", data.table)
    traverse(plan.graph, slice_rows, Answers())
    return slice_rows


def lineage(plan: Plan, name: str) -> str:
    """What a node's signals depend on, followed up from the node over every way."""
    stage = plan.graph.by_name[name].stage
    reads = sorted(stage.spec.measure_reads | stage.spec.optional_reads | {"text"})
    made = [[column, [maker(plan, edge.node, column) for edge in plan.graph.by_name[name].inputs]] for column in reads]
    return digest("gristmill.lineage", [name, plan.fingerprints[name].signal, made])


def maker(plan: Plan, place: str, column: str) -> str:
    if place in plan.graph.sources:
        return f"source:{place}"
    node = plan.graph.by_name[place]
    if column in node.spec.findings.names:
        return decided(plan, place)
    if column in node.spec.signals.names:
        return lineage(plan, place)
    return digest("gristmill.maker", [maker(plan, edge.node, column) for edge in node.inputs])


def decided(plan: Plan, place: str) -> str:
    if place in plan.graph.sources:
        return f"source:{place}"
    node = plan.graph.by_name[place]
    above = [[str(edge), decided(plan, edge.node)] for edge in node.inputs]
    corpus = plan.key if node.settles else ""
    return digest("gristmill.decided", [place, plan.fingerprints[place].full, corpus, above])


def test_lineages_are_those_that_every_way_through_the_graph_gives(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=1)
    text = rejoining(tmp_path, 3).replace("  last:", "  same: {from: s2.low}\n  last:").replace("[s2.low", "[same")
    plan = planned(text)
    assert {"same"} < plan.graph.ancestors["last"], "the settled node is upstream"
    assert signal_lineages(plan) == {node.name: lineage(plan, node.name) for node in plan.graph.nodes}


def test_branches_that_rejoin_are_not_followed_once_per_way(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=1)
    started = time.perf_counter()
    plan = planned(rejoining(tmp_path, 18))
    signal_lineages(plan)
    slice_rows = sent(plan)
    seconds = time.perf_counter() - started
    # 2^18 ways lead to the last node: following each took minutes, going through the graph takes well under a second.
    assert seconds < 10
    rows = slice_rows.states["last"].rows
    texts = slice_rows.table["text"].take(rows).to_pylist()
    assert len(rows) > 20 and len({text[:1] for text in texts}) > 1
    assert [len(state.arrivals) for state in slice_rows.states.values()].count(2) == 18
    found = slice_rows.column("last", "text", rows).to_pylist()
    assert found == [text.upper() if text.startswith("a") else text for text in texts]
    assert slice_rows.column("last", "length", rows).to_pylist() == [len(text) for text in texts]


def test_a_column_that_one_branch_lacks_is_null_there(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=1)
    text = HEAD.format(root=tmp_path).replace("  length: {least: 2, mark: true}\n", "")
    text += "  way: {use: split, at: 6}\n  size: {use: length, least: 0, from: way.high}\n"
    plan = planned(text + "  last: {use: split, from: [way.low, size]}\ndiscard: [last.high]\n")
    slice_rows = sent(plan)
    rows = slice_rows.states["last"].rows
    sizes = [len(text) for text in slice_rows.table["text"].take(rows).to_pylist()]
    assert min(sizes) < 6 <= max(sizes)
    assert slice_rows.column("last", "length", rows).to_pylist() == [n if n >= 6 else None for n in sizes]


@pytest.mark.usefixtures("thousands_of_stages")
def test_two_thousand_nodes_in_a_row_are_followed(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=1)
    plan = planned(in_a_row(tmp_path, 2000))
    assert len(signal_lineages(plan)) == 2003
    slice_rows = sent(plan)
    rows = slice_rows.states["last"].rows
    assert len(rows) > 5
    assert slice_rows.column("last", "length_failed", rows).null_count == 0


@pytest.mark.usefixtures("thousands_of_stages")
def test_a_cycle_of_two_thousand_nodes_is_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", files=1)
    text = in_a_row(tmp_path, 2000).replace("  n1: {use: split}", "  n1: {use: split, from: n2000}")
    with pytest.raises(ConfigError, match="a cycle: n1 → n2 → n3 "):
        planned(text)
