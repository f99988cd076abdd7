"""Run, sample and audit send rows through the nodes by one traversal, so they could err alike: here each document is
followed by itself, in plain Python that shares nothing with the engine, and all three must agree with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gristmill.pipeline.audit.run import audit_output
from gristmill.pipeline.executor.inline import InlineExecutor
from gristmill.pipeline.planning.config import load
from gristmill.pipeline.planning.plan import Plan, make_plan
from gristmill.pipeline.provenance.accounts import Accounts
from gristmill.pipeline.running.engine import Engine
from gristmill.pipeline.running.sample import take_sample
from gristmill.pipeline.slices.outcome import State
from tests.pipeline.toy_runs import rows_of, write_corpus

TOYS = ("toy_stages", "audit_stages")
CONFIG = """
name: rows
max_quarantined: 1
sources:
  s: {{format: parquet, paths: ["{root}/in/*.parquet"], max_document_bytes: 30}}
stages:
  marks: {{use: bounds, least: 2, most: 24, mark: true}}
  upper: {{letter: a}}
  same: {{}}
  split: {{at: 12}}
  short: {{use: length, least: 5, from: split.low}}
  double: {{from: [short, split.high]}}
  again: {{use: bounds, least: 1, most: 22}}
  way: {{use: split, at: 16}}
outputs:
  corpus: {{path: "{root}/out/corpus", from: way.low}}
  long: {{path: "{root}/out/long", from: way.high}}
"""
DEFAULT = {"s": "read", "split": "low", "way": "low"}


@dataclass
class Way:
    """A document's way: (node, copies that enter, port or None, rule or None, copies per row), and where it ends."""

    text: str
    steps: list[tuple[str, int, str | None, str | None, int]] = field(default_factory=list)
    copies: int = 1
    end: str | None = None

    def at(self, node: str, port: str | None = "kept", rule: str | None = None, times: int = 1) -> bool:
        self.steps.append((node, self.copies, port, rule, times if port else 0))
        self.copies *= times
        return port is not None


def bounds(size: int, least: int, most: int) -> str | None:
    return "too_short" if size < least else "too_long" if size > most else "odd_size" if size % 5 == 4 else None


def way_of(text: str, first: Callable[[str], bool] | None) -> Way:
    """`first`: whether the document is the first of those that come to `same` with a text; None: `same` is not asked."""
    way, size = Way(text), len(text)
    wrong = "too_large" if len(text.encode()) > 30 else None if text.strip() else "empty_text"
    if not way.at("s", None if wrong else "read", wrong):
        return way
    way.at("marks", rule=bounds(size, 2, 24))
    way.at("upper", rule="upper" if text.startswith("a") else None)
    way.text = text.upper() if text.startswith("a") else text
    if first is not None and not (way.at("same") if first(way.text) else way.at("same", None, "same_text")):
        return way
    way.at("split", "high" if size >= 12 else "low")
    if size < 12 and not (way.at("short", None, "too_short") if size < 5 else way.at("short")):
        return way
    way.at("double", rule=None if size % 2 else "doubled", times=1 if size % 2 else 2)
    wrong = bounds(size, 1, 22)
    if way.at("again", None if wrong else "kept", wrong):
        way.at("way", "high" if size >= 16 else "low")
        way.end = "long" if size >= 16 else "corpus"
    return way


def ways_of(plan: Plan, *, corpus: bool) -> dict[str, Way]:
    """Every document's way, by id; `corpus`: whether the whole corpus is known."""
    tables = [plan.graph.sources["s"].read(one).table for one in plan.slices]
    rows = [row for table in tables for row in table.select(["doc_key", "id", "text"]).to_pylist()]
    lowest: dict[str, bytes] = {}
    for row in rows:
        way = way_of(row["text"], lambda _: True)
        if any(node == "same" for node, *_ in way.steps):
            lowest[way.text] = min(row["doc_key"], lowest.get(way.text, row["doc_key"]))
    return {
        row["id"]: way_of(row["text"], (lambda text, key=row["doc_key"]: lowest[text] == key) if corpus else None)
        for row in rows
    }


def check_accounts(accounts: Accounts, ways: dict[str, Way]) -> None:
    entered, ports, rules = Counter(), Counter(), Counter()
    for way in ways.values():
        for node, copies, port, rule, times in way.steps:
            entered[node] += copies
            ports[node, port] += copies * times if port else copies
            rules[node, rule] += rule is not None
    assert {name: account.entered.rows for name, account in accounts.nodes.items()} == dict(entered)
    for name, account in accounts.nodes.items():
        assert account.dropped.rows + account.quarantined.rows == ports[name, None]
        assert {port: tally.rows for port, tally in account.ports.items()} == {p: ports[name, p] for p in account.ports}
        assert {rule: hits.first[0] for rule, hits in account.rules.items() if hits.first[0]} == {
            rule: count for (node, rule), count in rules.items() if node == name and count
        }


def check_output(root: Path, name: str, ways: dict[str, Way]) -> None:
    (holder,) = {path.parent for path in (root / "out").glob("*/ledger")}  # the first output, for all of them
    listed = {(row["id"], row["node"]): (row["port"], row["rule"], row["copies"]) for row in rows_of(holder, "ledger")}
    assert listed == {
        (key, node): (port, rule, times)
        for key, way in ways.items()
        for node, _, port, rule, times in way.steps
        if (port, rule, times) != (DEFAULT.get(node, "kept"), None, 1)
    }
    emitted = Counter((row["id"], row["text"]) for row in rows_of(root / "out" / name))
    assert emitted == {(key, way.text): way.copies for key, way in ways.items() if way.end == name}


def planned(root: Path) -> Plan:
    write_corpus(root / "in")
    return make_plan(load(CONFIG.format(root=root), "test.yaml", plugins=TOYS))


def test_a_run_and_its_audit_do_with_each_document_what_plain_python_does(tmp_path: Path, in_process: None) -> None:
    plan = planned(tmp_path)
    ways = ways_of(plan, corpus=True)
    # Every stage's every port and rule is taken, and both branches meet again.
    assert len({(node, port, rule) for way in ways.values() for node, _, port, rule, _ in way.steps}) >= 20
    result = Engine(plan, InlineExecutor()).run()
    check_accounts(result.accounts, ways)
    for name in ("corpus", "long"):
        check_output(tmp_path, name, ways)
        audit = audit_output(str(tmp_path / "out" / name), full=True, sources=(), plugins=TOYS)
        assert audit.exit_code == 0, audit.problems
        # Its replay compared nodes with the ledger, which is the oracle's.
        replay = next(item for item in audit.checks if item.name == "replay")
        assert replay.status == "pass" and replay.looked_at > 100


def test_a_sample_does_with_each_document_what_plain_python_does(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    ways = ways_of(plan, corpus=False)
    sample = take_sample(plan, 10_000, 0)
    assert sample.unjudged == ("same",)
    check_accounts(sample.accounts, ways)
    ends = Counter(way.end for way in ways.values() if way.end)
    assert {name: found.documents for name, found in sample.ends.items()} == ends


def test_what_run_and_audit_get_wrong_alike_is_noticed(
    tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = State.own
    # Nodes see the text as it was read, whatever an earlier node made of it.
    monkeypatch.setattr(State, "own", lambda self, name: None if name == "text" else own(self, name))
    plan = planned(tmp_path)
    Engine(plan, InlineExecutor()).run()
    assert audit_output(str(tmp_path / "out/corpus"), full=True, sources=(), plugins=TOYS).exit_code == 0
    with pytest.raises(AssertionError):
        check_output(tmp_path, "corpus", ways_of(plan, corpus=True))
