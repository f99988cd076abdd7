"""`gristmill plan`: what it says of a graph, and that it runs nothing."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipeline.exchange.shuffle_plan import foreseen
from tests.launch.running import Command
from tests.pipeline.toy_runs import GRAPH, write_corpus


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "in")
    (tmp_path / "toys.yaml").write_text(GRAPH.format(root=tmp_path))
    return tmp_path / "toys.yaml"


def test_a_plan_names_sources_stages_outputs_passes_and_bounds(gristmill: Command, config: Path) -> None:
    ran = gristmill("plan", "toys.yaml", "--plugin", "toy_stages")
    assert ran.code == 0
    lines = [line.strip() for line in ran.out.splitlines()]
    assert lines[0].startswith("toys: 3 slices of")
    assert "in 3 passes, seed 5" in lines[0]
    assert any(
        line.startswith("s  parquet, 3 files,") and "licence CC0-1.0 (stated by: author)" in line for line in lines
    )
    assert "same    ← length; sees the whole corpus" in lines
    assert "split   ← same; ports low → repeat, high → long" in lines
    assert "repeat  ← split.low; observes same; sees the whole corpus; emits copies" in lines
    assert [line for line in lines if line.startswith("then settle")] == ["then settle  same", "then settle  repeat"]
    assert any(line.startswith("memory") and "per worker" in line for line in lines)
    assert any(line.startswith("work folder") and "corpus.work" in line for line in lines)


def test_a_plan_runs_nothing(gristmill: Command, config: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.rglob("*"))
    gristmill("plan", "toys.yaml", "--plugin", "toy_stages")
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_plan_for_programs(gristmill: Command, config: Path) -> None:
    made = json.loads(gristmill("plan", "toys.yaml", "--plugin", "toy_stages", "--json").out)
    assert [one["settle"] for one in made["passes"]] == [["same"], ["repeat"], []]
    assert made["passes"][2]["final"] is True
    assert made["nodes"][3]["from"] == ["split.low"]
    assert len(made["run"]) == 64
    assert made["bounds"]["memory"] > 0


def test_a_plan_refuses_the_folders_that_a_run_would_refuse(gristmill: Command, config: Path, tmp_path: Path) -> None:
    ran = gristmill("plan", "toys.yaml", "--plugin", "toy_stages", "--set", f"work={tmp_path}/in")
    assert ran.code == 2
    assert "holds the input" in ran.err


def test_a_plan_tells_what_the_exchange_will_do_by_its_own_planner(gristmill: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"text": ["a b c"] * 1000}), tmp_path / "in/a.parquet")
    (tmp_path / "dedup.yaml").write_text(
        f"sources: {{s: {{format: parquet, paths: ['{tmp_path}/in']}}}}\nstages: {{minhash: {{}}, exact: {{}}}}\n"
        f"outputs: {{corpus: {{path: '{tmp_path}/out'}}}}\n"
    )
    small = json.loads(gristmill("plan", "dedup.yaml", "--json").out)["passes"]
    (minhash,), (exact,) = small[0]["exchange"], small[1]["exchange"]
    assert (minhash["node"], minhash["documents"], minhash["rows"], minhash["rounds"]) == ("minhash", 1000, 14_000, 1)
    assert (minhash["row_bytes"], exact["rows"], small[2]["exchange"]) == (84, 1000, [])
    assert minhash["cost"] == asdict(foreseen(188_000, 188_000, 14_000 * 84, 1, 384 << 20)[2])
    said = " ".join(gristmill("plan", "dedup.yaml").out.split())
    assert "exchange minhash: 14,000 rows at most, in one round, 3 tasks, 4 reads (GET), 2 writes (PUT)" in said, said
    # With little memory, many rows have too many pieces for one round.
    pq.write_table(pa.table({"text": ["a b c"] * 2_000_000}), tmp_path / "in/a.parquet")
    large = json.loads(gristmill("plan", "dedup.yaml", "--json", "--set", "exchange_bytes=1048576").out)["passes"][0]
    assert large["exchange"][0]["rounds"] == 2 and large["exchange"][0]["rows"] == 28_000_000
